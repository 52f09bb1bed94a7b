# SPDX-License-Identifier: Apache-2.0
"""A real Slurm for tests: three nodes with networks of their own on this machine, and the jobs that tests submit.

Where network namespaces are impossible the nodes share a network, each with an address of its own;
OPEN_R1_SLURM_NETWORK=namespaces or shared decides instead.

Nodes are pretended to have 8 GPUs and 16 CPUs each. The site file says `gpus_per_node=0`, so that jobs train on CPUs;
a test that wants GPUs in commands and variables writes another one: `cluster.site(gpus_per_node="")`.
"""

import functools
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
NUM_NODES = 3
PATIENCE_S = 600.0  # for what comes sooner or later, on a machine that is busy with all of it
# Variables of jobs: small programs that never ask a hub, and those that serve, where nodes are asked without a proxy.
ON_CPUS = ("OMP_NUM_THREADS=1", "TOKENIZERS_PARALLELISM=false", "HF_HUB_OFFLINE=1")
SERVED = (*ON_CPUS, "VLLM_CPU_KVCACHE_SPACE=1")
BEHIND_A_PROXY = (*SERVED, "http_proxy=http://127.0.0.1:9")  # at which nobody listens
_FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}
_NOT_OURS = re.compile(r"(PYTEST_|SLURM_|SBATCH_|OPEN_R1_(?!NO_SKIPS)|PYTHONPATH$|COVERAGE)")
_NO_NAMESPACES = 3  # exit status of up.sh
_POLL_S = 0.25
_LINES_IN_REPORT = 60


def eventually(condition: Callable[[], object], what: str):
    """Return what `condition` returns once it is true; fail the test when that takes longer than `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(_POLL_S)
    return value


@dataclass(frozen=True)
class Job:
    """A job that a test submitted; of an array all tasks together, and each by `tasks`."""

    cluster: "Cluster"
    job_id: str

    def __hash__(self):
        return hash(self.job_id)

    def records(self) -> list[dict[str, str]]:
        """What `scontrol show job` says: one record, for an array one for each of its tasks."""
        shown = self.cluster.command("scontrol", "--oneliner", "show", "job", self.job_id).stdout
        # Arguments with line breaks in them come as they are.
        return [_fields(line) for line in shown.splitlines() if line.startswith("JobId=")]

    def field(self, name: str) -> str:
        return self.records()[0][name]

    @property
    def state(self) -> str:
        """PENDING, RUNNING, COMPLETED, ...; of an array the state that all share, else those that there are."""
        return ",".join(sorted({record["JobState"] for record in self.records()}))

    @property
    def restarts(self) -> int:
        return int(self.field("Restarts"))

    @property
    def exit_status(self) -> int:
        """Of the batch process; 128 + n when signal n ended it."""
        status, _, signal = self.field("ExitCode").partition(":")
        return 128 + int(signal) if int(signal) else int(status)

    @property
    def nodes(self) -> list[str]:
        return self.cluster.command("scontrol", "show", "hostnames", self.field("NodeList")).stdout.split()

    @property
    def steps(self) -> dict[str, str]:
        """Names of the steps that run now -> their ids."""
        shown = self.cluster.command(
            "squeue", "--steps", "--noheader", f"--job={self.job_id}", "--format=%j %i"
        ).stdout
        return dict(line.split() for line in shown.splitlines())

    @property
    def tasks(self) -> dict[int, "Job"]:
        """Tasks of an array, each a job of its own."""
        return {
            int(record["ArrayTaskId"]): Job(self.cluster, record["JobId"])
            for record in self.records()
            if record.get("ArrayTaskId", "").isdigit()
        }

    @property
    def log_path(self) -> Path:
        return self.cluster.logs / f"{self.job_id}.log"

    @property
    def log(self) -> str:
        """What the job wrote, in all attempts."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def step_logs(self) -> dict[str, str]:
        """`attempt-0/train.log` -> what the step wrote."""
        labels = [
            self.job_id,
            *(
                f"{record['ArrayJobId']}_{record['ArrayTaskId']}"
                for record in self.records()
                if "ArrayJobId" in record
            ),
        ]
        folders = [folder for label in labels for folder in sorted(self.cluster.logs.glob(f"*-{label}"))]
        return {
            str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace")
            for folder in folders
            for path in sorted(folder.rglob("*.log"))
        }

    def wait(self) -> str:
        """Return the final state, when all of the job has ended."""

        def is_over():
            records = self.records()
            return bool(records) and all(record["JobState"] in _FINAL for record in records)

        eventually(is_over, f"job {self.job_id} ends")
        return self.state

    def wait_for_log(self, text: str) -> None:
        """Wait until the job has written `text`; a job that ends without it fails the test."""

        def is_written():
            is_over = self.state in _FINAL
            if text in self.log:
                return True
            if is_over:
                pytest.fail(f"job {self.job_id} is {self.state} and has not written {text!r}")
            return False

        eventually(is_written, f"job {self.job_id} writes {text!r}")

    def signal_batch(self, name: str) -> None:
        """Send a signal to the batch process, as Slurm does before a time limit: `signal_batch("USR1")`."""
        self.cluster.command("scancel", "--batch", f"--signal={name}", self.job_id)

    def cancel(self) -> None:
        self.cluster.command("scancel", "--quiet", self.job_id)


class Cluster:
    """The Slurm that runs, and how to submit to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.jobs: list[Job] = []
        self._num_sites = 0
        self._is_over = threading.Event()
        self._state = folder / "slurm"
        folder.chmod(0o755)  # jobs of other users go through it
        for public in (self.logs, folder / "home"):
            public.mkdir()
            public.chmod(0o1777)

    def start(self) -> None:
        words = [str(HERE / "up.sh"), "-d", str(self._state), "-n", str(NUM_NODES), "-o", str(os.getpid())]
        network = os.environ.get("OPEN_R1_SLURM_NETWORK", "")
        if network not in ("", "namespaces", "shared"):
            pytest.fail(f"OPEN_R1_SLURM_NETWORK is {network!r}: leave it out, or set it to namespaces or shared")
        done = None
        if network != "shared":
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        if done is None or (done.returncode == _NO_NAMESPACES and not network):
            words.append("--shared-network")
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        if done.returncode != 0:
            pytest.fail(f"no Slurm to test with; `make test_slurm` as root brings one.\n{done.stderr}", pytrace=False)
        prefix = f"p{(self._state / '.open-r1-slurm').read_text().strip()}n"
        self.nodes = tuple(f"{prefix}{number}" for number in range(1, NUM_NODES + 1))
        self.default_site = self.site()
        threading.Thread(target=self._start_requeued, daemon=True).start()

    def _start_requeued(self) -> None:
        """Let requeued jobs begin after two seconds, not when their last attempt's credentials have expired."""
        before: set[str] = set()
        while not self._is_over.wait(1):
            said = self.command("squeue", "--noheader", "--states=PENDING", "--format=%A %r", check=False).stdout
            waiting = {line.split()[0] for line in said.splitlines() if line.endswith(" BeginTime")}
            for job_id in waiting & before:
                self.command("scontrol", "update", f"jobid={job_id}", "StartTime=now", check=False)
            before = waiting

    def stop(self) -> None:
        self._is_over.set()
        subprocess.run([HERE / "down.sh", "-d", str(self._state)], capture_output=True, timeout=PATIENCE_S, check=True)

    def site(self, environment: Sequence[str] = (), **settings: str | Sequence[str]) -> Path:
        """Write a site file for `submit(site=...)`: that of the tests, with variables and settings of cluster.sh."""
        values = {
            "gpu_options": ["--partition=gpu"],
            "cpu_options": ["--partition=cpu"],
            "gpus_per_node": "0",
            "logs": str(self.logs),
        }
        self._num_sites += 1
        path = self.folder / f"site-{self._num_sites}.sh"
        lines = [f"{name}={_bash(value)}\n" for name, value in (values | settings).items()]
        lines += [
            f"export {shlex.quote(word)}\n" for word in (f"PATH={sys.prefix}/bin:{os.environ['PATH']}", *environment)
        ]
        path.write_text("# shellcheck shell=bash disable=SC2034\n" + "".join(lines), encoding="utf-8")
        return path

    @functools.cached_property
    def _base_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not _NOT_OURS.match(name)}
        return {
            **inherited,
            "SLURM_CONF": str(self._state / "slurm.conf"),
            "OPEN_R1_CLUSTER": str(self.default_site),
            "SBATCH_OUTPUT": str(self.logs / "%j.log"),
        }

    def command(
        self,
        *words: str,
        env=None,
        user: str | None = None,
        cwd: Path = ROOT,
        site: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess:
        """Run a command of Slurm, or a script as it is called on a login node; a failing one fails the test."""
        variables = {**self._base_environment, **(env or {})}
        if site is not None:
            variables["OPEN_R1_CLUSTER"] = str(site)
        identity = {}
        if user is not None:
            entry = pwd.getpwnam(user)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            variables |= {"HOME": str(self.folder / "home"), "USER": user, "LOGNAME": user}
        done = subprocess.run(
            words,
            env=variables,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
            **identity,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{shlex.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def submit(
        self,
        script: str | Path,
        *args: object,
        sbatch: Sequence[str] = (),
        by: str = "sbatch",
        env=None,
        user: str | None = None,
        cwd: Path = ROOT,
        site: Path | None = None,
    ) -> Job:
        """Submit a script with arguments.

        Args:
            script: Its path, absolute or below the project.
            sbatch: Words for sbatch.
            by: "sbatch", or "script": the script itself is run and submits itself.
            env: Variables besides those of this process.
            user: Name of who submits, when not root.
            cwd: Folder to submit from.
            site: Site file, when not that of the tests.
        """
        path, words = str(ROOT / script), [str(word) for word in args]
        if by == "sbatch":
            words = ["sbatch", *sbatch, path, *words]
        else:
            words = [path, *(f"--sbatch={shlex.quote(word)}" for word in sbatch), *words]
        said = self.command(*words, env=env, user=user, cwd=cwd, site=site).stdout
        found = re.search(r"Submitted batch job (\d+)", said)
        assert found, f"no job id in what submitting said: {said!r}"
        return self.job(found[1])

    def job(self, job_id: str) -> Job:
        """Return a job by its id; it is cancelled at the end of the test like those of `submit`."""
        self.jobs.append(Job(self, str(job_id)))
        return self.jobs[-1]

    def node_down(self, name: str) -> None:
        """Set a node down, as Slurm does when it no longer answers: its jobs are requeued or end."""
        self.command("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def node_up(self, name: str) -> None:
        self.command("scontrol", "update", f"nodename={name}", "state=resume")

    def tidy(self, jobs: Sequence[Job]) -> None:
        """Cancel these jobs, and have all nodes back."""
        left = self.command("squeue", "--noheader", "--format=%A").stdout.split()
        own = [job.job_id for job in jobs if job.job_id in left]
        if own:
            self.command("scancel", "--quiet", *own)
            eventually(
                lambda: not set(own) & set(self.command("squeue", "--noheader", "--format=%A").stdout.split()),
                f"jobs {own} are gone",
            )
        for line in self.command("sinfo", "--noheader", "--Node", "--format=%N %T").stdout.splitlines():
            name, state = line.split()
            if state.startswith(("down", "drain")):
                self.node_up(name)

    def processes_with(self, word: str) -> list[psutil.Process]:
        """Processes of this cluster's jobs, on all nodes, that have this word in their command."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            conf = (process.info["environ"] or {}).get("SLURM_CONF", "")
            is_of_cluster = Path(conf).is_relative_to(self.folder)  # another may run beside it
            if is_of_cluster and any(word in part for part in process.info["cmdline"] or ()):
                found.append(process)
        return found

    def report(self, job: Job) -> str:
        """What a failing test's report shows of a job."""
        try:
            return self._report(job)
        except (pytest.fail.Exception, subprocess.TimeoutExpired) as failure:  # of the report, not of the test
            return f"nothing is known of it: {failure}"

    def _report(self, job: Job) -> str:
        texts = {"its own log": job.log, **job.step_logs()}
        for task in job.tasks.values():
            texts[f"task {task.field('ArrayTaskId')}"] = task.log
        parts = [f"{job.state}, {job.field('Reason')}, status {job.exit_status}, restarts {job.restarts}"]
        for name, text in texts.items():
            lines = text.rstrip().splitlines()[-_LINES_IN_REPORT:]
            parts.append(f"--- {name}: {len(text)} characters, the last lines:\n" + "\n".join(lines))
        return "\n".join(parts)


def start_cluster() -> Cluster:
    """Return a cluster that runs; needs root and Slurm, and says so."""
    if os.geteuid() != 0:
        pytest.fail(
            "slurmd starts jobs as their users, which root alone may: run `make test_slurm` as root", pytrace=False
        )
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="open_r1_slurm_")))
    try:
        cluster.start()
    except BaseException:
        shutil.rmtree(cluster.folder)
        raise
    return cluster


def stop_cluster(cluster: Cluster) -> None:
    """End all jobs and daemons, and remove all that they wrote."""
    try:
        cluster.stop()
    finally:
        shutil.rmtree(cluster.folder)


def _fields(line: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in re.split(r"\s+(?=[A-Z][A-Za-z/:]*=)", line.strip()):
        name, _, value = word.partition("=")
        found.setdefault(name, value)  # arguments of the script may look like fields, and come later
    return found


def _bash(value: str | Sequence[str]) -> str:
    if isinstance(value, str):
        return shlex.quote(value)
    return f"({' '.join(shlex.quote(str(word)) for word in value)})"
