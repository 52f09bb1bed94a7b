# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# Rows cut into the tasks of a job array, and a job behind it that merges what they wrote.
#
#   read_array_flag WORD...     takes what read_flag (lib.sh) has read; what it doesn't know is for the program
#   run_array gpu|cpu PROGRAM   submits the array and its merge, or in a job runs its part: PROGRAM with `asked` and
#                               --shard I/N, with --merge, or with neither where the rows are not cut
#
# Scripts set tasks (how many; empty: the rows are not cut), merge, asked (words for the program), job_gpus (of a task).
# A task that has finished says so when it is run again, so a whole array may be submitted again.

takes_array=1 passes_on=1 tasks='' merge='' asked=()
switches+=' --merge'

read_array_flag() {
    case $flag in
        '') ;;
        --tasks) tasks=$value ;;
        --merge) merge=1 ;;
        *) asked+=("${@:1:used}") ;;
    esac
}

run_array() {
    local kind=$1 program=$2 job_name number submitted before option of_user
    [[ -z $tasks || $tasks =~ ^[1-9][0-9]{0,4}$ ]] || die "--tasks is $tasks: it must be 1 to 99999"
    ((num_nodes == 1)) || die "each task runs on one node: --tasks says how many tasks there are"
    [[ -z $array || ($tasks && ! $merge) ]] || die "--array chooses among the tasks of --tasks N"
    for number in $(tr -cs 0-9 ' ' <<<"${array%%[%:]*}"); do
        ((10#$number < tasks)) || die "there is no task $number: they are 0 to $((tasks - 1))"
    done
    ! is_job || job_gpus=${SLURM_GPUS_ON_NODE:-0}
    gpus=${job_gpus:-0}
    of_user=("${sbatch_options[@]}")
    [[ -z $job_gpus ]] || sbatch_options=("--gpus-per-node=$job_gpus" "${of_user[@]}")
    if is_job || [[ ! $tasks || $merge ]]; then
        begin "$kind"
        run_part "$program"
        return
    fi

    array=${array:-0-$((tasks - 1))}
    [[ ${SBATCH_OUTPUT:-} ]] || sbatch_options=(--output=logs/%x-%A_%a.log "${sbatch_options[@]}")
    submitted=$(begin "$kind" && run_part "$program")
    echo "$submitted"
    [[ $dry_run || $submitted =~ "Submitted batch job "([0-9]+) ]] || exit 1
    before=${dry_run:+ARRAY}
    before=${before:-${BASH_REMATCH[1]}}

    job_name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")-merge
    sbatch_options=(--job-name="$job_name" ${job_gpus:+--gpus-per-node=0})
    for option in "${of_user[@]}"; do # who pays and who is told; all else is of the tasks
        [[ $option != --@(account|qos|reservation|mail-type|mail-user|nice)=* ]] || sbatch_options+=("$option")
    done
    sbatch_options+=(--dependency=afterok:"$before" --kill-on-invalid-dep=yes)
    array='' merge=1 gpus=0 words=(--merge "${words[@]}")
    begin cpu
    run_part "$program"
}

run_part() {
    local name number=${SLURM_ARRAY_TASK_ID:-${array%%[!0-9]*}}
    name=$(basename "$1" .py)
    if [[ $merge ]]; then
        work merge "${nodes[0]}" python "$1" "${asked[@]}" --merge
    elif [[ $tasks ]]; then
        [[ $number ]] || die "the rows are cut into tasks, but this job is no array: sbatch --array=0-$((tasks - 1)) ..."
        ((number < tasks)) || die "there is no task $number: they are 0 to $((tasks - 1))"
        [[ $dry_run ]] || say "task $number of $tasks, from 0; if it fails, --array $number runs it again alone, and a merge"
        work "$name" "${nodes[0]}" python "$1" "${asked[@]}" --shard "$number/$tasks"
    else
        [[ -z $number ]] || die "this is a task of an array: say --tasks N, the number of all"
        work "$name" "${nodes[0]}" python "$1" "${asked[@]}"
    fi
}
