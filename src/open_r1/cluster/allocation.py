# SPDX-License-Identifier: Apache-2.0
"""The nodes of a job: those that Slurm gave it, or imagined ones for --dry-run."""

import logging
import os
import subprocess
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from open_r1.cluster.own_job import JobRecord, look_up
from open_r1.cluster.sites import Site

logger = logging.getLogger(__name__)

_SCONTROL_TIMEOUT_S = 60
_ASK_TIMES, _PAUSE_S = 20, 15.0  # five minutes: slurmctld may restart, or hand over to another machine
_FIRST_PORT, _NUM_PORTS = 20_000, 10_000  # below the ports that Linux deals out by itself, from 32,768
_PORTS_PER_JOB = 20
_ASSUMED_GPUS = 8
_OTHER_GPUS = (*range(_ASSUMED_GPUS, 0, -1), *range(_ASSUMED_GPUS + 1, 129))


@dataclass(frozen=True)
class Allocation:
    """What a job may use.

    Args:
        job_id: Slurm's number of the job; of an array task its own number.
        name: Name of the job.
        nodes: Names of its nodes.
        gpus_per_node: GPUs on each; 0 for none.
        restarts: How often it was requeued.
        label: `<job id>`, or `<array id>_<task>`, by which Slurm's commands are told of it: the number of the last
            task of an array is that of the whole array too.
        logs: Folder for the logs of all jobs.
        array_task: Number of the array task; None outside an array.
        record: What Slurm says of the job; None of imagined ones.
        has_assumed_gpus: Nobody has said yet how many GPUs its nodes will have.
    """

    job_id: str
    name: str
    nodes: tuple[str, ...]
    gpus_per_node: int
    restarts: int
    label: str
    logs: Path
    array_task: int | None = None
    record: JobRecord | None = None
    has_assumed_gpus: bool = False

    @classmethod
    def current(cls, site: Site) -> Self:
        """Return the allocation of the job that this process belongs to.

        Raises:
            ValueError: This is no Slurm job.
            RuntimeError: Slurm doesn't say which nodes it has, or what it knows of it.
        """
        if "SLURM_JOB_ID" not in os.environ:
            raise ValueError("SLURM_JOB_ID is not set: this is no Slurm job")
        job_id = os.environ["SLURM_JOB_ID"]
        record = _record(job_id)
        is_task = record.array_task is not None
        return cls(
            job_id=job_id,
            name=os.environ.get("SLURM_JOB_NAME", "open_r1"),
            nodes=_hostnames(os.environ["SLURM_JOB_NODELIST"]),
            gpus_per_node=_given_gpus() if site.gpus_per_node is None else site.gpus_per_node,
            restarts=record.restarts,
            label=f"{record.array_id}_{record.array_task}" if is_task else job_id,
            logs=site.logs,
            array_task=record.array_task,
            record=record,
        )

    @classmethod
    def imagined(cls, site: Site, *, name: str, num_nodes: int = 1, gpus_per_node: int | None = None) -> Self:
        """Return an allocation for --dry-run outside a job: node1, node2 and so on.

        Args:
            site: The cluster.
            name: Name of the job.
            num_nodes: 1 and more.
            gpus_per_node: None: the site's, and 8 where it leaves that to Slurm.
        """
        known = site.gpus_per_node if gpus_per_node is None else gpus_per_node
        nodes = tuple(f"node{number}" for number in range(1, num_nodes + 1))
        gpus = _ASSUMED_GPUS if known is None else known
        return cls(
            job_id="0",
            name=name,
            nodes=nodes,
            gpus_per_node=gpus,
            restarts=0,
            label="<job>",
            logs=site.logs,
            has_assumed_gpus=known is None,
        )

    def assuming_gpus_for(self, check: Callable[[int], object]) -> Self:
        """Return it with another number of GPUs, where theirs is only assumed and isn't one that a plan can have.

        Args:
            check: Raises ValueError for a number of GPUs of a node that the plan can't have.
        """
        for gpus in _OTHER_GPUS if self.has_assumed_gpus else ():
            try:
                check(gpus)
            except ValueError:
                continue
            return replace(self, gpus_per_node=gpus)
        return self

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What people should know of numbers that nobody has said."""
        if not self.has_assumed_gpus:
            return ()
        return (
            f"Before the job starts, {self.gpus_per_node} GPUs a node are assumed: gpus_per_node in "
            "slurm/cluster.sh says how many there are",
        )

    @property
    def is_imagined(self) -> bool:
        """Whether these are no nodes of a job (`imagined`)."""
        return self.job_id == "0"

    @property
    def attempt_folder(self) -> Path:
        """The folder for what this attempt writes; a requeued job gets another one."""
        return self.logs / f"{self.name}-{self.label}".replace("/", "_") / f"attempt-{self.restarts}"

    def correct(self, environment: MutableMapping[str, str]) -> None:
        """Make variables of the environment those of this job; `sbatch` leaves those of the submitting job in it."""
        environment.pop("SLURM_RESTART_COUNT", None)
        if self.restarts:
            environment["SLURM_RESTART_COUNT"] = str(self.restarts)
        if self.array_task is None:
            for name in [name for name in environment if name.startswith("SLURM_ARRAY_")]:
                del environment[name]

    def port(self, offset: int = 0) -> int:
        """Return a port that all nodes of the job agree on and jobs with near numbers don't use.

        Args:
            offset: Which of the job's 20 ports.
        """
        if not 0 <= offset < _PORTS_PER_JOB:
            raise ValueError(f"a job has ports 0 to {_PORTS_PER_JOB - 1}, got offset {offset}")
        return _FIRST_PORT + int(self.job_id) * _PORTS_PER_JOB % _NUM_PORTS + offset


def _record(job_id: str) -> JobRecord:
    for attempt in range(_ASK_TIMES):
        if attempt:
            logger.info("Slurm says nothing of job %s yet: asked again in %.0f s", job_id, _PAUSE_S)
            time.sleep(_PAUSE_S)
        if (record := look_up(job_id)) is not None:
            return record
    raise RuntimeError(f"Slurm says nothing of job {job_id}, so its attempts could not be told apart: try again")


def _hostnames(node_list: str) -> tuple[str, ...]:
    command = ["scontrol", "show", "hostnames", node_list]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SCONTROL_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"`{' '.join(command)}` failed, so the nodes of this job are not known: {error}") from error
    return tuple(done.stdout.split())


def _given_gpus() -> int:
    """GPUs of the first node, on which this process runs; all nodes of a job are taken to be alike."""
    return int(os.environ.get("SLURM_GPUS_ON_NODE") or "0")
