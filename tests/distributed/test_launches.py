# SPDX-License-Identifier: Apache-2.0
"""Launches after which processes would train alone, or otherwise than the recipe says, are refused at once."""

import sys
import time

import pytest

from open_r1.cluster.steps import find_reason
from tests.distributed.launching import NEEDS_DEEPSPEED, ON_CPU, ROOT, launch_command, run
from tests.distributed.trainings import SFT

pytestmark = pytest.mark.distributed
TWO = ["--num_processes", "2"]
ALONE = "2 processes were launched, but they would train alone"
ONE_STARTED = "was asked for several processes but started only this one"
NO_FSDP = "The launcher asks for FSDP, but the processes would run as"
LIMIT_S = 240  # 12 s on a quiet machine, of which 10 are imports; to wait for a peer would be 300


@pytest.fixture
def refused(recipes, tmp_path):
    """Return the function that launches SFT, asserts that it is refused, and returns what was printed."""

    def launch(config: str, *arguments: str, options=TWO, **variables: str) -> str:
        words = launch_command(
            *(config, SFT, "--config", recipes.sft, "--output_dir", tmp_path / "run", *arguments), options=options
        )
        started = time.monotonic()
        ended = run(words, **variables)
        assert ended.exit_code not in (0, None), ended.output
        assert time.monotonic() - started < LIMIT_S
        assert not (tmp_path / "run").exists()
        return ended.output

    return launch


def test_ddp_without_use_cpu_is_refused_by_one_sentence_a_process(refused):
    output = refused("ddp")
    sentences = [line for line in output.splitlines() if ALONE in line]
    # The launcher ends the others as soon as one has failed.
    assert sentences and len(set(sentences)) == len(sentences) <= 2
    assert all(line.startswith(("[rank0]: RuntimeError: ", "[rank1]: RuntimeError: ")) for line in sentences)
    assert "start_run" not in output  # no traceback of ours
    assert (find_reason(output) or "").startswith(f"RuntimeError: {ALONE}")  # what a cluster's job says


@NEEDS_DEEPSPEED
def test_zero_without_gloo_is_refused(refused):
    assert ALONE in refused("zero2", **ON_CPU["zero2"][0])


def test_fsdp_without_gpus_is_refused(refused):
    assert ALONE in refused("fsdp")


def test_fsdp_with_gloo_which_would_not_share_gradients_is_refused(refused):
    assert ALONE in refused("fsdp", "--ddp_backend", "gloo")


def test_fsdp_with_use_cpu_which_would_be_ddp_is_refused(refused):
    assert NO_FSDP in refused("fsdp", "--use_cpu", "true")


def test_two_processes_on_a_config_that_starts_one_are_refused(refused):
    assert ONE_STARTED in refused("cpu", "--use_cpu", "true")


def test_multi_cpu_config_is_refused(refused, tmp_path):
    text = (ROOT / "recipes/accelerate_configs/ddp.yaml").read_text(encoding="utf-8")
    path = tmp_path / "multi_cpu.yaml"
    path.write_text(text.replace("MULTI_GPU", "MULTI_CPU"), encoding="utf-8")
    assert ONE_STARTED in refused(str(path), "--use_cpu", "true")


def test_world_size_without_a_launcher_is_refused(recipes, tmp_path):
    words = [sys.executable, SFT, "--config", str(recipes.sft), "--output_dir", str(tmp_path / "run")]
    ended = run(words, WORLD_SIZE="2")
    assert ended.exit_code not in (0, None)
    assert ALONE in ended.output


@NEEDS_DEEPSPEED
def test_accumulation_of_launcher_and_recipe_that_differ_are_refused(refused):
    variables, needed = ON_CPU["zero2"]
    output = refused("zero2", *needed, options=[*TWO, "--gradient_accumulation_steps", "4"], **variables)
    assert "The launcher sets gradient_accumulation_steps 4 and the recipe 2" in output
    assert "would take 16 rows or 8 (per_device_train_batch_size 2 x 2 processes" in output.replace("\n", " ")
