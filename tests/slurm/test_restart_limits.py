# SPDX-License-Identifier: Apache-2.0
"""What becomes of a training whose job meets its time limit or loses a node. Jobs that wait are started together."""

import json
import re
from pathlib import Path

import pytest

from open_r1.training.checkpoints import list_checkpoints
from tests.integration.tiny import are_identical, log_history, weights_of
from tests.slurm.cluster_bed import eventually
from tests.slurm.held_trainings import Trainings, held_process, write_trainings

TOLERANCE = 1e-4  # of two processes against one


@pytest.fixture(scope="module")
def trainings(cluster, tmp_path_factory) -> Trainings:
    return write_trainings(cluster, tmp_path_factory.mktemp("restart"))


@pytest.fixture(scope="module")
def whole(cluster, trainings):
    """An uninterrupted training."""
    job = trainings.submit("whole")
    yield job
    cluster.tidy([job])


@pytest.fixture(scope="module")
def jobs(cluster, trainings):
    """Jobs that take long, started together: one that meets its time limit, one that does not stop there."""
    signalled = ["--time=20", "--signal=B:USR1@60"], ["--time=20", "--signal=B:USR1@10"]
    jobs = {
        "limit": trainings.submit("limit", held_at="4", sbatch=signalled[0]),
        "deaf": trainings.submit_waiting(sbatch=signalled[1]),
    }
    yield jobs
    cluster.tidy(list(jobs.values()))


def losses(output_dir: Path) -> dict[int, float]:
    return {entry["step"]: entry["loss"] for entry in log_history(output_dir) if "loss" in entry}


def meet_limit(cluster, job, seconds: int, attempt: int = 0) -> None:
    """Move the end of a job near, so that Slurm signals it now, and give the next attempt time again."""
    held_process(job, attempt)
    cluster.command("scontrol", "update", f"jobid={job.job_id}", f"EndTime=now+{seconds}")
    eventually(lambda: job.restarts > attempt or job.state == "FAILED", "the job meets its limit")
    if job.restarts > attempt:
        cluster.command("scontrol", "update", f"jobid={job.job_id}", "TimeLimit=20")


def test_job_that_meets_its_time_limit_goes_on_to_the_same_end(cluster, trainings, jobs, whole):
    limit = jobs["limit"]
    meet_limit(cluster, limit, 90)
    assert whole.wait() == "COMPLETED"
    assert limit.wait() == "COMPLETED"
    assert limit.restarts == 1
    output = trainings.output("limit")
    assert losses(output) == losses(trainings.output("whole"))
    assert are_identical(weights_of(output), weights_of(trainings.output("whole")))
    assert list_checkpoints(output)[0].name == "checkpoint-4"
    assert "goes back to the queue" in limit.log
    assert f"Resuming from {output / 'checkpoint-4'}" in limit.log
    logs = limit.step_logs()
    assert "Stopped at step 4 of 10" in logs["attempt-0/train.log"]
    assert "Stopped at" not in logs["attempt-1/train.log"]
    assert json.loads((output / "run_manifest.json").read_text())["runs"][-1]["slurm_job"] == limit.job_id


def test_deaf_training_is_requeued_once_and_then_given_up(cluster, jobs):
    deaf = jobs["deaf"]
    for attempt in range(2):
        meet_limit(cluster, deaf, 40, attempt)
    assert deaf.wait() == "FAILED"
    assert deaf.restarts == 1
    assert deaf.log.count("has not stopped in time") == 2
    assert "two attempts in a row" in deaf.log


def test_two_nodes_go_on_after_a_time_limit_and_a_lost_node(cluster, trainings, whole):
    job = trainings.submit("two", held_at="3,6", nodes=2, save_steps=2)
    held_process(job)
    job.signal_batch("USR1")
    held_process(job, 1)
    cluster.node_down(job.nodes[1])
    assert job.wait() == "COMPLETED"
    assert job.restarts == 2
    assert "2 processes" in job.log and "A step: 8 rows" in job.log
    output = trainings.output("two")
    # Of the nodes that are left the trainer was told to end in time to save once more, or not.
    assert re.findall(rf"Resuming from {output}/checkpoint-(\d)", job.log) in (["3", "4"], ["3", "6"])
    assert whole.wait() == "COMPLETED"
    assert losses(output) == pytest.approx(losses(trainings.output("whole")), rel=TOLERANCE)
    expected = weights_of(trainings.output("whole"))
    assert max((weights_of(output)[name] - tensor).abs().max().item() for name, tensor in expected.items()) < TOLERANCE
