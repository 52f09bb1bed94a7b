# SPDX-License-Identifier: Apache-2.0
"""The router: one HTTP front for any sandbox, for many trainers that share its places.

`POST /run` a request as `wire` writes it · `POST /run/ID` its next batch · `DELETE /run/ID` its end · `POST
/execute_batch` Open R1's protocol · `GET /languages` · `/health` · `/metrics`. All want the bearer token, where there
is one; /health says to others only whether all is well. A client that hangs up ends its runs. Neither programs nor
tokens are ever logged.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from open_r1.sandbox import wire
from open_r1.sandbox.base import (
    GoOn,
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
from open_r1.sandbox.router_access import check_access
from open_r1.sandbox.router_gate import Gate, Metrics, Refusal
from open_r1.sandbox.router_health import PROBE, PROBE_TIMEOUT_S, Health
from open_r1.sandbox.router_requests import (
    BodyRoom,
    RouterLimits,
    checked_request,
    drain,
    parsed,
    read_json,
    unless_gone,
)
from open_r1.sandbox.router_stepwise import StepwiseRuns

logger = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_AFTER_S = 5  # for a provider to come back


def create_app(
    sandbox: Sandbox,
    *,
    max_parallel: int = 8,
    max_queue: int = 512,
    token: str | None = None,
    reply: str = "e2b",
    limits: RouterLimits | None = None,
    health_age_s: float = 60.0,
) -> FastAPI:
    """Return the application; from now on only the loop that serves it may use `sandbox`.

    Args:
        sandbox: The provider; closed when the application shuts down.
        max_parallel: Runs at a time, of all clients together.
        max_queue: Runs that may wait; more are answered 429.
        token: What clients must show as bearer token; None: nothing.
        reply: Form of the replies of `/execute_batch`, one of `REPLY_FORMS`.
        limits: Of one request.
        health_age_s: How long a good run proves that the provider answers; after that /health runs a program for who
            has the token.

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
        router.route("DELETE", "/run/{run_id}", router.give_up),
        router.route("POST", "/execute_batch", router.execute_batch),
        router.route("GET", "/languages", router.languages),
        router.route("GET", "/health", router.show_health, is_open=True),
        router.route("GET", "/metrics", router.show_metrics),
    ]
    return FastAPI(routes=routes, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)


class Router:
    """The state behind the routes, and their answers."""

    def __init__(
        self, sandbox: Sandbox, gate: Gate, token: str | None, reply: str, limits: RouterLimits, health_age_s: float
    ) -> None:
        self.sandbox, self.gate, self.token, self.reply, self.limits = sandbox, gate, token, reply, limits
        self.metrics = Metrics(gate)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stepwise = StepwiseRuns(gate, self.limits.step_timeout_s)
        self.bodies = BodyRoom(int(self.limits.max_bodies_mb * 2**20))
        self.health = Health(self._probe, self._start, health_age_s)

    def route(
        self, method: str, path: str, answer: Callable[[Request], Awaitable[Response]], *, is_open: bool = False
    ) -> Route:
        """Return the route of one answer: refusals become JSON, every reply is counted."""

        async def endpoint(request: Request) -> Response:
            try:
                if not is_open:
                    check_access(request, self.token)
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

    async def run(self, request: Request) -> Response:
        """Run one request of the contract; with `?batches=ask`, up to the first batch."""
        with contextlib.ExitStack() as held:
            asked = parsed(await self._read(request, held), checked_request)
            self.limits.check(asked)
            held.enter_context(self.gate.admit())
            if request.query_params.get("batches") != "ask":
                return JSONResponse(wire.result_to_json(await unless_gone(request, self._run(asked))))
            self.stepwise.check_room()
            run_id = self.stepwise.start(lambda go_on: self._start(self._run(asked, go_on)), held.pop_all())
        return JSONResponse(await self.stepwise.batch_or_result(request, run_id))

    async def next_batch(self, request: Request) -> Response:
        """Tell a run whether to go on, and return its next batch or its result; null says "not decided yet"."""
        run_id = request.path_params["run_id"]
        with contextlib.ExitStack() as held:
            value = parsed(await self._read(request, held, is_answer=True), dict)
        go_on = None if value.get("go_on", False) is None else value.get("go_on") is True
        self.stepwise.answer(run_id, go_on)
        if go_on is None:
            return JSONResponse({"run": run_id})
        return JSONResponse(await self.stepwise.batch_or_result(request, run_id))

    async def give_up(self, request: Request) -> Response:
        """End a run whose client wants no more of it."""
        self.stepwise.give_up(request.path_params["run_id"])
        return JSONResponse({})

    async def execute_batch(self, request: Request) -> Response:
        """Run scripts as Open R1's routers did."""
        with contextlib.ExitStack() as held:
            batch = parsed(await self._read(request, held), read_batch)
            self.limits.check_num_runs(len(batch.scripts))
            if batch.timeout_s > self.limits.max_run_s:
                message = f"The timeout is {batch.timeout_s:g} s; {self.limits.max_run_s:g} may be."
                raise Refusal(422, "request", message)
            held.enter_context(self.gate.admit(max(1, len(batch.scripts))))
            return JSONResponse(await unless_gone(request, self._execute(batch)))

    async def languages(self, request: Request) -> Response:
        """List the provider's languages."""
        names = await unless_gone(request, self._as_refusal(self.sandbox.languages()))
        about = {"provider": self.sandbox.name, "mechanism": self.sandbox.describe()}
        return JSONResponse({"languages": list(names), **about})

    async def show_health(self, request: Request) -> Response:
        """Say whether the provider runs programs; a probe, and what the provider is, are for who may use it."""
        try:
            check_access(request, self.token)
        except Refusal:
            is_good = self.health.is_good
            return JSONResponse({"status": "ok" if is_good else "failing"}, 200 if is_good else 503)
        await unless_gone(request, self.health.check())
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

    async def _read(self, request: Request, held: contextlib.ExitStack, *, is_answer: bool = False) -> Any:
        """Return the JSON of a request, whose size `held` holds.

        It's admitted when it's there; a router that is full says so before it reads it.
        """
        if not is_answer:
            self.gate.check_room()
        take = held.enter_context(self.bodies.held())
        return await read_json(request, int(self.limits.max_body_mb * 2**20), take)

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
        self.health.note(is_good=True)
        return result

    async def _as_refusal(self, job: Coroutine[Any, Any, T]) -> T:
        try:
            return await job
        except SandboxError as error:
            self.metrics.sandbox_errors += 1
            self.health.note(is_good=False)
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

    async def _execute(self, batch: Batch) -> list[dict[str, Any]]:
        """Run the scripts of a batch, each in a box of its own; a failure stands in its place."""

        async def one(script: str, language: str) -> dict[str, Any]:
            try:
                asked, nonce = script_request(
                    script, language, timeout_s=batch.timeout_s, memory_mb=self.limits.script_memory_mb
                )
                cell = read_cell(await self._run(asked), nonce)
            except (Refusal, ValueError) as error:  # of this script alone
                cell = Cell(failure=str(error))
            return cell_to_json(cell, self.reply)

        pairs = zip(batch.scripts, batch.languages, strict=True)
        async with asyncio.TaskGroup() as group:
            jobs = [group.create_task(one(script, language)) for script, language in pairs]
        return [job.result() for job in jobs]

    async def _probe(self) -> Refusal | None:
        """Run a program at the provider, beside the router's places; return why that failed, or None.

        The provider may let it wait behind the programs of others: no answer in time then says nothing.
        """
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                if "python" not in await self._as_refusal(self.sandbox.languages()):
                    return None
                result = await self._as_refusal(self.sandbox.run(PROBE))
        except TimeoutError:
            if self.gate.running:
                return None
            return Refusal(503, "sandbox", f"No answer within {PROBE_TIMEOUT_S:g} s.", retry_after_s=RETRY_AFTER_S)
        except Refusal as refusal:
            return refusal
        run = result.tests[0]
        if run is None or run.stdout.strip() != "42":
            return Refusal(503, "sandbox", f"`print(6 * 7)` gave {run}.", retry_after_s=RETRY_AFTER_S)
        return None
