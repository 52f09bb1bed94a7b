# SPDX-License-Identifier: Apache-2.0
"""What a recipe may hold: a file that is YAML, with values that fit their arguments."""

import ast
import dataclasses
import inspect
from collections import defaultdict
from enum import Enum
from typing import get_type_hints

import pytest
import transformers
import trl
from trl import ModelConfig

from open_r1.arguments import CLOSED_VALUES, RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.recipes import load_recipe

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
        ("gradient_checkpointing: off", "gradient_checkpointing", False),
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
        ("max_prompt_length: 1e3", "max_prompt_length", 1000),
        ("pad_to_multiple_of: 64", "pad_to_multiple_of", 64),
        ("stop_strings: ['---', '--x']", "stop_strings", ["---", "--x"]),  # words of a command line can't be these
        ("model_init_kwargs: {revision: '1.10'}", "model_init_kwargs", {"revision": "1.10"}),
        ("code_provider: null", "code_provider", None),
        ("max_completion_length: null", "max_completion_length", None),
    ],
)
def test_value_of_a_recipe_has_the_type_of_its_argument(parse, text, name, value):
    found = parse(text + "\n")
    assert found[name] == value
    assert type(found[name]) is type(value)
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("learning_rate: abc", "learning_rate"),
        ("learning_rate: [1]", "learning_rate"),
        ("learning_rate: null", "learning_rate"),
        ("learning_rate: true", "learning_rate"),
        ("max_steps: 8.5", "max_steps"),
        ("max_steps: .inf", "max_steps"),
        ("max_steps: .nan", "max_steps"),
        ("max_steps: 2024-01-01", "max_steps"),
        ("max_prompt_length: true", "max_prompt_length"),
        ("bf16: maybe", "bf16"),
        ("bf16: 2", "bf16"),
        ("reward_funcs: null", "reward_funcs"),
        ("reward_funcs: {a: 1}", "reward_funcs"),
        ("reward_funcs: [accuracy, 5]", "reward_funcs"),
        ("reward_funcs: [accuracy, null]", "reward_funcs"),
        ("reward_funcs: [[accuracy]]", "reward_funcs"),
        ("reward_weights: [1, x]", "reward_weights"),
        ("system_prompt: 5", "system_prompt.*quotes"),
        ("system_prompt: no", "system_prompt.*quotes"),
        ("system_prompt: 2024-01-01", "system_prompt.*quotes"),
        ("hub_model_revision: 1.10", "hub_model_revision.*quotes"),
        ("system_prompt: [a]", "system_prompt"),
        ("code_language: rust", "code_language"),
        ("repetition_language: no", "repetition_language"),
        ("dtype: float17", "dtype"),
        ("torch_dtype: float17", "dtype"),
        ("lr_scheduler_kwargs: [1]", "lr_scheduler_kwargs"),
        ("parallelism_config: {tp_size: 2}", "parallelism_config"),
        ("dataset_mixture: hello", "dataset_mixture"),
        ("reward_domains: [math]", "reward_domains"),
        ("eval_strategy: true", "eval_strategy"),
        ("eval_strategy: sometimes", "eval_strategy"),
    ],
)
def test_value_of_the_wrong_type_is_refused_by_name(parse, text, name):
    with pytest.raises(ValueError, match=f"`{name}"):
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


@pytest.mark.parametrize("task", CLASSES)
def test_every_default_may_be_written_into_a_recipe(task):
    parser = RecipeParser((*CLASSES[task], ModelConfig))
    for entry in (entry for kind in parser.dataclass_types for entry in dataclasses.fields(kind) if entry.init):
        if isinstance(entry.default, (str, int, float, type(None))) and not isinstance(entry.default, Enum):
            assert parser.read_value(entry.name, entry.default) == entry.default, entry.name


# Compared with some special words, or checked by the libraries when the arguments are built.
OPEN = {
    *("eval_strategy", "fsdp_config", "include_for_metrics", "include_num_input_tokens_seen", "optim", "optim_args"),
    *("pad_to_multiple_of", "report_to", "scale_rewards"),
}


def texts_in(node):
    nodes = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [node]
    return {each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def compared_texts():
    """Return the texts with which the libraries compare attributes, by the attribute's name."""
    found = defaultdict(set)
    modules = [
        *(trl.trainer.grpo_trainer, trl.trainer.grpo_config, trl.trainer.sft_trainer, trl.trainer.sft_config),
        *(trl.trainer.base_config, trl.generation.vllm_generation, transformers.training_args, transformers.trainer),
    ]
    for module in modules:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            for side in sides:
                if isinstance(side, ast.Attribute):
                    found[side.attr] |= set().union(*map(texts_in, sides))
    return found


def test_table_has_the_values_that_the_libraries_know():
    compared, choices = compared_texts(), set()
    named = {}
    for config in (trl.SFTConfig, trl.GRPOConfig, ModelConfig):
        hints = get_type_hints(config)
        for field in dataclasses.fields(config):
            is_closed_there = "choices" in field.metadata
            choices |= set(field.metadata.get("choices", ()))
            if "str" in str(hints[field.name]) and compared[field.name] and field.name not in OPEN:
                named[field.name] = named.get(field.name, False) or not is_closed_there
    expected = {name: compared[name] - choices for name, is_ours in named.items() if is_ours}
    assert expected == {name: set(CLOSED_VALUES[name]) for name in expected}
    assert len(expected) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss_type", "drgrpo"),
        ("importance_sampling_level", "seq"),
        ("attn_implementation", "flash_attention2"),
        ("vllm_mode", "colocated"),
        ("report_to", "tensorbord"),
        ("report_to", ["wandb", "tensorbord"]),
    ],
)
def test_misspelt_value_is_refused_before_anything_loads(parse, name, value):
    with pytest.raises(ValueError, match=f"{name}.*{value[-1] if isinstance(value, list) else value}"):
        parse(f"{name}: {value}\n")


def test_kernel_of_the_hub_is_an_attention(parse):
    assert parse("attn_implementation: kernels-community/flash-attn2\n")["attn_implementation"].startswith("kernels-")
