# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What install.sh and lighteval.sh share; sourced.

name=$(basename "$0" .sh)
say() { printf '%s: %s\n' "$name" "$*"; }
die() { say "$@" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no Python 3.11 or later found; name one by the variable PYTHON=/path/to/python"
}

# hash_of PYTHON: of standard input.
hash_of() { "$1" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

# pip_install PYTHON ARGUMENT...: less what pip says about package folders that lack a package.
pip_install() {
    "$1" -I -m pip install --disable-pip-version-check "${@:2}" \
        2> >(grep -v 'is ignored: it is neither a file nor a directory' >&2 || true)
}

# install_cpu_torch PYTHON TORCH ARGUMENT...: TORCH is torch==VERSION. The CPU build saves several GB: from pip as
# configured, then from PyTorch's own index. Fails where there is none. Asking for the "+cpu" version by name keeps pip
# from fetching a CUDA build just to find out what it is.
install_cpu_torch() {
    local python=$1 torch=$2 index_url=${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}
    shift 2
    if pip_install "$python" "$@" --no-deps "$torch+cpu" 2>/dev/null; then
        say "took the CPU build of PyTorch that pip is configured for"
    elif pip_install "$python" "$@" --no-deps --retries 1 --timeout 20 --index-url "$index_url" "$torch+cpu" 2>/dev/null; then
        say "took the CPU build of PyTorch from $index_url"
    else
        say "no CPU build of PyTorch found (neither by pip nor at $index_url): taking the standard one, which runs" \
            "without a GPU, but brings several GB of CUDA libraries"
        return 1
    fi
}
