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


def status_of(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--max_per_problem", "0"], "--max_per_problem"),
        (["--problem_threshold", "1.5"], "--problem_threshold"),
        (["--num_rows", "5"], "--sample_by"),
        (["--correct_by", "column"], "--correct_column"),
        (["--hard_min", "1/2", "--hard_max", "1/4"], "--hard_min"),
        (["--hard_min", "33/32"], "--hard_min"),
        (["--hard_pass_rate", "column:rate"], "['rate']"),
        (["--easy_pass_rate", "generations"], "--easy_pass_rate"),
        (["--gold_column", "gold"], "--gold_column"),
        (["--language", "xx"], "'xx'"),
        (["--keep_columns", "nothing"], "--keep_columns"),
        (["--tokenizer", "nowhere", "--max_tokens", "5"], "--tokenizer nowhere"),
        (["--easy_pass_rate", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--dataset_layout", "nothing"], "'nothing'"),
        (["--dataset_layout", "s1k"], "s1k"),
        (["--filter", "nowhere.py:keep"], "nowhere.py"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_refusals(corpus, tmp_path, capsys, words, named):
    assert status_of(["--input", corpus, "--output_dir", str(tmp_path / "out"), *words]) in (1, 2)
    assert named in capsys.readouterr().err
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
    ("text", "named"),
    [
        ("unknown: 1", "--unknown"),
        ("- a", "c.yaml"),
        ("max_per_problem: {a: 1}", "--max_per_problem"),
        ("overwrite: 3", "--overwrite"),
        ("language: no", "'False'"),
        ("order: off", "--order"),
        ("input: [x", "c.yaml"),
        ("problem_column: [a, b]", "b"),
    ],
)
def test_configs_that_are_not_flat_flags_are_refused(corpus, tmp_path, capsys, text, named):
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    assert status_of(["--config", str(tmp_path / "c.yaml"), "--input", corpus, "--dry_run"]) in (1, 2)
    assert named in capsys.readouterr().err


def test_filter_of_the_users_own(corpus, tmp_path, capsys):
    code = "def keep(row):\n    return 'seven' in row['completion'] or ('even' if row['uuid'] == 'code' else False)\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    words = ["--input", corpus, "--output_dir", str(tmp_path / "out"), "--filter", f"{tmp_path}/mine.py:keep"]
    assert main(words) == 0
    assert "dropped 6, even 1" in capsys.readouterr().out
    assert {row["problem"] for row in rows_of(tmp_path / "out")} == {"Find six times seven."}
    (tmp_path / "mine.py").write_text(code.replace("seven", "six"), encoding="utf-8")
    assert main(words) == 1  # an edited function is another filter
    assert "filter_code" in capsys.readouterr().err


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
