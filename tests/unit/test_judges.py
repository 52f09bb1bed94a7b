# SPDX-License-Identifier: Apache-2.0
"""Judges: the verifier on letters, rewards of one's own with verdicts that are kept, outages."""

import json
import math

import pytest

from open_r1.evaluation.benchmarks import local_benchmark
from open_r1.evaluation.judges import VERDICTS_NAME, JudgingError, judge_of
from open_r1.evaluation.prompts import load_problems
from open_r1.rewards.second_judge import KeptLines
from open_r1.rewards.verifier import Verdict, verify

REWARD = """
def judge(completions, level, **columns):
    with open({log!r}, "a") as log:
        log.write("x" * len(completions))
    values = {{"right": 1.0, "half": 0.5, "wrong": 0.0, "unknown": None, "down": float("nan")}}
    return [values[completion[0]["content"]] for completion in completions]
"""


@pytest.fixture
def problems(tmp_path):
    (tmp_path / "mine.py").write_text(REWARD.format(log=str(tmp_path / "log")))
    (tmp_path / "rows.jsonl").write_text(json.dumps({"problem": "1+1?", "solution": "2", "level": 3}) + "\n")
    return load_problems(local_benchmark(tmp_path / "rows.jsonl"), judge=f"{tmp_path / 'mine.py'}:judge")


def test_a_function_of_ones_own_judges_and_its_verdicts_are_kept(problems, tmp_path):
    judge = judge_of(problems, tmp_path)
    texts = ["right", "half", "wrong", "unknown", "right"]
    found = judge.judge([0] * 5, texts)
    assert [one.verdict for one in found] == ["right", "partial", "wrong", "unverifiable", "right"]
    assert [one.score for one in found[:3]] == [1.0, 0.5, 0.0] and math.isnan(found[3].score)
    assert (tmp_path / "log").read_text() == "x" * 4
    assert judge_of(problems, tmp_path).judge([0] * 5, texts)[1] == found[1]
    assert (tmp_path / "log").read_text() == "x" * 4
    judge_of(problems, tmp_path, is_anew=True).judge([0], ["right"])
    assert (tmp_path / "log").read_text() == "x" * 5
    assert (tmp_path / VERDICTS_NAME).exists()


def test_a_changed_file_is_another_judge(problems, tmp_path):
    before = judge_of(problems).check()
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# changed")
    assert judge_of(problems).check()["judge_hash"] != before["judge_hash"]


def test_what_is_lost_is_asked_again_and_an_outage_ends_the_judging(problems, tmp_path):
    judge = judge_of(problems, tmp_path)
    assert [one.verdict for one in judge.judge([0, 0], ["down", "right"])] == ["lost", "right"]
    assert (tmp_path / "log").read_text() == "x" * 3  # the one that was lost twice
    with pytest.raises(JudgingError):
        judge_of(_rows_of(problems, 8)).judge(list(range(8)), ["down"] * 8)


def _rows_of(problems, count):
    """The problems with the first row several times, each with a gold of its own."""
    from dataclasses import replace

    found = {row: replace(problems.by_row[0], gold=str(row)) for row in range(count)}
    many = replace(problems, by_row=found)
    many.columns_of = lambda row: problems.rows[0]
    return many


@pytest.mark.parametrize("line", ['{"key": "b", "verdict": "ri', "[]", "3", '{"verdict": "right"}', "\x00"])
def test_lines_that_are_no_records_are_passed_over(tmp_path, line):
    path = tmp_path / VERDICTS_NAME
    KeptLines(path).put("a", verdict="right")
    with path.open("a") as file:
        file.write(line)
    KeptLines(path).put("c", verdict="wrong")
    found = KeptLines(path)
    assert [found.get(key) and found.get(key)["verdict"] for key in "abc"] == ["right", None, "wrong"]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (r"\boxed{B}", Verdict.RIGHT),
        ("It is the second.\n\nAnswer: B", Verdict.RIGHT),
        (r"\boxed{\text{(B)}}", Verdict.RIGHT),
        (r"\boxed{C}", Verdict.WRONG),
        (r"\boxed{B} or \boxed{C}", Verdict.WRONG),
        ("", Verdict.NO_ANSWER),
        ("<think>\nB, so \\boxed{B}", Verdict.NO_ANSWER),
        ("I would say the second one.", Verdict.NO_ANSWER),
    ],
)
def test_the_verifier_judges_letters(text, verdict):
    assert verify("B", text) is verdict
