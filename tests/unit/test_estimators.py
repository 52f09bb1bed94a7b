# SPDX-License-Identifier: Apache-2.0
"""avg@k, pass@k and their intervals against brute force and simulation."""

import itertools
import math

import numpy as np
import pytest

from open_r1.utils.estimators import Record, avg_at_k, pass_at_k, summarize

NAN = math.nan


def record(
    problem="1+1", reward=1.0, *, greedy=False, solution="2", tokens=4, truncated=False, name="accuracy_reward"
):
    prompt = [{"role": "user", "content": problem}]
    return Record(prompt, "text", tokens, truncated, {name: reward}, solution, greedy)


@pytest.mark.parametrize("num_samples", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(num_samples):
    for num_right in range(num_samples + 1):
        samples = [True] * num_right + [False] * (num_samples - num_right)
        for k in range(1, num_samples + 1):
            subsets = list(itertools.combinations(samples, k))
            expected = sum(any(subset) for subset in subsets) / len(subsets)
            assert pass_at_k(num_samples, num_right, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_of_many_samples_stays_exact():
    assert pass_at_k(10_000, 1, 1) == pytest.approx(1e-4, rel=1e-9)
    assert pass_at_k(2000, 1000, 100) == 1.0


@pytest.mark.parametrize(("num_samples", "k"), [(4, 5), (4, 0), (0, 1), (4, -1)])
def test_pass_at_k_of_too_few_samples_is_refused(num_samples, k):
    with pytest.raises(ValueError, match=f"pass@{k} needs at least"):
        pass_at_k(num_samples, 0, k)


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([[1, 0], [1, 1]], 0.75),
        ([[1], [0, 0, 0, 0]], 0.5),  # problems count alike, however many completions they have
        ([[1, NAN], [0, 0]], 0.5),
        ([[NAN, NAN], [1, 0]], 0.5),
        ([[], [1]], 1.0),
        ([[-1.0, 0.5]], -0.25),
    ],
)
def test_avg_at_k_is_the_mean_over_problems(scores, mean):
    assert avg_at_k(scores).mean == pytest.approx(mean)


@pytest.mark.parametrize("scores", [[], [[]], [[NAN]], [[NAN, NAN], []]])
def test_avg_at_k_of_nothing_judged_is_refused(scores):
    with pytest.raises(ValueError, match="No completion was judged"):
        avg_at_k(scores)


def test_interval_covers_the_true_mean_in_about_95_of_100_cases():
    generator = np.random.default_rng(7)
    covered = 0
    for number in range(200):
        rates_P = generator.beta(2, 3, size=80)  # completions of one problem are alike
        scores_PG = generator.random((80, 4)) < rates_P[:, None]
        interval = avg_at_k(scores_PG.astype(float), num_resamples=300, seed=number)
        covered += interval.low <= 0.4 <= interval.high
    assert 0.91 <= covered / 200 <= 0.98


def test_interval_of_one_problem_is_a_point():
    interval = avg_at_k([[1, 0, 0, 1]])
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_interval_is_the_same_for_the_same_seed():
    scores = np.random.default_rng(0).random((30, 4))
    assert avg_at_k(scores, seed=3) .low == avg_at_k(scores, seed=3).low  # fmt: skip
    assert avg_at_k(scores, seed=3).low != avg_at_k(scores, seed=4).low


def test_summary_names_every_metric():
    records = [record(reward=1.0), record(reward=0.0, tokens=8, truncated=True), record(reward=1.0, greedy=True)]
    assert summarize(records, 2, "eval") == {
        "eval_num_problems": 1,
        "eval_completions/mean_length": 6.0,
        "eval_completions/truncated": 0.5,
        "eval_accuracy_reward/avg@2": 0.5,
        "eval_accuracy_reward/avg@2_low": 0.5,
        "eval_accuracy_reward/avg@2_high": 0.5,
        "eval_accuracy_reward/pass@2": 1.0,
        "eval_accuracy_reward/greedy": 1.0,
    }


def test_problems_that_fill_up_the_last_batch_count_once():
    once = [record("a", 1.0), record("a", 0.0), record("b", 0.0), record("b", 0.0)]
    again = [record("a", 1.0), record("a", 1.0)]
    assert summarize(once + again, 2, "eval") == summarize(once, 2, "eval")


def test_same_prompt_with_another_solution_is_another_problem():
    assert summarize([record(solution="2"), record(solution="3")], 1, "eval")["eval_num_problems"] == 2


def test_completion_that_was_not_judged_is_neither_right_nor_wrong():
    records = [record("a", 1.0), record("a", None), record("b", None), record("b", None)]
    metrics = summarize(records, 2, "eval")
    assert metrics["eval_accuracy_reward/avg@2"] == 1.0
    assert metrics["eval_accuracy_reward/pass@2"] == 1.0


def test_reward_that_judged_nothing_has_no_metrics():
    assert not [key for key in summarize([record(reward=None)], 1, "eval") if "accuracy" in key]


def test_greedy_completions_that_were_not_judged_give_no_metric():
    metrics = summarize([record(), record(reward=None, greedy=True)], 1, "eval")
    assert "eval_accuracy_reward/greedy" not in metrics


def test_reward_that_is_no_verdict_has_no_pass_at_k():
    metrics = summarize([record(name="cosine_scaled_reward", reward=1.0)], 1, "eval")
    assert not [key for key in metrics if "pass@" in key]


@pytest.mark.parametrize("records", [[], [record(greedy=True)]])
def test_summary_of_no_sampled_completion_is_refused(records):
    with pytest.raises(ValueError, match="No sampled completion"):
        summarize(records, 1, "eval")
