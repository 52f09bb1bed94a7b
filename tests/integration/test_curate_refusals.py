# SPDX-License-Identifier: Apache-2.0
"""What scripts/curate.py refuses, and what it says; YAML files of its flags."""

import pytest
import yaml

from scripts.curate import main
from tests.integration.tiny import build_tiny
from tests.rows.generations import CORPUS, completion, made_row, rows_of, write_rows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    return write_rows(tmp_path_factory.mktemp("corpus") / "rows.jsonl", CORPUS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_per_problem", "0"], "--max_per_problem must be at least 1"),
        (["--num_rows", "5"], "--sample_by and --num_rows go together"),
        (["--correct_by", "column"], "--correct_column go together"),
        (["--hard_min", "1/2", "--hard_max", "1/4"], "no problem could be kept"),
        (["--hard_pass_rate", "column:rate"], r"no columns ['rate']"),
        (["--easy_pass_rate", "generations"], "another, smaller model"),
        (["--gold_column", "gold"], "--gold_column"),
        (["--language", "xx"], "The language 'xx' is not known"),
        (["--keep_columns", "nothing"], "--keep_columns"),
        (["--keep_columns", "uuid", "length"], "which the output has by itself"),
        (["--tokenizer", "nowhere"], "there is no file nowhere"),
        (["--easy_pass_rate", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--dataset_layout", "nothing"], "Unknown layout 'nothing' of --dataset_layout"),
        (["--dataset_layout", "s1k", "--problem_column", "problem"], "leave --problem_column"),
        (["--dataset_layout", "s1k"], "does not fit"),
        (["--seed", "-1"], "--seed must be between 0 and"),
    ],
)
def test_refusals(corpus, tmp_path, capsys, words, message):
    assert main(["--input", corpus, "--output_dir", str(tmp_path / "out"), *words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "data").exists()


def test_tokens_that_nobody_counted_are_refused(tmp_path, capsys):
    rows = [{"problem": "6 * 7?", "answer": "42", "completion": completion("six sevens", 42)}]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    words += ["--max_tokens", "25"]
    assert main(words) == 1
    assert "name a --tokenizer" in capsys.readouterr().err
    tiny = build_tiny(tmp_path / "tiny")  # a token a character or tag: 26
    assert main([*words, "--tokenizer", str(tiny.model)]) == 1
    refusal = capsys.readouterr().err
    assert "No completion is left" in refusal
    assert "too_long 1" in refusal
    assert main([*words[:-1], "100", "--tokenizer", str(tiny.model)]) == 0
    assert [row["length"] for row in rows_of(tmp_path / "out")] == [26]


@pytest.mark.parametrize(
    "text",
    [
        "unknown: 1",
        "- a",
        "max_per_problem: {a: 1}",
        "overwrite: 3",
        "dry_run: [x]",
        "language: no",
        "order: off",
        "language: yes",
        "input: [x",
        "max_per_problem: [1]",
        "problem_column: [a, b]",
    ],
)
def test_configs_that_are_not_flat_flags_are_refused(corpus, tmp_path, capsys, text):
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    assert main(["--config", str(tmp_path / "c.yaml"), "--input", corpus, "--dry_run"]) == 1
    assert "c.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("line", ['{"problem": ' + "[" * 3_000 + "]" * 3_000 + "}", '{"problem": "to'])
def test_line_that_is_no_row_is_refused_with_file_and_number(tmp_path, capsys, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"problem": "1+1", "answer": "2", "generations": ["2"]}}\n{line}\n')
    assert main(["--input", str(path), "--output_dir", str(tmp_path / "out")]) == 1
    assert "rows.jsonl, line 2" in capsys.readouterr().err


def test_columns_of_other_types_are_refused_before_judging(tmp_path, capsys):
    rows = [made_row("a", "6 * 7?", 42, completion("six sevens", 42)) | {"id": name} for name in (1, "x")]
    inputs = [write_rows(tmp_path / f"{n}.jsonl", [row]) for n, row in enumerate(rows)]
    words = ["--input", *inputs, "--output_dir", str(tmp_path / "out")]
    assert main(words) == 1
    assert "--keep_columns" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--keep_columns", "uuid"]) == 0


def test_flags_come_over_the_config(corpus, tmp_path, capsys):
    config = {"input": ["nowhere"], "dry_run": True, "max_per_problem": 2, "duplicates": ["exact_problems"]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["--config", str(tmp_path / "c.yaml"), "--input", corpus, "--max_per_problem", "1"]) == 0
    printed = capsys.readouterr().out
    assert "not_among_the_best 1" in printed
    assert "exact duplicates" in printed
