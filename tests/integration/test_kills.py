# SPDX-License-Identifier: Apache-2.0
"""kill -9 at 20 moments of a generation, of an evaluation by a model in the process, and of pass rates.

A command runs once without a kill. Then it is killed at each twentieth of the time that it took, in a folder of its
own, and repeated: the answers are the same, and no answer that was kept is asked for again.
"""

import json
import multiprocessing
import sys
import time
import urllib.request

import pyarrow.parquet as pq
import pytest
import torch

from scripts import compute_pass_rate, generate_reasoning, run_benchmarks
from tests.integration import pass_rates, reasoning_runs
from tests.integration.fakes.chat_server import chat_server_process
from tests.integration.tiny import build_tiny

NUM_KILLS, IN_FLIGHT = 20, 2


def start(main, words):
    """Run a command in a process that has its modules already."""
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main([*map(str, words)])))
    process.start()
    return process


def finish(main, words):
    process = start(main, words)
    process.join()
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def server():
    with chat_server_process("--latency-s", "0.02") as address:
        yield address


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.set_num_threads(1)
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(params=["generation", "evaluation", "pass rates"])
def case(request, tmp_path, server, tiny):
    """The command, its words in a folder, its journal, the columns with answers, and the number of answers."""
    if request.param == "evaluation":

        def evaluation(folder):
            return ["--model_id", tiny.model, "--data", tiny.data / "test.jsonl", "--backend", "transformers",
                    "--output_dir", folder, "--max_tokens", 32, "--num_samples", 3,
                    "--max_concurrent", IN_FLIGHT]  # fmt: skip

        return run_benchmarks.main, evaluation, "model/main/test/journal.jsonl", ["answer"], 18
    if request.param == "generation":
        reasoning_runs.write_rows(tmp_path / "rows.jsonl", 20)

        def generation(folder):
            flags = ("--output-dir", folder, "--max-concurrent", IN_FLIGHT)
            return [*reasoning_runs.words(tmp_path, server), *flags]

        return generate_reasoning.main, generation, "generations.jsonl", ["uuid", "generations"], 40
    pass_rates.write_rows(tmp_path / "rows.jsonl", 10)

    def rates(folder):
        flags = ("--max_concurrent", IN_FLIGHT)
        return pass_rates.words(tmp_path, tiny.model, server, *flags, output=folder)

    columns = ["problem", "pass_rate", "pass_rate_rewards", "pass_rate_generations"]
    return compute_pass_rate.main, rates, "generations.jsonl", columns, 40


def answers_of(folder, columns):
    files = sorted(folder.rglob("data/train-*.parquet")) or sorted(folder.rglob("answers.parquet"))
    return [pq.read_table(file, columns=columns).to_pylist() for file in files]


def num_answered(server):
    with urllib.request.urlopen(f"http://{server}/health") as response:
        return json.load(response)["answered"]


def test_killed_at_20_moments_the_answers_are_the_same_and_none_is_asked_for_twice(case, tmp_path, server):
    main, words_in, journal, columns, total = case
    finish(main, words_in(tmp_path / "warm"))
    started = time.monotonic()
    finish(main, words_in(tmp_path / "whole"))
    seconds = time.monotonic() - started
    expected = answers_of(tmp_path / "whole", columns)
    assert expected
    for moment in range(NUM_KILLS):
        folder, before = tmp_path / str(moment), num_answered(server)
        process = start(main, words_in(folder))
        process.join(seconds * (moment + 1) / NUM_KILLS)
        process.kill()
        process.join()
        finish(main, words_in(folder))
        assert answers_of(folder, columns) == expected
        kept = [json.loads(line) for line in (folder / journal).read_text().splitlines()[1:]]
        assert len({(record["key"], record["index"]) for record in kept}) == len(kept) == total
        assert num_answered(server) - before <= total + IN_FLIGHT
