# SPDX-License-Identifier: Apache-2.0
"""The GPUs that each step of a job sees on a real Slurm, however the job asks for them.

srun would take the job's own request for GPUs (`SLURM_GPUS_PER_NODE` and the like) for one of the step. The programs
of the steps only write down what they see; nodes pretend to have 8 GPUs.
"""

import re
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster_bed import HERE

NO_GPU, ALL = "", "0,1,2,3,4,5,6,7"
# gpus_per_node of cluster.sh, and words for sbatch, where {} stands for the GPUs of all nodes together.
SITES = ("", "8")
ASKED = (
    "--gpus-per-node=8",
    "--gpus={}",
    "--gpus=h100:{}",
    "--gpus-per-task=8",
    "--gres=gpu:8",
    "--gpus-per-node=h100:8 --cpus-per-gpu=1",
)
every_site = pytest.mark.parametrize("gpus_per_node", SITES, ids=["not said", "8 a node"])


@pytest.fixture
def seeing(cluster, tmp_path):
    """Return the function that makes a site whose programs write down the GPUs that they see."""
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho "sees <$CUDA_VISIBLE_DEVICES>"\n')
    vllm = tmp_path / "vllm"
    vllm.write_text(f'#!/bin/bash\n. "{python}"\nexec "{sys.executable}" "{HERE}/stand_in_server.py" serves "$@"\n')
    for program in (python, vllm):
        program.chmod(0o755)

    def make(gpus_per_node, **settings):
        return cluster.site(gpus_per_node=gpus_per_node, node_python=str(python), vllm=[str(vllm)], **settings)

    return make


def seen(job):
    """Names of the steps -> GPUs that they have seen."""
    assert job.wait() == "COMPLETED", job.log
    assert " WARNING " not in job.log
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
    ("asked", "gpus_per_node"), [*((asked, SITES[0]) for asked in ASKED), (ASKED[0], SITES[1]), ("--exclusive", "")]
)
def test_server_sees_all_gpus_and_what_asks_it_none(cluster, seeing, model, rows, asked, gpus_per_node):
    words = ("--model", model, "--data", rows)
    job = cluster.submit("slurm/evaluate.slurm", *words, sbatch=asked.format(8).split(), site=seeing(gpus_per_node))
    assert seen(job) == {"vllm": ALL, "run_benchmarks": NO_GPU}


@pytest.mark.parametrize(("asked", "gpus_per_node"), [(ASKED[0], ""), (ASKED[0], "8"), (ASKED[1], ""), (ASKED[2], "")])
def test_all_nodes_of_a_training_with_a_server_see_all_gpus(cluster, seeing, model, asked, gpus_per_node):
    overrides = f"--use_vllm true --vllm_mode server --model_name_or_path '{model}' --dataset_name rows"
    job = cluster.submit(
        "slurm/train.slurm",
        "--model",
        "demo",
        "--task",
        "grpo",
        "--config",
        "demo",
        "--accelerator",
        "zero2",
        "--args",
        overrides,
        sbatch=["--nodes=3", *asked.format(24).split()],
        site=seeing(gpus_per_node),
    )
    assert seen(job) == {"vllm": ALL, "train": ALL}


@every_site
def test_merge_sees_no_gpu_whoever_submits_it(cluster, seeing, tmp_path, gpus_per_node):
    script, words = "slurm/compute_pass_rate.slurm", ("--merge", "--output_dir", tmp_path / "out")
    # The script's own #SBATCH line asks for a GPU; the script that submits itself asks for none.
    jobs = [cluster.submit(script, *words, by=by, site=seeing(gpus_per_node)) for by in ("sbatch", "script")]
    assert [seen(job) for job in jobs] == [{"merge": NO_GPU}] * 2


@every_site
def test_decontamination_sees_no_gpu_whoever_submits_it(cluster, seeing, rows, gpus_per_node):
    script, words = "slurm/decontaminate.slurm", ("--dataset", rows)
    jobs = [cluster.submit(script, *words, by=by, site=seeing(gpus_per_node)) for by in ("sbatch", "script")]
    assert [seen(job) for job in jobs] == [{"decontaminate": NO_GPU}] * 2


@pytest.mark.parametrize("asked", ["--gres=gpu:8", "--gpus=h100:8"])
def test_task_sees_the_gpus_that_it_needs_whatever_the_site_asks_for(cluster, seeing, asked):
    words = ("--config", "recipes/dataset_filtering/filter_dapo.yaml", "--start", 0, "--end", 1)
    site = seeing("", gpu_options=["--partition=gpu", asked])
    job = cluster.submit("slurm/compute_pass_rate.slurm", *words, by="script", site=site)
    assert seen(job) == {"compute_pass_rate": "0"}
