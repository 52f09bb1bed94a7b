#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A training without Slurm, as a job of Hugging Face on one machine: slurm/examples/hf_jobs.sh GIT_URL [ARGUMENT...]
# NOT YET RUN. GIT_URL is a clone of this project that the job can read; ARGUMENTs go to the training script. The machine
# is gone at the end, so the model is pushed:
#
#   slurm/examples/hf_jobs.sh https://github.com/me/open-r1 --push_to_hub true --hub_model_id me/my-model
#
# `hf jobs hardware` lists machines, and `hf jobs run --dry-run ...` prints what would be submitted.
set -euo pipefail
(($#)) || { echo "usage: $0 GIT_URL [ARGUMENT...]" >&2; exit 2; }

# shellcheck disable=SC2016 # for the shell of the job
exec hf jobs run --flavor a100x8 --timeout 12h --secrets HF_TOKEN python:3.11 bash -c '
    set -euo pipefail
    git clone "$1" open-r1
    cd open-r1
    make install
    source .venv/bin/activate
    exec accelerate launch --config_file recipes/accelerate_configs/zero3.yaml --num_processes 8 \
        src/open_r1/sft.py --config recipes/OpenR1-Distill-7B/sft/config_distill.yaml "${@:2}"' train "$@"
