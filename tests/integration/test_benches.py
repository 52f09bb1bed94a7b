# SPDX-License-Identifier: Apache-2.0
"""Each benchmark script runs once, small, and writes its table; `bench_training.py` runs in tests/gpu."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

SMALL = {
    "verifier": (["--judges", "ours", "--limit", "20"], "| labels: as labelled (false rights) | 20 of 20 (0) |"),
    "sandbox": (["--rounds", "1", "--submissions", "2"], "| bare |"),
    "decontaminate": (["--sizes", "1000", "--rounds", "1"], "| exact |"),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_benchmark_writes_its_table(name, tmp_path):
    words, row = SMALL[name]
    command = [sys.executable, f"scripts/bench_{name}.py", *words, "--table", str(tmp_path / "table.md")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert row in (tmp_path / "table.md").read_text(encoding="utf-8")
