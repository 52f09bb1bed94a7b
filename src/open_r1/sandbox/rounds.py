# SPDX-License-Identifier: Apache-2.0
"""Requests that go elsewhere in rounds: each twice as long as the one before, since each costs a round trip."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

from open_r1.sandbox.base import GoOn, ProgramRun, RunRequest, RunResult


async def run_in_rounds(
    request: RunRequest, run_round: Callable[[RunRequest], Awaitable[RunResult]], go_on: GoOn
) -> RunResult:
    """Return the result of a request whose rounds `run_round` runs, each a request of its own.

    The first compiles, the others run its binary, where it came back. `go_on` is asked about each batch; runs behind
    the one that ended it are dropped. A round may return fewer runs than it has inputs: the next one has the rest.
    """
    tests: list[ProgramRun | None] = []
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
        for start in range(0, len(result.tests), num_batch):
            runs = result.tests[start : start + num_batch]
            tests += runs
            known = [run for run in runs if run is not None]
            is_last = len(tests) == len(request.inputs)
            if len(known) < len(runs) or not (is_last or await go_on(first + start, known)):
                is_over = True
                break
        if is_over:
            missing = len(request.inputs) - len(tests)
            return RunResult(compiled, (*tests, *[None] * missing), binary if request.keeps_binary else None)
        num_round *= 2
