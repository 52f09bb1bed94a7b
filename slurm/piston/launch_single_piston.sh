#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Piston worker, under its name in Open R1, on port $PORT or its first argument: launch_single_piston.sh [PORT]
#SBATCH --job-name=piston-starting
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=1950M
#SBATCH --time=2-00:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=logs/%x-%j.log
#SBATCH --signal=B:USR1@120
set -euo pipefail
self=${BASH_SOURCE[0]}
[[ ! -L $self ]] || self=$(readlink -f "$self")
here=$(dirname "$self")/..
for folder in "$PWD" "${OPEN_R1_ROOT:-}" "${SLURM_SUBMIT_DIR:-}"; do # Slurm runs a copy of this file
    [[ -e $here/lib_old.sh ]] || here=$folder/slurm
done
[[ -e $here/lib_old.sh ]] || { echo "no $here/lib_old.sh: submit from the project's folder, or run it itself" >&2; exit 2; }
# shellcheck source=slurm/lib_old.sh
source "$here/lib_old.sh"
port=()
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    port=(--port "$1")
    shift
fi
run_job piston cpu "${port[@]}" "$@"
