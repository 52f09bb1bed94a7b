# SPDX-License-Identifier: Apache-2.0
"""Judging IOI submissions in real boxes: graders, checkers, managers, and submissions that attack them."""

from functools import partial
from typing import Any

import pytest

from open_r1.grading.checkers import UnusableCheckerError
from open_r1.grading.ioi import FOLDER_VARIABLE, Subtask, judge_subtask
from open_r1.grading.patches import add_includes
from open_r1.grading.verdict import Result, verdict_line
from open_r1.rewards.program_rewards import ioi_code_reward
from open_r1.sandbox import Sandbox, SandboxError, run_coroutine, run_jobs
from open_r1.sandbox.local import LocalSandbox
from tests.rows.ioi import ioi_rows, solution, subtask_row, write_year


@pytest.fixture(scope="module")
def sandbox() -> LocalSandbox:
    return LocalSandbox()


def judge(row: dict, code: str, sandbox: Sandbox, **options) -> Result:
    subtask = Subtask.from_row(row)
    return run_coroutine(lambda: judge_subtask(code, subtask, sandbox, **options))


def judge_problem(problem_id: str, code: str, sandbox: Sandbox) -> list[Result]:
    """Results in all subtasks of a problem whose rows hold their tests."""
    rows = [row for row in ioi_rows() if row["id"] == problem_id and row["test_cases"]]
    return [judge(row, code, sandbox) for row in rows]


def verdicts_of(score: Result) -> set[str]:
    return {result.verdict.value for result in score.tests}


@pytest.mark.parametrize("problem_id", ["pairs", "splits", "guess", "weights"])
def test_gold_solution_scores_everywhere(sandbox, problem_id):
    code = add_includes(solution(problem_id), problem_id) if problem_id == "pairs" else solution(problem_id)
    results = judge_problem(problem_id, code, sandbox)
    assert [(verdicts_of(result), result.reward) for result in results] == [({"AC"}, 1.0)] * len(results)


def reward(rows: list[dict[str, Any]], name: str) -> list[float | None]:
    """Rewards of a solution of each row's problem."""
    codes = [solution(row["id"], name) for row in rows]
    completions = [[{"role": "assistant", "content": f"```cpp\n{code}\n```"}] for code in codes]
    columns: dict[str, Any] = {column: [row[column] for row in rows] for column in rows[0]}
    return ioi_code_reward(completions, **columns)


def test_reward_of_a_gold_solution_is_full_in_every_problem():
    rows = [subtask_row(name, "00-samples") for name in ("pairs", "splits", "guess")]
    assert reward([*rows, subtask_row("weights", "02-all")], "gold") == [1.0] * 4


def test_part_of_a_score_is_no_full_reward():
    assert reward([subtask_row("splits", "02-all") | {"score_precision": 0}], "scattered") == [0.625]


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("wrong", "WA, - x2"),
        ("loop", "TLE, - x2"),
        ("memory", "MLE, - x2"),
        ("crash", "RE, - x2"),
        ("broken", "CE x3"),
    ],
)
def test_verdict_of_a_wrong_solution(sandbox, name, verdicts):
    result = judge(subtask_row("weights", "02-all"), solution("weights", name), sandbox)
    assert (verdict_line(result.tests), result.reward) == (verdicts, 0.0)


def test_all_tests_are_run_until_two_have_run_out_of_time(sandbox):
    result = judge(subtask_row("weights", "02-all"), solution("weights", "loop"), sandbox, batch_size=0)
    assert (verdict_line(result.tests), result.reward) == ("TLE x2, OVER", 0.0)


def test_checker_gives_part_of_the_score(sandbox):
    result = judge(subtask_row("splits", "02-all"), solution("splits", "scattered"), sandbox)
    assert (verdict_line(result.tests), result.reward) == ("AC x2, PA x2", 0.625)
    assert "Divisible, but not consecutive" in result.tests[2].feedback


def test_output_that_breaks_the_checker_is_wrong(sandbox):
    result = judge(subtask_row("splits", "01-few"), solution("splits", "hostile"), sandbox)
    assert ("WA" in verdicts_of(result), result.reward) == (True, 0.0)


@pytest.mark.parametrize(
    ("checker", "message"),
    [("int main() { return nothing; }", "doesn't compile"), ("int main() { return 3; }", "no score")],
)
def test_checker_that_judges_nothing_makes_the_row_unusable(sandbox, checker, message):
    row = subtask_row("weights", "01-few") | {"grader_files": [["checker.cpp", checker]]}
    with pytest.raises(UnusableCheckerError, match=message):
        judge(row, solution("weights"), sandbox)


def test_right_output_is_out_of_the_submissions_reach(sandbox):
    checker = [["checker.cpp", '#include <cstdio>\nint main() { std::puts("0"); }']]
    for grader_files in ([], checker):
        row = subtask_row("weights", "02-all") | {"grader_files": grader_files}
        result = judge(row, solution("weights", "thief"), sandbox, batch_size=0)
        assert ("WA" in verdicts_of(result), result.reward) == (True, 0.0)
    # What it prints is what it found: nothing.
    cases = {"01": ["1\n1\n", ""], "02": ["1\n1\n", "1 1\n"]}
    blank = subtask_row("weights", "02-all") | {"test_names": ["01", "02"], "test_cases": cases}
    assert verdict_line(judge(blank, solution("weights", "thief"), sandbox, batch_size=0).tests) == "AC, WA"


def test_too_many_questions_cost_a_part(sandbox):
    results = judge_problem("guess", solution("guess", "slow"), sandbox)
    assert [result.reward for result in results] == [1.0, 0.25, 0.25]


ATTACKS = ("early", "flood", "digits", "silent", "killer")


@pytest.fixture(scope="module")
def attacks(sandbox) -> dict[str, Result | SandboxError]:
    """What came of the attacks on the manager, side by side since some wait for the clock."""
    subtask = Subtask.from_row(subtask_row("guess", "00-samples"))
    codes = [solution("guess", name) for name in ATTACKS]
    jobs = [partial(judge_subtask, code, subtask, sandbox) for code in codes]
    return dict(zip(ATTACKS, run_jobs(jobs, num_parallel=len(jobs)), strict=True))


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("early", {"WA"}),
        ("flood", {"RE", "WA"}),
        ("digits", {"TLE", "RE", "WA"}),
        ("silent", {"TLE"}),
        ("killer", {"RE", "WA"}),
    ],
)
def test_attack_on_the_manager_scores_nothing(attacks, name, statuses):
    result = attacks[name]
    assert isinstance(result, Result)
    assert result.reward == 0.0
    assert verdicts_of(result) & statuses


# Each runs before `main` of the row's stub, so that no clock decides who has ended first.
ENDS_LATER = "#include <unistd.h>\nstatic int later = sleep(3);\n"
ENDS_WELL = "#include <cstdlib>\nstatic int ended = (std::exit(0), 0);\n"


@pytest.mark.parametrize("before", [ENDS_LATER, ENDS_WELL], ids=["later", "well"])
@pytest.mark.parametrize(
    "manager", ["int main() { return 3; }", '#include <cstdio>\nint main() { std::puts("nan"); }'], ids=["3", "nan"]
)
def test_manager_that_judges_nothing_makes_the_row_unusable(sandbox, manager, before):
    row = subtask_row("guess", "00-samples")
    files = [[name, manager if name.endswith("manager.cpp") else content] for name, content in row["grader_files"]]
    with pytest.raises(UnusableCheckerError, match="manager gives no score"):
        judge(row | {"grader_files": files}, before + solution("guess"), sandbox)


def test_tests_of_a_year_are_read_from_a_local_copy(sandbox, tmp_path, environment):
    write_year(tmp_path, 2024)
    environment[FOLDER_VARIABLE] = str(tmp_path)
    row = next(row for row in ioi_rows() if row["year"] == 2024)
    result = judge(row, solution("pairs", "small_only"), sandbox, batch_size=0)
    assert verdict_line(result.tests) == "AC, WA"
    with pytest.raises(ValueError, match="other-test"):
        judge(row | {"test_names": ["small-1", "other-test"]}, solution("pairs"), sandbox)
