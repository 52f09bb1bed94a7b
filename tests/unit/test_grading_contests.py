# SPDX-License-Identifier: Apache-2.0
"""The parts of judging IOI and Codeforces that need no sandbox: batches, scores, statuses."""

import asyncio
import signal
import time
from uuid import uuid4

import pytest

from open_r1.grading.cases import StdioTest, with_room
from open_r1.grading.checkers import (
    TaskProgram,
    UnusableCheckerError,
    compiled,
    judge_interaction,
    read_score,
)
from open_r1.grading.codeforces import score_results
from open_r1.grading.compare import find_difference
from open_r1.grading.ioi import Subtask, judge_subtask
from open_r1.grading.patches import add_includes
from open_r1.grading.verdict import TestResult, TestVerdict, verdict_line
from open_r1.sandbox import Limits, Outcome, ProgramRun, SandboxError
from tests.rows.ioi import subtask_row
from tests.unit.replay import Replay

WRONG = TestResult(TestVerdict.WRONG_ANSWER)
SOUND = TaskProgram("binary", {"manager": b"sound"})
NO_SCORE = TestResult(TestVerdict.WRONG_ANSWER, 0.0, "The manager gave no score")


def test_refused_submission_has_a_compile_error_in_every_test():
    refusal = ProgramRun(Outcome.RUNTIME_ERROR, stderr="no such name", exit_code=1)
    sandbox = Replay([None] * 3, in_batches=True, compile=refusal)
    subtask = Subtask.from_row(subtask_row("pairs", "01-small"))
    score = asyncio.run(judge_subtask("code", subtask, sandbox))
    assert (score.reward, verdict_line(score.tests)) == (0.0, "CE x3")
    assert [test.feedback for test in score.tests] == ["no such name"] * 3


@pytest.mark.parametrize("code", ["", "  \n"])
def test_blank_submission_scores_nothing_and_runs_nothing(code):
    sandbox = Replay([], in_batches=True)
    result = asyncio.run(judge_subtask(code, Subtask.from_row(subtask_row("pairs", "01-small")), sandbox))
    assert (result.reward, verdict_line(result.tests), sandbox.requests) == (0.0, "- x3", [])


@pytest.mark.parametrize(
    ("code", "first_lines"),
    [
        ("", []),
        (" \n", [" "]),
        ("int f();", ["#include <bits/stdc++.h>", '#include "sums.h"', "using namespace std;"]),
        ('# include  "sums.h"\nint f();', ["#include <bits/stdc++.h>", "using namespace std;", '# include  "sums.h"']),
        ('//#include "sums.h"\nint f();', ["#include <bits/stdc++.h>", '#include "sums.h"', "using namespace std;"]),
        ("std::string f();", ["#include <bits/stdc++.h>", '#include "sums.h"', "std::string f();"]),
        ("using  namespace std ;", ["#include <bits/stdc++.h>", '#include "sums.h"', "using  namespace std ;"]),
        ('#include "presums.h"', ["#include <bits/stdc++.h>", '#include "sums.h"', "using namespace std;"]),
        ('/*\n#include "sums.h"\n', ["#include <bits/stdc++.h>", '#include "sums.h"', "using namespace std;"]),
        ('s = "/*";\n#include "sums.h"', ["#include <bits/stdc++.h>", "using namespace std;", 's = "/*";']),
        ("c = '\"'; //\nstd::f();", ["#include <bits/stdc++.h>", '#include "sums.h"', "c = '\"'; //"]),
    ],
)
def test_includes_that_are_missing_are_added(code, first_lines):
    assert add_includes(code, "sums").split("\n")[:3][: len(first_lines)] == first_lines


def test_header_that_the_task_lacks_is_not_included():
    assert add_includes("int main() {}", "sums", has_header=False) == (
        "#include <bits/stdc++.h>\nusing namespace std;\nint main() {}"
    )


@pytest.mark.parametrize("opening", ["/* ", '"\\"', "'\\'", '"', "\\", "/", "using\n", "#include\t", " \t"])
def test_includes_of_a_text_of_openings_take_no_time(opening):
    start = time.process_time()
    add_includes("x" + opening * 50_000, "sums")
    assert time.process_time() - start < 5  # a quadratic search takes 30 s and more


@pytest.mark.parametrize(
    ("output", "is_same"),
    [
        ("1 2\n3\n", True),
        ("1   2 \r\n3", True),
        (" 1 2\n3\n\n \n", True),
        ("", False),
        ("1 2\n", False),
        ("1 2\n3\n4\n", False),
        ("1\n2\n3\n", False),
        ("1 2\n\n3\n", False),
        ("1 2\n3\0\n", False),
        ("12\n3\n", False),
    ],
)
def test_outputs_have_the_same_words_in_the_same_lines(output, is_same):
    assert (find_difference(output, "1 2\n3\n", by_words=True) is None) is is_same


def test_no_output_is_right_where_none_is_expected():
    assert find_difference("", "\n", by_words=True) is None


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (ProgramRun(Outcome.OK, "1\n", "well done"), TestResult(TestVerdict.ACCEPTED, 1.0, "well done")),
        (ProgramRun(Outcome.OK, "0.25\n"), TestResult(TestVerdict.PARTIAL, 0.25)),
        (ProgramRun(Outcome.OK, "nan\n"), NO_SCORE),
        (ProgramRun(Outcome.OK, "7\n"), NO_SCORE),
        (
            ProgramRun(Outcome.TIME_LIMIT, "1\n"),
            NO_SCORE,
        ),
        (None, NO_SCORE),
    ],
)
def test_word_of_a_manager(said, result):
    read_score(ProgramRun(Outcome.OK, "1\n"), SOUND)
    assert judge_interaction(ProgramRun(Outcome.OK, "1.0\n", interactor=said), SOUND) == result


def test_submission_that_failed_gets_nothing_from_its_manager():
    run = ProgramRun(Outcome.TIME_LIMIT, interactor=ProgramRun(Outcome.OK, "1\n"))
    assert judge_interaction(run, SOUND) == TestResult(TestVerdict.TIME_LIMIT)


CRASHED = ProgramRun(Outcome.RUNTIME_ERROR, exit_code=3, wall_s=1.0)


@pytest.mark.parametrize(
    ("run", "is_usable"),
    [
        (ProgramRun(Outcome.OK, interactor=CRASHED), False),
        (ProgramRun(Outcome.OK, interactor=ProgramRun(Outcome.OK, "nan\n")), False),
        (ProgramRun(Outcome.OK, interactor=ProgramRun(Outcome.TIME_LIMIT, "1\n")), False),
        (ProgramRun(Outcome.RUNTIME_ERROR, wall_s=2.0, interactor=CRASHED), False),
        (ProgramRun(Outcome.TIME_LIMIT, wall_s=2.0, interactor=CRASHED), False),
        (ProgramRun(Outcome.RUNTIME_ERROR, wall_s=0.5, interactor=CRASHED), True),
        (ProgramRun(Outcome.RUNTIME_ERROR, interactor=CRASHED), True),
        (ProgramRun(Outcome.OK, interactor=ProgramRun(Outcome.RUNTIME_ERROR, signal=signal.SIGPIPE)), True),
        (ProgramRun(Outcome.RUNTIME_ERROR, wall_s=2.0, interactor=ProgramRun(Outcome.OK, "0\n", wall_s=1.0)), True),
    ],
)
def test_manager_that_breaks_by_itself_is_the_rows_fault_until_it_has_scored(run, is_usable):
    manager = TaskProgram("binary", {"manager": uuid4().bytes})
    if is_usable:
        assert judge_interaction(run, manager).score == 0.0
    else:
        with pytest.raises(UnusableCheckerError, match="manager gives no score"):
            judge_interaction(run, manager)
    scored = ProgramRun(Outcome.OK, interactor=ProgramRun(Outcome.OK, "1\n"))
    assert judge_interaction(scored, manager).score == 1.0
    assert judge_interaction(run, manager).score == 0.0


@pytest.mark.parametrize("limit", [Outcome.TIME_LIMIT, Outcome.MEMORY_LIMIT])
def test_compiler_that_ran_into_a_limit_is_asked_again(limit):
    sources = {"checker.cpp": uuid4().hex}
    with pytest.raises(SandboxError, match=limit):
        asyncio.run(compiled(Replay([], in_batches=True, compile=ProgramRun(limit)), "cpp", sources))
    later = Replay([], in_batches=True, compile=ProgramRun(Outcome.OK))
    assert asyncio.run(compiled(later, "cpp", sources)) == TaskProgram("cpp", sources)


@pytest.mark.parametrize(
    ("verdicts", "mode", "reward"),
    [
        ("AC AC", "pass_fail", 1.0),
        ("AC -", "pass_fail", 0.0),
        ("AC PA WA AC", "partial", 0.5),
        ("AC AC", "weighted_sum", 1.1),
        ("AC WA TLE RE", "weighted_sum", 0.025),
        ("WA", "weighted_sum", 0.0),
    ],
)
def test_scoring_modes(verdicts, mode, reward):
    results = [TestResult(TestVerdict(verdict)) for verdict in verdicts.split()]
    assert score_results(results, mode) == pytest.approx(reward)


def test_limits_have_room_for_the_right_output():
    assert with_room(Limits(), []).output_bytes == Limits().output_bytes
    assert with_room(Limits(), [StdioTest("", "x" * (5 << 20))]).output_bytes == 21 << 20
