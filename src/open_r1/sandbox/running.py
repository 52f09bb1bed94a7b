# SPDX-License-Identifier: Apache-2.0
"""From synchronous code to sandboxes: one private event loop a process, in a thread of its own, for ever.

    run_all([RunRequest("python", {"main.py": "print(1)"}, (ProgramInput(),))], sandbox)   # [RunResult(...)]

Providers may keep connections and locks bound to that loop: it's the same one for every call, from any thread, inside
another running loop or not. A forked child gets a loop of its own.
"""

import asyncio
import concurrent.futures
import os
import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from open_r1.sandbox.base import GoOn, ProgramRun, RunRequest, RunResult, Sandbox, SandboxError
from open_r1.sandbox.languages import find_language

T = TypeVar("T")
Job = Callable[[], Awaitable[T]]

START_S = 30.0  # for a box to come up, with the first import of its interpreter


def _begin() -> None:
    """Start without a loop: at import, and in a fork, where the lock may be held and the parent's loop doesn't run."""
    global _lock, _loop
    _lock, _loop = threading.Lock(), None


_lock: threading.Lock
_loop: asyncio.AbstractEventLoop | None
_begin()
os.register_at_fork(after_in_child=_begin)


def private_loop() -> asyncio.AbstractEventLoop:
    """Return the process's loop for sandboxes, running in a daemon thread."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="open_r1-sandbox", daemon=True).start()
        return _loop


def run_coroutine(job: Job[T]) -> T:
    """Run one coroutine on the private loop and return what it returns; an interrupt cancels it.

    Raises:
        Exception: Whatever it raised.
    """

    async def run() -> T:
        return await job()

    future = asyncio.run_coroutine_threadsafe(run(), private_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        concurrent.futures.wait([future], timeout=10)  # boxes are ended in the `finally` of the coroutine
        raise


def run_jobs(jobs: Sequence[Job[T]], num_parallel: int) -> list[T | SandboxError]:
    """Run jobs on the private loop, `num_parallel` at a time; return results, and sandbox errors in their places.

    Raises:
        ValueError: `num_parallel` is less than 1.
        Exception: Whatever else a job raised, once the others have been cancelled.
    """
    if num_parallel < 1:
        raise ValueError(f"num_parallel must be at least 1, got {num_parallel}.")

    async def run_all_jobs() -> list[T | SandboxError]:
        places = asyncio.Semaphore(num_parallel)

        async def run_one(job: Job[T]) -> T | SandboxError:
            async with places:
                try:
                    return await job()
                except SandboxError as error:
                    return error

        return await gather([run_one(job) for job in jobs])

    return run_coroutine(run_all_jobs)


def run_all(requests: Sequence[RunRequest], sandbox: Sandbox, num_parallel: int = 2) -> list[RunResult | SandboxError]:
    """Run every request in a box of its own, `num_parallel` at a time.

    Raises:
        ValueError: `num_parallel` is less than 1, or the sandbox hasn't a language (`UnsupportedLanguageError`).
    """
    return run_jobs([partial(sandbox.run, request) for request in requests], num_parallel)


async def gather(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; when one fails, end the others before its error goes on."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in coroutines]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


def longest_s(request: RunRequest) -> float:
    """Return the seconds on the clock that a box, the compiler and all runs of a request can take."""
    compiler_s = request.compile_limits.backstop_s if find_language(request.language).compile else 0.0
    interactor_s = request.interactor.limits.backstop_s if request.interactor else 0.0
    return START_S + compiler_s + len(request.inputs) * (request.limits.backstop_s + interactor_s + 1.0)


async def run_in_rounds(
    request: RunRequest, run_round: Callable[[RunRequest], Awaitable[RunResult]], go_on: GoOn, *, growth: int = 2
) -> RunResult:
    """Return the result of a request whose rounds `run_round` runs, each a request of its own.

    Each is `growth` times as long as the one before, since each may cost a round trip. The first compiles, the others
    run its binary, where it came back. `go_on` is asked about each batch; runs behind the one that ended it are
    dropped. A round may return fewer runs than it has inputs: the next one has the rest.
    """
    tests: list[ProgramRun] = []
    compiled, binary = None, None
    num_all = len(request.inputs)
    num_batch = num_round = request.stop_after or max(1, num_all)
    is_over = False
    while not is_over:
        first = len(tests)
        inputs = request.inputs[first : first + num_round]
        keeps = first == 0 and (request.keeps_binary or len(inputs) < num_all)
        part = replace(request, inputs=inputs, stop_after=None, keeps_binary=keeps)
        if request.total_cpu_s is not None:
            part = replace(part, total_cpu_s=max(0.001, request.cpu_left_s(compiled, tests)))
        if binary is not None:
            files = {f"main_{secrets.token_hex(4)}": binary, **request.files}
            part = replace(part, language="binary", files=files)
        result = await run_round(part)
        if first == 0:
            compiled, binary = result.compile, result.binary
        is_over = first + len(result.tests) == num_all or not result.has_compiled
        for run in result.tests:
            if run is not None:
                tests.append(run)
            is_batch = len(tests) % num_batch == 0 and len(tests) < num_all
            if run is None or (is_batch and not await go_on(len(tests) - num_batch, tests[-num_batch:])):
                is_over = True
                break
        num_round *= growth
    missing = num_all - len(tests)
    return RunResult(compiled, (*tests, *[None] * missing), binary if request.keeps_binary else None)
