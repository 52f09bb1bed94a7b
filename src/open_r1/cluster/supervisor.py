# SPDX-License-Identifier: Apache-2.0
"""Starts the programs of a job, watches them, and ends or requeues the job.

1. Servers first: the work starts when all of them answer, within a deadline. One that ends before the work does ends
   the job with the end of its log and its exit status.
2. Whatever happens, nothing that the job started is left running.
3. Before the time limit Slurm sends SIGUSR1 (`--signal=B:USR1@...`): the work saves and stops, the job is requeued
   (`time_limit.py`). Two attempts in a row without a new checkpoint, or answer, end the job: it would come back for
   ever.
4. SIGTERM ends a job (scancel, preemption), which Slurm may requeue by itself and we never do.
"""

import json
import logging
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.kept import Kept, find_answers, find_checkpoints
from open_r1.cluster.own_job import JobRecord, RequeueError, look_up, requeue
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import RunningStep, Step, stop_all
from open_r1.cluster.time_limit import TimeLimit
from open_r1.generation.servers import answers

logger = logging.getLogger(__name__)

STOP_FILE_VARIABLE = "OPEN_R1_STOP_FILE"
DEFAULT_DEADLINE_S = 1800.0  # large models are read for many minutes from network disks
_TICK_S, _ASK_EVERY_S, _SAY_EVERY_S = 0.5, 2.0, 60.0
_MARGIN_S = 20.0  # before the time limit, to give up on work that does not stop and to requeue the job
_TERMINATED = 143
_NO_PROGRESS = "no-progress"  # a file in the folder of an attempt
_WARNED_VARIABLE = "OPEN_R1_JOB_IS_WARNED"  # lib.sh: Slurm's warning came before this process began

OnTimeLimit = Literal["stop_file", "requeue", "end"]


@dataclass(frozen=True)
class Server:
    """A step that must answer before the work starts.

    Args:
        step: The program.
        health_urls: URLs that must all give 200.
    """

    step: Step
    health_urls: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a job does.

    Args:
        servers: Programs that run as long as the work does, or until the job ends if there is no work.
        work: Programs that run one after the other; the first that fails ends the job.
        on_time_limit: What happens shortly before the time limit. "stop_file": the work is asked to save and stop
            (`OPEN_R1_STOP_FILE`), then the job is requeued; "requeue": its programs are ended and it is requeued, for
            services and work that goes on by itself; "end": its programs are ended.
        deadline_s: Seconds until all servers must be ready.
        notes: What people should know of it, in the log and with --dry-run.
        on_ready: Called once when all servers are ready, before the work.
        short_lived: Files that are of use while the work runs: removed before the servers start, and at the end.
        output_dir: Folder in which the work keeps its checkpoints, by which an attempt without progress is known.
        answers_in: Folders in which work that is ended and requeued keeps its answers, for the same. None: there are
            none, of services, or nobody here knows where they are.
        grace_s: Seconds from SIGTERM to SIGKILL, 30 as in Slurm (KillWait).
    """

    servers: tuple[Server, ...] = ()
    work: tuple[Step, ...] = ()
    on_time_limit: OnTimeLimit = "end"
    deadline_s: float = DEFAULT_DEADLINE_S
    notes: tuple[str, ...] = ()
    on_ready: Callable[[], None] | None = None
    short_lived: tuple[Path, ...] = ()
    output_dir: Path | None = None
    answers_in: tuple[Path, ...] | None = None
    grace_s: float = 30.0


class _Ended(Exception):
    """The job is over with this exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Supervisor:
    """Runs a plan in the job that this process is the batch process of."""

    def __init__(self, site: Site, allocation: Allocation, plan: Plan) -> None:
        """Make the folder for the logs of this attempt, and listen for signals; nothing starts yet."""
        self._site, self._allocation, self._plan = site, allocation, plan
        self._folder = allocation.attempt_folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._stop_file = self._folder / "stop"
        self._answer_path = self._folder / "stop.done"
        for path in (self._stop_file, self._answer_path, self._folder / _NO_PROGRESS, *plan.short_lived):
            path.unlink(missing_ok=True)  # numbers of jobs come again when Slurm has lost its state
        self._running: list[RunningStep] = []
        self._servers: list[RunningStep] = []
        self._is_terminated = self._is_asked = False  # told to end; the work was asked to save and stop
        self._is_ready = False  # all servers
        self._give_up_at = math.inf  # on the monotonic clock
        self._kept = self._find_kept()
        self._limit = TimeLimit(allocation.job_id, allocation.record)
        self._listen()

    def run(self) -> int:
        """Run the plan to its end, and return the exit status for the job."""
        logger.info("Logs of all programs: %s", self._folder)
        try:
            self._start_servers()
            if self._plan.on_ready is not None:
                self._plan.on_ready()
            for step in self._plan.work:
                self._do(step)
            while self._servers and not self._plan.work:  # a service
                self._tick()
        except _Ended as ended:
            return ended.status
        finally:
            self._stop_all()
        return 0

    def _listen(self) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: self._limit.warn())
        if os.environ.pop(_WARNED_VARIABLE, None):
            self._limit.warn()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_terminated)

    def _start_servers(self) -> None:
        for server in self._plan.servers:
            self._servers.append(self._start(server.step))
        waiting = [url for server in self._plan.servers for url in server.health_urls]
        start = said = time.monotonic()
        while waiting := [url for url in waiting if not answers(url)]:
            self._tick()
            now = time.monotonic()
            if now - start > self._plan.deadline_s:
                tails = "\n".join(f"The end of {step.log_path}:\n{step.tail()}" for step in self._servers)
                logger.error(
                    "Not ready after %.0f s: %s. Raise --deadline if it only needs longer.\n%s",
                    self._plan.deadline_s,
                    ", ".join(waiting),
                    tails,
                )
                raise _Ended(1)
            if now - said > _SAY_EVERY_S:
                said = now
                logger.info(
                    "Waiting for %s, %.0f s of at most %.0f s", ", ".join(waiting), now - start, self._plan.deadline_s
                )
        self._end_if_told()  # within the last wait
        self._is_ready = True
        if self._servers:
            logger.info("All servers are ready after %.0f s.", time.monotonic() - start)

    def _do(self, step: Step) -> None:
        work = self._start(step)
        while (status := work.poll()) is None:
            self._tick(work)
        if (answer := self._read_answer()) is not None:
            logger.info(
                "%s has stopped early, at step %s. %s is complete.",
                step.name,
                answer.get("step", "unknown"),
                answer.get("checkpoint", "Its checkpoint"),
            )
            if self._is_asked and not self._is_terminated:
                self._requeue(has_progressed=True)
            self._end_by_term(f"{step.name} was told to end (SIGTERM)")
        if status != 0:
            self._end_if_told(work)
            logger.error("%s. Its log: %s", _describe_end(work), work.log_path)
            raise _Ended(status)
        where = self._plan.output_dir
        logger.info("%s has ended well%s.", step.name, f", its output is in {where}" if where else "")

    def _start(self, step: Step) -> RunningStep:
        logger.info("Starting %s: %s", step.name, step.shell_line(self._site, self._allocation))
        is_asked = self._plan.on_time_limit == "stop_file" and step in self._plan.work
        env = {STOP_FILE_VARIABLE: str(self._stop_file)} if is_asked else {}
        running = RunningStep(step, self._site, self._allocation, env)
        self._running.append(running)
        return running

    def _tick(self, work: RunningStep | None = None) -> None:
        """Wait a moment and see to signals and to servers that have ended."""
        self._end_if_told()
        if self._limit.is_near():
            self._meet_time_limit(work)
        for server in self._servers:
            status = server.poll()
            if status is not None:
                self._end_if_told(server)
                logger.error(
                    "%s ended with exit status %d. The end of %s:\n%s",
                    server.step.name,
                    status,
                    server.log_path,
                    server.tail(),
                )
                raise _Ended(status or 1)
        time.sleep(_TICK_S)

    def _meet_time_limit(self, work: RunningStep | None) -> None:
        if self._plan.on_time_limit == "end":
            logger.warning("The time limit is near: stopping everything.")
            raise _Ended(_TERMINATED)
        if self._plan.on_time_limit == "requeue" and self._is_ready:
            self._requeue(has_progressed=self._plan.answers_in is None or self._has_progressed())
        if work is None:
            self._requeue(has_progressed=False)  # servers that are never ready in the time of a job
        if not self._is_asked:
            self._ask_to_stop()
        if time.monotonic() > self._give_up_at:
            logger.warning("The work has not stopped in time: it goes on from its last complete checkpoint.")
            self._requeue(has_progressed=self._has_progressed())

    def _ask_to_stop(self) -> None:
        left_s = self._limit.left_s
        if left_s is not None:
            self._give_up_at = time.monotonic() + left_s - min(_MARGIN_S, left_s / 3)
        logger.warning(
            "The time limit is near (%s s): asking the work to save and stop.",
            "unknown" if left_s is None else round(left_s),
        )
        self._stop_file.touch()
        self._is_asked = True

    def _requeue(self, *, has_progressed: bool) -> None:
        """Send the job back to the queue, unless it would only come back again and again."""
        if not has_progressed:
            before = self._folder.with_name(f"attempt-{self._allocation.restarts - 1}") / _NO_PROGRESS
            if before.exists():
                what, advice = self._describe_standstill()
                logger.error(
                    "Two attempts in a row have ended %s: the job is not requeued. Give it more time (--time)%s.",
                    what,
                    advice,
                )
                raise _Ended(1)
            (self._folder / _NO_PROGRESS).touch()
        logger.warning("The job goes back to the queue.")
        try:
            requeue(self._allocation.label)
        except RequeueError as error:
            is_training = self._plan.on_time_limit == "stop_file"
            logger.error(
                "It could not be requeued: %s. Submit the same command again%s: it goes on.",
                error,
                ", without resume_from_checkpoint if that is given" if is_training else "",
            )
            raise _Ended(1) from error
        raise _Ended(0)

    def _describe_standstill(self) -> tuple[str, str]:
        if not self._is_ready:
            return "before all servers were ready", ""
        if self._plan.answers_in is not None:
            folders = ", ".join(map(str, self._plan.answers_in))
            return f"without a new answer in {folders}", "; the same command goes on with those that are there"
        return "without a new checkpoint", ", or let it save more often (save_steps)"

    def _end_if_told(self, ended: RunningStep | None = None) -> None:
        """End everything after SIGTERM. A preempted job's programs may have `ended` by theirs, which comes first."""
        if self._is_terminated or (ended is not None and self._has_grace_period()):
            if ended is not None:
                logger.warning("%s. Its log: %s", _describe_end(ended), ended.log_path)
            self._end_by_term("Told to end (SIGTERM)")

    def _has_grace_period(self) -> bool:
        """Say whether the job is preempted and its end has come nearer. One that was suspended keeps its end."""
        first, record = self._allocation.record, look_up(self._allocation.job_id)
        if record is None or record.end is None or not _is_preempted(record):
            return False
        return first is None or first.end is None or record.end < first.end

    def _end_by_term(self, why: str) -> None:
        """End everything. A job that is preempted is left to Slurm, which takes it back only if it still runs."""
        if self._plan.on_time_limit == "stop_file":
            self._stop_file.touch()  # first: a busy Slurm may take a minute to answer
        record = look_up(self._allocation.job_id)
        is_preempted = _is_preempted(record)
        left_s = 0.0 if record is None or record.end is None else max(0.0, record.end - time.time())
        logger.warning("%s: stopping everything%s.", why, f" within {left_s:.0f} s" if is_preempted else "")
        end = time.monotonic() + (left_s if is_preempted else self._plan.grace_s)
        if self._plan.on_time_limit == "stop_file":
            work = [running for running in self._running if running not in self._servers]
            stop_all(work[::-1], end - time.monotonic())  # it needs its servers to the end of its step
        stop_all(self._running[::-1], end - time.monotonic())
        end = time.monotonic() + left_s + self._plan.grace_s
        while is_preempted and time.monotonic() < end and self._still_runs():
            time.sleep(_ASK_EVERY_S)
        raise _Ended(_TERMINATED)

    def _still_runs(self) -> bool:
        record = look_up(self._allocation.job_id)
        return record is not None and record.state == "RUNNING"

    def _read_answer(self) -> dict[str, Any] | None:
        """Return what the work says of its early end, None when it has not stopped early."""
        try:
            return dict(json.loads(self._answer_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            logger.warning("%s cannot be read: %s", self._answer_path, error)
            return {}

    def _find_kept(self) -> Kept:
        return find_checkpoints(self._plan.output_dir) | find_answers(self._plan.answers_in or ())

    def _has_progressed(self) -> bool:
        return bool(self._find_kept() - self._kept)

    def _stop_all(self) -> None:
        left_s = math.inf if self._limit.left_s is None else self._limit.left_s
        # Slurm's own end, at the time limit, would hide how the job has ended.
        stop_all(self._running[::-1], min(self._plan.grace_s, max(1.0, left_s / 2)))
        self._running, self._servers = [], []
        for path in self._plan.short_lived:
            path.unlink(missing_ok=True)

    def _note_terminated(self, number: int, frame: object) -> None:
        self._is_terminated = True


def _describe_end(ended: RunningStep) -> str:
    reason = ended.reason()
    return f"{ended.step.name} ended with exit status {ended.poll()}{f': {reason}' if reason else ''}"


def _is_preempted(record: JobRecord | None) -> bool:
    return record is not None and record.state == "RUNNING" and record.is_preempted
