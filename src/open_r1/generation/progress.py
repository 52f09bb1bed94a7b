# SPDX-License-Identifier: Apache-2.0
"""How far a run is: a bar on a terminal, a line now and then in a log."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tqdm import tqdm

from open_r1.generation.engine import Totals

logger = logging.getLogger(__name__)

_BAR_EVERY_S = 0.5
FIRST_LINE_S, LINE_EVERY_S = 5.0, 30.0  # the first comes early: it shows that the servers answer
_WINDOW_S = 60.0  # rates are of the last minute: a run of days changes its pace


class Pace:
    """Rates over the last minute."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._marks = [(time.monotonic(), totals.done, totals.completion_tokens)]

    def rates(self) -> tuple[float, float]:
        """Return replies and generated tokens a second, now."""
        now = time.monotonic()
        self._marks.append((now, self._totals.done, self._totals.completion_tokens))
        while len(self._marks) > 2 and now - self._marks[1][0] >= _WINDOW_S:
            self._marks.pop(0)
        then, done, tokens = self._marks[0]
        elapsed_s = max(now - then, 1e-9)
        return (self._totals.done - done) / elapsed_s, (self._totals.completion_tokens - tokens) / elapsed_s


def describe(totals: Totals, total: int, pace: Pace) -> str:
    """Return a line such as "120 of 400 generations, 3 failed, ...; total counts those of earlier runs too."""
    per_s, tokens_per_s = pace.rates()
    finished = totals.skipped + totals.done
    left = f"{clock((total - finished) / per_s)} left" if per_s else "time left unknown"
    return (
        f"{finished} of {total} generations, {totals.failed} failed, {totals.truncated} truncated, "
        f"{totals.retries} retries, {per_s:.1f} requests/s, {tokens_per_s:.0f} tokens/s, {left}"
    )


def clock(seconds: float) -> str:
    """Return a duration as people write it.

    >>> clock(59.6), clock(3725)
    ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@asynccontextmanager
async def progress(totals: Totals, total: int) -> AsyncIterator[None]:
    """Show on stderr how `totals` grow to `total` generations while the block runs."""
    task = asyncio.create_task(_draw_bar(totals, total) if _is_terminal() else _write_lines(totals, total))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _is_terminal() -> bool:
    """Whether stderr is a terminal with room for a bar; that of a container may have no columns."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


async def _draw_bar(totals: Totals, total: int) -> None:
    pace = Pace(totals)
    with tqdm(
        total=total, unit="gen", dynamic_ncols=True, bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {postfix}"
    ) as bar:
        try:
            while True:
                await asyncio.sleep(_BAR_EVERY_S)
                _update(bar, totals, pace)
        finally:
            _update(bar, totals, pace)


def _update(bar: tqdm, totals: Totals, pace: Pace) -> None:
    per_s, tokens_per_s = pace.rates()
    bar.n = totals.skipped + totals.done
    left = clock((bar.total - bar.n) / per_s) if per_s else "?"
    bar.set_postfix_str(
        f"[{left} left, {per_s:.1f} req/s, {tokens_per_s:.0f} tok/s, {totals.failed} failed, "
        f"{totals.truncated} truncated]"
    )


async def _write_lines(totals: Totals, total: int) -> None:
    pace, wait_s = Pace(totals), FIRST_LINE_S
    while True:
        await asyncio.sleep(wait_s)
        logger.info("%s", describe(totals, total, pace))
        wait_s = LINE_EVERY_S
