# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What serve.slurm, generate.slurm and evaluate.slurm share: how a model lies on the GPUs, and the engine that serves it.
#
#   read_serving_flag     takes flag and value of read_flag; fails where they are not of these
#   plan_copies           sets tp, pp and copies as far as they are empty: over as few GPUs of a node as hold the model,
#                         in numbers that its heads can be split by, in as many copies as there is room for
#   make_key              gives the server a random key, unless --api-key-env names one: for a client in the same job
#   start_server          starts the engine on all nodes, and sets url. Needs begin

model='' revision='' served_name='' engine=vllm tp='' pp='' copies='' server_port='' api_key_env=''
serve_args=() # words for the engine
switches+=' --trust-remote-code'
deadline=3600 # hundreds of billions of parameters are read from network disks

read_serving_flag() {
    case $flag in
        --model) model=$value ;;
        --revision | --model-revision) revision=$value ;;
        --served-model-name) served_name=$value ;;
        --engine) engine=$value ;;
        --tp) tp=$value ;;
        --pp) pp=$value ;;
        --dp | --replicas) copies=$value ;;
        --port) server_port=$value ;;
        --api-key-env) api_key_env=$value ;;
        --deadline | --server-deadline) deadline=$value ;;
        --max-model-len) max_model_len=$value ;;
        --gpu-memory-utilization) memory_share=$value ;;
        --trust-remote-code) serve_args+=(--trust-remote-code) ;;
        --serve-args) split serve_args "$value" ;;
        *) return 1 ;;
    esac
}

plan_copies() {
    local number on_node=$((gpus ? gpus : 1)) # a CPU node holds one copy, or a part of one
    local all=$((on_node * num_nodes)) is_given=$tp
    local ask=(python scripts/get_tensor_parallel_size.py --model_name "$model" ${revision:+--revision "$revision"}
        --gpu_memory_gb "$gpu_memory_gb")
    [[ $tp != all ]] || tp=$(most_shards "$on_node")
    for number in "$tp" "$pp" "$copies"; do
        [[ $number =~ ^([1-9][0-9]*)?$ ]] || die "--tp, --pp and --dp are numbers, 1 or more, not $number"
    done
    [[ $engine == @(vllm|sglang) ]] || die "--engine is $engine: it can be vllm or sglang"
    if [[ $engine == sglang && $num_nodes -gt 1 ]] || ((gpus == 0)); then
        # SGLang splits each layer over all nodes; vLLM without GPUs can't split a model by layers.
        tp=${tp:-$(most_shards $((all / ${copies:-1} / ${pp:-1})))}
    elif [[ $tp$pp$copies ]]; then # each layer within a node, stages of layers over nodes
        number=$((all / ${copies:-1} / ${pp:-1}))
        tp=${tp:-$(most_shards $((number < on_node ? number : on_node)))}
        pp=${pp:-$((all / tp / ${copies:-$((tp < on_node ? all / tp : 1))}))}
        copies=${copies:-$((all / tp / pp))}
    elif number=$("${ask[@]}" --gpus "$on_node"); then
        read -r tp copies <<<"$number"
        # What takes all of a node may be larger than one: it goes over all nodes, unless --dp says otherwise.
        if ((tp == on_node)); then pp=$num_nodes; else copies=$((copies * num_nodes)); fi
    else
        ((num_nodes > 1)) || exit 2 # it has said why
        tp=$(most_shards "$on_node") pp=$num_nodes
    fi
    pp=${pp:-1} copies=${copies:-1}
    if [[ $is_given ]] && ((tp <= on_node)); then
        "${ask[@]}" --gpus "$on_node" --tp "$tp" >/dev/null || exit 2
    fi
    ((tp * pp * copies >= 1 && tp * pp * copies <= all)) ||
        die "--tp $tp x --pp $pp x --dp $copies are more than the $all GPUs (or nodes without) of the job"
    note "$engine serves $model on $num_nodes node(s): each layer over --tp $tp, --pp $pp stages, --dp $copies copies"
}

# The most of so many GPUs that the heads of the model can be split over; all of them where nobody knows.
most_shards() { "${ask[@]}" --default_tp "$1" 2>/dev/null || echo "$1"; }

make_key() {
    [[ ! $api_key_env && $engine == vllm ]] || return 0
    api_key_env=OPEN_R1_SERVER_KEY
    OPEN_R1_SERVER_KEY=$(od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n')
    export OPEN_R1_SERVER_KEY
    note "the server wants a random key, which its client finds in OPEN_R1_SERVER_KEY"
}

start_server() {
    [[ ! $api_key_env || $dry_run ]] || api_key=${!api_key_env:?is not set, and --api-key-env names it}
    server_port=${server_port:-$port}
    url=http://${nodes[0]}:$server_port
    [[ $api_key_env ]] || note "WARNING: whoever reaches $url may use the server: --api-key-env gives it a key"
    served_name=${served_name:-$model}
    serve_args=(${revision:+--revision "$revision"} --served-model-name "$served_name" "${serve_args[@]}")
    if [[ $engine == vllm ]]; then
        export VLLM_API_KEY=$api_key # never in a command line, where ps shows it
        start_vllm server "${nodes[*]}" "$server_port" "$model" --tensor-parallel-size "$tp" --pipeline-parallel-size "$pp" \
            --data-parallel-size "$copies" ${max_model_len:+--max-model-len "$max_model_len"} \
            ${memory_share:+--gpu-memory-utilization "$memory_share"} "${serve_args[@]}"
        export VLLM_API_KEY=''
    else # not yet run
        [[ ! $api_key_env ]] || die "--api-key-env is for --engine vllm: SGLang takes a key in its command line alone"
        ((num_nodes == 1)) || serve_args=(--nnodes "$num_nodes" --node-rank '{rank}' "${serve_args[@]}"
            --dist-init-addr "$(address "${nodes[0]}"):$((server_port + 1))")
        step server "${nodes[*]}" "${sglang[@]}" --model-path "$model" --host '{node}' --port "$server_port" \
            --tp-size "$tp" --pp-size "$pp" --dp-size "$copies" ${max_model_len:+--context-length "$max_model_len"} \
            ${memory_share:+--mem-fraction-static "$memory_share"} "${serve_args[@]}"
    fi
}
