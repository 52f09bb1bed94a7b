#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests that need a real vLLM, with a real small model: on a CPU where there is no GPU.
set -euo pipefail

if (($# < 1)); then
    echo "usage: scripts/test_serving.sh VENV [PYTEST_ARGUMENT...]" >&2
    exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(cd "$1" && pwd)
shift

export SMOLLM2=${SMOLLM2:-data/models/SmolLM2-135M-Instruct}
export PATH=$venv/bin:$PATH
export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} # GiB; by default vLLM takes half of the machine
export VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1

python scripts/make_smollm2.py --output_dir "$SMOLLM2"
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/serving -m serving "$@"
