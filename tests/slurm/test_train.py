# SPDX-License-Identifier: Apache-2.0
"""train.slurm on a real Slurm: the node that serves, however its server behaves; `test_restart_limits.py` trains.

Weights reach vLLM through NCCL, which needs GPUs: here a real vLLM serves, and a program that asks it for a completion
stands in for the trainer (`stand_in_trainer.py`). The life of the server is tested with `stand_in_server.py`.
"""

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster_bed import HERE, ON_CPUS, eventually

SCRIPT = "slurm/train.slurm"


@pytest.fixture(scope="module")
def served_recipe(tmp_path_factory) -> Path:
    """A GRPO recipe that wants a server; the name of its task is that of its folder, and nobody has its model."""
    path = tmp_path_factory.mktemp("a user's recipes") / "grpo" / "recipe.yaml"
    path.parent.mkdir()
    settings = {
        "model_name_or_path": "nobody/has-this",
        "dtype": "bfloat16",
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_max_model_length": 256,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
    }
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.fixture
def start(cluster, served_recipe, smollm2):
    """Return the function that starts a stand-in trainer on one node and a server on the other."""

    def start(server: str | None, *words: str, run_name: str = "done", **settings):
        if server is not None:
            settings["vllm"] = [sys.executable, str(HERE / "stand_in_server.py"), server]
        words = ("--recipe", served_recipe, "--accelerator", "cpu", "--script", HERE / "stand_in_trainer.py", *words)
        # What overrides the recipe is for the server too, which else would serve another model than is asked for.
        rest = ("--", f"--run_name={run_name}", "--model_name_or_path", smollm2)
        return cluster.submit(
            SCRIPT, *words, *rest, sbatch=["--nodes=2"], site=cluster.site(environment=ON_CPUS, **settings)
        )

    return start


def wait_for_end_of(cluster, *words: str) -> None:
    """Wait until no process has one of these words: Slurm waits for those that it knows of, not for orphans."""
    eventually(lambda: not any(map(cluster.processes_with, words)), f"no process with one of {words} is left")


def port_of(job) -> str:
    """The server's port, which stands in no other job's command lines."""
    return re.search(r"--port (\d+)", job.log)[1]


def test_server_of_last_node_answers_trainer_of_first(cluster, start):
    job = start(None, "--vllm-args", "--enforce-eager --max-num-seqs 4")
    assert job.wait() == "COMPLETED"
    assert f"asked http://{job.nodes[1]}:" in job.log and "Paris" in job.log
    assert f"starting vllm on {job.nodes[1]}:" in job.log and f"starting train on {job.nodes[0]}:" in job.log
    wait_for_end_of(cluster, port_of(job))


def test_server_that_never_gets_ready_ends_the_job(cluster, start):
    job = start("loads", "--deadline", "5")
    assert job.wait() == "FAILED"
    assert "--deadline" in job.log and "starting train" not in job.log
    wait_for_end_of(cluster, port_of(job))


def test_server_that_dies_ends_the_job_with_its_words_and_status(start):
    job = start("dies")
    assert (job.wait(), job.exit_status) == ("FAILED", 7)
    assert "vllm ended with exit status 7" in job.log and "no memory for 1 expert of ümlaut" in job.log


def test_server_that_dies_while_training_ends_the_job(cluster, start):
    job = start("serves", run_name="stay")
    job.wait_for_log("asked http://")
    cluster.command("scancel", "--signal=KILL", job.steps["vllm"])
    assert (job.wait(), job.exit_status) == ("FAILED", 137)
    wait_for_end_of(cluster, "stand_in_trainer.py")


def test_failing_trainer_ends_its_server_and_gives_its_status(cluster, start):
    job = start("serves", run_name="fail")
    assert job.wait() == "FAILED"
    assert "train ended with exit status" in job.log
    wait_for_end_of(cluster, port_of(job))


def test_cancelled_job_leaves_nothing_behind(cluster, start):
    job = start("serves", run_name="stay")
    job.wait_for_log("asked http://")
    word = port_of(job)
    job.cancel()
    assert job.wait() == "CANCELLED"
    wait_for_end_of(cluster, word, "stand_in_trainer.py")
