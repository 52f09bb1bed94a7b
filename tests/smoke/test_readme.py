# SPDX-License-Identifier: Apache-2.0
"""What the README says to type works as it stands there, without a GPU, the hub, or anything made before."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from open_r1.data.sources import open_source

ROOT = Path(__file__).resolve().parents[2]


def test_example_leads_from_rows_to_a_trained_model(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    example = readme[readme.index("From rows to a model") :]
    commands = re.findall(r"^    python (.*)$", example[: example.index("\n### ")], re.MULTILINE)
    assert [command.split()[0] for command in commands] == [
        "scripts/decontaminate.py",
        "scripts/curate.py",
        "scripts/make_tiny_model.py",
        "src/open_r1/sft.py",
    ]
    for name in ("assets", "recipes", "scripts", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for command in commands:
        run = subprocess.run(
            [sys.executable, *command.split()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{command}: {run.stderr}"
    rows = list(open_source(str(tmp_path / "data" / "sums_curated")).rows())
    assert len(rows) == 190
    assert all([message["role"] for message in row["messages"]] == ["user", "assistant"] for row in rows)
    assert json.loads((tmp_path / "data" / "sums_sft" / "train_results.json").read_text())["train_samples"] == 190
