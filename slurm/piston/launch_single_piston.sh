#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Piston worker, under its name in Open R1, on port $PORT or its first argument: launch_single_piston.sh [PORT]
# All options: slurm/piston/piston.slurm --help; --port N, --dry-run, ...
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
here=${BASH_SOURCE[0]%/*}
[[ -e $here/piston.slurm ]] || here=slurm/piston # Slurm runs a copy of this file, in the folder of the submission
# shellcheck source=slurm/piston/piston.slurm
source "$here/piston.slurm"
