# SPDX-License-Identifier: Apache-2.0
"""What Slurm knows of the job that this process supervises, and the way back to the queue."""

import logging
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from open_r1.cluster.submission import clean_environment

logger = logging.getLogger(__name__)

_SLURM_TIMEOUT_S = 60
_COLUMNS = ("JobID", "ArrayJobID", "ArrayTaskID", "RestartCnt", "State", "StartTime", "EndTime", "PreemptTime")


class RequeueError(RuntimeError):
    """Slurm does not take the job back; the message is its own."""


@dataclass(frozen=True)
class JobRecord:
    """What Slurm says of a job. The environment can't be asked: sbatch hands the submitting shell's variables on.

    Args:
        array_id: Number of its array; None outside an array.
        array_task: Its number in the array; None outside an array.
        restarts: How often it was requeued.
        state: RUNNING, COMPLETING, ...
        start: When this attempt began, in seconds since 1970; None when Slurm does not say.
        end: When Slurm ends it, in seconds since 1970; None without a time limit.
        is_preempted: It has to make room, and is requeued by Slurm if it still runs at its end.
    """

    array_id: str | None
    array_task: int | None
    restarts: int
    state: str
    start: float | None
    end: float | None
    is_preempted: bool


def look_up(job_id: str) -> JobRecord | None:
    """Return what Slurm knows of this job, None when it does not answer or knows none."""
    # The number of the last task of an array is that of the whole array too: squeue names all tasks then.
    # SLURM_TIME_FORMAT: seconds since 1970, whatever the zone of this node.
    shown = ask(
        "squeue",
        "--noheader",
        f"--job={job_id}",
        "--Format=" + ",".join(f"{column}:24" for column in _COLUMNS),
        env={"SLURM_TIME_FORMAT": "%s"},
    )
    for line in shown.splitlines():
        fields = line.split()
        if len(fields) == len(_COLUMNS) and fields[0] == job_id:
            array_id, task, restarts, state, start, end, preemption = fields[1:]
            is_task = task.isdigit()
            return JobRecord(
                array_id=array_id if is_task else None,
                array_task=int(task) if is_task else None,
                restarts=int(restarts),
                state=state,
                start=float(start) if start.isdigit() else None,
                end=float(end) if end.isdigit() else None,
                is_preempted=preemption.isdigit() and int(preemption) > 0,
            )
    return None


def requeue(job_id: str) -> None:
    """Send this job back to the queue; Slurm ends what still runs of it.

    Raises:
        RequeueError: It is not allowed to (`--no-requeue`), or Slurm does not answer.
    """
    command = ["scontrol", "requeue", job_id]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SLURM_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RequeueError(str(error)) from error
    if done.returncode != 0:
        raise RequeueError(done.stderr.strip() or f"scontrol ended with status {done.returncode}")


def ask(*command: str, env: Mapping[str, str] | None = None, expected: str | None = None) -> str:
    """Return what a command of Slurm says; "" with a warning when it fails, since there is a harder way for each.

    Args:
        command: Its words.
        env: Variables besides those of this process.
        expected: A complaint that is no reason for a warning.
    """
    # With SLURM_JOB_ID of this job in its environment scancel reports an error, though it sends the signal; a user's
    # SQUEUE_STATES and the like would change what is said.
    variables = {
        name: value
        for name, value in clean_environment(os.environ).items()
        if not name.startswith(("SQUEUE_", "SCANCEL_"))
    }
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SLURM_TIMEOUT_S,
            check=False,
            env={**variables, **(env or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("%s: %s", " ".join(command), error)
        return ""
    is_expected = expected is not None and expected in done.stderr
    if done.returncode != 0 and done.stderr.strip() and not is_expected:
        logger.warning("%s: %s", " ".join(command), done.stderr.strip())
    return done.stdout
