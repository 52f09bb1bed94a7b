# SPDX-License-Identifier: Apache-2.0
"""Services on a real Slurm: the sandbox router, and Piston workers (the tests' own Piston, which runs programs)."""

import sys

import pytest

from open_r1.sandbox import Outcome, ProgramInput, RunRequest, run_all, run_coroutine
from open_r1.sandbox.piston import PistonSandbox, slurm_endpoints
from tests.conftest import ROOT
from tests.slurm.cluster_bed import HERE, Job, eventually

TOKEN = "a token of the tests"
DOUBLE = RunRequest("python", {"main.py": "print(int(input()) * 2)"}, (ProgramInput("21"),))


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "it's a token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


def address_of(job: Job) -> str:
    """Where a router says that it listens."""
    (path,) = job.cluster.logs.glob(f"*-{job.job_id}/address")
    return path.read_text().strip()


def ask_from(cluster, address: str, token: str, *, not_on: str):
    """Have a program run by a router, from a node other than this one."""
    node = next(name for name in cluster.nodes if name != not_on)
    words = ["srun", f"--nodelist={node}", "--nodes=1", "--ntasks=1", sys.executable, str(HERE / "router_client.py")]
    env = {"SANDBOX_ROUTER_TOKEN": token, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return cluster.command(*words, address, env=env, check=False)


def test_router_runs_programs_of_other_nodes_and_moves_before_its_time_limit(cluster, token_file):
    words = ("--provider", "local", "--token-file", token_file, "--port", "8123", "--max-parallel", "4")
    job = cluster.submit("slurm/router.slurm", *words, by="script")
    job.wait_for_log("trainers find the address in")
    (node,) = job.nodes
    assert address_of(job) == f"{node}:8123"
    asked = ask_from(cluster, address_of(job), TOKEN, not_on=node)
    assert asked.stdout.split("\n")[:2] == ["healthy", "printed 42"], asked.stderr
    assert TOKEN not in job.log
    assert ask_from(cluster, address_of(job), "another token", not_on=node).returncode != 0
    job.signal_batch("USR1")
    eventually(lambda: job.restarts == 1 and job.log.count("trainers find the address in") == 2, "the router is back")
    assert address_of(job)
    job.cancel()
    eventually(lambda: not list(cluster.logs.glob(f"*-{job.job_id}/address")), "nobody is sent to it any more")


def test_router_without_a_token_is_refused(cluster):
    done = cluster.command(str(ROOT / "slurm/e2b_router.slurm"), check=False)
    assert done.returncode == 2
    assert "--token_file" in done.stderr


def test_router_whose_port_is_taken_says_so(cluster, token_file):
    words = ("--provider", "local", "--token_file", token_file, "--port", "8124")
    first = cluster.submit("slurm/router.slurm", *words, sbatch=["--cpus-per-task=2"])
    first.wait_for_log("trainers find the address in")
    beside = ["--cpus-per-task=2", f"--nodelist={first.nodes[0]}"]
    second = cluster.submit("slurm/router.slurm", *words, sbatch=beside)
    assert second.wait() == "FAILED"
    assert "can't listen on" in second.log


@pytest.fixture
def piston_site(cluster):
    return cluster.site(
        piston=[sys.executable, str(HERE / "piston_worker.py")], environment=[f"PYTHONPATH={ROOT / 'src'}:{ROOT}"]
    )


def test_piston_workers_are_found_by_slurm_and_run_programs(cluster, piston_site, tmp_path, monkeypatch):
    launcher = str(ROOT / "slurm/piston/launch_piston_workers.sh")
    said = cluster.command(launcher, "2", "--packages", str(tmp_path / "Piston's packages"), site=piston_site).stdout
    jobs = [cluster.job(line.split()[3]) for line in said.splitlines()]
    for job in jobs:
        job.wait_for_log("piston answers at")
    eventually(lambda: all(job.field("JobName").startswith("piston-worker-") for job in jobs), "both have names")
    monkeypatch.setenv("SLURM_CONF", str(cluster.folder / "slurm" / "slurm.conf"))
    endpoints = slurm_endpoints()
    assert len(endpoints) == 2
    for endpoint in endpoints:
        sandbox = PistonSandbox([endpoint])
        (result,) = run_all([DOUBLE], sandbox, 1)
        run_coroutine(sandbox.aclose)
        assert (result.tests[0].outcome, result.tests[0].stdout) == (Outcome.OK, "42\n")


def test_piston_worker_under_its_old_name_and_port(cluster, piston_site):
    job = cluster.submit(
        "slurm/piston/launch_single_piston.sh",
        sbatch=["--job-name=piston-worker-2345"],
        env={"PORT": "2345"},
        site=piston_site,
    )
    job.wait_for_log("piston answers at")
    eventually(lambda: job.field("JobName") == "piston-worker-2345", "it has its name")


def test_piston_that_does_not_start_is_found_by_nobody(cluster):
    site = cluster.site(piston=["bash", "-c", "echo 'no isolate here'; exit 3"])
    job = cluster.submit(
        "slurm/piston/piston.slurm", "--port", "2346", sbatch=["--job-name=piston-worker-2346"], site=site
    )
    assert job.wait() == "FAILED"
    assert job.exit_status == 3
    assert "no isolate here" in job.log
    assert job.field("JobName") == "piston-starting"
