# SPDX-License-Identifier: Apache-2.0
"""Launches after which processes would train alone, or otherwise than the recipe says, are refused at once.

Two by a real launcher; the others, with the variables that it sets, are in `tests/integration/test_training_start.py`.
"""

import time

import pytest

from tests.distributed.launching import NEEDS_DEEPSPEED, ON_CPU, launch, launch_forked, launch_words
from tests.distributed.trainings import SFT

pytestmark = pytest.mark.distributed
TWO = ["--num_processes", "2"]
ALONE = "2 processes were launched, but they would train alone"
LIMIT_S = 240  # 12 s on a quiet machine; to wait for a peer would be 300


@pytest.fixture
def refused(recipes, tmp_path):
    """Return the function that launches SFT, asserts that it is refused, and returns what was printed."""

    def refuse(config: str, *arguments: str, options=TWO, start=launch, **variables: str) -> str:
        words = launch_words(
            *(config, SFT, "--config", recipes.sft, "--output_dir", tmp_path / "run", *arguments), options=options
        )
        started = time.monotonic()
        ended = start(words, **variables)
        assert ended.exit_code not in (0, None), ended.output
        assert time.monotonic() - started < LIMIT_S
        assert not (tmp_path / "run").exists()
        return ended.output

    return refuse


def test_ddp_without_use_cpu_is_refused_by_one_sentence_a_process(refused):
    output = refused("ddp")
    sentences = [line for line in output.splitlines() if ALONE in line]
    # The launcher ends the others as soon as one has failed.
    assert sentences and len(set(sentences)) == len(sentences) <= 2
    assert all(line.startswith(("[rank0]: RuntimeError: ", "[rank1]: RuntimeError: ")) for line in sentences)
    assert "start_run" not in output  # no traceback of ours


@NEEDS_DEEPSPEED
def test_accumulation_of_launcher_and_recipe_that_differ_are_refused(refused):
    variables, needed = ON_CPU["zero2"]
    options = [*TWO, "--gradient_accumulation_steps", "4"]
    output = refused("zero2", *needed, options=options, start=launch_forked, **variables)
    assert "The launcher sets gradient_accumulation_steps 4 and the recipe 2" in output
    assert "would take 16 rows or 8 (per_device_train_batch_size 2 x 2 processes" in output.replace("\n", " ")
