# SPDX-License-Identifier: Apache-2.0
"""The judging packages of Open R1's users, `cms_ioi` and `codeforces`: really compiled, run and compared."""

import json

import pytest

from open_r1.sandbox import Limits, Outcome, SandboxError, run_coroutine
from open_r1.sandbox.piston import PistonSandbox
from open_r1.sandbox.piston_packages import CODEFORCES_PACKAGES, IOI_PACKAGE, cms_ioi_files, codeforces_files
from tests.integration.fakes.piston_server import PistonServer

LIMITS = Limits(cpu_s=3, memory_mb=256)
SPIN = "volatile long x = 0; for (;;) x = x + 1;"
CONFIG = {"graders/grader_config.json": json.dumps({"code": "sums", "time_limit": 3.0, "memory_limit": 256 << 20})}
GRADER = {
    "graders/sums.h": "int sum(int a, int b);",
    "graders/grader.cpp": '#include <cstdio>\n#include "sums.h"\n'
    'int main() { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", sum(a, b)); }',
    "graders/unused.cpp.txt": "",
}
# Half the points for an answer that is off by one.
CHECKER = {
    "checker/checker.cpp": "#include <cstdio>\n#include <cstdlib>\n"
    'int read(char* name) { int x = 0; fscanf(fopen(name, "r"), "%d", &x); return x; }'
    "int main(int, char** args) { int off = abs(read(args[2]) - read(args[3]));"
    ' puts(off == 0 ? "1.0" : off == 1 ? "0.5" : "0.0"); fputs(off == 0 ? "exact" : "off", stderr); }'
}
# The manager sends a number and wants it doubled.
MANAGER = {
    "graders/manager.cpp": '#include <cstdio>\nint main(int, char** args) { int n = 0, reply = 0; scanf("%d", &n);'
    ' FILE* from = fopen(args[1], "r"); FILE* to = fopen(args[2], "w"); fprintf(to, "%d\\n", n); fflush(to);'
    ' fscanf(from, "%d", &reply); bool right = reply == 2 * n; puts(right ? "1.0" : "0.0");'
    ' fputs(right ? "translate:success" : "translate:wrong", stderr); }',
    "graders/stub.cpp": '#include <cstdio>\nint twice(int);\nint main() { int n; scanf("%d", &n);'
    ' printf("%d\\n", twice(n)); fflush(stdout); }',
}


@pytest.fixture(scope="module")
def sandbox():
    with PistonServer(runtimes=("cms_ioi", "codeforces")) as server:
        built = PistonSandbox([server.url])
        yield built
        run_coroutine(built.aclose)


def judge(sandbox, package, files, limits=LIMITS):
    return run_coroutine(lambda: sandbox.judge_by_package(package, files, limits))


def judge_ioi(sandbox, body, grader_files, name="sum(int a, int b)", stdin="3 4\n", expected="7\n"):
    files = cms_ioi_files("Sums", f"int {name} {{ {body} }}", stdin, expected, {**CONFIG, **grader_files})
    return judge(sandbox, IOI_PACKAGE, files)


@pytest.mark.parametrize(
    ("body", "score", "outcome", "feedback"),
    [
        ("return a + b;", 1, Outcome.OK, "Output is correct"),
        ("return a - b;", 0, Outcome.OK, "Output isn't correct"),
        (SPIN, 0, Outcome.TIME_LIMIT, "Time limit exceeded"),
        ("__builtin_trap();", 0, Outcome.RUNTIME_ERROR, "Runtime error"),
    ],
)
def test_ioi_task_is_judged_with_its_grader(sandbox, body, score, outcome, feedback):
    said = judge_ioi(sandbox, body, GRADER)
    assert (said.score, said.run.outcome, said.has_compiled) == (score, outcome, True) and feedback in said.feedback


@pytest.mark.parametrize(("body", "score"), [("return a + b;", 1), ("return a + b + 1;", 0.5), ("return 0;", 0)])
def test_ioi_checker_gives_parts_of_the_points(sandbox, body, score):
    said = judge_ioi(sandbox, body, {**GRADER, **CHECKER})
    assert (said.score, said.feedback) == (score, "exact" if score == 1 else "off")


@pytest.mark.parametrize(
    ("body", "score", "outcome"),
    [
        ("return 2 * n;", 1, Outcome.OK),
        ("return n;", 0, Outcome.OK),
        (SPIN, 0, Outcome.TIME_LIMIT),
    ],
)
def test_ioi_manager_talks_to_the_submission(sandbox, body, score, outcome):
    said = judge_ioi(sandbox, body, MANAGER, name="twice(int n)", stdin="21\n", expected="")
    assert (said.score, said.run.outcome) == (score, outcome), said


CF_PROGRAMS = {
    "right": ("python", "print(sum(map(int, input().split())))"),
    "wrong": ("python", "print(0)"),
    "slow": ("python", "while True: pass"),
    "crash": ("python", "raise KeyError"),
    "memory": ("python", "x = bytearray(1 << 30)"),
    "broken": ("cpp", "int main() { return y; }"),
    "file": (
        "cpp",
        '#include <cstdio>\nint main() { int a, b; fscanf(fopen("input.txt", "r"), "%d %d", &a, &b);'
        ' fprintf(fopen("output.txt", "w"), "%d", a + b); }',
    ),
}
CF_VERDICTS = {
    "right": (1, Outcome.OK, "Output is correct (diff)"),
    "wrong": (0, Outcome.OK, "Output isn't correct (diff)"),
    "slow": (0, Outcome.TIME_LIMIT, "Time limit exceeded (3s)"),
    "crash": (0, Outcome.RUNTIME_ERROR, "Runtime error"),
    "memory": (0, Outcome.MEMORY_LIMIT, "Memory limit exceeded"),
    "broken": (0, Outcome.RUNTIME_ERROR, "Compilation error"),
    "file": (1, Outcome.OK, "Output is correct (diff)"),
}


def judge_codeforces(sandbox, language, code, stdin="3 4\n", expected="7\n", **settings):
    files = codeforces_files(language, code, stdin, expected, limits=LIMITS, **settings)
    return judge(sandbox, CODEFORCES_PACKAGES[language], files)


@pytest.mark.parametrize("case", CF_VERDICTS)
def test_codeforces_program_is_judged(sandbox, case):
    (language, code), (score, outcome, feedback) = CF_PROGRAMS[case], CF_VERDICTS[case]
    said = judge_codeforces(sandbox, language, code, input_mode="file" if case == "file" else "stdio")
    assert (said.score, said.run.outcome) == (score, outcome) and feedback in said.feedback, said
    assert said.has_compiled == (case != "broken")


@pytest.mark.parametrize(("printed", "score"), [("7", 1), ("-7", 1), ("6", 0)])
def test_codeforces_checker_decides(sandbox, printed, score):
    checker = "import sys\n_, right, given = [open(name).read().split() for name in sys.argv[1:]]\n"
    checker += "print(int([abs(int(x)) for x in right] == [abs(int(x)) for x in given]))"
    said = judge_codeforces(sandbox, "python", f"print({printed})", checker=checker)
    assert (said.score, "checker" in said.feedback) == (score, True)


def test_package_gets_its_spare_seconds_and_the_memory_limit_in_bytes():
    with PistonServer(runtimes=("cms_ioi", "codeforces")) as server:
        sandbox = PistonSandbox([server.url])
        judge_ioi(sandbox, "return a + b;", GRADER)
        judge_codeforces(sandbox, "python", "print(7)")
        run_coroutine(sandbox.aclose)
    ioi, codeforces = server.jobs
    assert (ioi["language"], ioi["run_timeout"], ioi["run_memory_limit"]) == ("cms_ioi", 6000, 256 << 20)
    assert (codeforces["language"], codeforces["run_timeout"]) == ("cf_python3", 13000)
    assert "run_memory_limit" not in codeforces and "run_cpu_time" not in ioi
    assert [file["name"] for file in ioi["files"]][:3] == ["graders/sums.cpp", "input.txt", "correct_output.txt"]


@pytest.mark.parametrize("trouble", ["empty_500", "overload", "not_piston"])
def test_package_that_fails_is_an_error_and_no_score(trouble, monkeypatch):
    monkeypatch.setattr("open_r1.sandbox.piston.FIRST_PAUSE_S", 0.02)
    with PistonServer(runtimes=("cms_ioi",), trouble=trouble) as server:
        sandbox = PistonSandbox([server.url])
        with pytest.raises(SandboxError):
            judge_ioi(sandbox, "return a + b;", GRADER)
        run_coroutine(sandbox.aclose)
