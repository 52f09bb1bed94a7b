# SPDX-License-Identifier: Apache-2.0
"""run_benchmarks.py with a real vLLM, and plain inspect-ai: seeds, kill -9."""

import json
import os
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from inspect_ai.log import read_eval_log

from scripts.run_benchmarks import main
from tests.conftest import ROOT
from tests.serving.conftest import SERVED
from tests.serving.scripts import Gate, count_lines, started
from tests.waiting import wait_until

pytestmark = pytest.mark.serving

TASKS = ROOT / "src" / "open_r1" / "evaluation" / "inspect_tasks.py"
NUM_PROBLEMS, NUM_SAMPLES = 6, 3


def words(server, tmp_path, *more):
    rows = [{"problem": f"What is {number}+{number}?", "solution": str(2 * number)} for number in range(NUM_PROBLEMS)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [
        "--url",
        server.url,
        "--data",
        str(tmp_path / "sums.jsonl"),
        "--output_dir",
        str(tmp_path / "out"),
        "--num_samples",
        str(NUM_SAMPLES),
        "--max_tokens",
        "48",
        "--temperature",
        "1",
        *more,
    ]


def folder_of(tmp_path):
    (folder,) = (tmp_path / "out").rglob("sums")
    return folder


def answers_of(tmp_path):
    return pq.read_table(folder_of(tmp_path) / "answers.parquet").to_pylist()


def test_answers_differ_by_their_seeds_and_are_counted(server, tmp_path):
    assert main(words(server, tmp_path)) == 0
    answers = answers_of(tmp_path)
    texts = [[row["answer"] for row in answers if row["row"] == number] for number in range(NUM_PROBLEMS)]
    assert sum(len(set(of_a_problem)) == NUM_SAMPLES for of_a_problem in texts) >= NUM_PROBLEMS / 2
    assert all(0 < row["num_tokens"] <= 48 for row in answers)
    results = json.loads((folder_of(tmp_path) / "results.json").read_text())
    assert results["speed"]["tokens"] == sum(row["num_tokens"] for row in answers)


def test_a_killed_run_goes_on_with_what_is_missing(server, tmp_path):
    def journals():
        return list((tmp_path / "out").rglob("journal.jsonl"))

    with Gate(server.url, most=5) as gate:
        command = words(gate, tmp_path, "--max_concurrent", "2")
        with started("scripts/run_benchmarks.py", *command) as process:
            wait_until(lambda: any(count_lines(path) >= 6 for path in journals()) or process.poll() is not None)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert journals(), process.said()
        kept = [json.loads(line) for line in journals()[0].read_text().splitlines()[1:]]
        assert len(kept) == 5 < NUM_PROBLEMS * NUM_SAMPLES
        gate.open()
        assert main(command) == 0
    answers = answers_of(tmp_path)
    assert len(answers) == NUM_PROBLEMS * NUM_SAMPLES
    assert {record["text"] for record in kept} <= {row["answer"] for row in answers}


def test_plain_inspect_asks_for_different_answers_too(server, tmp_path):
    words(server, tmp_path)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "LOCAL_BASE_URL": server.url,
        "LOCAL_API_KEY": "none",
        "HOME": str(tmp_path),
    }
    command = [
        sys.executable,
        "-m",
        "inspect_ai",
        "eval",
        f"{TASKS}@local",
        "-T",
        f"data={tmp_path / 'sums.jsonl'}",
        "-T",
        "num_samples=3",
        "-T",
        "max_tokens=32",
        "-T",
        "temperature=1",
        "--model",
        f"openai-api/local/{SERVED}",
        "--log-dir",
        str(tmp_path / "logs"),
        "--display",
        "plain",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    log = read_eval_log(str(next((tmp_path / "logs").glob("*.eval"))))
    texts = [{sample.output.completion for sample in log.samples if sample.id == row} for row in range(NUM_PROBLEMS)]
    assert sum(len(of_a_problem) == 3 for of_a_problem in texts) >= NUM_PROBLEMS / 2
    assert "avg@3" in log.results.scores[0].metrics
