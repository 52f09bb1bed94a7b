# SPDX-License-Identifier: Apache-2.0
"""Programs at Piston, beyond what all providers do: its own limits, endpoints that fail, and workers of Slurm."""

import os
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from open_r1.sandbox import (
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
from open_r1.sandbox import piston as module
from open_r1.sandbox.piston import NUM_ATTEMPTS, PistonSandbox
from tests.integration.fakes.piston_server import STDIN_BYTES, TROUBLES, PistonServer

ONCE = (ProgramInput(),)
HELLO = RunRequest("bash", {"main.sh": "echo hello"}, ONCE, limits=Limits(cpu_s=50, wall_s=50))
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
    """Builds sandboxes that wait little after failures, and closes them after the test."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    built = []

    def of(*servers, **settings):
        built.append(PistonSandbox([one.url for one in servers], **{"patience_s": 60.0, **settings}))
        return built[-1]

    yield of
    for sandbox in built:
        run_coroutine(sandbox.aclose)


def python(code, inputs=ONCE, **settings):
    return RunRequest("python", {"main.py": code}, inputs, **settings)


def output(result):
    assert not isinstance(result, SandboxError), result
    return result.tests[0].stdout


def test_program_that_does_not_compile_costs_one_job(server, build):
    (result,) = run_all([RunRequest("cpp", {"main.cpp": "int main() { return x; }"}, ONCE * 5)], build(server))
    assert result.compile.outcome is Outcome.RUNTIME_ERROR and "main.cpp:1" in result.compile.stderr
    assert result.tests == (None,) * 5 and len(server.jobs) == 1


def test_inputs_of_a_batch_run_side_by_side_within_the_places(server, other, build):
    (result,) = run_all([python("import time; time.sleep(0.3)", ONCE * 12)], build(server, other, places_each=2))
    assert all(test.outcome is Outcome.OK for test in result.tests)
    assert len(server.jobs) + len(other.jobs) == 12
    assert server.most_busy == other.most_busy == 2


def test_language_that_no_endpoint_has_is_refused_with_those_they_have(build):
    with PistonServer(runtimes=("python",)) as server:
        sandbox = build(server)
        assert run_coroutine(sandbox.languages) == ("python",)
        with pytest.raises(UnsupportedLanguageError, match=r"c\+\+"):
            run_all([RunRequest("C++", {"main.cpp": ""}, ONCE)], sandbox)


def test_clock_limits_stay_within_what_endpoints_are_configured_for(server, build):
    run_all([RunRequest("cpp", {"main.cpp": "int main() {}"}, ONCE, limits=Limits(cpu_s=25))], build(server))
    assert (server.jobs[-1]["run_timeout"], server.jobs[-1]["compile_timeout"]) == (60_000, 60_000)


COUNT = "import sys; print(len(sys.stdin.read()))"
LONG = 3 * STDIN_BYTES


def test_long_input_is_refused_by_endpoints_that_would_cut_it(server, build):
    assert output(run_all([python(COUNT, (ProgramInput("x" * LONG),))], build(server))[0]) == f"{LONG + 1}\n"
    with PistonServer(is_patched=False) as foreign:
        with pytest.raises(UnsupportedRequestError):
            run_all([python(COUNT, (ProgramInput("x" * LONG),))], build(foreign))
        most = python(COUNT, (ProgramInput("é" * (STDIN_BYTES // 2 - 1) + "\n"),))
        assert output(run_all([most], build(foreign))[0]) == f"{STDIN_BYTES // 2}\n"


PATCHES = Path(__file__).resolve().parents[2] / "slurm" / "piston" / "patches.cjs"
# What Piston's job.js does with a program's input.
HAND_OVER = """
const child = require("child_process").spawn("bash", ["-c", process.argv[2]]);
child.stdin.write("x".repeat(3000000));
child.stdin.end();
child.stdin.destroy();
child.stdout.on("data", (data) => process.stdout.write(data));
"""


@pytest.mark.parametrize(
    ("program", "said"), [("sleep 0.3; wc -c", "3000000"), ("exec 0<&-; echo done", "done"), ("exit 1", "")]
)
def test_patch_of_piston_hands_over_all_of_the_input(tmp_path, program, said):
    script = tmp_path / "hand_over.js"
    script.write_text(HAND_OVER)
    command = ["node", "--require", str(PATCHES), str(script), program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"configured": {"run_timeout": 3000}}, "run_timeout"),
        ({"configured": {"run_cpu_time": 3000}, "version": "head"}, "run_cpu_time"),
        ({"output_max_size": 1024}, "PISTON_OUTPUT_MAX_SIZE"),
        ({"output_max_size": 1024, "version": "head"}, "PISTON_OUTPUT_MAX_SIZE"),
        ({"body_limit": 100}, "too large"),
    ],
)
def test_endpoint_configured_for_less_is_an_error_that_names_the_setting(options, said, build):
    with PistonServer(**options) as server:
        code = "import time\nfor _ in range(9): print('x' * 65536, flush=True); time.sleep(0.01)"
        (result,) = run_all([python(code)], build(server))
        assert isinstance(result, SandboxError) and said in str(result), result
        assert len(server.jobs) <= 1


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
    monkeypatch.setattr(module, "QUEUE_S", 2.0)
    server.troubles, other.troubles = ["hang"], []
    quick = RunRequest("bash", HELLO.files, ONCE * 2, limits=Limits(cpu_s=8, wall_s=8))
    (result,) = run_all([quick], build(server, other))
    assert [one.stdout for one in result.tests] == [GOOD] * 2


def test_program_that_says_what_overload_says_has_failed_after_all(server, build):
    code = "echo 'fork: Resource temporarily unavailable' >&2; exit "
    failed, passed = (RunRequest("bash", {"main.sh": code + end}, ONCE, limits=HELLO.limits) for end in "10")
    (result,) = run_all([failed], build(server))
    assert result.tests[0].outcome is Outcome.RUNTIME_ERROR and len(server.jobs) == NUM_ATTEMPTS
    (result,) = run_all([passed], build(server))
    assert result.tests[0].outcome is Outcome.OK and len(server.jobs) == NUM_ATTEMPTS + 1


def test_endpoint_that_fails_every_job_does_not_condemn_the_healthy_one(server, other, build):
    server.trouble = "503"
    results = run_all([HELLO] * 20, build(server, other, places_each=2), 8)
    assert [output(one) for one in results] == [GOOD] * 20
    assert len(server.jobs) <= 2  # it's out for a minute


def test_job_that_has_failed_at_three_endpoints_is_given_up(build):
    servers = [PistonServer(trouble="die").start() for _ in range(4)]
    (result,) = run_all([HELLO], build(*servers))
    assert isinstance(result, SandboxError)
    assert sum(len(one.jobs) for one in servers) == NUM_ATTEMPTS == 3
    for one in servers:
        one.stop()


@pytest.mark.parametrize("version", ["v3.1.1", "head"])
def test_compiler_out_of_clock_is_an_error_of_the_endpoint(build, version):
    limits = Limits(cpu_s=5, wall_s=3, memory_mb=2048)
    request = RunRequest("cpp", {"main.cpp": "int main() {}"}, ONCE, limits, HELLO.limits)
    with PistonServer(version=version) as server:
        server.troubles = ["late"]
        assert isinstance(run_all([request], build(server))[0], SandboxError) and len(server.jobs) == 1


def test_waiting_request_is_served_when_an_endpoint_comes_back(server, build):
    server.stop()
    sandbox = build(server)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run_all, [HELLO] * 3, sandbox, 3)
        assert not threading.Event().wait(0.3) and not waiting.done()
        with server:
            assert [output(one) for one in waiting.result(120)] == [GOOD] * 3


def test_endpoint_that_came_back_gets_jobs_again(server, other, build, monkeypatch):
    monkeypatch.setattr(module, "OUT_S", 0.5)
    sandbox = build(server, other)
    run_all([HELLO] * 4, sandbox)
    server.stop()
    assert [output(one) for one in run_all([HELLO] * 4, sandbox)] == [GOOD] * 4
    server.start()
    before, deadline = len(server.jobs), time.monotonic() + 60
    while len(server.jobs) == before and time.monotonic() < deadline:
        assert [output(one) for one in run_all([HELLO] * 2, sandbox)] == [GOOD] * 2
    assert len(server.jobs) > before


@pytest.fixture
def squeue(tmp_path, environment):
    """Puts a script for `squeue` first on the PATH; its arguments are written down."""
    environment["PISTON_ENDPOINTS"] = "slurm"
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"

    def write(*lines, code=0):
        script, log = tmp_path / "squeue", tmp_path / "arguments"
        script.write_text(
            f"#!/usr/bin/env bash\nprintf '%s\\n' \"$@\" > {log}\n[[ -z ${{SQUEUE_PARTITION-}} ]] || exit 0\n"
            "cat <<'END'\n" + "\n".join(lines) + f"\nEND\nexit {code}\n"
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
    PistonSandbox()
    assert not log.exists()  # a busy Slurm is no reason to end a training that only builds it
    assert module.slurm_endpoints() == ("http://node1.cluster:2000/api/v2", "http://node2:2345/api/v2")
    assert f"--user={me}" in log.read_text().splitlines()


@pytest.mark.parametrize("case", ["no job", "squeue fails", "no squeue"])
def test_slurm_without_workers_is_an_outage(squeue, environment, case):
    squeue(code=int(case == "squeue fails"))
    if case == "no squeue":
        environment["PATH"] = "/nowhere"
    sandbox = PistonSandbox(patience_s=0.3)
    with pytest.raises(SandboxError, match="squeue"):
        run_coroutine(sandbox.languages)
    (result,) = run_all([HELLO], sandbox)
    assert isinstance(result, SandboxError), result
    run_coroutine(sandbox.aclose)


def test_environment_sets_everything(environment):
    environment.update(
        PISTON_ENDPOINTS=" http://node1:2000/api/v2/ , http://127.0.0.1:9/api/v2,",
        PISTON_MAX_REQUESTS_PER_ENDPOINT="3",
    )
    sandbox = PistonSandbox()
    urls = [one.url for one in sandbox.endpoints]
    assert urls == ["http://node1:2000/api/v2", "http://127.0.0.1:9/api/v2"]
    assert sandbox.places_each == 3


@pytest.mark.parametrize("text", ["  ", "node1:2000", "http://node1:2000", "http://a/api/v2 http://b/api/v2"])
def test_unusable_list_of_endpoints_is_refused(environment, text):
    environment["PISTON_ENDPOINTS"] = text
    with pytest.raises(ValueError, match="PISTON_ENDPOINTS"):
        PistonSandbox()
