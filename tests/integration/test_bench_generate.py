# SPDX-License-Identifier: Apache-2.0
"""The benchmark of generate_reasoning: a small one runs to its table, with every contestant's answers right."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench_generate.py"


def test_a_small_benchmark_writes_its_table(tmp_path):
    table = tmp_path / "tables" / "generate.md"
    size = ["--rounds", "1", "--requests", "24", "--in-flight", "8", "--latency-s", "0.02"]
    command = [sys.executable, str(SCRIPT), *size, "--contestants", "ours", "aiohttp", "--table", str(table)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split("|")[1].strip() for line in table.read_text().splitlines() if line.startswith("|")]
    assert rows[2:] == ["ours", "aiohttp"]
    assert "24 requests, 8 in flight; answers of 2 kB after 0.02 s" in table.read_text()
