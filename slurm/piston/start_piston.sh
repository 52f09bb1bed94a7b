#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts Piston inside its container, or where it is installed, with the settings that the job has put into the
# environment: words of `piston` in cluster.sh end with it. PISTON_FOLDER is where Piston's api folder is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${PISTON_BIND_ADDRESS:?is not set: this is started by slurm/piston/piston.slurm}" "${PISTON_DATA_DIRECTORY:?}"
mkdir -p "$PISTON_DATA_DIRECTORY/packages"
cd "${PISTON_FOLDER:-/piston_api}"
export NODE_OPTIONS="--require \"$here/patches.cjs\"${NODE_OPTIONS:+ $NODE_OPTIONS}"
exec node src "$@"
