#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Submits Piston workers, each as a job of its own: launch_piston_workers.sh [COUNT] [OPTION...]
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: slurm/piston/launch_piston_workers.sh [COUNT] [OPTION...]

Submits COUNT Piston workers (default 5). OPTIONs are those of slurm/piston/piston.slurm, but for --port.
`PISTON_ENDPOINTS=slurm` finds all that answer: jobs that are called piston-worker-<port>.
End them by scancel and the numbers that are printed here.
USAGE
}

bad_usage() {
    printf 'launch_piston_workers.sh: %s\n' "$*" >&2
    usage >&2
    exit 2
}

count=5
if (($#)) && [[ $1 != -* ]]; then
    count=$1
    shift
fi
[[ $count =~ ^0*[1-9][0-9]{0,3}$ ]] || bad_usage "COUNT is 1 to 9999, not $count"
for word in "$@"; do
    case $word in
        -h | --help)
            usage
            exit 0
            ;;
        --port | --port=*) bad_usage "each worker takes a free port of its node; for one port: piston.slurm --port" ;;
    esac
done
unset PORT # it would be that of all
worker=$(dirname "${BASH_SOURCE[0]}")/piston.slurm
for ((number = 0; number < 10#$count; number++)); do
    "$worker" "$@"
done
