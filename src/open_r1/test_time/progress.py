# SPDX-License-Identifier: Apache-2.0
"""How far a run is: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

from open_r1.test_time.results import Attempt

logger = logging.getLogger(__name__)

FIRST_LINE_S, LINE_EVERY_S = 5.0, 30.0  # the first comes early: it shows that the backend works


class LineClock:
    """Says when a line is due: soon, so that one sees that it works, then now and then."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._due = self.begun + FIRST_LINE_S

    def is_due(self, now: float) -> bool:
        """Whether a line is at this time of the monotonic clock; it is then taken for written."""
        if now < self._due:
            return False
        self._due = now + LINE_EVERY_S
        return True


class AttemptsBar:
    """Counts attempts, and the tokens that they have taken.

    Args:
        total: Attempts to come.
        earlier: Attempts that there are.
    """

    def __init__(self, total: int, earlier: int) -> None:
        self._total, self._done, self._tokens = total, 0, 0
        self._clock = LineClock()
        self._bar = tqdm(
            total=total + earlier,
            initial=earlier,
            unit="attempt",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty() or not total,
        )
        logger.info("%d attempts to come; %d are there.", total, earlier)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Count attempts."""
        self._done += len(attempts)
        self._tokens += sum(attempt.total_tokens for attempt in attempts)
        now = time.monotonic()
        per_s = self._tokens / max(now - self._clock.begun, 1e-9)
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{per_s:.0f} tok/s", refresh=False)
            self._bar.update(len(attempts))
        elif self._clock.is_due(now):
            left_s = (now - self._clock.begun) / max(self._done, 1) * (self._total - self._done)
            logger.info(
                "%d of %d attempts, %.0f tokens/s, %s left",
                self._done,
                self._total,
                per_s,
                tqdm.format_interval(left_s),
            )


class Pulse:
    """Tells now and then how far the sequences are that a backend was given at once; quiet where it is fast.

    Args:
        total: Sequences.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done, self._tokens = total, 0, 0
        self._clock = LineClock()

    def done(self, num_tokens: int) -> None:
        """Count a finished sequence."""
        self._done += 1
        self._tokens += num_tokens
        now = time.monotonic()
        if self._clock.is_due(now):
            logger.info(
                "%d of %d sequences of this step are finished, %.0f tokens/s",
                self._done,
                self._total,
                self._tokens / (now - self._clock.begun),
            )
