# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench_grading.py` on a few programs: a row for each part, in a table that names its command."""

import re
import subprocess
import sys

from tests.conftest import ROOT


def test_small_step_is_measured(tmp_path):
    table = tmp_path / "grading.md"
    words = [
        "--parts",
        "loop",
        "none",
        "--completions",
        "5",
        "--tests",
        "4",
        "--timeout_s",
        "0.3",
        "--table",
        str(table),
    ]
    script = str(ROOT / "scripts" / "bench_grading.py")
    subprocess.run([sys.executable, script, *words], check=True, capture_output=True, timeout=300, cwd=ROOT)
    text = table.read_text(encoding="utf-8")
    assert "bench_grading.py --parts loop none" in text
    assert len(re.findall(r"^\| [a-z, ]+ \| \d+\.\d \| \d+\.\d \|$", text, re.MULTILINE)) == 2
