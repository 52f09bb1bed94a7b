# SPDX-License-Identifier: Apache-2.0
"""An answer that repeats a formula of its question earns nothing, and the gold itself is never one."""

import pytest

from open_r1.rewards import accuracy_reward
from open_r1.rewards.verifier import Verdict, verify
from scripts.verifier_questions import KINDS, generated_questions
from tests.rows.layout_items import MATH
from tests.unit.gold_layouts import LAYOUTS

SOLVED = [(row.problem, row.gold, rf"\boxed{{{row.right}}}") for layout in LAYOUTS for row in layout.rows]
SOLVED += [(item.question, item.gold, item.answer) for item in MATH if item.gold is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_formulas_of_generated_questions_are_no_answers(kind: str):
    questions = generated_questions(kind, 150)
    paid = [
        (question.prompt, echo)
        for question in questions
        for echo in question.echoes
        if verify(question.gold, rf"\boxed{{{echo}}}", question.prompt) is Verdict.RIGHT
    ]
    assert paid == []
    golds = [verify(question.gold, rf"\boxed{{{question.gold}}}", question.prompt) for question in questions]
    assert set(golds) == {Verdict.RIGHT}


def test_right_answers_of_worked_solutions_are_no_echoes():
    assert {verify(gold, answer, question) for question, gold, answer in SOLVED} == {Verdict.RIGHT}


@pytest.mark.parametrize(
    ("gold", "answer", "question"),
    [
        ("(x-1)(x+1)", "x^2-1", "Which one of $x^2-1$ and $x^2+2$ has the roots 1 and -1?"),
        (r"3\sqrt2", r"\sqrt{18}", r"Compare $\sqrt{18}$ and $\sqrt{17}$: what is the larger one?"),
        ("y = 2x+1", "2x-y+1=0", "Choose the line with slope 2: $2x-y+1=0$ or $x-2y=0$."),
        ("(x-1)(x+1)", "x^2-1", "What vanishes at 1? (A) $x^2-1$ (B) $x^2+2$"),
    ],
)
def test_formulas_that_a_question_offers_are_answers(gold: str, answer: str, question: str):
    assert verify(gold, rf"\boxed{{{answer}}}", question) is Verdict.RIGHT


def test_prompts_of_the_trainer_are_looked_at():
    metrics: dict[str, float] = {}
    prompts = [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": r"Simplify $\sqrt{242}$."}]
    ] * 2
    rewards = accuracy_reward(
        [r"\boxed{\sqrt{242}}", r"\boxed{11\sqrt{2}}"],
        [r"11\sqrt2"] * 2,
        prompts=prompts,
        log_metric=metrics.__setitem__,
    )
    assert rewards == [0.0, 1.0]
    assert metrics["accuracy_reward/echo"] == metrics["accuracy_reward/right"] == 0.5
