# SPDX-License-Identifier: Apache-2.0
"""The completions that are left, without their texts, and the best few of each problem."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

logger = logging.getLogger(__name__)

ORDERS = ("first", "rule_score", "shortest", "longest", "random")


@dataclass(frozen=True, slots=True)
class Kept:
    """A completion that passed the filters; about 150 bytes.

    Attributes:
        row: Number of its row, over all inputs.
        index: Which of the row's completions.
        length: Words, or tokens where they are known of all (`in_one_unit`).
        score: Rule score in [0, 1]; 0 where nothing is ranked by it.
        domain: What its problem is about.
        verdict: Why it counts as correct: a verdict of the verifier, "column", or "" where nobody judged.
        num_tokens: Tokens by the tokenizer or the server; None where nobody counted.
    """

    row: int
    index: int
    length: int
    score: float
    domain: str = ""
    verdict: str = ""
    num_tokens: int | None = None


def in_one_unit(completions: list[Kept]) -> tuple[list[Kept], str]:
    """Return the completions with comparable lengths, and their unit: tokens, or words where tokens of some lack."""
    counted = [replace(kept, length=kept.num_tokens) for kept in completions if kept.num_tokens is not None]
    if len(counted) == len(completions):
        return counted, "tokens"
    if counted:
        logger.warning(
            "%d of %d completions have no count of tokens: all lengths are in words. Name a --tokenizer to count.",
            len(completions) - len(counted),
            len(completions),
        )
    return completions, "words"


def rank(kept: Kept, order: str, seed: int) -> tuple:
    """Return the sort key of a completion, the best one first; ties go to the earlier one.

    Args:
        order: One of `ORDERS`.
        seed: Of the random order, which depends on it and on the completion's number alone.

    Raises:
        ValueError: The order isn't known.
    """
    keys = {
        "first": 0,
        "rule_score": -kept.score,
        "shortest": kept.length,
        "longest": -kept.length,
        "random": _chance(kept, seed),
    }
    if order not in keys:
        raise ValueError(f"There is no order {order!r}; choose one of {', '.join(ORDERS)}.")
    return (keys[order], kept.row, kept.index)


def best_of_each(completions: Iterable[Kept], *, order: str, per_problem: int, seed: int = 0) -> list[Kept]:
    """Return at most `per_problem` completions of each row, the best by `order`; in the order they came in.

    Args:
        completions: Those of a row beside each other.

    >>> best_of_each([Kept(0, 0, 9, 0.1), Kept(0, 1, 5, 0.3)], order="shortest", per_problem=1)[0].index
    1
    """
    if per_problem < 1:
        raise ValueError(f"max_per_problem must be at least 1, got {per_problem}.")
    chosen = []
    for _, group in groupby(completions, key=lambda kept: kept.row):
        best = sorted(group, key=lambda kept: rank(kept, order, seed))[:per_problem]
        chosen += sorted(best, key=lambda kept: kept.index)
    return chosen


def best_of_all(completions: Iterable[Kept], num_rows: int, *, order: str, seed: int = 0) -> list[Kept]:
    """Return the `num_rows` best completions by `order`; in the order they came in."""
    best = sorted(completions, key=lambda kept: rank(kept, order, seed))[:num_rows]
    return sorted(best, key=lambda kept: (kept.row, kept.index))


def _chance(kept: Kept, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed} {kept.row} {kept.index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
