# SPDX-License-Identifier: Apache-2.0
"""What goes wrong at E2B and Morph: never a score, never a box left behind, never the key in a log."""

import asyncio
import logging
import sys

import pytest

from open_r1.sandbox import (
    ProgramInput,
    RunRequest,
    SandboxError,
    morph,
    rented,
    run_all,
    run_coroutine,
)
from tests.integration.fakes.clouds import CLOUDS
from tests.integration.fakes.machines import always

REQUEST = RunRequest("python", {"main.py": "print(int(input()) * 2)"}, (ProgramInput(stdin="4"),))
ENDLESS = RunRequest("python", {"main.py": "import time; time.sleep(60)"}, (ProgramInput(),))
PASSING = ("429", "503")


@pytest.fixture(params=CLOUDS)
def cloud(request):
    return CLOUDS[request.param]


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch):
    monkeypatch.setattr(rented, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(rented, "LONGEST_PAUSE_S", 0.1)


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits long for what doesn't answer; not for tests in which it's to answer after all."""
    monkeypatch.setattr(rented, "END_S", 1.0)
    monkeypatch.setattr(rented, "GRACE_S", 1.0)


def run_one(sandbox):
    (result,) = run_all([REQUEST], sandbox)
    return result


def assert_done(result):
    assert not isinstance(result, Exception), result
    assert [run.stdout for run in result.tests] == ["8\n"]


@pytest.mark.parametrize("status, words", [("401", "_API_KEY"), ("403", "check"), ("400", "check"), ("404", "check")])
def test_what_will_not_pass_fails_at_once_and_says_what_to_look_at(cloud, status, words):
    with cloud.serving(create=always(status)) as (server, sandbox):
        result = run_one(sandbox)
        assert isinstance(result, SandboxError)
        assert words in str(result)
        assert server.count("create") == 1


@pytest.mark.parametrize("status", PASSING)
def test_a_busy_cloud_is_asked_again(cloud, status):
    with cloud.serving(create=[status] * 5) as (server, sandbox):
        assert_done(run_one(sandbox))
        assert server.count("create") == 6
        assert len(server.machines) == 1


@pytest.mark.parametrize("fault", ["503", "garbage", "drop", "hang"])
@pytest.mark.usefixtures("impatient")
def test_a_cloud_that_stays_busy_is_an_error_in_time(cloud, fault):
    with cloud.serving(create=always(fault), start_timeout_s=1.0) as (_, sandbox):
        result = run_one(sandbox)
        assert isinstance(result, SandboxError)
        assert "1 s" in str(result)


def test_a_cloud_that_is_not_there_is_an_error(cloud):
    with cloud.serving(start_timeout_s=1.0) as (server, sandbox):
        server.shutdown()
        server.server_close()
        assert isinstance(run_one(sandbox), SandboxError)


def test_a_start_whose_answer_is_lost_leaves_no_box(cloud):
    with cloud.serving(create=["drop"]) as (server, sandbox):
        assert_done(run_one(sandbox))
        assert not server.alive


def test_an_instance_that_is_never_ready_is_stopped():
    with CLOUDS["morph"].serving(create=always("pending"), start_timeout_s=5.0) as (server, sandbox):
        result = run_one(sandbox)
        assert isinstance(result, SandboxError)
        assert "ready" in str(result)
        assert server.machines
        assert not server.alive


@pytest.mark.parametrize("fault", ["die", "502", "garbage"])
def test_a_lost_box_is_replaced_once(cloud, fault):
    with cloud.serving(run=[fault]) as (server, sandbox):
        assert_done(run_one(sandbox))
        assert len(server.machines) == 2
        assert not server.alive


@pytest.mark.parametrize("fault", ["die", "429"])
def test_two_lost_boxes_are_an_error_and_no_verdict(cloud, fault):
    with cloud.serving(run=always(fault)) as (server, sandbox):
        result = run_one(sandbox)
        assert isinstance(result, SandboxError)
        assert "twice" in str(result)
        assert len(server.machines) == 2
        assert not server.alive


def test_a_connection_that_breaks_during_a_run_costs_no_verdict(cloud):
    with cloud.serving(run=["drop"]) as (server, sandbox):
        assert_done(run_one(sandbox))
        assert not server.alive


def test_a_box_that_hangs_is_given_up(cloud, monkeypatch):
    monkeypatch.setattr(rented, "START_S", 0.2)
    monkeypatch.setattr(rented, "MOVE_S", 0.5)
    request = RunRequest("python", REQUEST.files, ())
    with cloud.serving(run=always("hang")) as (server, sandbox):
        (result,) = run_all([request], sandbox)
        assert isinstance(result, SandboxError)
        assert len(server.machines) == 2
        assert not server.alive


def test_finished_rounds_are_not_repeated_when_a_box_is_lost(cloud):
    asked = []

    async def go_on(first, runs):
        asked.append(first)
        return True

    request = RunRequest("python", REQUEST.files, tuple(ProgramInput(stdin=str(i)) for i in range(3)), stop_after=1)
    with cloud.serving(run=["", "die"]) as (server, sandbox):
        result = asyncio.run(sandbox.run(request, go_on))
        assert [run.stdout for run in result.tests] == ["0\n", "2\n", "4\n"]
        assert asked == [0, 1]  # nobody is asked behind the last
        assert len(server.machines) == 2


def test_each_round_may_lose_a_box_once(cloud):
    async def go_on(first, runs):
        return True

    request = RunRequest("python", REQUEST.files, tuple(ProgramInput(stdin=str(i)) for i in range(3)), stop_after=1)
    with cloud.serving(run=["502", "", "502"]) as (server, sandbox):
        result = asyncio.run(sandbox.run(request, go_on))
        assert [run.stdout for run in result.tests] == ["0\n", "2\n", "4\n"]
        assert len(server.machines) == 3


def test_a_box_is_told_to_end_twice(cloud, caplog):
    with cloud.serving(kill=["500"]) as (server, sandbox):
        assert_done(run_one(sandbox))
        assert not server.alive
        assert "costs money" not in caplog.text


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["500", "hang"])
def test_a_box_that_will_not_end_is_told_and_costs_no_verdict(cloud, fault, caplog):
    with cloud.serving(kill=always(fault)) as (_, sandbox):
        assert_done(run_one(sandbox))
        run_coroutine(sandbox.aclose)
        told = [message for message in caplog.messages if "box0001" in message and "costs money" in message]
        assert len(told) == 1


def test_a_box_that_is_gone_at_the_end_is_well(cloud, caplog):
    with cloud.serving(kill=["404"]) as (_, sandbox):
        assert_done(run_one(sandbox))
        assert "costs money" not in caplog.text


@pytest.mark.parametrize("operation", ["run", "create"])
def test_a_cancelled_request_leaves_no_box(cloud, operation):
    async def cancel(server, sandbox):
        task = asyncio.ensure_future(sandbox.run(ENDLESS))
        await asyncio.to_thread(server.wait_for, operation)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sandbox.aclose()

    faults = {"create": ["slow"]} if operation == "create" else {}
    with cloud.serving(**faults) as (server, sandbox):
        asyncio.run(cancel(server, sandbox))
        assert len(server.machines) == 1
        assert not server.alive


def test_a_cancelled_start_of_an_instance_that_is_never_ready_leaves_none(monkeypatch):
    monkeypatch.setattr(rented, "GRACE_S", 1.0)  # it doesn't come; what ends it has its time
    for module in (rented, morph):
        monkeypatch.setattr(module, "END_S", 60.0)

    async def cancel(server, sandbox):
        task = asyncio.ensure_future(sandbox.run(REQUEST))
        await asyncio.to_thread(server.wait_for, "get")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sandbox.aclose()

    with CLOUDS["morph"].serving(create=always("pending")) as (server, sandbox):
        asyncio.run(cancel(server, sandbox))
        assert not server.alive


def test_only_the_instances_of_a_failed_start_are_stopped():
    with CLOUDS["morph"].serving(create=["", "drop"]) as (server, sandbox):
        other = server.add_machine(
            {
                "metadata": {"open_r1_box": "another"},
                "is_pending": False,
                "snapshot_id": "x",
                "ttl_seconds": 1,
                "ttl_action": "stop",
            }
        )
        assert_done(run_one(sandbox))
        assert_done(run_one(sandbox))
        assert server.alive == [other]


def test_one_lost_box_spoils_no_other_request(cloud):
    with cloud.serving(run=["", "die"]) as (server, sandbox):
        results = run_all([REQUEST] * 6, sandbox, num_parallel=3)
        for result in results:
            assert_done(result)
        assert not server.alive


def test_a_sandbox_outlives_an_event_loop(cloud):
    with cloud.serving() as (_, sandbox):
        for _ in range(2):
            assert_done(asyncio.run(sandbox.run(REQUEST)))


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_nothing_is_built(cloud, key, monkeypatch):
    monkeypatch.delenv(cloud.key, raising=False)
    if key is not None:
        monkeypatch.setenv(cloud.key, key)
    with pytest.raises(ValueError, match=cloud.key):
        cloud.build()


def test_without_the_sdk_the_error_names_the_extra(cloud, monkeypatch):
    monkeypatch.setenv(cloud.key, "some key")
    monkeypatch.setitem(sys.modules, cloud.package, None)
    with pytest.raises(ImportError, match=r"make install EXTRAS=code"):
        cloud.build()


def test_the_key_is_never_told(cloud, caplog):
    with caplog.at_level(logging.DEBUG), cloud.serving(create=["", "401"], run=["500"]) as (server, sandbox):
        results = [run_one(sandbox), run_one(sandbox)]
        assert server.key not in caplog.text
        assert not any(server.key in str(result) for result in results)


def test_the_debug_mode_of_the_sdk_shares_no_box(monkeypatch):
    monkeypatch.setenv("E2B_DEBUG", "true")
    with CLOUDS["e2b"].serving() as (server, sandbox):
        assert_done(run_one(sandbox))
        assert (len(server.machines), server.alive) == (1, [])
