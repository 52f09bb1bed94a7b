# SPDX-License-Identifier: Apache-2.0
"""What launchers read of a recipe and of the words that override it."""

import pytest

from open_r1.cluster.recipe_values import (
    find_accelerate_config,
    find_recipe,
    read_overrides,
    read_values,
)
from tests.conftest import ROOT


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe with spaces.yaml"
    path.write_text(
        "model_name_or_path: org/model\nuse_vllm: true # not false\nnum_generations: '16'\n"
        "torch_dtype: bfloat16\nother: [1, 2]\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["--a", "1"], {"a": "1"}),
        (["--a=1"], {"a": "1"}),
        (["--a-b_c", "1"], {"a_b_c": "1"}),
        (["--a=x=y"], {"a": "x=y"}),
        (["--a="], {"a": ""}),
        (["--a", "--b", "-1"], {"a": True, "b": "-1"}),
        (["--a", "x", "y", "z"], {"a": ["x", "y", "z"]}),
        (["--a", '{"k": "--v"}'], {"a": '{"k": "--v"}'}),
    ],
)
def test_both_forms_of_arguments_are_read(words, settings):
    assert read_overrides(words) == settings


def test_values_come_from_the_recipe_with_the_right_types(recipe):
    values = read_values(recipe)
    assert (values["model_name_or_path"], values["use_vllm"], values["num_generations"]) == ("org/model", True, 16)
    assert values["dtype"] == "bfloat16"  # the name of today for torch_dtype
    assert values["per_device_train_batch_size"] == 8  # the libraries' default
    assert "other" in values and "another" not in values


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--num-generations=4"], "num_generations", 4),
        (["--use_vllm", "false"], "use_vllm", False),
        (["--use_vllm"], "use_vllm", True),
        (["--trust-remote-code"], "trust_remote_code", True),
        (["--torch_dtype", "float32"], "dtype", "float32"),
        (["--model_name_or_path", "/a folder/ü"], "model_name_or_path", "/a folder/ü"),
        (["--model_revision", "1.0"], "model_revision", "1.0"),
        (["--vllm_device", "auto", "--vllm_mode", "server"], "vllm_mode", "server"),
    ],
)
def test_arguments_win_over_the_recipe(recipe, words, name, value):
    assert read_values(recipe, words)[name] == value


# Lines of the recipe, words, and the name that the message must hold.
@pytest.mark.parametrize(
    ("text", "words", "name"),
    [
        ("", "1", "1"),
        ("", "--a=1 2", "2"),
        ("", "-a 1", "-a"),
        ("", "--=1", "--=1"),
        ("", "--a_b 1 --a-b 2", "a_b"),
        ("", "--config x.yaml", "--recipe"),
        ("", "--num_generations many", "num_generations"),
        ("", "--num_generations", "num_generations"),
        ("", "--num_generations 4 8", "num_generations"),
        ("", "--vllm_mode sever", "vllm_mode"),
        ("", "--use_vllm maybe", "use_vllm"),
        ("", "--dtype float32 --torch_dtype bfloat16", "dtype"),
        ("", "--model_revision", "model_revision"),
        ("num_generations: 1.5", "", "num_generations"),
        ("num_generations: null", "", "num_generations"),
        ("model_revision: 1.10", "", "model_revision"),
        ("use_vllm: server", "", "use_vllm"),
        ("dtype: a\ntorch_dtype: b", "", "dtype"),
        ("use_vllm: true\nuse_vllm: false", "", "use_vllm"),
        ("- a", "", "mapping"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, text, words, name):
    path = tmp_path / "recipe.yaml"
    path.write_text(text or "seed: 1", encoding="utf-8")
    with pytest.raises(ValueError, match=name):
        read_values(path, words.split())


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*/*/config_*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_read(path):
    read_values(path)


def test_recipes_and_accelerate_configs_are_found_by_name():
    assert find_recipe(ROOT, "demo", "sft", "base") == ROOT / "recipes/demo/sft/config_base.yaml"
    assert find_accelerate_config(ROOT, "zero3") == ROOT / "recipes/accelerate_configs/zero3.yaml"


@pytest.mark.parametrize(
    ("find", "words", "name"),
    [
        (find_recipe, ["OpenR1-Distil-7B", "sft", "distill"], "OpenR1-Distill-7B"),
        (find_recipe, ["OpenR1-Distill-7B", "grpo", "distill"], "Qwen2.5-1.5B-Instruct"),
        (find_recipe, ["OpenR1-Distill-7B", "sft", "distil"], "distill"),
        (find_recipe, ["demo", "grpo", "config_demo.yaml"], "zero"),
        (find_accelerate_config, ["zeor3"], "zero3"),
    ],
)
def test_unknown_names_are_refused_with_those_that_exist(find, words, name):
    with pytest.raises(ValueError, match=name):
        find(ROOT, *words)
