# SPDX-License-Identifier: Apache-2.0
"""What a job that a training submits inherits, and what belongs to the training or to its job alone."""

import pytest

from open_r1.cluster.submission import clean_environment

OF_TRAINING = [
    "SLURM_JOB_ID",
    "SLURM_NTASKS",
    "SLURM_RESTART_COUNT",
    "SLURM_CLUSTERS",
    "SLURMD_NODENAME",
    "SRUN_DEBUG",
    "PMI_RANK",
    "PMIX_ID",
    "OMPI_COMM_WORLD_RANK",
    "CUDA_VISIBLE_DEVICES",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "GROUP_RANK",
    "ROLE_NAME",
    "TORCHELASTIC_RUN_ID",
    "PET_SIGNALS_TO_HANDLE",
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_MIXED_PRECISION",
    "DS_ACCELERATOR",
    "PARALLELISM_CONFIG_TP_SIZE",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "VLLM_HOST_IP",
    "VLLM_SERVER_DEV_MODE",
    "OPEN_R1_STOP_FILE",
    "OPEN_R1_NODES",
    "OPEN_R1_JOB_TRACKING",
    "WANDB_RUN_ID",
    "WANDB_RESUME",
]
OF_USER = [
    "SLURM_CONF",
    "SLURM_JWT",
    "SBATCH_ACCOUNT",
    "HF_HOME",
    "OPEN_R1_CLUSTER",
    "OPEN_R1_ROOT",
    "RANKING",
    "GROUP_HOME",
    "ROLE_HOME",
    "FSDP_VERSION",
    "FSDP_CPU_RAM_EFFICIENT_LOADING",
    "ACCELERATE_LOG_LEVEL",
    "DEEPSPEED_TIMEOUT",
    "KMP_AFFINITY",
]


def test_job_does_not_take_itself_for_the_training_that_submits_it():
    environment = dict.fromkeys([*OF_TRAINING, *OF_USER], "1")
    assert list(clean_environment(environment)) == OF_USER
    assert len(environment) == len(OF_TRAINING) + len(OF_USER)


@pytest.mark.parametrize("environment", [{"WANDB_RUN_ID": "mine"}, {"SLURM_CLUSTERS": "c2"}])
def test_what_the_user_has_chosen_is_handed_on(environment):
    assert clean_environment({**environment, "RANK": "0"}) == environment
