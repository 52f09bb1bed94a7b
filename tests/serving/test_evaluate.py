# SPDX-License-Identifier: Apache-2.0
"""run_benchmarks.py with a real vLLM."""

import json

import pyarrow.parquet as pq
import pytest

from scripts.run_benchmarks import main
from tests.integration.tiny import write_rows

pytestmark = pytest.mark.serving

NUM_PROBLEMS, NUM_SAMPLES = 6, 3


def test_answers_differ_by_their_seeds_and_are_counted(server, tmp_path):
    rows = [{"problem": f"What is {number}+{number}?", "solution": str(2 * number)} for number in range(NUM_PROBLEMS)]
    data = write_rows(tmp_path / "sums.jsonl", rows)
    words = ["--url", server.url, "--data", data, "--output_dir", tmp_path / "out", "--num_samples", NUM_SAMPLES]
    assert main([*map(str, words), "--max_tokens", "48", "--temperature", "1"]) == 0
    (folder,) = (tmp_path / "out").rglob("sums")
    answers = pq.read_table(folder / "answers.parquet").to_pylist()
    texts = [[row["answer"] for row in answers if row["row"] == number] for number in range(NUM_PROBLEMS)]
    assert sum(len(set(of_a_problem)) == NUM_SAMPLES for of_a_problem in texts) >= NUM_PROBLEMS / 2
    assert all(0 < row["num_tokens"] <= 48 for row in answers)
    results = json.loads((folder / "results.json").read_text())
    assert results["counts"]["returned"] == len(answers)
