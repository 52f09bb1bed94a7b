# SPDX-License-Identifier: Apache-2.0
"""The life of local boxes: lost, cancelled, orphaned, many at a time, refused."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from open_r1.sandbox import Limits, ProgramInput, RunRequest, SandboxError, run_all, run_coroutine
from open_r1.sandbox.local import LocalSandbox, cgroups
from open_r1.sandbox.local.box import PAUSES_S
from open_r1.sandbox.local.landlock import PREFIX
from tests.conftest import ROOT
from tests.waiting import wait_until

LONG = Limits(cpu_s=60.0, wall_s=600.0)
MOST_BOXES = 1 + len(PAUSES_S)  # in which a request may fail at the same place


@pytest.fixture(scope="module", params=["bwrap", "landlock"])
def sandbox(request):
    return LocalSandbox(mechanism=request.param)


def request_of(code: str, *stdins: str, name: str = "main.py", **options) -> RunRequest:
    return RunRequest("python", {name: code}, tuple(map(ProgramInput, stdins or ("",))), **options)


def processes_of(mark: str) -> list[int]:
    """The processes that run a file of this name."""
    found = []
    for folder in Path("/proc").iterdir():  # `glob` fails where a process ends just now
        try:
            if f"./{mark}".encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has just ended, or is no process
            continue
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def parent_of_living(pid: int) -> int | None:
    try:
        return parent_of(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None


def new_mark() -> str:
    return f"main_{secrets.token_hex(8)}.py"


def groups_of_this_process() -> set[str]:
    """The control groups of this process's boxes."""
    name = f"open_r1_box_{os.getpid()}_*"
    return {str(path) for folder in cgroups.find_place() or () for path in folder.glob(name)}


def _folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


@pytest.fixture(autouse=True)
def nothing_left():
    """Every test leaves no folder of a box, and no control group."""
    folders = _folders()
    yield
    wait_until(lambda: not groups_of_this_process())
    wait_until(lambda: not {path for path in _folders() - folders if f"_{os.getpid()}_" in path.name})


def kill_drivers(mark: str, times: int) -> threading.Thread:
    """Kill the driver above the program of this name when it runs, so many times."""

    def kill() -> None:
        for _ in range(times):
            wait_until(lambda: processes_of(mark))
            [program] = processes_of(mark)
            os.kill(parent_of(program), signal.SIGKILL)
            wait_until(lambda gone=program: gone not in processes_of(mark))

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


WAITS_ONCE = "import time; n = int(input())\nif n == 1: time.sleep({})\nprint(n)"


LEAVES_ONE = """
import os, time
if input() == "1":
    if os.fork() == 0:
        time.sleep(600)
else:
    time.sleep(600)
"""


def test_a_killed_driver_leaves_no_process_also_after_a_run_that_left_one(sandbox):
    """What ends the left one must not end the process above the driver."""
    mark = new_mark()
    drivers = []

    def kill() -> None:
        for _ in range(MOST_BOXES):
            wait_until(lambda: any(pid not in drivers for pid in map(parent_of_living, processes_of(mark))))
            time.sleep(0.5)
            [program] = processes_of(mark)
            drivers.append(parent_of(program))
            os.kill(drivers[-1], signal.SIGKILL)
            wait_until(lambda gone=program: gone not in processes_of(mark))

    killer = threading.Thread(target=kill)
    killer.start()
    [error] = run_all([request_of(LEAVES_ONE, "1", "2", name=mark, limits=LONG)], sandbox)
    killer.join()
    assert isinstance(error, SandboxError)
    assert not processes_of(mark)


def test_a_killed_parent_leaves_no_process_though_its_fork_lives(sandbox):
    """A worker that was forked while a box ran holds the box's socket open."""
    mark = new_mark()
    command = [sys.executable, str(ROOT / "tests/integration/local_parent.py"), sandbox.mechanism, mark, "forks"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as parent:
        assert parent.stdout.readline() == b"ready\n"
        fork = int(parent.stdout.readline())
        parent.kill()
    try:
        wait_until(lambda: not processes_of(mark), 60.0)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_a_lost_box_is_made_up_for_by_another(sandbox):
    mark = new_mark()
    killer = kill_drivers(mark, 1)
    [result] = run_all([request_of(WAITS_ONCE.format(5), "1", "2", "3", name=mark, limits=LONG)], sandbox)
    killer.join()
    assert [done.stdout for done in result.tests] == ["1\n", "2\n", "3\n"]


def test_a_driver_that_is_killed_again_and_again_is_no_failure_of_the_program(sandbox):
    mark = new_mark()
    killer = kill_drivers(mark, MOST_BOXES)
    code = "import time\nif input() == 'x': time.sleep(600)\nprint(1)"
    [error] = run_all([request_of(code, "x", "b", name=mark, limits=LONG)], sandbox)
    killer.join()
    assert isinstance(error, SandboxError)


def test_an_exception_of_who_asks_leaves_no_process(sandbox):
    mark = new_mark()

    async def refuse(first, runs):
        assert first == 0
        raise KeyError("mine")

    code = "import time\nif input(): time.sleep(600)"
    request = request_of(code, "", "x", name=mark, limits=LONG, stop_after=1)
    with pytest.raises(KeyError, match="mine"):
        run_coroutine(lambda: sandbox.run(request, refuse))
    assert not processes_of(mark)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_parent_leaves_no_process(sandbox, number):
    mark = new_mark()
    command = [sys.executable, str(ROOT / "tests/integration/local_parent.py"), sandbox.mechanism, mark]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as parent:
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(number)
        try:
            parent.wait(120)
        finally:  # or one that ignores the signal would be waited for
            parent.kill()
    wait_until(lambda: not processes_of(mark))


def test_after_a_fork(sandbox):
    """A worker that was forked while boxes had run makes its own."""
    assert run_all([request_of("print(1)")], sandbox)[0].tests[0].stdout == "1\n"
    pid = os.fork()
    if pid == 0:
        try:
            results = run_all([request_of("print(2)")] * 3, sandbox)
            os._exit(0 if all(result.tests[0].stdout == "2\n" for result in results) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert run_all([request_of("print(3)")], sandbox)[0].tests[0].stdout == "3\n"


REFUSALS = {
    "no such mechanism": ({"OPEN_R1_SANDBOX": "docker"}, ValueError, "'docker'.*bwrap, landlock, none"),
    "no such interpreter": ({"python": "/no/python"}, SandboxError, "/no/python"),
    "no interpreter": ({"python": "/usr/bin/true"}, SandboxError, "/usr/bin/true"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_can_not_be_used_is_refused(case, environment):
    settings, error, message = REFUSALS[case]
    settings = dict(settings)
    python = settings.pop("python", None)
    environment.update(settings)
    with pytest.raises(error, match=message):
        run_coroutine(lambda: LocalSandbox(python=python).languages())


@pytest.mark.parametrize("mechanism", ["bwrap", "landlock"])
def test_the_mechanism_of_the_environment_is_taken(mechanism, environment):
    environment["OPEN_R1_SANDBOX"] = mechanism
    sandbox = LocalSandbox()
    assert "not tried out" in sandbox.describe()
    assert "python" in run_coroutine(sandbox.languages)
    assert {"bwrap": "bubblewrap", "landlock": "Landlock"}[mechanism] in sandbox.describe()
    assert "Python 3" in sandbox.describe()
    assert "numpy" in sandbox.describe()


REFUSED_SCRIPT = """
import ctypes, struct, sys
libc = ctypes.CDLL(None, use_errno=True)

def deny(*calls):
    rows = [(0x20, 0, 0, 0)] + [row for call in calls for row in ((0x15, 0, 1, call), (6, 0, 0, 0x00050000 | 1))]
    rows.append((6, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    program = Program(len(rows), ctypes.addressof(code))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0

deny(444, 165)  # Landlock, mount
from open_r1.sandbox import SandboxError, run_all, RunRequest, ProgramInput
from open_r1.sandbox.local import LocalSandbox
[error] = run_all([RunRequest("python", {"main.py": "open('/tmp/ran', 'w')"}, (ProgramInput(),))], LocalSandbox())
assert isinstance(error, SandboxError), error
print(error)
"""


def test_where_nothing_isolates_nothing_runs_and_the_message_helps():
    """A process to which the kernel refuses Landlock and mounts, as in a hardened container."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", REFUSED_SCRIPT],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in ("bwrap", "landlock", "make install", "user.max_user_namespaces", "Linux 6.2", "piston"):
        assert word in done.stdout, done.stdout
