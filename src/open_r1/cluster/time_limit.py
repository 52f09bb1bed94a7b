# SPDX-License-Identifier: Apache-2.0
"""When a job has to stop: Slurm's warning before its time limit, and a clock of our own for where that is no help.

1. A warning that leaves half of a job's time or more comes too early: the job would stop after a step or two, come
   back, and so on for ever. It goes on until the last quarter of its time, or the last minute. One that comes earlier
   than `--signal` can say was sent by hand (`scancel --batch --signal=USR1`): it is heeded at once, and so is a
   second one, whenever it comes.
2. A warning that was lost (it came before anybody listened, or `--signal` is not set) is made up for shortly before
   the end.
"""

import logging
import time

from open_r1.cluster.own_job import JobRecord, look_up

logger = logging.getLogger(__name__)

_LONGEST_NOTICE_S = 65_535.0 + 60.0  # of `--signal`, which Slurm sends up to a minute earlier
_LEAST_NOTICE_S = 60.0  # to save and stop, for a job whose warning came too early
_LAST_MOMENT_S = 30.0  # without a warning
_ASK_AGAIN_S = 30.0


def notice_s(total_s: float, left_s: float) -> float:
    """Return how long before its end a job stops that Slurm warns `left_s` seconds before it.

    Args:
        total_s: All the time of this attempt.
        left_s: What is left of it.
    """
    is_heeded = left_s < total_s / 2 or left_s > _LONGEST_NOTICE_S
    return left_s if is_heeded else min(left_s, max(_LEAST_NOTICE_S, total_s / 4))


class TimeLimit:
    """The time that a job has.

    Args:
        job_id: Slurm's number of the job.
        record: What Slurm has said of it last; None when it has not.
    """

    def __init__(self, job_id: str, record: JobRecord | None) -> None:
        self._job_id = job_id
        self._start: float | None = None
        self._end: float | None = None
        self._keep(record)
        self._asked_at = time.monotonic()
        self._is_near = False
        self._warnings = self._taken = 0  # that came, and that were looked at
        self._notice_s: float | None = None  # once Slurm has warned

    def warn(self) -> None:
        """Note that Slurm, or a user, has warned of the end; safe in a signal handler."""
        self._warnings += 1

    @property
    def left_s(self) -> float | None:
        """Seconds until Slurm ends the job, None when it has no time limit or Slurm has not said."""
        return None if self._end is None else self._end - time.time()

    def is_near(self) -> bool:
        """Say whether it is time to stop; once it is, it stays so."""
        if self._is_near:
            return True
        if self._warnings and (self._notice_s is None or self._warnings > self._taken):
            self._take_warning()
        left_s = self.left_s
        if left_s is None:
            # A warning without an end: Slurm does not answer, or the limit is gone. It knows what it does.
            self._is_near = self._warnings > 0
        elif left_s <= self._margin_s():
            self._ask_again()  # the limit may have been raised
            self._is_near = self.left_s is None or self.left_s <= self._margin_s()
        return self._is_near

    def _margin_s(self) -> float:
        if self._notice_s is not None:
            return self._notice_s
        return min(_LAST_MOMENT_S, self._total_s() / 8)

    def _take_warning(self) -> None:
        self._taken = self._warnings
        self._ask_again(at_once=True)
        left_s = self.left_s
        if left_s is None:
            return
        self._notice_s = left_s if self._taken > 1 else notice_s(self._total_s(), left_s)
        if self._notice_s < left_s:
            logger.warning(
                "Slurm warns %.0f s before the time limit, which is most of this job's %.0f s: it goes on until %.0f "
                "s are left. A later warning suits it: --sbatch=--signal=B:USR1@%.0f, or --signal to sbatch. To stop "
                "it now, send the signal once more: scancel --batch --signal=USR1 %s",
                left_s,
                self._total_s(),
                self._notice_s,
                self._notice_s,
                self._job_id,
            )

    def _total_s(self) -> float:
        if self._end is None or self._start is None:
            return float("inf")
        return self._end - self._start

    def _ask_again(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._asked_at >= _ASK_AGAIN_S:
            self._asked_at = time.monotonic()
            self._keep(look_up(self._job_id))

    def _keep(self, record: JobRecord | None) -> None:
        if record is not None:
            self._start, self._end = record.start, record.end
