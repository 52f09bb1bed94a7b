#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests that need several processes. DeepSpeed compiles an op at its first start on a CPU, which takes minutes and
# looks like a hang inside a test: it is built here first, in a folder of the environment's own.
set -euo pipefail

if (($# < 1)); then
    echo "usage: scripts/test_distributed.sh VENV [PYTEST_ARGUMENT...]" >&2
    exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(cd "$1" && pwd)
shift
if [[ $venv == *" "* ]]; then # PyTorch passes its library folder to the linker unquoted
    link=${TMPDIR:-/tmp}/open_r1_venv_$(cksum <<<"$venv" | cut -d ' ' -f 1)
    ln -sfn "$venv" "$link"
    venv=$link
fi

export DS_ACCELERATOR=cpu
export TORCH_EXTENSIONS_DIR=$venv/torch_extensions
export PATH=$venv/bin:$PATH # ninja, torchrun and accelerate of this environment
mkdir -p "$TORCH_EXTENSIONS_DIR"

# A build that was cut off leaves a file named lock, on which every later one waits for ever. The folder is this script's
# own, so with the script locked nobody else is building.
exec 9<scripts/test_distributed.sh
if command -v flock >/dev/null; then flock 9; fi
find "$TORCH_EXTENSIONS_DIR" -name lock -delete
echo "test_distributed: building DeepSpeed's CPU op (minutes the first time, seconds after that)"
python - <<'PY'
from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

ShareMemCommBuilder().load(verbose=False)
PY

exec python -m pytest tests/distributed -m distributed "$@" 9<&-
