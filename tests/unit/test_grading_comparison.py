# SPDX-License-Identifier: Apache-2.0
"""Comparing outputs and results: what must not pass, then what must."""

import asyncio
import json
import time

import pytest

from open_r1.grading.cases import CallTest, StdioTest
from open_r1.grading.compare import compare_output, compare_runs, find_difference
from open_r1.grading.functions import call_files, call_input, compare_call, draw_word, is_same_result
from open_r1.grading.verdict import TestVerdict
from open_r1.sandbox import Outcome, ProgramRun

# Output, expected output, what the feedback says.
WRONG_OUTPUTS = [
    ("", "1", "line 1: expected '1', but the output ends"),
    ("1\n", "1\n2\n", "line 2: expected '2', but the output ends"),
    ("1\n2\n3\n", "1\n2\n", "line 3: '3' behind the end of the expected output"),
    ("0", "", "line 1: '0' behind the end"),
    ("1\n\n2", "1\n2", "line 2: expected '2', got ''"),
    ("\n1", "1", "line 1: expected '1', got ''"),
    (" 1", "1", "line 1: expected '1', got ' 1'"),
    ("1  2", "1 2", "expected '1 2', got '1  2'"),
    ("yes", "YES", "expected 'YES', got 'yes'"),
    ("1.0", "1", "expected '1', got '1.0'"),
    ("1\x0b2", "1\n2", "line 1: expected '1', got '1\\x0b2'"),
    ("1\u20282", "1\n2", "line 1"),
    ("1\x00", "1", "got '1\\x00'"),
    ("1 2", "1\n2", "line 1"),
    ("\ufffd", "\xff", "line 1"),
]


@pytest.mark.parametrize(("output", "expected", "said"), WRONG_OUTPUTS, ids=range(len(WRONG_OUTPUTS)))
def test_wrong_output_is_told_by_its_first_difference(output, expected, said):
    assert said in find_difference(output, expected)


RIGHT_OUTPUTS = [
    ("", ""),
    ("\n\n", ""),
    ("", " \n"),
    ("1\n2\n", "1\n2"),
    ("1 \r\n2\t\n\n \n", "1\n2"),
    ("1\n\n2", "1\n\n2\n"),
    (" 1", " 1 "),
    ("ä\u2028b", "ä\u2028b\n"),
]


@pytest.mark.parametrize(("output", "expected"), RIGHT_OUTPUTS, ids=range(len(RIGHT_OUTPUTS)))
def test_blanks_at_ends_of_lines_and_empty_lines_at_the_end_are_free(output, expected):
    assert find_difference(output, expected) is None


def test_no_prefix_of_the_expected_output_passes():
    expected = "3\n1 2\n\n4 5 6\n7"
    assert all(find_difference(expected[:length], expected) for length in range(len(expected)))


def test_feedback_about_long_lines_shows_where_they_differ():
    said = find_difference("a" * 100_000 + "x" + "b" * 100_000, "a" * 100_000 + "y" + "b" * 100_000)
    assert len(said) < 600 and "ax" in said and "ay" in said


def test_run_that_failed_is_never_judged_by_its_output():
    run = ProgramRun(Outcome.RUNTIME_ERROR, stdout="1\n", stderr="Traceback", exit_code=1)
    [result] = asyncio.run(compare_runs([run], [StdioTest("", "1\n")], compare_output))
    assert result.verdict is TestVerdict.RUNTIME_ERROR


DIFFERENT_RESULTS = [
    ("", "null"),
    ("[1, 2", "[1, 2]"),
    ("[" * 5000 + "]" * 5000, "[]"),
    ('"True"', "true"),
    ('"1"', "1"),
    ("null", "0"),
    ("[]", "null"),
    ("[1, 2]", "[2, 1]"),
    ("[1]", "[1, 1]"),
    ("[]", "[0]"),
    ('{"a": 1}', '{"a": 1, "b": 2}'),
    ('{"1": 1}', "[1]"),
    ("1.00001", "1"),
    ("1e-11", "0"),
    ("NaN", "0.0"),
    ("Infinity", "1e308"),
    ("9007199254740993", "9007199254740992"),
    ("3.0000000001", "3"),
    ("2500000000.5", "2500000000"),
    ("1000000000.0", "1000000000000000001"),
    ("1.5511210043330986e+25", "15511210043330985984000001"),
    (f"1{'0' * 400}", "1.5"),
    (f"1{'0' * 5000}", f"2{'0' * 5000}"),
    (f'"1{"0" * 5000}"', f"1{'0' * 5000}"),
]


@pytest.mark.parametrize(("got", "expected"), DIFFERENT_RESULTS, ids=range(len(DIFFERENT_RESULTS)))
def test_results_that_differ(got, expected):
    assert not is_same_result(got, expected)


SAME_RESULTS = [
    ("1", "1.0"),
    ("true", "1"),
    ("0.30000000000000004", "0.3"),
    ("3.0000000001", "3.0"),
    ("3", "3.0000000001"),
    ("3.0", "3"),
    ("NaN", "NaN"),
    ("Infinity", "Infinity"),
    ("0.0", "-0.0"),
    ('[{"a": [1, null]}]', '[{"a":[1.0,null]}]'),
    ('"\\u00e9"', '"é"'),
    (f"1{'0' * 5000}", f"1{'0' * 5000}"),
]


@pytest.mark.parametrize(("got", "expected"), SAME_RESULTS, ids=range(len(SAME_RESULTS)))
def test_results_that_are_the_same(got, expected):
    assert is_same_result(got, expected)


def run_of(stdout):
    return ProgramRun(Outcome.OK, stdout=stdout, exit_code=0)


# What is on standard output when the word is W and 3 is right.
LINES = [
    ("", TestVerdict.WRONG_ANSWER),
    ("3\n", TestVerdict.WRONG_ANSWER),
    ("V 3\n", TestVerdict.WRONG_ANSWER),
    ("W\n", TestVerdict.WRONG_ANSWER),
    ("W 4\n", TestVerdict.WRONG_ANSWER),
    ("W 3\nW 4\n", TestVerdict.WRONG_ANSWER),
    ("W 3\nW 3\n", TestVerdict.WRONG_ANSWER),
    ("W 3 3\n", TestVerdict.WRONG_ANSWER),
    ("W 3\n", TestVerdict.ACCEPTED),
    ("noise\nW 3\n", TestVerdict.ACCEPTED),
]


@pytest.mark.parametrize(("stdout", "verdict"), LINES, ids=range(len(LINES)))
def test_result_counts_only_behind_the_word_and_once(stdout, verdict):
    result = compare_call(run_of(stdout), (CallTest("f", "[]", ("3",)), "W"))
    assert result.verdict is verdict


def test_any_of_the_right_results_is_accepted():
    test = CallTest("f", "[]", ("[3]", "3"))
    results = [compare_call(run_of(text), (test, "W")) for text in ("W [3]\n", "W 3\n")]
    assert [result.score for result in results] == [1.0, 1.0]


def test_words_are_new_for_every_run():
    assert len({draw_word() for _ in range(200)}) == 200


def test_box_gets_arguments_and_no_result():
    test = CallTest("add", "[1, [2]]", ('"expected"',))
    word, request = call_input(test, "W").stdin.splitlines()
    assert word == "W"
    assert json.loads(request) == {"function": "add", "arguments": [1, [2]]}
    assert list(call_files("code")) == ["call_runner.py", "submission.py"]


# ---- outputs that are made to take long; each of these took from five seconds to minutes


def test_results_of_another_structure_are_not_even_read():
    got, expected = f"[{', '.join(['[[]]'] * 250_000)}]", f"[{', '.join(['1'] * 200_000)}]"
    start = time.thread_time()
    assert not any(is_same_result(got, expected) for _ in range(100))
    assert not any(is_same_result("1" * 1_000_000, "1") for _ in range(100))
    assert time.thread_time() - start < 5


def test_integer_for_a_float_may_have_all_its_digits():
    assert is_same_result("1" + "0" * 300, "1e300")


def test_long_outputs_are_compared_in_blocks():
    lines = "1\n" * 3_000_000
    start = time.thread_time()
    assert find_difference(lines + "2", lines + "3") == "line 3000001: expected '3', got '2'"
    assert "ax'" in find_difference("a" * 20_000_000 + "x", "a" * 20_000_000 + "y")
    assert find_difference("\n" * 20_000_000 + "x", "\n" * 5_000_000 + "y") == "line 5000001: expected 'y', got ''"
    assert time.thread_time() - start < 2


@pytest.mark.parametrize("blank", ["", " ", "\r"])
@pytest.mark.parametrize("width", [1, 255, 256, 257, 2_000_000])
def test_difference_is_found_behind_blocks_of_any_size(blank: str, width: int):
    wanted = [str(number).zfill(width)[:width] for number in range(7)]
    got = [line + blank for line in wanted[:-1]] + ["x" + wanted[-1][1:]]
    assert find_difference("\n".join([*wanted[:-1], blank]), "\n".join(wanted[:-1])) is None
    assert find_difference("\n".join(got), "\n".join(wanted)).startswith("line 7: expected")


def test_long_outputs_of_contests_are_compared_in_blocks():
    start = time.thread_time()
    assert find_difference("a " * 10_000_000, "a b", by_words=True) is not None
    assert find_difference("1\n" * 5_000_000 + "2", "1\n" * 5_000_000 + "3", by_words=True) is not None
    assert find_difference("1\n" * 5_000_000, "2\n" * 5_000_000, by_words=True) is not None
    assert find_difference("1 \n" * 1000 + "2", "1\n" * 1000 + "2", by_words=True) is None
    assert time.thread_time() - start < 2
