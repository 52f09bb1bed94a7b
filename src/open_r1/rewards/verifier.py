# SPDX-License-Identifier: Apache-2.0
r"""Says whether a completion gives the gold answer. The only place that calls math-verify.

Every reward, filter and evaluation that needs a correct answer calls `verify` or `verify_all`.

| Verdict         | reward | when                                                                                   |
|-----------------|--------|----------------------------------------------------------------------------------------|
| right           | 1.0    | the answer equals the gold: as text, as an exact number, or by math-verify             |
| wrong           | 0.0    | it doesn't, or it can't be parsed, or it is too large to look at                       |
| no_answer       | 0.0    | no answer outside the reasoning (`answer_extraction`)                                  |
| unparsable_gold | None   | the gold is blank, can't be parsed within the time limit, or is too large              |
| timeout         | 0.0    | the answer took longer than `PARSE_TIMEOUT_S` or `COMPARE_TIMEOUT_S`                   |
| crash           | 0.0    | the algebra system failed on the answer                                                |

Time limits: math-verify's are SIGALRM, which exists on the main thread only. They are used there when no other alarm
is pending (ours would cancel it) and the present handler can be put back; elsewhere only the size limits protect. An
operation on huge integers holds the interpreter and outlasts any signal: the size limits come first.
Everything below `_judge_pairs` can move into worker processes without a change above it.
"""

import logging
import re
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from types import ModuleType
from typing import Any

from open_r1.rewards.answer_extraction import extract_answer, extract_gold
from open_r1.rewards.base import LogExtra, LogMetric
from open_r1.rewards.exact_match import exact_match, strip_delimiters
from open_r1.rewards.formula_limits import MAX_FORMULA_CHARS, is_too_large

logger = logging.getLogger(__name__)

PARSE_TIMEOUT_S = 5
COMPARE_TIMEOUT_S = 5

_HAS_DELIMITER = re.compile(r"\$|\\\(|\\\[")


class Verdict(StrEnum):
    """The outcome for one row; see the table above."""

    RIGHT = "right"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    UNPARSABLE_GOLD = "unparsable_gold"
    TIMEOUT = "timeout"
    CRASH = "crash"

    @property
    def reward(self) -> float | None:
        """1.0 for right, None where the gold is at fault, else 0.0."""
        if self is Verdict.UNPARSABLE_GOLD:
            return None
        return 1.0 if self is Verdict.RIGHT else 0.0


@dataclass(frozen=True)
class Formula:
    """A text as math-verify reads it: its expressions, or the verdict that parsing ended in."""

    expressions: tuple[Any, ...] = ()
    failure: Verdict | None = None


def verify(gold: object, completion: str) -> Verdict:
    r"""Judges one completion by its gold answer. The order matters: the gold comes first.

    >>> verify("42", "<think>\n6 * 7\n</think>\n<answer>\n42\n</answer>")
    <Verdict.RIGHT: 'right'>
    >>> str(verify(r"\frac{1}{2}", r"so \boxed{0.25}")), str(verify("42", "no idea")), str(verify("", r"\boxed{1}"))
    ('wrong', 'no_answer', 'unparsable_gold')
    """
    return verify_all([gold], [completion])[0]


def verify_all(golds: Sequence[object], completions: Sequence[str]) -> list[Verdict]:
    """Judges B completions, each by the gold of its row; a gold that is a number is read as its text."""
    pairs = [
        ("" if gold is None else extract_gold(str(gold)), extract_answer(completion))
        for gold, completion in zip(golds, completions, strict=True)
    ]
    return _judge_pairs(pairs)


def log_verdicts(
    name: str, verdicts: Sequence[Verdict], log_extra: LogExtra | None, log_metric: LogMetric | None
) -> None:
    """Logs the verdict of every row as column `<name>/verdict` and the rate of every verdict as `<name>/<verdict>`."""
    if log_extra is not None:
        log_extra(f"{name}/verdict", [verdict.value for verdict in verdicts])
    if log_metric is not None and verdicts:
        counts = Counter(verdicts)
        for verdict in Verdict:
            log_metric(f"{name}/{verdict.value}", counts[verdict] / len(verdicts))


def _judge_pairs(pairs: Sequence[tuple[str, str | None]]) -> list[Verdict]:
    """Judges (gold, answer) pairs, here one after the other in this process."""
    return [_judge_cached(gold, answer) for gold, answer in pairs]


def _judge_cached(gold: str, answer: str | None) -> Verdict:
    """Judges a pair; long texts, which never reach the algebra system, are not kept in memory."""
    is_short = len(gold) + len(answer or "") <= 2 * MAX_FORMULA_CHARS
    return _judge(gold, answer) if is_short else _judge.__wrapped__(gold, answer)


@lru_cache(maxsize=8_192)
def _judge(gold: str, answer: str | None) -> Verdict:
    # A group asks G times for one gold, and several rewards ask for the same row: hence the cache.
    if not gold.strip():
        return Verdict.UNPARSABLE_GOLD
    if answer is None:
        # A gold that can't be judged is None whatever the answer, so that a group is treated alike.
        is_judgeable = exact_match(gold, "0") is not None or _parse(gold).failure is None
        return Verdict.NO_ANSWER if is_judgeable else Verdict.UNPARSABLE_GOLD
    is_equal = exact_match(gold, answer)
    if is_equal is not None:
        return Verdict.RIGHT if is_equal else Verdict.WRONG
    gold_formula = _parse(gold)
    if gold_formula.failure is not None:
        return Verdict.UNPARSABLE_GOLD
    answer_formula = _parse(answer)
    if answer_formula.failure is not None:
        return answer_formula.failure
    return _compare(gold_formula, answer_formula)


def _parse(text: str) -> Formula:
    return Formula(failure=Verdict.WRONG) if is_too_large(text) else _parse_small(text)


@lru_cache(maxsize=8_192)
def _parse_small(text: str) -> Formula:
    """Parses a text as written where it holds math delimiters, then wrapped as math."""
    # A dollar sign that means money would end the formula.
    bare = strip_delimiters(text.replace(r"\$", ""))
    spellings = [bare, f"${bare}$"] if _HAS_DELIMITER.search(bare) else [f"${bare}$"]
    for spelling in spellings:
        formula = _parse_spelling(spelling)
        if formula.expressions or formula.failure is Verdict.TIMEOUT:
            return formula
    return Formula(failure=Verdict.WRONG)


def _parse_spelling(text: str) -> Formula:
    library = _load_math_verify()
    try:
        expressions = library.parse(
            text,
            extraction_config=[_latex_config()],
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=_signal_timeout(PARSE_TIMEOUT_S),
            raise_on_error=True,
        )
    except library.errors.TimeoutException:
        return Formula(failure=Verdict.TIMEOUT)
    except Exception as error:  # noqa: BLE001 - any text meets a grammar and an algebra system here
        logger.debug("math-verify could not parse %r: %s", text[:200], error)
        return Formula(failure=Verdict.WRONG)
    return Formula(expressions=tuple(expressions))


def _compare(gold: Formula, answer: Formula) -> Verdict:
    library = _load_math_verify()
    try:
        is_equal = library.verify(
            list(gold.expressions),
            list(answer.expressions),
            timeout_seconds=_signal_timeout(COMPARE_TIMEOUT_S),
            raise_on_error=True,
        )
    except library.errors.TimeoutException:
        return Verdict.TIMEOUT
    except Exception as error:  # noqa: BLE001 - any two expressions are simplified here; counted as `crash`
        logger.warning("math-verify failed to compare two expressions: %s: %s", type(error).__name__, error)
        return Verdict.CRASH
    return Verdict.RIGHT if is_equal else Verdict.WRONG


def _signal_timeout(timeout_s: int) -> int | None:
    """Return the limit where a SIGALRM is safe to use, else None (no limit)."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGALRM) is None:
        return None
    return timeout_s if signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) else None


@lru_cache(maxsize=1)
def _latex_config() -> Any:
    """Return math-verify's settings for a formula whose box has been opened already, by counting braces."""
    config = _load_math_verify().LatexExtractionConfig(boxed_match_priority=-1)
    return replace(config, normalization_config=replace(config.normalization_config, boxed="none"))


@lru_cache(maxsize=1)
def _load_math_verify() -> ModuleType:
    """Imports math-verify on first use: it brings sympy, which takes longer to import than all of this package."""
    import math_verify
    import math_verify.errors

    # Both warn of every timeout and of every call without one; here those are verdicts, and their rates are logged.
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return math_verify
