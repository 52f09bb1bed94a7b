# SPDX-License-Identifier: Apache-2.0
"""run_benchmarks.py with a real vLLM: seeds, kill -9."""

import json
import os
import signal

import pyarrow.parquet as pq
import pytest

from scripts.run_benchmarks import main
from tests.serving.scripts import Gate, count_lines, started
from tests.waiting import wait_until

pytestmark = pytest.mark.serving

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
    assert results["counts"]["returned"] == len(answers)


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
