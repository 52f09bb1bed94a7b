# SPDX-License-Identifier: Apache-2.0
"""Runs whose clients say after each batch whether they go on, over several requests.

A client that decides holds no place, and says every now and then that it's still there; one that vanishes loses its
run and its box after `timeout_s`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request

from open_r1.sandbox import wire
from open_r1.sandbox.base import GoOn, ProgramRun, RunResult
from open_r1.sandbox.router_gate import Gate, Refusal
from open_r1.sandbox.router_requests import unless_gone


@dataclass
class Step:
    """A run between its batches."""

    gate: Gate
    timeout_s: float
    is_given_up: bool = False
    batches: asyncio.Queue[tuple[int, list[ProgramRun]]] = field(default_factory=asyncio.Queue)
    answers: asyncio.Queue[bool | None] = field(default_factory=asyncio.Queue)

    async def go_on(self, first: int, runs: Sequence[ProgramRun]) -> bool:
        """Hand a batch to the client and return its answer, without holding a place meanwhile."""
        self.batches.put_nowait((first, list(runs)))
        async with self.gate.pause():
            answer = None
            while answer is None:  # None: not decided yet
                try:
                    answer = await asyncio.wait_for(self.answers.get(), self.timeout_s)
                except TimeoutError:
                    self.is_given_up, answer = True, False
            return answer


class StepwiseRuns:
    """All such runs of a router, by name."""

    def __init__(self, gate: Gate, timeout_s: float) -> None:
        self.gate, self.timeout_s = gate, timeout_s
        self._runs: dict[str, tuple[Step, asyncio.Task[RunResult]]] = {}

    def check_room(self) -> None:
        """Refuse a further run where as many are under way as run and wait: each of them has a box."""
        num_there = sum(not task.done() for _, task in self._runs.values())
        if num_there >= self.gate.room:
            raise Refusal(429, "busy", f"{num_there} runs wait for their clients. Try again.", retry_after_s=1)

    def start(self, run: Callable[[GoOn], asyncio.Task[RunResult]], held: contextlib.ExitStack) -> str:
        """Start a run that holds `held` to its end; return its name."""
        step, run_id = Step(self.gate, self.timeout_s), secrets.token_hex(16)
        task = run(step.go_on)
        self._runs[run_id] = step, task
        forget_later = asyncio.get_running_loop().call_later

        def ended(task: asyncio.Task[RunResult]) -> None:
            held.close()
            if not task.cancelled():
                task.exception()  # fetched, so that nobody warns where the client is gone
            forget_later(self.timeout_s, self._runs.pop, run_id, None)

        task.add_done_callback(ended)
        return run_id

    def answer(self, run_id: str, go_on: bool | None) -> None:
        """Tell a run what its client says; None: it's still there, and hasn't decided."""
        step, _ = self._runs.get(run_id, (None, None))
        if step is None or step.is_given_up:
            raise Refusal(410, "sandbox", "There's no such run: it was given up, or the router started anew.")
        step.answers.put_nowait(go_on)

    def give_up(self, run_id: str) -> None:
        """End a run and its box, if it's there."""
        _, task = self._runs.pop(run_id, (None, None))
        if task is not None:
            task.cancel()

    async def batch_or_result(self, request: Request, run_id: str) -> dict[str, Any]:
        """Return what comes first of a run: a batch that waits for an answer, or its result."""
        step, task = self._runs[run_id]
        batch = asyncio.create_task(step.batches.get())
        try:
            await unless_gone(request, _first_of(task, batch))
            if batch.done():
                first, runs = batch.result()
                return {"run": run_id, "first": first, "runs": [wire.run_to_json(run) for run in runs]}
            self._runs.pop(run_id, None)
            return wire.result_to_json(task.result())
        except ClientDisconnect:
            task.cancel()
            raise
        finally:
            batch.cancel()


def _first_of(*tasks: asyncio.Task[Any]) -> Coroutine[Any, Any, Any]:
    return asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
