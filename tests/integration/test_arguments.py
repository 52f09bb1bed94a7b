# SPDX-License-Identifier: Apache-2.0
"""Recipes and command lines: what they mean, and that nothing in them is passed over in silence."""

import dataclasses
import re
import sys

import pytest
from trl import ModelConfig

from open_r1.arguments import HELP_GROUPS, RecipeParser, parse_args
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments

CLASSES = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}


def test_command_line_overrides_recipe_and_recipe_overrides_default(parse):
    text = "learning_rate: 0.5\nseed: 7\n"
    assert parse(None)["seed"] == 42
    found = parse(text, "--learning_rate", "0.25")
    assert (found["learning_rate"], found["seed"], found["warnings"]) == (0.25, 7, [])


@pytest.mark.parametrize("words", [["--seed=7"], ["--seed", "7"]])
def test_value_may_follow_a_space_or_an_equals_sign(parse, words):
    assert parse(None, *words)["seed"] == 7


def test_dashes_are_underscores_in_both_sources(parse):
    assert parse(None, "--learning-rate", "0.5")["learning_rate"] == 0.5
    assert parse("learning-rate: 0.5\n")["learning_rate"] == 0.5


@pytest.mark.parametrize("words", [["--config={}"], ["--config", "{}"]])
def test_recipe_path_may_follow_an_equals_sign(words, tmp_path):
    path = tmp_path / "my recipe.yaml"
    path.write_text(f"dataset_name: x\nseed: 7\nuse_cpu: true\noutput_dir: {tmp_path}\n", encoding="utf-8")
    parser = RecipeParser((*CLASSES["sft"], ModelConfig))
    assert parser.parse([word.format(path) for word in words])[1].seed == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_seq_length: 8\nmax_length: 16\n", "`max_length`.*twice"),
        ("max_length: 16\nmax_seq_length: 8\n", "`max_length`.*twice"),
        ("max_length: 16\nmax-length: 8\n", "`max_length`.*twice"),
        ("seed: 1\nseed: 2\n", "'seed' .*twice"),
        ("dataset_mixture: {datasets: [{id: a, id: b}]}\n", "'id' .*twice"),
    ],
)
def test_name_given_twice_is_refused(parse, text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, task="sft")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("learnig_rate", "did you mean `learning_rate`?"),
        ("reward_func", "did you mean `reward_funcs`?"),
        ("learning_rat", "did you mean `learning_rate`?"),  # no abbreviations
        ("xyzzy", "see --help"),
        ("no_learning_rate", "did you mean `learning_rate`?"),
    ],
)
def test_unknown_name_is_refused_alike_from_both_sources(parse, name, hint):
    for text, words, source in ((f"{name}: 1\n", [], "recipe"), (None, [f"--{name}", "1"], "command line")):
        with pytest.raises(ValueError, match=f"Unknown arguments in the {source}") as caught:
            parse(text, *words)
        assert f"{name}: {hint}" in str(caught.value)


def test_all_unknown_names_are_listed_at_once(parse):
    with pytest.raises(ValueError, match=r"(?s)first_typo.*second_typo"):
        parse("first_typo: 1\nseed: 2\nsecond_typo: 1\n")


@pytest.mark.parametrize("name", ["config", "help", "no_gradient_checkpointing"])
def test_words_of_the_command_line_are_no_keys_of_a_recipe(parse, name):
    with pytest.raises(ValueError, match="in the recipe"):
        parse(f"{name}: true\n")


@pytest.mark.parametrize("text", ["1: 2\n", "on: 2\n", "null: 2\n"])
def test_key_that_is_no_name_is_refused(parse, text):
    with pytest.raises(ValueError, match="must be a mapping of names"):
        parse(text)


@pytest.mark.parametrize("word", ["stray", "-x", "seed=5"])
def test_word_that_belongs_to_no_argument_is_refused(parse, word):
    with pytest.raises(ValueError, match="Unexpected words"):
        parse(None, word)


@pytest.mark.parametrize(
    "words",
    [
        ["--seed", "1.5"],
        ["--num_generations", "many"],
        ["--reward_funcs"],
        ["--seed"],
        ["--warmup_ratio"],
        ["--code_language", "rust"],
        ["--torch_dtype", "float17"],
        ["--dataset_mixture", "{}"],
        ["--dataset-mixture={}"],
        ["--dataset-mixture", ""],
        ["--reward_domains", "{}"],
    ],
)
def test_bad_value_on_the_command_line_is_refused_by_name(parse, words):
    name = words[0].split("=")[0].removeprefix("--").replace("torch_", "").replace("-", "_")
    with pytest.raises(ValueError, match=name):
        parse(None, *words)


def test_lists_flags_and_numbers_of_the_command_line(parse):
    found = parse(
        None,
        "--reward_funcs",
        "accuracy",
        "format",
        "--bf16",
        "--no_gradient_checkpointing",
        "--learning_rate",
        "1e-5",
        "--repetition_max_penalty",
        "-0.5",
        "--eval_strategy",
        "no",
    )
    assert found["reward_funcs"] == ["accuracy", "format"]
    assert (found["bf16"], found["gradient_checkpointing"]) == (True, False)
    assert (found["learning_rate"], found["repetition_max_penalty"]) == (1e-5, -0.5)
    assert (found["eval_strategy"], found["warnings"]) == ("no", [])


@pytest.mark.parametrize("spelling", ["--dataset_name", "--dataset-name"])
def test_data_set_of_the_command_line_replaces_the_mixture_of_the_recipe(parse, spelling):
    found = parse("dataset_mixture: {datasets: [{id: a}]}\n", f"{spelling}=mine")
    assert (found["dataset_name"], found["dataset_mixture"]) == ("mine", None)


def test_variables_of_a_recipe_reach_the_environment(parse, environment):
    parse("env: {OPEN_R1_TEST_A: text, OPEN_R1_TEST_B: 7}\n")
    assert (environment["OPEN_R1_TEST_A"], environment["OPEN_R1_TEST_B"]) == ("text", "7")


@pytest.mark.parametrize("value", ["[1]", "text", "{A: null}", "{A: [1]}", "{A: {b: 1}}"])
def test_variables_of_another_shape_are_refused(parse, environment, value):
    with pytest.raises(ValueError, match="env"):
        parse(f"env: {value}\n")


def test_variable_that_comes_too_late_is_warned_of(parse, environment):
    assert "HF_HOME" in parse("env: {HF_HOME: /nowhere}\n")["warnings"][0]


@pytest.mark.parametrize("words", [["--config"], ["--config="]])
def test_config_without_a_path_is_refused(words):
    with pytest.raises(ValueError, match=r"config|recipe"):
        RecipeParser((*CLASSES["sft"], ModelConfig)).parse(words)


WORDS = ["--dataset_name", "some_data", "--use_cpu", "true", "--output_dir", "out"]


def test_env_file_is_read_and_overrides_nothing(tmp_path, monkeypatch, environment):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("OPEN_R1_TEST_NEW=file\nOPEN_R1_TEST_OLD=file\n")
    environment["OPEN_R1_TEST_OLD"] = "shell"
    parse_args(SFTScriptArguments, SFTConfig, WORDS)
    assert (environment["OPEN_R1_TEST_NEW"], environment["OPEN_R1_TEST_OLD"]) == ("file", "shell")


def test_env_file_of_a_parent_folder_is_not_read(tmp_path, monkeypatch, environment):
    (tmp_path / ".env").write_text("OPEN_R1_TEST_NEW=file\n")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    parse_args(SFTScriptArguments, SFTConfig, WORDS)
    assert "OPEN_R1_TEST_NEW" not in environment


def test_env_file_that_is_no_text_ends_with_a_message(tmp_path, monkeypatch, environment, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SystemExit):
        parse_args(SFTScriptArguments, SFTConfig, WORDS)
    assert "error: " in capsys.readouterr().err


def test_arguments_file_beside_the_script_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "script.py")])
    (tmp_path / "script.args").write_text("--seed 7")
    assert RecipeParser((*CLASSES["sft"], ModelConfig)).parse(WORDS)[1].seed == 42


def help_of(*words, capsys):
    with pytest.raises(SystemExit) as ended:
        RecipeParser((GRPOScriptArguments, GRPOConfig, ModelConfig)).parse(["--help", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_lists_each_setting_once_in_its_group(capsys):
    text = help_of(capsys=capsys)
    names = re.findall(r"^  --(\w+)", text, re.MULTILINE)
    assert len(names) == len(set(names))
    classes = (GRPOScriptArguments, GRPOConfig, ModelConfig)
    assert {field.name for config in classes for field in dataclasses.fields(config) if field.init} <= set(names)
    groups = dict(zip(*[iter(re.split(r"^([A-Z][\w ]+)\n\n", text, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert list(groups) == list(HELP_GROUPS)
    for name, group in [("beta", "Algorithm"), ("vllm_mode", "Generation"), ("reward_weights", "Rewards")]:
        assert f"  --{name}" in groups[group]


def test_help_with_a_word_tells_of_what_has_it(capsys):
    names = re.findall(r"^  --(\w+)", help_of("repetition", capsys=capsys), re.MULTILINE)
    assert {"repetition_penalty", "repetition_n_grams"} <= set(names)
    assert "beta" not in names
