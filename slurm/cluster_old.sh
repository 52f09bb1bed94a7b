# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# The one file that a site edits. Every script here reads it, on the login node and in the job; OPEN_R1_CLUSTER names
# another one. As it stands it suits a cluster whose default partition has the GPUs, with `.venv` from `make install`
# on storage that all nodes share. slurm/README.md has examples: containers, modules, no GPUs.

# Words for sbatch when a script submits itself. Plain `sbatch slurm/...` takes the cluster's defaults, or SBATCH_*.
gpu_options=() # jobs that train or serve: (--partition=gpu --account=reasoning --qos=normal)
cpu_options=() # routers, Piston, decontamination: (--partition=cpu)

# The environment. The supervisor of a job runs on its first node with this Python, 3.11 or later.
venv=.venv
modules=() # loaded before everything: (cuda/12.8)

# On the nodes: words in front of every program there, and the Python behind them.
container=()   # (apptainer exec --nv --bind /scratch /images/open_r1.sif)
node_python=   # Python inside the container; empty: that of venv
srun_options=() # for every srun: (--container-image=/images/open_r1.sqsh --container-mounts=/scratch) with pyxis

# Hardware
gpus_per_node=     # empty: what Slurm gives the job; 0: train on CPUs
network_interface= # between nodes, for NCCL and gloo, as `ip link` names it: ib0; empty: they find one

# Environment variables for every program: (HF_HOME=/scratch/cache HF_HUB_OFFLINE=1 WANDB_DIR=/scratch/wandb).
# PYTHONPATH is put behind the project's own.
environment=()

# Folder for logs: <logs>/<job name>-<job id>/attempt-<n>/ has a file for each program of a job.
logs=logs

# How vLLM and SGLang are called behind `container`; empty: `vllm` beside the Python above, `python -m sglang...`
vllm=()   # (/shared/vllm/bin/vllm)
sglang=() # (/shared/sglang/bin/python -m sglang.launch_server)

# Piston workers (slurm/piston/): words that start one. It listens on port $PORT and keeps packages in $PISTON_DATA_DIRECTORY.
piston=()
