# SPDX-License-Identifier: Apache-2.0
"""Sandboxes behind a router (`scripts/sandbox_router.py`), as one provider of the contract.

    RouterSandbox("node-3:8000", token=os.environ["SANDBOX_ROUTER_TOKEN"])

While the router is full, restarted or out of reach, a request is tried again (`service`). A request with `go_on` is
sent in rounds, each in a box of its own and twice as long as the one before (`running.run_in_rounds`).
"""

import asyncio
import json
from collections.abc import Callable
from typing import TypeVar
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
from open_r1.sandbox.providers import TOKEN_VARIABLE
from open_r1.sandbox.running import longest_s, run_in_rounds
from open_r1.sandbox.service import Reply, Service

FULL_PATIENCE = 5  # times as long as for one that is away: a full router is there, and gets on with its work
_ABSENT = (408, 500, 502, 503, 504)  # what a proxy says, or a router that is stopping
# By the kind of a refusal; a failure that may pass is asked for again.
_ERRORS: dict[str, type[Exception]] = {
    "language": UnsupportedLanguageError,
    "unsupported": UnsupportedRequestError,
    "busy": BlockingIOError,
    "sandbox": RuntimeError,
    "internal": RuntimeError,
}
T = TypeVar("T")


class RouterSandbox(Sandbox):
    """The client of a router.

    Args:
        url: `host:port`, or a URL with http or https.
        token: Its bearer token, if it wants one.
        patience_s: Seconds for which a router that doesn't answer is asked again; five times that for a full one, and
            for a request in its queue. The time that the runs themselves may take comes on top.

    Raises:
        ValueError: The URL isn't one.
    """

    name = "router"

    def __init__(self, url: str, *, token: str | None = None, patience_s: float = 120.0) -> None:
        self.url = router_base_url(url)
        headers = {b"authorization": f"Bearer {token.strip()}".encode()} if token else None
        self._mechanism = ""
        self._service = Service(f"The router at {self.url} (`sandbox_router_url`)", patience_s, headers)

    def describe(self) -> str:
        """Return one line for the log."""
        return f"router at {self.url}{self._mechanism}"

    async def languages(self) -> tuple[str, ...]:
        """Return the languages of the provider behind the router."""

        def languages_of(body: bytes) -> tuple[str, ...]:
            value = json.loads(body)
            self._mechanism = f" ({value['provider']}: {value['mechanism']})"
            return tuple(value["languages"])

        return await self._ask("GET", "/languages", None, 60.0, languages_of)

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request at the router."""
        if request.stop_after is None or go_on is all_ok:
            return await self._run_whole(request)
        return await run_in_rounds(request, self._run_whole, go_on)

    async def _run_whole(self, request: RunRequest) -> RunResult:
        """Run a request in one box."""

        def result_of(body: bytes) -> RunResult:
            result = wire.loads(RunResult, body)
            if len(result.tests) != len(request.inputs):
                raise ValueError(f"{len(result.tests)} runs for {len(request.inputs)} inputs")
            return result

        # Long texts are written beside the loop, which all other rows share.
        body = await asyncio.to_thread(lambda: json.dumps(wire.to_json(request)).encode())
        # Twice, since a provider may repeat a request in a new box.
        timeout_s = FULL_PATIENCE * self._service.patience_s + 2 * longest_s(request)
        return await self._ask("POST", "/run", body, timeout_s, result_of)

    async def _ask(
        self, method: str, path: str, body: bytes | None, timeout_s: float, value_of: Callable[[bytes], T]
    ) -> T:
        """Return what the body of a reply means.

        Raises:
            SandboxError, UnsupportedLanguageError, UnsupportedRequestError: See `Service.ask`.
        """

        def read(reply: Reply) -> T:
            text = reply.body or b""
            if reply.status == 200:
                return value_of(text)
            try:
                error = json.loads(text)["error"]
                kind, message = str(error["kind"]), str(error["message"])
            except (ValueError, KeyError, TypeError, RecursionError):
                kind, message = "", text.decode(errors="replace")[:500]
            if kind in _ERRORS:
                raise _ERRORS[kind](f"{message} (the router at {self.url})")
            if not kind and reply.status in _ABSENT:
                raise ConnectionRefusedError(f"HTTP {reply.status}")
            if reply.status == 401:
                message += f" Put it into {TOKEN_VARIABLE}, or name its variable in `sandbox_router_token_env`."
            raise SandboxError(f"The router at {self.url} gave no result: {reply.status} {message}")

        return await self._service.ask(method, self.url + path, body, timeout_s, read)

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
