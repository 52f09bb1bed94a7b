# SPDX-License-Identifier: Apache-2.0
"""Contests judged elsewhere: at Piston, and behind a router."""

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

PLAIN = ("python", "c++")


@pytest.fixture(autouse=True)
def no_tests_folder(environment):
    environment.pop(FOLDER_VARIABLE, None)


@pytest.fixture(scope="module")
def plain() -> Iterator[PistonServer]:
    with PistonServer(runtimes=PLAIN) as server:
        yield server


def judge_ioi(problem_id: str, subtask: str, name: str, sandbox: Sandbox, **options) -> tuple[str, float]:
    """Verdicts and score of a solution in `tests/rows/ioi_tasks`."""
    far = subtask_row("splits", "02-all") | {"test_names": ["far-1"]}  # one test alone: each compiles twice
    row = Subtask.from_row(far if subtask == "far" else subtask_row(problem_id, subtask))
    code = solution(problem_id, name)

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


@pytest.mark.parametrize("language", ["python", "cpp"])
def test_plain_piston_judges_codeforces_with_a_checker(plain, language):
    row = problem_row("9001/B", language)
    assert judge_codeforces(row, row["gold"], PistonSandbox([plain.url])) == ("AC x4", 1.1)


def test_endpoint_that_is_down_is_an_error_of_ours():
    with PistonServer(runtimes=PLAIN, trouble="down") as server:
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
