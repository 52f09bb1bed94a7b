# SPDX-License-Identifier: Apache-2.0
"""From synchronous code to sandboxes: order, limits, errors, loops, threads, forks."""

import asyncio
import math
import os
import threading

import pytest

from open_r1.sandbox import (
    Interactor,
    Limits,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    run_all,
    run_coroutine,
)
from open_r1.sandbox.base import all_ok
from open_r1.sandbox.running import longest_s, private_loop, run_in_rounds


class Echo(Sandbox):
    """A sandbox without boxes: the output is the input; `fail` and `lack` in the code are its errors."""

    name = "echo"

    def __init__(self):
        self.running = self.most = 0

    async def languages(self):
        return ("python",)

    async def run(self, request, go_on=all_ok):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            if "fail" in request.files["main.py"]:
                raise SandboxError("out of order")
            if "lack" in request.files["main.py"]:
                raise UnsupportedLanguageError("none such")
            return RunResult(None, tuple(ProgramRun(Outcome.OK, given.stdin) for given in request.inputs))
        finally:
            self.running -= 1

    def describe(self):
        return "echo"


def request_of(stdin: str, code: str = "") -> RunRequest:
    return RunRequest("python", {"main.py": code}, (ProgramInput(stdin),))


def outputs(results) -> list[str]:
    return ["error" if isinstance(result, SandboxError) else result.tests[0].stdout for result in results]


@pytest.mark.parametrize("num_parallel", [1, 3, 100])
def test_results_come_in_order_and_no_more_run_than_may(num_parallel):
    sandbox = Echo()
    texts = [str(index) for index in range(20)]
    assert outputs(run_all([request_of(text) for text in texts], sandbox, num_parallel)) == texts
    assert sandbox.most <= num_parallel


def test_an_error_of_the_sandbox_stands_in_its_place():
    requests = [request_of("a"), request_of("b", "fail"), request_of("c")]
    assert outputs(run_all(requests, Echo())) == ["a", "error", "c"]


def test_an_error_of_the_caller_is_raised_and_the_others_are_cancelled():
    sandbox = Echo()
    with pytest.raises(UnsupportedLanguageError):
        run_all([request_of("a", "lack"), *[request_of("b")] * 50], sandbox, num_parallel=1)
    assert sandbox.running == 0


def test_all_calls_share_one_loop_in_a_thread_of_its_own():
    async def loop():
        return asyncio.get_running_loop(), threading.current_thread()

    def ask():
        found.append(run_coroutine(loop))

    found = [run_coroutine(loop)]
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found[0] == found[1] == (private_loop(), found[0][1])
    assert found[0][1].daemon
    assert found[0][1] is not threading.current_thread()


def test_an_interrupt_cancels_what_runs(ctrl_c):
    ended = []

    async def wait():
        threading.Timer(0.5, lambda: os.kill(os.getpid(), 2)).start()  # when this is waited for
        try:
            await asyncio.sleep(600)
        finally:
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_coroutine(wait)
    assert ended == [True]


@pytest.mark.parametrize("values", [
    {"cpu_s": 0}, {"cpu_s": -1}, {"cpu_s": math.nan}, {"memory_mb": 0}, {"output_bytes": -1}, {"processes": 0},
    {"wall_s": 0}, {"wall_s": -2}, {"wall_s": math.nan}, {"wall_s": math.inf}, {"cpu_s": math.inf},
])  # fmt: skip
def test_limits_that_allow_nothing_are_refused(values):
    with pytest.raises(ValueError):
        Limits(**values)


@pytest.mark.parametrize("cpu_s, wall_s, backstop_s", [(1.0, None, 6.0), (10.0, None, 30.0), (1.0, 2.5, 2.5)])
def test_the_backstop_leaves_room_for_a_busy_machine(cpu_s, wall_s, backstop_s):
    assert Limits(cpu_s=cpu_s, wall_s=wall_s).backstop_s == backstop_s


def test_longest_time_counts_the_compiler_and_all_runs():
    limits = Limits(cpu_s=1, wall_s=10)
    plain = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 3, limits=limits)
    assert longest_s(plain) == 30 + 3 * 11
    compiled = RunRequest("cpp", {"main.cpp": ""}, (), compile_limits=limits)
    assert longest_s(compiled) == 30 + 10


BAD_NAMES = (
    "", "/etc/passwd", "../x", "a/../../x", "a\0b", ".", "a/", "./a", "a//b", "x" * 256, "d/" * 1000 + "x", "a\ud800",
)  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(
    "build",
    [
        lambda name: RunRequest("python", {"main.py": "", name: ""}, ()),
        lambda name: RunRequest("python", {"main.py": ""}, (ProgramInput(files={name: ""}),)),
        lambda name: RunRequest("python", {"main.py": ""}, (ProgramInput(output_file=name),)),
        lambda name: RunRequest("python", {"main.py": ""}, (), interactor=Interactor("python", {name: ""})),
    ],
)
def test_files_stay_in_the_working_folder(name, build):
    with pytest.raises(ValueError, match="working folder"):
        build(name)


def test_no_name_is_a_file_and_a_folder():
    with pytest.raises(ValueError, match="both a file and a folder"):
        RunRequest("python", {"main.py": "", "a": "", "a/b/c": ""}, ())
    with pytest.raises(ValueError, match="both a file and a folder"):
        RunRequest("python", {"main.py": "", "a/b": ""}, (ProgramInput(files={"a": ""}),))
    RunRequest("python", {"main.py": "", "a/b": ""}, (ProgramInput(files={"a/c": "", "ab": ""}),))


def test_rounds_share_the_cpu_seconds_of_their_request():
    given = []

    async def run_round(part):
        given.append(part.total_cpu_s)
        return RunResult(None, tuple(ProgramRun(Outcome.OK, cpu_s=1.5) for _ in part.inputs))

    request = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 7, stop_after=1, total_cpu_s=4.0)
    asyncio.run(run_in_rounds(request, run_round, all_ok))
    assert given == [4.0, 2.5, 0.001]
