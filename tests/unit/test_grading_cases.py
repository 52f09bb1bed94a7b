# SPDX-License-Identifier: Apache-2.0
"""Reading tests from the columns of data sets: what is refused, then every layout."""

import base64
import json
import pickle
import zlib

import pytest

from open_r1.grading.cases import (
    CallTest,
    ProgramTests,
    StdioTest,
    draw_tests,
    read_livecodebench,
    read_row,
    read_verification_info,
)


class Evil:
    """Pickled, it asks for a call of `os.system`."""

    def __reduce__(self):
        import os

        return os.system, ("true",)


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def case(given="1", expected="2", **more):
    return {"input": given, "output": expected, **more}


# A value, and what the message must name.
REFUSED = [
    (None, "a list"),
    ("", "nor a Python literal"),
    ("7", "a list"),
    ("{'a': __import__('os')}", "nor a Python literal"),
    ("[" * 100_000, "nor a Python literal"),
    ([], "0 test cases"),
    ({"ground_truth": "4"}, "ground_truth"),
    ({"test_cases": []}, "0 test cases"),
    ({"language": "python", "test_cases": None}, "'language', 'test_cases'"),
    ({"test_cases": "nonsense"}, "test_cases is neither"),
    ({"test_cases": ["1 2"]}, "Test 0"),
    ({"test_cases": [case(), {"input": "1"}]}, "Test 1"),
    ({"test_cases": [case(expected=None)]}, "Test 0"),
    ({"test_cases": [case(expected=True)]}, "Test 0: expected text"),
    ({"test_cases": [case(expected=[["1"]])]}, "Test 0: expected text"),
    ({"test_cases": [case({"a": 1})]}, "Test 0: expected text"),
    ({"test_cases": [case(type="interactive")]}, "'interactive'"),
    ({"test_cases": [case(type="function_call")]}, "'function_call' needs"),
    ({"test_cases": [case(fn_name="os.system")]}, "'os.system'"),
    ({"test_cases": [case(5, fn_name="f")]}, "arguments must be"),
    ({"test_cases": [case("1 2", fn_name="f")]}, "an argument is neither"),
    ({"test_cases": [case([{1, 2}], fn_name="f")]}, "no JSON values"),
    ({"test_cases": [case("\ud800")]}, "surrogates"),
    ({"test_cases": [case(), case(fn_name="f")]}, "one kind"),
    ({"inputs": ["1"], "outputs": ["1", "2"]}, "longer"),
    ({"inputs": [], "outputs": []}, "0 test cases"),
    ({"inputs": "12", "outputs": ["1", "2"]}, "lists of inputs"),
]


@pytest.mark.parametrize(("value", "named"), REFUSED, ids=range(len(REFUSED)))
def test_unusable_value_is_refused_with_what_was_found(value, named):
    with pytest.raises(ValueError) as error:
        read_verification_info(value)
    assert named in str(error.value)
    assert len(str(error.value)) < 500


PASSED_BY_NOTHING = [
    {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[None], [None]]},
    {"fn_name": "f", "inputs": [[1]], "outputs": ["None"]},
    {"fn_name": "f", "inputs": [[1]], "outputs": ["null"]},
    {"inputs": ["1", "2"], "outputs": ["", " \n"]},
]


@pytest.mark.parametrize("value", PASSED_BY_NOTHING, ids=range(len(PASSED_BY_NOTHING)))
def test_tests_that_a_program_passes_by_doing_nothing_are_refused_before_they_judge(value):
    tests = read_verification_info(value)
    with pytest.raises(ValueError, match="blank, or null"):
        tests.require_outputs()


def test_one_test_that_expects_something_is_enough():
    read_verification_info({"inputs": ["1", "2"], "outputs": ["", "0"]}).require_outputs()
    read_verification_info({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[None], [0]]}).require_outputs()


MANY = tuple(StdioTest(f"{number}\n", str(number)) for number in range(200))


def test_drawn_tests_are_the_same_each_time_in_their_order():
    drawn = draw_tests(MANY, 20)
    assert draw_tests(MANY, 20) == drawn
    assert len(drawn) == 20
    assert sorted(drawn, key=MANY.index) == list(drawn)
    assert drawn != MANY[:20]
    assert draw_tests(MANY[:100], 20) != drawn  # another row, other tests


@pytest.mark.parametrize("max_tests", [None, 200, 1000])
def test_all_of_few_tests_are_kept(max_tests):
    assert draw_tests(MANY, max_tests) == MANY


def test_one_of_the_drawn_tests_expects_something():
    rows = [
        tuple(StdioTest(f"{row} {number}\n", "1" if number == 7 else "") for number in range(50)) for row in range(20)
    ]
    assert all(any(test.expected for test in draw_tests(row, 2)) for row in rows)


BAD_PACKS = [
    (packed(Evil()), "posix.system"),
    (packed(["a list"]), "found list"),
    (packed("no JSON"), "nor a Python literal"),
    ("not base64!", "Packed tests"),
    (base64.b64encode(b"no zlib").decode(), "Packed tests"),
    (base64.b64encode(zlib.compress(b"\x80\x04 broken")).decode(), "Packed tests"),
    (base64.b64encode(zlib.compress(pickle.dumps("[]" * 9))[:-8]).decode(), "cut off"),
]


@pytest.mark.parametrize(("private", "named"), BAD_PACKS, ids=range(len(BAD_PACKS)))
def test_packed_tests_that_hold_something_else_are_refused(private, named):
    with pytest.raises(ValueError) as error:
        read_livecodebench("[]", private, "{}")
    assert named in str(error.value)


def test_packed_tests_that_grow_beyond_measure_are_refused(monkeypatch):
    monkeypatch.setattr("open_r1.grading.cases.MAX_UNPACKED", 1000)
    with pytest.raises(ValueError, match="1000 bytes"):
        read_livecodebench(None, packed("[" + " " * 10_000 + "]"), None)


def test_unknown_columns_are_listed():
    with pytest.raises(ValueError, match="found answer, problem"):
        read_row({"problem": "Add.", "answer": "3", "verification_info": None})


STDIO = (StdioTest("1 2\n", "3"), StdioTest("", "0\n"))
CASES = [
    {"fn_name": None, "input": "1 2", "output": "3", "type": "stdin_stdout"},
    {"fn_name": None, "input": None, "output": "0\r\n", "type": "stdin_stdout"},
]
INFO = {"language": "python", "test_cases": CASES}
# Layouts that hold the tests of STDIO.
STDIO_LAYOUTS = [
    INFO,
    json.dumps(INFO),
    repr(INFO),
    {"language": "python", "test_cases": json.dumps(CASES)},
    {"language": "python", "test_cases": {name: [row[name] for row in CASES] for name in CASES[0]}},
    {"language": None, "test_cases": [{"input": row["input"], "output": row["output"]} for row in CASES]},
    CASES,
    {"inputs": ["1 2\n", ""], "outputs": ["3", "0\n"]},
    json.dumps({"inputs": [["1 2"], []], "outputs": [["3"], ["0", ""]], "fn_name": None}),
    {"inputs": ["1 2", None], "outputs": [3, "0\n"]},
]


@pytest.mark.parametrize("value", STDIO_LAYOUTS, ids=range(len(STDIO_LAYOUTS)))
def test_layout_of_tests_by_standard_input_is_read(value):
    assert read_verification_info(value) == ProgramTests("python", STDIO)


# Layouts of one test of f(1, [2]), right when it returns [3].
CALL_LAYOUTS = [
    {"test_cases": [{"type": "function_call", "fn_name": "f", "input": [1, [2]], "output": [3]}]},
    {"test_cases": [{"type": "function_call", "fn_name": "f", "input": "[1, [2]]", "output": "[3]"}]},
    {"test_cases": [{"type": "stdin_stdout", "fn_name": "f", "input": "1\n[2]\n", "output": "[3]"}]},
    str({"inputs": [[1, (2,)]], "outputs": [(3,)], "fn_name": "f"}),
    json.dumps({"inputs": [[1, [2]]], "outputs": [[3]], "fn_name": "f"}),
]


@pytest.mark.parametrize("value", CALL_LAYOUTS, ids=range(len(CALL_LAYOUTS)))
def test_layout_of_tests_by_a_function_is_read(value):
    assert read_verification_info(value).tests == (CallTest("f", "[1, [2]]", ("[3]", "3")),)


RESULTS = [
    # Outputs of a row, and the results that are right for each.
    ([[3], [4]], [("[3]", "3"), ("[4]", "4")]),
    ([[3], []], [("[3]",), ("[]",)]),
    ([[3], [4, 5]], [("[3]",), ("[4, 5]",)]),
    (["yes", "5"], [('"yes"',), ("5", '"5"')]),
    ([None or 0, {1: 2}], [("0",), ('{"1": 2}',)]),
]


@pytest.mark.parametrize(("outputs", "expected"), RESULTS, ids=range(len(RESULTS)))
def test_results_that_are_right(outputs, expected):
    found = read_verification_info({"fn_name": "f", "inputs": [[1]] * len(outputs), "outputs": outputs})
    assert [test.expected for test in found.tests] == expected


# Output as text next to arguments as text, and the results that are right.
TEXT_RESULTS = [
    ("True", ("true", '"True"')),
    ("123", ("123", '"123"')),
    ('"123"', ('"123"',)),
    ("yes", ('"yes"',)),
    ("[1, 2]", ("[1, 2]",)),
    ("{3, 1}", ("[1, 3]",)),
]


@pytest.mark.parametrize(("text", "results"), TEXT_RESULTS)
def test_text_of_a_result_is_its_value_or_itself(text, results):
    found = read_verification_info([{"fn_name": "f", "input": "[1]", "output": text}])
    assert found.tests == (CallTest("f", "[1]", results),)


def test_livecodebench_never_wraps_results_and_means_their_values():
    rows = [{"input": "1", "output": output, "testtype": "functional"} for output in ("[1]", "[2]")]
    found = read_livecodebench(rows, None, {"func_name": "f"})
    assert [test.expected for test in found.tests] == [("[1]",), ("[2]",)]


def test_result_of_null_is_none():
    with pytest.raises(ValueError, match="Test 0"):
        read_verification_info({"fn_name": "f", "inputs": [[1]], "outputs": [None]})


LINE_BREAKS = [("1\r\n2\r\n", "1\n2\n"), ("1\r2", "1\n2"), ("1 \r\r\n2", "1 \r\n2"), ("\ufeff1\n", "1\n")]


@pytest.mark.parametrize(("text", "read"), LINE_BREAKS)
def test_texts_of_other_systems_are_read(text, read):
    (test,) = read_verification_info([case(text, text)]).tests
    assert (test.input.rstrip("\n"), test.expected) == (read.rstrip("\n"), read)


def test_livecodebench_reads_public_and_private_tests_by_function():
    public = json.dumps([{"input": "[1, 2]\n3", "output": "[3]", "testtype": "functional"}])
    private = packed(json.dumps([{"input": '"a"', "output": "true", "testtype": "functional"}]))
    found = read_livecodebench(public, private, json.dumps({"func_name": "add"}))
    assert found.tests == (CallTest("add", "[[1, 2], 3]", ("[3]",)), CallTest("add", '["a"]', ("true",)))


def test_livecodebench_reads_tests_by_standard_input():
    rows = [{"input": "1\n", "output": "2", "testtype": "stdin"}]
    row = {"public_test_cases": rows, "private_test_cases": packed(json.dumps(rows)), "metadata": "{}"}
    assert read_row(row).tests == (StdioTest("1\n", "2"),) * 2


ROWS = [
    {"verification_info": INFO, "private_test_cases": "", "public_test_cases": ""},
    {"verification_info": "", "test_cases": CASES},
    {
        "verification_info": {"language": None, "test_cases": None},
        "input_output": {"inputs": ["1 2", ""], "outputs": ["3", "0\n"]},
    },
    {"verification_info": INFO, "test_cases": None, "prompt": "..."},
    {"test_cases": json.dumps({"inputs": ["1 2", ""], "outputs": ["3", "0\n"]}), "domain": "code"},
    {"input_output": json.dumps({"inputs": ["1 2", ""], "outputs": ["3", "0\n"]}), "starter_code": ""},
]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_row_is_read_from_the_column_it_has(row):
    assert read_row(row).tests == STDIO


def test_language_of_the_tests_goes_before_that_of_the_row():
    assert read_row({"verification_info": INFO, "language": "cpp"}).language == "python"
    assert read_row({"test_cases": CASES, "language": "cpp"}).language == "cpp"


def test_tests_can_be_told_apart_and_counted_as_keys():
    assert len({read_verification_info(value) for value in STDIO_LAYOUTS}) == 1
