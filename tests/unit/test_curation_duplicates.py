# SPDX-License-Identifier: Apache-2.0
"""Exact and near duplicates, on hostile texts and on a planted set."""

import random

import pytest

from open_r1.curation.duplicates import find_exact_duplicates, find_near_duplicates

LONG = "A train leaves the station at 9 in the morning and travels 120 miles north before it turns back to town"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        ([None, "", " \n", None], [None, None, None, None]),
        (["a", "b", "a", "A ", "a"], [None, None, 0, 0, 0]),
        (["x  +\n1", "x + 1"], [None, 0]),
        (["x+1", "x + 1"], [None, None]),  # exact means exact: spacing within a formula is left to the near ones
        (["\uff11\uff12", "12", "\u2460"], [None, 0, None]),
        (["\ud800", "\ud800"], [None, 0]),  # half a surrogate pair
        (["A" * 2**20, "a" * 2**20, "a" * (2**20 - 1)], [None, 0, None]),
    ],
)
def test_exact_duplicates(texts, expected):
    assert find_exact_duplicates(iter(texts)) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        ([None, "", "...", "$$"], [None, None, None, None]),
        (["7", "7", "8", None, "7."], [None, 0, None, None, 0]),
        ([LONG, LONG.upper().replace(" ", "  "), f"**{LONG}**!", "else"], [None, 0, 0, None]),
        ([LONG, LONG.replace("morning", "evening")], [None, None]),  # one word in 20: three shingles of 18 are others
        ([LONG, f"{LONG} again"], [None, 0]),
        ([LONG, LONG.replace("120", "140") + " again"], [None, None]),
        ([f"{LONG} costs 1,000", f"{LONG} costs $1000$."], [None, 0]),
        ([LONG, f"{LONG} then", f"{LONG} then again"], [None, 0, 0]),  # a chain: all repeat the first
        (["compute 7+9-8", "compute 7 + 9 - 8", "compute 7+9+8", "compute 9+7-8"], [None, 0, None, None]),
        (["word " * 300_000, "word " * 300_000, "\ud800 word"], [None, 0, None]),  # 1.5 MB
    ],
)
def test_near_duplicates(texts, expected):
    assert find_near_duplicates(iter(texts)) == expected


def test_numbers_count_only_when_asked():
    apples = [f"{LONG}, where {number} apples are sold at the market near the old town hall" for number in (7, 9)]
    assert find_near_duplicates(apples) == [None, None]
    assert find_near_duplicates(apples, same_numbers=False) == [None, 0]


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan")])
def test_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be above 0 and at most 1"):
        find_near_duplicates(["a"], threshold=threshold)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_equal_texts_are_found_at_every_threshold(threshold):
    assert find_near_duplicates([LONG, "other words", LONG], threshold=threshold) == [None, None, 0]


def made_up_problems(rng: random.Random, count: int) -> list[list[str]]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(2000)]
    problems = [rng.choices(vocabulary, k=40) for _ in range(count)]
    for words in problems:
        for place in (5, 20, 35):
            words[place] = str(rng.randint(1, 99))
    return problems


def test_planted_copies_are_found_and_other_problems_are_not():
    rng = random.Random(0)
    problems = made_up_problems(rng, 600)
    changed = [[*words[:10], "changed", *words[11:]] for words in problems[:100]]
    left_out = [[*words[:10], *words[11:]] for words in problems[100:200]]
    added = [[*words[:10], "added", *words[10:]] for words in problems[200:300]]
    spelled = [[f"{word.upper()}," for word in words] for words in problems[300:400]]
    # The same wording around other numbers is another problem.
    renumbered = [[str(int(word) + 100) if word.isdigit() else word for word in words] for words in problems[:400]]
    rows = [" ".join(words) for words in problems + changed + left_out + added + spelled + renumbered]
    found = find_near_duplicates(rows)
    assert found[:600] == [None] * 600
    assert found[600:1000] == list(range(400))
    assert found[1000:] == [None] * 400


def test_long_texts_are_compared_by_samples():
    rng = random.Random(1)
    texts = [[str(rng.randint(0, 10**6)) for _ in range(5000)] for _ in range(3)]
    copies = [words[:2000] + ["and"] + words[2000:] for words in texts]
    halves = [words[:2500] for words in texts]
    rows = [" ".join(words) for words in texts + copies + halves]
    assert find_near_duplicates(rows, threshold=0.9) == [None] * 3 + [0, 1, 2] + [None] * 3
