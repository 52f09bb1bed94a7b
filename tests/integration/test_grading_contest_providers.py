# SPDX-License-Identifier: Apache-2.0
"""Contests judged elsewhere: at Piston by plain runtimes or by packages, IOI at Morph too, and behind a router."""

from collections.abc import Iterator

import pytest

from open_r1.grading.codeforces import FOLDER_VARIABLE, CodeforcesProblem, judge_submission
from open_r1.grading.ioi import Subtask, judge_subtask
from open_r1.grading.verdict import verdict_line
from open_r1.sandbox import Sandbox, SandboxError, run_coroutine
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.piston import PistonSandbox
from open_r1.sandbox.router import RouterSandbox
from tests.integration.fakes.piston_server import PistonServer
from tests.integration.routers import serve
from tests.rows.codeforces import problem_row
from tests.rows.ioi import solution, subtask_row

PLAIN, PACKAGES = ("python", "c++"), ("cms_ioi", "codeforces")


@pytest.fixture(autouse=True)
def no_tests_folder(environment):
    environment.pop(FOLDER_VARIABLE, None)


@pytest.fixture(scope="module")
def plain() -> Iterator[PistonServer]:
    with PistonServer(runtimes=PLAIN) as server:
        yield server


@pytest.fixture(scope="module")
def packaged() -> Iterator[PistonServer]:
    with PistonServer(runtimes=PACKAGES) as server:
        yield server


def judge_ioi(problem_id: str, subtask: str, name: str, sandbox: Sandbox, **options) -> tuple[str, float]:
    """Verdicts and score of a solution in `tests/rows/ioi_tasks`."""
    far = subtask_row("splits", "02-all") | {"test_names": ["far-1"]}  # one test alone: each compiles twice
    row = Subtask.from_row(far if subtask == "far" else subtask_row(problem_id, subtask))
    code = solution(problem_id, name)
    if (problem_id, name) == ("pairs", "gold"):
        code = f'#include "pairs.h"\n{code}'

    async def judge():
        try:
            return await judge_subtask(code, row, sandbox, **options)
        finally:
            await sandbox.aclose()

    result = run_coroutine(judge)
    return verdict_line(result.tests), result.reward


def judge_codeforces(row: dict, code: str, sandbox: Sandbox, **options) -> tuple[str, float | None]:
    problem = CodeforcesProblem.from_row(row)

    async def judge():
        try:
            return await judge_submission(code, problem, sandbox, **options)
        finally:
            await sandbox.aclose()

    result = run_coroutine(judge)
    return verdict_line(result.tests), result.reward


def names_of_files(server: PistonServer) -> set[str]:
    return {file["name"] for job in server.jobs for file in job["files"] if "name" in file}


@pytest.mark.parametrize(
    ("problem_id", "subtask", "name", "verdicts", "score"),
    [
        ("weights", "02-all", "gold", "AC x3", 1.0),
        ("weights", "02-all", "broken", "CE x3", 0.0),
        ("splits", "far", "scattered", "PA", 0.625),
    ],
)
def test_plain_piston_judges_batch_tasks(plain, problem_id, subtask, name, verdicts, score):
    plain.jobs.clear()
    result = judge_ioi(problem_id, subtask, name, PistonSandbox([plain.url]), batch_size=0)
    assert result == (verdicts, score)
    submissions = [job for job in plain.jobs if not any(file.get("name") == "checker.cpp" for file in job["files"])]
    assert submissions
    assert all(file.get("name") != "correct_output.txt" for job in submissions for file in job["files"])


@pytest.mark.parametrize(
    ("problem_id", "subtask", "name", "verdicts", "score"),
    [
        ("weights", "02-all", "wrong", "WA, - x2", 0.0),
        ("weights", "01-few", "loop", "TLE, -", 0.0),
        ("weights", "02-all", "broken", "CE x3", 0.0),
        ("pairs", "00-samples", "gold", "AC", 1.0),
        ("splits", "far", "scattered", "PA", 0.625),
        ("guess", "00-samples", "gold", "AC", 1.0),
        ("guess", "02-many", "slow", "PA x2", 0.25),
        ("guess", "00-samples", "early", "WA", 0.0),
    ],
)
def test_package_cms_ioi_judges_all_tasks(packaged, problem_id, subtask, name, verdicts, score):
    assert judge_ioi(problem_id, subtask, name, PistonSandbox([packaged.url])) == (verdicts, score)


@pytest.mark.parametrize("language", ["python", "cpp"])
def test_plain_piston_judges_codeforces_with_a_checker(plain, language):
    plain.jobs.clear()
    row = problem_row("9001/B", language)
    assert judge_codeforces(row, row["gold"], PistonSandbox([plain.url])) == ("AC x4", 1.1)
    assert "grader_config" not in names_of_files(plain)


@pytest.mark.parametrize(
    ("problem_id", "language", "code", "verdicts", "reward"),
    [
        ("9001/A", "python", "print('ODD')", "AC, WA, AC, WA", 0.05),
        ("9001/A", "cpp", "int main() { return nothing; }", "CE x4", -0.1),
        ("9001/B", "python", None, "AC x4", 1.1),
        ("9001/C", "cpp", None, "AC x2", 1.1),
    ],
)
def test_codeforces_packages_judge(packaged, problem_id, language, code, verdicts, reward):
    row = problem_row(problem_id, language)
    result = judge_codeforces(row, code or row["gold"], PistonSandbox([packaged.url]))
    assert result == (verdicts, pytest.approx(reward))


def test_package_ends_with_the_first_failing_batch(packaged):
    packaged.jobs.clear()
    row = problem_row("9001/A")
    result = judge_codeforces(row, "print('ODD')", PistonSandbox([packaged.url]), scoring_mode="pass_fail")
    assert (result, len(packaged.jobs)) == (("AC, WA, - x2", 0.0), 2)


@pytest.mark.parametrize("runtimes", [PLAIN, PACKAGES])
def test_endpoint_that_is_down_is_an_error_of_ours(runtimes):
    with PistonServer(runtimes=runtimes, trouble="down") as server:
        sandbox = PistonSandbox([server.url], patience_s=0.2)
        with pytest.raises(SandboxError):
            judge_ioi("weights", "02-all", "gold", sandbox)
        with pytest.raises(SandboxError):
            judge_codeforces(problem_row("9001/A"), "print('ODD')", sandbox)


def test_checker_and_submission_share_the_one_place_of_a_router():
    row = problem_row("9001/B")
    with serve(LocalSandbox(), max_parallel=1) as address:
        result = judge_codeforces(row, row["gold"], RouterSandbox(address), scoring_mode="pass_fail")
    assert result == ("AC x4", 1.0)
