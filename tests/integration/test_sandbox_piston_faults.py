# SPDX-License-Identifier: Apache-2.0
"""Piston endpoints that fail: nothing is lost, nobody waits for ever, and no outage becomes a result."""

import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from open_r1.sandbox import (
    Limits,
    Outcome,
    ProgramInput,
    RunRequest,
    SandboxError,
    run_all,
    run_coroutine,
)
from open_r1.sandbox.piston import PistonSandbox
from open_r1.sandbox.piston_endpoints import NUM_ATTEMPTS
from tests.integration.fakes.piston_server import TROUBLES, PistonServer

MODULE = "open_r1.sandbox.piston_endpoints"
LIMITS = Limits(cpu_s=50, wall_s=50)
HELLO = RunRequest("bash", {"main.sh": "echo hello"}, (ProgramInput(),), limits=LIMITS)
GOOD = "hello\n"


@pytest.fixture
def server():
    with PistonServer() as started:
        yield started


@pytest.fixture
def other():
    with PistonServer() as started:
        yield started


@pytest.fixture
def build(monkeypatch):
    """Builds sandboxes that wait little for endpoints that failed, and closes them after the test."""
    monkeypatch.setattr(f"{MODULE}.FIRST_PAUSE_S", 0.02)
    built = []

    def of(*servers, **settings):
        built.append(PistonSandbox([one.url for one in servers], **{"patience_s": 60.0, **settings}))
        return built[-1]

    yield of
    for sandbox in built:
        run_coroutine(sandbox.aclose)


def dead_server():
    """A server that has been and is gone: its port refuses connections."""
    with PistonServer() as gone:
        return gone


def output(result):
    assert not isinstance(result, SandboxError), result
    return result.tests[0].stdout


async def free_places(sandbox):
    return [sandbox.places_each - endpoint.num_jobs for endpoint in sandbox._pool.get().endpoints]


@pytest.mark.parametrize("trouble", [one for one in TROUBLES if one not in ("hang", "down")])
def test_job_that_failed_once_is_done_elsewhere(server, other, build, trouble):
    server.troubles, other.troubles = [trouble], [trouble]
    assert [output(one) for one in run_all([HELLO] * 4, build(server, other))] == [GOOD] * 4


@pytest.mark.parametrize("trouble", [one for one in TROUBLES if one not in ("hang", "overload")])
def test_endpoint_that_always_fails_is_an_error_and_no_result(server, build, trouble):
    server.trouble = trouble
    (result,) = run_all([HELLO], build(server, patience_s=0.5))
    assert isinstance(result, SandboxError) and server.url in str(result), result


def test_endpoint_that_hangs_is_left_after_the_deadline(server, other, build, monkeypatch):
    monkeypatch.setattr(f"{MODULE}.QUEUE_S", 2.0)
    server.trouble = "hang"
    quick = RunRequest("bash", HELLO.files, HELLO.inputs, limits=Limits(cpu_s=8, wall_s=8))
    sandbox = build(server, other)
    assert output(run_all([quick], sandbox)[0]) == GOOD
    assert (len(server.jobs), len(other.jobs)) == (1, 1)


def test_program_that_says_what_overload_says_has_failed_after_all(server, build):
    code = "echo 'fork: Resource temporarily unavailable' >&2; exit "
    failed, passed = (RunRequest("bash", {"main.sh": code + end}, HELLO.inputs, limits=LIMITS) for end in "10")
    (result,) = run_all([failed], build(server))
    assert result.tests[0].outcome is Outcome.RUNTIME_ERROR and len(server.jobs) == NUM_ATTEMPTS
    (result,) = run_all([passed], build(server))
    assert result.tests[0].outcome is Outcome.OK and len(server.jobs) == NUM_ATTEMPTS + 1


def test_endpoint_that_fails_every_job_does_not_condemn_the_healthy_one(server, other, build):
    server.trouble = "503"
    sandbox = build(server, other, places_each=2)
    assert [output(one) for one in run_all([HELLO] * 30, sandbox, 8)] == [GOOD] * 30
    assert len(server.jobs) < 30


def test_one_failing_request_does_not_take_others_along(server, build):
    huge = RunRequest("bash", {"main.sh": "echo hello"}, HELLO.inputs, limits=Limits(cpu_s=100))
    results = run_all([HELLO, huge, HELLO], build(server))
    assert [isinstance(one, SandboxError) for one in results] == [False, True, False]
    assert "PISTON_RUN_TIMEOUT" in str(results[1])


def test_no_place_is_lost_when_an_endpoint_is_killed_under_its_jobs(server, build):
    sandbox = build(server, places_each=4)
    with ThreadPoolExecutor(1) as threads:
        for _ in range(10):
            server.gate.clear()
            server.troubles = ["hang"] * 4
            jobs = threads.submit(run_all, [HELLO] * 4, sandbox, 4)
            deadline = time.monotonic() + 60
            while server.busy < 4 and time.monotonic() < deadline:
                time.sleep(0.002)
            assert server.busy == 4
            server.stop()
            server.start()
            jobs.result(120)
    assert [output(one) for one in run_all([HELLO] * 8, sandbox, 8)] == [GOOD] * 8
    assert run_coroutine(lambda: free_places(sandbox)) == [4]


def test_program_that_killed_an_endpoint_is_not_sent_to_the_next(build):
    options = {"output_max_size": 10**9, "longest_string": 1 << 20}
    with PistonServer(**options) as first, PistonServer(**options) as second:
        sandbox = build(first, second)
        (result,) = run_all([RunRequest("bash", {"main.sh": "yes"}, HELLO.inputs, limits=LIMITS)], sandbox)
        assert isinstance(result, SandboxError), result
        assert len(first.jobs) + len(second.jobs) == 1
        assert output(run_all([HELLO], sandbox)[0]) == GOOD


@pytest.mark.parametrize("version", ["v3.1.1", "head"])
def test_compiler_out_of_clock_is_run_once_more_and_then_an_error_of_the_endpoint(build, version):
    limits = Limits(cpu_s=5, wall_s=3, memory_mb=2048)
    request = RunRequest("cpp", {"main.cpp": "int main() {}"}, HELLO.inputs, limits, LIMITS)
    with PistonServer(version=version) as server:
        sandbox = build(server)
        server.troubles = ["late"]
        assert output(run_all([request], sandbox)[0]) == ""
        server.troubles = ["late"] * 2
        assert isinstance(run_all([request], sandbox)[0], SandboxError) and len(server.jobs) == 4


def test_outage_is_waited_for_once_by_all_programs(server, build):
    sandbox = build(server, patience_s=2.0)
    assert output(run_all([HELLO], sandbox)[0]) == GOOD
    server.stop()
    started = time.monotonic()
    results = run_all([HELLO] * 12, sandbox, 2)
    assert all(isinstance(one, SandboxError) for one in results)
    assert 1.5 < time.monotonic() - started < 6.0  # with a clock for each it's 12 s


def test_waiting_request_is_served_when_an_endpoint_comes_back(build):
    gone = dead_server()
    sandbox = build(gone)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run_all, [HELLO] * 3, sandbox, 3)
        assert not threading.Event().wait(0.3) and not waiting.done()
        with gone:
            assert [output(one) for one in waiting.result(120)] == [GOOD] * 3


def test_endpoint_that_came_back_gets_jobs_again(server, other, build):
    sandbox = build(server, other)
    run_all([HELLO] * 4, sandbox)
    server.stop()
    assert [output(one) for one in run_all([HELLO] * 4, sandbox)] == [GOOD] * 4
    server.start()
    before, deadline = len(server.jobs), time.monotonic() + 60
    while len(server.jobs) == before and time.monotonic() < deadline:
        assert [output(one) for one in run_all([HELLO] * 2, sandbox)] == [GOOD] * 2
    assert len(server.jobs) > before


def test_every_rank_uses_every_endpoint_and_starts_at_its_own(server, other, build):
    for rank, first in enumerate([server, other, server, other]):
        sandbox = build(server, other, start=rank)
        server.jobs.clear()
        other.jobs.clear()
        assert output(run_all([HELLO], sandbox)[0]) == GOOD
        assert len(first.jobs) == 1
        run_all([RunRequest("bash", {"main.sh": "sleep 0.1"}, HELLO.inputs * 3, limits=LIMITS)], sandbox)
        assert server.jobs and other.jobs


@pytest.fixture
def squeue(tmp_path, environment):
    """Puts a script for `squeue` first on the PATH; its arguments are written down."""
    environment["PISTON_ENDPOINTS"] = "slurm"
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"

    def write(*lines, code=0, error=""):
        script = tmp_path / "squeue"
        jobs = "\n".join(lines)
        log = tmp_path / "arguments"
        script.write_text(
            f"#!/usr/bin/env bash\nprintf '%s\\n' \"$@\" > {log}\n[[ -z ${{SQUEUE_PARTITION-}} ]] || exit 0\n"
            f"cat <<'END'\n{jobs}\nEND\n"
            f"echo '{error}' >&2\nexit {code}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
        return log

    return write


def test_slurm_endpoints_are_our_own_running_workers(squeue, environment):
    me = os.getuid()
    environment["SQUEUE_PARTITION"] = "gpu"  # would hide workers
    log = squeue(
        f"{me}|RUNNING|node2|piston-worker-2345",
        f"{me}|RUNNING|node1.cluster|piston-worker-2000",
        f"{me}|RUNNING|node2|piston-worker-2345",
        f"{me + 1}|RUNNING|node3|piston-worker-2345",
        f"{me}|PENDING||piston-worker-2346",
        f"{me}|RUNNING|node[4-5]|piston-worker-2347",
        f"{me}|RUNNING|node6|my-piston-worker-2348",
        f"{me}|RUNNING|node7|piston-worker-2349; rm -rf x",
        f"{me}|RUNNING|node8|train",
    )
    sandbox = PistonSandbox.from_environment()
    assert not log.exists()  # a busy Slurm is no reason to end a training that only builds it

    async def look():
        pool = sandbox._pool.get()
        await pool._find_more()
        await sandbox.aclose()
        return [endpoint.url for endpoint in pool.endpoints]

    assert run_coroutine(look) == ["http://node1.cluster:2000/api/v2", "http://node2:2345/api/v2"]
    assert f"--user={me}" in log.read_text().splitlines()


@pytest.mark.parametrize("case", ["no job", "squeue fails", "no squeue"])
def test_slurm_without_workers_is_an_outage(squeue, environment, tmp_path, case):
    squeue(code=int(case == "squeue fails"))
    if case == "no squeue":
        environment["PATH"] = "/nowhere"
    sandbox = PistonSandbox.from_environment()
    with pytest.raises(SandboxError):
        run_coroutine(sandbox.languages)
    (result,) = run_all([HELLO], sandbox)
    assert isinstance(result, SandboxError), result
    run_coroutine(sandbox.aclose)


def test_environment_sets_everything(server, environment):
    environment.update(
        PISTON_ENDPOINTS=f" {server.url}/ , http://127.0.0.1:9/api/v2,",
        PISTON_MAX_REQUESTS_PER_ENDPOINT="3",
        PISTON_MAX_OUTAGE_S="7.5",
        RANK="1",
        WORLD_SIZE="2",
    )
    sandbox = PistonSandbox.from_environment()
    assert sandbox.urls == (server.url, "http://127.0.0.1:9/api/v2")

    async def look():
        pool = sandbox._pool.get()
        await sandbox.aclose()
        return [one.url for one in pool.endpoints], sandbox.places_each, sandbox.patience_s

    assert run_coroutine(look) == (["http://127.0.0.1:9/api/v2", server.url], 3, 7.5)


@pytest.mark.parametrize("text", ["  ", "node1:2000", "http://node1:2000", "http://a/api/v2 http://b/api/v2"])
def test_unusable_list_of_endpoints_is_refused(environment, text):
    environment["PISTON_ENDPOINTS"] = text
    with pytest.raises(ValueError, match="PISTON_ENDPOINTS"):
        PistonSandbox.from_environment()
