# SPDX-License-Identifier: Apache-2.0
"""What Piston packages get, and what comes of those that fail; verdicts are in test_grading_contest_providers."""

import json

import pytest

from open_r1.sandbox import Limits, SandboxError, run_coroutine
from open_r1.sandbox.piston import PistonSandbox
from open_r1.sandbox.piston_packages import CODEFORCES_PACKAGES, IOI_PACKAGE, cms_ioi_files, codeforces_files
from tests.integration.fakes.piston_server import PistonServer

LIMITS = Limits(cpu_s=3, memory_mb=256)
CONFIG = {"graders/grader_config.json": json.dumps({"code": "sums", "time_limit": 3.0, "memory_limit": 256 << 20})}
GRADER = {
    "graders/sums.h": "int sum(int a, int b);",
    "graders/grader.cpp": '#include <cstdio>\n#include "sums.h"\n'
    'int main() { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", sum(a, b)); }',
    "graders/unused.cpp.txt": "",
}


def judge(sandbox, package, files, limits=LIMITS):
    return run_coroutine(lambda: sandbox.judge_by_package(package, files, limits))


def judge_ioi(sandbox, body, grader_files, name="sum(int a, int b)", stdin="3 4\n", expected="7\n"):
    files = cms_ioi_files("Sums", f"int {name} {{ {body} }}", stdin, expected, {**CONFIG, **grader_files})
    return judge(sandbox, IOI_PACKAGE, files)


def judge_codeforces(sandbox, language, code, stdin="3 4\n", expected="7\n", **settings):
    files = codeforces_files(language, code, stdin, expected, limits=LIMITS, **settings)
    return judge(sandbox, CODEFORCES_PACKAGES[language], files)


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


@pytest.mark.parametrize("trouble", ["503", "overload", "garbage"])
def test_package_that_fails_is_an_error_and_no_score(trouble, monkeypatch):
    monkeypatch.setattr("open_r1.sandbox.piston.FIRST_PAUSE_S", 0.02)
    with PistonServer(runtimes=("cms_ioi",), trouble=trouble) as server:
        sandbox = PistonSandbox([server.url])
        with pytest.raises(SandboxError):
            judge_ioi(sandbox, "return a + b;", GRADER)
        run_coroutine(sandbox.aclose)
