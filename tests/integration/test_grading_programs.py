# SPDX-License-Identifier: Apache-2.0
"""Judging programs in real boxes: gold and wrong programs of every layout, the rules of early stops, checkers."""

from dataclasses import replace

import pytest

from open_r1.grading.cases import CallTest, ProgramTests, StdioTest, read_row
from open_r1.grading.checkers import TaskProgram, UnusableCheckerError, compiled
from open_r1.grading.programs import judge_program
from open_r1.grading.verdict import TestVerdict, verdict_line
from open_r1.sandbox import (
    Limits,
    Outcome,
    ProgramRun,
    Sandbox,
    SandboxError,
    run_coroutine,
    run_jobs,
)
from open_r1.sandbox.local import LocalSandbox
from tests.rows.verifiable_code import ROWS, STDIO

LIMITS = Limits(cpu_s=3.0)
ADD = STDIO[0]
ADD_TESTS = ProgramTests("python", tuple(StdioTest(given, wanted) for given, wanted in ADD.tests))
# Gold programs by every layout, wrong ones by one.
PROGRAMS = [
    (f"{schema}-{problem.name}-{name}", getattr(problem, name), row, verdicts)
    for schema, rows in ROWS.items()
    for problem, row in rows
    for name, verdicts in (("gold", "AC x3"), ("wrong", problem.verdicts))
    if name == "gold" or schema.startswith("prime_intellect")
]


class WithoutBatches(Sandbox):
    """A provider that runs everything, as those do that can't stop in between; it counts what it runs."""

    name = "without_batches"

    def __init__(self, sandbox):
        self.sandbox, self.num_requests = sandbox, 0

    async def languages(self):
        return await self.sandbox.languages()

    async def run(self, request, go_on=None):
        self.num_requests += 1
        return await self.sandbox.run(replace(request, stop_after=None))

    def describe(self):
        return self.sandbox.describe()


class Broken(WithoutBatches):
    """A provider that always fails."""

    name = "broken"

    async def run(self, request, go_on=None):
        raise SandboxError("out of order")


def python_checker(source: str) -> TaskProgram:
    return TaskProgram("python", {"checker.py": source})


@pytest.fixture(scope="module")
def sandbox():
    return LocalSandbox()


def judge(sandbox, code, tests, **options):
    return run_coroutine(lambda: judge_program(code, tests, sandbox, limits=LIMITS, **options))


@pytest.fixture(scope="module")
def verdicts(sandbox):
    """Verdicts of all programs in the rows, by the name of the program."""
    jobs = [
        lambda code=code, row=row: judge_program(code, read_row(row), sandbox, limits=LIMITS)
        for _, code, row, _ in PROGRAMS
    ]
    results = run_jobs(jobs, 2)
    lost = [result for result in results if isinstance(result, SandboxError)]
    assert not lost
    return {name: verdict_line(result) for (name, *_), result in zip(PROGRAMS, results, strict=True)}


@pytest.mark.parametrize(("name", "expected"), [(name, expected) for name, *_, expected in PROGRAMS])
def test_program_of_a_row_gets_the_verdicts_it_deserves(verdicts, name, expected):
    assert verdicts[name] == expected


# Programs that add right, or nearly so, and what becomes of them.
NEARLY_RIGHT = {
    "exits_at_once": ("import sys; sys.exit(0)\n" + ADD.gold, "WA x3"),
    "crashes_afterwards": (ADD.gold + "1 / 0\n", "RE x3"),
    "prints_more": (ADD.gold + "print('done')\n", "WA x3"),
    "prints_it_twice": ("line = input()\nfor _ in 'ab':\n    print(sum(map(int, line.split())))\n", "WA x3"),
    "knows_the_first_test": ("print(3)\n", "AC, WA x2"),
    "prints_nothing": ("input()\n", "WA x3"),
    "prints_half": ("print(str(sum(map(int, input().split())))[:1])\n", "AC, WA, AC"),
    "writes_to_errors": (ADD.gold.replace("))\n", "), file=__import__('sys').stderr)\n"), "WA x3"),
    "keeps_a_file_for_later_tests": (
        "import os\nprint(sum(map(int, input().split())) + os.path.exists('seen'))\nopen('seen', 'w')\n",
        "AC x3",
    ),
}


@pytest.mark.parametrize("name", NEARLY_RIGHT)
def test_nearly_right_program(sandbox, name):
    code, expected = NEARLY_RIGHT[name]
    assert verdict_line(judge(sandbox, code, ADD_TESTS)) == expected


@pytest.mark.parametrize("code", ["", " \n\t"])
def test_no_program_is_a_compile_error_for_which_no_box_is_started(code):
    assert verdict_line(judge(Broken(None), code, ADD_TESTS)) == "CE x3"


def test_sandbox_that_fails_is_an_error_and_no_result():
    with pytest.raises(SandboxError, match="out of order"):
        judge(Broken(None), ADD.gold, ADD_TESTS)


def test_functions_in_another_language_are_refused():
    tests = ProgramTests("cpp", (CallTest("f", "[]", ("1",)),))
    with pytest.raises(ValueError, match="not in cpp"):
        judge(Broken(None), "int f() { return 1; }", tests)


def test_compile_errors_carry_what_the_compiler_said(sandbox):
    [first, *_] = judge(sandbox, "int main() { return x; }\n", replace(ADD_TESTS, language="cpp"))
    assert first.verdict is TestVerdict.COMPILE_ERROR and "'x' was not declared" in first.feedback.replace(
        "‘", "'"
    ).replace("’", "'")


# Right in tests 0, 1, 3, 4 of six.
FIVE = ProgramTests("python", tuple(StdioTest(f"{index}\n", str(index)) for index in range(6)))
WITHOUT_TWO = "n = int(input())\nprint(n if n not in (2, 5) else 'no')\n"
EARLY_STOPS = {
    (1, True): "AC x2, WA, - x3",
    (2, True): "AC x2, WA, AC, - x2",
    (4, True): "AC x2, WA, AC, - x2",
    (None, True): "AC x2, WA, AC x2, WA",
    (0, True): "AC x2, WA, AC x2, WA",
    (-1, True): "AC x2, WA, AC x2, WA",
    (1, False): "AC x2, WA, AC x2, WA",
}


@pytest.mark.parametrize(("batch_size", "stops_early"), EARLY_STOPS)
def test_early_stop_leaves_the_same_tests_out_whatever_the_provider_runs(sandbox, batch_size, stops_early):
    options = {"batch_size": batch_size, "stops_early": stops_early}
    results = [judge(box, WITHOUT_TWO, FIVE, **options) for box in (sandbox, WithoutBatches(sandbox))]
    assert [verdict_line(result) for result in results] == [EARLY_STOPS[batch_size, stops_early]] * 2


# A checker that wants any two numbers whose sum is that of the expected ones, and crashes on anything else.
CHECKER = """
import sys
given, expected, output = (open(name).read().split() for name in sys.argv[1:4])
a, b = map(int, output)
print(1.0 if a + b == sum(map(int, expected)) else 0.5 if a + b == 0 else 0)
print("checked", file=sys.stderr)
"""
SPLIT_TESTS = ProgramTests("python", (StdioTest("5\n", "2 3"), StdioTest("7\n", "7 0")))
SPLITS = {
    "print(1, int(input()) - 1)\n": "AC x2",
    "print(0, 0)\n": "PA x2",
    "print(1, 1)\n": "WA x2",
    "print(2, 3)\n": "AC, WA",
    "print('1; print(1.0)')\n": "WA x2",
    "print(1)\n": "WA x2",
    "print(2, 3)\n1 / 0\n": "RE x2",
}


@pytest.mark.parametrize("code", SPLITS)
def test_checker_scores_outputs_of_which_several_are_right(sandbox, code):
    assert verdict_line(judge(sandbox, code, SPLIT_TESTS, checker=python_checker(CHECKER))) == SPLITS[code]


@pytest.mark.parametrize("checker", ["", "print('good')\n", "print(2)\n", "print('nan')\n", "1 / 0\n", "(\n"])
def test_checker_that_scores_not_even_the_right_output_makes_the_row_unusable(sandbox, checker):
    with pytest.raises(UnusableCheckerError, match="even for the right output"):
        judge(sandbox, "print(1, 2)\n", SPLIT_TESTS, checker=python_checker(checker))


# One that never ends where the output is right and the input above 5, and one for a negative number.
SLOW_CHECKER = CHECKER.replace("print(1.0", "while int(given[0]) > 5 and a + b == 7: pass\nprint(1.0")
HANGING_CHECKER = CHECKER.replace("print(1.0", "while a < 0: pass\nprint(1.0")


def test_checker_that_never_ends_for_the_right_output_costs_no_submission(sandbox, monkeypatch):
    monkeypatch.setattr("open_r1.grading.checkers.CHECKER_LIMITS", Limits(cpu_s=1.0))
    checker = python_checker(SLOW_CHECKER)
    assert verdict_line(judge(sandbox, "print(1, 1)\n", SPLIT_TESTS, checker=checker)) == "WA x2"
    with pytest.raises(UnusableCheckerError, match="even for the right output"):
        judge(sandbox, "print(1, int(input()) - 1)\n", SPLIT_TESTS, checker=checker)


def test_output_for_which_a_sound_checker_never_ends_is_wrong(sandbox, monkeypatch):
    monkeypatch.setattr("open_r1.grading.checkers.CHECKER_LIMITS", Limits(cpu_s=1.0))
    checker = python_checker(HANGING_CHECKER)
    assert verdict_line(judge(sandbox, "print(-1, int(input()) + 1)\n", SPLIT_TESTS, checker=checker)) == "WA x2"


class Busy(WithoutBatches):
    """A machine on which the first so many runs end by the clock."""

    def __init__(self, sandbox, num_late):
        super().__init__(sandbox)
        self.num_late = num_late

    async def run(self, request, go_on=None):
        result = await super().run(request)
        if "checker.py" not in request.files:
            return result
        num_late = min(self.num_late, len(result.tests))
        self.num_late -= num_late
        late = ProgramRun(Outcome.TIME_LIMIT, cpu_s=0.1, wall_s=30.0)
        return replace(result, tests=(*[late] * num_late, *result.tests[num_late:]))


@pytest.mark.parametrize("num_late", [1, 2])
def test_checker_that_was_late_on_a_busy_machine_is_asked_again(sandbox, num_late):
    box, checker = Busy(sandbox, num_late), python_checker(CHECKER)
    assert verdict_line(judge(box, "print(1, int(input()) - 1)\n", SPLIT_TESTS, checker=checker)) == "AC x2"


def test_checker_that_is_late_for_the_right_output_too_is_a_failure_of_the_sandbox(sandbox):
    with pytest.raises(SandboxError):
        judge(Busy(sandbox, 6), "print(1, int(input()) - 1)\n", SPLIT_TESTS, checker=python_checker(CHECKER))


CPP_CHECKER = """
#include <fstream>
#include <iostream>
int main(int, char** names) {
    int a, b;
    std::ifstream(names[2]) >> a;
    std::ifstream(names[3]) >> b;
    std::cout << (a == b || a == -b ? "1.0" : "0.0") << std::endl;
    std::cerr << "translate:success" << std::endl;
}
"""


def test_checker_in_cpp_is_compiled_once_for_all_submissions(sandbox):
    counting = WithoutBatches(sandbox)

    async def judge_two():
        first = await compiled(counting, "cpp", {"checker.cpp": CPP_CHECKER})
        second = await compiled(counting, "cpp", {"checker.cpp": CPP_CHECKER})
        assert first is second
        return [
            await judge_program(code, ADD_TESTS, sandbox, limits=LIMITS, checker=second)
            for code in (ADD.gold, ADD.gold.replace("sum(", "-sum("), ADD.wrong)
        ]

    assert [verdict_line(results) for results in run_coroutine(judge_two)] == ["AC x3", "AC x3", "AC, WA, AC"]
    assert counting.num_requests == 1


def test_checker_that_does_not_compile_is_unusable_and_not_compiled_again(sandbox):
    counting = WithoutBatches(sandbox)
    for _ in range(2):
        with pytest.raises(UnusableCheckerError, match=r"checker.cpp"):
            run_coroutine(lambda: compiled(counting, "cpp", {"checker.cpp": "nonsense"}))
    assert counting.num_requests == 1


def test_failure_of_the_sandbox_is_not_remembered(sandbox):
    files = {"checker.cpp": "int main() { return 6; }\n"}
    failing = Broken(sandbox)
    failing.name = "without_batches"
    with pytest.raises(SandboxError):
        run_coroutine(lambda: compiled(failing, "cpp", files))
    assert run_coroutine(lambda: compiled(WithoutBatches(sandbox), "cpp", files)).language == "binary"


def test_program_in_a_language_without_compiler_stays_as_it_is():
    assert run_coroutine(lambda: compiled(Broken(None), "py", {"a.py": ""})) == TaskProgram("py", {"a.py": ""})
