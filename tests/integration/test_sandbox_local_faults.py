# SPDX-License-Identifier: Apache-2.0
"""Local boxes where the machine is short of something, and what programs try to leave for the next run."""

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from open_r1.sandbox import Limits, Outcome, ProgramInput, RunRequest, SandboxError, run_all, run_coroutine
from open_r1.sandbox.local import LocalSandbox, cgroups
from open_r1.sandbox.local import box as module_of_boxes
from open_r1.sandbox.local.interpreter import covers
from tests.conftest import ROOT
from tests.waiting import wait_until

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"}


@pytest.fixture(scope="module", params=["bwrap", "landlock"])
def sandbox(request):
    return LocalSandbox(mechanism=request.param)


def request_of(code: str, *stdins: str, **options) -> RunRequest:
    return RunRequest("python", {"main.py": code}, tuple(map(ProgramInput, stdins or ("",))), **options)


def num_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def traces() -> list[Path]:
    """What boxes of this process have left in the machine: control groups and folders."""
    groups = [path for folder in cgroups.find_place() or () for path in folder.glob(f"open_r1_box_{os.getpid()}_*")]
    return [*groups, *Path(tempfile.gettempdir()).glob(f"open_r1_box_{os.getpid()}_*")]


def test_programs_that_wait_for_cores_are_not_over_their_time(sandbox, monkeypatch):
    """Six programs share a core: on the clock each takes about six seconds, twice its backstop."""
    monkeypatch.setattr(module_of_boxes, "places", asyncio.Semaphore(100))
    core = min(os.sched_getaffinity(0))
    code = f"import os, time\nos.sched_setaffinity(0, {{{core}}})\nwhile time.process_time() < 1.0: pass"
    request = request_of(code, limits=Limits(cpu_s=5.0, wall_s=3.0))
    runs = [result.tests[0] for result in run_all([request] * 6, sandbox, num_parallel=6)]
    assert {done.outcome for done in runs} == {Outcome.OK}, runs
    assert max(done.wall_s for done in runs) > 3.0


def test_no_more_boxes_run_than_there_are_places_and_who_is_asked_may_use_them(sandbox):
    number = 3 * module_of_boxes.BOXES_A_CORE * len(os.sched_getaffinity(0))

    async def ask(first, runs):
        return (await sandbox.run(request_of("print(2)"))).tests[0].stdout == "2\n"

    async def run_them():
        requests = [request_of("print(1)", "", "", stop_after=1) for _ in range(number)]
        return await asyncio.gather(*(sandbox.run(request, ask) for request in requests))

    results = run_coroutine(run_them)
    assert [done.stdout for result in results for done in result.tests] == ["1\n"] * 2 * number


@contextlib.contextmanager
def few_descriptors(num_left: int):
    """Leave this process so many descriptors to open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 32, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(num_left):
            os.close(held.pop())
        yield
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("num_left", range(8))
def test_where_descriptors_are_short_rows_fail_one_by_one_and_nothing_is_left(sandbox, num_left):
    run_all([request_of("print(1)")], sandbox)
    before = num_descriptors()
    with few_descriptors(num_left):
        results = run_all([request_of("print(1)")] * 2, sandbox)
    assert all(isinstance(result, SandboxError) or result.tests[0].stdout == "1\n" for result in results)
    if num_left < 3:
        assert all(isinstance(result, SandboxError) for result in results)
    wait_until(lambda: not traces() and num_descriptors() <= before)


def test_a_box_whose_opening_is_cancelled_twice_is_ended(sandbox):
    async def cancel() -> None:
        await sandbox.setup()
        for step in range(20):
            run = asyncio.ensure_future(sandbox.run(request_of("import time; time.sleep(60)")))
            await asyncio.sleep(0.004 * step)
            run.cancel()
            await asyncio.sleep(0)
            run.cancel()
            await asyncio.sleep(0.001)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run

    before = num_descriptors()
    run_coroutine(cancel)
    wait_until(lambda: not traces() and num_descriptors() <= before)


ONLY_IN_GROUPS_BEFORE = {
    "shared memory without a file": "import mmap\nmmap.mmap(-1, 4096)[:2] = b'ok'",
    "a hundred files": "held = [open('/dev/null') for _ in range(100)]",
    "zeros": "assert open('/dev/zero', 'rb').read(3) == bytes(3)",
}


@pytest.mark.parametrize("program", ONLY_IN_GROUPS_BEFORE)
def test_a_verdict_does_not_depend_on_the_right_to_make_control_groups(program, monkeypatch):
    monkeypatch.setattr(module_of_boxes, "find_place", lambda: None)
    sandbox = LocalSandbox(mechanism="bwrap")
    (result,) = run_all([request_of(ONLY_IN_GROUPS_BEFORE[program])], sandbox)
    assert result.tests[0].outcome is Outcome.OK, result.tests[0].stderr


def test_programs_without_numpy_are_told_at_the_first_use(caplog):
    """Where the interpreter of the boxes hasn't it, programs that import it fail and nothing else would say why."""
    sandbox = LocalSandbox(python="/usr/bin/python3")
    with caplog.at_level("WARNING"):
        run_coroutine(sandbox.languages)
    has_numpy = run_coroutine(sandbox.setup).has_numpy
    assert any("numpy" in message for message in caplog.messages) is not has_numpy


needs_groups = pytest.mark.skipif(cgroups.find_place() is None, reason="this user can't make control groups")


@needs_groups
def test_a_kill_for_want_of_memory_counts_for_its_own_run_only(sandbox):
    code = """
import os, sys, time
if input() == "1":
    sys.exit(3)
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(b"x") * (60 << 20)
        time.sleep(5)
        os._exit(0)
for _ in range(6):
    os.wait()
"""
    [result] = run_all([request_of(code, "0", "1", limits=Limits(memory_mb=128))], sandbox)
    assert [done.outcome for done in result.tests] == [Outcome.MEMORY_LIMIT, Outcome.RUNTIME_ERROR]


@pytest.mark.parametrize("name", ["-c", "-m", "-o", "--version", "-"])
@pytest.mark.parametrize("language, code", [("python", "print(5)"), ("bash", "echo 5"), ("cpp", "int main() {}")])
def test_the_name_of_a_program_is_no_option(sandbox, language, code, name):
    [result] = run_all([RunRequest(language, {name: code}, (ProgramInput(),))], sandbox)
    assert result.tests[0].outcome is Outcome.OK
    assert result.tests[0].stdout == ("" if language == "cpp" else "5\n")


ROOTLESS = """
import sys
from open_r1.sandbox import ProgramInput, RunRequest, run_all
from open_r1.sandbox.local import LocalSandbox
request = RunRequest("python", {"main.py": "print(5)"}, (ProgramInput(),))
[result] = run_all([request], LocalSandbox(mechanism=sys.argv[1]))
print(result.tests[0].stdout)
"""


def test_a_rootless_container_is_no_hindrance(sandbox):
    """A process that is called root, but knows no other user."""
    asked = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False)
    if asked.returncode != 0:
        pytest.skip("this user can't make a user namespace")
    command = ["unshare", "-Ur", sys.executable, "-c", ROOTLESS, sandbox.mechanism]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False)
    assert done.stdout == "5\n\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    "uid_map, expected",
    [
        ("         0          0 4294967295\n", True),
        ("0 1000 1\n", False),
        ("0 1000 1\n1 100000 65536\n", True),
        ("", False),
    ],
)
def test_a_user_is_there_where_a_map_covers_it(uid_map, expected):
    assert covers(uid_map, 61500) is expected


def test_programs_may_start_others_without_a_pause(sandbox, monkeypatch):
    monkeypatch.setattr(module_of_boxes, "find_place", lambda: None)
    code = """
import subprocess, time
held, ends = bytearray(b"x") * (330 << 20), time.monotonic() + 1.5
while time.monotonic() < ends:
    subprocess.run(["/bin/true"], close_fds=False)
"""
    limits = Limits(cpu_s=10.0, memory_mb=512)
    (done,) = run_all([request_of(code, *[""] * 3, limits=limits)], sandbox)
    assert [run.outcome for run in done.tests] == [Outcome.OK] * 3, done.tests
