# SPDX-License-Identifier: Apache-2.0
"""avg@k, pass@k and maj@k against brute force, and the summary of an evaluation during training."""

import itertools
import math

import numpy as np
import pytest

from open_r1.evaluation.estimators import Record, avg_at_k, maj_at_ks, pass_at_k, summarize

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


def test_sixteen_requested_and_eight_returned_gives_estimates_from_eight():
    returned = [1, 1, 0, 1, 0, 0, 0, 0]
    assert avg_at_k([[*returned, *[NAN] * 8]]).mean == 3 / 8
    assert maj_at_ks([0, 0, 1, 0, 2, 2, None, None, *[None] * 8], [*returned, *[NAN] * 8], [8]) == [1.0]
    with pytest.raises(ValueError, match="maj@9"):
        maj_at_ks(range(16), [*returned, *[NAN] * 8], [9])


def majority_by_enumeration(classes, scores, k):
    means = {name: np.mean([s for c, s in zip(classes, scores, strict=True) if c == name]) for name in classes}
    totals = []
    for chosen in itertools.combinations(classes, k):
        votes = [name for name in chosen if name is not None]
        most = max(map(votes.count, votes), default=0)
        winners = {name for name in votes if votes.count(name) == most}
        totals.append(np.mean([means[name] for name in winners]) if winners else 0.0)
    return np.mean(totals)


@pytest.mark.parametrize(
    ("classes", "scores"),
    [
        ([0, 0, 1], [1, 1, 0]),
        ([0, 1, 1, 2, None], [1, 0, 0, 0, 0]),
        ([0, 0, 1, 1, 2, 2, None, None], [1, 1, 0, 0, 0, 0, 0, 0]),
        ([0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 0, 0, 0]),
        ([0, 0, 0, 1, 1, 1, 1, None, 2], [1, 1, 0, 0, 0.5, 0, 0, 0, 1]),
        ([None, None, None], [0, 0, 0]),
        ([7, 7, 7, 7], [1, 1, 1, 1]),
    ],
)
def test_maj_at_k_is_the_mean_over_all_subsets(classes, scores):
    ks = range(1, len(classes) + 1)
    expected = [majority_by_enumeration(classes, scores, k) for k in ks]
    assert maj_at_ks(classes, scores, ks) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "scores", "k", "expected"),
    [
        ([0, 0, 1], [1, 1, 0], 3, 1.0),
        ([0, 1], [1, 0], 2, 0.5),  # a tie
        ([0, None, None], [1, 0, 0], 3, 1.0),  # no answer, no vote
        ([0, None], [1, 0], 1, 0.5),  # but it is drawn
        ([0, 0, 1, 1, 1], [1, 1, 0, 0, 0], 1, 0.4),
        ([0, 0, 1, 1, 1], [1, 1, 0, 0, 0], 3, 0.3),  # right in 3 of 10 draws: both right ones and one wrong
        ([0, 0, 1, 1], [1, NAN, 0, NAN], 2, 0.5),
    ],
)
def test_maj_at_k_of_answers_counted_by_hand(classes, scores, k, expected):
    assert maj_at_ks(classes, scores, [k]) == pytest.approx([expected])


def test_maj_at_1_is_the_mean_score():
    rng = np.random.default_rng(1)
    classes, scores = rng.integers(0, 5, 60).tolist(), rng.random(60)
    assert maj_at_ks(classes, scores, [1]) == pytest.approx([scores.mean()])


def test_majority_of_many_answers_is_drawn_near_to_what_is_exact():
    classes = [0] * 90 + [1] * 60 + [None] * 40
    scores = [1.0 if name == 0 else 0.0 for name in classes]
    (single, few) = maj_at_ks(classes, scores, [1, 2])
    # Two answers: right where both are, or one is and the other is none; half where they tie.
    pairs = math.comb(190, 2)
    assert single == pytest.approx(90 / 190, abs=0.03)
    assert few == pytest.approx((math.comb(90, 2) + 90 * 40 + 90 * 60 / 2) / pairs, abs=0.03)
    assert maj_at_ks(classes, scores, [1, 2]) == [single, few]


@pytest.mark.parametrize(("classes", "k"), [([], 1), ([0, 1], 3), ([0, 1], 0), ([0, 1], -1)])
def test_majority_of_too_few_answers_is_refused(classes, k):
    with pytest.raises(ValueError, match=f"maj@{k} needs at least"):
        maj_at_ks(classes, [1.0] * len(classes), [k])


def test_summary_names_every_metric():
    records = [record(reward=1.0), record(reward=0.0, tokens=8, truncated=True), record(reward=1.0, greedy=True)]
    assert summarize(records, 2, "eval") == {
        "eval_num_problems": 1,
        "eval_completions/mean_length": 6.0,
        "eval_completions/truncated": 0.5,
        "eval_accuracy_reward/avg@2": 0.5,
        "eval_accuracy_reward/avg@2_low": 0.0,
        "eval_accuracy_reward/avg@2_high": 1.0,
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


def test_pass_at_k_is_of_the_problems_with_k_judged_completions(caplog):
    whole = [record("a", 1.0), record("a", 0.0), record("b", 0.0), record("b", 0.0)]
    lost = [record("c", 0.0), record("c", None), record("d", None), record("d", None)]
    assert summarize([*whole, *lost], 2, "eval")["eval_accuracy_reward/pass@2"] == 0.5
    assert "of 1 problems fewer than 2 completions could be judged: pass@2 is over the 2 others" in caplog.text
    metrics = summarize(lost, 2, "eval")
    assert (metrics["eval_accuracy_reward/avg@2"], metrics.get("eval_accuracy_reward/pass@2")) == (0.0, None)


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
