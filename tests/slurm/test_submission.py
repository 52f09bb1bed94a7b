# SPDX-License-Identifier: Apache-2.0
"""How jobs get to Slurm and to their program: by the script itself or by sbatch, from anywhere, by anybody."""

import json
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_slurm_scripts import ARGUMENTS, SCRIPTS, filled
from tests.slurm.cluster_bed import HERE, ROOT, eventually

ROWS = [{"problem": "What is 1 + 1?", "solution": "2"}]
ODD = 'it\'s a "file" $x & ä'


@pytest.fixture
def folder(cluster):
    """A folder with a hard name that any user may write to."""
    path = cluster.folder / "home" / ODD
    path.mkdir(exist_ok=True)
    path.chmod(0o1777)
    for name in ("token", "rows.jsonl"):
        (path / name).touch(mode=0o600)
        (path / name).write_text("0123456789abcdef" * 3 if name == "token" else json.dumps(ROWS[0]) + "\n")
    return path


def decontaminate(folder, output: str) -> list[str]:
    """Arguments of the job that takes the least time."""
    benchmark = folder / "benchmark.jsonl"
    benchmark.write_text(json.dumps({"problem": "Is there a largest prime number, and how do you know?"}) + "\n")
    files = {"--dataset": folder / "rows.jsonl", "--output_dir": folder / output, "--benchmark_file": benchmark}
    return [str(word) for pair in files.items() for word in pair]


# Two submit themselves: what the others would call is shown by their dry runs (`test_slurm_scripts.py`).
THEMSELVES = ("piston/launch_single_piston.sh", "train.slurm")
CALLS = [*((script, "sbatch") for script in SCRIPTS), *((script, "script") for script in THEMSELVES)]


@pytest.mark.parametrize(("script", "by"), CALLS)
def test_slurm_takes_every_script(cluster, folder, script, by):
    is_array = script in ("compute_pass_rate.slurm", "decontaminate.slurm")  # a node for each task
    job = cluster.submit(
        ROOT / "slurm" / script,
        *filled(ARGUMENTS[script], folder),
        by=by,
        site=cluster.site(piston=["true"]),
        sbatch=["--hold", *([] if is_array else [f"--nodes=1-{len(cluster.nodes)}"])],
    )
    (record, *_) = job.records()
    assert record["JobState"] == "PENDING" and record["Requeue"] == "1"
    assert record["WorkDir"] == str(ROOT)


def test_options_of_site_and_user_reach_slurm(cluster, folder):
    site = cluster.site(cpu_options=["--partition=cpu", '--comment=it\'s "free" $x'])
    job = cluster.submit(
        "slurm/decontaminate.slurm",
        *decontaminate(folder, "out"),
        by="script",
        site=site,
        sbatch=["--hold", "--time=7", "--job-name=a b"],
    )
    (record,) = job.records()
    assert (record["Partition"], record["TimeLimit"]) == ("cpu", "00:07:00")
    assert (record["JobName"], record["Comment"]) == ("a b", 'it\'s "free" $x')


def test_number_of_nodes_is_that_of_the_flag(cluster):
    job = cluster.submit(
        "slurm/serve.slurm",
        "--nodes",
        "2",
        "--model",
        "m",
        by="script",
        sbatch=["--hold"],
        site=cluster.site(gpus_per_node="8"),
    )
    assert job.field("NumNodes").startswith("2")


def test_log_of_slurm_is_in_the_folder_of_the_project(cluster, folder):
    environment = {"SBATCH_OUTPUT": "logs/%x-%j.log"}  # as in the script, and not as in these tests
    job = cluster.submit(
        "slurm/decontaminate.slurm", *decontaminate(folder, "out"), sbatch=["--hold"], env=environment
    )
    assert job.field("StdOut") == str(ROOT / "logs" / f"decontaminate-{job.job_id}.log")


def test_script_submits_itself_from_any_folder_with_its_site_and_without_variables(cluster, folder):
    site = cluster.site(logs=str(folder / "logs of a site"))
    words, variables = decontaminate(folder, "by script"), {"SBATCH_EXPORT": "NONE"}
    job = cluster.submit("slurm/decontaminate.slurm", *words, by="script", cwd=folder, site=site, env=variables)
    assert job.wait() == "COMPLETED"
    assert list((folder / "by script").iterdir())
    log = folder / "logs of a site" / f"decontaminate-{job.job_id}" / "attempt-0" / "decontaminate.log"
    assert log.is_file()


def test_sbatch_works_from_any_folder_that_it_is_told_to_leave(cluster, folder):
    words = decontaminate(folder, "by sbatch")
    job = cluster.submit("slurm/decontaminate.slurm", *words, cwd=folder, sbatch=[f"--chdir={ROOT}"])
    assert job.wait() == "COMPLETED"
    assert list((folder / "by sbatch").iterdir())


def copy_of_python(folder) -> None:
    """An environment that any user can read: that of the tests may be in somebody's home."""
    base, name = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    unneeded = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__", "config-*", "idlelib")
    shutil.copytree(base / "lib" / name, folder / "lib" / name, ignore=unneeded)
    for library in (base / "lib").glob("libpython3*.so*"):
        shutil.copy(library, folder / "lib")
    (folder / "bin").mkdir()
    shutil.copy(base / "bin" / name, folder / "bin" / name)
    (folder / "bin" / "python").write_text(
        '#!/bin/bash\nhere=$(cd "$(dirname "$0")" && pwd)\n'
        f'LD_LIBRARY_PATH=$here/../lib PYTHONHOME=$here/.. exec "$here/{name}" "$@"\n'
    )
    (folder / "bin" / "python").chmod(0o755)


@pytest.fixture
def everybody(cluster):
    """A folder with a project and an environment that users without rights can read."""
    folder = cluster.folder / "everybody"
    copy_of_python(folder / "venv")
    shutil.copytree(ROOT / "slurm", folder / "project" / "slurm")
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    return folder


def test_job_of_another_user_runs_as_that_user(cluster, everybody):
    (everybody / "web" / "api" / "v2").mkdir(parents=True)
    (everybody / "web" / "api" / "v2" / "runtimes").write_text("[]")
    worker = 'id -un; exec "$0" -m http.server "$PORT" --bind "${PISTON_BIND_ADDRESS%:*}" --directory "$1"'
    words = ["bash", "-c", worker, str(everybody / "venv" / "bin" / "python"), str(everybody / "web")]
    script = everybody / "project" / "slurm" / "piston" / "piston.slurm"
    site = cluster.site(piston=words)
    job = cluster.submit(script, "--packages", "/tmp", by="script", user="nobody", site=site, cwd=everybody)
    job.wait_for_log("piston answers at")
    assert job.field("UserId").startswith("nobody(")
    # The server may answer before srun has written what was said on the node.
    eventually(
        lambda: ["nobody" in log.splitlines() for log in job.step_logs().values()] == [True], "it says who it is"
    )
    (attempt,) = cluster.logs.glob(f"*-{job.job_id}")
    assert attempt.stat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_job_that_a_task_submits_is_no_task_and_has_nodes_of_its_own(cluster, folder):
    words = [ROOT / "slurm" / "decontaminate.slurm", *decontaminate(folder, "nested")]
    by_srun = ["srun", "--nodes=1", "--ntasks=1", *words]
    parent = cluster.submit(HERE / "stage.sh", *by_srun, sbatch=["--nodes=2", "--array=3"])
    assert parent.wait() == "COMPLETED"
    child = cluster.job(re.search(r"Submitted batch job (\d+)", parent.tasks[3].log)[1])
    assert child.wait() == "COMPLETED"
    assert child.field("NumNodes") == "1"
    assert list(cluster.logs.glob(f"decontaminate-{child.job_id}/attempt-0"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "--model"),
        (["--accelerator", "ddp", "--nodes", "2"], "sbatch --nodes=2"),
        (["--accelerator", "ddp", "--task", "sft", "--recipe", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_arguments_of_a_job_are_in_its_log(cluster, words, complaint):
    job = cluster.submit("slurm/train.slurm", *words)
    assert (job.wait(), job.exit_status) == ("FAILED", 2)
    assert complaint in job.log


def test_array_of_a_script_that_cuts_nothing_is_refused(cluster):
    job = cluster.submit("slurm/serve.slurm", "--model", "m", sbatch=["--array=0-1"])
    assert job.wait() == "FAILED"
    assert all("array" in task.log for task in job.tasks.values())


def test_logs_that_cannot_be_written_end_the_job_with_their_path(cluster, folder):
    job = cluster.submit(
        "slurm/decontaminate.slurm",
        *decontaminate(folder, "unlogged"),
        by="script",
        site=cluster.site(logs="/dev/null/logs"),
    )
    assert job.wait() == "FAILED"
    assert "/dev/null/logs" in job.log


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--nodes", "9"], "node"),
        (["--sbatch=--partition=none"], "invalid partition"),
        (["--sbatch=--time=400-0"], "time limit"),
    ],
)
def test_what_slurm_refuses_is_said_in_its_words(cluster, words, complaint):
    done = cluster.command(ROOT / "slurm" / "serve.slurm", "--model", "m", *words, check=False)
    assert done.returncode == 1, done.stdout
    assert complaint in done.stderr.lower()
