#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a task of lighteval by the command line of Open R1's README, in an environment of its own: lighteval 0.13 needs
# another latex2sympy2_extended than math-verify 0.9, and vLLM 0.10. Results are lighteval's files in data/evals/MODEL.
#
#   scripts/lighteval.sh MODEL TASK [ARGUMENT...]    TASK: aime24, math_500, gpqa:diamond, lcb; ARGUMENT: lighteval's
#   PARALLEL=data|tensor NUM_GPUS=8                  copies of the model, or one that is spread over the GPUs
#   MAX_TOKENS=32768                                 of an answer; lower it for models with a shorter context
#   BACKEND=accelerate                               transformers in place of vLLM, for a try without a GPU
#   OPEN_R1_LIGHTEVAL_VENV=.venv-lighteval           the environment, made of scripts/lighteval_requirements.txt
set -euo pipefail
(($# >= 2)) || { sed -n '/^#   /s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/environments.sh
. "$here/environments.sh"
model=$1 task=$2 backend=${BACKEND:-vllm} max_tokens=${MAX_TOKENS:-32768}
shift 2
[[ $task != lcb ]] || task=lcb:codegeneration

lock=$here/lighteval_requirements.txt venv=${OPEN_R1_LIGHTEVAL_VENV:-$here/../.venv-lighteval}
made_of="$backend $(<"$lock")"
if [[ ! -e $venv/made_of || $(<"$venv/made_of") != "$made_of" ]]; then
    [[ ! -e $venv || -e $venv/made_of ]] || die "$venv was not made by this script"
    mkdir -p "$venv" && : >"$venv/made_of"
    "$(find_python)" -m venv "$venv"
    if [[ $backend == vllm ]]; then
        pip_install "$venv/bin/python" -q --no-deps -r "$lock"
    else
        install_cpu_torch "$venv/bin/python" "$(grep -o 'torch==[0-9.]*' "$here/../setup.py")" -q || true
        grep -v '# GPU$' "$lock" | pip_install "$venv/bin/python" -q --no-deps -r /dev/stdin
    fi
    # lighteval would fetch this from GitHub for any task; tinyBenchmarks alone reads it.
    touch "$(dirname "$(find "$venv" -name tiny_benchmarks.py)")/tinyBenchmarks.pkl"
    printf '%s\n' "$made_of" >"$venv/made_of"
fi

cache=$(mktemp -d) # by default an answer is given again to any weights of the same name
trap 'rm -rf "$cache"' EXIT
args=model_name=$model,dtype=bfloat16,cache_dir=$cache
if [[ $backend == vllm ]]; then
    args+=,max_model_length=$max_tokens,max_num_batched_tokens=$max_tokens,gpu_memory_utilization=0.8
    [[ ! ${PARALLEL:-} ]] || args+=,${PARALLEL}_parallel_size=${NUM_GPUS:?}
    [[ ${PARALLEL:-} != tensor ]] || export VLLM_WORKER_MULTIPROC_METHOD=spawn
fi
args+=",generation_parameters={max_new_tokens:$max_tokens,temperature:0.6,top_p:0.95}"
"$venv/bin/lighteval" "$backend" "$args" "$task|0" --output-dir "data/evals/$model" "$@"
