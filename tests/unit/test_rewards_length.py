# SPDX-License-Identifier: Apache-2.0
"""The cosine reward of demystify-long-cot against its published settings, and the penalty for a missing end token."""

import pytest

from open_r1.rewards.length_rewards import (
    DemystifyCosineReward,
)

RIGHT, WRONG, NO_ANSWER = r"So \boxed{2}", r"So \boxed{3}", "no idea"
GOLD, UNPARSABLE = "2", r"\frac{1}{"
MAX_LEN = 14336

CLASSIC = {"correct_at_zero": 1, "correct_at_max_len": 1, "wrong_at_zero": 0, "exceed_length": 0}
LONGER_IS_BETTER = {"correct_at_zero": 0, "correct_at_max_len": 10, "wrong_at_zero": 0}
PUBLISHED = [
    # options, right at length 0, half, just below the limit, wrong at the same three, anything at the limit
    ({}, (2, 1.5, 1), (-10, -5, 0), -10),
    (CLASSIC, (1, 1, 1), (0, 0, 0), 0),
    (LONGER_IS_BETTER, (0, 5, 10), (0, 0, 0), -10),
    ({"correct_at_zero": 6, "correct_at_max_len": 5}, (6, 5.5, 5), (-10, -5, 0), -10),
    ({"correct_at_zero": 10, "correct_at_max_len": 9}, (10, 9.5, 9), (-10, -5, 0), -10),
]


def score(reward: DemystifyCosineReward, text: str, ids: list[int] | range, gold: str = GOLD) -> float | None:
    return reward([text], [gold], completion_ids=[ids])[0]


@pytest.mark.parametrize("length", [0, 1, 39, 40, 41, MAX_LEN - 17, MAX_LEN - 16, MAX_LEN, 10 * MAX_LEN])
@pytest.mark.parametrize("text", ["", "\x00\ud800", RIGHT, WRONG, NO_ANSWER, r"\boxed{" * 20_000])
def test_demystify_stays_within_its_bounds(text: str, length: int):
    assert -10 <= score(DemystifyCosineReward(), text, [7] * length) <= 2


@pytest.mark.parametrize(("options", "right", "wrong", "exceeding"), PUBLISHED)
def test_demystify_gives_the_published_values(options: dict, right: tuple, wrong: tuple, exceeding: float):
    reward = DemystifyCosineReward(**options)
    for length, value, wrong_value in zip((0, MAX_LEN // 2, MAX_LEN - 17), right, wrong, strict=True):
        assert score(reward, RIGHT, range(length)) == pytest.approx(value, abs=1e-4)
        assert score(reward, WRONG, range(length)) == pytest.approx(wrong_value, abs=1e-4)
        assert score(reward, NO_ANSWER, range(length)) == pytest.approx(wrong_value, abs=1e-4)
    for length in (MAX_LEN - 16, MAX_LEN, MAX_LEN + 1):
        assert score(reward, RIGHT, range(length)) == score(reward, WRONG, range(length)) == exceeding


def test_demystify_of_an_unparsable_solution_is_none_at_any_length():
    for length in (0, 100, MAX_LEN):
        assert score(DemystifyCosineReward(), RIGHT, range(length), UNPARSABLE) is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"max_len": 16}, "^demystify_max_len must be above 16"),
    ],
)
def test_demystify_refuses(options: dict, word: str):
    with pytest.raises(ValueError, match=word):
        DemystifyCosineReward(**options)
