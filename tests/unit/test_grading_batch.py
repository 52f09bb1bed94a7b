# SPDX-License-Identifier: Apache-2.0
"""Finding programs in completions, and judging many of them: what is judged once, and which failure is whose."""

import asyncio
import json

import pytest

from open_r1.grading.batch import ReadRow, SandboxError, SandboxSettings, Score, judge_all, read_rows
from open_r1.grading.fences import find_program
from open_r1.sandbox import Sandbox, UnsupportedLanguageError
from open_r1.sandbox.languages import find_language

LOCAL = SandboxSettings(num_parallel=3)

PROGRAMS = {
    "the last block counts": ("```python\n1\n```\nor\n```python\n2\n```", "2\n"),
    "any name of the language": ("```Python3 title=x\n1\n```", "1\n"),
    "the language in braces": ("```{.py}\n1\n```", "1\n"),
    "another language behind it": ("```python\n1\n```\nprints\n```text\n1\n```", "1\n"),
    "words behind the closing fence": ("```python\n1\n``` and that is all", "1\n"),
    "an untagged block before it": ("```\nx\n``` then\n```python\n1\n```", "1\n"),
    "cut off": ("```python\n1", None),
    "cut off behind a whole one": ("```python\n1\n```\n```python\n2", "1\n"),
    "no language": ("```\n1\n```", None),
    "another language": ("```cpp\n1\n```", None),
    "a language with the same start": ("```pythonic\n1\n```", None),
    "blank": ("```python\n \n```", None),
    "only in the reasoning": ("<think>\n```python\n1\n```\n</think>\nno", None),
    "reasoning that never ends": ("<think>\n```python\n1\n```", None),
    "behind the reasoning": ("<think>\n```python\n1\n```\n</think>\n```python\n2\n```", "2\n"),
    "the tag in the program": ("<think>x</think>\n```python\nprint('</think>')\n```", "print('</think>')\n"),
    "reasoning in two parts": ("x</think>\n```python\n1\n```\n</think>\n```python\n2\n```", "2\n"),
    "two parts, the first cut off": ("x</think>\n```python\n1\n</think>\nno", None),
    "only in the second part": ("x</think>\n```python\n1\n```\n</think>\nno", None),
    "no block": ("print(1)", None),
    "nothing": ("", None),
    "half a surrogate pair": ("```python\nprint('\ud800')\n```", "print('?')\n"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_program_of_a_completion(case: str):
    text, program = PROGRAMS[case]
    assert find_program(text, "python") == program


def test_language_that_no_sandbox_knows_has_one_name():
    text = "```python\n1\n```\n```Brainfuck\n+\n```"
    assert (find_program(text, "brainfuck"), find_program(text, "befunge")) == ("+\n", None)


@pytest.mark.parametrize(
    "text", ["```" * 50_000, "```python\n" * 20_000, "```" + "a" * 500_000, "``` x\n" * 50_000, "```</think>" * 50_000]
)
def test_hostile_fences_take_no_long(text: str):
    assert find_program(text, "python") in (None, "```python\n")  # linear: a quadratic search would not end


# ---- judging


def judge_of(calls: list[str], answers: dict[str, Exception]):
    """Return a judge that notes what it's asked and raises what is told; else the length of the program."""

    async def judge(program: str, problem: int, sandbox: Sandbox) -> Score:
        calls.append(program)
        await asyncio.sleep(0)
        if program in answers:
            raise answers[program]
        return Score(float(len(program)), ())

    return judge


def test_equal_submissions_are_judged_once():
    one, other = ReadRow(1), ReadRow(1)
    calls: list[str] = []
    submissions = [("a", one), ("bb", one), ("a", one), ("a", other)]
    judged = judge_all(submissions, judge_of(calls, {}), LOCAL)
    assert sorted(calls) == ["a", "a", "bb"]  # the other problem has tests of its own
    assert [judged[submission].score.reward for submission in submissions] == [1.0, 2.0, 1.0, 1.0]


def test_failures_are_told_apart_and_stay_in_their_rows():
    problem = ReadRow(1)
    answers = {
        "sandbox": SandboxError("down"),
        "row": ValueError("no tests"),
        "disk": FileNotFoundError("tests.parquet"),
        "reply": json.JSONDecodeError("no JSON", "<html>", 0),
    }
    judged = judge_all([(name, problem) for name in ("fine", *answers)], judge_of([], answers), LOCAL)
    found = {name: (entry.score, entry.is_lost) for (name, _), entry in judged.items()}
    assert found == {
        "fine": (Score(4.0, ()), False),
        "sandbox": (None, True),
        "row": (None, False),
        "disk": (None, True),
        "reply": (None, True),
    }
    assert "tests.parquet" in str(judged["disk", problem].error)


@pytest.mark.parametrize("error", [UnsupportedLanguageError("has python alone"), RuntimeError("a fault of ours")])
def test_what_no_row_is_to_blame_for_is_raised(error: Exception):
    with pytest.raises(type(error), match=str(error)):
        judge_all([("x", ReadRow(1)), ("y", ReadRow(1))], judge_of([], {"x": error}), LOCAL)


def test_without_submissions_no_sandbox_is_built():
    assert judge_all([], judge_of([], {}), SandboxSettings("no such provider")) == {}


def test_tests_are_read_once_for_neighbours():
    read: list[str] = []
    values = ["a", "a", None, "a", "b"]
    problems = read_rows(values, lambda value: read.append(value) or value)
    assert read == ["a", "a", "b"]
    assert problems[0] is problems[1]
    assert problems[2] is None
    assert [problem.content for problem in problems if problem is not None] == ["a", "a", "a", "b"]


def test_unusable_tests_are_a_property_of_the_row():
    (problem,) = read_rows(["x"], float)
    assert problem.content is None
    assert "could not convert" in str(problem.error)


def test_language_that_nobody_knows_is_a_property_of_the_row():
    problems = read_rows(["python", "cobol"], lambda name: find_language(name).name)
    assert [problem.content for problem in problems] == ["python", None]
    assert "'cobol'; known are python, cpp" in str(problems[1].error)
