#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `step` (lib.sh) runs on each node, in front of a program: sets what only the node itself knows.
#   {rank}, {node} in the words of the program become the number of the node in its step, from 0, and its name
#   VLLM_HOST_IP   is the address by which the other nodes of the job reach this one. vLLM and SGLang would look for a
#   HOST_IP        way to the internet, which nodes needn't have, and then wait for each other for ever
set -euo pipefail

# Slurm sends SIGTERM to all processes of a job: the trainer saves on it, and its launcher must not end before.
[[ -z ${OPEN_R1_STOP_FILE:-} ]] || trap '' TERM

for node in ${OPEN_R1_NODES:-}; do
    [[ $node != "${SLURMD_NODENAME:-}" ]] || continue
    peer=$(getent ahostsv4 "$node" | awk 'NR == 1 {print $1}') || true
    own=$(ip -4 route get "${peer:-$node}" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p') || true
    [[ -z $own || $own == 127.* ]] || export VLLM_HOST_IP=$own HOST_IP=$own
    break
done
words=("${@//"{rank}"/${SLURM_PROCID:-0}}")
exec "${words[@]//"{node}"/${SLURMD_NODENAME:-}}"
