# SPDX-License-Identifier: Apache-2.0
"""What a job knows of itself: nodes, attempts, folders, ports."""

from pathlib import Path

import pytest

from open_r1.cluster import allocation as allocations
from open_r1.cluster.allocation import Allocation
from open_r1.cluster.sites import Site

SITE = Site(root=Path("/p"), node_python="python3", logs=Path("/p/logs"))
CPU_SITE = Site(root=Path("/p"), node_python="python3", logs=Path("/p/logs"), gpus_per_node=0)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Puts this process into a job of two nodes, with more variables or other ones."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames n[1-2]" ] || { echo "$*" >&2; exit 1; }\necho n1; echo n2\n'
    )
    squeue = tmp_path / "squeue"
    for program in (scontrol, squeue):
        program.touch()
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(allocations, "_PAUSE_S", 0.0)

    def enter(*records: str, **variables: str) -> None:
        shown = "\n".join(records or ["41 41 N/A 0 RUNNING 1000 2000 N/A"])
        squeue.write_text(f"#!/bin/sh\ncat <<'END'\n{shown}\nEND\n")
        given = {"SLURM_JOB_ID": "41", "SLURM_JOB_NAME": "open_r1", "SLURM_JOB_NODELIST": "n[1-2]"} | variables
        for name in ("SLURM_RESTART_COUNT", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_GPUS_ON_NODE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return enter


def test_job_knows_its_nodes_and_gpus(job):
    job(SLURM_GPUS_ON_NODE="4")
    allocation = Allocation.current(SITE)
    assert allocation.nodes == ("n1", "n2")
    assert (allocation.gpus_per_node, allocation.restarts, allocation.array_task) == (4, 0, None)
    assert allocation.attempt_folder == Path("/p/logs/open_r1-41/attempt-0")


def test_what_a_site_says_of_its_gpus_wins_over_slurm(job):
    job(SLURM_GPUS_ON_NODE="4")
    assert Allocation.current(CPU_SITE).gpus_per_node == 0


@pytest.mark.parametrize("variables", [{}, {"SLURM_GPUS_ON_NODE": ""}])
def test_job_without_gpus_has_none(job, variables):
    job(**variables)
    assert Allocation.current(SITE).gpus_per_node == 0


def test_requeued_job_writes_into_another_folder(job):
    job("41 41 N/A 3 RUNNING 1000 2000 N/A")
    assert Allocation.current(SITE).attempt_folder.name == "attempt-3"


def test_task_of_an_array_is_called_by_array_and_number(job):
    # The last task has the number of the array, for which Slurm names them all.
    job(
        "43 41 1 2 RUNNING 1 2 N/A",
        "41 41 0 0 RUNNING 1000 2000 N/A",
        SLURM_ARRAY_JOB_ID="41",
        SLURM_ARRAY_TASK_ID="0",
    )
    allocation = Allocation.current(SITE)
    assert allocation.array_task == 0
    assert allocation.attempt_folder == Path("/p/logs/open_r1-41_0/attempt-0")


def test_job_that_an_array_task_submits_is_no_task_of_it(job):
    job(SLURM_ARRAY_JOB_ID="19", SLURM_ARRAY_TASK_ID="4", SLURM_RESTART_COUNT="3")
    allocation = Allocation.current(SITE)
    assert (allocation.label, allocation.array_task, allocation.restarts) == ("41", None, 0)
    variables = {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_JOB_ID": "19", "SLURM_RESTART_COUNT": "3", "A": "b"}
    allocation.correct(variables)
    assert variables == {"A": "b"}


def test_variables_of_an_array_task_stay(job):
    job("41 40 4 1 RUNNING 1 2 N/A")
    variables = {"SLURM_ARRAY_TASK_ID": "4"}
    Allocation.current(SITE).correct(variables)
    assert variables == {"SLURM_ARRAY_TASK_ID": "4", "SLURM_RESTART_COUNT": "1"}


@pytest.mark.parametrize("record", ["", "42 42 N/A 0 RUNNING 1 2 N/A", "41 41"])
def test_job_that_slurm_does_not_know_ends(job, record):
    job(record)
    with pytest.raises(RuntimeError, match="Slurm says nothing of job 41"):
        Allocation.current(SITE)


def test_job_waits_for_a_slurm_that_restarts(job, tmp_path):
    job()
    (tmp_path / "answer").write_text((tmp_path / "squeue").read_text())
    (tmp_path / "squeue").write_text(
        f"#!/bin/sh\ncd '{tmp_path}'\necho >>asked\n[ $(wc -l <asked) -gt 15 ] || exit 1\n. ./answer\n"
    )
    assert Allocation.current(SITE).job_id == "41"


def test_slurm_has_minutes_to_answer():
    assert allocations._ASK_TIMES * allocations._PAUSE_S >= 300


@pytest.mark.parametrize(
    ("record", "end", "is_preempted"),
    [
        ("41 41 N/A 0 RUNNING 1000 2000 N/A", 2000.0, False),
        ("41 41 N/A 0 RUNNING 1000 NONE 0", None, False),
        ("41 41 N/A 0 RUNNING 1000 2000 1900", 2000.0, True),
    ],
)
def test_record_says_when_a_job_ends_and_whether_it_has_to_make_room(job, record, end, is_preempted):
    job(record)
    record = Allocation.current(SITE).record
    assert (record.start, record.end, record.is_preempted) == (1000.0, end, is_preempted)


def test_logs_of_a_job_stay_in_their_folder(job):
    job(SLURM_JOB_NAME="../../x")
    assert Allocation.current(SITE).attempt_folder == Path("/p/logs/.._.._x-41/attempt-0")


def test_outside_a_job_is_refused(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ValueError, match="this is no Slurm job"):
        Allocation.current(SITE)


def test_nodes_that_slurm_does_not_name_end_the_job(job):
    job(SLURM_JOB_NODELIST="n[7")
    with pytest.raises(RuntimeError, match=r"`scontrol show hostnames n\[7` failed"):
        Allocation.current(SITE)


def test_imagined_allocation_has_the_gpus_of_the_site():
    assert Allocation.imagined(CPU_SITE, name="x", num_nodes=2).gpus_per_node == 0
    assert Allocation.imagined(SITE, name="x", num_nodes=2).nodes == ("node1", "node2")


def named(job_id: int) -> Allocation:
    return Allocation(str(job_id), "x", ("n1",), 0, 0, str(job_id), Path("/l"))


def test_jobs_with_near_numbers_share_no_port():
    ports = [named(job_id).port(offset) for job_id in range(1, 400) for offset in range(20)]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("job_id", [1, 499, 500, 67_108_863])
def test_ports_are_below_those_that_linux_deals_out(job_id):
    assert 1024 <= named(job_id).port(0) <= named(job_id).port(19) < 32_768


@pytest.mark.parametrize("offset", [-1, 20])
def test_port_of_another_job_is_refused(offset):
    with pytest.raises(ValueError, match="ports 0 to 19"):
        named(1).port(offset)
