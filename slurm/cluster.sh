# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# The one file that a site edits: plain bash, which every script here reads, on the login node and in the job.
# OPEN_R1_CLUSTER, or --site, names another file, read after this one: it may change a setting or add to a list (+=).

# Words for sbatch when a script submits itself. Plain `sbatch slurm/...` takes the cluster's defaults, or SBATCH_*.
gpu_options=() # jobs that train or serve: (--partition=gpu --account=reasoning --mail-user=me@example.org)
cpu_options=() # routers, Piston, decontamination: (--partition=cpu)

# Words for every srun: (--container-image=/images/open_r1.sqsh "--container-mounts=/scratch,$root") with pyxis
srun_options=()
# Words in front of every program on the nodes: (apptainer exec --nv --bind /scratch --bind "$root" /images/open_r1.sif)
container=()

gpus_per_node=                         # empty: what Slurm says (sinfo); 0: train and serve on CPUs
gpu_memory_gb=80                       # of a GPU: over how many a served model goes by itself
vllm=(vllm)                            # (/shared/vllm/bin/vllm)
sglang=(python -m sglang.launch_server)
piston=()                              # starts a Piston worker on port $PORT with packages in $PISTON_DATA_DIRECTORY
logs=logs                              # <logs>/<job name>-<job id>/attempt-<n>/ has a file for each program of a job

# The environment of all programs. In a job the plan is made by the `python` found here (3.11, with PyYAML); programs
# find theirs by the same PATH, inside the container if there is one.
# module load cuda/12.8
# export HF_HOME=/scratch/cache HF_HUB_OFFLINE=1 WANDB_DIR=/scratch/wandb
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
export PATH=$root/.venv/bin:$PATH
