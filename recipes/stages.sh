# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Stages of a system, one after the other; read by the scripts below recipes/.
#
#   stage NAME WORD...               a command
#   train NAME TASK RECIPE WORD...   sft.py or grpo.py, started by the words `launch`, which are accelerate's with
#                                    `accelerator` of recipes/accelerate_configs unless set; in a job `processes` are
#                                    words of slurm/train.slurm
#   generate NAME MODEL OUTPUT WORD...   generate_reasoning.py; meanwhile `server` serves the model on `port`, in a job
#                                    vLLM with the words `served`
#
# Run again, each stage resumes, or ends at once where it has finished. The first that fails ends the script.
# DRY_RUN=1 prints the commands. SLURM=1 submits them as jobs, each of which starts when the one before has succeeded:
# trainings and generation by slurm/*.slurm, all else with `cpu_options` of slurm/cluster.sh.

accelerator=zero3 processes=() launch=() port=${PORT:-39876} server=() served=() cpu_options=() gpu_options=()
before=''     # number of the last job
server_pid='' # ends with this shell, however it ends
trap '[[ ! $server_pid ]] || kill "$server_pid"' EXIT
if [[ ${SLURM:-} ]]; then
    root=$PWD # for paths in cluster.sh
    # shellcheck source=slurm/cluster.sh
    source "${OPEN_R1_CLUSTER:-slurm/cluster.sh}"
fi

run() {
    printf '%q ' "$@"
    echo
    [[ ${DRY_RUN:-} ]] || "$@"
}

# submit NAME sbatch|SCRIPT WORD...
submit() {
    local printed options=(--job-name="$1" ${before:+--dependency=afterok:"$before" --kill-on-invalid-dep=yes})
    if [[ $2 == sbatch ]]; then
        set -- "$1" sbatch "${options[@]}" "${@:3}"
    else
        set -- "$1" "$2" --sbatch "${options[*]}" "${@:3}"
    fi
    printed=$(run "${@:2}")
    echo "$printed"
    before=${printed##* } # Submitted batch job NUMBER
    [[ ! ${DRY_RUN:-} ]] || before=NUMBER_OF_$1
}

stage() {
    echo "== $1"
    if [[ ${SLURM:-} ]]; then
        submit "$1" sbatch "${cpu_options[@]}" --output=logs/%x-%j.log --wrap="$(printf '%q ' "${@:2}")"
    else
        run "${@:2}"
    fi
}

train() {
    local name=$1 task=$2 recipe=$3
    shift 3
    if [[ ${SLURM:-} ]]; then
        echo "== $name"
        submit "$name" slurm/train.slurm --nodes 1 --recipe "$recipe" --accelerator "$accelerator" "${processes[@]}" -- "$@"
    else
        ((${#launch[@]})) || launch=(accelerate launch --config_file "recipes/accelerate_configs/$accelerator.yaml")
        stage "$name" "${launch[@]}" "src/open_r1/$task.py" --config "$recipe" "$@"
    fi
}

generate() {
    local name=$1 model=$2 output=$3
    shift 3
    if [[ ${SLURM:-} ]]; then
        echo "== $name"
        # Not by itself, which would look at the model, and that is yet to be trained.
        submit "$name" sbatch "${gpu_options[@]}" --nodes=1 slurm/generate.slurm --client generate_reasoning \
            --model "$model" "${served[@]}" --output-dir "$output" "$@"
        return
    fi
    if [[ ${DRY_RUN:-} ]]; then
        run "${server[@]}"
    elif [[ ! -e $output/card.json ]]; then
        "${server[@]}" &
        server_pid=$!
        until curl --silent --fail --noproxy '*' --output /dev/null "http://localhost:$port/health"; do
            kill -0 "$server_pid" || exit 1 # it has said why
            sleep 1
        done
    fi
    stage "$name" python scripts/generate_reasoning.py --model "$model" --api-addr "localhost:$port" \
        --output-dir "$output" "$@"
    [[ ! $server_pid ]] || kill "$server_pid"
    server_pid=''
}
