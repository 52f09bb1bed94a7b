# SPDX-License-Identifier: Apache-2.0
"""The trainings that the tests look at: each runs once and serves many assertions."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distributed.launching import NEEDS_DEEPSPEED, driver, train
from tests.distributed.trainings import RECORD, SFT, Recipes, write_recipes


@pytest.fixture(scope="session", autouse=True)
def end_of_driver():
    """End the process from which launches were forked."""
    yield
    if driver.cache_info().currsize:
        driver().close()


@pytest.fixture(scope="session")
def recipes(tmp_path_factory) -> Recipes:
    return write_recipes(tmp_path_factory.mktemp("distributed"))


# ZeRO-2 is compared in test_grpo.py and test_packing.py: what it shares with both isn't looked at a third time.
@pytest.fixture(scope="session", params=["ddp", pytest.param("zero3", marks=NEEDS_DEEPSPEED)])
def config(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def sft_alone(recipes) -> Path:
    """SFT by one process with the global batch of the two."""
    output_dir = recipes.folder / "sft-alone"
    batch = ["--per_device_train_batch_size", 8, "--gradient_accumulation_steps", 1]
    train("cpu", SFT, recipes.sft, output_dir, *batch)
    return output_dir


@pytest.fixture(scope="session")
def run_sft(recipes) -> Callable[[str], Path]:
    """Return the function that gives the SFT run of a config; under ZeRO-3 it is launched as by a user."""

    @functools.cache
    def run_once(config: str) -> Path:
        output_dir = recipes.folder / f"sft-{config}"
        train(config, SFT, recipes.sft, output_dir, is_forked=config == "ddp")
        return output_dir

    return run_once


@pytest.fixture
def sft(config, run_sft) -> Path:
    """SFT by two processes."""
    return run_sft(config)


@pytest.fixture(scope="session")
def run_grpo(recipes) -> Callable[[str], Path]:
    """Return the function that gives the GRPO run of a config; parameters are written down at each step."""

    @functools.cache
    def run_once(config: str) -> Path:
        output_dir = recipes.folder / f"grpo-{config}"
        train(config, RECORD, recipes.grpo, output_dir, "--callbacks", "record_parameters")
        return output_dir

    return run_once
