# SPDX-License-Identifier: Apache-2.0
"""What becomes of a training whose job is cancelled, killed, requeued or preempted."""

import psutil
import pytest

from open_r1.manifest import missing_from
from tests.slurm.cluster_bed import HERE, eventually
from tests.slurm.held_trainings import Trainings, held_process, write_trainings


@pytest.fixture(scope="module")
def trainings(cluster, tmp_path_factory) -> Trainings:
    return write_trainings(cluster, tmp_path_factory.mktemp("restart"))


def test_cancelled_training_saves_and_stays_cancelled(trainings):
    job = trainings.submit("cancelled", held_at="3")
    trainer = held_process(job)
    job.cancel()
    assert job.wait() == "CANCELLED"
    eventually(lambda: not trainer.is_running(), "the trainer ends")
    assert missing_from(trainings.output("cancelled") / "checkpoint-3") is None
    assert job.restarts == 0 and "goes back to the queue" not in job.log


def test_killed_supervisor_leaves_nothing_behind(cluster, trainings):
    job = trainings.submit_waiting()
    trainer = held_process(job)
    for process in psutil.process_iter(["cmdline", "environ"]):
        variables = process.info["environ"] or {}
        is_of_job = variables.get("SLURM_JOB_ID") == job.job_id
        is_of_cluster = variables.get("SLURM_CONF", "").startswith(str(cluster.folder))  # others may run beside it
        if is_of_job and is_of_cluster and any(word.endswith("slurm_script") for word in process.info["cmdline"]):
            process.kill()
    assert job.wait() == "FAILED"
    eventually(lambda: not trainer.is_running(), "the trainer ends")
    assert job.restarts == 0


def test_preempted_job_whose_programs_die_of_sigterm_comes_back(cluster, trainings):
    job = trainings.submit_waiting()
    held_process(job)
    cluster.submit(
        HERE / "stage.sh", "true", sbatch=["--partition=urgent", "--exclusive", f"--nodelist={job.nodes[0]}"]
    )
    eventually(lambda: job.restarts == 1, f"job {job.job_id} goes back to the queue")
    assert "train ended with exit status" in job.log
