# SPDX-License-Identifier: Apache-2.0
"""What a recipe may hold: a file that is YAML, with values that fit their arguments."""

import dataclasses
from typing import get_type_hints

import pytest
from trl import ModelConfig

from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.recipes import fit_value, load_recipe

CLASSES = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("learning_rate: 1e-5", "learning_rate", 1e-5),  # text in YAML 1.1
        ("learning_rate: '1e-5'", "learning_rate", 1e-5),
        ("learning_rate: .5e-3", "learning_rate", 5e-4),
        ("learning_rate: 1", "learning_rate", 1),
        ("lr_scheduler_kwargs: {min_lr: 1e-6}", "lr_scheduler_kwargs", {"min_lr": 1e-6}),
        ("max_steps: 1e3", "max_steps", 1000),
        ("max_steps: 10.0", "max_steps", 10),
        ("max_steps: '10'", "max_steps", 10),
        ("max_steps: -1", "max_steps", -1),
        ("gradient_checkpointing: no", "gradient_checkpointing", False),
        ("gradient_checkpointing: 'off'", "gradient_checkpointing", False),
        ("gradient_checkpointing: 0", "gradient_checkpointing", False),
        ("reward_funcs: accuracy", "reward_funcs", ["accuracy"]),  # not its letters
        ("reward_funcs: [accuracy, format]", "reward_funcs", ["accuracy", "format"]),
        ("reward_weights: 1", "reward_weights", [1]),
        ("reward_weights: [1, 1e-1, '0.5']", "reward_weights", [1, 0.1, 0.5]),
        ("lora_target_modules: all-linear", "lora_target_modules", "all-linear"),
        ("report_to: none", "report_to", []),
        ("report_to: [tensorboard]", "report_to", ["tensorboard"]),
        ("scale_rewards: false", "scale_rewards", "none"),
        ("scale_rewards: true", "scale_rewards", "group"),
        ("resume_from_checkpoint: false", "resume_from_checkpoint", False),
        ("system_prompt: null", "system_prompt", None),
        ("system_prompt: |\n  two\n  lines\n", "system_prompt", "two\nlines\n"),
        ("bf16: 'false'", "bf16", False),
        ("save_steps: 0.5", "save_steps", 0.5),
    ],
)
def test_value_of_a_recipe_has_the_type_of_its_argument(parse, text, name, value):
    found = parse(text + "\n")
    assert found[name] == value
    assert type(found[name]) is type(value)
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: abc", "`learning_rate` in the recipe is 'abc', but it must be a number"),
        ("learning_rate: [1]", "must be a number"),
        ("learning_rate: null", "is null, but it must be a number"),
        ("learning_rate: true", "must be a number"),
        ("max_steps: 8.5", "must be a whole number"),
        ("max_steps: .inf", "must be a whole number"),
        ("max_steps: .nan", "must be a whole number"),
        ("max_steps: 2024-01-01", "must be a whole number"),
        ("bf16: maybe", "must be true or false"),
        ("bf16: 2", "must be true or false"),
        ("reward_funcs: null", "must be a list of text"),
        ("reward_funcs: {a: 1}", "must be a list of text"),
        ("reward_funcs: [accuracy, 5]", "`reward_funcs` in the recipe is 5, but it must be text"),
        ("reward_funcs: [[accuracy]]", r"is \['accuracy'\], but it must be text"),
        ("reward_weights: [1, x]", "is 'x', but it must be a number"),
        ("system_prompt: 5", "put it in quotes"),
        ("system_prompt: no", "put it in quotes"),
        ("system_prompt: 2024-01-01", "put it in quotes"),
        ("system_prompt: [a]", "must be text or null"),
        ("code_language: rust", "must be one of 'python'"),
        ("repetition_language: no", "must be one of 'en', 'zh'"),
        ("dtype: float17", "must be one of"),
        ("torch_dtype: float17", "must be one of"),
        ("lr_scheduler_kwargs: [1]", "must be a mapping"),
        ("dataset_mixture: hello", "must be a mapping"),
        ("reward_domains: [math]", "must be a mapping"),
        ("eval_strategy: true", "must be one of 'no', 'steps', 'epoch'"),
        ("eval_strategy: sometimes", "sometimes"),
    ],
)
def test_value_of_the_wrong_type_is_refused(parse, text, message):
    with pytest.raises(ValueError, match=message):
        parse(text + "\n")


@pytest.mark.parametrize("name", ["eval_strategy", "save_strategy", "logging_strategy"])
def test_unquoted_no_is_a_strategy(parse, name):
    found = parse(f"{name}: no\n")
    assert found[name] == "no"
    assert len(found["warnings"]) == 1
    assert "quotes" in found["warnings"][0]
    assert parse(f"{name}: 'no'\n")["warnings"] == []


def test_old_name_of_a_strategy_takes_unquoted_no_too(parse):
    assert parse("evaluation_strategy: no\n")["eval_strategy"] == "no"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read the recipe .*No such file"),
        (b"", "must be a mapping"),
        (b"- a\n- b\n", "must be a mapping"),
        (b"just text", "must be a mapping"),
        (b"a: [1\n", "not valid YAML"),
        (b"a: 1\n  b: 2\n", "not valid YAML"),
        (b"a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        (b"\xff\xfe\x00\x01", "not valid YAML"),
        (b"a: \x00", "not valid YAML"),
        (b"[" * 1500, "not valid YAML"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_unreadable_recipe_is_refused(content, message, tmp_path):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_recipe(path)


def test_folder_is_no_recipe(tmp_path):
    with pytest.raises(ValueError, match="Cannot read the recipe"):
        load_recipe(tmp_path)


@pytest.mark.parametrize("config_class", [*CLASSES["sft"], *CLASSES["grpo"], ModelConfig])
def test_every_default_fits_its_own_type(config_class):
    hints = get_type_hints(config_class)
    for entry in dataclasses.fields(config_class):
        if entry.init and isinstance(entry.default, (str, int, float, type(None))):
            assert fit_value(entry.default, hints[entry.name]) == entry.default, entry.name
