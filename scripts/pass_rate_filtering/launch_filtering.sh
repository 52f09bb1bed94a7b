#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Open R1's filtering of DAPO-Math-17k, as one job array and a merge: launch_filtering.sh [OPTION...]
# Options are those of slurm/compute_pass_rate.slurm and come over these: --config RECIPE, --tasks N, --dry-run, ...
#
# 1. Open R1 submits 87 jobs of 200 rows in a loop, and merges them in a notebook.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
exec "$root/slurm/compute_pass_rate.slurm" --config recipes/dataset_filtering/filter_dapo.yaml --tasks 87 "$@"
