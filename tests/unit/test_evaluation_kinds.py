# SPDX-License-Identifier: Apache-2.0
"""Which kind of benchmark a file is, by its columns or by what is said, and which columns it needs."""

import json
from pathlib import Path

import pytest

from open_r1.data.benchmarks import GPQA_WRONG, SUPPORTED_BENCHMARKS, TEST_COLUMNS, fitted, local_benchmark
from open_r1.evaluation.problems import load_problems
from open_r1.evaluation.settings import EvaluationSettings

FILE = Path("/data/rows.jsonl")
LIVE_CODE_BENCH = [
    "question_title",
    "question_content",
    "platform",
    "starter_code",
    "public_test_cases",
    "private_test_cases",
    "metadata",
]


@pytest.mark.parametrize(
    ("columns", "kind", "prompt", "solution"),
    [
        (["problem", "solution"], "math", "problem", "solution"),
        (["problem", "solution", "choices"], "choices", "problem", "solution"),
        (["question", "choices", "answer"], "choices", "question", "answer"),
        (["Question", "Correct Answer", *GPQA_WRONG, "Subdomain"], "choices", "Question", "Correct Answer"),
        (["problem", "verification_info"], "code", "problem", "solution"),
        (["prompt", "input_output"], "code", "prompt", "solution"),
        (LIVE_CODE_BENCH, "code", "question_content", "solution"),
    ],
)
def test_columns_say_the_kind(columns, kind, prompt, solution):
    found = fitted(local_benchmark(FILE), columns)
    assert (found.kind, found.prompt_column, found.solution_column) == (kind, prompt, solution)
    assert set(found.columns) <= set(columns)


@pytest.mark.parametrize("kind", ["math", "code"])
def test_gold_answers_beside_tests_need_a_word(kind):
    columns = ["problem", "solution", "verification_info"]
    with pytest.raises(ValueError, match="math or code"):
        fitted(local_benchmark(FILE), columns)
    assert fitted(local_benchmark(FILE, kind=kind), columns).kind == kind


@pytest.mark.parametrize(
    ("kind", "columns", "said"),
    [
        ("auto", ["question", "answer"], r"of the kind math, has no columns \['problem', 'solution'\]"),
        ("math", ["problem"], r"no columns \['solution'\] .* Columns found: \['problem'\]"),
        ("choices", ["problem", "solution"], r"no columns \['choices'\]"),
        ("choices", ["Question", "Correct Answer", *GPQA_WRONG[:2]], r"no columns \['choices'\]"),
        ("auto", ["Question", *GPQA_WRONG], r"of the kind choices, has no columns \['solution'\]"),
        ("code", ["problem", "solution"], "one of verification_info, test_cases, input_output"),
        ("auto", ["title", "private_test_cases"], r"no columns \['problem'\]"),
    ],
)
def test_missing_columns_are_named_with_those_found(kind, columns, said):
    with pytest.raises(ValueError, match=said):
        fitted(local_benchmark(FILE, kind=kind), columns)


def test_columns_that_are_named_are_not_replaced():
    named = local_benchmark(FILE, prompt_column="text", kind="choices")
    with pytest.raises(ValueError, match=r"no columns \['text'\]"):
        fitted(named, ["question", "choices", "answer"])


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'essay'"):
        local_benchmark(FILE, kind="essay")


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("math_500", ["problem", "solution", "answer", "subject", "level", "unique_id"]),
        ("aime24", ["id", "problem", "solution", "answer", "url", "year"]),
        ("gpqa", ["Pre-Revision Question", "Question", "Correct Answer", *GPQA_WRONG, "Explanation"]),
        ("lcb", LIVE_CODE_BENCH),
    ],
)
def test_benchmarks_of_the_table_fit_the_columns_of_their_data_sets(name, columns):
    assert fitted(SUPPORTED_BENCHMARKS[name], columns) == SUPPORTED_BENCHMARKS[name]
    prompt_column = SUPPORTED_BENCHMARKS[name].prompt_column
    with pytest.raises(ValueError, match=rf"has no columns \['{prompt_column}'\]"):
        fitted(SUPPORTED_BENCHMARKS[name], [column for column in columns if column != prompt_column])


def test_columns_of_tests_are_those_that_rewards_read():
    from open_r1.rewards import program_rewards

    assert TEST_COLUMNS == program_rewards.TEST_COLUMNS


def test_a_row_whose_conversation_cannot_be_sent_is_not_asked(tmp_path):
    tests = {"language": "python", "test_cases": [{"input": "1", "output": "1"}]}
    talks = [[{"role": role, "content": "Print 1."}] for role in ("user", "assistant", "user")]
    rows = [{"problem": talk, "verification_info": tests} for talk in talks]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    problems = load_problems(local_benchmark(path), EvaluationSettings("a/model"))
    try:
        assert (list(problems.golds), list(problems.skipped)) == ([0, 2], [1])
        assert len(list(problems.requests(1))) == 2
    finally:
        problems.close()
