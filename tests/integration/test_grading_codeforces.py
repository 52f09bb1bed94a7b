# SPDX-License-Identifier: Apache-2.0
"""Judging Codeforces submissions in real boxes: checkers, files, generated tests, what each failure costs."""

from typing import Any

import pytest

from open_r1.grading.checkers import UnusableCheckerError
from open_r1.grading.codeforces import FOLDER_VARIABLE, CodeforcesProblem, judge_submission
from open_r1.grading.verdict import Result, verdict_line
from open_r1.rewards.program_rewards import cf_code_reward
from open_r1.sandbox import Sandbox, run_coroutine
from open_r1.sandbox.local import LocalSandbox
from tests.rows.codeforces import TWO_CHECKER, codeforces_rows, problem_row, write_generated_tests

PRINT_ODD = "print('ODD')\n"


@pytest.fixture(scope="module")
def sandbox() -> LocalSandbox:
    return LocalSandbox()


@pytest.fixture(autouse=True)
def tests_folder(tmp_path, environment):
    write_generated_tests(tmp_path)
    environment[FOLDER_VARIABLE] = str(tmp_path)
    return tmp_path


def judge(row: dict, code: str | None, sandbox: Sandbox, **options) -> Result:
    problem = CodeforcesProblem.from_row(row)
    return run_coroutine(lambda: judge_submission(code, problem, sandbox, **options))


@pytest.mark.parametrize("row", codeforces_rows(), ids=lambda row: f"{row['id']}-{row['language']}")
def test_gold_solution_has_the_full_reward(sandbox, row):
    result = judge(row, row["gold"], sandbox)
    assert (result.reward, {test.verdict for test in result.tests}) == (1.1, {"AC"})


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("print('EVEN or ODD')", "WA"),
        ("while True: pass", "TLE"),
        ("1 / 0", "RE"),
        ("print('ODD'", "RE"),
    ],
)
def test_verdict_of_a_wrong_program(sandbox, code, verdict):
    row = problem_row("9001/A") | {"official_tests": [{"input": "1\n", "output": "ODD\n"}]}
    result = judge(row, code, sandbox)
    assert (verdict_line(result.tests), result.reward) == (verdict, 0.0)


@pytest.mark.parametrize("code", [None, "", " \n"])
def test_no_submission_costs_most(sandbox, code):
    assert judge(problem_row("9001/A"), code, sandbox) == Result(-1.0)


def test_refusal_by_the_compiler_has_its_own_reward(sandbox):
    result = judge(problem_row("9001/A", "cpp"), "int main() { return nothing; }", sandbox)
    assert (result.reward, verdict_line(result.tests)) == (-0.1, "CE x4")
    assert "nothing" in result.tests[0].feedback


def test_other_right_answers_pass_the_checker(sandbox):
    code = problem_row("9001/B")["gold"].replace(
        "print(place, places[total - number])", "print(places[total - number], place)"
    )
    assert judge(problem_row("9001/B"), code, sandbox).reward == 1.1


@pytest.mark.parametrize("output", ["", "1 1", "one two", "-1 -1", "1 2 3", "\\0", "9" * 5000, "é\\udc80"])
def test_hostile_output_is_wrong_to_the_checker(sandbox, output):
    row = problem_row("9001/B") | {"official_tests": [{"input": "4 5\n1 4 2 3\n", "output": "1 2\n"}]}
    code = f"import sys; sys.stdout.buffer.write('{output}'.encode('utf-8', 'surrogateescape'))"
    result = judge(row, code, sandbox)
    assert (verdict_line(result.tests), result.reward) == ("WA", 0.0)


def test_output_cannot_pose_as_the_checker(sandbox):
    row = problem_row("9001/B") | {"official_tests": [{"input": "4 5\n1 4 2 3\n", "output": "1 2\n"}]}
    assert judge(row, "import sys; print(1); print(1, file=sys.stderr)", sandbox).reward == 0.0


SQUARE_CHECKER = """import sys
square, root = (int(open(sys.argv[place]).read()) for place in (1, 3))
print(int(root * root == square))
"""


def test_breaking_a_checker_that_has_scored_is_wrong_whatever_the_site_says(sandbox):
    tests = [{"input": "4\n", "output": ""}]
    row = problem_row("9001/A") | {"official_tests": tests, "generated_checker": SQUARE_CHECKER}
    with pytest.raises(UnusableCheckerError):  # nothing is known of the checker
        judge(row, "print('x')", sandbox)
    rewards = [judge(row, f"print({output})", sandbox).reward for output in ("2", "3", "'x'", "")]
    assert rewards == [1.1, 0.0, 0.0, 0.0]


def test_standard_output_does_not_count_where_a_file_is_wanted(sandbox):
    result = judge(problem_row("9001/C"), "print(max(map(int, open('input.txt').read().split()[1:])))", sandbox)
    assert result.reward == 0.0


def test_grid_that_ends_in_dots_is_a_test(sandbox):
    tests = [{"input": "2 3\n.#.\n...\n", "output": "2\n"}, {"input": "1 1\n#\n", "output": "1\n"}]
    grids = {"official_tests": tests, "official_tests_complete": None}
    completion = [{"role": "assistant", "content": "```python\nprint(1)\n```"}]
    columns: dict[str, Any] = {name: [value] for name, value in (problem_row("9001/A") | grids).items()}
    assert cf_code_reward([completion], scoring_mode="partial", **columns) == [0.5]


def test_problem_without_tests_has_no_reward(sandbox):
    row = problem_row("9001/A") | {"official_tests": None}
    assert judge(row, PRINT_ODD, sandbox) == Result(None)
    tests = [{"input": "1" * 252 + "...", "output": "ODD"}]
    cut = problem_row("9001/A") | {"official_tests": tests, "official_tests_complete": False}
    assert judge(cut, PRINT_ODD, sandbox) == Result(None)


def test_right_output_and_checker_are_out_of_the_submissions_reach(sandbox):
    code = (
        "import os\n"
        "for folder in ('.', '..', '/tmp', '/box'):\n"
        "    for place, _, names in os.walk(folder):\n"
        "        for name in names:\n"
        "            if name.endswith('.txt') or name == 'checker.py':\n"
        "                print(name, open(os.path.join(place, name)).read())\n"
    )
    tests = [{"input": "1\n", "output": ""}, {"input": "1\n", "output": "1\n"}]
    row = problem_row("9001/B") | {"official_tests": tests, "generated_checker": None}
    assert verdict_line(judge(row, code, sandbox).tests) == "AC, WA"
    assert judge(problem_row("9001/B"), code, sandbox).reward == 0.0
    assert "print(int(is_right))" in TWO_CHECKER
