# SPDX-License-Identifier: Apache-2.0
"""The table of rewards: names, building, bounds."""

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from open_r1.configs.rewards import RewardArguments
from open_r1.rewards import (
    REWARDS,
    UNSCORABLE,
    RewardContext,
    get_reward_funcs,
    is_unscorable,
    perfect_reply,
)
from open_r1.tasks import load_task

METRIC_KEYS = {
    "accuracy": "accuracy_reward",
    "format": "format_reward",
    "tag_count": "tag_count_reward",
    "reasoning_steps": "reasoning_steps_reward",
    "length": "len_reward",
    "cosine": "cosine_scaled_reward",
    "repetition_penalty": "repetition_penalty_reward",
    "code_format": "code_format_reward",
    "soft_overlong_punishment": "soft_overlong_punishment_reward",
    "demystify_cosine": "demystify_cosine_reward",
    "soft_format": "soft_format_reward",
    "think_format": "think_format_reward",
    "token_repetition": "token_repetition_reward",
    "language_consistency": "language_consistency_reward",
    "rubric": "rubric_reward",
    "countdown": "countdown_reward",
    "knights_knaves": "knights_knaves_reward",
    "reasoning_gym": "reasoning_gym_reward",
    "code": "code_reward",
    "binary_code": "binary_code_reward",
    "ioi_code": "ioi_code_reward",
    "cf_code": "cf_code_reward",
}
EOS = 7
CONTEXT = RewardContext(eos_token_ids=(EOS,))
CODE_ROW = {
    "verification_info": {"language": "python", "test_cases": [{"input": "1", "output": "1", "type": "stdin_stdout"}]}
}
# What rewards that run programs read; no completion of these tests holds one, so that nothing is run.
ROW_OF_PROGRAMS = {
    "code": CODE_ROW,
    "binary_code": CODE_ROW,
    "ioi_code": {
        "id": "sums",
        "subtask": "01",
        "score": 10,
        "score_precision": 2,
        "test_names": ["a"],
        "time_limit": 1.0,
        "memory_limit": 1 << 26,
        "grader_files": [],
        "test_cases": [["1", "1"]],
    },
    "cf_code": {
        "id": "1/A",
        "language": "cpp",
        "official_tests": [{"input": "1", "output": "1"}],
        "time_limit": 1.0,
        "memory_limit": 256.0,
    },
}
# The reward judges rows of this task and no others.
TASK_OF = {"countdown": "countdown", "knights_knaves": "knights_knaves", "reasoning_gym": "reasoning_gym/chain_sum"}


# Where it isn't 0 to 1.
BOUNDS = {
    "length": (-0.5, 0.5),
    "soft_overlong_punishment": (-1.0, 0.0),
    "knights_knaves": (-3.0, 3.0),
    "cf_code": (-1.0, 1.1),
}


def bounds_of(name: str, script_args: RewardArguments) -> tuple[float, float]:
    """Return the least and the greatest value of a reward with these arguments."""
    if name == "cosine":
        return script_args.cosine_min_value_wrong, script_args.cosine_max_value_correct
    if name == "demystify_cosine":
        worst = min(script_args.demystify_wrong_at_zero, script_args.demystify_exceed_length)
        return worst, script_args.demystify_correct_at_zero
    if name == "countdown":
        return 0.0, 2.0 if script_args.countdown_mode == "mini_r1" else 1.0
    penalties = {"repetition_penalty": "repetition_max_penalty"}
    penalties["token_repetition"] = "token_repetition_max_penalty"
    if name in penalties:
        return vars(script_args)[penalties[name]], 0.0
    return BOUNDS.get(name, (0.0, 1.0))


def arguments(*names: str, **changes: Any) -> RewardArguments:
    return RewardArguments(reward_funcs=list(names), **changes)


@lru_cache
def row_of(name: str) -> dict[str, object]:
    """Return a row of a task or of programs, or {} for a reward that judges any solution."""
    if name in ROW_OF_PROGRAMS:
        return ROW_OF_PROGRAMS[name]
    return load_task(TASK_OF[name], "num_train=1,num_test=1")["train"][0] if name in TASK_OF else {}


def test_metric_keys():
    judge = {"rubric": "Is it kind?", "rubric_url": "localhost:9", "rubric_model": "m"}
    assert {name: get_reward_funcs(arguments(name, **judge), CONTEXT)[0].__name__ for name in REWARDS} == METRIC_KEYS


def test_rewards_come_in_the_order_of_the_recipe():
    built = get_reward_funcs(arguments("format", "cosine", "accuracy"))
    assert [reward.__name__ for reward in built] == ["format_reward", "cosine_scaled_reward", "accuracy_reward"]


@pytest.mark.parametrize("name", sorted(REWARDS.keys() - {"rubric"}))  # which asks a server
def test_values_stay_within_the_range_of_the_documents(name: str):
    script_args = arguments(name)
    low, high = bounds_of(name, script_args)
    row = {"solution": "42", **row_of(name)}
    texts = ["", r"\boxed{42}", "so " * 3000, perfect_reply(script_args, row), "<think>\n" * 9]
    values = get_reward_funcs(script_args, CONTEXT)[0](
        prompts=["p"] * 5,
        completions=texts,
        completion_ids=[[0] * length for length in (0, 3, 3000, 99999, 5)],
        **{column: [value] * 5 for column, value in row.items()},
    )
    assert all(low <= value <= high for value in values)


def test_unknown_name_lists_the_names_and_suggests_one():
    with pytest.raises(ValueError, match=r"'acuracy'.*'accuracy'\?.*code_format"):
        get_reward_funcs(arguments("format", "acuracy"))


def test_a_name_listed_twice_is_refused():
    with pytest.raises(ValueError, match="accuracy more than once"):
        get_reward_funcs(arguments("accuracy", "format", "accuracy"))


def test_a_punishment_that_never_comes_is_warned_of(caplog: pytest.LogCaptureFixture):
    get_reward_funcs(arguments("soft_overlong_punishment"), RewardContext(max_completion_length=13_000))
    assert not caplog.records
    get_reward_funcs(arguments("soft_overlong_punishment"), RewardContext(max_completion_length=1024))
    assert "has no effect" in caplog.text


def test_unscorable_is_not_a_number():
    assert math.isnan(UNSCORABLE)
    assert [is_unscorable(value) for value in (UNSCORABLE, None, 0.0)] == [True, False, False]


def test_documents_list_every_reward_and_their_recipe_can_be_built():
    table = (Path(__file__).resolve().parents[2] / "recipes" / "REWARDS.md").read_text(encoding="utf-8")
    assert [name for name in REWARDS if f"`{name}`" not in table] == []
    recipes = (Path(__file__).resolve().parents[2] / "recipes" / "README.md").read_text(encoding="utf-8")
    (text,) = [block for block in re.findall(r"```yaml\n(.*?)```", recipes, re.DOTALL) if "reward_funcs" in block]
    recipe = yaml.safe_load(text)
    names = recipe["reward_funcs"]
    script_args = arguments(*names, reward_domains=recipe["reward_domains"])
    rewards = get_reward_funcs(script_args, CONTEXT, load_reward_model=lambda name: rewards_of_readme)
    assert len(rewards) == len(recipe["reward_weights"]) == 4


def rewards_of_readme(**columns: object) -> list[float | None]:
    """Stand for the reward model, which is not there."""
    raise AssertionError("only its name is read")
