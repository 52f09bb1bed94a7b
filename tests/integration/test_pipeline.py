# SPDX-License-Identifier: Apache-2.0
"""recipes/demo/pipeline.sh and recipes/DeepSeek-R1/run.sh: their commands, jobs in a chain, a stage that is killed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from open_r1.generation.servers import free_port
from tests.conftest import ROOT
from tests.integration.test_documented_commands import PARSERS

STAGES = {
    "recipes/demo/pipeline.sh": "init base r1_zero cold_start reasoning_rl samples decontaminated reasoning_data sft "
    "rl_all student_init student_base distill report",
    "recipes/DeepSeek-R1/run.sh": "r1_zero cold_start_data chat cold_start reasoning_rl samples decontaminated "
    "reasoning_data sft rl_all distill",
}
SBATCH = """#!/usr/bin/env bash
printf '%s ' "$@" | tr '\\n' ' ' >>"$JOBS"
echo >>"$JOBS"
[[ $(wc -l <"$JOBS") -le ${ROOM:-99} ]] || { echo "the queue is full" >&2; exit 1; }
echo "Submitted batch job $(wc -l <"$JOBS")"
"""
scripts = pytest.mark.parametrize("script", STAGES)


def run(script: str | Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = os.environ | path | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(
        [str(ROOT / script), *words], env=environment, capture_output=True, text=True, check=False, timeout=600
    )


@scripts
def test_dry_run_prints_commands_that_the_programs_take(script, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = run(script, DRY_RUN="1", ZERO="1")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^== (\w+)$", done.stdout, re.MULTILINE) == STAGES[script].split()
    commands = [bash_words(line) for line in re.split(r"\n(?=\w+ )|^== .*\n", done.stdout, flags=re.MULTILINE)]
    programs = [(words, next((word for word in words if word in PARSERS), None)) for words in commands]
    parsed = [PARSERS[program](words[words.index(program) + 1 :]) for words, program in programs if program]
    assert len(parsed) >= len(STAGES[script].split()) - 3


def bash_words(line: str) -> list[str]:
    """The words of a command that `printf %q` has written."""
    printed = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return printed.stdout.split("\0")[:-1]


@scripts
def test_each_job_waits_for_the_one_before_and_a_refused_one_ends_the_chain(script, tmp_path):
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "sbatch").chmod(0o755)
    site = tmp_path / "site.sh"
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    site.write_text(f"gpus_per_node=8 gpu_options=(--partition=gpu) cpu_options=(--partition=cpu)\nPATH={path!r}\n")
    variables = {"SLURM": "1", "PATH": path, "OPEN_R1_CLUSTER": str(site), "JOBS": str(tmp_path / "jobs")}
    names = STAGES[script].replace("r1_zero ", "").split()
    done = run(script, **variables)
    assert done.returncode == 0, done.stderr
    jobs = (tmp_path / "jobs").read_text().splitlines()
    assert [re.findall(r"--job-name=(\w+)", job)[-1] for job in jobs] == names
    waits = [re.findall(r"--dependency=(\S+)", job) for job in jobs]
    assert waits == [[], *([f"afterok:{number}"] for number in range(1, len(names)))]
    (trained,) = (job for job in jobs if "--job-name=rl_all" in job)
    assert "--partition=gpu" in trained and "slurm/train.slurm" in trained
    assert run(script, **variables, ROOM=str(len(jobs) + 2)).returncode == 1
    assert len((tmp_path / "jobs").read_text().splitlines()) == len(jobs) + 3


def write_script(folder: Path, *lines: str) -> Path:
    script = folder / "run.sh"
    script.write_text(
        f"#!/usr/bin/env bash\nset -euo pipefail\ncd {shlex.quote(str(ROOT))}\n" + "\n".join(lines) + "\n"
    )
    script.chmod(0o755)
    return script


def test_server_of_a_stage_lives_as_long_as_it(tmp_path):
    server = "env SLURMD_NODENAME=n python tests/slurm/stand_in_replica.py answers serve m --host localhost"
    (tmp_path / "rows.jsonl").write_text('{"problem": "1+1"}\n')
    script = write_script(
        tmp_path,
        f"source recipes/stages.sh\nport=$1\nserver=({server} --port $1)",
        f"generate samples m {tmp_path}/out --dataset-name {tmp_path}/rows.jsonl --prompt-column problem "
        "--max-tokens 9 $2",
        'echo "ended: $(curl --silent localhost:$1/health || echo yes)"',
    )
    port = str(free_port())
    assert run(script, port, "--no-such-flag").returncode == 2
    for log in ("a chat", ""):  # finished the second time: no server is started
        done = run(script, port, "")
        assert done.returncode == 0, done.stderr[-3000:]
        assert log in done.stdout and done.stdout.endswith("ended: yes\n")
    dead = write_script(tmp_path, f"source recipes/stages.sh\nserver=(false)\ngenerate samples m {tmp_path}/other")
    assert run(dead).returncode == 1
