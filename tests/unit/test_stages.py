# SPDX-License-Identifier: Apache-2.0
"""Stages of a recipe: what they override, what is refused, and when one is over."""

import math

import pytest

from open_r1.configs.stages import STAGE_KEYS, StageRule, build_stages

FULL = [0.5] * 20


@pytest.mark.parametrize(
    ("rule", "num_steps", "truncated", "accuracies", "is_met"),
    [
        ({"steps": 10}, 9, [], [], False),
        ({"steps": 10}, 10, [], [], True),
        ({"truncated_above": 0.25}, 99, FULL, FULL, True),
        ({"truncated_above": 0.5}, 99, FULL, FULL, False),
        ({"truncated_above": 0.25}, 99, FULL[:19], FULL[:19], False),
        ({"accuracy_above": 0.4, "window": 2}, 0, [0.0, 0.0], [0.2, 0.7], True),
        ({"accuracy_above": 0.4, "window": 2}, 0, [1.0] * 3, [1.0, 0.0, 0.7], False),
        ({"accuracy_above": 0.4, "window": 2}, 0, [0.0, 0.0], [math.nan, 0.9], False),
        ({"steps": 10, "truncated_above": 0.25}, 3, FULL, FULL, True),
        ({"steps": 10, "truncated_above": 0.9, "accuracy_above": 0.9}, 10, FULL, FULL, True),
    ],
)
def test_rule_is_met_by_whichever_condition_comes_first(rule, num_steps, truncated, accuracies, is_met):
    assert StageRule(**rule).is_met(num_steps, truncated, accuracies) is is_met


def test_overrides_hold_until_a_later_stage_overrides_them_again():
    stages = build_stages(
        [
            {"until": {"steps": 5}},
            {"dataset_config": "4ppl", "num_generations": 8, "until": {"accuracy_above": 1}},
            {"dataset_config": "5ppl", "max_completion_length": 64},
        ]
    )
    assert [stage.overrides for stage in stages] == [
        {},
        {"dataset_config": "4ppl", "num_generations": 8},
        {"dataset_config": "5ppl", "num_generations": 8, "max_completion_length": 64},
    ]
    assert [stage.until for stage in stages] == [StageRule(steps=5), StageRule(accuracy_above=1), None]


def test_recipe_without_stages_is_one_stage_that_overrides_nothing():
    (stage,) = build_stages(None)
    assert (stage.overrides, stage.until) == ({}, None)


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ({"until": {"steps": 5}}, "stages"),
        ([], "stages"),
        (["8k", "16k"], "stages"),
        ([{}, {}], "until"),
        ([{"until": {"steps": 5}}], "until"),
        ([{"until": {}}, {}], "until"),
        ([{"until": {"window": 5}}, {}], "until"),
        ([{"until": {"epochs": 5}}, {}], "epochs"),
        ([{"until": {"steps": 0}}, {}], "steps"),
        ([{"until": {"truncated_above": 25}}, {}], "truncated_above"),
        ([{"until": {"accuracy_above": "0.9"}}, {}], "accuracy_above"),
        ([{"until": {"steps": 5}}, {"learning_rate": 1e-6}], "learning_rate"),
        ([{"until": {"steps": 5}}, {"num_generations": 1}], "num_generations"),
        ([{"until": {"steps": 5}}, {"max_completion_length": None}], "max_completion_length"),
    ],
)
def test_stages_that_cannot_work_are_refused(stages, named):
    with pytest.raises(ValueError, match=named):
        build_stages(stages)


def test_refusal_of_a_key_lists_those_that_a_stage_can_override():
    with pytest.raises(ValueError) as error:
        build_stages([{"until": {"steps": 5}}, {"temperature": 0.5}])
    assert all(key in str(error.value) for key in STAGE_KEYS)
