# SPDX-License-Identifier: Apache-2.0
"""The process between a pool and its workers: imports the algebra system once, forks workers, kills and replaces them.

It has one thread and never judges, so that forking is safe, cannot get stuck, and takes milliseconds. One batch at a
time comes in by stdin, a record for each judged pair goes out by stdout, the last one ends the batch.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from open_r1.rewards.verifier.schedule import Job, Queue
from open_r1.rewards.verifier.verdict import Verdict
from open_r1.rewards.verifier.worker import (
    GOLD_READ,
    NO_ANSWER_LENGTH,
    ORDER,
    SETUP_FAILED,
    VERDICTS,
    Judge,
    Worker,
    start_worker,
)

# A batch: bytes that follow; then the CPU limit of a pair and the end of the batch (time.monotonic), both in seconds.
REQUEST = struct.Struct("!Q")
LIMITS = struct.Struct("!dd")
# Before each pair of a batch: bytes of the gold, bytes of the answer.
PAIR = struct.Struct("!II")
# Number of the pair, index in VERDICTS or LOST, bytes of the note that follows.
RECORD = struct.Struct("!IBH")
READY = 2**32 - 1
END = 2**32 - 2
LOST = 255

WALL_PER_CPU = 3.0
_MAX_LOSSES = 2
_ORPHAN_CHECK_S = 0.5
# Signals that a program brings upon itself; any other came from outside, and the pair isn't at fault.
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Args:
        parent_pid: The process to end with.
        judge: Function that judges a pair, as `package.module:name`.
        warm_up: Function called once before the first worker is forked, in the same form.
        warm_up_for: Function called with the texts of a batch; whether workers that live lack its imports.
        num_workers: Most workers at a time.
        memory_mb: What a worker may allocate beyond what it shares with the server at its start.
    """

    parent_pid: int
    judge: str
    warm_up: str
    warm_up_for: str
    num_workers: int
    memory_mb: int


@dataclass
class Batch:
    """The pairs of one request."""

    queue: Queue
    ends_at: float
    num_open: int
    losses: Counter[str] = field(default_factory=Counter)


@dataclass
class Task:
    """What a worker is busy with."""

    job: Job
    is_last_slice: bool
    ends_at: float
    has_read_gold: bool = False


class Server:
    """Workers, and the batch that they work on."""

    def __init__(self, settings: Settings, requests: int, replies: int) -> None:
        self._settings = settings
        self._requests = requests
        self._replies = replies
        self._judge: Judge = _load(settings.judge)
        _load(settings.warm_up)()
        self._warm_up_for: Callable[[Iterable[bytes]], bool] = _load(settings.warm_up_for)
        self._workers: dict[Worker, Task | None] = {}
        self._last_golds: dict[Worker, bytes] = {}
        # poll and not epoll: a forked child would share its descriptor.
        self._selector = selectors.PollSelector()
        self._selector.register(requests, selectors.EVENT_READ)

    def serve(self) -> NoReturn:
        """Judge batches until the pool is gone."""
        self._send_record(READY)
        while True:
            (length,) = REQUEST.unpack(self._read_request(REQUEST.size))
            batch = _parse_request(self._read_request(length), self._settings.num_workers)
            self._judge_batch(batch)
            losses = ", ".join(f"{number} x {cause}" for cause, number in batch.losses.items())
            self._send_record(END, note=losses)

    def _judge_batch(self, batch: Batch) -> None:
        if self._warm_up_for(batch.queue.texts()):
            for worker in list(self._workers):
                self._end(worker)
        while batch.num_open and time.monotonic() < batch.ends_at:
            self._hand_out(batch)
            limits = [task.ends_at for task in self._workers.values() if task]
            if self._wait(min(batch.ends_at, *limits) - time.monotonic(), batch):
                self._leave()  # nothing comes during a batch but the end of the pool
            self._kill_overdue(batch)
        for worker in [worker for worker, task in self._workers.items() if task]:
            self._end(worker)

    def _hand_out(self, batch: Batch) -> None:
        """Give every free worker a pair, and start workers while there are pairs for them."""
        while batch.queue.num_waiting:
            worker = next((worker for worker, task in self._workers.items() if task is None), None)
            if worker is None and len(self._workers) == self._settings.num_workers:
                return
            worker = worker or self._start_worker(batch)
            if worker is None:
                return
            job, is_last = batch.queue.take(
                self._last_golds.get(worker),
                self._golds_elsewhere(worker),
                time_left_s=batch.ends_at - time.monotonic(),
            )
            task = Task(job, is_last, time.monotonic() + WALL_PER_CPU * job.slice_s)
            self._workers[worker] = task
            self._last_golds[worker] = job.gold
            length = NO_ANSWER_LENGTH if job.answer is None else len(job.answer)
            worker.send(ORDER.pack(job.slice_s, len(job.gold), length) + job.gold + (job.answer or b""))
            self._watch(worker)

    def _golds_elsewhere(self, worker: Worker) -> set[bytes]:
        return {self._last_golds[other] for other, task in self._workers.items() if task and other is not worker}

    def _start_worker(self, batch: Batch) -> Worker | None:
        """Fork a worker; return None where the machine has no room for one more than those that live."""
        inherited = [self._requests, self._replies, *(worker.fileno() for worker in self._workers)]
        try:
            worker = start_worker(self._judge, memory_mb=self._settings.memory_mb, inherited=inherited)
        except OSError as error:
            if not self._workers:
                raise
            batch.losses[f"fork: {error}"] += 1
            return None
        self._workers[worker] = None
        self._selector.register(worker, selectors.EVENT_READ, worker)
        return worker

    def _watch(self, worker: Worker) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.unsent else 0)
        if self._selector.get_key(worker).events != events:
            self._selector.modify(worker, events, worker)

    def _wait(self, timeout_s: float, batch: Batch | None) -> bool:
        """Wait for workers and for the pool; return whether the pool has written or closed its end."""
        events = self._selector.select(min(max(timeout_s, 0.0), _ORPHAN_CHECK_S))
        if os.getppid() != self._settings.parent_pid:
            self._leave()
        for key, _ in events:
            worker = key.data
            if worker is not None:
                worker.send()
                self._watch(worker)
                self._read_replies(worker, batch)
        return any(key.data is None for key, _ in events)

    def _read_replies(self, worker: Worker, batch: Batch | None) -> None:
        replies = worker.replies()
        if replies is None:
            task = self._workers[worker]
            status = self._end(worker)
            if task and batch:
                self._settle_death(task, status, batch)
            return
        for code, is_last, note in replies:
            task = self._workers[worker]
            if task is None or batch is None:
                continue
            if code == GOLD_READ:
                task.has_read_gold = True
                continue
            self._workers[worker] = None
            verdict = VERDICTS[code]
            if verdict is Verdict.CRASH and not task.has_read_gold:
                verdict = Verdict.UNPARSABLE_GOLD
            self._settle(task.job, verdict, batch, note)
            if is_last:
                self._end(worker)
                return

    def _kill_overdue(self, batch: Batch) -> None:
        now = time.monotonic()
        for worker, task in list(self._workers.items()):
            if task and task.ends_at <= now:
                self._end(worker)
                self._settle_timeout(task, batch)

    def _settle_death(self, task: Task, status: int, batch: Batch) -> None:
        """Decide about a pair by how its worker died."""
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            cause = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            if number == signal.SIGPROF:
                self._settle_timeout(task, batch)
                return
            is_at_fault = number in _FAULTS
        else:
            cause = f"exit status {os.WEXITSTATUS(status)}"
            is_at_fault = os.WEXITSTATUS(status) != SETUP_FAILED
        if is_at_fault:
            verdict = Verdict.CRASH if task.has_read_gold else Verdict.UNPARSABLE_GOLD
            self._settle(task.job, verdict, batch, cause)
            return
        batch.losses[cause] += 1
        task.job.num_losses += 1
        if task.job.num_losses < _MAX_LOSSES:
            batch.queue.put(task.job)
        else:
            self._settle(task.job, None, batch, cause)

    def _settle_timeout(self, task: Task, batch: Batch) -> None:
        """Give a pair that used up its slice another one or its verdict; a gold takes all its pairs along."""
        job = task.job
        if not task.is_last_slice:
            batch.queue.put_back(job, with_gold=not task.has_read_gold)
        elif task.has_read_gold:
            self._settle(job, Verdict.TIMEOUT, batch)
        else:
            for same_gold in (job, *batch.queue.take_group(job.gold)):
                self._settle(same_gold, Verdict.UNPARSABLE_GOLD, batch)

    def _settle(self, job: Job, verdict: Verdict | None, batch: Batch, note: str = "") -> None:
        batch.num_open -= 1
        self._send_record(job.number, LOST if verdict is None else VERDICTS.index(verdict), note)

    def _end(self, worker: Worker) -> int:
        """Kill a worker, forget it and return its wait status."""
        self._selector.unregister(worker)
        del self._workers[worker]
        self._last_golds.pop(worker, None)
        return worker.end()

    def _leave(self) -> NoReturn:
        """End the server and its workers: the pool is gone."""
        for worker in list(self._workers):
            self._end(worker)
        os._exit(0)

    def _read_request(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            if self._wait(_ORPHAN_CHECK_S, batch=None):
                chunk = os.read(self._requests, min(length - len(data), 2**20))
                if not chunk:
                    self._leave()
                data += chunk
        return bytes(data)

    def _send_record(self, number: int, code: int = LOST, note: str = "") -> None:
        text = note.encode()[: 2**16 - 1]
        data = memoryview(RECORD.pack(number, code, len(text)) + text)
        while data:
            try:
                data = data[os.write(self._replies, data) :]
            except BlockingIOError:
                # The pool is slow to read, or stopped, or gone while a fork of it keeps the pipe open.
                time.sleep(0.01)
                if os.getppid() != self._settings.parent_pid:
                    self._leave()
            except BrokenPipeError:
                self._leave()


def main() -> None:
    """Serve the process whose settings (JSON) stand on the command line."""
    # Ignored and blocked signals are inherited from the parent, from the thread that started us even.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPROF, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    requests, replies = os.dup(0), os.dup(1)
    os.set_blocking(replies, False)
    # What a library prints must not get into the records.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    server = Server(Settings(**json.loads(sys.argv[1])), requests, replies)
    # Pages that the collector doesn't touch stay shared with the workers.
    gc.collect()
    gc.freeze()
    server.serve()


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _parse_request(data: bytes, num_workers: int) -> Batch:
    timeout_s, ends_at = LIMITS.unpack_from(data)
    batch = Batch(Queue(timeout_s, num_workers), ends_at, num_open=0)
    start = LIMITS.size
    while start < len(data):
        gold_length, answer_length = PAIR.unpack_from(data, start)
        start += PAIR.size
        gold = data[start : start + gold_length]
        start += gold_length
        answer = None
        if answer_length != NO_ANSWER_LENGTH:
            answer = data[start : start + answer_length]
            start += answer_length
        batch.queue.put(Job(batch.num_open, gold, answer))
        batch.num_open += 1
    return batch
