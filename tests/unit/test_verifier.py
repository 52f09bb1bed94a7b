# SPDX-License-Identifier: Apache-2.0
"""The verifier: hostile inputs first, then batches, rewards and metrics."""

import threading
import time

import pytest

from open_r1.rewards.verifier import (
    JudgedAnswer,
    Verdict,
    explain,
    log_verdicts,
    reward_of,
    unjudgeable_kind,
    verify,
    verify_all,
)
from open_r1.rewards.verifier.__main__ import main

R, W, N, U = Verdict.RIGHT, Verdict.WRONG, Verdict.NO_ANSWER, Verdict.UNVERIFIABLE

HOSTILE_FORMULAS = [
    "9^{9^{9}}",
    "95**87**66",
    "9^9^9",
    "x^{9^{9^9}}",
    r"9^{2\cdot 9^9}",
    "(9^{9999})^{9999}",
    "9^{99999999}",
    "10^{-9999999999}",
    "99999!",
    "((9!)!)!",
    "(9^9)!",
    r"\binom{99999}{50000}",
    "{" * 100_000,
    "{" * 12 + "1" + "}" * 12,
    "(" * 30 + "1" + ")" * 30,
    r"\frac{" * 25 + "1" + "}{2}" * 25,
    "1" * 100_000,
    "x+" * 100_000,
    "\x00" * 10,
    "\\" * 1_000,
    r"\left" * 200,
    "^" * 500,
    "\ud800",
    "😀" * 100,
]


@pytest.mark.parametrize("formula", HOSTILE_FORMULAS, ids=lambda formula: repr(formula[:20]))
def test_hostile_answer_is_wrong_and_costs_little(formula: str):
    start = time.process_time()
    assert verify("3", rf"<answer>{formula}</answer>") is W
    assert verify(r"\sqrt{3}", rf"<answer>{formula}</answer>") is W
    assert time.process_time() - start < 2


# The others say 1, however strangely, or can be computed after all: 9^{9^9} has a residue.
HOSTILE_GOLDS = [formula for formula in HOSTILE_FORMULAS if "1" not in formula and "binom" not in formula]


@pytest.mark.parametrize("formula", HOSTILE_GOLDS, ids=lambda formula: repr(formula[:20]))
def test_hostile_gold_is_never_met_and_is_treated_alike(formula: str):
    verdicts = {verify(formula, rf"\boxed{{{answer}}}") for answer in ("1", "0", r"\sqrt{2}", "x")}
    assert verdicts in ({U}, {W})


def test_other_rows_keep_their_verdicts_beside_hostile_ones():
    golds = ["3", r"\sqrt{12}"] * len(HOSTILE_FORMULAS)
    answers = [text for formula in HOSTILE_FORMULAS for text in (rf"<answer>{formula}</answer>", r"\boxed{2\sqrt{3}}")]
    assert verify_all(golds, answers) == [W, R] * len(HOSTILE_FORMULAS)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        verify_all(["1", "2"], [r"\boxed{1}"])


def test_gold_that_is_missing_is_unparsable_whatever_the_answer():
    assert [verify(None, text) for text in (r"\boxed{\sqrt{2}}", "no answer at all")] == [U, U]


@pytest.mark.parametrize(("gold", "answer"), [(42, "42"), (0.5, r"\frac{1}{2}"), (-3, "-3")])
def test_gold_may_be_a_number(gold: object, answer: str):
    assert verify(gold, rf"\boxed{{{answer}}}") is R


def test_works_off_the_main_thread():
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(verify(r"\sqrt{28}", r"\boxed{2\sqrt{7}}")))
    thread.start()
    thread.join()
    assert verdicts == [R]


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        (None, "blank"),
        ("$ $", "blank"),
        (r"Since $x=1$, the claim is proved. $\blacksquare$", "proof"),
        ("(1) 证明略；(2) $x=3$", "proof"),
        (r"\oint_C f", "calculus"),
        ("The answer depends on $n$: it is $3$ for $n=1$ and else more", "prose"),
        (r"\frac{1}{", "formula"),
        ("1/0", "formula"),
        ("42", None),
        (r"\sqrt{2}", None),
        ("Yes", None),
    ],
)
def test_kinds_of_golds_that_cannot_be_judged(gold: str | None, kind: str | None):
    assert unjudgeable_kind(gold) == kind


@pytest.mark.parametrize(("verdict", "reward"), [(R, 1.0), (W, 0.0), (N, 0.0), (U, None)])
def test_reward_of_every_verdict(verdict: Verdict, reward: float | None):
    assert reward_of(verdict) == reward


def test_every_row_and_every_rate_is_logged():
    columns, metrics = {}, {}
    judgements = [
        JudgedAnswer(R, "1", "1.0", "exact"),
        JudgedAnswer(W, "1", "2", "exact"),
        JudgedAnswer(N, "3", None, ""),
    ]
    log_verdicts("accuracy_reward", judgements, columns.__setitem__, metrics.__setitem__)
    assert columns == {
        "accuracy_reward/verdict": ["right", "wrong", "no_answer"],
        "accuracy_reward/gold_read": ["1", "1", "3"],
        "accuracy_reward/answer_read": ["1.0", "2", ""],
    }
    assert metrics == pytest.approx(
        {
            "accuracy_reward/right": 1 / 3,
            "accuracy_reward/wrong": 1 / 3,
            "accuracy_reward/no_answer": 1 / 3,
            "accuracy_reward/echo": 0.0,
            "accuracy_reward/unverifiable": 0.0,
        }
    )


def test_an_explanation_names_what_was_read_and_the_verdict():
    said = explain("12", r"It is \boxed{13}.").splitlines()
    assert [line.split(":")[0] for line in said] == ["gold", "answer", "rule", "verdict"]
    assert [line.split()[1] for line in said][::3] == ["12", "wrong"]
    assert said[1].endswith(" 13")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [("-0.5", "right"), (r"It is \boxed{-\frac12}.", "right"), ("0.5", "wrong"), ("<think>-0.5", "no_answer")],
)
def test_command_explains_a_completion_or_the_answer_alone(capsys, answer: str, verdict: str):
    assert main([r"-\frac{1}{2}", answer]) == 0
    assert capsys.readouterr().out.split()[-1] == verdict


def test_command_without_an_answer_is_refused(capsys):
    assert main(["5"]) == 2
    assert capsys.readouterr().out == ""
