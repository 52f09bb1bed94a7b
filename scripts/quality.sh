#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks format, lint, types and shell scripts; goes through all of them before it fails.
set -euo pipefail

if (($# < 2)); then
    echo "usage: scripts/quality.sh VENV PATH..." >&2
    exit 2
fi
bin=$1/bin
shift
status=0

"$bin/python" -m ruff format --check "$@" || status=1
"$bin/python" -m ruff check "$@" || status=1
for version in 3.11 3.12; do
    "$bin/python" -m pyrefly check --python-version "$version" --python-interpreter-path "$bin/python" \
        --output-format min-text || status=1
done

mapfile -d '' shell_files < <(git ls-files -z --cached --others --exclude-standard -- '*.sh' '*.slurm' .ci/run)
"$bin/shellcheck" --shell=bash --external-sources "${shell_files[@]}" || status=1

exit "$status"
