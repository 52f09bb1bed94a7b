# SPDX-License-Identifier: Apache-2.0
"""Judges pairs in worker processes that can be killed: no pair can hang, crash or fill the memory of the caller.

    caller --- server (one for each thread that judges at the time) --- workers

Works the same from any thread, inside a running event loop and in a forked child, which starts servers of its own.
Nothing is left behind: a server sees the end of its parent's pipe and, where a fork still holds that, the end of the
parent itself; workers end with their server.
"""

import atexit
import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from open_r1.rewards.verifier.server import END, LIMITS, LOST, PAIR, READY, REQUEST, Settings
from open_r1.rewards.verifier.server_process import DeadlinePassedError, ServerLostError, ServerProcess
from open_r1.rewards.verifier.verdict import Verdict
from open_r1.rewards.verifier.worker import NO_ANSWER_LENGTH, VERDICTS

logger = logging.getLogger(__name__)

Pair = tuple[str, str | None]

# Cold imports over a network file system are slow.
START_LIMIT_S = 60.0
# What a server that has reached the deadline may take to say so on a busy machine, before it is taken for stuck.
GRACE_S = 10.0
_MAX_SERVERS = 4
_MAX_WORKERS = 4
_MEMORY_MB = 1024
_JUDGE = "open_r1.rewards.verifier.judge:judge_by_algebra"
_WARM_UP = "open_r1.rewards.verifier.judge:warm_up"
_WARM_UP_FOR = "open_r1.rewards.verifier.judge:warm_up_for"


@dataclass
class _Batch:
    """The distinct pairs of a call and what is known of them.

    Args:
        pairs: Gold and answer each.
        timeout_s: CPU seconds for a pair.
        deadline: When it ends (`time.monotonic`).
        least_s: Wall seconds it gets after a start, even beyond the deadline.
        verdicts: By position of the pair; None: given up.
        crashes: What the judge raised or died of, by number of pairs.
        losses: How workers and servers were lost without a pair's fault.
    """

    pairs: list[Pair]
    timeout_s: float
    deadline: float
    least_s: float
    verdicts: dict[int, Verdict | None] = field(default_factory=dict)
    crashes: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def request(self) -> tuple[list[int], bytes]:
        """Return the numbers of the open pairs and the request to judge them."""
        numbers = [number for number in range(len(self.pairs)) if number not in self.verdicts]
        parts = [LIMITS.pack(self.timeout_s, self.deadline)]
        for number in numbers:
            gold, answer = self.pairs[number]
            gold_bytes = gold.encode("utf-8", "surrogatepass")
            answer_bytes = b"" if answer is None else answer.encode("utf-8", "surrogatepass")
            answer_length = NO_ANSWER_LENGTH if answer is None else len(answer_bytes)
            parts += [PAIR.pack(len(gold_bytes), answer_length), gold_bytes, answer_bytes]
        body = b"".join(parts)
        return numbers, REQUEST.pack(len(body)) + body


class WorkerPool:
    """Servers for the threads of this process, started when they are needed and kept for the next batch.

    Args:
        judge: Function `(gold, answer, on_gold_read) -> Verdict` as `package.module:name`; it may do anything.
        warm_up: Function that a server calls once before it forks workers, in the same form.
        num_workers: Most workers of a server; None: by the cores that this process may use.
        memory_mb: What a pair may allocate.
    """

    def __init__(
        self,
        *,
        judge: str = _JUDGE,
        warm_up: str = _WARM_UP,
        num_workers: int | None = None,
        memory_mb: int = _MEMORY_MB,
    ) -> None:
        self._judge = judge
        self._warm_up = warm_up
        self._num_workers = num_workers
        self._memory_mb = memory_mb
        self._begin()
        _POOLS.add(self)

    def judge(self, pairs: Sequence[Pair], *, timeout_s: float, deadline_s: float) -> list[Verdict | None]:
        """Return the verdict of every pair; None where the workers were lost twice with no pair at fault.

        Args:
            pairs: Gold and answer each; equal pairs are judged once.
            timeout_s: CPU seconds a pair may take; three times that in wall time.
            deadline_s: Wall seconds the batch may take; what isn't judged by then is a timeout. Where the workers have
                to be started first and that is slow, the batch goes on until they had `timeout_s`.
        """
        if not (0 < timeout_s < math.inf and 0 <= deadline_s < math.inf):
            raise ValueError(f"limits must be positive and finite: timeout_s={timeout_s}, deadline_s={deadline_s}")
        if self._pid != os.getpid():
            self.forget()  # forked by a library that runs none of Python's hooks
        numbers: dict[Pair, int] = {}
        for pair in pairs:
            numbers.setdefault(pair, len(numbers))
        batch = _Batch(list(numbers), timeout_s, time.monotonic() + deadline_s, min(timeout_s, deadline_s))
        for _ in range(2):
            if len(batch.verdicts) == len(batch.pairs) or self._try(batch):
                break
        _log_losses(batch)
        return [batch.verdicts.get(numbers[pair]) for pair in pairs]

    def close(self) -> None:
        """End all servers, those that are lent too: their batches go on with new ones."""
        while self._idle:
            server = self._idle.pop()
            self._servers.discard(server)
            server.close()
        for server in list(self._servers):
            server.kill()

    def forget(self) -> None:
        """Begin anew in a forked child; the servers of the parent are not touched."""
        for server in self._servers:
            server.forget()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._servers: set[ServerProcess] = set()
        self._idle: list[ServerProcess] = []
        self._num_lent = 0

    def _try(self, batch: _Batch) -> bool:
        """Judge the open pairs of a batch with one server; return False where that was lost."""
        try:
            with self._borrow(batch) as server:
                numbers, request = batch.request()
                for number, code, note in server.records(request, batch.deadline + GRACE_S):
                    if number == END:
                        batch.losses += [note] if note else []
                        break
                    batch.verdicts[numbers[number]] = None if code == LOST else VERDICTS[code]
                    if note and code != LOST:
                        batch.crashes[note] += 1
        except DeadlinePassedError as error:
            batch.losses.append(str(error))
        except (ServerLostError, OSError) as error:
            batch.losses.append(str(error))
            return False
        for number in range(len(batch.pairs)):
            batch.verdicts.setdefault(number, Verdict.TIMEOUT)
        return True

    @contextlib.contextmanager
    def _borrow(self, batch: _Batch) -> Iterator[ServerProcess]:
        """Lend a server, starting one if need be; it is killed unless the batch ends as it should."""
        with self._changed:
            if not self._changed.wait_for(self._has_room, max(batch.deadline - time.monotonic(), 0.0)):
                raise DeadlinePassedError("no server was free until the deadline")
            self._num_lent += 1
            server = self._idle.pop() if self._idle else None
        is_usable = False
        try:
            if server is not None and not server.is_idle():
                self._discard(server)
                server = None
            if server is None:
                server = self._start(batch)
            yield server
            is_usable = True
        finally:
            if server is not None and not is_usable:
                self._discard(server)
            with self._changed:
                self._num_lent -= 1
                if server is not None and is_usable:
                    self._idle.append(server)
                self._changed.notify()

    def _has_room(self) -> bool:
        return bool(self._idle) or self._num_lent < _MAX_SERVERS

    def _start(self, batch: _Batch) -> ServerProcess:
        num_workers = _default_num_workers() if self._num_workers is None else self._num_workers
        server = ServerProcess(
            Settings(os.getpid(), self._judge, self._warm_up, _WARM_UP_FOR, num_workers, self._memory_mb)
        )
        self._servers.add(server)
        try:
            number, _, _ = next(server.records(b"", time.monotonic() + START_LIMIT_S))
        except BaseException as error:
            self._discard(server)
            if isinstance(error, DeadlinePassedError):
                raise ServerLostError(f"server did not start within {START_LIMIT_S:.0f} s") from error
            raise
        assert number == READY
        # A slow start must not turn right answers wrong.
        batch.deadline = max(batch.deadline, time.monotonic() + batch.least_s)
        return server

    def _discard(self, server: ServerProcess) -> None:
        server.kill()
        server.close()
        self._servers.discard(server)


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _forget_all() -> None:
    for pool in list(_POOLS):
        pool.forget()


def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_close_all)

# One for the process: servers are what is expensive, and a limit on their number must hold for all callers.
_SHARED = WorkerPool()


def judge_in_workers(pairs: Sequence[Pair], *, timeout_s: float, deadline_s: float) -> list[Verdict | None]:
    """Return the verdict of every (gold, answer) by the workers of this process; see `WorkerPool.judge`."""
    return _SHARED.judge(pairs, timeout_s=timeout_s, deadline_s=deadline_s)


def _default_num_workers() -> int:
    """Return a worker a core for this rank's share of the cores, from 2 (one may be stuck) to 4."""
    has_affinity = hasattr(os, "sched_getaffinity")
    num_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    num_ranks = max(int(os.environ.get("LOCAL_WORLD_SIZE") or "1"), 1)
    return max(2, min(_MAX_WORKERS, num_cores // num_ranks))


def _log_losses(batch: _Batch) -> None:
    """Log once per batch what went wrong with workers; timeouts are in the verdicts."""
    if batch.crashes:
        crashes = "; ".join(f"{number} x {note}" for note, number in batch.crashes.most_common(5))
        logger.info("The algebra failed on some of %d pairs: %s", len(batch.pairs), crashes)
    if batch.losses:
        num_open = sum(batch.verdicts.get(number) is None for number in range(len(batch.pairs)))
        message = "Workers of the verifier were lost (%s); pairs given up: %d of %d"
        logger.warning(message, "; ".join(batch.losses), num_open, len(batch.pairs))
