# SPDX-License-Identifier: Apache-2.0
"""One clock for an outage of a service, whoever asks."""

import asyncio
import logging
import time

import pytest

from open_r1.sandbox import SandboxError, service
from open_r1.sandbox.service import Outage


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(service, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(service, "LONGEST_PAUSE_S", 0.1)


class Clocked:
    """A service that is away from 0 to `until` seconds after the first request."""

    def __init__(self, until: float, patience_s: float) -> None:
        self.outage, self.until, self.started, self.num_asked = Outage("It", patience_s), until, time.monotonic(), 0

    async def ask(self) -> float:
        """Return the seconds after which it has answered."""
        tries = self.outage.tries()
        while True:
            self.num_asked += 1
            await asyncio.sleep(0)
            now = time.monotonic() - self.started
            if now >= self.until:
                tries.succeeded()
                return now
            await tries.failed("refused")

    async def ask_in_turns(self, num: int) -> list:
        return [(await asyncio.gather(self.ask(), return_exceptions=True))[0] for _ in range(num)]


def test_all_wait_for_one_outage_together():
    away = Clocked(until=99, patience_s=0.5)

    async def run():
        return await asyncio.gather(*(away.ask_in_turns(20) for _ in range(5)))

    results = [result for worker in asyncio.run(run()) for result in worker]
    assert all(isinstance(result, SandboxError) for result in results)
    assert 0.5 <= time.monotonic() - away.started < 2.0  # with a clock for each it's 10 s


def test_nobody_gives_up_without_a_try_when_the_patience_is_over(monkeypatch):
    """The pause before it would be longer than what is left."""
    monkeypatch.setattr(service, "FIRST_PAUSE_S", 5.0)
    monkeypatch.setattr(service, "LONGEST_PAUSE_S", 5.0)
    away = Clocked(until=0.4, patience_s=0.5)

    async def run():
        return await asyncio.gather(*(away.ask() for _ in range(8)))

    assert all(0.4 <= seconds < 2.0 for seconds in asyncio.run(run()))


def test_request_that_fails_late_is_sent_again_though_others_have_given_up():
    away = Clocked(until=0.6, patience_s=0.3)

    async def fails_late():
        tries = away.outage.tries()  # sent before the outage
        await asyncio.sleep(0.7)
        await tries.failed("broke")  # doesn't raise
        return await away.ask()

    async def run():
        return await asyncio.gather(fails_late(), away.ask(), return_exceptions=True)

    late, other = asyncio.run(run())
    assert isinstance(late, float) and isinstance(other, SandboxError)


def test_request_that_alone_fails_is_given_up_though_others_succeed():
    outage = Outage("It", 0.3)

    async def succeeds():
        while True:
            outage.tries().succeeded()
            await asyncio.sleep(0.01)

    async def fails():
        tries = outage.tries()
        while True:
            await tries.failed("broke")

    async def run():
        other = asyncio.ensure_future(succeeds())
        with pytest.raises(SandboxError, match="broke"):
            await fails()
        other.cancel()

    asyncio.run(asyncio.wait_for(run(), 10))


def test_log_has_a_line_when_it_goes_away_and_one_when_it_is_back(caplog):
    outage = Outage("It", 60.0)

    async def run():
        old = [outage.tries() for _ in range(20)]  # in flight when it goes away
        await asyncio.gather(*(tries.failed("refused") for tries in old[:10]))
        for tries in old[10:]:
            tries.succeeded()
        await asyncio.gather(*(tries.failed("refused") for tries in old[:10]))
        for tries in old[:10]:
            tries.succeeded()

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert len(caplog.messages) == 2 and "back" in caplog.messages[1]
