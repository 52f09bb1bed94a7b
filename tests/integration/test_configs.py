# SPDX-License-Identifier: Apache-2.0
"""The argument classes: what they refuse, and that no setting is without effect."""

import ast
import dataclasses
import functools
import pickle
from pathlib import Path

import pytest
import trl

from open_r1.configs import (
    DatasetConfig,
    DatasetMixtureConfig,
    GRPOConfig,
    GRPOScriptArguments,
    ScriptArguments,
    SFTConfig,
    SFTScriptArguments,
)
from open_r1.configs.evaluation import EvaluationParameters
from open_r1.configs.rewards import CodeExecutionParameters, RewardArguments, RewardParameters
from open_r1.configs.training import RunConfig

ROOT = Path(__file__).resolve().parents[2]
CPU = {"bf16": False, "use_cpu": True}


def mixture(*datasets, **settings):
    return {"datasets": list(datasets), **settings}


def test_neither_name_nor_mixture_is_refused():
    with pytest.raises(ValueError, match="dataset_mixture"):
        ScriptArguments()


def test_empty_name_is_no_name():
    with pytest.raises(ValueError, match="dataset_mixture"):
        ScriptArguments(dataset_name="")


def test_name_and_mixture_together_are_refused():
    with pytest.raises(ValueError, match="are both set"):
        ScriptArguments(dataset_name="a", dataset_mixture=mixture({"id": "b"}))


def test_mixture_becomes_data_set_configs():
    entry = {"id": "a", "config": "main", "split": "train[:10]", "columns": ["x"], "weight": 0.5}
    args = ScriptArguments(dataset_mixture=mixture(entry, {"id": "b"}, seed=7, test_split_size=0.1))
    assert args.dataset_mixture == DatasetMixtureConfig(
        [DatasetConfig("a", "main", "train[:10]", ["x"], 0.5), DatasetConfig("b", weight=1.0)], 7, 0.1
    )


def test_mixture_has_the_defaults_of_open_r1():
    found = ScriptArguments(dataset_mixture=mixture({"id": "a"})).dataset_mixture
    assert (found.seed, found.test_split_size) == (0, None)
    assert found.datasets[0] == DatasetConfig("a", config=None, split="train", columns=None, weight=1.0)


def test_weight_is_one_when_missing_and_none_when_null():
    args = ScriptArguments(dataset_mixture=mixture({"id": "a"}, {"id": "b", "weight": None}))
    assert [entry.weight for entry in args.dataset_mixture.datasets] == [1.0, None]


def test_data_sets_may_have_columns_of_their_own():
    entries = mixture({"id": "a", "columns": ["x", "y"]}, {"id": "b", "columns": ["z"], "domain": "math"}, {"id": "c"})
    args = ScriptArguments(dataset_mixture=entries)
    assert [(entry.columns, entry.domain) for entry in args.dataset_mixture.datasets] == [
        (["x", "y"], None),
        (["z"], "math"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a,b", "dataset_mixture"),
        (["a"], "dataset_mixture"),
        ({"dataset": []}, "datasets"),
        ({"datasets": None}, "datasets"),
        ({"datasets": []}, "datasets"),
        (mixture("a"), r"datasets\[0\]"),
        (mixture({"id": "a"}, {"split": "train"}), r"datasets\[1\].*'id'"),
        (mixture({"id": ""}), "id"),
        (mixture({"id": "a", "wieght": 1}), r"datasets\[0\].*'wieght'"),
        (mixture({"id": "a"}, sed=1), "'sed'"),
        (mixture({"id": "a", "weight": 0}), "`weight`.*'a'"),
        (mixture({"id": "a", "weight": 1.01}), "`weight`.*'a'"),
        (mixture({"id": "a", "weight": float("nan")}), "`weight`.*'a'"),
        (mixture({"id": "a", "weight": "half"}), "`weight`.*'a'"),
        (mixture({"id": "a", "columns": "prompt"}), "`columns`.*'a'"),
        (mixture({"id": "a", "split": None}), "`split`"),
        (mixture({"id": "a", "revision": 1.0}), "`revision`.*'a'"),
        (mixture({"id": "a", "config": 2024}), "`config`.*'a'"),
        (mixture({"id": "a", "domain": 1}), "`domain`.*'a'"),
        (mixture({"id": "a", "layout": True}), "`layout`.*'a'"),
        (mixture({"id": "a"}, test_split_size=1.0), "`test_split_size`"),
        (mixture({"id": "a"}, test_split_size=100), "`test_split_size`"),
        (mixture({"id": "a"}, test_split_size=float("nan")), "`test_split_size`"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_malformed_mixture_is_refused_by_name(value, name):
    with pytest.raises(ValueError, match=name):
        ScriptArguments(dataset_mixture=value)


@pytest.mark.parametrize("name", ["dataset_config", "dataset_revision", "dataset_layout"])
def test_setting_of_one_data_set_beside_a_mixture_is_refused(name):
    with pytest.raises(ValueError, match="in a mixture"):
        ScriptArguments(dataset_mixture=mixture({"id": "a"}), **{name: "x"})


def test_streaming_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="dataset_train_split"):
        ScriptArguments(dataset_name="a", dataset_streaming=True)


@pytest.mark.parametrize("config_class", [SFTConfig, GRPOConfig])
def test_machine_without_accelerator_trains_in_float32(config_class, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert config_class(output_dir=str(tmp_path)).bf16 is False
    assert config_class(output_dir=str(tmp_path), use_cpu=True, bf16=True).bf16 is True
    with pytest.raises(ValueError, match="bf16"):
        config_class(output_dir=str(tmp_path), bf16=True)


def test_push_of_revisions_adds_its_callback_once(tmp_path):
    once = SFTConfig(output_dir=str(tmp_path), push_to_hub_revision=True, **CPU)
    assert once.callbacks == ["push_to_hub_revision"]
    named = SFTConfig(output_dir=str(tmp_path), push_to_hub_revision=True, callbacks=["push_to_hub_revision"], **CPU)
    assert named.callbacks == ["push_to_hub_revision"]
    assert SFTConfig(output_dir=str(tmp_path), **CPU).callbacks == []


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(True, "group"), (False, "none"), ("true", "group"), ("False", "none"), ("batch", "batch"), ("none", "none")],
)
def test_scaling_of_rewards_takes_words_and_truth_values(value, meaning, tmp_path):
    assert GRPOConfig(output_dir=str(tmp_path), scale_rewards=value, **CPU).scale_rewards == meaning


@pytest.mark.parametrize("value", ["groups", "", None, 2])
def test_unknown_scaling_of_rewards_is_refused(value, tmp_path):
    with pytest.raises(ValueError, match="'group', 'batch' or 'none'"):
        GRPOConfig(output_dir=str(tmp_path), scale_rewards=value, **CPU)


@pytest.mark.parametrize("num_generations", [0, 3, 5, 16])
def test_groups_that_do_not_divide_the_batch_are_refused_with_the_valid_sizes(num_generations, tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ValueError, match=r"\[2, 4, 8\]"):
        GRPOConfig(
            output_dir=str(tmp_path),
            num_generations=num_generations,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            **CPU,
        )


@functools.cache
def names_that_are_read() -> set[str]:
    """Attribute names and texts that the code of src/ and scripts/ uses outside of configs/, and prefixes with fields.

    `getattr(args, "cosine_" + name)` reads all that `cosine_` makes of the names of fields.
    """
    found: set[str] = set()
    texts: set[str] = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]:
        if path.parent.name == "configs":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                texts.add(node.target.id)
    prefixes = [text for text in texts if text.endswith("_") and text.isidentifier()]
    return found | texts | {f"{prefix}{text}" for prefix in prefixes for text in texts if text.isidentifier()}


def own_fields(config_class: type, base: type) -> set[str]:
    """Fields that a class of ours adds to TRL's, or gives another default."""
    inherited = {entry.name: entry.default for entry in dataclasses.fields(base)}
    return {
        entry.name
        for entry in dataclasses.fields(config_class)
        if entry.name not in inherited or entry.name in config_class.__annotations__
    }


# Read by TRL's trainer itself; ours only changes the default.
READ_BY_TRL = {"num_completions_to_print"}


@pytest.mark.parametrize(
    ("config_class", "base"),
    [
        (GRPOScriptArguments, trl.ScriptArguments),
        (SFTScriptArguments, trl.ScriptArguments),
        (SFTConfig, trl.SFTConfig),
        (GRPOConfig, trl.GRPOConfig),
        (DatasetConfig, object),
        (DatasetMixtureConfig, object),
    ],
)
def test_every_field_of_ours_is_read_somewhere(config_class, base):
    own = (
        {entry.name for entry in dataclasses.fields(config_class)}
        if base is object
        else own_fields(config_class, base)
    )
    assert own - names_that_are_read() - READ_BY_TRL == set()


def test_every_field_of_ours_says_what_it_is_for():
    for config_class in (
        RunConfig,
        EvaluationParameters,
        RewardParameters,
        CodeExecutionParameters,
        RewardArguments,
        GRPOScriptArguments,
        SFTScriptArguments,
    ):
        for name in config_class.__annotations__:
            assert config_class.__dataclass_fields__[name].metadata.get("help"), f"{config_class.__name__}.{name}"


def test_rewards_have_the_defaults_of_open_r1():
    args = GRPOScriptArguments(dataset_name="a")
    assert args.reward_funcs == ["accuracy", "format", "tag_count"]
    assert (args.cosine_max_value_wrong, args.cosine_min_value_correct, args.cosine_max_value_correct) == (
        -0.5,
        0.5,
        1.0,
    )
    assert (args.cosine_max_len, args.repetition_n_grams, args.repetition_max_penalty) == (1000, 3, -1.0)
    assert (args.code_language, args.max_completion_len, args.soft_punish_cache) == ("python", 16384, 4096)


@pytest.mark.parametrize("config_class", [SFTConfig, GRPOConfig])
def test_training_arguments_survive_pickling(config_class, tmp_path):
    made = config_class(output_dir=str(tmp_path), seed=7, **CPU)
    assert pickle.loads(pickle.dumps(made)) == made


def test_training_arguments_pickled_before_they_had_a_module_of_their_own_are_found(tmp_path):
    # Checkpoints hold their training arguments in training_args.bin, by module and name.
    made = SFTConfig(output_dir=str(tmp_path), seed=7, **CPU)
    old = pickle.dumps(made, protocol=0).replace(b"copen_r1.configs.training\n", b"copen_r1.configs\n")
    assert b"copen_r1.configs\nSFTConfig" in old
    assert pickle.loads(old) == made


def test_script_arguments_do_not_share_their_lists():
    first, second = GRPOScriptArguments(dataset_name="a"), GRPOScriptArguments(dataset_name="a")
    first.reward_funcs.append("length")
    assert "length" not in second.reward_funcs
