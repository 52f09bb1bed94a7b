# SPDX-License-Identifier: Apache-2.0
"""What the tests of `scripts/run_benchmarks.py` share: problems, answers, the command, what runs leave behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.run_benchmarks import main
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, Reply

SCRIPT = ROOT / "scripts" / "run_benchmarks.py"


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_problems(path, count=4, **columns):
    """Problems 0+1, 1+1, ..., and their sums."""
    rows = [{"problem": f"Compute {n}+1", "solution": str(n + 1), **columns} for n in range(count)]
    return write_rows(path, rows)


def number_of(body):
    """The first summand of the problem that is asked."""
    return int(body["messages"][-1]["content"].rpartition("Compute ")[2].partition("+")[0])


def mostly_right(body, attempt):
    """Right but for the answer with seed 1 of each problem."""
    return Reply(f"So it is \\boxed{{{number_of(body) + 1 + (body['seed'] == 1)}}}.")


class FailsInPart:
    """As `mostly_right`, but requests with seeds above 1 fail until it is mended."""

    is_mended = False

    def __call__(self, body, attempt):
        if body["seed"] > 1 and not self.is_mended:
            return Reply(status=400, error="context too long")
        return mostly_right(body, attempt)


def evaluator(problems, output):
    """What runs the script in this process on a file of problems, and gives its exit status."""

    def evaluate(address, *flags):
        where = ["--url", address] if address else []
        return main([*where, "--data", str(problems), "--output_dir", str(output), *map(str, flags)])

    return evaluate


def started(words, **environment):
    """The script as a process of its own."""
    everything = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *words],
        env=everything,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def folder_of(folder, *, model=MODEL, name="sums") -> Path:
    return folder / "out" / model / "main" / name


def results_of(folder, **where):
    return json.loads((folder_of(folder, **where) / "results.json").read_text())
