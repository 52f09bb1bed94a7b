# SPDX-License-Identifier: Apache-2.0
"""Rows that are solved by programs: prompts, tests, rows that can't be asked; verdicts that are kept."""

import base64
import json
import pickle
import zlib

import pytest

from open_r1.evaluation.judgement import judgement_of
from open_r1.evaluation.program_judge import KEPT_NAME, KeptVerdicts
from open_r1.evaluation.program_rows import TestsFile, form_of
from open_r1.generation.prompts import PromptError
from open_r1.grading.cases import CallTest, StdioTest
from open_r1.rewards.verifier import Verdict

STDIO = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
CALLS = [{"input": "1\n2", "output": "3", "testtype": "functional"}]
STARTER = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        "


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value)))).decode()


def lcb_row(tests, *, private=None, **columns):
    private = packed(tests) if private is None else private
    return {
        "public_test_cases": json.dumps(tests),
        "private_test_cases": private,
        "metadata": "{}",
        "starter_code": "",
    } | columns


def info_row(**info):
    return {"verification_info": info}


@pytest.fixture
def tests_file():
    file = TestsFile()
    yield file
    file.close()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (lcb_row(STDIO), "in python, reads from standard input and writes to standard output."),
        (lcb_row(CALLS, starter_code=STARTER, metadata='{"func_name": "add"}'), "completes this code:\n```python\n"),
        (lcb_row(CALLS, metadata='{"func_name": "add"}'), "in python, defines the function `add`."),
        (info_row(language="cpp", test_cases=[{"input": "1", "output": "1"}]), "in cpp, reads from standard input"),
        ({"input_output": '{"inputs": [[1, 2]], "outputs": [[3]], "fn_name": "add"}'}, "defines the function `add`."),
    ],
)
def test_prompts_say_how_the_program_is_run(row, said):
    assert said in form_of(row)
    assert f"begins with ```{'cpp' if 'cpp' in said else 'python'} and" in form_of(row)


def test_tests_come_back_of_any_row_in_any_order(tests_file):
    for number in range(3):
        tests_file.add(number, lcb_row([{"input": str(number), "output": "x", "testtype": "stdin"}]))
    tests_file.add(7, lcb_row(CALLS, metadata={"func_name": "add"}))
    assert tests_file.get(2).tests == (StdioTest("2\n", "x"),) * 2
    assert tests_file.get(0).tests[0] == StdioTest("0\n", "x")
    assert tests_file.get(7).tests == (CallTest("add", "[1, 2]", ("3",)),) * 2
    assert tests_file.languages == {0: "python", 1: "python", 2: "python", 7: "python"}


def test_a_fingerprint_is_that_of_the_tests_alone(tests_file):
    one = tests_file.add(0, lcb_row(STDIO))
    same = tests_file.add(1, lcb_row(STDIO, starter_code=STARTER, question_content="Add.", language=None))
    assert one == same != tests_file.add(2, lcb_row([*STDIO, *STDIO]))


class _Hostile:
    def __reduce__(self):
        return (print, ("read me",))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "No tests: expected a column verification_info"),
        (lcb_row([], private="[]"), "There are no tests"),
        (lcb_row(STDIO, private="no base64!"), "Packed tests"),
        (lcb_row(STDIO, private=packed(STDIO)[:-8]), "cut off"),
        (lcb_row(STDIO, private=base64.b64encode(zlib.compress(pickle.dumps(_Hostile()))).decode()), "it asks for"),
        (lcb_row(CALLS), "needs a function's name"),
        (lcb_row(CALLS, metadata='{"func_name": 3}'), "function's name"),
        (lcb_row(STDIO, metadata="no json"), "metadata is neither JSON nor a Python literal"),
        (lcb_row(STDIO, language="klingon"), "klingon"),
        (lcb_row([{"input": "1", "output": "", "testtype": "stdin"}]), "Every expected output is blank"),
        (info_row(language="python", test_cases=[]), "There are no tests"),
        (info_row(language="python", test_cases=[{"input": "1"}]), "Test 0 must be a mapping with an input and an"),
    ],
)
def test_rows_whose_tests_can_not_be_used_are_told(tests_file, row, said, capsys):
    with pytest.raises(PromptError, match=said):
        form_of(row)
        tests_file.add(0, row)
    assert "read me" not in capsys.readouterr().out


def test_large_tests_are_read_when_they_judge(tests_file):
    broken = packed(STDIO) + "!" * (1 << 20)
    tests_file.add(0, lcb_row(STDIO, private=broken))
    with pytest.raises(ValueError, match="Packed tests"):
        tests_file.get(0)


def test_verdicts_are_kept_through_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / KEPT_NAME
    first = KeptVerdicts(path)
    first.put("a", judgement_of(Verdict.RIGHT, note="AC x2"))
    with path.open("a") as file:
        file.write('{"key": "b", "verdict": "ri')
    second = KeptVerdicts(path)
    assert second.get("b") is None
    second.put("c", judgement_of(Verdict.WRONG, note="WA"))
    third = KeptVerdicts(path)
    assert (third.get("a"), third.get("c")) == (
        judgement_of(Verdict.RIGHT, note="AC x2"),
        judgement_of(Verdict.WRONG, note="WA"),
    )


@pytest.mark.parametrize("line", ["[]", "3", '{"key": "a"}', '{"key": "a", "verdict": "great", "note": ""}', "\x00"])
def test_lines_that_are_no_verdicts_are_passed_over(tmp_path, line):
    (tmp_path / KEPT_NAME).write_text(line + "\n")
    assert KeptVerdicts(tmp_path / KEPT_NAME).get("a") is None
