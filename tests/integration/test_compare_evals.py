# SPDX-License-Identifier: Apache-2.0
"""`scripts/compare_evals.py` on runs that `scripts/run_benchmarks.py` has made against a server on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.run_benchmarks import main as run_benchmarks
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply

ROOT = Path(__file__).resolve().parents[2]
COUNT = 24


def number_of(body):
    return int(body["messages"][-1]["content"].rpartition("Compute ")[2].partition("+")[0])


def answers_of(num_known):
    """Return a model that knows the first problems, and says of the others what is wrong by one."""

    def behave(body, attempt):
        number = number_of(body)
        return Reply(f"So it is \\boxed{{{number + 1 + (number >= num_known)}}}.")

    return behave


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of three runs, of which one knows many more answers."""
    folder = tmp_path_factory.mktemp("compare")
    rows = [{"problem": f"Compute {number}+1", "solution": str(number + 1)} for number in range(COUNT)]
    data = folder / "sums.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = [("weak", 4, []), ("weak_hot", 5, ["--temperature", "1.0"]), ("strong", 20, [])]
    for name, num_known, flags in made:
        with ChatServer(answers_of(num_known)) as server:
            words = ["--url", server.address, "--data", str(data), "--output_dir", str(folder / "out" / name)]
            assert run_benchmarks([*words, "--num_samples", "2", *flags]) == 0
    return folder / "out"


def compare(*words):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "compare_evals.py"), *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_runs_are_compared_problem_by_problem_with_a_baseline(runs):
    done = compare(runs, "--baseline", runs / "weak")
    assert done.returncode == 0, done.stderr
    assert "#2 against #1: +66.7 points" in done.stdout
    assert "16 better, 0 worse, 8 alike" in done.stdout
    assert "#3 against #1: +4.2 points: too few to compare" in done.stdout


def test_settings_that_differ_between_runs_of_a_model_are_listed(runs):
    done = compare(runs / "weak", runs / "weak_hot")
    assert done.returncode == 0, done.stderr
    assert "sums: the runs differ by temperature: 0.6 (#1), 1.0 (#2)" in done.stdout
    assert done.stdout.splitlines()[1].split()[:5] == ["1", MODEL, "sums", "2", "16.7"]
    assert "too few to compare" in done.stdout
