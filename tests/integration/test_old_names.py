# SPDX-License-Identifier: Apache-2.0
"""Names of Open R1 and of older TRL releases: translated with one warning, or refused with the way out."""

import dataclasses

import pytest
from trl import ModelConfig

from open_r1.arguments import REMOVED, TRANSLATIONS
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments

CLASSES = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}

# Old name: value in YAML, task, today's name, today's value.
OLD_NAMES = {
    "max_seq_length": ("2048", "sft", "max_length", 2048),
    "torch_dtype": ("bfloat16", "sft", "dtype", "bfloat16"),
    "warmup_ratio": ("0.1", "sft", "warmup_steps", 0.1),
    "provider_type": ("morph", "grpo", "code_provider", "morph"),
    "wandb_log_unique_prompts": ("false", "grpo", "log_unique_prompts", False),
    "vllm_guided_decoding_regex": ("a+", "grpo", "vllm_structured_outputs_regex", "a+"),
    "use_liger_loss": ("false", "grpo", "use_liger_kernel", False),
    "evaluation_strategy": ("epoch", "sft", "eval_strategy", "epoch"),
    "overwrite_output_dir": ("true", "sft", None, None),
    "vllm_device": ("auto", "grpo", None, None),
}


def test_every_translation_has_a_row_in_the_table():
    assert set(OLD_NAMES) == set(TRANSLATIONS)


@pytest.mark.parametrize("is_recipe", [True, False])
@pytest.mark.parametrize("old", OLD_NAMES)
def test_old_name_is_translated_with_one_warning(parse, old, is_recipe):
    written, task, name, value = OLD_NAMES[old]
    found = parse(*([f"{old}: {written}\n"] if is_recipe else [None, f"--{old}", written]), task=task)
    assert len(found["warnings"]) == 1
    assert f"`{old}`" in found["warnings"][0]
    assert old not in found
    if name is not None:
        assert f"`{name}`" in found["warnings"][0]
        assert found[name] == value


@pytest.mark.parametrize("old", ["overwrite_output_dir", "use_liger_loss"])
def test_old_flag_needs_no_value(parse, old):
    assert len(parse(None, f"--{old}", task="sft")["warnings"]) == 1


def test_old_name_on_the_command_line_overrides_the_recipe(parse):
    assert parse("max_length: 8\n", "--max_seq_length", "16", task="sft")["max_length"] == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("warmup_ratio: 2", "`warmup_ratio`: is 2, but it is a share"),
        ("warmup_ratio: null", "`warmup_ratio`: .*None"),
        ("warmup_ratio: ten", "`warmup_ratio`: .*ten"),
    ],
)
def test_old_value_without_an_equivalent_is_refused(parse, text, message):
    with pytest.raises(ValueError, match=message):
        parse(text + "\n")


@pytest.mark.parametrize("name", REMOVED)
def test_removed_name_stops_the_run_and_says_the_way_out(parse, name):
    for text, words in ((f"{name}: 1\n", []), (None, [f"--{name}", "1"]), (None, [f"--{name}=1"])):
        with pytest.raises(ValueError, match="Unknown arguments") as caught:
            parse(text, *words)
        assert f"{name}: {REMOVED[name]}" in str(caught.value)


@pytest.mark.parametrize("task", CLASSES)
def test_no_old_name_hides_a_name_of_today(task):
    names = {entry.name for entry_class in (*CLASSES[task], ModelConfig) for entry in dataclasses.fields(entry_class)}
    assert not names & (set(TRANSLATIONS) | set(REMOVED))
