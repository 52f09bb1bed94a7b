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
import hmac
import json
import logging
import socket
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


# What becomes of a request that gets no result: HTTP status, and what is wrong, for programs.
_KINDS: dict[type[Exception], tuple[int, str]] = {
    SandboxError: (503, "sandbox"),
    UnsupportedLanguageError: (422, "language"),
    UnsupportedRequestError: (422, "unsupported"),
    web.HTTPUnauthorized: (401, "token"),
    web.HTTPForbidden: (403, "request"),
    web.HTTPRequestEntityTooLarge: (413, "too_large"),
    web.HTTPRequestTimeout: (408, "request"),
    web.HTTPBadRequest: (400, "request"),
    web.HTTPTooManyRequests: (429, "busy"),
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
                return _reply(await self._run(request))
            names = await self.sandbox.languages()
            return _reply({"languages": names, "provider": self.sandbox.name, "mechanism": self.sandbox.describe()})
        except Exception as error:
            found = [answer for kind, answer in _KINDS.items() if isinstance(error, kind)]
            text = error.text if isinstance(error, web.HTTPException) else error
            if not found:  # a provider's own; its log is here, not at the client
                logger.exception("A request failed.")
                found, text = [(500, "internal")], "The router failed; its log says why."
            status, name = found[0]
            return _reply({"error": {"kind": name, "message": str(text)[:4000]}}, status)
        finally:
            self.tasks.discard(task)

    async def health(self, request: web.Request) -> web.Response:
        """Say that the router is there, and what it does."""
        return _reply({"status": "ok", "in_flight": self.running, "queued": self.admitted - self.running})

    async def _run(self, request: web.Request) -> Any:
        """Read a request, wait for a place and run it there; room is held for it from its first byte.

        Raises:
            web.HTTPException: There's no room now, or the body is too large, too slow, or means nothing.
        """
        room = self.max_parallel + self.max_queue
        if self.admitted >= room:
            raise web.HTTPTooManyRequests(text=f"This router takes {room} runs at a time. Try again.")
        self.admitted += 1
        try:
            async with asyncio.timeout(BODY_S):
                body = await request.read()
            asked = await asyncio.to_thread(wire.loads, RunRequest, body)
        except web.HTTPRequestEntityTooLarge as error:
            error.text = f"The request is larger than {self.max_body_mb:.2g} MiB (--max_body_mb)."
            raise
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text=f"The request took longer than {BODY_S:g} s to come in.") from error
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"The request can't be read: {error}") from error
        else:
            async with self.places:
                self.running += 1
                try:
                    return wire.to_json(await self.sandbox.run(asked))
                finally:
                    self.running -= 1
        finally:
            self.admitted -= 1

    def _check_access(self, request: web.Request) -> None:
        """Refuse who may not use the router.

        Raises:
            web.HTTPException: It's without the token (401); or there is none, and a browser on this machine asks for
                somebody else's page (403): browsers name it in each POST, under whatever host name they reach us.
        """
        if self.token is not None:
            scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
            is_same = hmac.compare_digest(shown.strip().encode(errors="surrogateescape"), self.token.encode())
            if scheme.lower() != "bearer" or not is_same:
                raise web.HTTPUnauthorized(text="This router wants its bearer token.")
        elif "Origin" in request.headers:
            raise web.HTTPForbidden(text="A router without a token serves no web pages: start it with a token.")


class _Refused(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


def _reply(value: Any, status: int = 200) -> web.Response:
    """Return a reply in JSON; half a surrogate pair stays escaped, for it can't be sent."""
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")
