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
        assert server.count("create") == 5 + 2
        assert len(server.machines) == 2


@pytest.mark.parametrize("fault", ["503", "garbage", "drop", "hang"])
@pytest.mark.usefixtures("impatient")
def test_a_cloud_that_stays_busy_is_an_error_in_time(cloud, fault):
    with cloud.serving(create=always(fault), start_timeout_s=1.0) as (_, sandbox):
        result = run_one(sandbox)
        assert isinstance(result, SandboxError)
        assert "1 s" in str(result)


@pytest.mark.parametrize("fault", ["die", "502", "garbage"])
def test_a_lost_box_is_replaced_once(cloud, fault):
    with cloud.serving(run=[*cloud.looks, fault]) as (server, sandbox):
        assert_done(run_one(sandbox))
        assert len(server.machines) == 1 + 2
        assert not server.alive


@pytest.mark.parametrize("fault", ["die", "429"])
def test_two_lost_boxes_are_an_error_and_no_verdict(cloud, fault):
    with cloud.serving(run=[*cloud.looks, *[fault] * 20]) as (server, sandbox):
        result = run_one(sandbox)
        assert isinstance(result, SandboxError)
        assert "twice" in str(result)
        assert len(server.machines) == 1 + 2
        assert not server.alive


def test_a_connection_that_breaks_during_a_run_costs_no_verdict(cloud):
    with cloud.serving(run=[*cloud.looks, "drop"]) as (server, sandbox):
        assert_done(run_one(sandbox))
        assert not server.alive


def test_a_box_that_hangs_is_given_up(cloud, monkeypatch):
    monkeypatch.setattr(rented, "START_S", 0.2)
    monkeypatch.setattr(rented, "MOVE_S", 0.5)
    request = RunRequest("python", REQUEST.files, ())
    with cloud.serving(run=[*cloud.looks, *["hang"] * 20]) as (server, sandbox):
        (result,) = run_all([request], sandbox)
        assert isinstance(result, SandboxError)
        assert len(server.machines) == 1 + 2
        assert not server.alive


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["500", "hang"])
def test_a_box_that_will_not_end_is_told_and_costs_no_verdict(cloud, fault, caplog):
    with cloud.serving(kill=always(fault)) as (server, sandbox):
        assert_done(run_one(sandbox))
        run_coroutine(sandbox.aclose)
        told = [message for message in caplog.messages if "box0002" in message and "cost money" in message]
        assert len(told) == 1
        assert server.key not in caplog.text


@pytest.mark.parametrize("operation", ["run", "create"])
def test_a_cancelled_request_leaves_no_box_or_its_label_in_the_log(cloud, operation, caplog):
    async def cancel(server, sandbox):
        await sandbox.languages()
        task = asyncio.ensure_future(sandbox.run(ENDLESS))
        await asyncio.to_thread(server.wait_for, operation, server.count(operation) + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sandbox.aclose()

    with cloud.serving(create=["", "slow"] if operation == "create" else ()) as (server, sandbox):
        asyncio.run(cancel(server, sandbox))
        if operation == "run":
            assert not server.alive
        else:
            assert "labelled" in caplog.text and "end it by hand" in caplog.text


def test_a_start_whose_answer_is_lost_is_in_the_log(caplog):
    with CLOUDS["morph"].serving(create=["", "drop"]) as (server, sandbox):
        assert_done(run_one(sandbox))
        (left,) = server.alive
        assert left.wanted["metadata"]["open_r1_box"] in caplog.text


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
    faults = {"create": ["", "", "401"], "run": [*cloud.looks, "500"]}
    with caplog.at_level(logging.DEBUG), cloud.serving(**faults) as (server, sandbox):
        results = [run_one(sandbox), run_one(sandbox)]
        assert server.key not in caplog.text
        assert not any(server.key in str(result) for result in results)


def test_the_debug_mode_of_the_sdk_shares_no_box(monkeypatch):
    monkeypatch.setenv("E2B_DEBUG", "true")
    with CLOUDS["e2b"].serving() as (server, sandbox):
        assert_done(run_one(sandbox))
        assert (len(server.machines), server.alive) == (2, [])
