# SPDX-License-Identifier: Apache-2.0
"""Programs at Piston: real ones, run by a server that follows the contract of both versions in use."""

import os
import socket
import subprocess
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
from open_r1.sandbox.piston import PistonSandbox
from tests.integration.fakes.piston_server import STDIN_BYTES, PistonServer

REAL = "OPEN_R1_PISTON_FOLDER"
ONCE = (ProgramInput(),)


@pytest.fixture
def plain():
    with PistonServer() as started:
        yield started


def run(urls, *requests, num_parallel=4, **settings):
    """Runs requests at endpoints, in a sandbox of its own."""
    sandbox = PistonSandbox(urls if isinstance(urls, list) else [urls], **settings)
    try:
        return run_all(requests, sandbox, num_parallel)
    finally:
        run_coroutine(sandbox.aclose)


def python(code, inputs=ONCE, **settings):
    return RunRequest("python", {"main.py": code}, inputs, **settings)


def test_program_that_does_not_compile_costs_one_job(plain):
    (result,) = run(plain.url, RunRequest("cpp", {"main.cpp": "int main() { return x; }"}, ONCE * 5))
    assert result.compile.outcome is Outcome.RUNTIME_ERROR and "main.cpp:1" in result.compile.stderr
    assert result.tests == (None,) * 5 and len(plain.jobs) == 1


def test_input_ends_with_a_newline(plain):
    inputs = tuple(ProgramInput(text) for text in ("", "a", "a\n"))
    (result,) = run(plain.url, python("import sys; print(repr(sys.stdin.read()))", inputs))
    assert [test.stdout for test in result.tests] == ["'\\n'\n", "'a\\n'\n", "'a\\n'\n"]


def test_inputs_of_a_batch_run_side_by_side_within_the_places():
    with PistonServer() as first, PistonServer() as second:
        (result,) = run([first.url, second.url], python("import time; time.sleep(0.3)", ONCE * 12), places_each=2)
        assert all(test.outcome is Outcome.OK for test in result.tests)
        assert len(first.jobs) + len(second.jobs) == 12
        assert first.most_busy == second.most_busy == 2


@pytest.mark.parametrize(
    "request_",
    [
        RunRequest("cpp", {"main.cpp": ""}, ONCE, interactor=Interactor("cpp", {"manager.cpp": ""})),
        python("", (ProgramInput(output_file="out.txt"),)),
        RunRequest("binary", {"main": b"\x7fELF"}, ONCE),
    ],
    ids=["interactor", "output_file", "binary"],
)
def test_what_piston_can_not_do_is_refused(plain, request_):
    with pytest.raises(UnsupportedRequestError, match="Piston"):
        run(plain.url, request_)
    assert not plain.jobs


def test_languages_are_those_of_all_endpoints_and_each_gets_what_it_has():
    with PistonServer(runtimes=("python",)) as first, PistonServer(runtimes=("bash", "cms_ioi")) as second:
        urls = [first.url, second.url]
        sandbox = PistonSandbox(urls)
        assert run_coroutine(sandbox.languages) == ("python", "bash")
        assert run_coroutine(sandbox.packages) == ("cms_ioi",)
        run_coroutine(sandbox.aclose)
        requests = [python("print(1)"), RunRequest("bash", {"main.sh": "echo 1"}, ONCE)] * 3
        assert all(result.tests[0].stdout == "1\n" for result in run(urls, *requests))


def test_clock_limits_stay_within_what_endpoints_are_configured_for():
    with PistonServer() as server:
        (result,) = run(server.url, RunRequest("cpp", {"main.cpp": "int main() {}"}, ONCE, limits=Limits(cpu_s=25)))
        assert result.tests[0].outcome is Outcome.OK
        assert (server.jobs[-1]["run_timeout"], server.jobs[-1]["compile_timeout"]) == (60_000, 60_000)


LONG = 3 * STDIN_BYTES
COUNT = "import sys; print(len(sys.stdin.read()))"


def test_long_input_is_refused_by_endpoints_that_would_cut_it():
    with PistonServer(is_patched=False) as server:
        with pytest.raises(UnsupportedRequestError):
            run(server.url, python(COUNT, (ProgramInput("x" * LONG),)))
        (result,) = run(server.url, python(COUNT, (ProgramInput("é" * (STDIN_BYTES // 2 - 1) + "\n"),)))
        assert result.tests[0].stdout == f"{STDIN_BYTES // 2}\n"


def test_long_input_goes_to_endpoints_that_hand_over_all_of_it():
    with PistonServer(is_patched=False) as foreign, PistonServer() as ours:
        (result,) = run([foreign.url, ours.url], python(COUNT, (ProgramInput("x" * LONG),)))
        assert (result.tests[0].stdout, len(foreign.jobs)) == (f"{LONG + 1}\n", 0)


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


if REAL in os.environ:

    def test_real_piston_does_what_its_stand_in_does(tmp_path):
        """Needs root; $OPEN_R1_PISTON_FOLDER has src/, node_modules/ and packages/python as PISTON_FOLDER does."""
        folder = Path(os.environ[REAL])
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        variables = {
            "PISTON_FOLDER": str(folder),
            "PISTON_BIND_ADDRESS": f"127.0.0.1:{port}",
            "PISTON_DATA_DIRECTORY": os.environ.get("OPEN_R1_PISTON_DATA", str(folder)),
            "PISTON_OUTPUT_MAX_SIZE": "40000000",
        }
        variables |= {f"PISTON_{stage}_TIMEOUT": "60000" for stage in ("COMPILE", "RUN")}
        command = ["bash", str(PATCHES.with_name("start_piston.sh"))]
        server = subprocess.Popen(command, env=os.environ | variables)
        try:
            endless = "while True: print('x' * 10000)"
            requests = [python(COUNT, (ProgramInput("x" * LONG),)), python(endless), python("print(1)")]
            results = run(f"http://127.0.0.1:{port}/api/v2", *requests)
            runs = [result.tests[0] for result in results]
            assert [one.outcome for one in runs] == [Outcome.OK, Outcome.OUTPUT_LIMIT, Outcome.OK]
            assert runs[0].stdout == f"{LONG + 1}\n"
        finally:
            server.terminate()
            server.wait()


def test_language_that_no_endpoint_has_is_refused_with_those_they_have():
    with PistonServer(runtimes=("python", "codeforces")) as server, pytest.raises(UnsupportedLanguageError) as error:
        run(server.url, RunRequest("C++", {"main.cpp": ""}, ONCE))
    assert "cf_python3" in str(error.value)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"configured": {"run_timeout": 3000}}, "PISTON_RUN_TIMEOUT"),
        ({"configured": {"run_memory_limit": 1 << 20}}, "PISTON_RUN_MEMORY_LIMIT"),
        ({"configured": {"run_cpu_time": 3000}, "version": "head"}, "PISTON_RUN_CPU_TIME"),
        ({"output_max_size": 1024}, "PISTON_OUTPUT_MAX_SIZE"),
        ({"output_max_size": 1024, "version": "head"}, "PISTON_OUTPUT_MAX_SIZE"),
        ({"body_limit": 100}, "body parser"),
    ],
)
def test_endpoint_configured_for_less_is_an_error_with_the_fix(options, fix):
    with PistonServer(**options) as server:
        code = "import time\nfor _ in range(9): print('x' * 65536, flush=True); time.sleep(0.01)"
        (result,) = run(server.url, python(code))
        assert isinstance(result, SandboxError) and fix in str(result), result
        assert len(server.jobs) <= 2


KILL_BEHIND = "import os; print('x' * {}, flush=True); os.killpg(0, 9)"


def test_kill_within_the_output_limit_of_our_endpoint_is_the_programs_own(plain):
    (result,) = run(plain.url, python(KILL_BEHIND.format(5000)))
    assert (result.tests[0].outcome, len(result.tests[0].stdout)) == (Outcome.RUNTIME_ERROR, 5001)


def test_kill_is_the_programs_own_at_an_endpoint_that_has_let_more_output_through():
    with PistonServer(is_patched=False) as server:
        unknown, *_ = run(server.url, python(KILL_BEHIND.format(5000)))
        assert isinstance(unknown, SandboxError)
        long, killed = run(server.url, python("print('x' * 200000)"), python(KILL_BEHIND.format(5000)))
        assert long.tests[0].outcome is Outcome.OK
        assert killed.tests[0].outcome is Outcome.RUNTIME_ERROR
