# SPDX-License-Identifier: Apache-2.0
"""Sandboxes behind a router (`scripts/sandbox_router.py`), as one provider of the contract.

While the router is full, restarted or out of reach, a request is tried again until its deadline; then it's a
`SandboxError`. The log says once that it's away, and once that it's back. Who says after each batch whether to go on
sends the inputs in rounds, each in a box of its own and twice as long as the one before. Proxies that the environment
names are not used: a router is on the trainers' own network.
"""

import asyncio
import ipaddress
import json
import logging
import math
import random
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx

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
from open_r1.sandbox.running import OfLoop, run_in_rounds

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "SANDBOX_ROUTER_TOKEN"  # where routers and clients look for it unless another one is named
CONNECT_TIMEOUT_S = 10.0
START_PATIENCE_S = 15.0  # for a router that is just starting, when it's first asked
FULL_PATIENCE = 5  # times as long as for one that is away: a full router is there, and gets on with its work
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
SANDBOX_TRIES = 3  # of a request whose sandbox failed behind the router; a full or absent router is asked for longer
# A machine that vanishes closes no connection: after a minute without any answer to a probe the kernel does.
_KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]


class RouterSandbox(Sandbox):
    """The client of a router.

    Args:
        url: `host:port`, or a URL with http or https.
        token: Its bearer token, if it wants one.
        patience_s: Seconds for which a router that doesn't answer is asked again (when it's first asked at most
            `START_PATIENCE_S`); five times that for a full one, and for a request in its queue. The time that the runs
            themselves may take comes on top.

    Raises:
        ValueError: The URL isn't one, or the token can't be sent.
    """

    name = "router"

    def __init__(self, url: str, *, token: str | None = None, patience_s: float = 120.0) -> None:
        self.url = router_base_url(url)
        self.patience_s = patience_s
        self._headers = {b"content-type": b"application/json"}
        if token is not None:
            if not token.isprintable() or token != token.strip() or not token:
                raise ValueError(
                    "The router's token is empty, or has blanks around it or characters that don't print."
                )
            self._headers[b"authorization"] = f"Bearer {token}".encode()
            if self.url.startswith("http://") and not is_loopback(urlsplit(self.url).hostname or ""):
                logger.warning(
                    "The token for the router at %s travels in the clear: put TLS in front of it.", self.url
                )
        self._mechanism = ""
        self._is_away = False
        self._client = OfLoop(self._new_client)

    def describe(self) -> str:
        """Return one line for the log."""
        return f"router at {self.url}{self._mechanism}"

    async def languages(self) -> tuple[str, ...]:
        """Return the languages of the provider behind the router."""
        value = await self._ask("GET", "/languages", None, 60.0, min(self.patience_s, START_PATIENCE_S))
        try:
            self._mechanism = f" ({value['provider']}: {value['mechanism']})"
            return tuple(value["languages"])
        except (KeyError, TypeError) as error:
            raise SandboxError(f"What answers at {self.url} is no sandbox router: {error!r}") from error

    async def run(self, request: RunRequest, go_on: GoOn = all_ok) -> RunResult:
        """Run a request at the router."""
        if request.stop_after is None or go_on is all_ok:
            return await self._run_whole(request)
        return await run_in_rounds(request, self._run_whole, go_on)

    async def _run_whole(self, request: RunRequest) -> RunResult:
        """Run a request in one box."""
        body = await asyncio.to_thread(_body_of, request)  # beside the loop, which all other rows share
        timeout_s = FULL_PATIENCE * self.patience_s + longest_run_s(request)
        value = await self._ask("POST", "/run", body, timeout_s, self.patience_s)
        try:
            result = wire.result_from_json(value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise SandboxError(f"The router at {self.url} sent no result: {str(error)[:200]!r}") from error
        if len(result.tests) != len(request.inputs):
            raise SandboxError(f"The router at {self.url} sent {len(result.tests)} runs of {len(request.inputs)}.")
        return result

    async def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float, patience_s: float) -> Any:
        """Return the value of a reply; ask again while the router is absent or full, or its sandbox fails.

        Raises:
            SandboxError: For too long.
            UnsupportedLanguageError, UnsupportedRequestError: As the router says.
        """
        pause_s, failing_since, num_failures = FIRST_PAUSE_S, math.inf, 0
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        while True:
            response, reason = None, ""
            try:
                response = await self._client.get().request(method, self.url + path, content=body, timeout=timeout)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            self._note_absence(reason)
            if response is not None and response.status_code == 200:
                try:
                    is_short = len(response.content) < 1 << 20
                    return response.json() if is_short else await asyncio.to_thread(response.json)
                except (ValueError, RecursionError) as error:
                    raise SandboxError(f"The router at {self.url} sent no JSON.") from error
            if response is not None:
                kind, message = _refusal(response, self.url)
                reason = f"{response.status_code} {message}"
                num_failures += kind in ("sandbox", "internal")
                patience_s = max(patience_s, FULL_PATIENCE * self.patience_s if kind == "busy" else 0.0)
            now, wait_s = time.monotonic(), pause_s * random.uniform(0.5, 1.5)
            failing_since = min(failing_since, now)
            if num_failures >= SANDBOX_TRIES or now + wait_s > failing_since + patience_s:
                raise SandboxError(
                    f"The router at {self.url} gave no result ({reason}); where none is, start "
                    "scripts/sandbox_router.py there, or correct its address (`sandbox_router_url`, `e2b_router_url`, "
                    "`morph_router_url`)."
                )
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _note_absence(self, reason: str) -> None:
        """Say once for all requests that the router is away, and that it's back."""
        if bool(reason) != self._is_away:
            self._is_away = bool(reason)
            what = f"doesn't answer ({reason}); trying for {self.patience_s:g} s" if reason else "is back"
            logger.warning("The router at %s %s.", self.url, what)

    def _new_client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0)
        transport = httpx.AsyncHTTPTransport(limits=limits, socket_options=_KEEP_ALIVE)
        return httpx.AsyncClient(headers=self._headers, transport=transport)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        if (client := self._client.pop()) is not None:
            await client.aclose()


def router_base_url(url: str) -> str:
    """Return the router's URL without a slash at its end.

    Raises:
        ValueError: It's neither `host:port` nor a URL with http or https.

    >>> router_base_url("node-3:8000"), router_base_url("https://router.example/")
    ('http://node-3:8000', 'https://router.example')
    """
    full = url.strip() if "://" in url else f"http://{url.strip()}"
    parts = urlsplit(full)
    try:
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that's no number
        is_right = False
    if not is_right or parts.query or parts.fragment or parts.username or set(" \t\n") & set(full):
        raise ValueError(f"The router's address is `host:port` or a URL with http or https, got {url!r}.")
    return full.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, reached without a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def longest_run_s(request: RunRequest) -> float:
    """Return the seconds after which a request has surely ended, once it has got its place."""
    theirs = request.interactor.limits.backstop_s if request.interactor else 0.0
    # Twice, since a provider may repeat a request in a new box; a box may take a minute to come.
    return 2 * (60.0 + request.compile_limits.backstop_s + len(request.inputs) * (request.limits.backstop_s + theirs))


def _body_of(request: RunRequest) -> bytes:
    return json.dumps(wire.request_to_json(request)).encode()


def _refusal(response: httpx.Response, url: str) -> tuple[str, str]:
    """Return the kind and the message of a reply without a result that's worth another try.

    Raises:
        SandboxError, UnsupportedLanguageError, UnsupportedRequestError: It isn't.
    """
    try:
        error = response.json()["error"]
        kind, message = str(error["kind"]), str(error["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        error, kind, message = {}, "", response.text[:500]
    if kind == "language" and isinstance(names := error.get("languages"), list):
        raise UnsupportedLanguageError(f"{message} The router at {url} has {', '.join(map(str, names))}.")
    if kind == "unsupported":
        raise UnsupportedRequestError(message)
    if response.status_code == 401:
        raise SandboxError(
            f"The router at {url} refuses our token, or none: put it into the variable {TOKEN_VARIABLE}, or name "
            f"another one in `sandbox_router_token_env`. ({message})"
        )
    if response.status_code not in (408, 429, 500, 502, 503, 504):
        raise SandboxError(
            f"The router at {url} refuses the request: {response.status_code} {message} (routers of Open R1 know no "
            "/run: start scripts/sandbox_router.py there)"
        )
    return kind, message
