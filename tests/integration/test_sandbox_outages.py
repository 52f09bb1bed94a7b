# SPDX-License-Identifier: Apache-2.0
"""What happens to local boxes from outside is never a score: kills, memory of others, a full disk, a stopped job."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple

import psutil
import pytest

from open_r1.sandbox import Limits, Outcome, SandboxError, run_all, run_coroutine
from open_r1.sandbox.local import LocalSandbox, box, cgroups
from tests.conftest import ROOT
from tests.integration.test_sandbox_local_boxes import new_mark, processes_of, request_of
from tests.waiting import wait_until

LONG = Limits(cpu_s=60.0, wall_s=120.0)
WAITS = "import time; n = int(input())\ntime.sleep(2 if n == 2 else 0)\nprint(n)"


@pytest.fixture(scope="module", params=["bwrap", "landlock"])
def sandbox(request):
    return LocalSandbox(mechanism=request.param)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(box, "PAUSES_S", (0.01, 0.01))


def kill_programs(mark: str, times: int) -> threading.Thread:
    """Kill the program of this name from outside when it runs, so many times."""

    def kill() -> None:
        for _ in range(times):
            wait_until(lambda: processes_of(mark))
            [program] = processes_of(mark)
            os.kill(program, signal.SIGKILL)
            wait_until(lambda gone=program: gone not in processes_of(mark))

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_program_that_others_kill_is_run_once_more(sandbox):
    mark = new_mark()
    killer = kill_programs(mark, 1)
    [result] = run_all([request_of(WAITS, "2", "1", "3", name=mark, limits=LONG)], sandbox)
    killer.join()
    assert [done.stdout for done in result.tests] == ["2\n", "1\n", "3\n"]


def test_a_program_that_kills_itself_has_failed_and_its_other_runs_count(sandbox):
    code = "import os\nif input() == 'x': os.kill(os.getpid(), 9)\nprint(1)"
    [result] = run_all([request_of(code, "1", "x", "x", "2")], sandbox)
    outcomes = [(done.outcome, done.signal) for done in result.tests]
    assert outcomes == [(Outcome.OK, None), *[(Outcome.RUNTIME_ERROR, 9)] * 2, (Outcome.OK, None)]


FULL_GROUP = """
import json, os, sys, threading
from pathlib import Path
from open_r1.sandbox import Limits, ProgramInput, RunRequest, run_all
from open_r1.sandbox.local import LocalSandbox

place, mechanism = Path(sys.argv[1]), sys.argv[2]
sandbox = LocalSandbox(mechanism=mechanism)
few = RunRequest("python", {"main.py": "print(1)"}, (ProgramInput(),))
run_all([few], sandbox)
(place / "memory.limit_in_bytes").write_text(str(int((place / "memory.usage_in_bytes").read_text()) + (100 << 20)))
code = "x = bytearray(b'x') * (300 << 20)\\nprint(len(x))"
request = RunRequest("python", {"main.py": code}, (ProgramInput(),), limits=Limits(memory_mb=512))
print(json.dumps([repr(found) for found in run_all([request] * 2, sandbox)]))
"""


@pytest.fixture
def own_group():
    """A control group of version 1 for a process of ours, as Slurm makes one for a job."""
    if len(cgroups.find_place() or ()) != 2:
        pytest.skip("this process can't make control groups of version 1")
    place = cgroups.find_place()
    folders = [folder / f"outage_{os.getpid()}" for folder in place]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "memory.oom_control").write_text("0")
    yield folders
    for folder in folders:
        wait_until(lambda folder=folder: not (folder / "cgroup.procs").read_text())
        for inner in folder.glob("open_r1_box_*"):
            inner.rmdir()
        folder.rmdir()


@pytest.mark.parametrize("has_groups", [True, False])
def test_memory_that_the_trainer_has_used_up_is_no_memory_limit(sandbox, own_group, tmp_path, has_groups):
    script = tmp_path / "script.py"
    script.write_text("" if has_groups else "from open_r1.sandbox.local import box\nbox.find_place = lambda: None\n")
    script.write_text(script.read_text() + FULL_GROUP)
    enter = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in own_group)
    command = ["bash", "-c", f'{enter} exec "$@"', "bash", sys.executable, str(script), str(own_group[0])]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [*command, sandbox.mechanism], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("SandboxError(") == 2, done.stdout


Statvfs = namedtuple("Statvfs", "f_flag f_bavail f_frsize f_files f_favail")
USELESS = {
    "noexec": Statvfs(os.ST_NOEXEC, 1 << 30, 4096, 1 << 20, 1 << 20),
    "full": Statvfs(0, 1000, 4096, 1 << 20, 1 << 20),
    "no files": Statvfs(0, 1 << 30, 4096, 1 << 20, 3),
}


@pytest.mark.parametrize("case", USELESS)
def test_a_folder_where_programs_would_fail_is_no_provider(case, monkeypatch):
    sandbox = LocalSandbox(mechanism="landlock")
    run_all([request_of("print(1)")], sandbox)
    monkeypatch.setattr(os, "statvfs", lambda path: USELESS[case])
    (error,) = run_all([request_of("print(1)")], sandbox)  # the trainer had begun
    assert isinstance(error, SandboxError) and "TMPDIR" in str(error)
    with pytest.raises(SandboxError, match="TMPDIR"):  # it begins
        run_coroutine(LocalSandbox(mechanism="landlock").languages)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_folder_that_is_mounted_noexec_is_no_provider(tmp_path, monkeypatch):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,size=1g", "x", tmp_path], check=False).returncode:
        pytest.skip("mounts are refused here")
    try:
        tmp_path.chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        (error,) = run_all([request_of("print(1)")], LocalSandbox(mechanism="landlock"))
        assert isinstance(error, SandboxError) and "noexec" in str(error)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_disk_that_others_fill_meanwhile_is_no_failure_of_the_program(monkeypatch):
    sandbox = LocalSandbox(mechanism="landlock")
    run_all([request_of("print(1)")], sandbox)
    answers = [os.statvfs("/tmp")] + [USELESS["full"]] * 9
    monkeypatch.setattr(os, "statvfs", lambda path: answers.pop(0) if len(answers) > 1 else answers[0])
    (error,) = run_all([request_of("raise SystemExit('No space left on device')")], sandbox)
    assert isinstance(error, SandboxError)


STOPPED = """
import sys, time
from open_r1.sandbox import Limits, ProgramInput, RunRequest, run_all
from open_r1.sandbox.local import LocalSandbox
sandbox = LocalSandbox(mechanism=sys.argv[1])
run_all([RunRequest("python", {"main.py": "print(1)"}, (ProgramInput(),))], sandbox)
code = "import time\\nfor _ in range(4): time.sleep(0.1)\\nprint('done')"
request = RunRequest("python", {sys.argv[2]: code}, (ProgramInput(),) * 3, limits=Limits(cpu_s=5.0, wall_s=0.7))
(result,) = run_all([request], sandbox)
print([(run.outcome.value, run.stdout, run.wall_s < 2) for run in result.tests])
"""


def test_a_job_that_is_suspended_loses_no_time(sandbox):
    """As `scontrol suspend` does it: all its processes are stopped, for longer than ten times the clock limit."""
    mark = new_mark()
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"}
    command = [sys.executable, "-c", STOPPED, sandbox.mechanism, mark]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as trainer:
        wait_until(lambda: processes_of(mark))
        job = [psutil.Process(trainer.pid), *psutil.Process(trainer.pid).children(recursive=True)]
        for process in job:
            os.kill(process.pid, signal.SIGSTOP)
        time.sleep(9)
        for process in job:
            os.kill(process.pid, signal.SIGCONT)
        output, _ = trainer.communicate(timeout=60)
    assert output.strip() == str([("ok", "done\n", True)] * 3)
