# SPDX-License-Identifier: Apache-2.0
"""Every recipe goes through the parser that the training scripts use, and arrives as it was written."""

import logging
import re
from enum import Enum
from pathlib import Path

import pytest
import trl
from datasets import Dataset
from trl import ModelConfig

from open_r1.arguments import RecipeParser
from open_r1.configs import (
    DatasetMixtureConfig,
    DistillConfig,
    DistillScriptArguments,
    GRPOConfig,
    GRPOScriptArguments,
    SFTConfig,
    SFTScriptArguments,
)
from open_r1.data.training_rows import to_conversations
from open_r1.models import completion_prefix, read_template
from open_r1.preflight import check_ideal_completion
from open_r1.recipes import load_recipe
from open_r1.rewards import RewardContext, get_reward_funcs
from open_r1.tasks import load_task
from scripts.stand_ins import byte_tokenizer
from tests.integration.program_rows import ROW_OF

ROOT = Path(__file__).resolve().parents[2]
# Those of trainings: scripts/curate.py and scripts/compute_pass_rate.py read the ones of these folders.
OF_DATA = {"curation", "dataset_filtering"}
RECIPES = sorted(path for path in (ROOT / "recipes").glob("**/config_*.yaml") if path.parent.name not in OF_DATA)
CLASSES = {
    "sft": (SFTScriptArguments, SFTConfig),
    "grpo": (GRPOScriptArguments, GRPOConfig),
    "distill": (DistillScriptArguments, DistillConfig),
}


def task_of(path: Path) -> str:
    return path.parent.name if path.parent.name in ("sft", "distill") else "grpo"


def parse(path: Path, *overrides: str):
    parser = RecipeParser((*CLASSES[task_of(path)], ModelConfig))
    return parser.parse(["--config", str(path), "--use_cpu", "true", *overrides])


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT / "recipes"))


every_recipe = pytest.mark.parametrize("path", RECIPES, ids=by_path)


@every_recipe
def test_recipe_uses_names_of_today(path, caplog, recwarn):
    with caplog.at_level(logging.WARNING):
        parse(path)
    assert caplog.messages == []
    assert [str(warning.message) for warning in recwarn if "deprecated" in str(warning.message)] == []


@every_recipe
def test_every_value_arrives_as_written(path):
    objects = parse(path)
    for key, written in load_recipe(path).items():
        owner = next(entry for entry in objects if hasattr(entry, key))
        value = getattr(owner, key)
        if isinstance(value, DatasetMixtureConfig):
            assert [entry.id for entry in value.datasets] == [entry["id"] for entry in written["datasets"]]
            continue
        value = value.value if isinstance(value, Enum) else value
        if key == "report_to":
            written = [] if written == "none" else [written]
        if key != "use_cpu":
            assert value == written, key


@every_recipe
def test_every_number_is_a_number(path):
    # YAML 1.1 reads 1e-6 as text; 1.0e-06 is a number in every reader.
    recipe = load_recipe(path)
    numbers = [key for key in recipe if key in ("learning_rate", "beta", "warmup_steps", "temperature", "save_steps")]
    assert [key for key in numbers if not isinstance(recipe[key], int | float)] == []


def test_command_line_wins_over_the_recipe():
    path = ROOT / "recipes" / "Qwen2.5-1.5B-Instruct" / "grpo" / "config_demo.yaml"
    script, training, model = parse(
        path,
        "--learning_rate",
        "3e-7",
        "--reward_weights",
        "1.0",
        "0.0",
        "0.5",
        "--vllm_mode=server",
        "--dataset_train_split",
        "train[:100]",
        "--model_name_or_path",
        "my/model",
        "--log_completions",
        "false",
    )
    assert training.learning_rate == 3e-7
    assert training.reward_weights == [1.0, 0.0, 0.5]
    assert training.vllm_mode == "server"
    assert training.log_completions is False
    assert script.dataset_train_split == "train[:100]"
    assert model.model_name_or_path == "my/model"


def test_reward_of_a_recipe_can_be_replaced_as_a_list():
    path = ROOT / "recipes" / "Qwen2.5-1.5B-Instruct" / "grpo" / "config_demo.yaml"
    script, training, _ = parse(path, "--reward_funcs", "accuracy", "--reward_weights", "1.0")
    assert script.reward_funcs == ["accuracy"]
    assert training.reward_weights == [1.0]


@pytest.mark.parametrize("path", [path for path in RECIPES if task_of(path) == "grpo"], ids=by_path)
def test_beta_and_loss_are_not_left_to_the_library(path):
    _, training, _ = parse(path)
    recipe = load_recipe(path)
    assert (training.beta, training.loss_type) == (recipe["beta"], recipe["loss_type"])
    assert training.generation_batch_size % training.num_generations == 0


def first_row(script: GRPOScriptArguments, name: str | None, config: str | None, rewards: list[str]) -> dict:
    if name is not None and name.startswith("tasks/"):
        small = re.sub(r"num_train=\d+", "num_train=1", config or "")
        return load_task(name.removeprefix("tasks/"), small)["train"][0]
    if programs := [ROW_OF[reward] for reward in rewards if reward in ROW_OF]:
        return {script.dataset_prompt_column: "Write a program."} | programs[0]
    return {script.dataset_prompt_column: "What is 6 times 7?", script.dataset_solution_column: "42"}


def first_rows(script: GRPOScriptArguments) -> list[dict]:
    """One row of every data set of the recipe, each with all columns."""
    if not isinstance(script.dataset_mixture, DatasetMixtureConfig) or script.reward_domains is None:
        return [first_row(script, script.dataset_name, script.dataset_config, script.reward_funcs)]
    found = []
    for entry in script.dataset_mixture.datasets:
        row = first_row(script, entry.id, entry.config, script.reward_domains.get(entry.domain, []))
        domain = {} if entry.domain is None else {"domain": entry.domain}
        found.append({name: row[name] for name in entry.columns or row} | domain)
    names = {name for row in found for name in row}
    return [{name: row.get(name) for name in names} for row in found]


def not_loaded(**columns):
    """Stand for a reward model, of which only the name is read."""
    raise AssertionError


@pytest.mark.parametrize(
    "path",
    [path for path in RECIPES if task_of(path) == "grpo" and "demo" not in path.parts],
    ids=by_path,
)
def test_template_prompt_and_rewards_agree(path):
    script, training, _ = parse(path)
    # Without a template in the recipe the tokenizer's own is used, and those models are all of Qwen's family.
    qwen = Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja"
    template = qwen.read_text(encoding="utf-8") if training.chat_template is None else training.chat_template
    tokenizer = byte_tokenizer(read_template(template), "<|im_end|>")
    rows = to_conversations(Dataset.from_list(first_rows(script)), script, training.system_prompt)
    assert completion_prefix(tokenizer, rows[0]["prompt"]) == ""
    context = RewardContext(
        num_generations=training.num_generations,
        eos_token_ids=(tokenizer.eos_token_id,),
        max_completion_length=training.max_completion_length,
    )
    rewards = get_reward_funcs(script, context, load_reward_model=lambda name: not_loaded)
    check_ideal_completion(rewards, script, rows, tokenizer, context)
