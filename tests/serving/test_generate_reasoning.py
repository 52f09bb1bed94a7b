# SPDX-License-Identifier: Apache-2.0
"""generate_reasoning.py with a real vLLM, through kill -9."""

import json
import os
import signal

import pytest

from open_r1.data.folder import load_columns
from scripts.generate_reasoning import main
from tests.serving.scripts import CAPITALS, Gate, count_lines, started, write_capitals
from tests.waiting import wait_until

pytestmark = pytest.mark.serving


def words(server, tmp_path, *more):
    return [
        "--dataset-name",
        str(write_capitals(tmp_path)),
        "--prompt-column",
        "problem",
        "--uuid-column",
        "id",
        "--prompt-template",
        "{prompt}",
        "--api-addr",
        server.url,
        "--output-dir",
        str(tmp_path / "out"),
        *more,
    ]


def test_model_is_found_and_answers(server, tmp_path):
    assert main(words(server, tmp_path, "--temperature", "0", "--max-tokens", "16", "--num-generations", "1")) == 0
    table = load_columns(tmp_path / "out", ["solution", "generations"]).to_pylist()
    right = [row["solution"] in row["generations"][0] for row in table]
    assert (len(right), sum(right) >= len(right) / 2) == (len(CAPITALS), True)


def test_seed_gives_each_generation_one_of_its_own(server, tmp_path):
    sampling = ["--temperature", "1", "--seed", "7", "--max-tokens", "32", "--num-generations", "3"]
    assert main(words(server, tmp_path, *sampling)) == 0
    table = load_columns(tmp_path / "out", ["generations"]).to_pylist()
    assert sum(len(set(row["generations"])) == 3 for row in table) >= len(table) / 2


def test_killed_run_goes_on_with_what_is_missing(server, tmp_path):
    journal = tmp_path / "out" / "generations.jsonl"
    with Gate(server.url, most=7) as gate:
        command = words(gate, tmp_path, "--max-tokens", "48", "--num-generations", "4", "--max-concurrent", "4")
        with started("scripts/generate_reasoning.py", *command) as process:
            wait_until(lambda: count_lines(journal) >= 8 or process.poll() is not None)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert journal.exists(), process.said()
        kept = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
        assert len(kept) == 7 < 4 * len(CAPITALS)
        gate.open()
        assert main(command) == 0
    table = load_columns(tmp_path / "out", ["id", "generations", "finish_reasons"]).to_pylist()
    texts = {text for row in table for text in row["generations"]}
    assert all(record["text"] in texts for record in kept)
    assert [row["id"] for row in table] == list(CAPITALS)
    assert all(len(row["generations"]) == 4 and "error" not in row["finish_reasons"] for row in table)
