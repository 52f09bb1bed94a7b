# SPDX-License-Identifier: Apache-2.0
"""Judging runs batch by batch: the same result from every provider, and whose fault a missing run is."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from open_r1.grading.checkers import TaskProgram, judge_interaction
from open_r1.grading.compare import compare_runs
from open_r1.grading.programs import (
    Budget,
    batch_size_or_all,
    judge_runs,
)
from open_r1.grading.verdict import TestResult, TestVerdict, result_of_failure, verdict_line
from open_r1.sandbox import Outcome, ProgramInput, ProgramRun, RunRequest, SandboxError
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
    with pytest.raises(SandboxError, match="skipped"):
        judge_runs_of(runs)


@pytest.mark.parametrize("error", [SandboxError("no box for the checker"), ValueError("no checker")])
@pytest.mark.parametrize("in_batches", [True, False])
def test_error_of_the_judge_reaches_who_asked(error, in_batches):
    async def judge(first: int, runs: Sequence[ProgramRun]) -> list[TestResult]:
        raise error

    with pytest.raises(type(error), match=str(error)):
        judge_runs_of(printed("1", "2"), judge, in_batches=in_batches)


@pytest.mark.parametrize(("size", "is_apart"), [(100, False), (100_000, True)])
def test_much_output_is_compared_apart_from_the_loop(size: int, is_apart: bool):
    async def ask() -> list[TestResult]:
        loop_thread = threading.get_ident()

        def compare(run: ProgramRun, test: str) -> TestResult:
            assert (threading.get_ident() != loop_thread) == is_apart
            return ACCEPTED

        return await compare_runs(printed("x" * size), ["x"], compare)

    assert asyncio.run(ask()) == [ACCEPTED]
