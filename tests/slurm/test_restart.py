# SPDX-License-Identifier: Apache-2.0
"""What becomes of a training when its job ends too early: time limit, lost node, scancel, kill -9.

Real trainings of a tiny model (`held_sft.py`). Jobs that wait for a time limit run beside the other tests.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from open_r1.utils.checkpoints import list_checkpoints, missing_from
from tests.distributed.trainings import write_recipes
from tests.integration.tiny import are_identical, log_history, weights_of
from tests.slurm.cluster_bed import HERE, ON_CPUS, eventually

SCRIPT = "slurm/train.slurm"
MAX_STEPS = 10
TOLERANCE = 1e-4  # of two processes against one
ONE_PROCESS = "--per_device_train_batch_size 8 --gradient_accumulation_steps 1"


@dataclass(frozen=True)
class Trainings:
    """How to submit a training that waits in some steps."""

    cluster: object
    recipe: Path
    grpo: Path
    folder: Path

    def output(self, name: str) -> Path:
        return self.folder / name

    def submit(self, name: str, held_at: str = "", nodes: int = 1, save_steps: int = 100, sbatch=(), **variables: str):
        held = [f"HELD_AT={held_at}", *(f"{key}={value}" for key, value in variables.items())]
        arguments = f"--do_eval false --eval_strategy no --max_steps {MAX_STEPS} --callbacks hold"
        if nodes == 1:
            arguments += f" {ONE_PROCESS}"
        return self.cluster.submit(
            *(SCRIPT, "--recipe", self.recipe, "--task", "sft", "--accelerator", "cpu" if nodes == 1 else "ddp"),
            *("--script", HERE / "held_sft.py", "--args", arguments, "--"),
            *("--output_dir", self.output(name), "--save_steps", save_steps),
            sbatch=[f"--nodes={nodes}", *sbatch],
            site=self.cluster.site(environment=[*ON_CPUS, *held]),
        )


@pytest.fixture(scope="module")
def trainings(cluster, tmp_path_factory) -> Trainings:
    folder = tmp_path_factory.mktemp("restart")
    recipes = write_recipes(folder)
    return Trainings(cluster, recipes.sft, recipes.grpo, folder)


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
        "deaf": trainings.submit("deaf", held_at="3,3", sbatch=signalled[1], HELD_FOR_EVER="1"),
    }
    yield jobs
    cluster.tidy(list(jobs.values()))


def held_process(job, attempt: int = 0) -> psutil.Process:
    """The trainer, as soon as it waits in its step."""

    def find():
        log = job.step_logs().get(f"attempt-{attempt}/train.log", "")
        return re.search(r"held in step \d+ as process (\d+)\n", log)

    return psutil.Process(int(eventually(find, f"the training of job {job.job_id} waits")[1]))


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
    assert "The job goes back to the queue." in limit.log
    assert f"Going on from {output / 'checkpoint-4'}" in limit.log
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
    assert deaf.log.count("The work has not stopped in time") == 2
    assert "Two attempts in a row have ended without a new checkpoint" in deaf.log


def test_two_nodes_go_on_after_a_time_limit_and_a_lost_node(cluster, trainings, whole):
    job = trainings.submit("two", held_at="3,6", nodes=2, save_steps=2)
    held_process(job)
    job.signal_batch("USR1")
    held_process(job, 1)
    cluster.node_down(job.nodes[1])
    assert job.wait() == "COMPLETED"
    assert job.restarts == 2
    output = trainings.output("two")
    # Of the nodes that are left the trainer was told to end in time to save once more, or not.
    assert re.findall(rf"Going on from {output}/checkpoint-(\d)", job.log) in (["3", "4"], ["3", "6"])
    assert whole.wait() == "COMPLETED"
    assert losses(output) == pytest.approx(losses(trainings.output("whole")), rel=TOLERANCE)
    expected = weights_of(trainings.output("whole"))
    assert max((weights_of(output)[name] - tensor).abs().max().item() for name, tensor in expected.items()) < TOLERANCE


def test_cancelled_training_saves_and_stays_cancelled(trainings):
    job = trainings.submit("cancelled", held_at="3")
    trainer = held_process(job)
    job.cancel()
    assert job.wait() == "CANCELLED"
    eventually(lambda: not trainer.is_running(), "the trainer ends")
    assert missing_from(trainings.output("cancelled") / "checkpoint-3") is None
    assert job.restarts == 0 and "goes back to the queue" not in job.log


def test_killed_trainer_ends_the_job_with_a_failure(trainings):
    job = trainings.submit("killed", held_at="3")
    held_process(job).kill()
    assert job.wait() == "FAILED"
    assert job.restarts == 0 and "train ended with exit status" in job.log


def test_killed_supervisor_leaves_nothing_behind(cluster, trainings):
    job = trainings.submit("orphan", held_at="3")
    trainer = held_process(job)
    for process in psutil.process_iter(["cmdline", "environ"]):
        variables = process.info["environ"] or {}
        is_of_job = variables.get("SLURM_JOB_ID") == job.job_id
        is_of_cluster = variables.get("SLURM_CONF", "").startswith(str(cluster.folder))  # others may run beside it
        if is_of_job and is_of_cluster and "open_r1.cluster.train" in process.info["cmdline"]:
            process.kill()
    assert job.wait() == "FAILED"
    eventually(lambda: not trainer.is_running(), "the trainer ends")
    assert job.restarts == 0


def test_preempted_job_whose_programs_die_of_sigterm_comes_back(cluster, trainings, tmp_path):
    script = tmp_path / "dies.py"
    script.write_text(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\nprint('begun', flush=True)\nsignal.pause()\n"
    )
    job = cluster.submit(
        SCRIPT, "--recipe", trainings.recipe, "--task", "sft", "--accelerator", "cpu", "--script", script
    )
    job.wait_for_log("begun\n")
    cluster.submit(
        HERE / "stage.sh", "true", sbatch=["--partition=urgent", "--exclusive", f"--nodelist={job.nodes[0]}"]
    )
    eventually(lambda: job.restarts == 1, f"job {job.job_id} goes back to the queue")
    assert "train ended with exit status" in job.log and "Told to end (SIGTERM)" in job.log


@pytest.mark.parametrize("by", ["scontrol requeue", "preemption"])
def test_server_answers_until_the_training_that_is_told_to_end_has_saved(cluster, trainings, by):
    site = cluster.site(environment=ON_CPUS, vllm=[sys.executable, str(HERE / "stand_in_server.py"), "serves"])
    arguments = "--use_vllm true --vllm_mode server --num_generations 8 --run_name saves"
    job = cluster.submit(
        *(SCRIPT, "--recipe", trainings.grpo, "--task", "grpo", "--accelerator", "cpu"),
        *("--script", HERE / "stand_in_trainer.py", "--args", arguments),
        *("--", "--model_name_or_path", trainings.folder / "model"),
        sbatch=["--nodes=2"],
        site=site,
    )
    job.wait_for_log("asked http://")
    if by == "preemption":
        beside = ["--partition=urgent", "--exclusive", f"--nodelist={job.nodes[1]}"]
        cluster.submit(HERE / "stage.sh", "true", sbatch=beside)
    else:
        cluster.command("scontrol", "requeue", job.job_id)
    eventually(lambda: job.restarts == 1 and job.state != "COMPLETING", f"job {job.job_id} is in the queue again")
    assert "saved at the end of the step" in job.step_logs()["attempt-0/train.log"]
    assert "vllm ended with exit status" not in job.log
