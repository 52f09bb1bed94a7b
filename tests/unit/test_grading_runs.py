# SPDX-License-Identifier: Apache-2.0
"""Judging runs batch by batch: the same result from every provider, and whose fault a missing run is."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from open_r1.grading.cases import StdioTest
from open_r1.grading.checkers import TaskProgram, judge_interaction
from open_r1.grading.compare import compare_runs
from open_r1.grading.programs import (
    NO_BUDGET,
    Budget,
    batch_size_or_all,
    judge_by_package,
    judge_runs,
    read_package_result,
)
from open_r1.grading.verdict import TestResult, TestVerdict, result_of_failure, verdict_line
from open_r1.sandbox import Limits, Outcome, ProgramInput, ProgramRun, RunRequest, SandboxError
from open_r1.sandbox.piston_packages import PackageRun
from tests.unit.replay import Replay, printed

ACCEPTED = TestResult(TestVerdict.ACCEPTED, 1.0)
WRONG = TestResult(TestVerdict.WRONG_ANSWER)


def judge_printed(outputs: Sequence[str], *, batch_size: int, in_batches: bool) -> str:
    """Verdicts of outputs, of which "ok" is right."""

    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        return [ACCEPTED if run.stdout == "ok" else WRONG for run in runs]

    request = RunRequest(
        "cpp", {"main.cpp": ""}, (ProgramInput(),) * len(outputs), stop_after=batch_size_or_all(batch_size)
    )
    sandbox = Replay(printed(*outputs), in_batches=in_batches)
    return verdict_line(asyncio.run(judge_runs(request, sandbox, judge, lambda result: result.score == 0)))


@pytest.mark.parametrize("in_batches", [True, False])
@pytest.mark.parametrize(
    ("batch_size", "verdicts"),
    [
        (1, "AC, WA, - x3"),
        (2, "AC, WA, - x3"),
        (3, "AC, WA, AC, - x2"),
        (5, "AC, WA, AC, WA, AC"),
        (0, "AC, WA, AC, WA, AC"),
        (-1, "AC, WA, AC, WA, AC"),
    ],
)
def test_batch_with_a_failure_is_the_last_whatever_the_provider_runs(batch_size, verdicts, in_batches):
    assert judge_printed(["ok", "no", "ok", "no", "ok"], batch_size=batch_size, in_batches=in_batches) == verdicts


# ---- budgets


def run_of(outcome: Outcome = Outcome.OK, *, wall_s: float = 0.1) -> ProgramRun:
    return ProgramRun(outcome, "ok", cpu_s=wall_s, wall_s=wall_s)


LATE, QUICK = run_of(Outcome.TIME_LIMIT, wall_s=5.0), run_of()
BUDGETS = [
    # budget, runs, verdicts
    (Budget(), [LATE] * 6, "TLE x2, OVER x4"),
    (Budget(), [QUICK, LATE, QUICK, QUICK, LATE, QUICK], "AC, TLE, AC x2, TLE, OVER"),
    (Budget(), [QUICK, LATE, QUICK], "AC, TLE, AC"),
    (Budget(), [QUICK] * 4 + [LATE] * 2, "AC x4, TLE x2"),
    (Budget(1), [QUICK, LATE, QUICK], "AC, TLE, OVER"),
    (Budget(None), [LATE] * 3, "TLE x3"),
]


@pytest.mark.parametrize("in_batches", [True, False])
@pytest.mark.parametrize("number", range(len(BUDGETS)))
@pytest.mark.parametrize("provider", ["local", "piston"])
def test_tests_that_the_budget_does_not_pay_are_over_it(number: int, provider: str, in_batches: bool):
    budget, runs, verdicts = BUDGETS[number]
    request = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * len(runs))
    sandbox = Replay(runs, in_batches=in_batches)
    sandbox.name = provider
    assert verdict_line(asyncio.run(judge_runs(request, sandbox, all_right, budget=budget))) == verdicts


async def all_right(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
    return [result_of_failure(run) or ACCEPTED for run in runs]


@pytest.mark.parametrize(("provider", "num_runs"), [("local", 2), ("piston", 8)])
def test_submission_that_loops_is_stopped_soon(provider: str, num_runs: int):
    judged: list[int] = []

    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        judged.extend(range(first, first + len(runs)))
        return await all_right(first, runs)

    request = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 50)
    sandbox = Replay([LATE] * 50, in_batches=True)
    sandbox.name = provider
    asyncio.run(judge_runs(request, sandbox, judge, budget=Budget()))
    assert judged == list(range(num_runs))


def test_early_stop_and_budget_say_which_of_them_left_tests_out():
    request = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 4, stop_after=1)
    for runs, verdicts in (([LATE] * 4, "TLE, - x3"), ([QUICK] * 4, "AC x4")):
        results = judge_runs(
            request, Replay(runs, in_batches=True), all_right, lambda result: result.score < 1, Budget()
        )
        assert verdict_line(asyncio.run(results)) == verdicts


def judge_runs_of(runs: list[ProgramRun | None], judge=None, *, in_batches: bool = False) -> str:
    async def judge_all(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        return [judge_interaction(run, TaskProgram("cpp", {"manager.cpp": ""})) for run in runs]

    request = RunRequest("cpp", {"main.cpp": ""}, (ProgramInput(),) * len(runs), stop_after=1)
    return verdict_line(asyncio.run(judge_runs(request, Replay(runs, in_batches=in_batches), judge or judge_all)))


def test_runs_behind_one_that_ended_its_box_are_failures_of_the_program():
    assert judge_runs_of([ProgramRun(Outcome.RUNTIME_ERROR), None, None]) == "RE x3"


@pytest.mark.parametrize("runs", [[None], [*printed("1"), None]])
def test_run_left_out_without_a_reason_is_no_fault_of_the_program(runs):
    with pytest.raises(SandboxError, match="left out"):
        judge_runs_of(runs)


@pytest.mark.parametrize("error", [SandboxError("no box for the checker"), ValueError("no checker")])
@pytest.mark.parametrize("in_batches", [True, False])
def test_error_of_the_judge_reaches_who_asked(error, in_batches):
    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        raise error

    with pytest.raises(type(error), match=str(error)):
        judge_runs_of(printed("1", "2"), judge, in_batches=in_batches)


def said_by_package(score: float, outcome: Outcome = Outcome.OK, *, has_compiled: bool = True) -> PackageRun:
    run = ProgramRun(outcome)
    refusal = ProgramRun(Outcome.RUNTIME_ERROR)
    return PackageRun(score, "said", run if has_compiled else refusal, None if has_compiled else refusal)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (said_by_package(1.0), "AC"),
        (said_by_package(0.5), "PA"),
        (said_by_package(0.0), "WA"),
        (said_by_package(0.0, Outcome.TIME_LIMIT), "TLE"),
        (said_by_package(0.0, Outcome.MEMORY_LIMIT), "MLE"),
        (said_by_package(0.0, Outcome.RUNTIME_ERROR), "RE"),
        (said_by_package(0.0, has_compiled=False), "CE"),
    ],
)
def test_word_of_a_package(said, verdict):
    result = read_package_result(said)
    assert (result.verdict.value, result.score, result.feedback) == (verdict, said.score, "said")


def judge_said(said: list[PackageRun], batch_size: int) -> str:
    return verdict_line(judge_by(said, batch_size_or_all(batch_size)))


class Packages:
    """A Piston whose package says these things, and which has no plain language."""

    name = "piston"

    def __init__(self, said: list[PackageRun]) -> None:
        self._said = said

    async def packages(self) -> tuple[str, ...]:
        return ("cms_ioi",)

    async def judge_by_package(self, package: str, files: str, limits: Limits) -> PackageRun:
        return self._said[int(files)]


def judge_by(said: list[PackageRun], stop_after: int | None, budget: Budget = NO_BUDGET) -> list[TestResult]:
    tests = [StdioTest(str(number), "") for number in range(len(said))]
    judging = judge_by_package(
        Packages(said), "cms_ioi", (), tests, lambda test: test.input, Limits(),
        stop_after=stop_after, stops=lambda result: result.score == 0, budget=budget,
    )  # fmt: skip
    return asyncio.run(judging)


@pytest.mark.parametrize(("batch_size", "verdicts"), [(1, "AC, WA, -"), (2, "AC, WA, -"), (0, "AC, WA, AC")])
def test_tests_of_a_package_come_in_batches(batch_size, verdicts):
    assert judge_said([said_by_package(1.0), said_by_package(0.0), said_by_package(1.0)], batch_size) == verdicts


def test_submission_that_compiles_only_sometimes_is_no_fault_of_its_own():
    with pytest.raises(SandboxError, match="compile again"):
        judge_said([said_by_package(1.0), said_by_package(0.0, has_compiled=False)], batch_size=0)


def test_package_pays_of_the_budget_too():
    late = said_by_package(0.0, Outcome.TIME_LIMIT)
    assert verdict_line(judge_by([late] * 20, None, Budget())) == "TLE x2, OVER x18"


@pytest.mark.parametrize(("size", "is_apart"), [(100, False), (100_000, True)])
def test_much_output_is_compared_apart_from_the_loop(size: int, is_apart: bool):
    async def ask() -> list[TestResult]:
        loop_thread = threading.get_ident()

        def compare(run: ProgramRun, test: str) -> TestResult:
            assert (threading.get_ident() != loop_thread) == is_apart
            return ACCEPTED

        return await compare_runs(printed("x" * size), ["x"], compare)

    assert asyncio.run(ask()) == [ACCEPTED]
