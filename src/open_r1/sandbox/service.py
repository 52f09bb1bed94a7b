# SPDX-License-Identifier: Apache-2.0
"""HTTP services that run programs: replies of bounded size, and one clock for an outage.

    await Service("Fusion", 120.0).ask("POST", "http://node1:8080/run_code", body, 90.0, lambda reply: reply.body)

An outage is waited for once by all. Its clock starts with the first failure, whoever meets it. When the patience is
over, each request that waits is sent once more and then given up; so is each that comes later. An answer ends the
outage, unless it's to a request from before. The log has one line when the service goes away, and one when it's back.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import httpx

from open_r1.sandbox.base import SandboxError, UnsupportedLanguageError, UnsupportedRequestError

T = TypeVar("T")

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
NUM_FAILURES = 3  # of a service that is there, at one request
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
MAX_REPLY_BYTES = 256 << 20


class Outage:
    """The clock of a service that may be away.

    Args:
        service: Its name in the log.
        patience_s: Seconds.
    """

    def __init__(self, service: str, patience_s: float) -> None:
        self.service, self.patience_s = service, patience_s
        self.since: float | None = None

    def tries(self) -> "Tries":
        """Return the tries of one request."""
        return Tries(self)


class Tries:
    """The tries of one request at a service."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self._sent_at, self._failed_at, self._pause_s = time.monotonic(), math.inf, FIRST_PAUSE_S

    def succeeded(self) -> None:
        """Note that the service has answered."""
        if self._outage.since is not None and self._sent_at > self._outage.since:
            self._outage.since = None
            logger.warning("%s is back.", self._outage.service)

    async def failed(self, trouble: str) -> None:
        """Wait before the next try.

        Raises:
            SandboxError: This one was sent when the patience was over.
        """
        now, outage = time.monotonic(), self._outage
        if outage.since is None:
            outage.since = now
            logger.warning("%s doesn't answer (%s); trying for %g s.", outage.service, trouble, outage.patience_s)
        self._failed_at = min(self._failed_at, now)
        end = min(outage.since, self._failed_at) + outage.patience_s
        if self._sent_at >= end:
            raise SandboxError(f"{outage.service} gave no result for {outage.patience_s:g} s: {trouble}")
        await self.pause(end - now)

    async def pause(self, longest_s: float = math.inf) -> None:
        """Wait before the next try, twice as long as the time before."""
        await asyncio.sleep(max(0.0, min(longest_s, self._pause_s * random.uniform(0.5, 1.5))))
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._sent_at = time.monotonic()


class Reply(NamedTuple):
    """A reply over HTTP.

    Attributes:
        status: 200 and the like.
        body: None where it was longer than allowed.
        headers: By name, in any case.
    """

    status: int
    body: bytes | None
    headers: Mapping[str, str]


class Service(Outage):
    """A service with the connections to it. Proxies of the environment are not used: it's on the trainers' network.

    Args:
        name: Its name in the log.
        patience_s: Seconds of an outage after which requests are given up.
        headers: Of all requests.
    """

    def __init__(self, name: str, patience_s: float, headers: dict[bytes, bytes] | None = None) -> None:
        super().__init__(name, patience_s)
        self._headers = {b"content-type": b"application/json", **(headers or {})}
        self._client: httpx.AsyncClient | None = None

    async def send(
        self, method: str, url: str, body: bytes | None, timeout_s: float, *, max_bytes: int = MAX_REPLY_BYTES
    ) -> Reply:
        """Send a request once.

        Raises:
            ConnectionRefusedError: Nobody listens, so it has certainly not been received.
            ConnectionError: The connection broke.
            TimeoutError: There was no answer in time.
        """
        if self._client is None:
            # Node closes a connection that nobody has used for 5 s: it's not to be used again just then.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2.0)
            self._client = httpx.AsyncClient(headers=self._headers, limits=limits, trust_env=False)
        timeout = httpx.Timeout(None, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream(method, url, content=body, timeout=timeout) as response,
            ):
                parts = bytearray()
                async for part in response.aiter_bytes():
                    parts += part
                    if len(parts) > max_bytes:
                        return Reply(response.status_code, None, response.headers)
                return Reply(response.status_code, bytes(parts), response.headers)
        except TimeoutError as error:
            raise TimeoutError(f"no answer in {timeout_s:g} s") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ConnectionRefusedError(f"{type(error).__name__}: {error}") from error
        except httpx.HTTPError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        timeout_s: float,
        read: Callable[[Reply], T],
        *,
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> T:
        """Return what `read` finds in a reply; ask again while the service is away or full, or fails.

        Args:
            method: Of HTTP.
            url: Whom to ask.
            body: What is sent.
            timeout_s: Seconds for each reply, and for which a full service is asked again.
            read: Raises ConnectionRefusedError where the reply is none of the service, BlockingIOError where it has
                no room, SandboxError for a refusal, any usual exception for a failure that may pass.
            max_bytes: Of a reply.

        Raises:
            SandboxError: It was away or full for too long, gave no answer in time, or failed `NUM_FAILURES` times.
            UnsupportedLanguageError, UnsupportedRequestError: What `read` raises.
        """
        tries, num_failures, give_up_at = self.tries(), 0, time.monotonic() + timeout_s
        while True:
            try:
                value = read(await self.send(method, url, body, timeout_s, max_bytes=max_bytes))
                tries.succeeded()
                return value
            except ConnectionRefusedError as error:
                await tries.failed(str(error))
                continue
            except (SandboxError, UnsupportedLanguageError, UnsupportedRequestError):
                tries.succeeded()
                raise
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
                is_full = isinstance(error, BlockingIOError)
                num_failures += not is_full
                is_over = time.monotonic() > give_up_at if is_full else num_failures == NUM_FAILURES
                if is_over or isinstance(error, TimeoutError):
                    raise SandboxError(f"{self.service} gave no result: {error!r:.600}") from error
            await tries.pause()

    async def aclose(self) -> None:
        """Close the connections; the next request opens others."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
