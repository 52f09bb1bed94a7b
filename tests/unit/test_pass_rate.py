# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of pass rates, and calls of rewards by whole groups."""

import math

import pytest

from open_r1.curation.pass_rate import Group, Status, combine, mean, score, status_of


def group(row: int, *texts: str, **columns) -> Group:
    message = [{"role": "user", "content": f"row {row}"}]
    return Group(str(row), {"prompt": message, **columns}, list(texts), [[1]] * len(texts))


@pytest.mark.parametrize(
    ("rewards", "weights", "combined", "rate"),
    [
        ({"a": [1.0, 0.0, 1.0, 1.0]}, {"a": 1.0}, [1.0, 0.0, 1.0, 1.0], 0.75),
        ({"a": [1.0, 0.0], "b": [0.0, 1.0]}, {"a": 0.75, "b": 0.25}, [0.75, 0.25], 0.5),
        ({"a": [1.0, None], "b": [1.0, 0.5]}, {"a": 0.5, "b": 0.5}, [1.0, 0.25], 0.625),  # as TRL's nansum
        ({"a": [1.0, None]}, {"a": 1.0}, [1.0, None], 1.0),
        ({"a": [None, None]}, {"a": 1.0}, [None, None], None),
        ({"a": [None, 1.0], "watched": [1.0, 1.0]}, {"a": 1.0, "watched": 0.0}, [None, 1.0], 1.0),
        ({}, {}, [], None),
    ],
)
def test_rewards_are_summed_by_weight_and_averaged_over_what_applies(rewards, weights, combined, rate):
    found = combine(rewards, weights)
    assert (found, mean(found)) == (combined, rate)


@pytest.mark.parametrize(
    ("rate", "status"),
    [
        (0.1, Status.KEPT),
        (0.9, Status.KEPT),
        (math.nextafter(0.1, 0), Status.KEPT),  # a sum of weights is off by a bit
        (0.0999, Status.TOO_HARD),
        (0.9001, Status.TOO_EASY),
        (None, Status.UNJUDGED),
    ],
)
def test_both_bounds_are_kept(rate, status):
    assert status_of(rate, 0.1, 0.9) is status


def test_a_reward_sees_what_the_trainer_passes_and_groups_stay_apart():
    seen = {}

    def spy_reward(**columns):
        seen.update(columns)
        return range(len(columns["completions"]))

    groups = [group(0, "a", "b", solution="4"), group(1, "c", solution="5")]
    assert score({"spy": spy_reward}, {"trainer_state": "state"}, groups) == [{"spy": [0.0, 1.0]}, {"spy": [2.0]}]
    assert seen["completions"] == [[{"role": "assistant", "content": text}] for text in "abc"]
    assert seen["prompts"] == [[{"role": "user", "content": f"row {row}"}] for row in (0, 0, 1)]
    assert (seen["solution"], seen["completion_ids"], seen["trainer_state"]) == (["4", "4", "5"], [[1]] * 3, "state")
    assert {"log_extra", "log_metric"} <= seen.keys() and "prompt" not in seen


def test_a_reward_that_returns_another_number_of_values_is_named():
    with pytest.raises(ValueError, match="'r'"):
        score({"r": lambda completions, **columns: [1.0]}, {}, [group(0, "a", "b")])
