# SPDX-License-Identifier: Apache-2.0
"""Submission of a script of slurm/ from another program: in a clean environment, with the numbers of its jobs."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from open_r1.secret_names import hide_secrets

# What launchers and trackers of a training give its processes. Names that users set too stay: FSDP_*, DEEPSPEED_*,
# KMP_*, ACCELERATE_LOG_LEVEL. No evaluation asks for them.
_OF_PROCESS = re.compile(
    r"(RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|NODE_RANK|GROUP_(RANK|WORLD_SIZE)|ROLE_(RANK|WORLD_SIZE|NAME)|"
    r"MASTER_ADDR|MASTER_PORT|TORCHELASTIC_.*|PET_.*|ACCELERATE_(?!LOG_LEVEL$).*|PARALLELISM_CONFIG_.*|"
    r"TORCH_NCCL_ASYNC_ERROR_HANDLING|DS_ACCELERATOR|(VLLM_)?HOST_IP|VLLM_SERVER_DEV_MODE|OPEN_R1_STOP_FILE)"
)
# What belongs to the job that submits. Users set where Slurm is and who they are; which of its clusters is meant a job
# knows by itself.
_OF_JOB = re.compile(
    r"(SLURM_(?!(CONF|CLUSTERS|JWT)$).*|SLURMD_.*|SRUN_.*|PMI_.*|PMIX_.*|OMPI_.*|OPEN_R1_(JOB_TRACKING|NODES)|"
    r"(CUDA|ROCR|ZE)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|GPU_DEVICE_ORDINAL)"
)
_SUBMITTED = re.compile(r"^(?:Submitted batch job )?(\d+)\b", re.MULTILINE)  # "... 7", "... 7 on cluster c", "7;c"
_TRACKING = ("WANDB_RUN_ID", "WANDB_RESUME")
OWN_TRACKING_VARIABLE = "OPEN_R1_JOB_TRACKING"  # a training has chosen WANDB_RUN_ID, not its user


def submit_script(command: Sequence[str], *, folder: Path, timeout_s: float = 100.0) -> list[str]:
    """Run a script of slurm/, which submits itself, and return the numbers of its jobs.

    Args:
        command: The script and its arguments.
        folder: Where it is run.
        timeout_s: How long Slurm may take to answer.

    Raises:
        TimeoutError: It did not answer: it may have taken the job.
        RuntimeError: The script refuses its arguments, or Slurm takes no job.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{command[0]} did not answer within {timeout_s:.0f} s") from None
    job_ids = _SUBMITTED.findall(done.stdout)
    if done.returncode != 0 or not job_ids:
        said = " ".join(f"{done.stdout} {done.stderr}".split())
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {hide_secrets(said)[-1000:]}")
    return job_ids


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what belongs to the job or training process that submits.

    >>> clean_environment({"RANK": "1", "SLURM_JOB_ID": "7", "FSDP_VERSION": "2", "HF_HOME": "/h"})
    {'FSDP_VERSION': '2', 'HF_HOME': '/h'}
    """
    foreign = _TRACKING if OWN_TRACKING_VARIABLE in environment else ()
    if "SLURM_JOB_ID" in environment:
        foreign = (*foreign, "SLURM_CLUSTERS")
    return {
        name: value
        for name, value in environment.items()
        if name not in foreign and not _OF_JOB.fullmatch(name) and not _OF_PROCESS.fullmatch(name)
    }
