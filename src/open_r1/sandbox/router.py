# SPDX-License-Identifier: Apache-2.0
"""Sandboxes behind a router (`scripts/sandbox_router.py`), as one provider of the contract.

    RouterSandbox("node-3:8000", token=os.environ["SANDBOX_ROUTER_TOKEN"])

While the router is full, restarted or out of reach, a request is tried again (`service`). A request with `go_on` is
sent in rounds, each in a box of its own and twice as long as the one before (`running.run_in_rounds`).
"""

import asyncio
import json
from urllib.parse import urlsplit

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
from open_r1.sandbox.running import longest_s, run_in_rounds
from open_r1.sandbox.service import START_PATIENCE_S, FullError, Reply, Service

TOKEN_VARIABLE = "SANDBOX_ROUTER_TOKEN"  # where routers and clients look for it unless another one is named
FULL_PATIENCE = 5  # times as long as for one that is away: a full router is there, and gets on with its work
_ABSENT = (408, 500, 502, 503, 504)  # what a proxy says, or a router that is stopping
_ERRORS = {"language": UnsupportedLanguageError, "unsupported": UnsupportedRequestError}


class RouterSandbox(Sandbox):
    """The client of a router.

    Args:
        url: `host:port`, or a URL with http or https.
        token: Its bearer token, if it wants one.
        patience_s: Seconds for which a router that doesn't answer is asked again (`languages`: at most
            `START_PATIENCE_S`); five times that for a full one, and for a request in its queue. The time that the
            runs themselves may take comes on top.

    Raises:
        ValueError: The URL isn't one.
    """

    name = "router"

    def __init__(self, url: str, *, token: str | None = None, patience_s: float = 120.0) -> None:
        self.url, self.patience_s = router_base_url(url), patience_s
        headers = {b"authorization": f"Bearer {token.strip()}".encode()} if token else None
        self._mechanism = ""
        self._service = Service(f"The router at {self.url} (`sandbox_router_url`)", patience_s, headers)

    def describe(self) -> str:
        """Return one line for the log."""
        return f"router at {self.url}{self._mechanism}"

    async def languages(self) -> tuple[str, ...]:
        """Return the languages of the provider behind the router."""
        patience_s = min(self.patience_s, START_PATIENCE_S)
        reply = await self.ask("GET", "/languages", timeout_s=60.0, patience_s=patience_s)
        try:
            value = json.loads(reply)
            self._mechanism = f" ({value['provider']}: {value['mechanism']})"
            return tuple(value["languages"])
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"What answers at {self.url} is no sandbox router: {error!r}") from error

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request at the router."""
        if request.stop_after is None or go_on is all_ok:
            return await self._run_whole(request)
        return await run_in_rounds(request, self._run_whole, go_on)

    async def _run_whole(self, request: RunRequest) -> RunResult:
        """Run a request in one box."""
        # Long texts are read and written beside the loop, which all other rows share.
        body = await asyncio.to_thread(lambda: json.dumps(wire.to_json(request)).encode())
        # Twice, since a provider may repeat a request in a new box.
        timeout_s = FULL_PATIENCE * self.patience_s + 2 * longest_s(request)
        reply = await self.ask("POST", "/run", body, timeout_s=timeout_s)
        try:
            result = await asyncio.to_thread(wire.loads, RunResult, reply)
            if len(result.tests) != len(request.inputs):
                raise ValueError(f"{len(result.tests)} runs for {len(request.inputs)} inputs")
        except ValueError as error:
            raise SandboxError(f"The router at {self.url} sent no result: {error}") from error
        return result

    async def ask(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float, patience_s: float | None = None
    ) -> bytes:
        """Return the body of a reply.

        Raises:
            SandboxError, UnsupportedLanguageError, UnsupportedRequestError: See `Service.ask`.
        """
        full_s = FULL_PATIENCE * self.patience_s
        return await self._service.ask(
            method, self.url + path, body, timeout_s, self._read, patience_s=patience_s, full_s=full_s
        )

    def _read(self, reply: Reply) -> bytes:
        if reply.status == 200 and reply.body is not None:
            return reply.body
        try:
            error = json.loads(reply.body or b"")["error"]
            kind, message = str(error["kind"]), str(error["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            kind, message = "", (reply.body or b"").decode(errors="replace")[:500]
        if kind in _ERRORS:
            raise _ERRORS[kind](f"{message} (the router at {self.url})")
        if reply.status == 429:
            raise FullError(message)
        if kind in ("sandbox", "internal"):
            raise RuntimeError(message)
        if not kind and reply.status in _ABSENT:
            raise ConnectionRefusedError(f"HTTP {reply.status}")
        if reply.status == 401:
            message += f" Put it into {TOKEN_VARIABLE}, or name its variable in `sandbox_router_token_env`."
        raise SandboxError(f"The router at {self.url} gave no result: {reply.status} {message}")

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._service.aclose()


def router_base_url(url: str) -> str:
    """Return the router's URL without a slash at its end.

    Raises:
        ValueError: It's neither `host:port` nor a URL with http or https.

    >>> router_base_url("node-3:8000"), router_base_url("https://router.example/")
    ('http://node-3:8000', 'https://router.example')
    """
    full = url.strip() if "://" in url else f"http://{url.strip()}"
    parts = urlsplit(full)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(f"The router's address is `host:port` or a URL with http or https, got {url!r}.")
    return full.rstrip("/")
