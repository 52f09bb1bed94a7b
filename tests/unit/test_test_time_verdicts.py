# SPDX-License-Identifier: Apache-2.0
"""Verdicts on attempts: which records count after the judge has changed, and what is said of earlier runs."""

from types import SimpleNamespace

import pytest

from open_r1.evaluation.judgement import judgement_of
from open_r1.rewards.verifier import Verdict
from open_r1.sandbox import Limits
from open_r1.test_time.results import Attempt, Setting
from open_r1.test_time.verdicts import Verdicts


class Judge:
    """Says that all is right, in one sandbox or another."""

    def __init__(self, sandbox="one", notes=()):
        self.sandbox, self.said = sandbox, list(notes)

    def check(self):
        return {"sandbox": self.sandbox}

    def judge(self, rows, texts):
        return [judgement_of(Verdict.RIGHT) for _ in texts]

    def notes(self):
        return self.said


def verdicts_of(judge, kind="code", cpu_s=1.0):
    problems = SimpleNamespace(limits=Limits(cpu_s=cpu_s), benchmark=SimpleNamespace(kind=kind))
    return Verdicts(problems, judge)


SETTINGS = {
    "cot": (Setting("cot"), True),
    "search": (Setting("dvts", {"n": 4, "choice": "max", "scorer": "prm"}), True),
    "vote": (Setting("dvts", {"n": 4, "choice": "vote", "scorer": "prm"}), False),
    "oracle": (Setting("dvts", {"n": 4, "choice": "max", "scorer": "oracle"}), False),
    "pool": (Setting("best_of_n", {"n": 1, "pool": 4}), False),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_of_another_judge_records_count_that_have_the_text(name):
    setting, keeps_text = SETTINGS[name]
    before = verdicts_of(Judge())
    record = before.record_of(Attempt(0, "x", 1, 1, score=0.0, setting=setting), 0)
    assert before.counts(record)
    for now in (verdicts_of(Judge("two")), verdicts_of(Judge(), cpu_s=2.0)):
        assert now.counts(record) == keeps_text


def test_limits_of_tests_are_of_programs_alone():
    assert set(verdicts_of(Judge()).settings) == {"sandbox", "test_timeout_s", "test_memory_mb"}
    assert set(verdicts_of(Judge(), kind="math").settings) == {"sandbox"}


def test_what_the_judge_has_said_in_earlier_runs_stays(tmp_path):
    said = ["3 of 4 programs lacked numpy"]
    assert verdicts_of(Judge(notes=said)).notes(tmp_path) == said
    assert verdicts_of(Judge()).notes(tmp_path) == said
    assert verdicts_of(Judge("two")).notes(tmp_path) == []
