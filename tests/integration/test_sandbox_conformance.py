# SPDX-License-Identifier: Apache-2.0
"""Every provider of boxes does the same: local by each mechanism, through a router, Piston, SandboxFusion, E2B, Morph.

The services are their real clients and SDKs against local stand-ins. The table of checks and that of differences by
nature are in conformance.py.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from open_r1.sandbox import (
    Interactor,
    Limits,
    Outcome,
    ProgramInput,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxError,
    UnsupportedLanguageError,
    run_all,
    run_coroutine,
)
from open_r1.sandbox.fusion import FusionSandbox
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.piston import PistonSandbox
from open_r1.sandbox.router import RouterSandbox
from tests.integration.conformance import (
    CHECKS,
    DIFFERENCES,
    KNOWS_CLOCK_ALONE,
    LIMITS,
    REFUSALS,
    RUN_ARGUMENT,
    RUN_FILE,
    SHORT,
    expected_of,
    faults,
)
from tests.integration.fakes.clouds import CLOUDS
from tests.integration.fakes.fusion_server import fusion_server
from tests.integration.fakes.piston_server import PistonServer
from tests.integration.routers import serve

PROVIDERS = ("bwrap", "landlock", "router", "piston", "piston-head", "fusion", "e2b", "morph")


@contextlib.contextmanager
def open_provider(name: str) -> Iterator[Sandbox]:
    """A provider with what it needs to run here."""
    if name in ("bwrap", "landlock"):
        yield LocalSandbox(mechanism=name)
    elif name == "router":
        with serve(LocalSandbox(), max_parallel=4) as address:
            yield RouterSandbox(address)
    elif name == "fusion":
        with fusion_server() as server:
            yield FusionSandbox(server.url)
    elif name in CLOUDS:
        with CLOUDS[name].serving() as (_, sandbox):
            yield sandbox
    else:
        version = "head" if name == "piston-head" else "v3.1.1"
        with PistonServer(version=version, output_max_size=1 << 20) as server:
            yield PistonSandbox([server.url], places_each=4)


@dataclass
class Provider:
    """A provider with the results of the checks."""

    name: str
    sandbox: Sandbox
    runs: dict[str, Any] = field(default_factory=dict)

    @property
    def has_arguments(self) -> bool:
        """Whether it passes arguments to programs."""
        return (self.name, "arguments") not in REFUSALS

    def run_checks(self) -> dict[str, Any]:
        """The run of each check; the requests, one for each of the limits, are made once."""
        if not self.runs:
            for limits in (LIMITS, SHORT):
                checks = {
                    name: check.given(has_arguments=self.has_arguments)
                    for name, check in CHECKS.items()
                    if check.limits == limits
                }
                files = RUN_ARGUMENT if self.has_arguments else RUN_FILE
                request = RunRequest("python", files, tuple(checks.values()), limits=limits)
                self.runs |= zip(checks, self.result(request).tests, strict=True)
        return self.runs

    def refuses(self, what: str, request: RunRequest) -> bool:
        """Whether it can't do this by its nature; then it says so with an error that names the way out."""
        if (self.name, what) not in REFUSALS:
            return False
        said, _ = REFUSALS[self.name, what]
        with pytest.raises(ValueError, match=said):
            run_all([request], self.sandbox)
        return True

    def result(self, request: RunRequest) -> RunResult:
        """The result of one request."""
        (result,) = run_all([request], self.sandbox)
        assert isinstance(result, RunResult), result
        return result


@pytest.fixture(scope="module", params=PROVIDERS)
def provider(request):
    with open_provider(request.param) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONFORMANCE_SECRET", "x")
        yield Provider(request.param, sandbox)
        run_coroutine(sandbox.aclose)


@pytest.mark.parametrize("check", CHECKS)
def test_check(provider, check):
    run = provider.run_checks()[check]
    assert run is not None, "the run was left out"
    found = faults(run, expected_of(provider.name, check))
    assert not found, "\n".join(found)


CPP = {
    "main.cpp": """
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include "deep.h"
int main(int argc, char** argv) {
    std::string what = argc > 1 ? argv[1] : "";
    char text[9];
    if (FILE* file = fopen("what.txt", "r")) what = fgets(text, 9, file);
    if (what == "sum") { long a, b; if (scanf("%ld %ld", &a, &b) == 2) printf("%ld\\n", a + b); }
    if (what == "exit") return 3;
    if (what == "crash") *(volatile int*)8 = 1;
    if (what == "deep") printf("%ld\\n", deep(100000));
    if (what == "memory") for (;;) memset(new char[1 << 20], 1, 1 << 20);
    if (what == "defined") printf("%d\\n", ONLINE_JUDGE_IS_DEFINED);
}
""",
    "deep.cpp": """
#include <cstring>
#include "deep.h"
long deep(long n) {
    char held[512];
    memset(held, n, 512);
    return n ? deep(n - 1) + (held[n % 512] != (char)n) + 1 : 0;
}
""",
    "deep.h": """
#pragma once
long deep(long n);
#ifdef ONLINE_JUDGE
const int ONLINE_JUDGE_IS_DEFINED = 1;
#else
const int ONLINE_JUDGE_IS_DEFINED = 0;
#endif
""",
}
CPP_RUNS = {
    "sum": {"outcome": Outcome.OK, "stdout": "42\n"},
    "exit": {"outcome": Outcome.RUNTIME_ERROR, "exit_code": 3, "signal": None},
    "crash": {"outcome": Outcome.RUNTIME_ERROR, "exit_code": None, "signal": 11},
    "deep": {"outcome": Outcome.OK, "stdout": "100000\n"},
    "memory": {"outcome": Outcome.MEMORY_LIMIT},
    "defined": {"outcome": Outcome.OK, "stdout": "1\n"},
}


def cpp_request(provider, **settings):
    inputs = tuple(
        ProgramInput("40 2\n", args=(name,))
        if provider.has_arguments
        else ProgramInput("40 2\n", files={"what.txt": name})
        for name in CPP_RUNS
    )
    return RunRequest("cpp", CPP, inputs, limits=LIMITS, **settings)


def test_cpp_of_several_files_is_compiled_and_its_binary_runs_again(provider):
    result = provider.result(cpp_request(provider, keeps_binary=True))
    assert result.compile.outcome is Outcome.OK
    for name, run in zip(CPP_RUNS, result.tests, strict=True):
        found = faults(run, CPP_RUNS[name] | DIFFERENCES.get((provider.name, name), ({}, ""))[0])
        assert not found, f"{name}: {found}"
    again = RunRequest("binary", {"checker": result.binary or b"x"}, cpp_request(provider).inputs[:1], limits=LIMITS)
    if not provider.refuses("binary", again):
        again = provider.result(again)
        assert (again.compile, again.tests[0].stdout) == (None, "42\n")


def test_program_that_does_not_compile_is_a_result(provider):
    result = provider.result(RunRequest("cpp", {"main.cpp": "int main() { return x; }"}, (ProgramInput(),) * 2))
    assert (result.compile.outcome, result.tests, result.binary) == (Outcome.RUNTIME_ERROR, (None, None), None)
    assert "was not declared" in result.compile.stderr


def test_compiler_over_its_limit_is_a_result(provider):
    endless = "template<int a, int b> struct T { static const int v = T<a-1, b>::v + T<a-1, b+1>::v; };"
    source = endless + "template<int b> struct T<0, b> { static const int v = b; };"
    source += "int main() { return " + " + ".join(f"T<400, {1000 * i}>::v" for i in range(99)) + "; }"
    knows_clock_alone = provider.name in KNOWS_CLOCK_ALONE
    limits = Limits(cpu_s=0.5, wall_s=1.5 if knows_clock_alone else 20.0, memory_mb=2048)
    request = RunRequest("cpp", {"main.cpp": source}, (ProgramInput(),), compile_limits=limits)
    if knows_clock_alone:  # it might as well be busy
        (error,) = run_all([request], provider.sandbox)
        assert isinstance(error, SandboxError)
        return
    result = provider.result(request)
    assert (result.compile.outcome, result.tests) == (Outcome.TIME_LIMIT, (None,))


def test_request_without_inputs_only_compiles(provider):
    assert provider.result(RunRequest("python", {"main.py": "print(1)"}, ())) == RunResult(None, ())
    result = provider.result(RunRequest("cpp", {"main.cpp": "int main() {}"}, ()))
    assert (result.compile.outcome, result.tests) == (Outcome.OK, ())


@pytest.mark.parametrize(
    ("language", "name", "program"),
    [
        ("javascript", "main.js", "console.log(require('fs').readFileSync(0, 'utf8').trim() + '!')"),
        ("bash", "main.sh", 'read line; echo "$line!"'),
        ("PyPy 3-64", "solution.py", "print(input() + '!')"),
        ("C++17", "a.cpp", '#include <cstdio>\nint main() { char s[9]; scanf("%8s", s); printf("%s!", s); }'),
    ],
)
def test_language_runs_under_its_names(provider, language, name, program):
    (run,) = provider.result(RunRequest(language, {name: program}, (ProgramInput("hi\n"),))).tests
    assert (run.outcome, run.stdout.strip()) == (Outcome.OK, "hi!")


def test_unknown_language_is_an_error_that_lists_those_there_are(provider):
    assert {"python", "cpp"} <= set(run_coroutine(provider.sandbox.languages))
    with pytest.raises(UnsupportedLanguageError, match="python"):
        run_all([RunRequest("brainfuck", {"main.bf": "."}, (ProgramInput(),))], provider.sandbox)


def test_program_may_wait_only_so_long(provider):
    request = RunRequest(
        "python", {"main.py": "import time; time.sleep(60)"}, (ProgramInput(),), limits=Limits(cpu_s=0.9, wall_s=1.0)
    )
    (run,) = provider.result(request).tests
    assert run.outcome is Outcome.TIME_LIMIT


def test_arguments_are_passed_or_refused(provider):
    request = RunRequest("python", {"main.py": "import sys; print(sys.argv[1])"}, (ProgramInput(args=("x",)),))
    if not provider.refuses("arguments", request):
        assert provider.result(request).tests[0].stdout == "x\n"


def test_output_may_be_a_file(provider):
    program = "import sys\nprint('noise')\nopen('out.txt', 'w').write(sys.stdin.read())"
    inputs = (ProgramInput("first", output_file="out.txt"), ProgramInput("second", output_file="other.txt"))
    request = RunRequest("python", {"main.py": program}, inputs)
    if not provider.refuses("output file", request):
        assert [run.stdout for run in provider.result(request).tests] == ["first", ""]


INTERACTOR = """
import sys
with open(sys.argv[2]) as theirs, open(sys.argv[3], "w") as ours:
    low = int(sys.stdin.read())
    for number in range(low, low + 3):
        print(number, file=ours, flush=True)
        if int(theirs.readline()) != number * number:
            sys.exit("wrong")
print("right", sys.argv[1])
"""


def test_interactor_talks_to_the_program(provider):
    program = "for _ in range(3): print(int(input()) ** 2, flush=True)"
    inputs = (ProgramInput("5", args=("a b",)), ProgramInput("7", args=("c",)))
    talk = Interactor("python", {"manager.py": INTERACTOR}, limits=LIMITS)
    request = RunRequest("python", {"main.py": program}, inputs, limits=LIMITS, interactor=talk)
    if not provider.refuses("interactor", request):
        runs = provider.result(request).tests
        assert [(run.outcome, run.interactor.outcome) for run in runs] == [(Outcome.OK, Outcome.OK)] * 2
        assert [run.interactor.stdout for run in runs] == ["right a b\n", "right c\n"]


def test_program_that_leaves_its_interactor_alone_ends_both(provider):
    talk = Interactor("python", {"manager.py": INTERACTOR}, limits=LIMITS)
    request = RunRequest("python", {"main.py": ""}, (ProgramInput("5", args=("x",)),), limits=LIMITS, interactor=talk)
    if not provider.refuses("interactor", request):
        (run,) = provider.result(request).tests
        assert (run.outcome, run.interactor.outcome) == (Outcome.OK, Outcome.RUNTIME_ERROR)


def test_files_may_be_bytes(provider):
    files = {"main.py": "print(open('data.bin', 'rb').read())", "data.bin": b"\x00\xff\r\n"}
    (run,) = provider.result(RunRequest("python", files, (ProgramInput(),))).tests
    assert run.stdout == "b'\\x00\\xff\\r\\n'\n"


SLEEPER = {"main.py": "import time\nx = input()\ntime.sleep(float(x))\nprint(x)"}


def test_results_stand_in_the_order_of_the_inputs(provider):
    inputs = tuple(ProgramInput(text) for text in ("0.4", "0.0", "0.2", "0.1"))
    assert [run.stdout for run in provider.result(RunRequest("python", SLEEPER, inputs)).tests] == [
        "0.4\n",
        "0.0\n",
        "0.2\n",
        "0.1\n",
    ]


def test_runs_stop_after_the_batch_that_says_so(provider):
    asked = []

    async def go_on(first, runs):
        asked.append((first, [run.stdout for run in runs]))
        return first < 2

    inputs = tuple(ProgramInput(str(number)) for number in range(7))
    request = RunRequest("python", {"main.py": "print(input())"}, inputs, stop_after=2)
    result = run_coroutine(lambda: provider.sandbox.run(request, go_on))
    assert asked == [(0, ["0\n", "1\n"]), (2, ["2\n", "3\n"])]
    assert [run and run.stdout for run in result.tests] == ["0\n", "1\n", "2\n", "3\n", None, None, None]


def test_runs_stop_after_a_batch_with_a_failure(provider):
    inputs = tuple(ProgramInput(text) for text in ("1", "0", "1"))
    result = provider.result(RunRequest("python", {"main.py": "1 / int(input())"}, inputs, stop_after=1))
    assert [run and run.outcome for run in result.tests] == [Outcome.OK, Outcome.RUNTIME_ERROR, None]


def test_requests_side_by_side_and_their_boxes_are_strangers(provider):
    trace = "import os, sys\nprint(os.path.exists('trace'))\nopen('trace', 'w').write('x')\nprint(input())"
    requests = [RunRequest("python", {"main.py": trace}, (ProgramInput(str(number)),)) for number in range(6)]
    results = run_all(requests, provider.sandbox, 3)
    assert [result.tests[0].stdout for result in results] == [f"False\n{number}\n" for number in range(6)]


def test_closed_sandbox_opens_again(provider):
    run_coroutine(provider.sandbox.aclose)
    assert provider.result(RunRequest("python", {"main.py": "print(1)"}, (ProgramInput(),))).tests[0].stdout == "1\n"
