# SPDX-License-Identifier: Apache-2.0
"""The verifier's batches, rewards, metrics and command; hostile texts: test_verifier_guards.py."""

import pytest

from open_r1.rewards.verifier import (
    JudgedAnswer,
    Verdict,
    explain,
    log_verdicts,
    unjudgeable_kind,
    verify,
    verify_all,
)
from open_r1.rewards.verifier.__main__ import main

R, W, N, U = Verdict.RIGHT, Verdict.WRONG, Verdict.NO_ANSWER, Verdict.UNVERIFIABLE


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        verify_all(["1", "2"], [r"\boxed{1}"])


def test_gold_that_is_missing_is_unparsable_whatever_the_answer():
    assert [verify(None, text) for text in (r"\boxed{\sqrt{2}}", "no answer at all")] == [U, U]


@pytest.mark.parametrize(("gold", "answer"), [(42, "42"), (0.5, r"\frac{1}{2}"), (-3, "-3")])
def test_gold_may_be_a_number(gold: object, answer: str):
    assert verify(gold, rf"\boxed{{{answer}}}") is R


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
    assert verdict.reward == reward


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
