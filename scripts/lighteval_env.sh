#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the virtual environment in which lighteval runs, from the lock in scripts/lighteval_requirements.txt.
# A second call takes a moment; an install that was cut off is done again from the start; of two at once one waits.
# It is made beside the one that is there, and takes its place when it is done, and when no job of open_r1 uses that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environments.sh

usage() {
    cat >&2 <<'USAGE'
usage: scripts/lighteval_env.sh [VENV]

  VENV   folder of the environment (default OPEN_R1_LIGHTEVAL_VENV, or .venv-lighteval in the project)

environment variables:
  PYTHON            the Python to build it from (default: the first of python3.11, python3 that is 3.11 or later)
  TORCH_INDEX_URL   where a CPU build of PyTorch is looked for when pip as configured has none
                    (default https://download.pytorch.org/whl/cpu)
USAGE
    exit 2
}

# The text of the lock and of these scripts, and the place: a venv doesn't survive a move.
fingerprint() {
    { cat "$lock" scripts/lighteval_env.sh scripts/environments.sh; printf '%s\n' "$venv"; } | hash_of "$base_python"
}

# The marks go last: a kill doesn't leave a folder like someone else's.
remove_ours() {
    [[ ! -e $1 ]] || find "$1" -mindepth 1 -maxdepth 1 ! -name '.open_r1_*' -exec rm -rf {} +
    rm -rf "$1"
}

make_venv() {
    remove_ours "$building"
    mkdir -p "$building"
    touch "$building/$unfinished"
    "$base_python" -m venv "$building"
}

# A job that runs keeps a shared lock on the first file. Only `bin/python` is used, which is right in any place.
swap() {
    if command -v flock >/dev/null; then
        exec 8>>"$venv.in_use"
        flock --nonblock 8 || { say "waiting for jobs that use $venv" && flock 8; }
    fi
    remove_ours "$venv.old"
    [[ ! -e $venv ]] || mv "$venv" "$venv.old"
    mv "$building" "$venv"
    remove_ours "$venv.old"
}

# The metrics need PyTorch's name only, so the CPU build does, on a machine with GPUs too.
install_all() {
    local torch
    torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$lock")
    say "lighteval into $venv; this takes a minute or two, once"
    if [[ $(uname -s) == Linux ]]; then
        install_cpu_torch "$building/bin/python" "$torch" -q || true
    fi
    pip_install "$building/bin/python" -q -r "$lock" ||
        die "the packages of $lock can't be installed into $venv (see above)." \
            "Without a network, make it on a machine that has one, or name one that is there: OPEN_R1_LIGHTEVAL_VENV=..."
    "$building/bin/python" -I -c 'import lighteval.metrics.metrics, torch' ||
        die "lighteval is installed into $venv, but can't be imported (see above)"
}

[[ ${1:-} != -* && $# -le 1 ]] || usage
lock=scripts/lighteval_requirements.txt
venv=${1:-${OPEN_R1_LIGHTEVAL_VENV:-.venv-lighteval}}
[[ $venv == /* ]] || venv=$PWD/$venv
while [[ $venv == ?*/ ]]; do venv=${venv%/}; done
building=$venv.new
stamp=.open_r1_installed       # what it was made from; written last
unfinished=.open_r1_unfinished # an install was begun
base_python=$(find_python)
print=$(fingerprint)

is_made() { [[ -e $venv/$stamp && $(<"$venv/$stamp") == "$print" ]] && "$venv/bin/python" -c '' 2>/dev/null; }
is_made && exit 0
mkdir -p "$(dirname "$venv")"
if command -v flock >/dev/null; then # two at once: the second waits, and then finds it made
    exec 9>>"$venv.lock"
    flock 9
    is_made && exit 0
fi
# Behind the lock: a folder that another call is just making or moving has no mark for a moment.
for folder in "$venv" "$building" "$venv.old"; do
    if [[ -e $folder && ! -e $folder/$unfinished && ! -e $folder/$stamp && -n $(ls -A "$folder") ]]; then
        die "$folder exists and was not made by this script; choose another folder: OPEN_R1_LIGHTEVAL_VENV=..."
    fi
done
make_venv
install_all
printf '%s\n' "$print" >"$building/$stamp"
rm -f "$building/$unfinished"
swap
say "done: $venv"
