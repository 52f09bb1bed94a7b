# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Read by every script here: finds the project, reads cluster.sh, hands over to Python (src/open_r1/cluster).
# Python then is the batch process itself, so Slurm's signals before a time limit reach it.

unset CDPATH # cd would print where it went
root=$(cd "${here:?}/.." && pwd)
# Slurm runs a copy of the script in a folder of its own; a script that is run where it lies submits itself.
mode=job script=$0
[[ ! -L $script ]] || script=$(readlink -f "$script")
if [[ -e $(dirname "$script")/lib.sh || -e $(dirname "$script")/../lib.sh ]]; then
    mode=submit script=$(cd "$(dirname "$script")" && pwd)/${script##*/}
else
    script=
    # Slurm's warning of a time limit would end this shell; a site's file may take long.
    trap 'export OPEN_R1_JOB_IS_WARNED=1' USR1
fi

die() { trap - EXIT; printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 2; }

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || die "this is bash $BASH_VERSION, and empty arrays need 4.4"

lists=(gpu_options cpu_options modules container srun_options environment vllm sglang piston)

# A site's file may begin from the lists, or add to them by +=. Text that is given to what is a list becomes its first
# word: the words stand far behind that place while the file is read, and a list that is empty is unset.
put_lists_away() {
    local setting word
    for setting in "${_lists[@]}"; do
        # shellcheck disable=SC2178 # the name of an array
        local -n list=$setting
        local kept=("${list[@]}") place=$_far
        unset "$setting"
        for word in "${kept[@]}"; do
            list[place++]=$word
        done
    done
}

bring_lists_back() {
    local setting places
    for setting in "${_lists[@]}"; do
        # shellcheck disable=SC2178 # the name of an array
        local -n list=$setting
        declare -p "$setting" >/dev/null 2>&1 || list=()
        [[ $(declare -p "$setting") == "declare -a"* ]] || continue # check_lists complains
        places=("${!list[@]}")
        if ((${#places[@]})) && ((places[0] == 0 && places[-1] >= _far)); then
            die "$setting in $1 is no list: write $setting=()"
        fi
        list=("${list[@]}")
    done
}

check_lists() {
    local setting
    for setting in "${_lists[@]}"; do
        [[ $(declare -p "$setting") == "declare -a"* ]] || die "$setting in $1 is no list: write $setting=()"
    done
}

# export_words VARIABLE SETTING: a variable can't hold an array: a word a line.
export_words() {
    local name=$1 word words=
    # shellcheck disable=SC2178 # the name of an array
    local -n list=$2
    for word in "${list[@]}"; do
        [[ $word != *$'\n'* ]] || die "a word of $cluster_file has a line break in it: $word"
        words+=$word$'\n'
    done
    export "$name=$words"
}

# complain_of_site_file FILE STATUS
complain_of_site_file() {
    die "$1 has ended with status $2: see the line above. If there is none, its last command has failed: where it may," \
        "write \`if\`, not \`[[ ]] &&\`"
}

# What Python is to know of the site.
export_site() {
    export OPEN_R1_CLUSTER=$cluster_file OPEN_R1_ROOT=$root
    [[ $venv != "~"* && $logs != "~"* ]] || die "venv or logs in $cluster_file begins with ~ in quotes: write \$HOME"
    [[ $venv == /* ]] || venv=$root/$venv
    [[ $logs == /* ]] || logs=$root/$logs
    export OPEN_R1_SITE_NODE_PYTHON=${node_python:-$venv/bin/python}
    export OPEN_R1_SITE_GPUS_PER_NODE=$gpus_per_node OPEN_R1_SITE_INTERFACE=$network_interface OPEN_R1_SITE_LOGS=$logs
    export_words OPEN_R1_SITE_GPU_OPTIONS gpu_options
    export_words OPEN_R1_SITE_CPU_OPTIONS cpu_options
    export_words OPEN_R1_SITE_CONTAINER container
    export_words OPEN_R1_SITE_SRUN_OPTIONS srun_options
    export_words OPEN_R1_SITE_ENVIRONMENT environment
    export_words OPEN_R1_SITE_VLLM vllm
    export_words OPEN_R1_SITE_SGLANG sglang
    export_words OPEN_R1_SITE_PISTON piston
}

# load_site [COMMAND]: read the site's file, then run a command, in here: what the file declares by `declare` is local.
load_site() {
    # A site's file may have variables of the same names.
    local -r _root=$root _mode=$mode _script=$script _far=1000000 _then=${1:-:}
    set -- # the file would find the command among its own arguments
    local -ra _lists=("${lists[@]}")
    # The defaults of all settings stand in the project's own file: a site's file may leave settings out.
    local -r _default=$root/slurm/cluster_old.sh
    local _known
    _known=" $(compgen -v | tr '\n' ' ') "
    # shellcheck disable=SC2064 # the name of the file that is read now
    trap "complain_of_site_file ${_default@Q} \$?" EXIT
    # shellcheck source=slurm/cluster_old.sh
    source "$_default"
    IFS=$' \t\n'
    check_lists "$_default"
    local _chosen=${OPEN_R1_CLUSTER:-$_default}
    [[ $_chosen == /* ]] || _chosen=$PWD/$_chosen
    local -r _chosen
    [[ -f $_chosen ]] || die "OPEN_R1_CLUSTER is $_chosen, which is no file"
    if [[ ! $_chosen -ef $_default ]]; then # a job has that in OPEN_R1_CLUSTER too
        put_lists_away
        # shellcheck disable=SC2064
        trap "complain_of_site_file ${_chosen@Q} \$?" EXIT
        # shellcheck source=slurm/cluster_old.sh
        source "$_chosen"
        IFS=$' \t\n'
        bring_lists_back "$_chosen"
        check_lists "$_chosen"
    fi
    trap - EXIT
    # Python looks for settings that are spelt wrongly among the names that are new.
    local name
    export OPEN_R1_SITE_NAMES=
    for name in $(compgen -v); do
        [[ $_known == *" $name "* ]] || OPEN_R1_SITE_NAMES+="$name "
    done
    set -euo pipefail
    root=$_root mode=$_mode script=$_script cluster_file=$_chosen
    export_site
    "$_then"
}

# A job has what surrounded sbatch, be it a training: its launcher's variables are none of the job's. What the site's
# file sets afterwards stays, and so does what users set (KMP_*, DEEPSPEED_*).
leave_training_behind() {
    local name
    for name in $(compgen -e); do
        case $name in
            RANK | LOCAL_RANK | WORLD_SIZE | LOCAL_WORLD_SIZE | NODE_RANK | MASTER_ADDR | MASTER_PORT | GROUP_RANK | \
                GROUP_WORLD_SIZE | ROLE_RANK | ROLE_WORLD_SIZE | ROLE_NAME | TORCHELASTIC_* | PET_* | ACCELERATE_* | \
                FSDP_* | MIXED_PRECISION | PARALLELISM_CONFIG_* | DS_ACCELERATOR | VLLM_HOST_IP | \
                VLLM_SERVER_DEV_MODE | OPEN_R1_STOP_FILE) unset "$name" ;;
        esac
    done
}

# srun would take the GPUs that a job asked for as asked for by each step too, beside what the step says itself, and
# refuse both together ("Invalid Trackable RESource (TRES) specification").
forget_request_for_gpus() {
    unset SLURM_GPUS SLURM_GPUS_PER_NODE SLURM_GPUS_PER_TASK SLURM_GPUS_PER_SOCKET SLURM_GRES SLURM_STEP_GRES \
        SLURM_TRES_PER_TASK SLURM_NTASKS_PER_GPU SLURM_CPUS_PER_GPU SLURM_MEM_PER_GPU
}

# run_job MODULE gpu|cpu ARGUMENT...: in a job run it; elsewhere submit it, or say what it would run.
run_job() {
    local -r _main=$1 _kind=$2
    local -ra _words=("${submission[@]}" "${@:3}")
    if [[ $mode == job ]]; then
        leave_training_behind
        forget_request_for_gpus
    fi
    load_site start_python
}

start_python() {
    if ((${#modules[@]})); then
        type module >/dev/null 2>&1 || die "$cluster_file names modules, but this shell has no command \"module\""
        set +u # hooks of modules read variables that are not set
        module load "${modules[@]}"
        set -u
    fi
    # sbatch hands on which cluster was meant, and who asks: in a job srun takes no cluster but its own, and no token.
    [[ $mode == submit ]] || unset SLURM_CLUSTERS SLURM_JWT
    [[ -x $venv/bin/python ]] || die "no environment in $venv: run \`make install\` there, or set venv in $cluster_file"
    export OPEN_R1_JOB_MODE=$mode OPEN_R1_JOB_SCRIPT=$script OPEN_R1_JOB_KIND=$_kind PYTHONPATH=$root/src${PYTHONPATH:+:$PYTHONPATH}
    trap '' USR1 # until Python listens; it looks at the clock too
    exec "$venv/bin/python" -m "open_r1.cluster.$_main" "${_words[@]}"
}

# Flags of the submission may stand before words whose place has a meaning (Open R1's -m, a port): they are put aside,
# so that a script finds those words first. Without arguments of its own this file has the script's.
submission=()
while (($#)); do
    case $1 in
        --dry-run | --dry_run | --nodes=* | --sbatch=*) submission+=("$1") ;;
        --nodes | --sbatch)
            (($# > 1)) || break
            submission+=("$1" "$2")
            shift
            ;;
        *) break ;;
    esac
    shift
done
