# SPDX-License-Identifier: Apache-2.0
"""What the tests of the inspect engine share: problems, command lines, what runs leave behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, Reply

SCRIPT = ROOT / "scripts" / "run_benchmarks.py"


def write_sums(folder, count=4):
    """Problems 0+1, 1+1, ..., and their sums."""
    rows = [{"problem": f"Compute {number}+1", "solution": str(number + 1)} for number in range(count)]
    return write_rows(folder / "sums.jsonl", rows)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def number_of(body):
    """The first summand of the problem that is asked."""
    return int(re.findall(r"Compute (\d+)\+1", body["messages"][-1]["content"])[-1])


def mostly_right(body, attempt):
    """Right but for the answer with seed 1 of each problem."""
    return Reply(f"So it is \\boxed{{{number_of(body) + 1 + (body['seed'] == 1)}}}.")


def words(folder, address, *more, engine="inspect", data="sums.jsonl"):
    """The command line, for servers at an address."""
    return ["--url", address, "--data", str(folder / data), "--output_dir", str(folder / "out"), "--engine", engine,
            *map(str, more)]  # fmt: skip


def started(folder, address, *more, **environment):
    """The command as a process of its own."""
    everything = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.Popen([sys.executable, str(SCRIPT), *words(folder, address, *more)], env=everything,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def folder_of(folder, engine="inspect", name="sums") -> Path:
    suffix = "" if engine == "direct" else f"-{engine}"
    return folder / "out" / MODEL / "main" / f"{name}{suffix}"


def results_of(folder, **where):
    return json.loads((folder_of(folder, **where) / "results.json").read_text())


def answers_of(folder, **where):
    return pq.read_table(folder_of(folder, **where) / "answers.parquet").to_pylist()


def logs_of(folder, name="sums"):
    return sorted((folder_of(folder, name=name) / "inspect").glob("*.eval"))


def kept(folder):
    """Answers in the journal."""
    journal = folder_of(folder) / "generations.jsonl"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0
