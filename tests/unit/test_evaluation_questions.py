# SPDX-License-Identifier: Apache-2.0
"""What makes two rows of a benchmark the same problem, and which rows have no gold answer."""

import json
import math
from contextlib import contextmanager

import pytest

from open_r1.data.benchmarks import local_benchmark
from open_r1.evaluation.judging import Answer
from open_r1.evaluation.pairing import read_scores
from open_r1.evaluation.problems import load_problems
from open_r1.evaluation.results import AnswersFile
from open_r1.evaluation.runs import Run
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.evaluation.tally import Tally


@pytest.fixture
def problems_of(tmp_path):
    """Return what reads rows as the problems of a run."""

    @contextmanager
    def problems_of(*rows, **settings):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = load_problems(local_benchmark(path), EvaluationSettings("m", **settings))
        yield found
        found.close()

    return problems_of


def conversation(start):
    """A row that asks the same as others, and of something else."""
    turns = [("user", start), ("assistant", "ok"), ("user", "What is x*0+1?")]
    return {"problem": [{"role": role, "content": content} for role, content in turns], "solution": "1"}


def test_conversations_that_end_alike_are_different_problems(problems_of, tmp_path):
    rows = [conversation(f"Take x={number}.") for number in range(5)] + [conversation("Take  x=0.")]
    with problems_of(*rows) as problems, AnswersFile(tmp_path, problems) as file:
        tally = Tally(problems)
        for row in range(6):
            answers = [Answer(row, 0, "text", "stop", 10, "right" if row else "wrong", None, "1")]
            tally.add(answers)
            file.write(answers)
        results = file.finish({"settings": {}})
    assert tally.counts(6)["problems_repeated"] == 1
    scores = read_scores(Run(tmp_path, results))
    assert sorted(scores.values()) == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_a_text_with_another_solution_is_another_problem(problems_of, tmp_path):
    rows = [{"problem": "What is it?", "solution": solution} for solution in ("1", "2")]
    with problems_of(*rows) as problems, AnswersFile(tmp_path, problems) as file:
        file.write([Answer(row, 0, "text", "stop", 10, ("right", "wrong")[row], None, "1") for row in (0, 1)])
        results = file.finish({"settings": {}})
    assert sorted(read_scores(Run(tmp_path, results)).values()) == [0.0, 1.0]


def test_a_problem_is_the_same_whatever_system_prompt_the_run_adds(problems_of):
    found = []
    for row in ({"problem": "What is 1+1?", "solution": "2"}, conversation("Take x=1.")):
        for prompt in (None, "Be  brief."):
            with problems_of(row, system_prompt=prompt) as problems:
                found.append(problems.question_of(0)[0])
    assert found[:2] == ["", ""]
    assert found[2] == found[3] != ""


def test_rows_with_system_prompts_of_their_own_are_different_problems(problems_of):
    rows = [
        {"problem": [{"role": "system", "content": text}, {"role": "user", "content": "1+1?"}], "solution": "2"}
        for text in ("Count in tens.", "Count in twos.")
    ]
    with problems_of(*rows) as problems:
        assert problems.question_of(0)[0] != problems.question_of(1)[0]


@pytest.mark.parametrize("gold", [math.nan, math.inf, -math.inf])
def test_a_gold_answer_that_is_no_finite_number_is_none(problems_of, gold):
    with problems_of({"problem": "1+1?", "solution": 2.0}, {"problem": "1+2?", "solution": gold}) as found:
        assert found.golds == {0: "2.0"}
        assert found.skipped == {1: "solution holds no answer"}
