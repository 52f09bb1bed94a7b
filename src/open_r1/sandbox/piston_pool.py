# SPDX-License-Identifier: Apache-2.0
"""Places for jobs at several Piston endpoints, with the health of each.

There may be none at first: then they are looked for until there are some. One that fails is set aside and asked for
its runtimes until it answers, first at once, then ever more seldom; jobs go to the others in the meantime. Who waits
is served in turn, and gives up once no endpoint that has the runtime has answered for `max_outage_s`. A place is given
back however its job ends.
"""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from open_r1.sandbox.base import SandboxError

logger = logging.getLogger(__name__)

LONGEST_DELAY_S = 30.0
LOOK_AGAIN_S = 30.0
START_PATIENCE_S = 15.0  # for endpoints that are just starting; later, when one has answered, `max_outage_s`
# Names and aliases of the runtimes at a base URL; raises OSError or ValueError if it doesn't answer well.
AskRuntimes = Callable[[str], Awaitable[frozenset[str]]]
# Base URLs of the endpoints there are now; raises SandboxError. Runs in a thread.
FindEndpoints = Callable[[], Sequence[str]]


def backoff_s(num_failures: int, first_s: float, longest_s: float = LONGEST_DELAY_S) -> float:
    """Return how long to wait after so many failures in a row: nothing after the first, then doubling, +-25 %."""
    if num_failures <= 1:
        return 0.0
    return min(first_s * 2 ** min(num_failures - 2, 20), longest_s) * random.uniform(0.75, 1.25)


@dataclass(eq=False)
class Endpoint:
    """One Piston server.

    Attributes:
        url: Base URL.
        free: Places that no job has.
        runtimes: Names and aliases that it last answered with; None until it has.
        is_healthy: Whether it gets jobs.
        failures: Failures since a job last went well.
        last_healthy: Time of the loop when it last was healthy.
        trouble: What went wrong last.
        limits: The maximum that it is configured for, by field of a job, as far as refused jobs have shown.
        longest_output: Longest output that a program has ended well with.
        is_told: Whether the log has a warning that it's set aside.
        probe: The task that asks it until it answers.
    """

    url: str
    free: int
    runtimes: frozenset[str] | None = None
    is_healthy: bool = False
    failures: int = 0
    last_healthy: float = float("-inf")
    trouble: str = "has not answered yet"
    limits: dict[str, int] = field(default_factory=dict)
    longest_output: int = 0
    is_told: bool = False
    probe: asyncio.Task[None] | None = None

    def find_runtime(self, names: Sequence[str]) -> str | None:
        """Return the first name that it has a runtime of, or None."""
        return next((name for name in names if name in (self.runtimes or ())), None)


@dataclass(eq=False)
class Waiter:
    """A job that wants a place at an endpoint with one of these runtimes, at none of `avoid` if it can choose."""

    names: Sequence[str]
    avoid: Collection[str]
    place: asyncio.Future[Endpoint]


class PistonPool:
    """The places of all endpoints; lives on one event loop.

    Args:
        urls: Base URLs.
        places_each: Jobs at a time at each.
        ask_runtimes: Asks an endpoint what it has.
        max_outage_s: Seconds without any fitting endpoint after which waiting jobs give up.
        first_delay_s: Wait before an endpoint that failed twice is asked again; it doubles from there on.
        find_endpoints: Finds endpoints that were started meanwhile; asked when one fails, each `LOOK_AGAIN_S`
            once at most.
        share: In [0, 1): where on the list of endpoints this process starts, so that several don't all start at one.
    """

    def __init__(
        self,
        urls: Sequence[str],
        places_each: int,
        ask_runtimes: AskRuntimes,
        *,
        max_outage_s: float,
        first_delay_s: float,
        find_endpoints: FindEndpoints | None = None,
        share: float = 0.0,
    ) -> None:
        self.endpoints: list[Endpoint] = []
        self._places_each, self._share = places_each, share
        self._find_endpoints, self._look_at = find_endpoints, float("-inf")
        self.max_outage_s, self._first_delay_s = max_outage_s, first_delay_s
        self._ask_runtimes = ask_runtimes
        self._waiters: deque[Waiter] = deque()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._nobody = ""  # why no endpoint is known at all
        self._lookout = None if urls else self._loop.create_task(self._look_for_any())
        self._add(urls)

    @contextlib.asynccontextmanager
    async def place(self, names: Sequence[str], avoid: Collection[str] = ()) -> AsyncGenerator[Endpoint]:
        """Hold a place at a healthy endpoint with one of these runtimes, at none of the URLs `avoid` if possible.

        Raises:
            SandboxError: No such endpoint has answered for `max_outage_s`.
        """
        endpoint = await self._wait_for_place(names, avoid)
        try:
            yield endpoint
        finally:
            self._give_back(endpoint)

    async def runtimes(self) -> frozenset[str]:
        """Return the names of the runtimes at all healthy endpoints, once each has been asked.

        Raises:
            SandboxError: None has answered for `max_outage_s` (`START_PATIENCE_S` where all were asked and none ever
                has), or none could be found.
        """
        started = self._loop.time()
        while True:
            never = [endpoint.failures and endpoint.runtimes is None for endpoint in self.endpoints]
            patience_s = min(START_PATIENCE_S, self.max_outage_s) if never and all(never) else self.max_outage_s
            healthy = [endpoint for endpoint in self.endpoints if endpoint.is_healthy]
            if healthy and all(endpoint.is_healthy or endpoint.failures for endpoint in self.endpoints):
                return frozenset[str]().union(*(endpoint.runtimes or () for endpoint in healthy))
            if not self.endpoints and self._nobody:
                raise SandboxError(self._nobody)
            self._news.clear()
            try:
                async with asyncio.timeout_at(started + patience_s):
                    await self._news.wait()
            except TimeoutError:
                raise SandboxError(self._outage((), patience_s)) from None

    def find(self, url: str) -> Endpoint:
        """Return the endpoint of a URL; one without places where it's gone meanwhile."""
        return next((endpoint for endpoint in self.endpoints if endpoint.url == url), Endpoint(url, 0))

    def has_seen(self, names: Sequence[str]) -> bool:
        """Return whether some endpoint, healthy or not, has ever had one of these runtimes."""
        return any(endpoint.find_runtime(names) for endpoint in self.endpoints)

    def set_aside(self, endpoint: Endpoint, trouble: str) -> None:
        """Give no jobs to an endpoint until it answers again; failures of jobs that ran side by side count once."""
        if not endpoint.is_healthy:
            return
        endpoint.last_healthy = self._loop.time()
        endpoint.is_healthy = False
        self._count_failure(endpoint, trouble)
        self._start_probe(endpoint)

    def _count_failure(self, endpoint: Endpoint, trouble: str) -> None:
        endpoint.failures += 1
        endpoint.trouble = trouble
        if endpoint.failures == 1:
            endpoint.is_told = True
            others = sum(one.is_healthy for one in self.endpoints)
            wait = f"{others} others answer" if others else f"no other answers, jobs wait for {self.max_outage_s:g} s"
            logger.warning("Piston at %s is set aside (%s): %s", endpoint.url, wait, trouble)
        else:
            logger.info("Piston at %s has failed %d times: %s", endpoint.url, endpoint.failures, trouble)
        self._news.set()

    def _start_probe(self, endpoint: Endpoint) -> None:
        endpoint.probe = self._loop.create_task(self._probe(endpoint))

    async def _probe(self, endpoint: Endpoint) -> None:
        while not endpoint.is_healthy and endpoint in self.endpoints:
            await asyncio.sleep(backoff_s(endpoint.failures, self._first_delay_s))
            try:
                endpoint.runtimes = await self._ask_runtimes(endpoint.url)
            except (OSError, ValueError) as error:
                self._count_failure(endpoint, str(error))
                await self._look_for_more()
            else:
                endpoint.is_healthy = True
                if endpoint.is_told:
                    endpoint.is_told = False
                    logger.warning("Piston at %s is back.", endpoint.url)
        self._news.set()
        self._serve()

    def _add(self, urls: Sequence[str]) -> None:
        """Add endpoints and ask each what it has."""
        start = int(self._share * len(urls))
        added = [Endpoint(url, self._places_each) for url in (*urls[start:], *urls[:start])]
        self.endpoints += added
        for endpoint in added:
            self._start_probe(endpoint)

    async def _look_for_any(self) -> None:
        """Look for endpoints until there are some."""
        while not self.endpoints:
            await self._look_for_more()
            if not self.endpoints:
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _look_for_more(self) -> None:
        """Add endpoints that were started meanwhile; those that don't answer and aren't found again are gone."""
        if self._find_endpoints is None or self._loop.time() < self._look_at:
            return
        self._look_at = self._loop.time() + LOOK_AGAIN_S
        try:
            found = await asyncio.to_thread(self._find_endpoints)
        except SandboxError as error:
            logger.warning("Looking for Piston endpoints failed: %s", error)
            self._nobody = str(error)
            self._news.set()
            return
        gone = [one for one in self.endpoints if not one.is_healthy and one.url not in found]
        new = sorted(set(found) - {endpoint.url for endpoint in self.endpoints})
        for endpoint in gone:
            logger.info("Piston at %s is gone", endpoint.url)
            self.endpoints.remove(endpoint)
            if endpoint.probe is not None and endpoint.probe is not asyncio.current_task():
                endpoint.probe.cancel()
        for url in new:
            logger.info("Piston at %s is new", url)
        self._add(new)
        self._news.set()

    async def _wait_for_place(self, names: Sequence[str], avoid: Collection[str]) -> Endpoint:
        waiter = Waiter(names, avoid, self._loop.create_future())
        self._waiters.append(waiter)
        self._serve()
        give_up_at = self._loop.time() + self.max_outage_s
        try:
            while not waiter.place.done():
                await asyncio.wait([waiter.place], timeout=max(0.0, give_up_at - self._loop.time()))
                if not waiter.place.done() and (now := self._loop.time()) >= give_up_at:
                    give_up_at = self._last_healthy(names) + self.max_outage_s
                    if give_up_at <= now:
                        raise SandboxError(self._outage(names, self.max_outage_s))
            return waiter.place.result()
        except BaseException:
            if waiter.place.done():  # cancelled in the moment when its turn had come
                self._give_back(waiter.place.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _last_healthy(self, names: Sequence[str]) -> float:
        fitting = [endpoint for endpoint in self.endpoints if endpoint.find_runtime(names)]
        now = self._loop.time()
        return max((now if one.is_healthy else one.last_healthy for one in fitting), default=float("-inf"))

    def _serve(self) -> None:
        """Give free places to those who wait, in turn."""
        for waiter in list(self._waiters):
            fitting = [one for one in self.endpoints if one.is_healthy and one.find_runtime(waiter.names)]
            # Where a job has failed it goes again only if there is nowhere else, not because all else is busy: an
            # endpoint that fails every job is free at once, and says between two jobs that it is well.
            others = [one for one in fitting if one.url not in waiter.avoid]
            free = [one for one in others or fitting if one.free]
            if not free:
                continue
            endpoint = max(free, key=lambda one: one.free)
            endpoint.free -= 1
            self._waiters.remove(waiter)
            waiter.place.set_result(endpoint)

    def _give_back(self, endpoint: Endpoint) -> None:
        endpoint.free += 1
        self._serve()

    def _outage(self, names: Sequence[str], patience_s: float) -> str:
        wanted = f"No Piston endpoint with {names[0]!r}" if names else "No Piston endpoint"
        states = "; ".join(
            f"{one.url}: {'healthy, has ' + ', '.join(sorted(one.runtimes or ())) if one.is_healthy else one.trouble}"
            for one in self.endpoints
        )
        return f"{wanted} has answered for {patience_s:g} s; is PISTON_ENDPOINTS right? ({states[:2000]})"

    async def aclose(self) -> None:
        """End the tasks that ask endpoints."""
        probes = [one for one in (self._lookout, *(each.probe for each in self.endpoints)) if one is not None]
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
