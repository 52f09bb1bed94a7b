# SPDX-License-Identifier: Apache-2.0
r"""Tests of programs as data sets write them down, read into one form. A row looks like one of these:

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
import binascii
import hashlib
import io
import json
import pickle
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

from open_r1.literals import value_of_text
from open_r1.sandbox.languages import find_language

_STDIO_TYPES = {"stdin_stdout", "stdin", "stdio", "standard_input", "none"}
_CALL_TYPES = {"function_call", "functional", "function", "call_based", "fn_name"}
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
            kinds = f"{type(self.input).__name__} and {type(self.expected).__name__}"
            raise ValueError(f"A test is two texts, got {kinds}.")
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
        if not self.tests:
            raise ValueError("There are no tests: 0 test cases.")
        kinds = {type(test).__name__ for test in self.tests}
        if len(kinds) > 1:
            raise ValueError(f"Tests of one row are all of one kind, got {', '.join(sorted(kinds))}.")

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
    """Return at most `max_tests` of a row's tests in their order, the same ones each time: their hash draws them.

    One of them expects something, where any test of the row does.
    """
    if max_tests is None or len(tests) <= max_tests:
        return tests
    digest = hashlib.sha256()
    for test in tests:
        digest.update(f"{test!r}\0".encode("utf-8", "surrogatepass"))
    drawing = random.Random(digest.digest())
    chosen = drawing.sample(range(len(tests)), max_tests)
    telling = [number for number, test in enumerate(tests) if _expects_something(test)]
    if telling and not set(telling) & set(chosen):
        chosen[0] = drawing.choice(telling)
    return tuple(tests[number] for number in sorted(chosen))


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
    language = _language_of(found, language)
    names = ("verification_info", "test_cases", "input_output")
    if "private_test_cases" in found or "public_test_cases" in found:
        packed = (found.get("public_test_cases"), found.get("private_test_cases"), found.get("metadata"))
        tests = read_livecodebench(*packed, language=language)
    elif (name := next((name for name in names if name in found), None)) is not None:
        tests = read_verification_info(found[name], language)
    else:
        raise ValueError(
            "No tests: expected a column verification_info, test_cases, input_output, or public_test_cases with "
            f"private_test_cases; found {', '.join(sorted(found)) or 'none'}."
        )
    return replace(tests, language=find_language(tests.language).name)


def is_empty_column(value: object) -> bool:
    """Whether a row of a mixture lacks a column of others: None, "", or a struct of nothing but None."""
    return value in (None, "") or (isinstance(value, Mapping) and all(part is None for part in value.values()))


def read_verification_info(value: object, language: str = "python") -> ProgramTests:
    r"""Return the tests in a value of the first two layouts; a text is read once, however many rows hold it.

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
    return _read_text(value, language) if isinstance(value, str) else _read(value, language)


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
    details = value_of(metadata, "metadata") if isinstance(metadata, str) and metadata.strip() else metadata or {}
    if not isinstance(details, Mapping):
        raise ValueError(f"metadata must be a mapping, got {short(details)}.")
    function = details.get("func_name")
    rows: list[Mapping[str, Any]] = []
    for column, value in (("public_test_cases", public), ("private_test_cases", private)):
        if isinstance(value, str) and value.strip():
            value = value_of(unpack_cases(value), column)
        rows += _rows_of([] if value is None or value == "" else value)
    return ProgramTests(language, _tests_of(rows, function, has_values_in_lines=True))


@lru_cache(maxsize=16)
def _read_text(text: str, language: str) -> ProgramTests:
    return _read(value_of(text, "the column of tests"), language)


def _read(value: object, language: str) -> ProgramTests:
    cases: object = value
    function = None
    if isinstance(value, Mapping):
        language = _language_of(value, language)
        function = value.get("fn_name")
        cases = value.get("test_cases")
        cases = value_of(cases, "test_cases") if isinstance(cases, str) else cases
        if cases is None and "inputs" in value and "outputs" in value:
            cases = value
        if cases is None:
            raise ValueError(f"No tests: expected test_cases, or inputs and outputs; found {keys_of(value)}.")
    return ProgramTests(language, _tests_of(_rows_of(cases), function, has_values_in_lines=False))


def _language_of(value: Mapping[str, Any], default: str) -> str:
    language = value.get("language") or default
    if not isinstance(language, str):
        raise ValueError(f"The language must be a name, got {short(language)}.")
    return language


def _rows_of(cases: object) -> list[Mapping[str, Any]]:
    """Return test cases as one mapping each, from a list of them or from a mapping of lists."""
    if isinstance(cases, Mapping):
        lists = {"input": "inputs", "output": "outputs", "type": "type", "testtype": "testtype", "fn_name": "fn_name"}
        columns = {name: cases.get(other, cases.get(name)) for name, other in lists.items()}
        columns = {name: column for name, column in columns.items() if isinstance(column, Sequence)}
        columns = {name: column for name, column in columns.items() if not isinstance(column, str)}
        sizes = {name: len(column) for name, column in columns.items()}
        if not {"input", "output"} <= sizes.keys():
            raise ValueError(f"Expected lists of inputs and outputs, found {keys_of(cases)}.")
        if len(set(sizes.values())) > 1:
            raise ValueError(f"Lists of a row's tests must be of one length, got {sizes}.")
        cases = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if not isinstance(cases, Sequence) or isinstance(cases, str):
        raise ValueError(f"Test cases must be a list, got {short(cases)}.")
    for index, case in enumerate(cases):
        if not isinstance(case, Mapping) or case.get("output") is None:
            raise ValueError(f"Test {index} must be a mapping with an input and an output, got {short(case)}.")
    return list(cases)


def _tests_of(
    rows: Iterable[Mapping[str, Any]], function: object, has_values_in_lines: bool
) -> tuple[StdioTest, ...] | tuple[CallTest, ...]:
    calls: list[tuple[str, list[Any], tuple[Any, ...]]] = []
    others: list[StdioTest] = []
    for index, row in enumerate(rows):
        given, expected = row.get("input"), row["output"]
        try:
            name = _function_of(row, function)
            if name is None:
                others.append(StdioTest(_input_of(given), _lines_of(expected)))
            else:
                results = _results_of(given, expected, has_values_in_lines)
                calls.append((name, _arguments_of(given, has_values_in_lines), results))
        except ValueError as error:
            raise ValueError(f"Test {index}: {error}") from error
    if calls and others:
        raise ValueError(f"Tests of one row are all of one kind, got {len(calls)} of functions, {len(others)} others.")
    if not calls:
        return tuple(others)
    is_wrapped = not has_values_in_lines and all(_is_one_item_list(results[0]) for _, _, results in calls)
    return tuple(_call_test(name, arguments, results, is_wrapped) for name, arguments, results in calls)


def _function_of(row: Mapping[str, Any], function: object) -> str | None:
    """Return the name of the function that a test calls, None for one by standard input."""
    kind = str(row.get("type") or row.get("testtype") or "none").strip().lower()
    if kind not in _STDIO_TYPES | _CALL_TYPES:
        raise ValueError(f"unknown type {kind!r}; known are {', '.join(sorted(_STDIO_TYPES | _CALL_TYPES))}.")
    name = row.get("fn_name") or function
    if kind in _STDIO_TYPES - {"none"} and not row.get("fn_name"):
        return None
    if not name and kind in _CALL_TYPES:
        raise ValueError(f"a test of type {kind!r} needs a function's name, found {keys_of(row)}.")
    if name and not (isinstance(name, str) and name.strip().isidentifier()):
        raise ValueError(f"not the name of a function: {short(name)}.")
    return str(name).strip() if name else None


def _input_of(value: object) -> str:
    text = "" if value is None else _lines_of(value)
    return text if not text or text.endswith("\n") else text + "\n"


def _lines_of(value: object) -> str:
    if isinstance(value, list | tuple):
        if not all(isinstance(line, str | int | float) for line in value):
            raise ValueError(f"expected text or a list of lines, got {short(value)}.")
        value = "\n".join(str(line) for line in value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected text or a list of lines, got {short(value)}.")
    text = str(value).removeprefix("\ufeff")
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def _arguments_of(value: object, has_values_in_lines: bool) -> list[Any]:
    if isinstance(value, list | tuple) and not has_values_in_lines:
        return list(value)
    if not isinstance(value, str):
        raise ValueError(f"arguments must be a list or text, got {short(value)}.")
    if not has_values_in_lines:
        try:
            whole = value_of(value, "the arguments")
        except ValueError:
            pass  # not one value: one a line
        else:
            return list(whole) if isinstance(whole, list | tuple) else [whole]
    return [value_of(line, "an argument") for line in value.split("\n") if line.strip()]


def _results_of(given: object, expected: object, is_value: bool) -> tuple[Any, ...]:
    """Return the results that are right: a text stands for its value, and mostly for itself."""
    if not isinstance(expected, str):
        return (expected,)
    try:
        value = value_of(expected, "the result")
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
        raise ValueError(f"Arguments or results are no JSON values: {short(arguments)}, {short(results)}.") from error


def _list_of_set(value: object) -> list[Any]:
    """Return the items of a set in the order of `harness/call_runner.py`."""
    if not isinstance(value, set | frozenset):
        raise TypeError(f"{type(value).__name__} is no type of JSON.")
    return sorted(value, key=lambda item: ("" if isinstance(item, tuple) else str(type(item)), item))


def _is_one_item_list(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 1


def unpack_cases(text: str) -> str:
    """Return the JSON text in a packed column of LiveCodeBench; text that begins like JSON is returned as it is.

    It's pickled, compressed by zlib and written in base64. A pickle can run programs when it's read: this one may hold
    a text and nothing else.

    Raises:
        ValueError: It can't be unpacked, is too large, or holds something else than a text.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return text
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, MAX_UNPACKED)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"Tests are neither JSON nor base64 of zlib data: {text[:40]!r} ({error}).") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"Packed tests are larger than {MAX_UNPACKED} bytes.")
    if not unpacker.eof:
        raise ValueError("Packed tests are cut off.")
    return _text_of(data)


def _text_of(data: bytes) -> str:
    if data.lstrip()[:1] in (b"[", b"{"):
        return data.decode("utf-8")
    try:
        value = _TextUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # a broken pickle raises almost anything
        raise ValueError(f"Packed tests are no pickled text: {type(error).__name__}: {str(error)[:200]}") from error
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise ValueError(f"Packed tests must be a text, found {type(value).__name__}.")
    return value


class _TextUnpickler(pickle.Unpickler):
    """An unpickler of plain values."""

    def find_class(self, module_name: str, global_name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def value_of(text: str, what: str) -> object:
    """Return the value of a JSON text, or of the text of a Python literal.

    Raises:
        ValueError: It's neither, or too long; the message begins with `what`.
    """
    try:
        return value_of_text(text)
    except ValueError as error:
        raise ValueError(f"{what} is {error}: {short(text)}.") from error


def keys_of(value: Mapping[str, Any]) -> str:
    """Return the keys of a mapping for a message, the first twenty of them."""
    return ", ".join(sorted(str(key) for key in value)[:20]) or "nothing"


def short(value: object) -> str:
    """Return the beginning of a value for a message."""
    text = value if isinstance(value, str) else f"{type(value).__name__} {str(value)[:200]}"
    return repr(text[:80] + "..." if len(text) > 80 else text)
