# SPDX-License-Identifier: Apache-2.0
"""The GPUs that each step of a job sees on a real Slurm, however the job asks for them.

srun would take the job's own request for GPUs (`SLURM_GPUS_PER_NODE` and the like) for one of the step. Here each kind
of request is made once, and each script whose steps have GPUs or none is asked. Programs of the steps
only write down what they see; nodes pretend to have 8 GPUs.
"""

import re
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster_bed import HERE

NO_GPU, ALL = "", "0,1,2,3,4,5,6,7"
# gpus_per_node of cluster.sh: left to Slurm, or said.
LEFT, SAID = "", "8"


@pytest.fixture
def seeing(cluster, tmp_path):
    """Return the function that makes a site whose programs write down the GPUs that they see."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(
        '#!/bin/bash\necho "sees <$CUDA_VISIBLE_DEVICES>"\n'
        f'[[ $1 != vllm ]] || exec "{sys.executable}" "{HERE}/stand_in_server.py" serves "${{@:2}}"\n'
    )
    wrapper.chmod(0o755)
    return lambda gpus_per_node, **settings: cluster.site(
        gpus_per_node=gpus_per_node, container=[str(wrapper)], **settings
    )


def seen(job):
    """Names of the steps -> GPUs that they have seen."""
    assert job.wait() == "COMPLETED", job.log
    found = {name: set(re.findall(r"sees <(.*)>", log)) for name, log in job.step_logs().items()}
    return {Path(name).stem: ", ".join(values) for name, values in found.items()}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"problem": "1+1", "solution": "2"}\n')
    return path


@pytest.mark.parametrize(
    ("asked", "gpus_per_node"),
    [
        ("--gres=gpu:8", LEFT),
        ("--gpus-per-task=8", LEFT),
        ("--gpus-per-node=h100:8 --cpus-per-gpu=1", SAID),
        ("--exclusive", LEFT),
    ],
)
def test_server_sees_all_gpus_and_what_asks_it_none(cluster, seeing, model, rows, asked, gpus_per_node):
    words = ("--model", model, "--data", rows)
    job = cluster.submit("slurm/evaluate.slurm", *words, sbatch=asked.split(), site=seeing(gpus_per_node))
    assert seen(job) == {"vllm": ALL, "run_benchmarks": NO_GPU}


def test_all_nodes_of_a_training_with_a_server_see_all_gpus(cluster, seeing, model):
    overrides = f"--use_vllm true --vllm_mode server --model_name_or_path '{model}' --dataset_name rows"
    job = cluster.submit(
        *("slurm/train.slurm", "--model", "demo", "--task", "grpo", "--config", "demo", "--accelerator", "zero2"),
        *("--args", overrides),
        sbatch=["--nodes=3", "--gpus=h100:24"],
        site=seeing(LEFT),
    )
    assert seen(job) == {"vllm": ALL, "train": ALL}


def test_decontamination_that_submits_itself_sees_no_gpu(cluster, seeing, rows):
    job = cluster.submit("slurm/decontaminate.slurm", "--dataset", rows, by="script", site=seeing(SAID))
    assert seen(job) == {"decontaminate": NO_GPU}


def test_task_sees_the_gpus_that_it_needs(cluster, seeing):
    words = ("--config", "recipes/dataset_filtering/filter_dapo.yaml", "--start", 0, "--end", 1)
    job = cluster.submit("slurm/compute_pass_rate.slurm", *words, by="script", site=seeing(LEFT))
    assert seen(job) == {"compute_pass_rate": "0"}
