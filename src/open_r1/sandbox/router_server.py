# SPDX-License-Identifier: Apache-2.0
"""The router: one HTTP front for any sandbox, for many trainers that share its places.

    POST /run            a request as `wire` writes it -> its result
    POST /execute_batch  Open R1's protocol (`execute_batch`)
    GET /languages, /health

Refusals are {"error": {"kind": "busy", "message": ...}}, of a kind busy, sandbox, language, unsupported, request,
too_large, token or internal. All routes but /health want the bearer token, where there is one. Without a token it's
for programs of its own machine, and serves none that a browser sends for a web page. A client that hangs up ends its
runs. Neither programs nor tokens are ever logged.

Covered: heads and bodies that never end, bodies that are too long, alone or together, values of wrong types.
Not covered: clients with the token that fill the queue. Put a proxy in front of it where strangers reach the port.
"""

import asyncio
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from open_r1.sandbox import wire
from open_r1.sandbox.base import (
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    UnsupportedRequestError,
)
from open_r1.sandbox.execute_batch import failed_entry, read_batch, read_entry, script_request
from open_r1.sandbox.running import gather

T = TypeVar("T")

HEAD_S, BODY_S = 30.0, 120.0  # in which the head of a request, and then its body, are to come in
UNFINISHED_BODIES = 4  # of the largest size, together: further bytes are answered 429
SPARE_CONNECTIONS = 1024  # of clients that keep theirs between requests


class Refusal(Exception):
    """A request that gets no result.

    Args:
        status: HTTP status.
        kind: What is wrong, for programs.
        message: The same for people.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


_KINDS = {
    SandboxError: (503, "sandbox"),
    UnsupportedLanguageError: (422, "language"),
    UnsupportedRequestError: (422, "unsupported"),
    Exception: (500, "internal"),
}


class TimedHeads(H11Protocol):
    """Uvicorn's connection, closed where the head of a request takes longer than `HEAD_S`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[bad-override]
        """Start the clock of the first head."""
        super().connection_made(transport)
        self.end_of_head = self.loop.call_later(HEAD_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Stop the clock when the head is whole; start it with the next one."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self.end_of_head.cancel()
        elif self.end_of_head.cancelled():
            self.end_of_head = self.loop.call_later(HEAD_S, self.transport.abort)


@dataclass
class Router:
    """The state behind the routes, and their answers; once it serves, only its loop may use `sandbox`.

    Args:
        sandbox: The provider; closed when the application shuts down.
        max_parallel: Runs at a time, of all clients together.
        max_queue: Runs that may wait; more are answered 429.
        token: What clients must show as bearer token; None: nothing.
        max_body_mb: Size of one request, in MiB.
        script_memory_mb: Memory of a script of `/execute_batch`, whose request doesn't say.
    """

    sandbox: Sandbox
    max_parallel: int = 8
    max_queue: int = 512
    token: str | None = None
    max_body_mb: float = 64.0
    script_memory_mb: int = 1024

    def __post_init__(self) -> None:
        self.max_body_bytes = int(self.max_body_mb * 2**20)
        self.admitted = self.running = self.unfinished_bytes = 0
        self.places = asyncio.Semaphore(self.max_parallel)
        self.tasks: set[asyncio.Task[Any]] = set()

    def server(self, grace_s: int = 30) -> Server:
        """Return the server of the routes.

        Args:
            grace_s: Seconds that runs get to end when it stops.
        """
        routes = [
            self._route("/run", self.run, partial(wire.loads, RunRequest)),
            self._route("/execute_batch", self.execute_batch, read_batch),
            self._route("/languages", self.languages),
            Route("/health", self.health),
        ]
        handlers: dict[Any, Any] = dict.fromkeys((Refusal, ClientDisconnect, *_KINDS), _answer_error)
        return Server(
            Config(
                Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=handlers),
                http=TimedHeads,
                limit_concurrency=2 * (self.max_parallel + self.max_queue) + SPARE_CONNECTIONS,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=grace_s,
            )
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """End all runs with their boxes, then the provider."""
        yield
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.sandbox.aclose()

    def _route(
        self,
        path: str,
        answer: Callable[..., Coroutine[Any, Any, Any]],
        parse: Callable[[bytearray], Any] | None = None,
    ) -> Route:
        """Return the route of one answer, whose argument is what `parse` reads in the body."""

        async def endpoint(request: Request) -> Response:
            self._check_access(request)
            asked = () if parse is None else (await self._read(request, parse),)
            return _reply(await self._unless_gone(request, answer(*asked)))

        return Route(path, endpoint, methods=["GET" if parse is None else "POST"])

    async def run(self, asked: RunRequest) -> Any:
        """Run one request of the contract."""
        with self._admitted(1):
            return wire.to_json(await self._run(asked))

    async def execute_batch(self, batch: tuple[list[tuple[str, str]], float]) -> list[dict[str, Any]]:
        """Run scripts as Open R1's routers did, each in a box of its own; a failure stands in its place."""
        scripts, timeout_s = batch

        async def run_script(script: str, language: str) -> dict[str, Any]:
            try:
                asked, nonce = script_request(script, language, timeout_s, self.script_memory_mb)
                return read_entry(await self._run(asked), nonce)
            except (SandboxError, ValueError) as error:  # of this script alone
                return failed_entry(str(error))

        with self._admitted(len(scripts)):
            return await gather([run_script(*pair) for pair in scripts])

    async def languages(self) -> dict[str, Any]:
        """List the provider's languages, and say who isolates programs."""
        names = await self.sandbox.languages()
        return {"languages": names, "provider": self.sandbox.name, "mechanism": self.sandbox.describe()}

    async def health(self, request: Request) -> Response:
        """Say that the router is there, and what it does."""
        numbers = {"in_flight": self.running, "queued": self.admitted - self.running}
        return _reply({"status": "ok", **numbers})

    def _check_access(self, request: Request) -> None:
        """Refuse who may not use the router.

        Raises:
            Refusal: It's without the token (401); or there is none, and a browser on this machine asks for somebody
                else's page (403): browsers name it in each POST, under whatever host name they reach the router.
        """
        if self.token is not None:
            scheme, _, shown = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(
                shown.strip().encode("latin-1"), self.token.encode()
            ):
                raise Refusal(401, "token", "This router wants its bearer token.")
        elif "origin" in request.headers:
            raise Refusal(403, "request", "A router without a token serves no web pages: start it with a token.")

    @contextlib.contextmanager
    def _admitted(self, num_runs: int) -> Iterator[None]:
        """Hold room for runs, whether they wait or run.

        Raises:
            Refusal: There's none now (429), or never for so many (413).
        """
        room = self.max_parallel + self.max_queue
        if num_runs > room:
            raise Refusal(413, "too_large", f"{num_runs} scripts in one request; this router takes {room}.")
        if self.admitted + num_runs > room:
            raise Refusal(429, "busy", f"This router takes {room} runs at a time. Try again.")
        self.admitted += num_runs
        try:
            yield
        finally:
            self.admitted -= num_runs

    async def _read(self, request: Request, parse: Callable[[bytearray], T]) -> T:
        """Return what the body of a request means.

        Raises:
            Refusal: It's too large (413), too slow (408), means nothing (400), or others take the room (429).
        """
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():  # to its end, so that the client gets to read why it was refused
                    size += len(chunk)
                    if size <= self.max_body_bytes:
                        self.unfinished_bytes += len(chunk)
                        body += chunk
                    if self.unfinished_bytes > UNFINISHED_BODIES * self.max_body_bytes:
                        raise Refusal(429, "busy", "Too many requests are coming in. Try again.")
        except TimeoutError:
            raise Refusal(408, "request", f"The request took longer than {BODY_S:g} s to come in.") from None
        finally:
            self.unfinished_bytes -= len(body)
        if size > self.max_body_bytes:
            message = f"The request is larger than {self.max_body_mb:.2g} MiB (--max_body_mb)."
            raise Refusal(413, "too_large", message)
        try:
            return parse(body) if size < 1 << 20 else await asyncio.to_thread(parse, body)
        except ValueError as error:
            raise Refusal(400, "request", f"The request can't be read: {error}") from error

    async def _run(self, asked: RunRequest) -> RunResult:
        """Wait for a place and run a request there."""
        async with self.places:
            self.running += 1
            try:
                return await self.sandbox.run(asked)
            finally:
                self.running -= 1

    async def _unless_gone(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; cancel it and wait for its end if the client hangs up before, or at the end.

        Raises:
            ClientDisconnect: It did.
        """

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        job, leaving = asyncio.create_task(work), asyncio.create_task(gone())
        self.tasks.add(job)
        job.add_done_callback(self.tasks.discard)
        try:
            await asyncio.wait([job, leaving], return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                return job.result()
            raise ClientDisconnect
        finally:
            job.cancel()
            leaving.cancel()
            await asyncio.wait([job, leaving])


def _reply(value: Any, status: int = 200) -> Response:
    """Return a reply in JSON; half a surrogate pair stays escaped, for it can't be sent."""
    return Response(json.dumps(value), status, media_type="application/json")


def _answer_error(request: Request, error: Exception) -> Response:
    """Return the reply to a request that failed."""
    if isinstance(error, Refusal):
        status, kind = error.status, error.kind
    else:
        status, kind = next(found for wanted, found in _KINDS.items() if isinstance(error, wanted))
    message = "The router failed; its log says why." if status == 500 else str(error)[:4000]
    return _reply({"error": {"kind": kind, "message": message}}, status)
