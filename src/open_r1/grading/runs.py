# SPDX-License-Identifier: Apache-2.0
"""Running a submission and judging its runs batch by batch, with the same result whatever the provider can do.

Providers that run in batches are stopped after the first batch with a failure; of those that run everything, later
batches aren't looked at. Tests behind that batch count as not run in both cases.

All submissions of a process are judged on one event loop, which a hostile output must not hold up: judges compare
through `compare_apart`, and outputs that have been judged aren't kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from open_r1.grading.verdict import NOT_RUN, TestResult, Verdict
from open_r1.sandbox import Outcome, ProgramRun, RunRequest, RunResult, Sandbox, SandboxError

# Judges the runs of one batch, given the index of its first test: a result for each.
JudgeBatch = Callable[[int, Sequence[ProgramRun]], Awaitable[list[TestResult]]]
Stops = Callable[[TestResult], bool]
# Compares the runs of one batch, on any thread.
Compare = Callable[[Sequence[ProgramRun]], list[TestResult]]

# What tells a run from others.
_Mark = tuple[Outcome, int, int | None]

FEEDBACK_CHARS = 1000
# Characters of output that are compared on the loop itself, in about a millisecond.
_FEW_CHARS = 1 << 16
_NO_RUN = ProgramRun(Outcome.RUNTIME_ERROR, stderr="The box ended before this test had run.")


def batch_size_or_all(batch_size: int) -> int | None:
    """Return `RunRequest.stop_after` of a batch size; one below 1 means all tests at once."""
    return batch_size if batch_size >= 1 else None


async def compare_apart(runs: Sequence[ProgramRun], compare: Compare) -> list[TestResult]:
    """Return what a comparison makes of runs; of much output in a thread, while the loop goes on."""
    if sum(len(run.stdout) for run in runs) <= _FEW_CHARS:
        return compare(runs)
    return await asyncio.to_thread(compare, runs)


async def judge_runs(
    request: RunRequest, sandbox: Sandbox, judge_batch: JudgeBatch, stops: Stops | None = None
) -> list[TestResult]:
    """Run a submission and return a result for each of its inputs.

    Args:
        request: The submission; `stop_after` is the size of a batch.
        sandbox: Where it runs.
        judge_batch: Judges the runs of a batch.
        stops: Whether a result makes further batches needless; None: all batches are judged.

    Raises:
        SandboxError: The sandbox failed, or left out runs for no reason of the program's.
        ValueError: What `judge_batch` raises.
    """
    judged: dict[int, tuple[list[_Mark], list[TestResult]]] = {}
    failures: list[Exception] = []

    async def go_on(first: int, runs: Sequence[ProgramRun]) -> bool:
        try:
            judged[first] = (_marks_of(runs), await judge_batch(first, runs))
        except (SandboxError, ValueError) as error:
            failures.append(error)  # of the judge: the provider mustn't take it for a failure of this box
            return False
        return not _is_over(judged[first][1], stops)

    result = await sandbox.run(request, go_on)
    if failures:
        raise failures[0]
    num_tests = len(request.inputs)
    if not result.has_compiled:
        return [_compile_error(result)] * num_tests
    size = request.stop_after or max(num_tests, 1)
    results: list[TestResult] = []
    for first in range(0, num_tests, size):
        runs = _complete(result.tests, first, size)
        marks, batch = judged.get(first, ([], []))
        # A provider may have repeated the request in a new box: only what it returned in the end counts.
        if marks != _marks_of(runs):
            batch = await judge_batch(first, runs)
        results += batch
        if _is_over(batch, stops):
            break
    return results + [NOT_RUN] * (num_tests - len(results))


def _complete(runs: Sequence[ProgramRun | None], first: int, size: int) -> list[ProgramRun]:
    """Return the runs of a batch; those missing are crashes where the program had ended its box before.

    Raises:
        SandboxError: They're missing though no run before them failed.
    """
    batch = runs[first : first + size]
    if None in batch:
        before = runs[: first + batch.index(None)]
        if all(run is None or run.outcome is Outcome.OK for run in before):
            raise SandboxError(
                f"The sandbox left out run {len(before) + 1} of {len(runs)} for no reason that it gave."
            )
    return [run or _NO_RUN for run in batch]


def _is_over(results: Sequence[TestResult], stops: Stops | None) -> bool:
    return stops is not None and any(stops(result) for result in results)


def _marks_of(runs: Sequence[ProgramRun]) -> list[_Mark]:
    """Return what tells runs from others: what is judged, outputs by their hash; not times, which may be NaN."""
    return [
        (run.outcome, hash(run.stdout), None if run.interactor is None else hash(run.interactor.stdout))
        for run in runs
    ]


def _compile_error(result: RunResult) -> TestResult:
    said = "" if result.compile is None else result.compile.stderr or result.compile.stdout
    return TestResult(Verdict.COMPILE_ERROR, 0.0, said[-FEEDBACK_CHARS:])
