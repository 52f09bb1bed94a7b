# SPDX-License-Identifier: Apache-2.0
"""The comparison that runs in process: exact arithmetic only, None where that can't tell."""

from fractions import Fraction
from typing import Any

from open_r1.rewards.verifier.comparison import Comparer, NotSortableError
from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.exact import (
    Evaluator,
    NoValueError,
    TooLargeError,
    UndefinedError,
    equal_exactly,
    fresh_seed,
    plain_value,
)
from open_r1.rewards.verifier.reading import Reading
from open_r1.rewards.verifier.trees import expand_plus_minus, infinity

_STRUCTURES = frozenset(
    ["set", "list", "both", "bracket", "tuple", "cup", "cap", "setminus", "matrix", "chain", "such_that", "word", "pm"]
)


def check_formulas(reading: Reading, max_bits: int | None = None) -> None:
    """Evaluate every formula of a gold once.

    Raises:
        TooLargeError, UndefinedError, NoValueError: A formula has no value.
    """
    nodes = list(reading.ratio or ())
    if reading.quantity is not None:
        nodes.append(reading.quantity.node)
    for formula in formulas_in(nodes):
        if not infinity(formula):
            (Evaluator(fresh_seed()) if max_bits is None else Evaluator(fresh_seed(), max_bits)).value(formula)


def formulas_in(nodes: list[Node]) -> list[Node]:
    """Return the formulas that collections, relations and regions are made of."""
    found = []
    while nodes:
        node = expand_plus_minus(nodes.pop())
        if node[0] == "word" or (node[0] == "constant" and node[1].startswith("set:")):
            continue
        if node[0] in _STRUCTURES:
            for field in node[1:]:
                fields = field if isinstance(field, tuple) and field and isinstance(field[0], tuple) else (field,)
                flat = [part for entry in fields for part in ([entry] if _is_node(entry) else entry or ())]
                nodes += [part for part in flat if _is_node(part)]
        else:
            found.append(node)
    return found


def _is_node(field: Any) -> bool:
    return isinstance(field, tuple) and bool(field) and isinstance(field[0], str)


def equal_quickly(gold: Node, answer: Node) -> bool | None:
    """Return whether two formulas are equal, or None where a worker has to look."""
    try:
        return equal_exactly(gold, answer)
    except TooLargeError as error:
        return False if error.is_final else None
    except (UndefinedError, NoValueError):
        return False


def proportional(gold: Node, answer: Node) -> bool | None:
    """Return whether two formulas differ by a constant factor, or None where a worker has to look."""
    points = [Evaluator(fresh_seed()) for _ in range(2)]
    try:
        (one, other), (second, other_second) = ((point.value(gold), point.value(answer)) for point in points)
    except TooLargeError as error:
        return False if error.is_final else None
    except (UndefinedError, NoValueError):
        return False
    if one * other_second == other * second and one != 0 and other != 0:
        return True
    return False if all(point.is_pure for point in points) else None


def sortable(node: Node) -> Fraction | float:
    """Return the value of an end of an interval.

    Raises:
        NotSortableError: It is no rational number.
    """
    if infinity(node):
        return infinity(node) * float("inf")
    try:
        value = plain_value(node)
    except (TooLargeError, UndefinedError, NoValueError) as error:
        raise NotSortableError(str(error)) from error
    if value is None:
        raise NotSortableError("not a rational number")
    return value


QUICK_COMPARER = Comparer(equal_quickly, proportional, sortable, max_pairs=400)
