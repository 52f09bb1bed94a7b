# SPDX-License-Identifier: Apache-2.0
"""Judges an answer text by its gold: both are read, and compared by what they are, within a budget of steps."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from open_r1.rewards.verifier.answer import (
    MAX_NUMBER_CHARS,
    equal_plain_numbers,
    is_plain_number,
    normalize_long,
    read,
)
from open_r1.rewards.verifier.budget import OverBudgetError, limited_to
from open_r1.rewards.verifier.equal import equal_readings
from open_r1.rewards.verifier.families import expand_plus_minus
from open_r1.rewards.verifier.tokens import UnreadableError
from open_r1.rewards.verifier.tree import (
    Bracket,
    Choice,
    Clock,
    Combined,
    Digits,
    Matrix,
    Node,
    NumberSet,
    Parts,
    Quantity,
    Ratio,
    Reading,
    Relation,
    Several,
    SuchThat,
    Word,
    Words,
    cut,
    parts_of,
    show,
)
from open_r1.rewards.verifier.value import (
    NotSortableError,
    NoValueError,
    TooLargeError,
    UndefinedError,
    check_value,
    infinity,
)

# About a microsecond each: for reading a gold, and for comparing it with one answer.
MAX_STEPS = 150_000
_FAILURES = (
    UnreadableError,
    TooLargeError,
    UndefinedError,
    NoValueError,
    NotSortableError,
    OverBudgetError,
    RecursionError,
)
_COLLECTIONS = (Bracket, Combined, Matrix, Parts, Quantity, Ratio, Reading, Relation, Several, SuchThat)
_WITHOUT_VALUE = (Choice, Clock, Digits, NumberSet, Word, Words)


class Verdict(StrEnum):
    """The outcome for one row; the package's docstring says when each is given."""

    RIGHT = "right"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    UNPARSABLE_GOLD = "unparsable_gold"

    @property
    def reward(self) -> float | None:
        """1.0 for right, None where the gold is at fault, else 0.0."""
        if self is Verdict.UNPARSABLE_GOLD:
            return None
        return 1.0 if self is Verdict.RIGHT else 0.0


@dataclass(frozen=True)
class JudgedAnswer:
    """What the verifier says of an answer.

    Attributes:
        verdict: The outcome.
        gold_read: How the gold was read; where it couldn't be, its text. Long ones are cut.
        answer_read: How the answer was read; None: there is none.
        rule: What decided.
    """

    verdict: Verdict
    gold_read: str
    answer_read: str | None
    rule: str


def judge_texts(gold: str, answer: str | None) -> JudgedAnswer:
    r"""Return how an answer is judged by its gold, both without their boxes; None is no answer.

    >>> judge_texts("1,234", "1234.0").verdict, judge_texts(r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}").verdict
    (<Verdict.RIGHT: 'right'>, <Verdict.RIGHT: 'right'>)
    """
    gold, answer = normalize_long(gold), None if answer is None else normalize_long(answer)
    if answer is not None and is_plain_number(gold) and is_plain_number(answer):
        verdict = Verdict.RIGHT if equal_plain_numbers(gold, answer) else Verdict.WRONG
        return JudgedAnswer(verdict, cut(gold), cut(answer), "plain numbers")
    try:
        reading = _read_gold(gold)
    except _FAILURES as error:
        answer_read = None if answer is None else cut(answer)
        return JudgedAnswer(Verdict.UNPARSABLE_GOLD, cut(gold), answer_read, f"the gold can't be judged: {error}")
    return _judge_by(reading, answer)


# NOTE: failures aren't kept: one may come from the budget of a caller.
@lru_cache(maxsize=4_096)
def _read_gold(gold: str) -> Reading:
    """Return the reading of a normalised gold that has a value."""
    if is_plain_number(gold) and len(gold) > MAX_NUMBER_CHARS:
        # Only another plain number could equal it.
        return Reading(gold, Words(gold))
    with limited_to(MAX_STEPS):
        reading = read(gold)
        _check(reading)
    return reading


def _check(node: Node) -> None:
    """Evaluate every formula of a gold once; raises where one has no value."""
    node = expand_plus_minus(node)
    if isinstance(node, _COLLECTIONS):
        for part in parts_of(node):
            _check(part)
    elif not isinstance(node, _WITHOUT_VALUE) and not infinity(node):
        check_value(node)


def _judge_by(gold: Reading, answer: str | None) -> JudgedAnswer:
    if answer is None:
        return JudgedAnswer(Verdict.NO_ANSWER, show(gold), None, "no answer")
    try:
        with limited_to(MAX_STEPS):
            reading = read(answer)
    except _FAILURES as error:
        return JudgedAnswer(Verdict.WRONG, show(gold), cut(answer), f"the answer can't be read: {error}")
    try:
        with limited_to(MAX_STEPS):
            is_equal, rule = equal_readings(gold, reading)
    except _FAILURES as error:
        is_equal, rule = False, f"too much to compare: {error}"
    return JudgedAnswer(Verdict.RIGHT if is_equal else Verdict.WRONG, show(gold), show(reading), rule)
