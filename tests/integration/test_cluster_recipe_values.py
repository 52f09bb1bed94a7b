# SPDX-License-Identifier: Apache-2.0
"""The launcher reads what the trainer reads: the same values from the same recipe and words, and the same defaults."""

import dataclasses

import pytest

from open_r1.arguments import RecipeParser
from open_r1.cluster.recipe_values import _SETTINGS, read_values
from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig, SFTConfig

RECIPE = """
dataset_name: tasks/running_sums
model_name_or_path: org/model
torch_dtype: bfloat16
use_vllm: true
num_generations: '4'
per-device-train-batch-size: 4.0
use_cpu: true
bf16: false
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--model_name_or_path", "a b", "--model-revision=x=y", "--num-generations", "2"),
        ("--use_vllm", "false", "--vllm_mode", "server", "--vllm_max_model_length=64", "--torch_dtype", "auto"),
        ("--trust_remote_code", "--steps_per_generation", "2", "--output_dir", "an output", "--vllm_device", "auto"),
        ("--use_vllm=yes", "--generation_batch_size=8", "--vllm_gpu_memory_utilization=.5", "--bf16=False"),
    ],
)
def test_launcher_and_trainer_read_the_same(recipe, words):
    parsed = RecipeParser((GRPOScriptArguments, GRPOConfig, ModelConfig)).parse(["--config", str(recipe), *words])
    values = read_values(recipe, words)
    apart = {"max_length", "steps_per_generation", "generation_batch_size"}  # SFT's; each made of the other
    for name in set(_SETTINGS) - apart:
        (of_trainer,) = (getattr(part, name) for part in parsed if hasattr(part, name))
        assert values[name] == of_trainer, name
    steps = values["steps_per_generation"] or values["gradient_accumulation_steps"]
    batch = values["generation_batch_size"] or values["per_device_train_batch_size"] * steps
    assert batch == parsed[1].generation_batch_size


def test_defaults_are_those_of_the_trainer():
    defaults = {
        field.name: field.default
        for part in (GRPOScriptArguments, GRPOConfig, SFTConfig, ModelConfig)
        for field in dataclasses.fields(part)
    }
    left_to_the_trainer = {"output_dir"}  # None in the dataclass: made up when it is parsed
    for name in set(_SETTINGS) - left_to_the_trainer:
        assert _SETTINGS[name][1] == defaults[name], name
