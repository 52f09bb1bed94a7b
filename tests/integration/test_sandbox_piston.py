# SPDX-License-Identifier: Apache-2.0
"""Programs at Piston: real ones, run by a server that follows the contract of both versions in use."""

import asyncio
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import httpx
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
from tests.integration.fakes.piston_programs import Stage
from tests.integration.fakes.piston_server import STDIN_BYTES, PistonServer

PROGRAMS = {
    "python": ("main.py", "import sys\nprint(sys.stdin.read().split(), sys.argv[1:], open('more.txt').read())"),
    "cpp": (
        "main.cpp",
        "#include <cstdio>\n#include <cstring>\nint main(int n, char** args) { char given[9], more[9];"
        'scanf("%8s", given); fscanf(fopen("more.txt", "r"), "%8s", more);'
        "printf(\"['%s'] ['%s'] %s\\n\", given, args[1], more); }",
    ),
    "javascript": (
        "main.js",
        "const fs = require('fs'); const given = fs.readFileSync(0, 'utf8').trim();"
        "console.log(`['${given}'] ['${process.argv[2]}'] ${fs.readFileSync('more.txt', 'utf8')}`)",
    ),
    "bash": ("main.sh", "read given; echo \"['$given'] ['$1'] $(cat more.txt)\""),
}
REAL = "OPEN_R1_PISTON_FOLDER"
VERSIONS = ("v3.1.1", "head")
ONCE = (ProgramInput(),)
# It stays for as long as a busy machine may need to look.
FILL = "x = bytearray(900 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\nimport time; time.sleep(40)"
OUTCOMES = {
    "loop": ("while True: pass", Outcome.TIME_LIMIT),
    "sleep": ("import time; time.sleep(20)", Outcome.TIME_LIMIT),
    "memory": (FILL, Outcome.MEMORY_LIMIT),
    "output": ("print('x' * 300000)", Outcome.OUTPUT_LIMIT),
    "endless output": ("while True: print('x' * 10000)", Outcome.OUTPUT_LIMIT),
    "exception": ("raise KeyError('k')", Outcome.RUNTIME_ERROR),
    "kills its shell": ("import os; print('x'); os.kill(os.getppid(), 9)", Outcome.RUNTIME_ERROR),
}


@pytest.fixture(params=VERSIONS)
def server(request):
    with PistonServer(version=request.param) as started:
        yield started


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


@pytest.mark.parametrize("language", PROGRAMS)
def test_program_gets_input_arguments_and_files(server, language):
    name, code = PROGRAMS[language]
    inputs = tuple(ProgramInput(f"in{i}", {"more.txt": f"file{i}"}, (f"arg{i}",)) for i in range(2))
    (result,) = run(server.url, RunRequest(language, {name: code}, inputs))
    assert [test.outcome for test in result.tests] == [Outcome.OK] * 2, result
    assert [test.stdout.strip() for test in result.tests] == [f"['in{i}'] ['arg{i}'] file{i}" for i in range(2)]
    assert (result.compile is None) == (language != "cpp")


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcome_of_a_program_that_fails(server, case):
    code, outcome = OUTCOMES[case]
    server.output_max_size = 200_000
    is_slow = outcome is Outcome.TIME_LIMIT
    limit_s = 1 if is_slow else 50  # nothing else may come before the limit that is meant
    limits = Limits(cpu_s=limit_s, wall_s=limit_s, memory_mb=300, output_bytes=100_000)
    (result,) = run(server.url, python(code, limits=limits))
    assert result.tests[0].outcome is outcome, result
    assert len(result.tests[0].stdout) <= 100_000


def test_exit_codes_and_signals(server):
    crash = "import os; os.kill(os.getpid(), 11)"
    exit_3, crashed = run(server.url, python("raise SystemExit(3)"), python(crash))
    assert (exit_3.tests[0].exit_code, exit_3.tests[0].signal) == (3, None)
    assert (crashed.tests[0].exit_code, crashed.tests[0].signal) == (None, 11)


def test_cpu_time_and_memory_are_known_since_isolate_only(server, tmp_path, monkeypatch):
    measured, measure = tmp_path / "measured", Stage._measure

    def measure_and_tell(stage):
        measure(stage)
        if stage.peak > 100 << 20:
            measured.touch()

    monkeypatch.setattr(Stage, "_measure", measure_and_tell)
    if server.version != "head":
        measured.touch()  # it never measures
    code = (
        "import os, time\nx = bytearray(100 << 20)\nfor i in range(3 * 10**6): pass\ntime.sleep(0.3)\n"
        f"while not os.path.exists({str(measured)!r}): time.sleep(0.05)"
    )
    test = run(server.url, python(code, limits=Limits(cpu_s=30, wall_s=50)))[0].tests[0]
    assert test.outcome is Outcome.OK
    if server.version == "head":
        assert 0 < test.cpu_s < 30 and test.wall_s > 0.3 and 100 < test.peak_memory_mb < 200
    else:
        assert test.cpu_s != test.cpu_s and test.peak_memory_mb != test.peak_memory_mb


def test_program_that_does_not_compile_costs_one_job(server):
    (result,) = run(server.url, RunRequest("cpp", {"main.cpp": "int main() { return x; }"}, ONCE * 5))
    assert result.compile.outcome is Outcome.RUNTIME_ERROR and "main.cpp:1" in result.compile.stderr
    assert result.tests == (None,) * 5 and len(server.jobs) == 1


def test_request_without_inputs_compiles(plain):
    good, bad = run(plain.url, *(RunRequest("cpp", {"main.cpp": f"int main() {body}"}, ()) for body in ("{}", "{")))
    assert (good.has_compiled, bad.has_compiled, good.tests) == (True, False, ())


def test_sources_are_compiled_together_and_headers_are_not_sources(plain):
    files = {
        "main.cpp": '\ufeff#include "twice.h"\n#include <cstdio>\nint main() { printf("%d\\n", twice(EVAL)); }',
        "twice.cpp": '#include "twice.h"\n#ifndef ONLINE_JUDGE\n#error\n#endif\nint twice(int x) { return 2 * x; }',
        "twice.h": b"int twice(int x);",
    }
    (result,) = run(plain.url, RunRequest("cpp", files, ONCE))
    assert result.tests and result.tests[0].stdout == "2\n", result


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


def test_batches_stop_when_told_to(plain):
    calls = []

    async def go_on(first, runs):
        calls.append((first, [one.stdout for one in runs]))
        return len(calls) < 2

    sandbox = PistonSandbox([plain.url])
    request = python("print(input())", tuple(ProgramInput(str(i)) for i in range(9)), stop_after=2)
    result = run_coroutine(lambda: sandbox.run(request, go_on))
    run_coroutine(sandbox.aclose)
    assert calls == [(0, ["0\n", "1\n"]), (2, ["2\n", "3\n"])]
    assert [test is None for test in result.tests] == [False] * 4 + [True] * 5 and len(plain.jobs) == 4


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


def test_language_that_no_endpoint_has_is_refused_with_those_they_have():
    with (
        PistonServer(runtimes=("python", "codeforces")) as first,
        PistonServer(runtimes=("bash",)) as second,
        pytest.raises(UnsupportedLanguageError, match="cf_python3"),
    ):
        run([first.url, second.url], RunRequest("C++", {"main.cpp": ""}, ONCE))


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


def test_kill_behind_little_output_is_the_programs_own(plain):
    (result,) = run(plain.url, python("import os; print('x' * 500, flush=True); os.killpg(0, 9)"))
    assert (result.tests[0].outcome, len(result.tests[0].stdout)) == (Outcome.RUNTIME_ERROR, 501)


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


@pytest.mark.parametrize(
    "value",
    [
        [{"language": "python", "aliases": 5}],
        [{"language": ["python"], "aliases": []}],
        [{"language": "python", "aliases": [{}]}],
        ["python"],
        5,
        "<html>",
    ],
    ids=str,
)
def test_endpoint_that_says_nonsense_of_its_runtimes_is_an_error(plain, value):
    reply = httpx.Response(200, **({"text": value} if isinstance(value, str) else {"json": value}))

    async def ask():
        sandbox = PistonSandbox([plain.url], patience_s=0.2)
        sandbox._pool.get()._http._transport = httpx.MockTransport(lambda request: reply)
        try:
            return await sandbox.languages()
        finally:
            await sandbox.aclose()

    with pytest.raises(SandboxError):
        run_coroutine(ask)


def test_texts_that_are_no_unicode_arrive_all_the_same(plain):
    program = RunRequest("python", {"main.py": "# \ud800\nprint(ascii(input()))"}, (ProgramInput("\udfff\0é"),))
    (result,) = run(plain.url, program)
    assert result.tests[0].stdout.endswith("\\x00\\xe9'\n"), result


def test_many_threads_and_a_running_loop_share_a_sandbox(plain):
    sandbox = PistonSandbox([plain.url], places_each=2)
    outputs = []

    async def inside_a_loop():
        outputs.append(run_all([python("print(1)")], sandbox)[0].tests[0].stdout)

    threads = [threading.Thread(target=lambda: asyncio.run(inside_a_loop())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run_coroutine(sandbox.aclose)
    assert outputs == ["1\n"] * 6


def test_sandbox_works_again_after_it_was_closed_and_on_another_loop(plain):
    sandbox = PistonSandbox([plain.url])

    async def once():
        result = await sandbox.run(python("print(1)"))
        await sandbox.aclose()
        return result.tests[0].stdout

    assert [asyncio.run(once()), run_coroutine(once), run_coroutine(once)] == ["1\n"] * 3


CONTRACT = [
    ({"version": "*", "files": []}, 400, "language is required as a string"),
    ({"language": "python", "files": []}, 400, "version is required as a string"),
    ({"language": "python", "version": "*"}, 400, "files is required as an array"),
    ({"language": "python", "version": "*", "files": [{}]}, 400, "files[0].content is required as a string"),
    ({"language": "zig", "version": "*", "files": [{"content": ""}]}, 400, "zig-* runtime is unknown"),
    (
        {"language": "py", "version": "*", "files": [{"content": "", "encoding": "hex"}]},
        400,
        "files must include at least one utf8 encoded file",
    ),
    (
        {"language": "py", "version": "*", "files": [{"content": ""}], "run_timeout": "1"},
        400,
        "If specified, run_timeout must be a number",
    ),
    (
        {"language": "py", "version": "*", "files": [{"content": ""}], "run_timeout": 60001},
        400,
        "run_timeout cannot exceed the configured limit of 60000",
    ),
]


@pytest.mark.parametrize(("body", "status", "message"), CONTRACT, ids=[row[2] for row in CONTRACT])
def test_stand_in_refuses_in_pistons_words(plain, body, status, message):
    response = httpx.post(f"{plain.url}/execute", json=body, timeout=60)
    assert (response.status_code, response.json()) == (status, {"message": message})


def test_stand_in_answers_broken_requests_as_piston_does(plain):
    files = [{"name": "../../x", "content": ""}]
    broken = httpx.post(f"{plain.url}/execute", content="{", headers={"Content-Type": "application/json"}, timeout=60)
    outside = httpx.post(f"{plain.url}/execute", json={"language": "py", "version": "*", "files": files}, timeout=60)
    typeless = httpx.post(f"{plain.url}/execute", content=json.dumps({}), timeout=60)
    assert (broken.status_code, list(broken.json())) == (400, ["stack"])
    assert (outside.status_code, outside.content) == (500, b"")
    assert (typeless.status_code, httpx.get(f"{plain.url}/nothing", timeout=60).status_code) == (415, 404)
