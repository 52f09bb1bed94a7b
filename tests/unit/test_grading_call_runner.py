# SPDX-License-Identifier: Apache-2.0
"""The program that calls a submission's function: what it makes of results and names. Runs in boxes are elsewhere."""

import array
import ast
import collections
import decimal
import enum
import fractions
import json
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

from open_r1.grading.harness import call_runner
from open_r1.grading.harness.call_runner import (
    ListNode,
    TreeNode,
    find_function,
    plain_value,
    starting_names,
)

RUNNER = Path(call_runner.__file__)


def test_runner_is_a_program_for_old_interpreters_without_packages():
    tree = ast.parse(RUNNER.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"builtins", "json", "os", "sys"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


class AlwaysEqual:
    def __eq__(self, other):
        return True

    __hash__ = object.__hash__


class Proud(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return "LOUD"


class Color(enum.Enum):
    RED = 1


NO_RESULTS = [AlwaysEqual(), object(), b"bytes", Color.RED, Color, len, json, 1j, [AlwaysEqual()], {1: {2: object()}}]


@pytest.mark.parametrize("value", NO_RESULTS, ids=range(len(NO_RESULTS)))
def test_value_that_cannot_be_compared_is_an_error(value):
    with pytest.raises(TypeError, match=r"compared|iterable"):
        json.dumps(value, default=plain_value)


RESULTS = [
    ((1, (2,)), [1, [2]]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({(2, 1), (1, 2)}), [[1, 2], [2, 1]]),
    ({1, "a"}, [1, "a"]),
    ({1: "a", "b": 2, None: 3}, {"1": "a", "b": 2, "null": 3}),
    (collections.Counter("aa"), {"a": 2}),
    (collections.deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    (map(str, [1]), ["1"]),
    ({1: 2}.items(), [[1, 2]]),
    (array.array("i", [1, 2]), [1, 2]),
    (np.arange(3), [0, 1, 2]),
    (np.int64(3), 3),
    (np.float32(0.5), 0.5),
    (np.bool_(True), True),
    (decimal.Decimal("1.5"), 1.5),
    (fractions.Fraction(1, 4), 0.25),
    (Proud(3), 3),
    (Loud("quiet"), "quiet"),
    (enum.IntEnum("Level", "LOW").LOW, 1),
    (ListNode(1, ListNode(2)), [1, 2]),
    (TreeNode(1, None, TreeNode(2, TreeNode(3))), [1, None, 2, 3]),
    ([None, True, 1.5, "a"], [None, True, 1.5, "a"]),
]


@pytest.mark.parametrize(("value", "plain"), RESULTS, ids=range(len(RESULTS)))
def test_result_becomes_plain_data(value, plain):
    assert json.loads(json.dumps(value, default=plain_value)) == plain


def names_for(source):
    return starting_names(compile(source, "submission.py", "exec"))


def test_names_are_found_in_functions_classes_and_comprehensions():
    source = "class A:\n    def f(self) -> List[int]:\n        return [deque(x) for x in gcd(1, 2)]\n"
    names = {"List", "typing", "deque", "collections", "gcd", "math"}
    assert names_for(source).keys() == names | {"ListNode", "TreeNode"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="`typing.Self` is newer")
def test_self_is_there_as_the_sites_import_it():
    assert names_for("Self")["Self"] is typing.Self


def test_starting_names_never_hide_builtins():
    everything = names_for("pow(min(max(sum(abs(1)))), open, hash, print)\nmath, operator, os")
    assert not everything.keys() & {"pow", "min", "max", "sum", "abs", "open", "hash", "print"}


class Solution:
    def f(self):
        return "method"


FUNCTIONS = [
    ({"f": lambda: "plain"}, "plain"),
    ({"Solution": Solution}, "method"),
    ({"Solution": Solution, "f": lambda: "plain"}, "method"),
    ({"Solution": object, "f": lambda: "plain"}, "plain"),
    ({"Solution": 3, "f": lambda: "plain"}, "plain"),
]


@pytest.mark.parametrize(("names", "result"), FUNCTIONS, ids=range(len(FUNCTIONS)))
def test_function_is_a_method_of_solution_or_plain(names, result):
    assert find_function(names, "f")() == result


@pytest.mark.parametrize("names", [{}, {"f": 3}, {"g": len}, {"Solution": Solution()}], ids=range(4))
def test_missing_function_is_an_error_that_names_it(names):
    with pytest.raises(NameError, match="no function 'f'"):
        find_function(names, "f")
