# SPDX-License-Identifier: Apache-2.0
"""Programs in rented boxes: the real SDKs of E2B and Morph against local servers that speak their wire formats."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from open_r1.sandbox import (
    Interactor,
    Limits,
    Outcome,
    ProgramInput,
    RunRequest,
    SandboxError,
    UnsupportedLanguageError,
    UnsupportedRequestError,
    run_all,
    run_coroutine,
)
from tests.integration.fakes.clouds import CLOUDS

DOUBLE = {"main.py": "print(int(input()) * 2)"}
DOUBLE_CPP = {"main.cpp": '#include <cstdio>\nint main() { int a; scanf("%d", &a); printf("%d\\n", 2 * a); }'}


@pytest.fixture(params=CLOUDS)
def cloud(request):
    return CLOUDS[request.param]


def inputs(*texts: str) -> tuple[ProgramInput, ...]:
    return tuple(ProgramInput(stdin=text) for text in texts)


def outputs(result) -> list[str | None]:
    assert not isinstance(result, Exception), result
    return [run and run.stdout for run in result.tests]


def num_drives(machine) -> int:
    """Return how often the driver was started in a machine."""
    return sum("batch.py" in script for script in machine.scripts)


def test_each_request_gets_a_box_that_is_ended(cloud):
    requests = [RunRequest("python", DOUBLE, inputs(str(number))) for number in range(6)]
    with cloud.serving() as (server, sandbox):
        results = run_all(requests, sandbox, num_parallel=3)
        assert [outputs(result) for result in results] == [[f"{2 * number}\n"] for number in range(6)]
        assert not server.alive
        # one more, to look which languages there are
        assert sorted(num_drives(machine) for machine in server.machines.values()) == [0, *[1] * 6]


def test_a_language_that_the_boxes_lack_is_refused_with_those_they_have(cloud, monkeypatch, tmp_path):
    for name in ("sh", "true"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(tmp_path))
    with cloud.serving() as (server, sandbox):
        with pytest.raises(UnsupportedLanguageError, match="no cpp, but python, binary"):
            run_all([RunRequest("cpp", DOUBLE_CPP, inputs("1"))], sandbox)
        (tmp_path / "python3").unlink()
        (result,) = run_all([RunRequest("python", DOUBLE, inputs("1"))], cloud.build())
        assert isinstance(result, SandboxError)
        assert (len(server.machines), server.alive) == (2, [])


def test_rounds_double_and_stop_where_the_judge_says(cloud):
    asked = []

    async def go_on(first, runs):
        asked.append((first, [run.stdout for run in runs]))
        return first < 4

    request = RunRequest("python", DOUBLE, inputs(*map(str, range(20))), stop_after=2)
    with cloud.serving() as (server, sandbox):
        result = run_coroutine(lambda: sandbox.run(request, go_on))
        assert outputs(result) == ["0\n", "2\n", "4\n", "6\n", "8\n", "10\n", *[None] * 14]
        assert [first for first, _ in asked] == [0, 2, 4]
        assert [num_drives(machine) for machine in server.machines.values()] == [0, 2]  # 2 runs, then 4


def test_big_inputs_and_outputs_come_whole(cloud):
    text = "".join(random.Random(0).choices("0123456789\n", k=1_500_000))
    request = RunRequest(
        "python",
        {"main.py": "import sys; sys.stdout.write(sys.stdin.read())"},
        inputs(text),
        limits=Limits(output_bytes=1 << 22),
    )
    with cloud.serving() as (server, sandbox):
        (result,) = run_all([request], sandbox)
        assert outputs(result) == [text]
        assert not server.alive


def test_a_submission_can_not_forge_the_verdict_of_a_manager(cloud):
    """It would find the manager among its own user's processes and write to its standard output."""
    forge = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if "manager.py" in open(f"/proc/{pid}/cmdline").read():
            open(f"/proc/{pid}/fd/1", "w").write("1.0\\n")
    except OSError:
        pass
"""
    manager = "import time\ntime.sleep(1)\nprint('0.0')"
    request = RunRequest(
        "python", {"main.py": forge}, inputs("4"), interactor=Interactor("python", {"manager.py": manager})
    )
    with cloud.serving() as (server, sandbox):
        with pytest.raises(UnsupportedRequestError):
            run_all([request], sandbox)
        assert not server.machines


FORGE = """
import glob, json, os
run = {"outcome": "ok", "stdout": "forged", "exit_code": 0}
for name in glob.glob(os.environ["HOME"] + "/../../../open_r1_*"):
    with open(name + "/result.json", "w") as file:
        json.dump({"compile": None, "tests": [run, run], "binary": None}, file)
"""
KILL_DRIVER = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
KILL_WATCHER = """
import os, signal
with open(f"/proc/{os.getppid()}/stat") as file:
    os.kill(int(file.read().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "source", [KILL_DRIVER, KILL_WATCHER, FORGE + KILL_DRIVER], ids=["driver", "watcher", "forge"]
)
def test_a_submission_that_kills_its_driver_has_failed(cloud, source):
    with cloud.serving() as (server, sandbox):
        (result,) = run_all([RunRequest("python", {"main.py": source}, inputs("1", "2"))], sandbox)
        assert (result.tests[0].outcome, result.tests[0].stderr) == (Outcome.RUNTIME_ERROR, "ended its box")
        assert result.tests[1] is None
        assert len(server.machines) == 1 + 2  # once more, in case it was ours
        assert not server.alive


def test_boxes_end_by_themselves_and_have_no_internet():
    request = RunRequest("python", DOUBLE, inputs("1"), limits=Limits(cpu_s=2))
    with CLOUDS["e2b"].serving() as (server, sandbox):
        run_all([request], sandbox)
        _, machine = server.machines.values()
        assert machine.wanted["allow_internet_access"] is False
        assert 30 < machine.wanted["timeout"] < 120
    with CLOUDS["morph"].serving() as (server, sandbox):
        run_all([request], sandbox)
        _, machine = server.machines.values()
        assert (machine.wanted["ttl_action"], 30 < machine.wanted["ttl_seconds"] < 120) == ("stop", True)


def test_programs_at_morph_have_no_network_or_the_log_says_so(caplog):
    can_cut = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0
    with CLOUDS["morph"].serving() as (server, sandbox):
        source = f"import socket; socket.create_connection(('127.0.0.1', {server.server_port}), 5); print('reached')"
        for _ in range(2):
            (result,) = run_all([RunRequest("python", {"main.py": source}, inputs(""))], sandbox)
            assert result.tests[0].stdout == ("" if can_cut else "reached\n")
        assert sum("have the network" in message for message in caplog.messages) == (0 if can_cut else 1)


def test_the_snapshot_is_made_once_for_the_account(monkeypatch, tmp_path):
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@" >> "$0.log"\n')
    (tmp_path / "apt-get").chmod(0o755)
    with CLOUDS["morph"].serving() as (server, _):
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/local/bin:/usr/bin:/bin")
        monkeypatch.delenv("MORPH_SNAPSHOT_ID")
        for _ in range(2):
            assert "python" in run_coroutine(CLOUDS["morph"].build().languages)
        made = [item for item in server.snapshots.values() if item["digest"] == "open-r1-sandbox-1"]
        assert [item["id"] for item in made] == ["saved2"]
        assert "g++" in (tmp_path / "apt-get.log").read_text()
        assert [machine.wanted["snapshot_id"] for machine in server.machines.values()] == ["made1", "saved2", "saved2"]
        assert not server.alive


def test_importing_a_provider_imports_no_sdk():
    source = (
        "import sys, open_r1.sandbox.e2b, open_r1.sandbox.morph\n"
        "print([name for name in ('e2b', 'e2b_code_interpreter', 'morphcloud', 'httpx') if name in sys.modules])"
    )
    folder = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", source], env={"PYTHONPATH": str(folder)}, check=True, capture_output=True
    )
    assert done.stdout == b"[]\n"
