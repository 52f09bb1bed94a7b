# SPDX-License-Identifier: Apache-2.0
"""Judges pairs with integrals, sums and limits by math-verify's parser and sympy. For workers only: it may hang."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from types import ModuleType
from typing import Any

from open_r1.rewards.verifier.formula_limits import is_too_large
from open_r1.rewards.verifier.normalization import strip_delimiters
from open_r1.rewards.verifier.verdict import Verdict


def judge_calculus(gold: str, answer: str | None, on_gold_read: Callable[[], None]) -> Verdict:
    """Return whether two formulas are equal once their integrals, sums and limits are worked out."""
    gold_expressions = _parse(gold)
    if not gold_expressions:
        return Verdict.UNPARSABLE_GOLD
    on_gold_read()
    if answer is None:
        return Verdict.NO_ANSWER
    is_equal = any(_are_equal(one, other) for one in gold_expressions for other in _parse(answer))
    return Verdict.RIGHT if is_equal else Verdict.WRONG


def _parse(text: str) -> list[Any]:
    """Return the formulas math-verify finds in the text: none where it is too large or can't be parsed."""
    bare = strip_delimiters(text)
    if is_too_large(bare):
        return []
    found = load_math_verify().parse(
        f"${bare}$",
        extraction_config=[_latex_config()],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
    )
    return [expression for expression in found if not isinstance(expression, str)]


def _are_equal(gold: Any, answer: Any) -> bool:
    import sympy

    if not (isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr)):
        return bool(gold == answer)
    gold, answer = (sympy.nsimplify(expression, rational=True).doit() for expression in (gold, answer))
    return gold == answer or sympy.simplify(gold - answer) == 0


@lru_cache(maxsize=1)
def _latex_config() -> Any:
    """Return math-verify's settings for a formula whose box has been opened already, by counting braces."""
    config = load_math_verify().LatexExtractionConfig(boxed_match_priority=-1)
    return replace(config, normalization_config=replace(config.normalization_config, boxed="none"))


@lru_cache(maxsize=1)
def load_math_verify() -> ModuleType:
    """Import math-verify on first use: it brings sympy, which takes longer to import than all of this package."""
    import math_verify

    # Both warn of every call without a time limit; the limit is the worker's.
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return math_verify
