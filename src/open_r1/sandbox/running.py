# SPDX-License-Identifier: Apache-2.0
"""From synchronous code to sandboxes: one private event loop a process, in a thread of its own, for ever.

Providers may keep connections and locks bound to that loop: it's the same one for every call, from any thread, inside
another running loop or not. A forked child gets a loop of its own.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from open_r1.sandbox.base import GoOn, ProgramRun, RunRequest, RunResult, Sandbox, SandboxError

T = TypeVar("T")
Job = Callable[[], Awaitable[T]]

_LOCK = threading.Lock()
_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}


def _forget_parent() -> None:
    """Drop what a fork has copied: the lock may be held, the parent's loop runs in no thread of the child's."""
    global _LOCK
    _LOCK = threading.Lock()
    _LOOPS.clear()


os.register_at_fork(after_in_child=_forget_parent)


def private_loop() -> asyncio.AbstractEventLoop:
    """Return the process's loop for sandboxes, running in a daemon thread."""
    with _LOCK:
        loop = _LOOPS.get(os.getpid())
        if loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=_run_for_ever, args=(loop,), name="open_r1-sandbox", daemon=True).start()
            _LOOPS[os.getpid()] = loop
        return loop


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        # asyncio lets these two out of the loop, behind the back of all others that wait for their results.
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


def run_coroutine(job: Job[T]) -> T:
    """Run one coroutine on the private loop and return what it returns; an interrupt cancels it.

    Raises:
        RuntimeError: It called `sys.exit`.
        Exception: Whatever else it raised.
    """
    future = asyncio.run_coroutine_threadsafe(_await(job), private_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        concurrent.futures.wait([future], timeout=10)  # boxes are ended in the `finally` of the coroutine
        raise


async def _await(job: Job[T]) -> T:
    try:
        return await job()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"A sandbox's coroutine ended with {error!r}.") from error


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

    def job(request: RunRequest) -> Job[RunResult]:
        return lambda: sandbox.run(request)

    return run_jobs([job(request) for request in requests], num_parallel)


async def gather(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; when one fails, end the others before its error goes on."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in coroutines]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


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


class OfLoop(Generic[T]):
    """What works on one event loop alone, such as connections: on another one, as a fork has, it's built anew."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._loop: asyncio.AbstractEventLoop | None = None
        self.built: T | None = None

    def get(self) -> T:
        """Return what the running loop has, built where it has none."""
        loop = asyncio.get_running_loop()
        if self.built is None or self._loop is not loop:
            self._loop, self.built = loop, self._build()
        return self.built

    def pop(self) -> T | None:
        """Return what the running loop has, for the caller to close, and forget it; None where it has none."""
        if self._loop is not asyncio.get_running_loop():
            return None
        built, self.built = self.built, None
        return built
