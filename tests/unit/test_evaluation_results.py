# SPDX-License-Identifier: Apache-2.0
"""Metrics, counts and notes of a run, and the file of its answers."""

import json
import math
from contextlib import closing
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from open_r1.data.benchmarks import local_benchmark
from open_r1.evaluation.intervals import mean_interval
from open_r1.evaluation.judging import Answer
from open_r1.evaluation.problems import load_problems
from open_r1.evaluation.results import AnswersFile, finished_results, write_results
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.evaluation.tally import Tally


def answer(verdict, extracted=None, *, row=0, index=0, finish="stop", text="text", tokens=10):
    return Answer(row, index, None if verdict is None else text, finish, tokens, verdict, None, extracted)


def load_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_problems(local_benchmark(path), EvaluationSettings("m"))


def tally_of(problems, *answers_PG):
    """A tally of the answers to the first rows."""
    tally = Tally(problems)
    for row, answers in enumerate(answers_PG):
        tally.add([replace(found, row=row) for found in answers])
    return tally


@pytest.fixture
def repeated(tmp_path):
    """Four rows, of which two ask the same."""
    texts = ["What is 1+1?", "What is 1+2?", "What  is 1+1?\n", "What is 2+2?"]
    rows = [{"problem": text, "solution": "2"} for text in texts]
    with closing(load_rows(tmp_path / "repeated.jsonl", rows)) as found:
        yield found


@pytest.fixture
def problems(tmp_path):
    """Thirty different rows."""
    rows = [{"problem": f"What is {number}+1?", "solution": "2"} for number in range(30)]
    with closing(load_rows(tmp_path / "rows.jsonl", rows)) as found:
        yield found


@pytest.fixture
def programs(tmp_path):
    tests = {"test_cases": [{"input": "1 2", "output": "3", "type": "stdin_stdout"}]}
    rows = [{"problem": "Add two numbers.", "verification_info": tests}]
    with closing(load_rows(tmp_path / "programs.jsonl", rows)) as found:
        yield found


def test_majority_is_what_most_answers_say(problems):
    tally = tally_of(
        problems,
        [answer("right", "2"), answer("right", "2.0"), answer("wrong", "3"), answer("no_answer")],
        [answer("wrong", "5"), answer("wrong", "5"), answer("wrong", "5"), answer("right", "4")],
    )
    metrics = tally.metrics()
    assert (metrics["avg@4"], metrics["maj@1"]) == (0.375, 0.375)
    assert metrics["maj@2"] == pytest.approx(((1 + 2 * 0.5 + 2 * 1) / 6 + 3 * 0.5 / 6) / 2)
    assert metrics["maj@4"] == 0.5
    assert metrics["maj@4_low"] < 0.5 < metrics["maj@4_high"]


def test_every_estimate_has_an_interval(problems):
    metrics = tally_of(problems, *[[answer("right", "2"), answer("wrong", "3")]] * 3).metrics()
    assert [name for name in metrics if "@" in name and not name.endswith(("_low", "_high"))] == [
        "avg@2",
        "pass@1",
        "pass@2",
        "maj@1",
        "maj@2",
    ]
    assert all(f"{name}_{end}" in metrics for name in ("avg@2", "pass@2", "maj@2") for end in ("low", "high"))


def test_programs_have_no_majority(programs):
    metrics = tally_of(programs, [answer("right"), answer("wrong")]).metrics()
    assert not [name for name in metrics if name.startswith("maj@")]


def test_k_of_all_is_that_of_the_problem_with_the_fewest_answers(problems):
    metrics = tally_of(
        problems,
        [answer("right", "2")] * 16,
        [answer("right", "2")] * 3 + [answer("wrong", "3")] * 5 + [answer(None)] * 8,
    ).metrics()
    assert metrics["avg@8"] == pytest.approx((1 + 3 / 8) / 2)
    assert metrics["pass@4"] == pytest.approx((1 + 1 - math.comb(5, 4) / math.comb(8, 4)) / 2)
    assert "pass@16" not in metrics
    assert "maj@8" in metrics


def test_tally_counts_by_what_was_returned(problems):
    tally = tally_of(
        problems,
        [answer("right"), answer("wrong"), answer("right"), answer(None)],
        [answer(verdict, finish="length") for verdict in ("no_answer", "wrong", None, None)],
    )
    metrics = tally.metrics()
    assert metrics["avg@2"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["pass@1"] == pytest.approx(metrics["avg@2"])
    assert metrics["pass@2"] == 0.5
    assert (metrics["truncated"], metrics["no_answer"]) == (2 / 5, 1 / 5)
    counts = tally.counts(8)
    assert (counts["requested"], counts["returned"], counts["failed"]) == (8, 5, 3)
    assert counts["returned_of_a_problem"] == [2, 3]


def test_what_nobody_could_judge_is_no_wrong_answer(problems):
    tally = tally_of(problems, [answer("unverifiable")] * 2, [answer("right"), answer("lost")])
    assert tally.metrics()["avg@1"] == 1.0
    assert tally.counts(4)["problems_judged"] == 1
    assert all(math.isnan(score) for score in tally.scores_PG[0])


def test_answers_that_nobody_could_judge_do_not_vote(problems):
    tally = tally_of(problems, [answer("lost", "3"), answer("lost", "3"), answer("right", "2")])
    assert tally.metrics()["maj@1"] == 1.0
    assert any("2 of 3 answers could not be judged" in note for note in tally.notes(3))


def test_rows_that_ask_the_same_are_one_problem(repeated, problems):
    answers_PG = [[answer("right", "2"), answer("wrong", "3")]] * 4
    tally, different = tally_of(repeated, *answers_PG), tally_of(problems, *answers_PG)
    found, bare = tally.metrics(), different.metrics()
    assert found["avg@2"] == bare["avg@2"] == 0.5
    assert tally.counts(8)["problems_repeated"] == 1
    assert different.counts(8)["problems_repeated"] == 0
    assert any("1 of 4 rows ask what another row asks" in note for note in tally.notes(8))
    for name, value in (("avg@2", 0.5), ("pass@1", 0.5), ("pass@2", 1.0), ("maj@1", 0.5), ("maj@2", 0.5)):
        expected = mean_interval([value] * 4, ["1+1", "1+2", "1+1", "2+2"])
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx((expected.low, expected.high))
        assert found[f"{name}_low"] < bare[f"{name}_low"] - 0.01


def test_answers_that_were_never_recorded_have_failed(problems):
    tally = tally_of(problems, [answer("right", "2")])
    assert tally.counts(4)["failed"] == 3
    assert any("3 of 4 requests have failed" in note for note in tally.notes(4))


def test_a_majority_of_no_answers_is_wrong(problems):
    assert tally_of(problems, [answer("no_answer")] * 2).metrics()["maj@2"] == 0.0


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([answer("right", "2", finish="length")] * 2, "100% of the answers were cut off"),
        ([answer("no_answer"), answer("right", "2")], "50% of the answers hold no final answer"),
        ([answer("right", "2")], "so few problems (1) say little"),
        ([answer("right", "2"), answer(None)], "1 of 2 requests have failed"),
        ([answer("right", "2", finish="unknown"), answer("right", "2")], "of 1 of 2 answers the server doesn't tell"),
    ],
)
def test_what_makes_figures_shaky_is_noted(problems, answers, said):
    assert [note for note in tally_of(problems, answers).notes(len(answers)) if said in note]


def test_answers_whose_end_is_not_told_are_not_called_whole(problems):
    ends = ["unknown", "length", "stop"]
    assert tally_of(problems, [answer("right", "2", finish=end) for end in ends]).metrics()["truncated"] == 0.5
    assert "truncated" not in tally_of(problems, [answer("right", "2", finish="unknown")]).metrics()


def test_programs_that_crash_are_no_failures_of_the_judge(programs):
    assert not [note for note in tally_of(programs, [answer("crash")]).notes(1) if "verifier" in note]


def test_sound_figures_have_no_notes(problems):
    assert tally_of(problems, *[[answer("right", "2"), answer("wrong", "3")]] * 30).notes(60) == []


def test_answers_are_written_with_what_was_extracted(problems, tmp_path):
    with AnswersFile(tmp_path, problems) as file:
        file.write([answer("right", "2"), answer(None, row=1)])
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [(row["extracted"], row["verdict"]) for row in rows] == [("2", "right"), (None, None)]


def test_a_run_that_breaks_off_leaves_the_former_files(problems, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "answers.parquet").write_text("of an earlier run")
    with pytest.raises(RuntimeError), AnswersFile(folder, problems) as file:
        file.write([answer("right", "2")])
        raise RuntimeError("no room")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"answers.parquet": "of an earlier run"}


@pytest.mark.parametrize(("counts", "is_done"), [({}, True), ({"lost": 1}, False), ({"failed": 1}, False)])
def test_results_that_lack_answers_or_judgements_are_not_finished(tmp_path, counts, is_done):
    write_results(tmp_path, {"settings": {"a": 1}, "counts": counts, "metrics": {}})
    assert (finished_results(tmp_path, {"a": 1}) is not None) == is_done
