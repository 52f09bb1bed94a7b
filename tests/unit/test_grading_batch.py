# SPDX-License-Identifier: Apache-2.0
"""Finding programs in completions, and judging many of them: what is judged once, and which failure is whose."""

import asyncio
import json

import pytest

from open_r1.grading.programs import find_program, judge_all
from open_r1.grading.verdict import Result
from open_r1.sandbox import Sandbox, SandboxError, UnsupportedLanguageError
from open_r1.sandbox.providers import SandboxSettings

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

    async def judge(program: str, problem: object, sandbox: Sandbox) -> Result:
        calls.append(program)
        await asyncio.sleep(0)
        if program in answers:
            raise answers[program]
        return Result(float(len(program)))

    return judge


def test_equal_submissions_are_judged_once():
    one, other = object(), object()
    calls: list[str] = []
    results = judge_all([("a", one), ("bb", one), ("a", one), ("a", other)], judge_of(calls, {}), LOCAL)
    assert sorted(calls) == ["a", "a", "bb"]  # the other problem has tests of its own
    assert [result.reward for result in results] == [1.0, 2.0, 1.0, 1.0]
    assert results[0] is results[2]


FAILURES = {
    # what the judge raises, and whether nothing is known of the program
    "sandbox": (SandboxError("down"), True),
    "row": (ValueError("no tests"), False),
    "disk": (FileNotFoundError("tests.parquet"), True),
    "reply": (json.JSONDecodeError("no JSON", "<html>", 0), True),
}


def test_failures_are_told_apart_and_stay_in_their_rows():
    answers = {name: error for name, (error, _) in FAILURES.items()}
    fine, *failed = judge_all([(name, 1) for name in ("fine", *answers)], judge_of([], answers), LOCAL)
    assert (fine.reward, fine.error) == (4.0, None)
    assert [result.reward for result in failed] == [None] * 4
    assert [result.is_lost for result in failed] == [is_lost for _, is_lost in FAILURES.values()]
    assert "tests.parquet" in str(failed[2].error)


@pytest.mark.parametrize("error", [UnsupportedLanguageError("has python alone"), RuntimeError("a fault of ours")])
def test_what_no_row_is_to_blame_for_is_raised(error: Exception):
    with pytest.raises(type(error), match=str(error)):
        judge_all([("x", 1), ("y", 1)], judge_of([], {"x": error}), LOCAL)


def test_without_submissions_no_sandbox_is_built():
    assert judge_all([], judge_of([], {}), SandboxSettings("no such provider")) == []
