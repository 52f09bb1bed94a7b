# SPDX-License-Identifier: Apache-2.0
"""avg@k, pass@k, maj@k and classes of equal answers against brute force; figures, counts and notes of a run."""

import itertools
import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest

from open_r1.evaluation.benchmarks import local_benchmark
from open_r1.evaluation.intervals import mean_interval
from open_r1.evaluation.judges import Answer, judgement_of
from open_r1.evaluation.metrics import (
    MAX_CHARS,
    MAX_TEXTS,
    Metrics,
    avg_at_k,
    group_answers,
    maj_at_k,
    pass_at_k,
    reward_metrics,
)
from open_r1.evaluation.prompts import load_problems

NAN = math.nan


HOSTILE = [
    "9^{9^{9^{9}}}",
    "((9!)!)!",
    "x" * 1_000_000,
    "(x+1)*" * 200_000,
    "{" * 100_000,
    r"\frac{" * 150,
    "\0\ud800",
    r"(x+y+z+w+1)^{200}",
    r"\prod_{k=1}^{10^7}(x-k)",
    "e^{" * 18 + "x" + "}" * 18,
]


@pytest.mark.parametrize("num_samples", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(num_samples):
    for num_right in range(num_samples + 1):
        samples = [True] * num_right + [False] * (num_samples - num_right)
        for k in range(1, num_samples + 1):
            subsets = list(itertools.combinations(samples, k))
            expected = sum(any(subset) for subset in subsets) / len(subsets)
            assert pass_at_k(num_samples, num_right, k) == pytest.approx(expected, abs=1e-12)


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
    assert [maj_at_k(classes, scores, k) for k in ks] == pytest.approx(expected, abs=1e-12)


def test_majority_of_512_answers_is_exact():
    classes = [0] * 90 + [1] * 60 + [None] * 40 + list(range(2, 324))
    scores = [1.0 if name == 0 else 0.0 for name in classes]
    few, whole = (maj_at_k(classes, scores, k) for k in (2, 512))
    # Two answers: right where both are, or one is and the other is none; half where they tie.
    pairs = math.comb(512, 2)
    assert few == pytest.approx((math.comb(90, 2) + 90 * 40 + 90 * (60 + 322) / 2) / pairs)
    assert whole == pytest.approx(1.0)


def test_hostile_answers_end_in_time_and_leave_the_others_their_classes():
    answers = ["7", *HOSTILE, "7.0", *HOSTILE, r"\frac{14}{2}"]
    start = time.process_time()
    found = group_answers(answers)
    assert time.process_time() - start < 30
    assert found[0] == found[11] == found[-1] == 0
    assert found[1:11] == found[12:22]  # the same text is the same answer, whatever it is
    assert found.count(0) == 3


def test_beyond_the_steps_each_text_stands_alone_and_the_next_problem_is_compared():
    assert group_answers(["1/2", "0.5", "1/2"], max_steps=1) == [0, 1, 0]
    assert group_answers(["1/2", "0.5", "1/2"]) == [0, 0, 0]


def test_texts_beyond_the_limits_are_compared_by_their_letters():
    many = [str(number) for number in range(MAX_TEXTS)] + ["0.0", "0.0"]  # twice: among the first
    assert group_answers(many)[0] == group_answers(many)[-1] == 0
    assert len(set(group_answers([str(number) for number in range(MAX_TEXTS)] + ["0.0"]))) == MAX_TEXTS + 1
    long = "1" * (MAX_CHARS + 1)
    assert group_answers([long, long, f"{long}.0"]) == [0, 0, 1]


@pytest.mark.parametrize(
    ("answers", "classes"),
    [
        ([], []),
        ([None, None], [None, None]),
        (["", "  ", None, "3"], [None, None, None, 0]),
        (["3", "3"], [0, 0]),
        (["3", "4", "3.0", "4.00"], [0, 1, 0, 1]),
        ([r"\frac{1}{2}", "0.5", "1/2", "2/4", "0.333"], [0, 0, 0, 0, 1]),
        (["B", "(B)", "b)", "C"], [0, 0, 0, 1]),
        (["x = 3", "3", "4"], [0, 0, 1]),
        ([r"2\sqrt{3}", r"\sqrt{12}", "3.46"], [0, 0, 1]),
        (["Paris", "paris.", "London"], [0, 0, 1]),
        (["not  sure", "not sure", "1"], [0, 0, 1]),
        ([r"\frac{1}{", r"\frac{1}{", r"\frac{2}{"], [0, 0, 1]),
        (["0", "1", None, "0", "1", None], [0, 1, None, 0, 1, None]),
    ],
)
def test_answers_that_say_the_same_are_one_class(answers, classes):
    assert group_answers(answers) == classes


def test_what_equals_two_that_differ_joins_the_more_frequent():
    assert group_answers(["50", "0.5", "0.5", "50%"]) == [0, 1, 1, 1]
    assert group_answers(["50", "50", "0.5", "50%"]) == [0, 0, 1, 0]


def answer(verdict, extracted=None, *, row=0, index=0, finish="stop", tokens=10):
    if verdict is None:
        return Answer(row, index, None, "error", None, "HTTP 400: 9 tokens are too many")
    return Answer(row, index, "text", finish, tokens, None, verdict, judgement_of(verdict).score, extracted)


def load_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_problems(local_benchmark(path))


def metrics_of(problems, *answers_PG):
    """The metrics of the answers to the first rows."""
    metrics = Metrics(problems)
    for row, answers in enumerate(answers_PG):
        metrics.add(row, [replace(found, row=row) for found in answers])
    return metrics


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """Thirty different rows."""
    rows = [{"problem": f"What is {number}+1?", "solution": "2"} for number in range(30)]
    return load_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows)


def means(figures):
    return {name: value for name, value in figures.items() if not name.endswith(("_low", "_high", "_stderr"))}


def test_figures_have_the_k_that_was_asked_for_and_stand_there_once(problems):
    right, wrong, none = answer("right", "2"), answer("wrong", "3"), answer(None)
    metrics = metrics_of(problems, [right] * 4, [right, wrong, wrong, none])
    found = metrics.figures(4)
    assert means(found) == pytest.approx(
        {
            "avg@4": (1 + 1 / 3) / 2,
            "pass@2": (1 + 2 / 3) / 2,
            "pass@4": 1.0,  # over the problem with four
            "maj@2": (1 + 1 / 3) / 2,
            "maj@4": 1.0,
            "truncated": 0.0,
            "no_answer": 0.0,
            "mean_length_tokens": 10.0,
        }
    )
    assert all(f"{name}_{end}" in found for name in ("avg@4", "pass@2", "maj@4") for end in ("low", "high"))
    assert found["avg@4_stderr"] == pytest.approx(1 / 3)
    assert means(metrics_of(problems, [right]).figures(1)).keys() == {
        "avg@1",
        "truncated",
        "no_answer",
        "mean_length_tokens",
    }
    counts = metrics.counts(8)
    assert (counts["requested"], counts["returned"], counts["failed"]) == (8, 7, 1)
    assert metrics.errors == {"HTTP 400: # tokens are too many": 1}


@pytest.mark.parametrize(
    ("scores_PG", "average", "passed", "majority"),
    [
        ([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], 1 / 3, 0.5, 1 / 3),
        ([[1.0, NAN, 1.0], [0.0, 0.0, 0.0]], 0.5, 0.0, 0.0),
        ([[0.0, NAN, 0.0], [0.0, 1.0, 0.0]], 1 / 6, 1.0, 1 / 3),
        ([[NAN] * 3, [0.0, 1.0, 1.0]], 2 / 3, 1.0, 2 / 3),
        ([[NAN, 1.0, 1.0], [0.0, 0.0, NAN]], 0.5, None, None),
        ([[NAN] * 3] * 2, None, None, None),
    ],
)
def test_figures_keep_their_names_where_judgements_are_lost(problems, scores_PG, average, passed, majority):
    names = {1.0: "right", 0.0: "wrong"}
    answers_PG = [[answer(names.get(score, "lost"), "7") for score in scores] for scores in scores_PG]
    found = metrics_of(problems, *answers_PG).figures(3)
    expected = {"avg@3": average, "pass@3": passed, "maj@3": majority}
    assert {name: found.get(name) for name in expected} == {
        name: None if value is None else pytest.approx(value) for name, value in expected.items()
    }


def test_majority_is_what_most_answers_say(problems):
    metrics = metrics_of(
        problems,
        [answer("right", "2"), answer("right", "2.0"), answer("wrong", "3"), answer("no_answer")],
        [answer("wrong", "5"), answer("wrong", "5"), answer("wrong", "5"), answer("right", "4")],
    ).figures(4)
    assert metrics["avg@4"] == 0.375
    assert metrics["maj@2"] == pytest.approx(((1 + 2 * 0.5 + 2 * 1) / 6 + 3 * 0.5 / 6) / 2)
    assert metrics["maj@4"] == 0.5
    assert metrics_of(problems, [answer("no_answer")] * 2).figures(2)["maj@2"] == 0.0


def test_programs_have_no_majority(tmp_path):
    tests = {"test_cases": [{"input": "1 2", "output": "3", "type": "stdin_stdout"}]}
    programs = load_rows(tmp_path / "p.jsonl", [{"problem": "Add two numbers.", "verification_info": tests}])
    assert not [name for name in metrics_of(programs, [answer("right")] * 2).figures(2) if name.startswith("maj@")]


def test_an_answer_that_nobody_could_judge_is_not_wrong_and_does_not_vote(problems):
    metrics = metrics_of(problems, [answer("unverifiable")] * 2, [answer("right", "2"), answer("lost", "3")])
    assert metrics.figures(2)["avg@2"] == 1.0
    assert "pass@2" not in metrics.figures(2)
    assert (metrics.counts(4)["problems_judged"], metrics.counts(4)["lost"]) == (1, 1)
    assert metrics_of(problems, [answer("lost")]).figures(1) == {}
    lost = [answer("lost", "3"), answer("lost", "3"), answer("right", "2"), answer("right", "2")]
    assert metrics_of(problems, lost).figures(2)["maj@2"] == 1.0


def test_rows_that_ask_the_same_are_one_problem(problems, tmp_path):
    texts = ["What is 1+1?", "What is 1+2?", "What  is 1+1?\n", "What is 2+2?"]
    repeated = load_rows(tmp_path / "rows.jsonl", [{"problem": text, "solution": "2"} for text in texts])
    answers_PG = [[answer("right", "2"), answer("wrong", "3")]] * 4
    metrics, different = metrics_of(repeated, *answers_PG), metrics_of(problems, *answers_PG)
    for name, value in (("avg@2", 0.5), ("pass@2", 1.0), ("maj@2", 0.5)):
        expected = mean_interval([value] * 4, ["1+1", "1+2", "1+1", "2+2"])
        found, bare = metrics.figures(2), different.figures(2)
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx((expected.low, expected.high))
        assert found[f"{name}_low"] < bare[f"{name}_low"] - 0.01


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([answer("right", "2", finish="length")] * 2, "100%"),
        ([answer("no_answer"), answer("right", "2")], "no final answer"),
        ([answer("right", "2"), answer(None)], "1 of 2 requests"),
        ([answer("lost"), answer("right", "2")], "1 of 2 answers could not"),
    ],
)
def test_what_makes_figures_shaky_is_noted_and_nothing_else(problems, answers, said):
    assert metrics_of(problems, *[[answer("right", "2"), answer("wrong", "3")]] * 30).notes(60) == []
    assert [note for note in metrics_of(problems, answers).notes(len(answers)) if said in note]


def test_answers_whose_end_is_not_told_are_not_called_whole(problems):
    ends = ["unknown", "length", "stop"]
    assert metrics_of(problems, [answer("right", "2", finish=end) for end in ends]).figures(3)["truncated"] == 0.5


def row(problem="1+1", reward=1.0, *, greedy=False, solution="2", tokens=4, truncated=False, name="accuracy_reward"):
    prompt = [{"role": "user", "content": problem}]
    known = {"num_tokens": tokens, "is_truncated": truncated, "is_greedy": greedy}
    return {"prompt": prompt, "solution": solution, **known, name: reward}


def summary(rows, k, name="accuracy_reward"):
    found = reward_metrics(rows, [name], k, "eval")
    return {metric.removeprefix(f"eval_{name}/"): value for metric, value in found.items()}


def test_metrics_of_rewards_have_every_name():
    rows = [row(reward=1.0), row(reward=0.0, tokens=8, truncated=True), row(reward=1.0, greedy=True)]
    assert reward_metrics(rows, ["accuracy_reward"], 2, "eval") == {
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
    once = [row("a", 1.0), row("a", 0.0), row("b", 0.0), row("b", 0.0)]
    assert summary([*once, row("a", 1.0), row("a", 1.0)], 2) == summary(once, 2)
    assert summary([row(solution="2"), row(solution="3")], 1)["eval_num_problems"] == 2


def test_completions_that_were_not_judged_are_left_out():
    whole = [row("a", 1.0), row("a", 0.0), row("b", 0.0), row("b", 0.0)]
    lost = [row("c", 0.0), row("c", None), row("d", None), row("d", NAN)]
    found = summary([*whole, *lost], 2)
    assert (found["pass@2"], found["avg@2"]) == (0.5, pytest.approx(0.5 / 3))
    assert "pass@2" not in summary(lost, 2)
    assert "avg@1" not in summary([row(reward=None)], 1)
    assert "greedy" not in summary([row(), row(reward=None, greedy=True)], 1)
    assert "pass@1" not in summary([row(name="cosine_scaled_reward")], 1, "cosine_scaled_reward")
