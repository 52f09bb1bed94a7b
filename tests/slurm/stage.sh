#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A stage of a user's own for scripts/submit.py: submits itself as the scripts of slurm/ do; as a job it runs words.
set -euo pipefail

if [[ -n ${SLURM_JOB_ID:-} ]]; then
    exec "$@"
fi
options=() is_dry=0
while (($#)); do
    case $1 in
        --dry-run) is_dry=1 ;;
        --sbatch=*)
            read -ra words <<<"${1#*=}"
            options+=("${words[@]}")
            ;;
        *) break ;;
    esac
    shift
done
if ((is_dry)); then
    printf 'would run:'
    printf ' %q' "$@"
    printf '\n'
else
    exec sbatch "${options[@]}" "$0" "$@"
fi
