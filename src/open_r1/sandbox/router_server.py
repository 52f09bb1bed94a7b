# SPDX-License-Identifier: Apache-2.0
"""The router: one HTTP front for any sandbox, for many trainers that share its places.

`POST /run` a request as `wire` writes it · `POST /execute_batch` Open R1's protocol · `GET /languages`, `/health`.
All want the bearer token, where there is one; /health says to others only that the router is there. Without a token it
serves programs of its own machine, and none that a browser sends for a web page. A client that hangs up ends its runs.
Neither programs nor tokens are ever logged. It's meant for one's own trainers: put a proxy in front of it where
strangers can reach the port.
"""

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

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
from open_r1.sandbox.router import is_loopback
from open_r1.sandbox.running import gather

logger = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_AFTER_S = 5  # for a provider to come back
LONGEST_MESSAGE = 4000  # it may repeat what the request holds


class Refusal(Exception):
    """A request that gets no result, with what to answer.

    Args:
        status: HTTP status.
        kind: What is wrong, for programs: busy, sandbox, language, unsupported, request, too_large, token, internal.
        message: The same for people.
        retry_after_s: Seconds after which it's worth another try; None: it isn't.
        details: Further values of the reply.
    """

    def __init__(
        self, status: int, kind: str, message: str, *, retry_after_s: int | None = None, **details: Any
    ) -> None:
        message = message[:LONGEST_MESSAGE].encode("utf-8", "replace").decode()  # half a surrogate pair can't be sent
        super().__init__(message)
        headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
        headers |= {"www-authenticate": "Bearer"} if status == 401 else {}
        self.response = JSONResponse({"error": {"kind": kind, "message": message, **details}}, status, headers)


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

    Raises:
        ValueError: A number is out of range.
    """

    sandbox: Sandbox
    max_parallel: int = 8
    max_queue: int = 512
    token: str | None = None
    max_body_mb: float = 64.0
    script_memory_mb: int = 1024

    def __post_init__(self) -> None:
        if not (min(self.max_parallel, self.max_body_mb, self.script_memory_mb) > 0 and self.max_queue >= 0):
            raise ValueError("max_parallel, max_body_mb and script_memory_mb are positive, max_queue is at least 0.")
        self.max_body_bytes = int(self.max_body_mb * 2**20)
        self.room = self.max_parallel + self.max_queue
        self.admitted = self.running = 0
        self.places = asyncio.Semaphore(self.max_parallel)
        self.tasks: set[asyncio.Task[Any]] = set()

    def app(self) -> FastAPI:
        """Return the application."""

        @contextlib.asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            yield
            await self.close()

        routes: list[BaseRoute] = [
            self.route("POST", "/run", self.run),
            self.route("POST", "/execute_batch", self.execute_batch),
            self.route("GET", "/languages", self.languages),
            self.route("GET", "/health", self.health, is_open=True),
        ]
        return FastAPI(routes=routes, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    def route(
        self, method: str, path: str, answer: Callable[[Request], Awaitable[Response]], *, is_open: bool = False
    ) -> Route:
        """Return the route of one answer, with refusals as JSON."""

        async def endpoint(request: Request) -> Response:
            try:
                if not is_open:
                    check_access(request, self.token)
                return await answer(request)
            except Refusal as refusal:
                return refusal.response
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception:  # a fault of ours or of the provider: the runs of others go on
                logger.exception("%s %s failed", method, path)
                return Refusal(500, "internal", "The router failed; its log says why.").response

        return Route(path, endpoint, methods=[method])

    async def run(self, request: Request) -> Response:
        """Run one request of the contract."""
        asked = await self._read(request, wire.request_from_json)
        with self._admitted(1):
            return JSONResponse(wire.result_to_json(await self._unless_gone(request, self._run(asked))))

    async def execute_batch(self, request: Request) -> Response:
        """Run scripts as Open R1's routers did, each in a box of its own; a failure stands in its place."""
        scripts, timeout_s = await self._read(request, read_batch)

        async def run_script(script: str, language: str) -> dict[str, Any]:
            try:
                asked, nonce = script_request(script, language, timeout_s, self.script_memory_mb)
                return read_entry(await self._run(asked), nonce)
            except (Refusal, ValueError) as error:  # of this script alone
                return failed_entry(str(error))

        with self._admitted(len(scripts)):
            running = gather([run_script(*pair) for pair in scripts])
            return JSONResponse(await self._unless_gone(request, running))

    async def languages(self, request: Request) -> Response:
        """List the provider's languages."""
        names = await self._unless_gone(request, self._as_refusal(self.sandbox.languages()))
        about = {"provider": self.sandbox.name, "mechanism": self.sandbox.describe()}
        return JSONResponse({"languages": list(names), **about})

    async def health(self, request: Request) -> Response:
        """Say that the router is there, and to those who may use it what it does."""
        try:
            check_access(request, self.token)
        except Refusal:
            return JSONResponse({"status": "ok"})
        about = {"provider": self.sandbox.name, "mechanism": self.sandbox.describe()}
        numbers = {"in_flight": self.running, "queued": self.admitted - self.running}
        return JSONResponse({"status": "ok", **about, **numbers})

    async def close(self) -> None:
        """End all runs with their boxes, then the provider."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await self.sandbox.aclose()

    @contextlib.contextmanager
    def _admitted(self, num_runs: int) -> Iterator[None]:
        """Hold room for runs, whether they wait or run.

        Raises:
            Refusal: There's none now (429), or never for so many (413).
        """
        if num_runs > self.room:
            raise Refusal(413, "too_large", f"{num_runs} scripts in one request; this router takes {self.room}.")
        if self.admitted + num_runs > self.room:
            raise Refusal(429, "busy", f"This router takes {self.room} runs at a time. Try again.", retry_after_s=1)
        self.admitted += num_runs
        try:
            yield
        finally:
            self.admitted -= num_runs

    async def _read(self, request: Request, parse: Callable[[Any], T]) -> T:
        """Return what the JSON of a request means.

        Raises:
            Refusal: It's too large (413), or means nothing (400).
        """
        body, size = bytearray(), 0
        async for chunk in request.stream():  # to its end, so that the client gets to read why it was refused
            size += len(chunk)
            if size <= self.max_body_bytes:
                body += chunk
        if size > self.max_body_bytes:
            message = f"The request is larger than {self.max_body_mb:.2g} MiB (--max_body_mb)."
            raise Refusal(413, "too_large", message)
        try:
            value = json.loads(body) if len(body) < 1 << 20 else await asyncio.to_thread(json.loads, body)
            return parse(value)
        except KeyError as error:
            raise Refusal(400, "request", f"The request lacks {error}.") from error
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise Refusal(400, "request", f"The request can't be read: {error}") from error

    async def _run(self, asked: RunRequest) -> RunResult:
        """Wait for a place and run a request there."""
        async with self.places:
            self.running += 1
            try:
                return await self._as_refusal(self.sandbox.run(asked))
            finally:
                self.running -= 1

    async def _unless_gone(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; cancel it and wait for its end if the client hangs up before, or on `close`.

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

    async def _as_refusal(self, job: Coroutine[Any, Any, T]) -> T:
        try:
            return await job
        except SandboxError as error:
            raise Refusal(503, "sandbox", str(error), retry_after_s=RETRY_AFTER_S) from error
        except UnsupportedLanguageError as error:
            names = await self._as_refusal(self.sandbox.languages())
            raise Refusal(422, "language", str(error), languages=list(names)) from error
        except UnsupportedRequestError as error:
            raise Refusal(422, "unsupported", str(error)) from error


def check_access(request: Request, token: str | None) -> None:
    """Refuse who may not use the router.

    Without a token that's a browser on this machine which asks for somebody else's page: such a request names the page
    (Origin), or comes under the page's own name where that resolves to this machine (Host).

    Raises:
        Refusal: It's without the token (401); or there is none, and the request may be a web page's (403, 415).
    """
    headers = dict(request.scope["headers"])
    if token is not None:
        scheme, _, shown = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), token.encode()):
            raise Refusal(401, "token", "This router wants its bearer token.")
        return
    try:
        host = urlsplit("//" + headers.get(b"host", b"").decode("latin-1")).hostname or ""
    except ValueError:
        host = ""
    if not is_loopback(host) or b"origin" in headers:
        raise Refusal(
            403,
            "request",
            "A router without a token serves programs of its own machine, under the names "
            "localhost, 127.0.0.1 and [::1]: start it with a token.",
        )
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if request.method == "POST" and content_type != b"application/json":
        raise Refusal(415, "request", "A request is application/json.")
