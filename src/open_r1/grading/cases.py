# SPDX-License-Identifier: Apache-2.0
r"""Tests of programs as data sets write them down, read into `ProgramTests`. A row looks like one of these:

    verification_info (PrimeIntellect, Open R1; also as JSON text or as the text of a Python literal)
        {"language": "python", "test_cases": [{"type": "stdin_stdout", "fn_name": None, "input": "1", "output": "1"}]}
    test_cases (OpenThoughts), input_output (TACO, APPS), JSON text
        {"inputs": [[1, 2]], "outputs": [[3]], "fn_name": "add"}, without fn_name for standard input
    public_test_cases, private_test_cases, metadata (LiveCodeBench)
        [{"input": "1\n2", "output": "3", "testtype": "functional"}], packed (`unpack_cases`), {"func_name": "add"}

Where the data leave something open:
1. a test with a function's name calls it, whatever its type says; one without type or name is for standard input;
2. a text of arguments holds a list of them, or one JSON value a line; LiveCodeBench always means one value a line;
3. an output given as a list of one value is that value in a row where all outputs are such lists (APPS wraps results),
   and the list itself is right too; LiveCodeBench never wraps;
4. an output of a function given as text is the text's value, or the text itself; never itself where it's quoted, or
   a list next to arguments as text; LiveCodeBench always means the value;
5. an output of null is none; null as text, or a blank text, can't be all that a row expects
   (`ProgramTests.require_outputs`);
6. CRLF is a line break, and so is CR in a text without others; lists of lines are joined, an input ends with a line
   break, a byte order mark isn't read.
"""

import base64
import io
import json
import pickle
import random
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeGuard, TypeVar

from open_r1.literals import value_of_text
from open_r1.sandbox.base import Limits
from open_r1.sandbox.languages import LANGUAGES, find_language

_STDIO_TYPES = ("stdin_stdout", "stdin", "stdio", "standard_input")
_COLUMNS = ("input", "output", "type", "testtype", "fn_name")
_CALL_TYPES = ("function_call", "functional", "function", "call_based", "fn_name")
MAX_UNPACKED = 1 << 29


@dataclass(frozen=True)
class StdioTest:
    """A test by standard input and output.

    Raises:
        ValueError: They aren't two texts, or the input is none that a program could read (half a surrogate pair).
    """

    input: str
    expected: str

    def __post_init__(self) -> None:
        if not (isinstance(self.input, str) and isinstance(self.expected, str)):
            raise ValueError(f"A test is two texts, got {_short((self.input, self.expected))}.")
        self.input.encode()


@dataclass(frozen=True)
class CallTest:
    """A test by a function's result.

    Attributes:
        function: Its name; a method of this name in a class `Solution` counts as well.
        arguments: JSON text of the list of its arguments.
        expected: JSON texts of the results that are right, one or more.
    """

    function: str
    arguments: str
    expected: tuple[str, ...]


T = TypeVar("T", bound=StdioTest | CallTest)


@dataclass(frozen=True)
class ProgramTests:
    """The tests of one problem, all of one kind.

    Attributes:
        language: Of the program, as the data set calls it.
        tests: At least one.
    """

    language: str
    tests: tuple[StdioTest | CallTest, ...]

    def __post_init__(self) -> None:
        kinds = sorted({type(test).__name__ for test in self.tests})
        if len(kinds) != 1:
            raise ValueError(f"There must be tests of one kind, got {len(self.tests)} test cases of kinds {kinds}.")

    def require_outputs(self) -> None:
        """Refuse tests that a program passes by doing nothing.

        Raises:
            ValueError: No test expects any output, or any result but null.
        """
        if not any(map(_expects_something, self.tests)):
            raise ValueError("Every expected output is blank, or null: a program that does nothing would pass.")


def _expects_something(test: StdioTest | CallTest) -> bool:
    return bool(test.expected.strip()) if isinstance(test, StdioTest) else "null" not in test.expected


def draw_tests(tests: tuple[T, ...], max_tests: int | None) -> tuple[T, ...]:
    """Return at most `max_tests` of a row's tests in their order, of so many tests the same ones each time.

    One of them expects something, where any test of the row does.
    """
    if max_tests is None or len(tests) <= max_tests:
        return tests
    drawing = random.Random(len(tests))
    chosen = drawing.sample(range(len(tests)), max_tests)
    telling = [number for number, test in enumerate(tests) if _expects_something(test)]
    if telling and not set(telling) & set(chosen):
        chosen[0] = drawing.choice(telling)
    return tuple(tests[number] for number in sorted(chosen))


def with_room(limits: Limits, tests: Sequence[StdioTest | CallTest]) -> Limits:
    """Return limits that let the longest right output through, in whole MiB so that they say little of it."""
    # Of a function there may be several, a tuple of texts.
    longest = max((sum(map(len, test.expected)) for test in tests), default=0)
    # Up to four bytes a character, or four times the length where floats stand for integers.
    return replace(limits, output_bytes=max(limits.output_bytes, (1 + (4 * longest >> 20)) << 20))


def read_row(row: Mapping[str, Any], language: str = "python") -> ProgramTests:
    """Return the tests in the columns of a row, whichever of the layouts above it has, with our name of its language.

    Args:
        row: Columns by name; those that are empty (`is_empty_column`) count as missing.
        language: Where the row names none.

    Raises:
        ValueError: No layout fits (the columns found are listed), the tests can't be read, or nobody knows the
            language.
    """
    found = {name: value for name, value in row.items() if not is_empty_column(value)}
    language = str(found.get("language", language))
    names = [name for name in ("verification_info", "test_cases", "input_output") if name in found]
    if "private_test_cases" in found or "public_test_cases" in found:
        packed = (found.get("public_test_cases"), found.get("private_test_cases"), found.get("metadata"))
        tests = read_livecodebench(*packed, language=language)
    elif names:
        tests = read_verification_info(found[names[0]], language)
    else:
        raise ValueError(
            "No tests: expected a column verification_info, test_cases, input_output, or public_test_cases with "
            f"private_test_cases; found {', '.join(sorted(found)) or 'none'}."
        )
    is_known = tests.language in LANGUAGES
    return tests if is_known else replace(tests, language=find_language(tests.language).name)


def is_empty_column(value: object) -> bool:
    """Whether a row of a mixture lacks a column of others: None, "", or a struct of nothing but None."""
    return value in (None, "") or (isinstance(value, Mapping) and all(part is None for part in value.values()))


def read_verification_info(value: object, language: str = "python") -> ProgramTests:
    r"""Return the tests in a value of the first two layouts.

    Args:
        value: A mapping, a list of test cases, or either as text.
        language: Where the value names none.

    Raises:
        ValueError: It can't be read; the message says what was found.

    >>> read_verification_info('{"inputs": ["1 2"], "outputs": [["3"]]}').tests
    (StdioTest(input='1 2\n', expected='3'),)
    >>> read_verification_info("{'fn_name': 'add', 'inputs': [[1, 2]], 'outputs': [[3]]}").tests
    (CallTest(function='add', arguments='[1, 2]', expected=('[3]', '3')),)
    """
    value = value_of(value, "the column of tests")
    if not isinstance(value, Mapping):
        return ProgramTests(language, _read_cases(value))
    cases = value.get("test_cases")
    if cases is None:
        cases = value if "inputs" in value and "outputs" in value else None
    if cases is None:
        raise ValueError(f"No tests: expected test_cases, or inputs and outputs; found {_short(list(value))}.")
    tests = _read_cases(value_of(cases, "test_cases"), value.get("fn_name"))
    return ProgramTests(str(value.get("language") or language), tests)


def read_livecodebench(public: object, private: object, metadata: object, language: str = "python") -> ProgramTests:
    """Return the tests of a LiveCodeBench row, the public ones first.

    Args:
        public: Column `public_test_cases`: JSON text or a list; None for none.
        private: Column `private_test_cases`: the same, or packed.
        metadata: Column `metadata`, whose `func_name` is the function of functional tests.
        language: The data set names none.

    Raises:
        ValueError: They can't be read; the message says what was found.
    """
    details = value_of(metadata or "{}", "metadata")
    if not isinstance(details, Mapping):
        raise ValueError(f"metadata must be a mapping, got {_short(details)}.")
    texts = [_unpack(value) if isinstance(value, str) else value for value in (public, private)]
    columns = [value_of(value, "a column of test cases") for value in texts if not is_empty_column(value)]
    cases = [case for column in columns for case in _rows_of(column)]
    tests = _read_cases(cases, details.get("func_name"), has_values_in_lines=True)
    return ProgramTests(language, tests)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _rows_of(cases: object) -> list[Mapping[str, Any]]:
    """Return test cases as one mapping each, from a list of them or from a mapping of lists."""
    if isinstance(cases, Mapping):
        names = dict(zip(("inputs", "outputs", *_COLUMNS), ("input", "output", *_COLUMNS), strict=True))
        columns = {names[name]: column for name, column in cases.items() if name in names and _is_list(column)}
        if not {"input", "output"} <= columns.keys():
            raise ValueError(f"Expected lists of inputs and outputs, found {_short(list(cases))}.")
        cases = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if not _is_list(cases):
        raise ValueError(f"Test cases must be a list, got {_short(cases)}.")
    return list(cases)


def _read_cases(
    cases: object, function: object = None, *, has_values_in_lines: bool = False
) -> tuple[StdioTest | CallTest, ...]:
    calls: list[tuple[str, list[Any], tuple[Any, ...]]] = []
    tests: list[StdioTest | CallTest] = []
    for index, row in enumerate(_rows_of(cases)):
        if not isinstance(row, Mapping) or row.get("output") is None:
            raise ValueError(f"Test {index} must be a mapping with an input and an output, got {_short(row)}.")
        given, expected = row.get("input"), row["output"]
        try:
            if (name := _function_of(row, function)) is None:
                text = "" if given is None else _lines_of(given)
                tests.append(StdioTest(text if text[-1:] in ("", "\n") else f"{text}\n", _lines_of(expected)))
            else:
                results = _results_of(given, expected, has_values_in_lines)
                calls.append((name, _arguments_of(given, has_values_in_lines), results))
        except ValueError as error:
            raise ValueError(f"Test {index}: {error}") from error
    firsts = [results[0] for _, _, results in calls]
    is_wrapped = not has_values_in_lines and all(_is_list(one) and len(one) == 1 for one in firsts)
    return (*tests, *(_call_test(name, arguments, results, is_wrapped) for name, arguments, results in calls))


def _function_of(row: Mapping[str, Any], function: object) -> str | None:
    """Return the name of the function that a test calls, None for one by standard input."""
    kind = str(row.get("type") or row.get("testtype") or "none").strip().lower()
    if kind not in (*_STDIO_TYPES, *_CALL_TYPES, "none"):
        raise ValueError(f"unknown type {kind!r}; known are {', '.join((*_STDIO_TYPES, *_CALL_TYPES))}.")
    name = row.get("fn_name") or (None if kind in _STDIO_TYPES else function)
    if not name and kind not in _CALL_TYPES:
        return None
    if not str(name or "").strip().isidentifier():
        raise ValueError(f"a test of type {kind!r} needs a function's name, got {_short(name)}.")
    return str(name).strip()


def _lines_of(value: object) -> str:
    lines = list(value) if _is_list(value) else [value]
    if isinstance(value, bool) or not all(isinstance(line, str | int | float) for line in lines):
        raise ValueError(f"expected text or a list of lines, got {_short(value)}.")
    text = "\n".join(map(str, lines)).removeprefix("\ufeff")
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def _arguments_of(value: object, has_values_in_lines: bool) -> list[Any]:
    if _is_list(value) and not has_values_in_lines:
        return list(value)
    if not isinstance(value, str):
        raise ValueError(f"arguments must be a list or text, got {_short(value)}.")
    if not has_values_in_lines:
        with suppress(ValueError):  # not one value: one a line
            whole = value_of_text(value)
            return list(whole) if _is_list(whole) else [whole]
    return [value_of(line, "an argument") for line in value.split("\n") if line.strip()]


def _results_of(given: object, expected: object, is_value: bool) -> tuple[Any, ...]:
    """Return the results that are right: a text stands for its value, and mostly for itself."""
    if not isinstance(expected, str):
        return (expected,)
    try:
        value = value_of_text(expected)
    except ValueError:
        return (expected,)
    is_list = isinstance(given, str) and isinstance(value, list | tuple | dict | set)
    return (value,) if is_value or is_list or isinstance(value, str) else (value, expected)


def _call_test(name: str, arguments: list[Any], results: tuple[Any, ...], is_wrapped: bool) -> CallTest:
    if is_wrapped:
        results = (*results, results[0][0])
    try:
        texts = dict.fromkeys(json.dumps(result, default=_list_of_set) for result in results)
        return CallTest(name, json.dumps(arguments), tuple(texts))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"Arguments or results are no JSON values: {_short(arguments)}, {_short(results)}."
        ) from error


def _list_of_set(value: object) -> list[Any]:
    """Return the items of a set in the order of `harness/call_runner.py`."""
    if not isinstance(value, set | frozenset):
        raise TypeError(f"{type(value).__name__} is no type of JSON.")
    return sorted(value, key=lambda item: ("" if isinstance(item, tuple) else str(type(item)), item))


def _unpack(text: str) -> str:
    """Return the JSON text in a packed column of LiveCodeBench; text that begins like JSON is returned as it is.

    It's pickled, compressed by zlib and written in base64. A pickle can run programs when it's read: this one may hold
    a text and nothing else.

    Raises:
        ValueError: It can't be unpacked, is too large, or holds something else than a text.
    """
    if text.lstrip()[:1] in ("[", "{", ""):
        return text.strip()
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode("".join(text.split()), validate=True), MAX_UNPACKED)
        if not unpacker.eof:
            raise ValueError(f"cut off, or larger than {MAX_UNPACKED} bytes")
        value = data if data.lstrip()[:1] in (b"[", b"{") else _TextUnpickler(io.BytesIO(data)).load()
        found = value.decode() if isinstance(value, bytes) else value
    except Exception as error:  # a broken pickle raises almost anything
        raise ValueError(f"Packed tests can't be read: {type(error).__name__}: {str(error)[:200]}") from error
    if not isinstance(found, str):
        raise ValueError(f"Packed tests must be a text, found {type(found).__name__}.")
    return found


class _TextUnpickler(pickle.Unpickler):
    """An unpickler of plain values."""

    def find_class(self, module_name: str, global_name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def value_of(value: object, what: str) -> object:
    """Return the value of a JSON text, or of the text of a Python literal; other values as they are.

    Raises:
        ValueError: A text is neither, or too long; the message begins with `what`.
    """
    try:
        return value_of_text(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{what} is {error}: {_short(value)}.") from error


def _short(value: object) -> str:
    """Return the beginning of a value for a message."""
    text = value if isinstance(value, str) else f"{type(value).__name__} {str(value)[:200]}"
    return repr(text[:80] + "..." if len(text) > 80 else text)
