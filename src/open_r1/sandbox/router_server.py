# SPDX-License-Identifier: Apache-2.0
"""The router: one HTTP front for any sandbox, for many trainers that share its places.

    POST /run            a request as `wire` writes it -> its result
    GET /languages, /health

Refusals are {"error": {"kind": "busy", "message": ...}}, of a kind busy, sandbox, language, unsupported, request,
too_large, token or internal. All routes but /health want the bearer token, where there is one. Without a token it's
for programs of its own machine, and serves none that a browser sends for a web page. A client that hangs up ends its
runs. Neither programs nor tokens are ever logged.

Covered: heads and bodies that never end (`HEAD_S`, `BODY_S`), bodies that are too long, values of wrong types, more
connections than files can be opened (`MOST_CONNECTIONS`), who has no token. A body is read once its run is admitted:
all take at most `max_body_mb` times `max_parallel + max_queue`.
Not covered: clients with the token that fill the queue. Put a proxy in front of it where strangers reach the port.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from open_r1.sandbox import wire
from open_r1.sandbox.base import (
    RunRequest,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    UnsupportedRequestError,
)

logger = logging.getLogger(__name__)

HEAD_S = 60.0  # in which the head of a request is to come in; a connection without one is closed
BODY_S = 120.0  # in which its body is to come in
MOST_CONNECTIONS = 4096  # at a time; boxes need files, too


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
}


@dataclass
class Router:
    """The state behind the routes, and their answers; once it serves, only its loop may use `sandbox`.

    Args:
        sandbox: The provider; closed at the end.
        max_parallel: Runs at a time, of all clients together.
        max_queue: Runs that may wait; more are answered 429.
        token: What clients must show as bearer token; None: nothing.
        max_body_mb: Size of one request, in MiB.
    """

    sandbox: Sandbox
    max_parallel: int = 8
    max_queue: int = 512
    token: str | None = None
    max_body_mb: float = 64.0

    def __post_init__(self) -> None:
        self.admitted = self.running = 0
        self.places = asyncio.Semaphore(self.max_parallel)
        self.tasks: set[Any] = set()

    async def serve(self, listening: socket.socket, stop: asyncio.Event, grace_s: float = 30.0) -> None:
        """Serve until `stop` is set; runs then get `grace_s` seconds to end."""
        app = web.Application(client_max_size=int(self.max_body_mb * 2**20))
        app.add_routes([web.post("/run", self.answer), web.get("/languages", self.answer)])
        app.add_routes([web.get("/health", self.health)])
        # The handler of a client that hangs up is cancelled, and its box ends.
        options = {"handler_cancellation": True, "keepalive_timeout": HEAD_S}
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace_s, **options)
        await runner.setup()
        server = runner.server
        assert server is not None

        def accept() -> asyncio.BaseProtocol:
            return server() if len(server.connections) < MOST_CONNECTIONS else _Refused()

        listener = await asyncio.get_running_loop().create_server(accept, sock=listening, backlog=2048)
        await stop.wait()
        listener.close()
        await runner.cleanup()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.sandbox.aclose()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request."""
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            self._check_access(request)
            if request.path == "/run":
                with self._admitted():
                    value: Any = await self._run(await self._read(request))
            else:
                names = await self.sandbox.languages()
                value = {"languages": names, "provider": self.sandbox.name, "mechanism": self.sandbox.describe()}
            return _reply(value)
        except Refusal as error:
            return _refusal(error.status, error.kind, error)
        except tuple(_KINDS) as error:
            return _refusal(*next(found for kind, found in _KINDS.items() if isinstance(error, kind)), error)
        except Exception:  # a provider's own; its log is here, not at the client
            logger.exception("A request failed.")
            return _refusal(500, "internal", "The router failed; its log says why.")
        finally:
            self.tasks.discard(task)

    async def health(self, request: web.Request) -> web.Response:
        """Say that the router is there, and what it does."""
        return _reply({"status": "ok", "in_flight": self.running, "queued": self.admitted - self.running})

    async def _run(self, asked: RunRequest) -> Any:
        """Wait for a place and run a request there."""
        async with self.places:
            self.running += 1
            try:
                return wire.to_json(await self.sandbox.run(asked))
            finally:
                self.running -= 1

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[None]:
        """Hold room for a run, whether it comes in, waits or runs.

        Raises:
            Refusal: There's none now (429).
        """
        room = self.max_parallel + self.max_queue
        if self.admitted >= room:
            raise Refusal(429, "busy", f"This router takes {room} runs at a time. Try again.")
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    def _check_access(self, request: web.Request) -> None:
        """Refuse who may not use the router.

        Raises:
            Refusal: It's without the token (401); or there is none, and a browser on this machine asks for somebody
                else's page (403): browsers name it in each POST, under whatever host name they reach the router.
        """
        if self.token is not None:
            scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
            is_same = hmac.compare_digest(shown.strip().encode(errors="surrogateescape"), self.token.encode())
            if scheme.lower() != "bearer" or not is_same:
                raise Refusal(401, "token", "This router wants its bearer token.")
        elif "Origin" in request.headers:
            raise Refusal(403, "request", "A router without a token serves no web pages: start it with a token.")

    async def _read(self, request: web.Request) -> RunRequest:
        """Return what the body of a request means.

        Raises:
            Refusal: It's too large (413), too slow (408), or means nothing (400).
        """
        try:
            async with asyncio.timeout(BODY_S):
                body = await request.read()
            return await asyncio.to_thread(wire.loads, RunRequest, body)
        except web.HTTPRequestEntityTooLarge:
            message = f"The request is larger than {self.max_body_mb:.2g} MiB (--max_body_mb)."
            raise Refusal(413, "too_large", message) from None
        except TimeoutError:
            raise Refusal(408, "request", f"The request took longer than {BODY_S:g} s to come in.") from None
        except ValueError as error:
            raise Refusal(400, "request", f"The request can't be read: {error}") from error


class _Refused(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


def _reply(value: Any, status: int = 200) -> web.Response:
    """Return a reply in JSON; half a surrogate pair stays escaped, for it can't be sent."""
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


def _refusal(status: int, kind: str, message: object) -> web.Response:
    return _reply({"error": {"kind": kind, "message": str(message)[:4000]}}, status)
