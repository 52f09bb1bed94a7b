# SPDX-License-Identifier: Apache-2.0
"""Says which pair of a batch is judged next, and for how long.

Every pair first gets a short slice of CPU time and, if that kills it, one of twice the length after all others had
theirs, up to its limit: pairs that burn all of it hold up the others by a fraction of it.
"""

from collections import deque
from dataclasses import dataclass

_FIRST_SLICE_S = 0.25


@dataclass(eq=False)
class Job:
    """A pair on its way to a verdict."""

    number: int
    gold: bytes
    answer: bytes | None
    level: int = 0
    num_losses: int = 0


class Queue:
    """Pairs that wait, by level (how long a slice of CPU time they get) and by gold."""

    def __init__(self, timeout_s: float) -> None:
        slices_s = []
        slice_s = _FIRST_SLICE_S
        while slice_s < timeout_s / 2:
            slices_s.append(slice_s)
            slice_s *= 2
        self.slices_s = [*slices_s, timeout_s]
        self.last_level = len(slices_s)
        self.num_waiting = 0
        self._levels: list[dict[bytes, deque[Job]]] = [{} for _ in self.slices_s]

    def put(self, job: Job) -> None:
        """Adds a pair at the end of its level."""
        self._levels[job.level].setdefault(job.gold, deque()).append(job)
        self.num_waiting += 1

    def take(self, last_gold: bytes | None, golds_elsewhere: set[bytes]) -> Job:
        """Return the next pair of the lowest level: of the gold this worker knows, else of one no other works on."""
        groups = next(level for level in self._levels if level)
        gold = last_gold
        if gold is None or gold not in groups:
            gold = next((gold for gold in groups if gold not in golds_elsewhere), None)
        if gold is None:
            gold = max(groups, key=lambda gold: len(groups[gold]))
        job = groups[gold].popleft()
        if not groups[gold]:
            del groups[gold]
        self.num_waiting -= 1
        return job

    def take_group(self, gold: bytes, up_to_level: int) -> list[Job]:
        """Removes and return all pairs of a gold that wait at these levels."""
        jobs = [job for level in self._levels[: up_to_level + 1] for job in level.pop(gold, ())]
        self.num_waiting -= len(jobs)
        return jobs
