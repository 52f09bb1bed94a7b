# SPDX-License-Identifier: Apache-2.0
"""SFT and GRPO survive a kill -9 and end with the same weights; a benchmark measures what SFT made."""

import json

import pytest

from open_r1.manifest import missing_from
from open_r1.training.checkpoints import list_checkpoints
from scripts.run_benchmarks import main as run_benchmarks
from tests.integration.fork_driver import ForkDriver
from tests.integration.tiny import are_identical, build_tiny, weights_of

SETTINGS = {"sft": {"max_steps": 8}, "grpo": {"max_steps": 6, "max_completion_length": 24}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def driver():
    driver = ForkDriver({})
    yield driver
    driver.close()


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_killed_training_resumes_and_ends_with_the_same_weights(driver, tiny, tmp_path, kind):
    settings = {"save_steps": 1, "learning_rate": 1e-3, **SETTINGS[kind]}
    reference, killed, log = tmp_path / "reference", tmp_path / "killed", tmp_path / "log"
    assert driver.start(kind, tiny.argv(kind, reference, **settings), log).wait() == 0, log.read_text()[-3000:]

    argv = tiny.argv(kind, killed, **settings)
    assert driver.start(kind, argv, log).kill_when(lambda: len(list_checkpoints(killed)) >= 2)
    assert missing_from(killed) is not None
    assert driver.start(kind, argv, log).wait() == 0, log.read_text()[-3000:]
    assert missing_from(killed) is None
    assert are_identical(weights_of(reference), weights_of(killed))


def test_a_benchmark_measures_a_model_by_transformers(tiny, tmp_path):
    words = ["--model_id", str(tiny.model), "--data", str(tiny.data / "test.jsonl"), "--backend", "transformers"]
    assert run_benchmarks([*words, "--output_dir", str(tmp_path), "--max_tokens", "32", "--num_samples", "2"]) == 0
    results = json.loads(next(tmp_path.rglob("results.json")).read_text(encoding="utf-8"))
    assert results["counts"]["returned"] == 12
    assert results["settings"]["served_by"][0]["engine"] == "transformers"
