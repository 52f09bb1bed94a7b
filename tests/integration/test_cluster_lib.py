# SPDX-License-Identifier: Apache-2.0
"""`run_job` of `slurm/lib.sh`: what Python is called with, whatever a site and the submitting shell have set."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A Python that says what it was called with.
PYTHON = '#!/bin/bash\nprintf "%s\\n" "$@" >"${0%/*}/words"\nenv >"${0%/*}/environment"\n'
PROGRAM = 'set -euo pipefail; here=$1/slurm; shift; source "$here/lib.sh"; run_job router cpu --provider e2b "$@"'
SUBMISSION = ["--dry-run", "--sbatch", "--time=5 --hold"]


@pytest.fixture
def call(tmp_path):
    """Runs a job, whose script Slurm has copied elsewhere; returns the words and the environment of Python."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(PYTHON)
    (tmp_path / "bin" / "python").chmod(0o755)

    def run(site: str, *words: str, **variables: str) -> tuple[list[str], dict[str, str]]:
        (tmp_path / "site.sh").write_text(f"venv='{tmp_path}'\n{site}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPEN_R1_")}
        environment |= {"OPEN_R1_CLUSTER": str(tmp_path / "site.sh"), **variables}
        done = subprocess.run(
            ["bash", "-c", PROGRAM, "a job", str(ROOT), *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "bin" / "environment").read_text().splitlines()
        said = dict(line.split("=", 1) for line in lines if "=" in line)
        return (tmp_path / "bin" / "words").read_text().splitlines(), said

    return run


@pytest.mark.parametrize("site", ["submission=normal\n", "submission=()\n", "lists=(a b)\ncluster_file=x\nknown=y\n"])
def test_variables_of_a_site_do_not_change_the_command_line(call, site):
    words, _ = call(site, *SUBMISSION, "--port", "1")
    assert words == ["-m", "open_r1.cluster.router", *SUBMISSION, "--provider", "e2b", "--port", "1"]


def test_command_line_without_words_for_the_submission_stays_as_it_is(call):
    words, _ = call("", "--port", "1")
    assert words == ["-m", "open_r1.cluster.router", "--provider", "e2b", "--port", "1"]


def test_job_does_not_take_itself_for_the_training_that_submits_it(call):
    foreign = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "NODE_RANK": "0",
               "MASTER_ADDR": "n1", "MASTER_PORT": "1", "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "ROLE_RANK": "0",
               "ROLE_WORLD_SIZE": "1", "ROLE_NAME": "default", "TORCHELASTIC_RUN_ID": "x",
               "PET_SIGNALS_TO_HANDLE": "SIGINT", "ACCELERATE_USE_DEEPSPEED": "true", "FSDP_VERSION": "2",
               "MIXED_PRECISION": "bf16", "PARALLELISM_CONFIG_TP_SIZE": "1", "DS_ACCELERATOR": "cpu",
               "VLLM_HOST_IP": "10.0.0.1", "VLLM_SERVER_DEV_MODE": "1", "OPEN_R1_STOP_FILE": "/s"}  # fmt: skip
    _, environment = call("", **foreign)
    assert not foreign.keys() & environment.keys()


def test_commands_of_slurm_in_a_job_ask_its_own_cluster_without_a_token(call):
    chosen = {"SLURM_CLUSTERS": "c1", "SLURM_JWT": "token"}
    _, environment = call("export SLURM_CLUSTERS=c2\n", **chosen, SLURM_CONF="/conf")
    assert not chosen.keys() & environment.keys()
    assert environment["SLURM_CONF"] == "/conf"


def test_steps_do_not_inherit_the_gpus_that_the_job_has_asked_for(call):
    asked = {
        "SLURM_GPUS": "16",
        "SLURM_GPUS_PER_NODE": "8",
        "SLURM_GPUS_PER_TASK": "8",
        "SLURM_GPUS_PER_SOCKET": "4",
        "SLURM_GRES": "gpu:8",
        "SLURM_STEP_GRES": "gpu:8",
        "SLURM_TRES_PER_TASK": "gres/gpu:8",
        "SLURM_NTASKS_PER_GPU": "1",
        "SLURM_CPUS_PER_GPU": "4",
        "SLURM_MEM_PER_GPU": "9",
    }
    _, environment = call("", **asked, SLURM_GPUS_ON_NODE="8")
    assert not asked.keys() & environment.keys()
    assert environment["SLURM_GPUS_ON_NODE"] == "8"  # what it has been given


def test_submission_goes_to_the_cluster_that_the_user_means(tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("lib.sh", "cluster.sh"):
        (tmp_path / "slurm" / name).symlink_to(ROOT / "slurm" / name)
    script = tmp_path / "slurm" / "a.slurm"
    script.write_text('set -euo pipefail; here=${0%/*}; source "$here/lib.sh"; run_job router cpu\n')
    python = tmp_path / "bin" / "python"
    python.write_text('#!/bin/bash\necho "$OPEN_R1_JOB_MODE $SLURM_CLUSTERS $SLURM_JWT"\n')
    python.chmod(0o755)
    (tmp_path / "site.sh").write_text(f"venv='{tmp_path}'\n")
    variables = {"OPEN_R1_CLUSTER": str(tmp_path / "site.sh"), "SLURM_CLUSTERS": "c1", "SLURM_JWT": "token"}
    done = subprocess.run(
        ["bash", str(script)], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "submit c1 token\n"


def test_settings_may_be_declared(call):
    hook = "module() { export LOADED=$2; }\n"
    words, environment = call(f"{hook}declare -a modules=(cuda/12.8)\ndeclare -x HF_HOME=/h\ndeclare logs=/l\n", "a b")
    assert words[1:] == ["open_r1.cluster.router", "--provider", "e2b", "a b"]
    assert (environment["LOADED"], environment["HF_HOME"], environment["OPEN_R1_SITE_LOGS"]) == (
        "cuda/12.8",
        "/h",
        "/l",
    )


def test_site_file_has_no_arguments(call):
    _, environment = call('export WORDS="$*"\nset -- of its own\n', "--port", "1")
    assert environment["WORDS"] == ""


def test_variables_of_a_site_and_its_users_stay_in_the_job(call):
    inherited = {"GROUP_SCRATCH": "/g", "ROLE_HOME": "/r", "KMP_BLOCKTIME": "1", "RANKING": "1"}
    own = {"KMP_AFFINITY": "compact", "VLLM_HOST_IP": "10.0.0.2", "ACCELERATE_LOG_LEVEL": "debug"}
    site = "".join(f"export {name}={value}\n" for name, value in own.items())
    _, environment = call(site + "environment=(HF_HOME=$GROUP_SCRATCH/hf)\n", **inherited, VLLM_HOST_IP="10.0.0.1")
    assert environment.items() >= (inherited | own).items()
    assert environment["OPEN_R1_SITE_ENVIRONMENT"] == "HF_HOME=/g/hf"


def test_modules_may_read_variables_that_are_not_set(call):
    hook = "module() { [[ -z $NO_SUCH_VARIABLE ]]; export LOADED=$2; }\nmodules=(cuda/12.8)\n"
    _, environment = call(hook)
    assert environment["LOADED"] == "cuda/12.8"
