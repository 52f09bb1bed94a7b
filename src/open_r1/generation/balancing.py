# SPDX-License-Identifier: Apache-2.0
"""Which server is asked next: the one with the fewest requests in flight. Failing ones are out until they answer."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

from open_r1.secret_names import hide_secrets

logger = logging.getLogger(__name__)

FAILURES_TO_TAKE_OUT = 3
REFUSALS_TO_STOP = 3
_MAY_BE_OF_A_PROMPT = 403  # gateways give it to prompts that they don't let pass, and servers to keys
MOST_PROBE_DELAY_S = 30.0


class ServersDownError(RuntimeError):
    """No server has answered for longer than the patience with them."""


class RefusedError(ServersDownError):
    """A server refuses all requests: the key, the model, the address or the account isn't right."""


@dataclass
class Server:
    """A server and how it does.

    Attributes:
        url: Base URL, such as http://localhost:8000/v1.
        in_flight: Requests that it is busy with.
        failures: Requests that failed in a row through its fault.
        is_out: Whether it gets no requests until it answers a probe.
        not_before: Moment of `time.monotonic` before which it asked to be left alone (`Retry-After`).
        probe_delay_s: Wait before the next probe.
        trouble: Its last failure.
        has_answered: Whether it ever did its part.
        refused: Hashes of the prompts that it refused since, as if it would refuse all.
    """

    url: str
    in_flight: int = 0
    failures: int = 0
    is_out: bool = False
    not_before: float = 0.0
    probe_delay_s: float = 1.0
    trouble: str = ""
    has_answered: bool = False
    refused: set[int] = field(default_factory=set)

    @cached_property
    def name(self) -> str:
        """The URL as it may be shown and kept: keys may stand in its path."""
        return hide_secrets(self.url)


def server_url(address: str) -> str:
    """Return the base URL of an address as users write it: host and port, or a URL with or without its path.

    Raises:
        ValueError: It is neither, or holds a password.

    >>> server_url("localhost:8000"), server_url("https://api.example.com/v1/chat/completions")
    ('http://localhost:8000/v1', 'https://api.example.com/v1')
    """
    text = address.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # as it is looked up
    except ValueError:  # of which those of Unicode are
        is_right = False
    if not is_right or parts.netloc.endswith(":") or parts.query or parts.fragment or any(map(str.isspace, text)):
        raise ValueError(f"{address!r} is no address of a server; write host:port or http(s)://host:port/v1.")
    if parts.username or parts.password:
        raise ValueError(f"The address at {parts.hostname} holds a user or password; name the key's variable instead.")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


class Balancer:
    """Hands out servers; lives on one event loop.

    Args:
        urls: Base URLs of servers that do the same.
        probe: Tells whether a server answers; raises nothing.
        patience_s: How long to wait when no server answers.
    """

    def __init__(
        self, urls: Sequence[str], probe: Callable[[Server], Awaitable[bool]], *, patience_s: float = 600.0
    ) -> None:
        if not urls or len(set(urls)) < len(urls):
            raise ValueError(f"The servers must be one or more, each named once; got {list(urls)}.")
        self.servers = [Server(url) for url in urls]
        self._probe, self._patience_s = probe, patience_s
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._one_is_up = asyncio.Event()
        self._one_is_up.set()
        self._down_since = 0.0

    @property
    def is_down(self) -> bool:
        """Whether no server answers."""
        return not self._one_is_up.is_set()

    def take_now(self, avoid: Server | None = None) -> Server | None:
        """Return the server to ask now, counted as busy with one more; None: there is none just now.

        Args:
            avoid: The server that has just failed at this request: others go first.
        """
        best = self._best(avoid)
        if best is not None:
            best.in_flight += 1
        return best

    async def take(self, avoid: Server | None = None) -> Server:
        """Wait until there is a server to ask, and return it as `take_now`.

        Raises:
            ServersDownError: None has answered for as long as the patience lasts.
        """
        while True:
            server = self.take_now(avoid)
            if server is not None:
                return server
            await self._wait()

    def _best(self, avoid: Server | None) -> Server | None:
        now = time.monotonic()
        free = [server for server in self.servers if not server.is_out and server.not_before <= now]
        if len(free) > 1 and avoid is not None:
            free = [server for server in free if server is not avoid]
        if len(free) <= 1:
            return free[0] if free else None
        fewest = min(server.in_flight for server in free)
        return random.choice([server for server in free if server.in_flight == fewest])

    async def _wait(self) -> None:
        now = time.monotonic()
        pauses = [server.not_before - now for server in self.servers if not server.is_out]
        if pauses:
            # Not to its end at once: another server may come back meanwhile.
            await asyncio.sleep(min(max(0.0, min(pauses)), 1.0) + random.uniform(0, 0.1))
            return
        try:
            async with asyncio.timeout_at(self._down_since + self._patience_s):
                await self._one_is_up.wait()
        except TimeoutError:
            troubles = "; ".join(f"{server.name}: {server.trouble}" for server in self.servers)
            raise ServersDownError(
                f"No server has answered for {self._patience_s:g} s ({troubles}). What was done is kept: start one, "
                "and the same command goes on."
            ) from None

    def pause_left_s(self) -> float | None:
        """Return for how many seconds all servers that answer want to be left alone; None: none answers."""
        now = time.monotonic()
        return min((max(0.0, server.not_before - now) for server in self.servers if not server.is_out), default=None)

    def give_back(self, server: Server) -> None:
        """Count one request less for a server."""
        server.in_flight -= 1

    def succeeded(self, server: Server) -> None:
        """Note that a server did its part."""
        server.failures = 0
        server.probe_delay_s = 1.0
        server.has_answered = True
        server.refused.clear()

    def refuses_all(self, server: Server, status: int | None, prompt: int) -> bool:
        """Note that a server refused a prompt; return whether it refuses all, and not this one alone.

        It does if it never answered any (a 403 alone says little), or refused several different ones in a row.

        Args:
            server: The one that refused.
            status: Of HTTP.
            prompt: Hash of the prompt: generations of one row are refused alike.
        """
        server.refused.add(prompt)
        if len(server.refused) >= REFUSALS_TO_STOP:
            return True
        return not server.has_answered and status != _MAY_BE_OF_A_PROMPT

    def failed(self, server: Server, trouble: str, *, is_gone: bool = False) -> None:
        """Note that a server failed; take it out if it is gone, or failed too often in a row."""
        server.failures += 1
        server.trouble = trouble
        if server.is_out or not (is_gone or server.failures >= FAILURES_TO_TAKE_OUT):
            return
        server.is_out = True
        left = sum(not other.is_out for other in self.servers)
        logger.warning("Server %s is taken out (%s); %d of %d left.", server.name, trouble, left, len(self.servers))
        if not left:
            self._one_is_up.clear()
            self._down_since = asyncio.get_running_loop().time()
        self._probing[server.url] = asyncio.create_task(self._probe_until_up(server))

    def pause(self, server: Server, seconds: float) -> None:
        """Leave a server alone for as long as it asked."""
        server.not_before = max(server.not_before, time.monotonic() + seconds)

    async def _probe_until_up(self, server: Server) -> None:
        while True:
            await asyncio.sleep(server.probe_delay_s * random.uniform(0.5, 1.0))
            server.probe_delay_s = min(2 * server.probe_delay_s, MOST_PROBE_DELAY_S)
            if await self._probe(server):
                break
        server.is_out, server.failures = False, 0
        self._one_is_up.set()
        logger.warning("Server %s answers again.", server.name)

    async def close(self) -> None:
        """End the probes."""
        for task in self._probing.values():
            task.cancel()
        await asyncio.gather(*self._probing.values(), return_exceptions=True)
