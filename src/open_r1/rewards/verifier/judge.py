# SPDX-License-Identifier: Apache-2.0
"""Judges one answer by its gold: quickly and exactly where that is possible, else by algebra.

`judge_by_algebra` is for worker processes: it may hang, eat memory or raise.
"""

import logging
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any

from open_r1.rewards.verifier.exact_match import exact_match, strip_delimiters
from open_r1.rewards.verifier.formula_limits import is_too_large
from open_r1.rewards.verifier.verdict import Verdict

logger = logging.getLogger(__name__)

PARSE_TIMEOUT_S = 5
COMPARE_TIMEOUT_S = 5

_HAS_DELIMITER = re.compile(r"\$|\\\(|\\\[")


@dataclass(frozen=True)
class Formula:
    """A text as math-verify reads it: its expressions, or the verdict that parsing ended in."""

    expressions: tuple[Any, ...] = ()
    failure: Verdict | None = None


def judge_quickly(gold: str, answer: str | None) -> Verdict | None:
    """Return the verdict where it takes no algebra, else None; linear in time, without sympy."""
    if not gold.strip():
        return Verdict.UNPARSABLE_GOLD
    if answer is None:
        return Verdict.NO_ANSWER if exact_match(gold, "0") is not None else None
    is_equal = exact_match(gold, answer)
    if is_equal is None:
        return None
    return Verdict.RIGHT if is_equal else Verdict.WRONG


def judge_by_algebra(gold: str, answer: str | None, on_gold_read: Callable[[], None]) -> Verdict:
    """Return the verdict of math-verify; `on_gold_read` is called once the gold is known to be fine."""
    gold_formula = _parse(gold)
    if gold_formula.failure is not None:
        return Verdict.UNPARSABLE_GOLD
    on_gold_read()
    if answer is None:
        return Verdict.NO_ANSWER
    answer_formula = _parse(answer)
    if answer_formula.failure is not None:
        return answer_formula.failure
    return _compare(gold_formula, answer_formula)


def warm_up() -> None:
    """Import the algebra system and parse one formula, so that the first pair doesn't pay for it."""
    _parse("$1$")


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
