# SPDX-License-Identifier: Apache-2.0
"""The compute-optimal choice on made-up data of which the best is known."""

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from open_r1.test_time.compute_optimal import compute_optimal
from open_r1.test_time.difficulty import absolute_bins, plain_setting, quantile_bins
from open_r1.test_time.results import Attempt, Setting
from open_r1.test_time.votes import chances

PLAIN = Setting("cot")
SEARCH = Setting("beam_search", {"n": 4})
BEST = Setting("best_of_n", {"n": 4})
TOKENS = {PLAIN.key: 100, SEARCH.key: 400, BEST.key: 400}
# Share of right attempts: search helps hard problems, best of n the easy ones.
RATES = {
    "hard": {PLAIN.key: 0.0, SEARCH.key: 0.6, BEST.key: 0.1},
    "easy": {PLAIN.key: 0.8, SEARCH.key: 0.5, BEST.key: 0.95},
}


def attempts_by(rates, num_problems=40, repeats=20, seed=0):
    generator = np.random.default_rng(seed)
    return [
        Attempt(row, "x", TOKENS[one.key] // 2, TOKENS[one.key], score=float(score), setting=one, repeat=repeat)
        for row in range(num_problems)
        for one in (PLAIN, SEARCH, BEST)
        for repeat, score in enumerate(generator.random(repeats) < rates[("hard", "easy")[row % 2]][one.key])
    ]


def twice(attempts):
    """Plain samples again, in another repeat; greedy ones needn't be."""
    return [*attempts, *(replace(one, repeat=1) for one in attempts)]


def test_the_best_of_each_bin_and_budget_is_found():
    found = compute_optimal(attempts_by(RATES), budgets=[50, 100, 399, 400])
    assert {(one.budget, one.bin): one.setting for one in found.choices} == {
        (100, "hard"): PLAIN,
        (399, "hard"): PLAIN,
        (400, "hard"): SEARCH,
        (100, "easy"): PLAIN,
        (399, "easy"): PLAIN,
        (400, "easy"): BEST,
    }
    by_bin = {one.bin: one for one in found.choices if one.budget == 400}
    assert by_bin["hard"].setting == SEARCH
    assert by_bin["hard"].accuracy.mean == pytest.approx(0.6, abs=0.06)
    assert by_bin["easy"].accuracy.mean == pytest.approx(0.95, abs=0.03)
    assert by_bin["hard"].share == 1.0


def test_choices_by_difficulty_are_better_than_one_for_all():
    found = compute_optimal(attempts_by(RATES), budgets=[400])
    overall, fixed = found.overall[0], found.fixed[0]
    assert overall.accuracy.low > fixed.accuracy.mean
    assert overall.total_tokens == 400
    assert found.frontier() == {200.0: overall.accuracy.mean}


def test_the_best_of_many_alike_is_no_better_than_they_are():
    """40 settings that are right half of the time: chosen and measured on the same problems, the best shows 0.7."""
    generator = np.random.default_rng(3)
    settings = [Setting("cot"), *(Setting("best_of_n", {"n": 2, "k": k}) for k in range(40))]
    attempts = [
        Attempt(row, "x", 1, 1, score=float(generator.random() < 0.5), setting=one, repeat=repeat)
        for row in range(30)
        for one in settings
        for repeat in range(2 if one.method == "cot" else 1)
    ]
    by_setting = [np.mean([one.score for one in attempts if one.setting == setting]) for setting in settings]
    assert max(by_setting) > 0.65
    (found,) = compute_optimal(attempts, budgets=[1], num_splits=50).fixed
    assert found.accuracy.mean == pytest.approx(0.5, abs=0.07)


def noise_of_settings(generator, num_repeats):
    """Samples of 6 settings, each right half of the time; one of them is solved once, as greedy ones are."""
    settings = [PLAIN, Setting("greedy"), *(Setting("budget_forcing", {"budget": k}) for k in range(4))]
    return [
        Attempt(row, "x", 100, 100, score=float(generator.random() < 0.5), setting=one, repeat=repeat)
        for row in range(200)
        for one in settings
        for repeat in range(1 if one.method == "greedy" else num_repeats)
    ]


@functools.cache
def share_right(right, n):
    return min(1.0, float(chances([0.0] * len(right), list(right), "vote", n) @ np.array(right)))


def noise_of_pools(generator, num_repeats):
    """Votes of n of 8 candidates, each right half of the time; `cot` is the first of them, by the same seed."""
    found = []
    for row in range(200):
        for repeat in range(num_repeats):
            right = tuple((generator.random(8) < 0.5).astype(int).tolist())
            found.append(Attempt(row, "x", 100, 100, score=float(right[0]), setting=PLAIN, repeat=repeat))
            for n in (1, 2, 4, 8):
                score = share_right(right, n)
                setting = Setting("majority", {"n": n})
                found.append(Attempt(row, "x", 100 * n, 100 * n, score=score, setting=setting, repeat=repeat))
    return found


@pytest.mark.parametrize("num_repeats", [2, 4])
@pytest.mark.parametrize("noise_of", [noise_of_settings, noise_of_pools])
def test_on_noise_no_choice_looks_better_or_worse_than_it_is(noise_of, num_repeats):
    """By bins of the samples that are compared, "as by bin" was 0.58 to 0.82 here, and the bins 0 and 1."""
    overall, by_bin = [], {}
    for seed in range(8):
        found = compute_optimal(noise_of(np.random.default_rng(seed), num_repeats), budgets=[1000], num_splits=5)
        overall.append(found.overall[0].accuracy.mean)
        for choice in found.choices:
            by_bin.setdefault(choice.bin, []).append(choice.accuracy.scores_P)
    assert np.mean(overall) == pytest.approx(0.5, abs=0.025)
    for scores in by_bin.values():
        together = np.concatenate(scores)
        assert together.mean() == pytest.approx(0.5, abs=0.02 + 2 / math.sqrt(len(together)))


def copied(attempts, num_problems, num_copies):
    """Attempts at rows that stand there several times, which get the same seeds, and the problem of each row."""
    rows = range(num_copies * num_problems)
    copies = [
        replace(one, problem_row=one.problem_row + copy * num_problems)
        for copy in range(num_copies)
        for one in attempts
    ]
    return copies, {row: f"problem {row % num_problems}" for row in rows}


@pytest.mark.parametrize("num_quantiles", [None, 3])
def test_rows_that_ask_the_same_say_no_more_than_one_of_them(num_quantiles):
    """A copy on either half: chosen by, and reported on. Intervals of 40 rows in place of 10 were half as wide."""
    attempts = attempts_by({"hard": dict.fromkeys(TOKENS, 0.3), "easy": dict.fromkeys(TOKENS, 0.6)}, 10, repeats=4)
    once = compute_optimal(attempts, num_quantiles=num_quantiles)
    copies, problems = copied(attempts, 10, 4)
    found = compute_optimal(copies, problems=problems, num_quantiles=num_quantiles)
    assert (found.bins, found.as_json()["bins"]) == (once.bins, once.as_json()["bins"])
    for now, before in zip(
        [*found.choices, *found.overall, *found.fixed], [*once.choices, *once.overall, *once.fixed], strict=True
    ):
        assert (now.bin, now.setting, now.share) == (before.bin, before.setting, before.share)
        numbers = [
            [one.accuracy.mean, one.accuracy.low, one.accuracy.high, one.thinking_tokens, one.total_tokens]
            for one in (now, before)
        ]
        assert numbers[0] == pytest.approx(numbers[1])
        assert now.as_json()["problems"] == before.as_json()["problems"]


def test_of_many_alike_in_copied_rows_the_interval_holds_the_truth():
    """By rows, the best of 40 settings that are right half of the time showed 0.63, and 1 of 60 intervals held 0.5."""
    held, means = 0, []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        settings = [PLAIN, *(Setting("best_of_n", {"n": 2, "k": k}) for k in range(40))]
        attempts = twice(
            [
                Attempt(row, "x", 1, 1, score=float(generator.random() < 0.5), setting=one)
                for row in range(30)
                for one in settings
            ]
        )
        copies, problems = copied(attempts, 30, 4)
        accuracy = compute_optimal(copies, problems=problems, budgets=[1], num_splits=5).fixed[0].accuracy
        means.append(accuracy.mean)
        held += accuracy.low <= 0.5 <= accuracy.high
    assert held >= 8
    assert np.mean(means) == pytest.approx(0.5, abs=0.05)


def test_rows_that_ask_the_same_are_in_one_bin_and_each_count_in_the_mean():
    """Rows 0 to 2 ask one problem, whose plain samples are right in 2 of 3 rows."""
    right = {0: 1.0, 1: 1.0, 2: 0.0, 3: 1.0}
    attempts = twice([Attempt(row, "x", 1, 1, score=score, setting=PLAIN) for row, score in right.items()])
    found = compute_optimal(attempts, problems={0: "a", 1: "a", 2: "a", 3: "b"}, budgets=[1])
    assert found.bins == {"hard": [], "medium": [], "easy": [0, 3]}
    (choice,) = found.choices
    assert choice.accuracy.mean == pytest.approx(0.75)
    assert choice.as_json()["problems"] == 2


def test_copies_of_one_problem_have_no_two_halves():
    attempts = twice([Attempt(row, "x", 1, 1, score=1.0, setting=PLAIN) for row in range(8)])
    with pytest.raises(ValueError, match="1 problems were judged at each setting; two halves need at least 2"):
        compute_optimal(attempts, problems=dict.fromkeys(range(8), "the same"))


def test_all_bins_together_are_of_the_problems_of_the_single_setting():
    """Row 0 is a bin of its own, without two halves: there the single setting stands, and is said to."""
    attempts = twice(
        [Attempt(row, "x", 1, 1, score=float(row > 0), setting=one) for row in range(20) for one in (PLAIN, SEARCH)]
    )
    found = compute_optimal(attempts, budgets=[10])
    (overall,), (fixed,) = found.overall, found.fixed
    assert overall.accuracy.scores_P.size == fixed.accuracy.scores_P.size == 20
    assert overall.accuracy.mean == fixed.accuracy.mean == 0.95
    assert (overall.num_by_fixed, overall.as_json()["problems_by_fixed"]) == (1, 1)
    assert "| all | 20 | as by bin, 1 as all |" in found.table()


def test_a_budget_that_a_bin_has_no_setting_for_has_no_choice_over_all_bins():
    """Hard problems take more tokens than the budget, and so do all of them on average."""
    attempts = twice(
        [Attempt(row, "x", 1, 10 if row % 2 else 1000, score=float(row % 2), setting=PLAIN) for row in range(20)]
    )
    found = compute_optimal(attempts, budgets=[10])
    assert [(one.bin, one.setting) for one in found.choices] == [("easy", PLAIN)]
    assert (found.overall, found.fixed) == ([], [])


def test_what_an_oracle_chose_is_left_out():
    oracle = Setting("best_of_n", {"n": 4, "scorer": "oracle"})
    attempts = attempts_by(RATES)
    attempts += [replace(one, setting=oracle, score=1.0) for one in attempts if one.setting == BEST]
    found = compute_optimal(attempts, budgets=[400])
    assert oracle not in [one.setting for one in (*found.choices, *found.fixed)]


def test_of_equal_settings_the_cheaper_is_taken():
    attempts = [
        Attempt(row, "x", 1, TOKENS[one.key], score=1.0, setting=one) for row in range(4) for one in (SEARCH, PLAIN)
    ]
    (choice,) = compute_optimal(twice(attempts), budgets=[1000]).choices
    assert choice.setting == PLAIN


def test_budgets_are_powers_of_two_from_the_cheapest_to_the_dearest():
    found = compute_optimal(attempts_by(RATES, repeats=2))
    assert [one.budget for one in found.fixed] == [128, 256, 512]


def test_a_setting_tried_on_some_problems_only_is_not_compared():
    attempts = [Attempt(row, "x", 1, 1, score=0.0, setting=PLAIN) for row in range(10)]
    attempts += [Attempt(row, "x", 1, 1, score=1.0, setting=SEARCH) for row in range(5)]
    found = compute_optimal(twice(attempts), budgets=[10])
    (choice,) = found.choices
    assert choice.setting == PLAIN
    assert "leaves beam_search n=4 out, which has verdicts on 5 of 10 problems" in found.notes[0]


def greedy_and_plain(is_lost):
    """Greedy is right wherever it was judged, plain samples on every second problem."""
    greedy = [
        Attempt(row, "x", 1, 2, score=math.nan if is_lost(row) else 1.0, setting=Setting("greedy"))
        for row in range(40)
    ]
    return [*greedy, *twice([Attempt(row, "x", 1, 1, score=float(row % 2), setting=PLAIN) for row in range(40)])]


def test_a_lost_verdict_costs_its_problem_and_not_its_setting():
    found = compute_optimal(greedy_and_plain(lambda row: row == 7), budgets=[10])
    (fixed,) = found.fixed
    assert (fixed.setting, fixed.accuracy.mean, fixed.accuracy.scores_P.size) == (Setting("greedy"), 1.0, 39)
    (note,) = found.notes
    assert note.startswith("the compute-optimal choice is of 39 of 40 problems: on the others a setting")


def test_a_setting_that_lost_most_verdicts_is_left_out_by_name():
    found = compute_optimal(greedy_and_plain(lambda row: row > 3), budgets=[10])
    (fixed,) = found.fixed
    assert (fixed.setting, fixed.accuracy.scores_P.size) == (PLAIN, 40)
    assert found.notes == ["the compute-optimal choice leaves greedy out, which has verdicts on 4 of 40 problems"]


def test_attempts_that_nobody_could_judge_are_left_out():
    attempts = [Attempt(row, "x", 1, 1, score=math.nan if row % 2 else 1.0, setting=PLAIN) for row in range(10)]
    found = compute_optimal(twice(attempts), budgets=[10])
    assert found.bins["easy"] == [0, 2, 4, 6, 8]
    assert found.choices[0].accuracy.mean == 1.0


@pytest.mark.parametrize(
    ("attempts", "message"),
    [
        ([], "difficulty needs plain samples"),
        ([Attempt(0, "x", 1, 1, score=1.0, setting=SEARCH)], "difficulty needs plain samples"),
        (
            [Attempt(row, "x", 1, 1, score=1.0, setting=PLAIN) for row in range(9)],
            "cot has one repeat: of --num_repeats 4",
        ),
        (
            twice([Attempt(0, "x", 1, 1, score=1.0, setting=PLAIN)]),
            "1 problems were judged at each setting; two halves need at least 2",
        ),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(attempts, message):
    with pytest.raises(ValueError, match=message):
        compute_optimal(attempts)


@pytest.mark.parametrize("more", [{"num_splits": 0}, {"num_quantiles": 0}])
def test_numbers_that_mean_nothing_are_refused(more):
    with pytest.raises(ValueError, match="must be at least 1"):
        compute_optimal(attempts_by(RATES, repeats=2), **more)


@pytest.mark.parametrize(
    ("rate", "name"),
    [
        (0.0, "hard"),
        (0.0999, "hard"),
        (0.1, "medium"),
        (0.4999, "medium"),
        (0.5, "easy"),
        (1.0, "easy"),
        (1 + 1e-12, "easy"),
    ],
)
def test_bins_are_those_of_the_paper(rate, name):
    assert [key for key, rows in absolute_bins({3: rate}).items() if rows] == [name]


@pytest.mark.parametrize("num_bins", [1, 3, 5, 9])
def test_quantiles_hold_each_problem_once(num_bins):
    rates = {row: (row * 7 % 10) / 10 for row in range(23)}
    bins = quantile_bins(rates, num_bins)
    assert sorted(row for rows in bins.values() for row in rows) == list(range(23))
    assert max(map(len, bins.values())) - min(map(len, bins.values())) <= 1
    order = [rates[row] for rows in bins.values() for row in rows]
    assert order == sorted(order)


def test_quantiles_in_place_of_absolute_bins():
    found = compute_optimal(attempts_by(RATES), budgets=[400], num_quantiles=2)
    assert [one.setting for one in found.choices] == [SEARCH, BEST]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([SEARCH, PLAIN], PLAIN),
        ([Setting("majority", {"n": 4}), Setting("majority", {"n": 1})], Setting("majority", {"n": 1})),
        ([Setting("weighted", {"n": 1}), PLAIN], PLAIN),
    ],
)
def test_plain_samples_are_found(settings, expected):
    assert plain_setting(settings) == expected


def test_results_are_json_and_a_table():
    found = compute_optimal(attempts_by(RATES), budgets=[400])
    results = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert set(results) == {"bins", "choices", "overall", "fixed"}
    assert sum(results["bins"].values()) == 40
    best = next(one for one in results["choices"] if one["bin"] == "easy")
    assert (best["method"], best["values"]) == ("best_of_n", {"n": 4})
    assert best["accuracy_low"] < best["accuracy"] < best["accuracy_high"]
    lines = found.table().splitlines()
    assert len(lines) == 2 + len(found.choices) + 2
    again = compute_optimal(attempts_by(RATES), budgets=[400, 500, 100_000])
    assert again.table().splitlines() == lines  # nothing is dearer than 400
    assert any("| easy | " in line and "best_of_n n=4" in line for line in lines)
