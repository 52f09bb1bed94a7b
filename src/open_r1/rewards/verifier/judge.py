# SPDX-License-Identifier: Apache-2.0
r"""Judges one answer by its gold: in process where exact arithmetic can tell, else by algebra in a worker.

`judge_quickly` imports no algebra system and has a budget (`budget`) of about 30 ms a pair: what is longer than
`MAX_QUICK_CHARS` or costs more is left to a worker, except for plain numbers, which are compared as text in linear
time. `judge_by_algebra` is for worker processes, which can be killed: it may hang, fill the memory or raise.
"""

import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache

from open_r1.rewards.verifier.budget import OverBudgetError, limited_to
from open_r1.rewards.verifier.exact import NoValueError, TooLargeError, UndefinedError
from open_r1.rewards.verifier.plain_numbers import equal_plain_numbers, is_plain_number
from open_r1.rewards.verifier.policy import equal_readings
from open_r1.rewards.verifier.quick import QUICK_COMPARER, check_formulas
from open_r1.rewards.verifier.reading import MAX_NUMBER_CHARS, Reading, normalize_long, read
from open_r1.rewards.verifier.tokens import MAX_FORMULA_CHARS, UnreadableError
from open_r1.rewards.verifier.verdict import Verdict

# Longer texts are read by workers; real answers have a few dozen characters.
MAX_QUICK_CHARS = 600
_QUICK_STEPS = 15_000
# What the grammar leaves to math-verify: integrals, sums, limits.
_CALCULUS = re.compile(
    r"\\(?:int|iint|sum|prod|lim|begin\s*\{vmatrix\}|left\s*\|\s*\\begin\s*\{array\}|[dt]?frac\s*\{\s*(?:d|\\partial)\s*\})(?![a-zA-Z])"
)


def judge_quickly(gold: str, answer: str | None) -> Verdict | None:
    r"""Return the verdict where it takes no algebra, else None.

    >>> judge_quickly("1,234", "1234.0"), judge_quickly(r"\frac{1}{3}", "0.333"), judge_quickly("(1,2)", r"\{1,2\}")
    (<Verdict.RIGHT: 'right'>, <Verdict.WRONG: 'wrong'>, <Verdict.WRONG: 'wrong'>)
    >>> judge_quickly(r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}") is None, judge_quickly(r"\frac{1}{", "1")
    (True, <Verdict.UNPARSABLE_GOLD: 'unparsable_gold'>)
    """
    gold, answer = normalize_long(gold), None if answer is None else normalize_long(answer)
    try:
        with limited_to(_QUICK_STEPS):
            return _judge_in_process(gold, answer)
    except (OverBudgetError, RecursionError):
        # The caller's stack may be deep already; a worker's isn't.
        return None


def _judge_in_process(gold: str, answer: str | None) -> Verdict | None:
    if is_plain_number(gold):
        if answer is None:
            return Verdict.NO_ANSWER
        if is_plain_number(answer):
            return _verdict(equal_plain_numbers(gold, answer))
        gold_reading = None
    elif len(gold) > MAX_QUICK_CHARS:
        return Verdict.UNPARSABLE_GOLD if len(gold) > MAX_FORMULA_CHARS else None
    else:
        gold_reading, failure = _read_gold(gold)
        if gold_reading is None:
            return failure
        if answer is None:
            return Verdict.NO_ANSWER
    is_hopeless = len(answer) > MAX_FORMULA_CHARS and not is_plain_number(answer)
    if is_hopeless or max(len(gold), len(answer)) > MAX_NUMBER_CHARS:
        return Verdict.WRONG
    if max(len(gold), len(answer)) > MAX_QUICK_CHARS:
        return None
    return _judge_answer(gold, gold_reading, answer)


def _judge_answer(gold: str, reading: Reading | None, answer: str) -> Verdict | None:
    """Judge an answer by a readable gold; `reading` is None for a plain number, which may be of any length."""
    try:
        if reading is None:
            reading = read(gold)
    except UnreadableError:
        # More digits than can be computed with: only another plain number could equal it.
        return Verdict.WRONG
    try:
        answer_reading = read(answer)
    except UnreadableError:
        return None if _CALCULUS.search(answer) else Verdict.WRONG
    return _verdict(equal_readings(reading, answer_reading, QUICK_COMPARER))


@lru_cache(maxsize=4_096)
def _read_gold(gold: str) -> tuple[Reading | None, Verdict | None]:
    """Return the reading of a gold, or None and the verdict that follows (None where a worker has to look)."""
    try:
        reading = read(gold)
        check_formulas(reading)
    except UnreadableError:
        return None, None if _CALCULUS.search(gold) else Verdict.UNPARSABLE_GOLD
    except (UndefinedError, NoValueError):
        return None, Verdict.UNPARSABLE_GOLD
    except TooLargeError as error:
        return None, Verdict.UNPARSABLE_GOLD if error.is_final else None
    return reading, None


def _verdict(is_equal: bool | None) -> Verdict | None:
    if is_equal is None:
        return None
    return Verdict.RIGHT if is_equal else Verdict.WRONG


def judge_by_algebra(gold: str, answer: str | None, on_gold_read: Callable[[], None]) -> Verdict:
    """Return the verdict in high precision, or by math-verify for integrals, sums and limits.

    `on_gold_read` is called once the gold is known to be fine: what goes wrong after it is the answer's fault.
    """
    from open_r1.rewards.verifier import numeric

    if _CALCULUS.search(gold) or (answer is not None and _CALCULUS.search(answer)):
        from open_r1.rewards.verifier.calculus import judge_calculus

        return judge_calculus(gold, answer, on_gold_read)
    try:
        gold_reading = read(gold)
        numeric.check_gold(gold_reading)
    except (UnreadableError, TooLargeError, UndefinedError, NoValueError, RecursionError):
        return Verdict.UNPARSABLE_GOLD
    on_gold_read()
    if answer is None:
        return Verdict.NO_ANSWER
    try:
        is_equal = equal_readings(gold_reading, read(answer), numeric.WORKER_COMPARER)
    except (UnreadableError, TooLargeError, UndefinedError, NoValueError, RecursionError):
        return Verdict.WRONG
    return Verdict.RIGHT if is_equal else Verdict.WRONG


def warm_up() -> None:
    """Import what high precision needs and judge one pair, so that the first one doesn't pay for it."""
    judge_by_algebra(r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", lambda: None)


def warm_up_for(texts: Iterable[bytes]) -> bool:
    """Import math-verify where one of the texts may need it (0.4 s, seldom); return whether that was done now."""
    if "math_verify" in sys.modules or not any(_CALCULUS.search(text.decode("utf-8", "replace")) for text in texts):
        return False
    from open_r1.rewards.verifier.calculus import load_math_verify

    load_math_verify()
    return True
