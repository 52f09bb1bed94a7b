# SPDX-License-Identifier: Apache-2.0
"""How requests go elsewhere: in rounds of many inputs to a machine or a router, in jobs of one input to a service."""

import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from open_r1.sandbox.base import GoOn, Outcome, ProgramInput, ProgramRun, RunRequest, RunResult, SandboxError
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.running import gather


async def run_in_rounds(
    request: RunRequest, run_round: Callable[[RunRequest], Awaitable[RunResult]], go_on: GoOn
) -> RunResult:
    """Return the result of a request whose rounds `run_round` runs, each a request of its own.

    Each is twice as long as the one before, since each costs a round trip. The first compiles, the others run its
    binary, where it came back. `go_on` is asked about each batch; runs behind the one that ended it are dropped. A
    round may return fewer runs than it has inputs: the next one has the rest.
    """
    tests: list[ProgramRun] = []
    compiled, binary = None, None
    num_batch = num_round = request.stop_after or max(1, len(request.inputs))
    while True:
        first, inputs = len(tests), request.inputs[len(tests) : len(tests) + num_round]
        is_whole = first == 0 and len(inputs) == len(request.inputs)
        keeps = first == 0 and (request.keeps_binary or not is_whole)
        part = replace(request, inputs=inputs, stop_after=None, keeps_binary=keeps)
        if binary is not None:
            files = {f"main_{secrets.token_hex(4)}": binary, **request.files}
            part = replace(part, language="binary", files=files)
        result = await run_round(part)
        if first == 0:
            compiled, binary = result.compile, result.binary
        is_over = first + len(result.tests) == len(request.inputs) or not result.has_compiled
        for run in result.tests:
            if run is None:
                is_over = True
                break
            tests.append(run)
            is_batch = len(tests) % num_batch == 0 and len(tests) < len(request.inputs)
            if is_batch and not await go_on(len(tests) - num_batch, tests[-num_batch:]):
                is_over = True
                break
        if is_over:
            missing = len(request.inputs) - len(tests)
            return RunResult(compiled, (*tests, *[None] * missing), binary if request.keeps_binary else None)
        num_round *= 2


JobRun = tuple[ProgramRun | None, ProgramRun | None]  # compiler, program; None where it wasn't run


async def run_in_jobs(
    request: RunRequest, run_job: Callable[[ProgramInput], Coroutine[Any, Any, JobRun]], go_on: GoOn
) -> RunResult:
    """Return the result of a request at a service that compiles for each input; those of a batch go side by side.

    The first goes alone where the language is compiled, so that a program that doesn't compile costs one job.

    Raises:
        SandboxError: The compiler has been late twice, or a program that had compiled did not.
    """
    num_tests = len(request.inputs)
    tests: list[ProgramRun | None] = [None] * num_tests
    jobs: list[JobRun] = []
    compiled: ProgramRun | None = None
    if find_language(request.language).compile:
        for _ in range(2):
            jobs = [await run_job((*request.inputs, ProgramInput())[0])]
            compiled = jobs[0][0] or ProgramRun(Outcome.OK)
            if not compiled.is_late(request.compile_limits):
                break
        else:
            raise SandboxError("The compiler ran out of time twice; is the service overloaded?")
        if compiled.outcome is not Outcome.OK:
            return RunResult(compiled, tuple(tests))
    size = request.stop_after or max(1, num_tests)
    for first in range(0, num_tests, size):
        jobs += await gather([run_job(one) for one in request.inputs[first + len(jobs) : first + size]])
        runs = [run for _, run in jobs if run is not None]
        if len(runs) < len(jobs):
            raise SandboxError("A program that had compiled was not run.")
        tests[first : first + size] = runs
        jobs = []
        if first + size < num_tests and not await go_on(first, runs):
            break
    return RunResult(compiled, tuple(tests))
