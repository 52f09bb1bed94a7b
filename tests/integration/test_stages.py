# SPDX-License-Identifier: Apache-2.0
"""A run in stages: what each stage changes, what the log says, and that a resumed run ends as an unbroken one.

A generation serves two optimizer steps, so that checkpoints lie within generations and between them.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from open_r1.arguments import parse_args
from open_r1.curation.pass_rate_recipe import PassRateConfig, PassRateScriptArguments
from tests.conftest import ROOT
from tests.integration.tiny import Tiny, addition_row, are_identical, build_tiny, log_history, weights_of, write_rows

# With random weights the lengths of completions vary, and so does this reward; most completions are cut off.
SETTINGS = {
    "reward_funcs": ["cosine", "format"],
    "cosine_max_len": 24,
    "max_completion_length": 12,
    "learning_rate": 1e-3,
    "steps_per_generation": 2,
    "max_steps": 10,
    "save_steps": 1,
    "log_completions": True,
}
STAGE_OF_STEP = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def recipe(tiny) -> Path:
    """Three stages: the first ends amid a generation, the second by what it measures, the third with the run."""
    harder = write_rows(tiny.data.parent / "harder" / "train.jsonl", [addition_row(90 + a, 10) for a in range(12)])
    stages = [
        {"until": {"steps": 3}},
        {
            "dataset_name": str(harder.parent),
            "num_generations": 8,
            "max_completion_length": 24,
            "until": {"truncated_above": 0.1, "window": 2},
        },
        {"num_generations": 2, "cosine_max_len": 48},
    ]
    return write_recipe(tiny.data.parent / "stages.yaml", stages)


@pytest.fixture(scope="module")
def unbroken(tiny, recipe, tmp_path_factory) -> Path:
    """A run from start to end, with a checkpoint of every step; tests only read it."""
    output = tmp_path_factory.mktemp("unbroken") / "run"
    tiny.train("grpo", output, config=recipe, **SETTINGS)
    return output


def write_recipe(path: Path, stages: list[dict]) -> Path:
    path.write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    return path


def rollouts(output: Path) -> pd.DataFrame:
    """All completions with `step` and `stage`."""
    frames = [pd.read_parquet(path) for path in sorted((output / "rollouts").glob("*.parquet"))]
    assert frames
    return pd.concat(frames, ignore_index=True)


def test_log_says_the_stage_of_every_step(unbroken):
    assert [entry["stage"] for entry in log_history(unbroken) if "loss" in entry] == STAGE_OF_STEP


def test_each_stage_has_its_data_groups_and_lengths(unbroken):
    rows = rollouts(unbroken)
    batches = [group for _, group in rows.groupby(["step"], sort=True)]
    assert len(batches) == 5
    for number, batch in zip([1, 1, 2, 2, 3], batches, strict=True):
        is_harder = batch["prompt"].astype(str).str.contains("+10", regex=False)
        group = {1: 4, 2: 8, 3: 2}[number]
        assert is_harder.all() == (number > 1) and is_harder.any() == (number > 1)
        assert len(batch) == 16 and batch["prompt"].astype(str).nunique() == 16 // group
        firsts = batch["prompt"].astype(str).to_list()[::group]
        assert batch["prompt"].astype(str).to_list() == [prompt for prompt in firsts for _ in range(group)]
        assert batch["num_tokens"].max() == (12 if number == 1 else 24)


def test_stages_of_the_same_data_share_one_stream(unbroken):
    prompts = rollouts(unbroken).query("step > 4")["prompt"].astype(str)
    assert prompts.nunique() == 12  # 2, 2 and 8: each of the twelve once


@pytest.mark.parametrize("step", [4, 5, 6])  # between two stages, amid a generation, with half a window
def test_resumed_run_ends_as_the_unbroken_one(tiny, recipe, unbroken, tmp_path, step):
    output = tmp_path / "run"
    name = f"checkpoint-{step}"
    shutil.copytree(unbroken / name, output / name)
    tiny.train("grpo", output, config=recipe, **SETTINGS)
    assert are_identical(weights_of(output), weights_of(unbroken))
    assert [entry["stage"] for entry in log_history(output) if "loss" in entry] == STAGE_OF_STEP


def test_single_stage_with_stages_trains_and_says_so(tiny, tmp_path):
    config = write_recipe(tmp_path / "one.yaml", [{"max_completion_length": 16}])
    tiny.train("grpo", tmp_path / "run", config=config, **SETTINGS | {"max_steps": 2})
    assert {entry["stage"] for entry in log_history(tmp_path / "run")} == {1}


def test_checkpoint_of_a_run_without_stages_is_refused(tiny, recipe, tmp_path):
    tiny.train("grpo", tmp_path / "run", **SETTINGS | {"max_steps": 2})
    with pytest.raises(ValueError, match="stages"):
        tiny.train("grpo", tmp_path / "run", config=recipe, **SETTINGS)


@pytest.mark.parametrize(
    ("stages", "settings", "named"),
    [
        ([{"until": {"steps": 1}}, {"num_generations": 3}], {}, "num_generations"),
        ([{"until": {"steps": 1}}, {"max_completion_length": 256}], {}, "max_completion_length"),
        ([{"until": {"steps": 1}}, {"dataset_train_split": "nowhere"}], {}, "nowhere"),
        ([{"until": {"steps": 1}}, {"dataset_train_split": "train[:1]"}], {}, "num_generations"),
        ([{"until": {"steps": 1}}, {"repetition_n_grams": 0}], {"reward_funcs": ["repetition_penalty"]}, "n_gram"),
        ([{"until": {"steps": 1}}, {}], {"max_steps": -1}, "max_steps"),
    ],
)
def test_stages_that_cannot_work_are_refused_before_a_model_loads(
    tiny, tmp_path, stages, settings, named, monkeypatch
):
    monkeypatch.setattr("open_r1.grpo.get_model", lambda *_: pytest.fail("the model is loaded"))
    config = write_recipe(tmp_path / "stages.yaml", stages)
    with pytest.raises(ValueError, match=named):
        tiny.train("grpo", tmp_path / "run", config=config, **SETTINGS | settings)


def test_stages_stand_in_a_recipe_alone(tiny, tmp_path):
    with pytest.raises(ValueError, match="stages"):
        tiny.train("grpo", tmp_path / "run", stages="[]")


def test_check_only_plans_for_the_longest_stage_and_prints_the_stages(tiny, recipe, tmp_path, capfd):
    tiny.train("grpo", tmp_path / "run", config=recipe, **SETTINGS, check_only=True)
    lines = capfd.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("Stage ")]) == len(
        yaml.safe_load(recipe.read_text())["stages"]
    )
    assert lines[1].startswith("Steps: 10, ")
    assert int(lines[2].rpartition("up to ")[2].split()[0]) > 24


def test_pass_rates_are_measured_by_the_recipe_without_its_stages():
    recipe = ROOT / "recipes" / "DeepScaleR-1.5B" / "grpo" / "config_stages.yaml"
    _, training_args, _ = parse_args(PassRateScriptArguments, PassRateConfig, ["--config", str(recipe)])
    assert (training_args.num_generations, training_args.max_completion_length) == (8, 8192)
