# SPDX-License-Identifier: Apache-2.0
"""A recipe of each kind trains two steps, one that cannot is named; all of recipes/: tests/integration."""

import math

import pytest
import yaml

from open_r1.recipes import load_recipe
from scripts.smoke_recipe import RECIPES, main, smoke

GRPO = RECIPES / "DeepSeek-R1-Distill-Qwen-1.5B" / "grpo" / "config_demo.yaml"
LORA = RECIPES / "Qwen2.5-1.5B-Instruct" / "grpo" / "config_lora.yaml"


@pytest.mark.parametrize(
    ("path", "rewards"),
    [
        (RECIPES / "OpenR1-Distill-7B" / "sft" / "config_distill.yaml", set()),
        (GRPO, {"accuracy_reward", "format_reward", "tag_count_reward"}),
    ],
    ids=["sft", "grpo"],
)
def test_recipe_trains(path, rewards, tmp_path):
    run = smoke(path, tmp_path)
    assert (run.failure, run.rewards.keys()) == ("", rewards)
    assert math.isfinite(run.loss)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_recipes_that_cannot_train_are_named_and_the_others_go_on(tmp_path, capsys):
    broken = {
        "misspelt": {"learning_rat": 1.0},
        "unknown": {"reward_funcs": ["acuracy"], "reward_weights": [1.0]},
        # One wants <answer> tags and the other none: no completion earns both.
        "unreachable": {"reward_funcs": ["format", "think_format"], "reward_weights": [1.0, 1.0]},
    }
    paths = [tmp_path / f"{name}.yaml" for name in broken]
    for path, changes in zip(paths, broken.values(), strict=True):
        path.write_text(yaml.safe_dump(load_recipe(GRPO) | changes), encoding="utf-8")

    assert main(["--keep", str(tmp_path / "kept"), *map(str, paths), str(LORA)]) == 1

    out = capsys.readouterr().out.splitlines()
    # pytest's capture mixes in what the trainings print.
    lines = [line for line in out if line.startswith((str(tmp_path), LORA.parts[-3]))]
    named = {line.split()[0]: "FAILED" in line for line in lines}
    assert named == {**{str(path): True for path in paths}, str(LORA.relative_to(RECIPES)): False}
    assert "learning_rat" in lines[0]
    assert "acuracy" in lines[1]
    assert "think_format" in lines[2]
    assert out[-1].startswith("1 of 4 ")
    kept = tmp_path / "kept" / "Qwen2.5-1.5B-Instruct" / "grpo" / "config_lora" / "run"
    assert (kept / "adapter_model.safetensors").is_file()
