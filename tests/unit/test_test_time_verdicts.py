# SPDX-License-Identifier: Apache-2.0
"""Verdicts on attempts: which records count after the judge has changed, and what is said of earlier runs."""

import pytest

from open_r1.evaluation.judges import judgement_of
from open_r1.rewards.verifier import Verdict
from open_r1.test_time.results import Attempt, Setting
from open_r1.test_time.verdicts import Verdicts


class Judge:
    """Says that all is right, in one sandbox or another."""

    def __init__(self, sandbox):
        self.sandbox = sandbox

    def check(self):
        return {"sandbox": self.sandbox}

    def judge(self, rows, texts):
        return [judgement_of(Verdict.RIGHT) for _ in texts]


def verdicts_of(sandbox="one"):
    return Verdicts(Judge(sandbox))


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
    before = verdicts_of()
    record = before.record_of(Attempt(0, "x", 1, 1, score=0.0, setting=setting), 0)
    assert before.counts(record)
    assert verdicts_of("two").counts(record) == keeps_text
