# SPDX-License-Identifier: Apache-2.0
"""Table of benchmarks and its names; kinds and columns of local files and data sets of the hub."""

from pathlib import Path

import pytest

from open_r1.evaluation.benchmarks import (
    GPQA_WRONG,
    SUPPORTED_BENCHMARKS,
    TEST_COLUMNS,
    find_benchmarks,
    fitted,
    local_benchmark,
    word_of,
)
from open_r1.rewards import REWARDS, program_rewards

FILE = Path("/data/rows.jsonl")
LIVE_CODE_BENCH = ["question_title", "question_content", "starter_code", "private_test_cases", "metadata"]
NAMES = ["math_500", "aime24", "aime25", "gpqa", "lcb", "lcb_v4"]


def test_the_benchmarks_of_open_r1_are_in_the_table_with_the_samples_of_the_published_tables():
    assert list(SUPPORTED_BENCHMARKS)[:6] == NAMES
    assert [SUPPORTED_BENCHMARKS[name].num_samples for name in NAMES] == [4, 64, 64, 8, 16, 16]
    assert [name for name, entry in SUPPORTED_BENCHMARKS.items() if entry.is_checked] == NAMES


def test_judges_of_the_table_are_rewards():
    judges = {entry.judge for entry in SUPPORTED_BENCHMARKS.values() if entry.judge}
    assert judges == {"ioi_code", "cf_code"} & REWARDS.keys()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["aime24"], ["aime24"]),
        (["lighteval|aime24|0|0", "lighteval|math_500|0"], ["aime24", "math_500"]),
        (["all"], list(SUPPORTED_BENCHMARKS)),
        (["lighteval|gpqa:diamond|0|0", "extended|lcb:codegeneration_v4|0|0"], ["gpqa", "lcb_v4"]),
        (["gpqa:diamond|0", "aime_2024|0"], ["gpqa", "aime24"]),
        (["aime24,gpqa, math_500"], ["aime24", "gpqa", "math_500"]),
        ([], []),
    ],
)
def test_benchmarks_are_found(names, found):
    assert [benchmark.name for benchmark in find_benchmarks(names)] == found


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["aime"], "'aime'"),
        (["math500"], "math_500"),
        (["aime24,"], "''"),
        (["all", "aime24"], "'all'"),
        (["aime24", "lighteval|aime24|0|0"], "named twice"),
        (["lighteval|aime24|5|0"], "'5' solved examples"),
        (["data/no such.jsonl"], "no such.jsonl"),
        (["owner/.."], "Unknown"),
    ],
)
def test_names_that_cannot_be_run_are_refused(names, said):
    with pytest.raises(ValueError) as refused:
        find_benchmarks(names)
    assert said in str(refused.value)


def test_a_local_file_is_a_benchmark_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my rows.v2.jsonl").write_text("{}")
    (benchmark,) = find_benchmarks(["my rows.v2.jsonl"])
    assert (benchmark.name, benchmark.dataset) == ("my_rows.v2", str(tmp_path / "my rows.v2.jsonl"))
    (tmp_path / "a,b.jsonl").write_text("{}")
    assert [benchmark.name for benchmark in find_benchmarks(["a,b.jsonl"])] == ["a_b"]


def test_a_data_set_of_the_hub_is_a_benchmark_by_its_name():
    (benchmark,) = find_benchmarks(["math-ai/aime25"])
    assert (benchmark.name, benchmark.dataset, benchmark.is_local) == ("aime25", "math-ai/aime25", False)
    assert word_of(benchmark) == "math-ai/aime25"
    found = fitted(benchmark, ["question", "answer", "id"])
    assert (found.kind, found.prompt_column, found.solution_column) == ("math", "question", "answer")


@pytest.mark.parametrize(
    ("columns", "kind", "prompt", "solution"),
    [
        (["problem", "solution"], "math", "problem", "solution"),
        (["problem", "solution", "choices"], "choices", "problem", "solution"),
        (["question", "choices", "answer"], "choices", "question", "answer"),
        (["Question", "Correct Answer", *GPQA_WRONG, "Subdomain"], "choices", "Question", "Correct Answer"),
        (["problem", "verification_info"], "code", "problem", "solution"),
        (["prompt", "input_output"], "code", "prompt", "solution"),
        (["prompt", "test", "entry_point", "canonical_solution"], "code", "prompt", "solution"),
        (["question", "options", "answer"], "choices", "question", "answer"),
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
    ("kind", "columns", "missing"),
    [
        ("auto", ["text", "answer"], "problem"),
        ("math", ["problem"], "solution"),
        ("choices", ["problem", "solution"], "choices"),
        ("code", ["problem", "solution"], "verification_info"),
        ("auto", ["title", "private_test_cases"], "problem"),
    ],
)
def test_missing_columns_are_named_with_those_found(kind, columns, missing):
    with pytest.raises(ValueError) as refused:
        fitted(local_benchmark(FILE, kind=kind), columns)
    assert missing in str(refused.value) and columns[0] in str(refused.value)


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
    with pytest.raises(ValueError, match=prompt_column):
        fitted(SUPPORTED_BENCHMARKS[name], [column for column in columns if column != prompt_column])


def test_columns_of_tests_are_those_that_rewards_read():
    assert TEST_COLUMNS == program_rewards.TEST_COLUMNS
