#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Open R1's filtering of DAPO-Math-17k, as one job array and a merge: launch_filtering.sh [OPTION...]
# Options are those of slurm/compute_pass_rate.slurm and come over these: --config RECIPE, --tasks N, --dry-run, ...
#
# 1. Open R1 submits 87 jobs of 200 rows in a loop, and merges them in a notebook.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=(--config recipes/dataset_filtering/filter_dapo.yaml)
rows=(--chunk 200 --num_rows 17398)
for word in "$@"; do
    case $word in
        --config | --config=*) recipe=() ;;
        --tasks | --tasks=* | --chunk | --chunk=*) rows=() ;;
        -h | --help) recipe=() rows=() ;;
    esac
done
if ((${#recipe[@]} == 0 && ${#rows[@]} > 0)); then
    printf 'launch_filtering.sh: with --config say how the rows are cut: --tasks N\n' >&2
    exit 2
fi
exec "$root/slurm/compute_pass_rate.slurm" "${recipe[@]}" "${rows[@]}" "$@"
