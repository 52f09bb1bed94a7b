#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of slurm/ on a real Slurm of several nodes, which they start on this machine and take down again.
# Installs Slurm from the distribution where it is missing.
set -euo pipefail

if (($# < 1)); then
    echo "usage: scripts/test_slurm.sh VENV [PYTEST_ARGUMENT...]" >&2
    exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(cd "$1" && pwd)
shift

die() { printf 'test_slurm: %s\n' "$*" >&2; exit 1; }

(($(id -u) == 0)) || die "must be run by root: slurmd starts jobs as the users who submit them"

# Program -> the package that has it. Two are for nodes with networks of their own.
missing=()
for pair in slurmctld:slurm-wlm slurmd:slurm-wlm munged:munge ip:iproute2 nsenter:util-linux; do
    command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
done
if ((${#missing[@]})); then
    command -v apt-get >/dev/null ||
        die "${missing[*]} (Debian's names) must be installed, and this machine has no apt-get to do so"
    echo "test_slurm: installing ${missing[*]}"
    # At run level 1 packages start no daemons; recommended ones would bring a mail server. The machine's own updates may
    # hold dpkg's lock for minutes.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq || echo "test_slurm: apt-get update failed; going on with the lists that are here" >&2
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null ||
        die "apt-get could not install ${missing[*]}"
fi

export SMOLLM2=${SMOLLM2:-data/models/SmolLM2-135M-Instruct}
export PATH=$venv/bin:$PATH
export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} # GiB; by default vLLM takes half of the machine
export VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1

python scripts/make_smollm2.py --output_dir "$SMOLLM2"
# Each worker has a cluster of its own.
exec python -m pytest -n "${CLUSTERS:-4}" --dist loadfile --no-loadscope-reorder tests/slurm -m slurm "$@"
