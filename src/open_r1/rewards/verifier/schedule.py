# SPDX-License-Identifier: Apache-2.0
"""Says which pair of a batch is judged next, and for how long.

A pair gets its whole limit where the time of the batch allows that for all that wait. Else it gets a short slice and,
if that kills it, a longer one after all others had theirs: pairs that burn their whole limit hold up the others by a
fraction of it, and a good pair costs the same wherever it stands.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

_FIRST_SLICE_S = 0.25


@dataclass(eq=False)
class Job:
    """A pair on its way to a verdict.

    Args:
        number: Position in the batch.
        gold: Encoded gold.
        answer: Encoded answer, if there is one.
        num_tries: Slices that it has used up.
        slice_s: CPU seconds of the last one.
        num_losses: Workers that died under it without its fault.
    """

    number: int
    gold: bytes
    answer: bytes | None
    num_tries: int = 0
    slice_s: float = 0.0
    num_losses: int = 0


class Queue:
    """Pairs that wait, by the number of slices they have used up and by gold.

    Args:
        timeout_s: CPU seconds that a pair may take.
        num_workers: Pairs that are judged at a time.
    """

    def __init__(self, timeout_s: float, num_workers: int) -> None:
        self.num_waiting = 0
        self._timeout_s = timeout_s
        self._num_workers = num_workers
        self._rounds: list[dict[bytes, deque[Job]]] = []

    def put(self, job: Job) -> None:
        """Add a pair behind those that have used up as many slices."""
        while len(self._rounds) <= job.num_tries:
            self._rounds.append({})
        self._rounds[job.num_tries].setdefault(job.gold, deque()).append(job)
        self.num_waiting += 1

    def texts(self) -> Iterator[bytes]:
        """Return the golds and answers that wait."""
        for groups in self._rounds:
            for gold, jobs in groups.items():
                yield gold
                yield from (job.answer for job in jobs if job.answer is not None)

    def take(self, last_gold: bytes | None, golds_elsewhere: set[bytes], *, time_left_s: float) -> tuple[Job, bool]:
        """Return the next pair and whether its slice, set here, is its last.

        Args:
            last_gold: What the worker judged last; it has it parsed already.
            golds_elsewhere: Those that other workers have parsed.
            time_left_s: Wall seconds until the end of the batch.
        """
        groups = next(groups for groups in self._rounds if groups)
        gold = last_gold
        if gold is None or gold not in groups:
            gold = next((gold for gold in groups if gold not in golds_elsewhere), None)
        if gold is None:
            gold = max(groups, key=lambda gold: len(groups[gold]))
        job = groups[gold].popleft()
        if not groups[gold]:
            del groups[gold]
        # Half, as not everything goes as planned.
        fair_share_s = time_left_s * self._num_workers / self.num_waiting / 2
        wanted_s = max(fair_share_s, 2 * job.slice_s) if job.num_tries else _FIRST_SLICE_S
        is_last = max(fair_share_s, wanted_s) >= self._timeout_s / 2
        job.slice_s = self._timeout_s if is_last else wanted_s
        self.num_waiting -= 1
        return job, is_last

    def put_back(self, job: Job, *, with_gold: bool) -> None:
        """Add a pair that has used up its slice; `with_gold` moves the waiting pairs of its gold back as well."""
        others = self.take_group(job.gold, job.num_tries) if with_gold else []
        job.num_tries += 1
        self.put(job)
        for other in others:
            other.num_tries, other.slice_s = job.num_tries, job.slice_s
            self.put(other)

    def take_group(self, gold: bytes, max_tries: int | None = None) -> list[Job]:
        """Remove and return the waiting pairs of a gold that have used up at most so many slices."""
        rounds = self._rounds if max_tries is None else self._rounds[: max_tries + 1]
        jobs = [job for groups in rounds for job in groups.pop(gold, ())]
        self.num_waiting -= len(jobs)
        return jobs
