# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# The life of a job, for all scripts here: servers start, are awaited and watched; the work runs; all of it ends.
#
#   read_flag WORD...     reads the first flag of a command line: sets flag (spelled with dashes), value, and used, the
#                         number of its words. Flags of all scripts (--nodes, --array, --sbatch, --dry-run, --help) are
#                         done with here: flag is empty then
#   split NAME TEXT       adds the words of TEXT to the array NAME, split as a shell would
#   begin gpu|cpu         elsewhere than in a job: submits the script, or imagines nodes for --dry-run. In a job: sets
#                         nodes, folder (for logs), port (the first of 20), and what signals do
#   submit gpu|cpu OPTION... -- WORD...   hands the script to sbatch with the site's options and these
#   step NAME 'NODE...' WORD...           one srun: starts a program on nodes, with a log of its own
#   start_vllm NAME 'NODE...' PORT MODEL WORD...   steps of one `vllm serve`, whose first node answers on PORT
#   await NAME URL [MODEL]   until a server is healthy, and completes a text, or `deadline` seconds are over
#   watch NAME URL MODEL     from now on a server that completes nothing for a while ends the job
#   work NAME 'NODE...' WORD...           a step whose end is awaited; one that fails ends the job with its status
#   requeue               sends the job back to the queue. A second attempt in a row that has added nothing to
#                         kept_files in kept_in ends it instead
#
# Scripts set switches (flags without a value), takes_array, deadline, job_gpus (GPUs of a node that a step sees; empty:
# all), saves (the work saves and stops when asked: src/open_r1/training/stopping.py), kept_in and kept_files, passes_on
# (unknown flags go to another program), at_end (a function for the end of the job, however it ends).
#
# A step that ends before the work does ends the job with its status and the end of its log. Nothing is left running.
# Before the time limit (SIGUSR1, by `#SBATCH --signal`) the work is asked to save, or is ended, and the job is requeued.
# SIGTERM (scancel, preemption) ends the job, which Slurm itself may requeue.

die() { printf '%s: error: %s\n' "${0##*/}" "$*" >&2; exit 2; }
now() { printf '%(%s)T' -1; }
say() { printf '%(%F %T)T %s\n' -1 "$*"; }
is_job() { [[ ${0##*/} == slurm_script ]]; } # Slurm runs a copy of that name

time_is_up='' told=''
! is_job || trap 'time_is_up=1' USR1 # else it would end this shell: the site's file may take long
((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || die "this is bash $BASH_VERSION, and 4.4 is needed"

# A job gets the name of the site's file in front of its arguments: under SBATCH_EXPORT=NONE it has no variables.
site=${OPEN_R1_CLUSTER:-}
if [[ ${1:-} == --site ]]; then
    site=${2:-}
    shift 2
fi
script=$(realpath "$0")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
site=$(realpath -m "${site:-$root/slurm/cluster.sh}")
[[ -f $site ]] || die "there is no file $site (OPEN_R1_CLUSTER, or --site)"
cd "$root" # paths in arguments are read from here
set +u     # hooks of `module load` read variables that are not set
# shellcheck source=slurm/cluster.sh
source slurm/cluster.sh
# shellcheck source=slurm/cluster.sh
[[ $site -ef slurm/cluster.sh ]] || source "$site"
set -euo pipefail
[[ $logs == /* ]] || logs=$root/$logs
export OPEN_R1_CLUSTER=$site OPEN_R1_ROOT=$root PYTHONPATH=$root/src${PYTHONPATH:+:$PYTHONPATH}

switches='' passes_on='' takes_array='' saves='' kept_in='' kept_files='' job_gpus='' api_key=''
deadline=1800 # large models are read for many minutes from network disks
: "${watch_every:=300}" "${watch_patience:=600}" # seconds between two completions of `watch`, and for one
words=() sbatch_options=() dry_run='' array='' nodes_option=()
num_nodes=$(sed -n 's/^#SBATCH --nodes=//p' "$script")
num_nodes=${num_nodes:-1}
! is_job || num_nodes=$SLURM_JOB_NUM_NODES

# --- Command lines

# The comment at the head of a script is its --help.
usage() { sed -n '3,${/^#SBATCH/q;s/^# \{0,1\}//p}' "$script"; }

split() {
    local -n target=$1
    local text=$2 word='' is_word='' quote='' char at
    for ((at = 0; at < ${#text}; at++)); do
        char=${text:at:1}
        if [[ $char == \\ && $quote != "'" ]]; then
            ((++at < ${#text})) || die "a backslash at the end quotes nothing: $text"
            char=${text:at:1}
            [[ $char != $'\n' ]] || continue                          # the line goes on
            [[ ! $quote || $char == [\"\\\$\`] ]] || word+=\\ # between double quotes it stands for itself
            word+=$char is_word=1
        elif [[ $char == "$quote" ]]; then
            quote=''
        elif [[ $quote ]]; then
            word+=$char
        elif [[ $char == [\'\"] ]]; then
            quote=$char is_word=1
        elif [[ $char == [[:space:]] ]]; then
            [[ ! $is_word ]] || target+=("$word")
            word='' is_word=''
        else
            word+=$char is_word=1
        fi
    done
    [[ ! $quote ]] || die "a quote is not closed: $text"
    [[ ! $is_word ]] || target+=("$word")
}

read_flag() {
    used=1 value='' flag=${1%%=*}
    if [[ $1 != -* ]]; then
        flag=$1
    elif flag=${flag//_/-} && [[ " --dry-run --help -h -- $switches " != *" $flag "* ]]; then
        if [[ $1 == --*=* ]]; then
            value=${1#*=}
        elif (($# > 1)) && [[ ! $passes_on || $flag == --*@(args|sbatch) || $2 != --[a-z]* || $2 == *[[:space:]]* ]]; then
            value=$2 used=2
        elif [[ ! $passes_on ]]; then
            die "$1 needs a value"
        fi
    fi
    case $flag in
        --dry-run) dry_run=1 ;;
        --help | -h) usage; exit 0 ;;
        --sbatch)
            split sbatch_options "$value"
            [[ ! " ${sbatch_options[*]} " =~ .*" --nodes="([0-9]+)" " ]] || num_nodes=${BASH_REMATCH[1]}
            ;;
        --array) array=$value ;;
        --nodes)
            ! is_job || die "--nodes is for a script that submits itself: sbatch --nodes=$value slurm/NAME.slurm ..."
            [[ $value =~ ^[1-9][0-9]*$ ]] || die "--nodes is $value: it must be 1 or more"
            num_nodes=$value nodes_option=(--nodes="$value")
            ;;
        --) words+=("$@"); return ;;
        *) words+=("${@:1:used}"); return ;;
    esac
    flag=''
}

# --- Nodes

# Sets gpus, of a node: what the site says, what the job was given, what sinfo says of the partition; else 8.
count_gpus() {
    local option partition=() found
    gpus=$gpus_per_node
    [[ -z $gpus ]] || return 0
    if is_job; then
        gpus=${SLURM_GPUS_ON_NODE:-0}
        return
    fi
    for option in "${gpu_options[@]}" "${sbatch_options[@]}"; do
        [[ $option != --partition=* ]] || partition=("$option")
    done
    if found=$(sinfo --noheader --format=%G "${partition[@]}" 2>/dev/null); then
        gpus=$(sed -En 's/.*gpu:([^:,]*:)?([0-9]+).*/\2/p' <<<"$found" | sort -n | tail -n 1)
        gpus=${gpus:-0}
    else
        gpus=8
        echo "# There is no sinfo to ask: 8 GPUs a node are assumed (gpus_per_node in cluster.sh says how many)" >&2
    fi
}

submit() {
    local -n site_options=${1}_options
    local name options=("--chdir=$root" "${site_options[@]}")
    shift
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    options+=("${sbatch_options[@]}" "${nodes_option[@]}" "$script" --site "$site" "${@:2}")
    if [[ $dry_run ]]; then
        print_words sbatch "${options[@]}"
        return
    fi
    # A job that is submitted from another one would take itself for it.
    for name in $(compgen -e SLURM_); do
        [[ $name == SLURM_@(CONF|CLUSTERS|JWT) ]] || unset "$name"
    done
    sbatch "${options[@]}"
}

# What users should know of a plan: in the job's log, and with --dry-run.
note() { [[ ! $dry_run ]] && ! is_job || printf '# %s\n' "$@"; }

print_words() {
    local word line=''
    for word in "$@"; do
        [[ $word =~ ^[][:alnum:]_@%+=:,./{}-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    echo "${line# }"
}

begin() {
    [[ $takes_array || -z $array${SLURM_ARRAY_TASK_ID:-} ]] || die "all tasks of an array would do the same work"
    # In arithmetic bash would run code that stands within a value.
    [[ $deadline =~ ^[0-9]+$ ]] || die "--deadline is $deadline: it must be a number of seconds"
    [[ ${server_port:-1} =~ ^[1-9][0-9]{0,4}$ ]] || die "--port is $server_port: it must be 1 to 65535"
    if ! is_job; then
        submit "$1" ${array:+"--array=$array"} -- "${words[@]}"
        [[ $dry_run ]] || exit 0
        mapfile -t nodes < <(seq -f 'node%g' "$num_nodes")
        job=0
    else
        mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
        # The number of the last task of an array is that of the whole array too.
        job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
        job=${job:-$SLURM_JOB_ID}
    fi
    attempt=${SLURM_RESTART_COUNT:-0}
    job_folder=$logs/$(tr / _ <<<"${SLURM_JOB_NAME:-job}")-$job
    folder=$job_folder/attempt-$attempt
    port=$((20000 + ${SLURM_JOB_ID:-0} * 20 % 10000)) # below those that Linux deals out by itself
    declare -gA pid_of=()
    working='' awaited='' stop_file=$folder/stop
    # srun would take what the job asks for as a wish of each step too; in a job it takes no cluster but its own.
    unset SLURM_GPUS SLURM_GPUS_PER_NODE SLURM_GPUS_PER_TASK SLURM_GPUS_PER_SOCKET SLURM_GRES SLURM_STEP_GRES \
        SLURM_TRES_PER_TASK SLURM_NTASKS_PER_GPU SLURM_CPUS_PER_GPU SLURM_MEM_PER_GPU SLURM_CLUSTERS SLURM_JWT
    # Nodes ask each other without a proxy. vLLM would demand a key that is meant for other servers.
    NO_PROXY=${NO_PROXY:-${no_proxy:-}}
    NO_PROXY=${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1,$(IFS=,; echo "${nodes[*]}")
    export NO_PROXY no_proxy=$NO_PROXY VLLM_API_KEY='' VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 PYTHONUNBUFFERED=1
    export OPEN_R1_NODES="${nodes[*]:0:2}"
    unset OPEN_R1_STOP_FILE # of a training that has submitted this
    [[ ! $dry_run ]] || return 0
    mkdir -p "$folder" || die "the folder for logs can't be made (logs in $site): $folder"
    rm -f "$stop_file"* "$folder/no-progress" # numbers of jobs come again when Slurm has lost its state
    say "job $job on ${nodes[*]}; logs of all programs: $folder"
    kept_before=$(kept)
    trap 'told=1' TERM
    trap finish EXIT
}

# --- Programs

step() {
    local name=$1 on options
    read -ra on <<<"$2"
    options=(--job-name="$name" --nodes="${#on[@]}" --ntasks="${#on[@]}" --ntasks-per-node=1
        --nodelist="$(IFS=,; echo "${on[*]}")" --overlap --export=ALL --output="$folder/$name.log" --open-mode=append)
    if ((gpus)) && [[ $job_gpus == 0 ]]; then
        options+=(--gres=none)
    elif ((gpus)); then
        options+=(--gpus-per-node="${job_gpus:-$gpus}")
    fi
    # A program may use all CPUs of the job, unless somebody says otherwise.
    [[ ${SLURM_CPU_BIND:-}${SLURM_HINT:-} || " ${srun_options[*]}" == *" --"@(cpu-bind|cpu_bind|hint)* ]] ||
        options+=(--cpu-bind=none)
    # A node that fails ends the step; one that is done waits for the others, however long they push a model.
    ((${#on[@]} == 1)) || options+=(--kill-on-bad-exit=1 --wait=0 --label)
    options+=("${srun_options[@]}" slurm/on_node.sh "${container[@]}" "${@:3}")
    if [[ $dry_run ]]; then
        print_words srun "${options[@]}"
        return
    fi
    say "starting $name on ${on[*]}: $(print_words "${@:3}")"
    srun "${options[@]}" </dev/null &
    pid_of[$name]=$!
}

# The address of a node for other nodes: on the node itself its name may stand for loopback.
address() {
    local found=''
    [[ $dry_run ]] || found=$(getent ahostsv4 "$1" | awk '$1 !~ /^127\./ {print $1; exit}') || true
    echo "${found:-$1}"
}

start_vllm() {
    local name=$1 on listen=$3 rank where
    read -ra on <<<"$2"
    shift 3
    for rank in "${!on[@]}"; do
        where=(--host "$(address "${on[0]}")" --port "$listen")
        ((rank == 0)) || where=(--headless)
        # Several nodes: vLLM's own processes. With Ray it would be `ray start` on each, then
        # --distributed-executor-backend ray on the first. Neither has been run on GPUs yet.
        ((${#on[@]} == 1)) || where+=(--nnodes "${#on[@]}" --node-rank "$rank" --master-addr "$(address "${on[0]}")"
            --master-port $((listen + 1)) --data-parallel-rpc-port $((listen + 2)))
        step "$name${rank/#0/}" "${on[rank]}" "${vllm[@]}" serve "$1" "${where[@]}" --disable-uvicorn-access-log "${@:2}"
    done
}

await() {
    local name=$1 url=$2 model=${3:-} pid
    if [[ $dry_run ]]; then
        echo "# ready when $url/health gives 200"
        return
    fi
    awaited=$name
    until ask 5 "$url/health" --fail --silent --output /dev/null 2>/dev/null; do
        pause
    done
    if [[ $model ]]; then
        completes "$url" "$model" &
        pid=$!
        while kill -0 "$pid" 2>/dev/null; do
            pause
        done
        wait "$pid" || exit 1
    fi
    awaited=''
    say "$name answers at $url"
}

watch() {
    local name=$1 missed=0
    [[ ! $dry_run ]] || return 0
    while sleep "$watch_every"; do
        if completes "$2" "$3"; then missed=0; else ((++missed < 3)) || exit 1; fi
    done &
    pid_of["watch of $name"]=$!
}

work() {
    local name=$1 status=0 pid shown end give_up=''
    [[ ! $saves ]] || export OPEN_R1_STOP_FILE=$stop_file
    step "$@"
    unset OPEN_R1_STOP_FILE
    [[ ! $dry_run ]] || return 0
    working=$name pid=${pid_of[$name]}
    tail -n +1 -F --pid="$pid" "$folder/$name.log" 2>/dev/null &
    shown=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [[ $saves && $told ]]; then
            touch "$stop_file" # it saves what it has; its servers are being ended too
        elif [[ $saves && $time_is_up ]]; then
            if [[ ! $give_up ]]; then
                say "the time limit is near: $name is asked to save and stop"
                touch "$stop_file"
                end=$(SLURM_TIME_FORMAT=%s squeue --noheader --job="$job" --format=%e) || true
                [[ $end =~ ^[0-9]+$ ]] || end=$(($(now) + 86400)) # without a limit
                give_up=$((end - 20))
            fi
            if (($(now) > give_up)); then
                say "$name has not stopped in time: it resumes from its last complete checkpoint"
                requeue
            fi
            check_steps
        else
            pause
            continue
        fi
        sleep 1 || true # SIGTERM ends it too
    done
    wait "$pid" || status=$?
    wait "$shown" || true
    unset "pid_of[$name]"
    working=''
    if [[ -e $stop_file.done ]]; then
        say "$name has stopped early: $(<"$stop_file.done")"
        [[ ! $told ]] || exit 143
        requeue
    fi
    if ((status)); then
        say "$name ended with exit status $status; its log: $folder/$name.log"
        exit "$status"
    fi
}

# --- Watching and ending

# One second, after which a job that has no time left, or a program too few, ends.
pause() {
    [[ ! $told ]] || { say "told to end (SIGTERM)"; exit 143; }
    [[ ! $time_is_up ]] || requeue
    check_steps
    if [[ $awaited ]] && ((SECONDS > deadline)); then
        say "$awaited is not ready after $deadline s (--deadline); the end of its log:"
        tail -n 20 "$folder/$awaited.log" || true
        exit 1
    fi
    sleep 1 || true # SIGTERM ends it too
}

check_steps() {
    local name status
    for name in "${!pid_of[@]}"; do
        if [[ $name != "$working" ]] && ! kill -0 "${pid_of[$name]}" 2>/dev/null; then
            status=0
            wait "${pid_of[$name]}" || status=$?
            say "$name ended with exit status $status; the end of its log:"
            tail -n 20 "$folder/$name.log" 2>/dev/null || true
            exit "$((status ? status : 1))"
        fi
    done
}

# ask SECONDS WORD...: curl, not through a proxy, with the key of --api-key-env, which must not stand where ps shows it.
ask() {
    curl --noproxy '*' --max-time "$1" --config - "${@:2}" <<<"${api_key:+header = $(quoted "Authorization: Bearer $api_key")}"
}

# What vLLM has read and written; nothing of a server that does not tell.
tokens() { ask 30 --silent "$1/metrics" | awk '/^vllm:(prompt|generation)_tokens_total/ {sum += $NF; n++} END {if (n) print sum}'; }

# A text as JSON writes it.
quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# completes URL MODEL: whether a server completes a text, or is only busy with others.
completes() {
    local known status late=0 reply
    reply=$(mktemp)
    known=$(tokens "$1" || true)
    status=$(ask "$watch_patience" --silent --output "$reply" --write-out '%{http_code}' \
        --header 'Content-Type: application/json' "$1/v1/completions" \
        --data "{\"model\": $(quoted "$2"), \"prompt\": \"The capital of France is\", \"max_tokens\": 1}") || late=$?
    if [[ $status == @(200|408|429|503) ]] ||
        { ((late == 28)) && [[ -z $known || $(tokens "$1" || true) != "$known" ]]; }; then # 28: in time; its queue is long
        rm "$reply"
        return 0
    fi
    say "$1 completes nothing: status $status, curl $late: $(head -c 500 "$reply")"
    rm "$reply"
    return 1
}

# What the work has kept: lines of its files. The first line of a journal is there before any answer.
kept() {
    [[ ! -d $kept_in ]] || (cd "$kept_in" && find . -path "./$kept_files" -exec grep -c -H '' {} + 2>/dev/null) |
        grep -v 'jsonl:[01]$' || true
}

requeue() {
    if [[ $awaited || ($kept_in && $(kept) == "$kept_before") ]]; then
        if [[ -e $job_folder/attempt-$((attempt - 1))/no-progress ]]; then
            say "two attempts in a row made no progress${kept_in:+ (in $kept_in)}: the job ends. Give it more time (--time)"
            exit 1
        fi
        touch "$folder/no-progress"
    fi
    say "the job goes back to the queue"
    if ! scontrol requeue "$job"; then
        say "it could not be requeued: the same command resumes"
        exit 1
    fi
    exit 0
}

# Nothing is left running. Slurm requeues a job that it preempts only if it still runs at the end of its grace time.
finish() {
    local status=$? running
    trap '' TERM USR1
    ! declare -F at_end >/dev/null || at_end || true
    running=$(jobs -p)
    [[ -z $running ]] || xargs kill <<<"$running" 2>/dev/null || true
    wait
    while [[ $(squeue --noheader --job="$job" --states=RUNNING --Format=PreemptTime 2>/dev/null) == [0-9]* ]]; do
        sleep 2 || true
    done
    exit "$status"
}
