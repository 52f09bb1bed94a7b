# SPDX-License-Identifier: Apache-2.0
"""The router: one HTTP front for any sandbox, for many trainers that share its places.

`POST /run` a request as `wire` writes it · `POST /run/ID` its next batch · `POST /execute_batch` Open R1's protocol ·
`GET /languages` · `/health` · `/metrics`. All but /health want the bearer token, where there is one. A client that
hangs up ends its runs. Neither programs nor tokens are ever logged.
"""

import asyncio
import contextlib
import hmac
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from open_r1.sandbox import wire
from open_r1.sandbox.base import (
    GoOn,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    UnsupportedRequestError,
    all_ok,
)
from open_r1.sandbox.execute_batch import (
    REPLY_FORMS,
    Batch,
    Cell,
    cell_to_json,
    read_batch,
    read_cell,
    script_request,
)
from open_r1.sandbox.router_gate import Gate, Metrics, Refusal
from open_r1.sandbox.router_requests import RouterLimits, checked_request, drain, parsed, read_json, unless_gone

logger = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_AFTER_S = 5  # for a provider to come back
PROBE = RunRequest("python", {"main.py": "print(6 * 7)"}, (ProgramInput(),))
PROBE_TIMEOUT_S = 60.0


@dataclass
class Stepwise:
    """A run whose client says after each batch whether it goes on."""

    gate: Gate
    timeout_s: float
    is_given_up: bool = False
    batches: asyncio.Queue[tuple[int, list[ProgramRun]]] = field(default_factory=asyncio.Queue)
    answers: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)

    async def go_on(self, first: int, runs: Sequence[ProgramRun]) -> bool:
        """Hand a batch to the client and return its answer, without holding a place meanwhile."""
        self.batches.put_nowait((first, list(runs)))
        async with self.gate.pause():
            try:
                return await asyncio.wait_for(self.answers.get(), self.timeout_s)
            except TimeoutError:
                self.is_given_up = True
                return False


def create_app(
    sandbox: Sandbox,
    *,
    max_parallel: int = 8,
    max_queue: int = 512,
    token: str | None = None,
    reply: str = "e2b",
    limits: RouterLimits | None = None,
    health_age_s: float = 30.0,
) -> FastAPI:
    """Return the application; from now on only the loop that serves it may use `sandbox`.

    Args:
        sandbox: The provider; closed when the application shuts down.
        max_parallel: Runs at a time, of all clients together.
        max_queue: Runs that may wait; more are answered 429.
        token: What clients must show as bearer token; None: nothing.
        reply: Form of the replies of `/execute_batch`, one of `REPLY_FORMS`.
        limits: Of one request.
        health_age_s: How long a good run proves that the provider answers; after that /health runs a program.

    Raises:
        ValueError: A number is out of range, the token is empty or the form unknown.
    """
    if reply not in REPLY_FORMS:
        raise ValueError(f"Unknown reply form {reply!r}; there are {', '.join(REPLY_FORMS)}.")
    if token is not None and not token.strip():
        raise ValueError("The token is empty.")
    router = Router(sandbox, Gate(max_parallel, max_queue), token, reply, limits or RouterLimits(), health_age_s)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await router.close()

    routes: list[BaseRoute] = [
        router.route("POST", "/run", router.run),
        router.route("POST", "/run/{run_id}", router.next_batch),
        router.route("POST", "/execute_batch", router.execute_batch),
        router.route("GET", "/languages", router.languages),
        router.route("GET", "/health", router.health, is_open=True),
        router.route("GET", "/metrics", router.show_metrics),
    ]
    return FastAPI(routes=routes, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


class Router:
    """The state behind the routes, and their answers."""

    def __init__(
        self, sandbox: Sandbox, gate: Gate, token: str | None, reply: str, limits: RouterLimits, health_age_s: float
    ) -> None:
        self.sandbox, self.gate, self.token, self.reply, self.limits = sandbox, gate, token, reply, limits
        self.health_age_s = health_age_s
        self.metrics = Metrics(gate)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stepwise: dict[str, tuple[Stepwise, asyncio.Task[RunResult]]] = {}
        self.last_good = -math.inf
        self.probing = asyncio.Lock()

    def route(
        self, method: str, path: str, answer: Callable[[Request], Awaitable[Response]], *, is_open: bool = False
    ) -> Route:
        """Return the route of one answer: refusals become JSON, every reply is counted."""

        async def endpoint(request: Request) -> Response:
            try:
                if not is_open:
                    self.authorize(request)
                response = await answer(request)
            except Refusal as refusal:
                await drain(request)
                response = JSONResponse(refusal.body, refusal.status, refusal.headers)
            except ClientDisconnect:
                response = Response(status_code=499)  # for the numbers only
            except Exception:  # a fault of ours or of the provider: the runs of others go on
                logger.exception("%s %s failed", method, path)
                refusal = Refusal(500, "internal", "The router failed; its log says why.")
                response = JSONResponse(refusal.body, refusal.status)
            self.metrics.replies[path, response.status_code] += 1
            return response

        return Route(path, endpoint, methods=[method])

    def authorize(self, request: Request) -> None:
        """Refuse whoever doesn't show the token."""
        if self.token is None:
            return
        scheme, _, shown = dict(request.scope["headers"]).get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), self.token.encode()):
            raise Refusal(401, "token", "This router wants its bearer token.")

    async def run(self, request: Request) -> Response:
        """Run one request of the contract; with `?batches=ask`, up to the first batch."""
        with contextlib.ExitStack() as admitted:
            admitted.enter_context(self.gate.admit())
            asked = parsed(await self._read(request), checked_request)
            theirs = [asked.interactor.limits] if asked.interactor else []
            self.limits.check(len(asked.inputs), asked.compile_limits, asked.limits, *theirs)
            if request.query_params.get("batches") != "ask":
                return JSONResponse(wire.result_to_json(await unless_gone(request, self._run(asked))))
            run_id = self._start_stepwise(asked, admitted.pop_all())
        return await self._batch_or_result(request, run_id)

    async def next_batch(self, request: Request) -> Response:
        """Tell a run whether to go on, and return its next batch or its result."""
        run_id = request.path_params["run_id"]
        value = parsed(await self._read(request), dict)
        step, _ = self.stepwise.get(run_id, (None, None))
        if step is None or step.is_given_up:
            raise Refusal(410, "sandbox", "There's no such run: it was given up, or the router started anew.")
        step.answers.put_nowait(value.get("go_on") is True)
        return await self._batch_or_result(request, run_id)

    async def execute_batch(self, request: Request) -> Response:
        """Run scripts as Open R1's routers did."""
        with self.gate.admit():
            batch = parsed(await self._read(request), read_batch)
            self.limits.check(len(batch.scripts))
            if batch.timeout_s > self.limits.max_run_s:
                raise Refusal(
                    422, "request", f"The timeout is {batch.timeout_s:g} s; {self.limits.max_run_s:g} may be."
                )
            with self.gate.admit(max(0, len(batch.scripts) - 1)):
                return JSONResponse(await unless_gone(request, self._execute(batch)))

    async def languages(self, request: Request) -> Response:
        """List the provider's languages."""
        names = await unless_gone(request, self._as_refusal(self.sandbox.languages()))
        about = {"provider": self.sandbox.name, "mechanism": self.sandbox.describe()}
        return JSONResponse({"languages": list(names), **about})

    async def health(self, request: Request) -> Response:
        """Say whether the provider runs programs, by one that it ran just now or not long ago."""
        async with self.probing:
            if time.monotonic() - self.last_good > self.health_age_s:
                await unless_gone(request, self._probe())
        about = {"provider": self.sandbox.name, "mechanism": self.sandbox.describe()}
        return JSONResponse({"status": "ok", **about, "in_flight": self.gate.running, "queued": self.gate.waiting})

    async def show_metrics(self, request: Request) -> Response:
        """Return the numbers for Prometheus."""
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def close(self) -> None:
        """End all runs with their boxes, then the provider."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await self.sandbox.aclose()

    async def _read(self, request: Request) -> Any:
        return await read_json(request, int(self.limits.max_body_mb * 2**20))

    async def _run(self, asked: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Wait for a place and run a request there, in a task that `close` knows."""

        async def in_place() -> RunResult:
            start = time.monotonic()
            async with self.gate.place():
                with self.metrics.running(time.monotonic() - start):
                    return await self._as_refusal(self.sandbox.run(asked, go_on))

        task = self._start(in_place())
        try:
            result = await task
        finally:
            task.cancel()
        self.last_good = time.monotonic()
        return result

    async def _as_refusal(self, job: Coroutine[Any, Any, T]) -> T:
        try:
            return await job
        except SandboxError as error:
            self.metrics.sandbox_errors += 1
            raise Refusal(503, "sandbox", str(error), retry_after_s=RETRY_AFTER_S) from error
        except UnsupportedLanguageError as error:
            names = await self._as_refusal(self.sandbox.languages())
            raise Refusal(422, "language", str(error), languages=list(names)) from error
        except UnsupportedRequestError as error:
            raise Refusal(422, "unsupported", str(error)) from error

    def _start(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _start_stepwise(self, asked: RunRequest, admitted: contextlib.ExitStack) -> str:
        """Start a run that hands out batches; it holds `admitted` to its end. Return its name."""
        step, run_id = Stepwise(self.gate, self.limits.step_timeout_s), secrets.token_hex(16)
        task = self._start(self._run(asked, step.go_on))
        self.stepwise[run_id] = step, task
        forget_later = asyncio.get_running_loop().call_later

        def ended(task: asyncio.Task[RunResult]) -> None:
            admitted.close()
            if not task.cancelled():
                task.exception()  # fetched, so that nobody warns where the client is gone
            forget_later(step.timeout_s, self.stepwise.pop, run_id, None)

        task.add_done_callback(ended)
        return run_id

    async def _batch_or_result(self, request: Request, run_id: str) -> Response:
        """Return what comes first of a run: a batch that waits for an answer, or its result."""
        step, task = self.stepwise[run_id]
        batch = asyncio.create_task(step.batches.get())
        try:
            await unless_gone(request, asyncio.wait([task, batch], return_when=asyncio.FIRST_COMPLETED))
            if batch.done():
                first, runs = batch.result()
                return JSONResponse({"run": run_id, "first": first, "runs": [wire.run_to_json(run) for run in runs]})
            del self.stepwise[run_id]
            return JSONResponse(wire.result_to_json(task.result()))
        except ClientDisconnect:
            task.cancel()
            raise
        finally:
            batch.cancel()

    async def _execute(self, batch: Batch) -> list[dict[str, Any]]:
        """Run the scripts of a batch, each in a box of its own; a failure stands in its place."""

        async def one(script: str, language: str) -> dict[str, Any]:
            try:
                asked, nonce = script_request(
                    script, language, timeout_s=batch.timeout_s, memory_mb=self.limits.script_memory_mb
                )
                cell = read_cell(await self._run(asked), nonce)
            except (Refusal, UnsupportedLanguageError) as error:
                cell = Cell(failure=str(error))
            return cell_to_json(cell, self.reply)

        pairs = zip(batch.scripts, batch.languages, strict=True)
        async with asyncio.TaskGroup() as group:
            jobs = [group.create_task(one(script, language)) for script, language in pairs]
        return [job.result() for job in jobs]

    async def _probe(self) -> None:
        """Run a program at the provider, beside the places of the others."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                if "python" not in await self._as_refusal(self.sandbox.languages()):
                    return
                result = await self._as_refusal(self.sandbox.run(PROBE))
        except TimeoutError:
            raise Refusal(503, "sandbox", f"No answer within {PROBE_TIMEOUT_S:g} s.", retry_after_s=5) from None
        run = result.tests[0]
        if run is None or run.stdout.strip() != "42":
            raise Refusal(503, "sandbox", f"`print(6 * 7)` gave {run}.", retry_after_s=RETRY_AFTER_S)
        self.last_good = time.monotonic()
