# SPDX-License-Identifier: Apache-2.0
"""Programs in rented boxes: the real SDKs of E2B and Morph against local servers that speak their wire formats.

What goes wrong there is never a score, leaves no box behind without a word, and never shows the key.
"""

import asyncio
import logging
import random
import shutil
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
    rented,
    run_all,
    run_coroutine,
    service,
)
from tests.integration.fakes.clouds import CLOUDS
from tests.integration.fakes.machines import always

DOUBLE = {"main.py": "print(int(input()) * 2)"}
REQUEST = RunRequest("python", DOUBLE, (ProgramInput("4"),))
ENDLESS = RunRequest("python", {"main.py": "import time; time.sleep(60)"}, (ProgramInput(),))


@pytest.fixture(params=CLOUDS)
def cloud(request):
    return CLOUDS[request.param]


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch):
    monkeypatch.setattr(service, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(service, "LONGEST_PAUSE_S", 0.1)


def inputs(*texts: str) -> tuple[ProgramInput, ...]:
    return tuple(ProgramInput(stdin=text) for text in texts)


def run_one(sandbox, request=REQUEST):
    (result,) = run_all([request], sandbox)
    return result


def outputs(result) -> list[str | None]:
    assert not isinstance(result, Exception), result
    return [run and run.stdout for run in result.tests]


def num_drives(machine) -> int:
    """Return how often the driver was started in a machine."""
    return sum("driver.py" in script for script in machine.scripts)


def test_each_request_gets_a_box_that_is_ended(cloud):
    requests = [RunRequest("python", DOUBLE, inputs(str(number))) for number in range(6)]
    with cloud.serving() as (server, sandbox):
        results = run_all(requests, sandbox, num_parallel=3)
        assert [outputs(result) for result in results] == [[f"{2 * number}\n"] for number in range(6)]
        assert not server.alive
        assert [num_drives(machine) for machine in server.machines.values()] == [1] * 6


def test_language_that_the_boxes_lack_is_refused(cloud, monkeypatch, tmp_path):
    for name in ("sh", "true", "mkdir", "cat", "base64", "mv", "rm"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(tmp_path))
    with cloud.serving() as (server, sandbox):
        assert "python" in run_coroutine(sandbox.languages)
        with pytest.raises(UnsupportedLanguageError, match=r"g\+\+"):
            run_one(sandbox, RunRequest("cpp", {"main.cpp": ""}, inputs("1")))
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
        assert [num_drives(machine) for machine in server.machines.values()] == [2]  # 2 runs, then 4


def test_big_inputs_and_outputs_come_whole(cloud):
    text = "".join(random.Random(0).choices("0123456789\n", k=1_500_000))
    code = {"main.py": "import sys; sys.stdout.write(sys.stdin.read())"}
    with cloud.serving() as (_, sandbox):
        request = RunRequest("python", code, inputs(text), limits=Limits(output_bytes=1 << 22))
        assert outputs(run_one(sandbox, request)) == [text]
        many = RunRequest("python", {"main.py": "print('\\0' * (1 << 20), end='')"}, inputs("") * 8)
        assert [found == "\0" * (1 << 20) for found in outputs(run_one(sandbox, many))] == [True] * 8  # in two rounds


def test_interactor_is_refused_for_the_submission_could_forge_its_verdict(cloud):
    request = RunRequest("python", DOUBLE, inputs("4"), interactor=Interactor("python", {"manager.py": ""}))
    with cloud.serving() as (server, sandbox):
        with pytest.raises(UnsupportedRequestError):
            run_one(sandbox, request)
        assert not server.machines


FORGE = """
import glob, os
run = {"outcome": "ok", "exit_code": 0, "was_ended": 0, "stdout": 6}
for name in glob.glob(os.environ["HOME"] + "/../../../open_r1_*"):
    with open(name + "/result", "w") as file:
        file.write(2 * f"{run}\\nforged")
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
def test_submission_that_kills_its_driver_has_failed(cloud, source):
    with cloud.serving() as (server, sandbox):
        result = run_one(sandbox, RunRequest("python", {"main.py": source}, inputs("1", "2")))
        assert (result.tests[0].outcome, result.tests[0].stderr) == (Outcome.RUNTIME_ERROR, "ended its box")
        assert result.tests[1] is None
        assert len(server.machines) == 2  # once more, in case it was ours
        assert not server.alive


# The box is the only isolation: its processes are one user's, and the driver's folder is there to be written to.
FIND_SHELL = """
import glob, os, re
shell = int(re.search(r"\\) \\S (\\d+)", open(f"/proc/{os.getppid()}/stat").read())[1])
(folder,) = glob.glob(os.environ["HOME"] + "/../../../open_r1_*")
"""
FLOOD = """
with open(f"/proc/{shell}/fd/1", "wb") as out:
    for _ in range(32):
        out.write(b"x" * (1 << 20))
print(8)
"""


def test_submission_that_meddles_with_the_driver_harms_itself_alone(cloud):
    no_result = FIND_SHELL + 'os.makedirs(folder + "/result/x")'
    with cloud.serving() as (server, sandbox):
        flood = run_one(sandbox, RunRequest("python", {"main.py": FIND_SHELL + FLOOD}, inputs("")))
        assert outputs(flood) == ["8\n"]
        spoilt, good = run_all([RunRequest("python", {"main.py": no_result}, inputs("")), REQUEST], sandbox)
        assert isinstance(spoilt, SandboxError)
        assert outputs(good) == ["8\n"]
        assert not server.alive


def test_boxes_end_by_themselves_and_have_no_internet():
    with CLOUDS["e2b"].serving() as (server, sandbox):
        run_one(sandbox)
        (machine,) = server.machines.values()
        assert machine.wanted["allow_internet_access"] is False
        assert 30 < machine.wanted["timeout"] < 200
    with CLOUDS["morph"].serving() as (server, sandbox):
        run_one(sandbox)
        (machine,) = server.machines.values()
        assert (machine.wanted["ttl_action"], 30 < machine.wanted["ttl_seconds"] < 200) == ("stop", True)


def test_morph_needs_a_snapshot(monkeypatch):
    with CLOUDS["morph"].serving():
        monkeypatch.delenv("MORPH_SNAPSHOT_ID")
        with pytest.raises(ValueError, match="MORPH_SNAPSHOT_ID"):
            CLOUDS["morph"].build()


@pytest.mark.parametrize("status, said", [("401", "_API_KEY"), ("403", "check"), ("400", "check"), ("404", "check")])
def test_start_that_is_refused_fails_at_once_and_says_what_to_check(cloud, status, said):
    with cloud.serving(create=always(status)) as (server, sandbox):
        result = run_one(sandbox)
        assert isinstance(result, SandboxError) and said in str(result)
        assert server.count("create") == 1


@pytest.mark.parametrize("status", ["429", "503"])
def test_busy_cloud_is_asked_again(cloud, status):
    with cloud.serving(create=[status] * 5) as (server, sandbox):
        assert outputs(run_one(sandbox)) == ["8\n"]
        assert (server.count("create"), len(server.machines)) == (6, 1)


@pytest.mark.parametrize("fault", ["503", "garbage", "drop", "hang"])
def test_cloud_that_stays_busy_is_waited_for_once_by_all(cloud, fault):
    with cloud.serving(create=always(fault), start_timeout_s=1.0) as (_, sandbox):
        results = run_all([REQUEST] * 4, sandbox, 4)
        assert all(isinstance(result, SandboxError) and "1 s" in str(result) for result in results)


@pytest.mark.parametrize("fault", ["die", "502", "garbage"])
def test_lost_box_is_replaced_once(cloud, fault):
    with cloud.serving(run=[fault]) as (server, sandbox):
        assert outputs(run_one(sandbox)) == ["8\n"]
        assert (len(server.machines), server.alive) == (2, [])


@pytest.mark.parametrize("fault", ["die", "429"])
def test_two_lost_boxes_are_an_error_and_no_verdict(cloud, fault):
    with cloud.serving(run=[fault] * 20) as (server, sandbox):
        assert isinstance(run_one(sandbox), SandboxError)
        assert (len(server.machines), server.alive) == (2, [])


def test_connection_that_breaks_during_a_run_costs_no_verdict(cloud):
    with cloud.serving(run=["drop"]) as (server, sandbox):
        assert outputs(run_one(sandbox)) == ["8\n"]
        assert not server.alive


def test_box_that_hangs_is_given_up(cloud, monkeypatch):
    monkeypatch.setattr("open_r1.sandbox.running.START_S", 0.2)
    monkeypatch.setattr(rented, "MOVE_S", 0.5)
    with cloud.serving(run=["hang"] * 20) as (server, sandbox):
        assert isinstance(run_one(sandbox, RunRequest("python", DOUBLE, ())), SandboxError)
        assert (len(server.machines), server.alive) == (2, [])


@pytest.mark.parametrize("fault", ["500", "hang"])
def test_box_that_will_not_end_is_told_and_costs_no_verdict(cloud, fault, caplog, monkeypatch):
    monkeypatch.setattr(rented, "END_S", 1.0)
    with cloud.serving(kill=always(fault)) as (server, sandbox):
        assert outputs(run_one(sandbox)) == ["8\n"]
        assert sum("box0001" in message and "cost money" in message for message in caplog.messages) == 1
        assert server.key not in caplog.text


def test_cancelled_request_leaves_no_box(cloud):
    async def cancel(server, sandbox):
        task = asyncio.ensure_future(sandbox.run(ENDLESS))
        await asyncio.to_thread(server.wait_for, "run")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sandbox.aclose()

    with cloud.serving() as (server, sandbox):
        asyncio.run(cancel(server, sandbox))
        assert not server.alive


def test_without_key_or_sdk_nothing_is_built(cloud, monkeypatch):
    monkeypatch.setenv(cloud.key, "")
    with pytest.raises(ValueError, match=cloud.key):
        cloud.build()
    monkeypatch.setenv(cloud.key, "some key")
    monkeypatch.setitem(sys.modules, cloud.package, None)
    with pytest.raises(ImportError, match="EXTRAS=code"):
        cloud.build()


def test_key_is_never_told(cloud, caplog):
    with caplog.at_level(logging.DEBUG), cloud.serving(create=["", "", "401"], run=["500"]) as (server, sandbox):
        results = [run_one(sandbox), run_one(sandbox)]
        assert server.key not in caplog.text
        assert not any(server.key in str(result) for result in results)


def test_debug_mode_of_the_sdk_shares_no_box(monkeypatch):
    monkeypatch.setenv("E2B_DEBUG", "true")
    with CLOUDS["e2b"].serving() as (server, sandbox):
        assert outputs(run_one(sandbox)) == ["8\n"]
        assert (len(server.machines), server.alive) == (1, [])
