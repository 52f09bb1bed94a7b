# SPDX-License-Identifier: Apache-2.0
"""scripts/curate.py where difficulty is hard to tell: missing verdicts, malformed completions, rows without ids."""

import pytest

from scripts.curate import main
from tests.rows.generations import attempts, completion, made_row, rows_of, write_rates, write_rows

OWN_RATE = ["--hard_pass_rate", "generations", "--max_per_problem", "1"]


def kept_of(tmp_path, rows: list[dict], *words: str) -> int:
    """Return the number of rows that are kept; 0 where the command says that none is left."""
    source = write_rows(tmp_path / "rows.jsonl", rows)
    status = main(["--input", source, "--output_dir", str(tmp_path / "out"), *words])
    return len(rows_of(tmp_path / "out")) if status == 0 else 0


@pytest.mark.parametrize(("num_right", "num_wrong", "kept"), [(1, 1, 0), (1, 31, 1), (3, 29, 1), (4, 28, 0)])
def test_completions_without_verdict_count_in_no_pass_rate(tmp_path, num_right, num_wrong, kept):
    flags = [1.0] * num_right + [0.0] * num_wrong
    row = made_row("p", "6 * 7?", 42, *attempts(1)) | {"flag": flags + [None] * (32 - len(flags))}
    assert kept_of(tmp_path, [row], "--correct_by", "column", "--correct_column", "flag", *OWN_RATE) == kept


@pytest.mark.parametrize(("num_right", "kept"), [(3, 1), (4, 0)])
def test_failed_completions_do_not_lift_the_pass_rate(tmp_path, num_right, kept):
    row = made_row("p", "6 * 7?", 42, *attempts(num_right, 31), None)
    assert kept_of(tmp_path, [row], *OWN_RATE) == kept


@pytest.mark.parametrize(("num_malformed", "kept"), [(30, 0), (0, 1)])
def test_malformed_completions_count_in_the_pass_rate(tmp_path, num_malformed, kept):
    malformed = [f"Hm.\n{completion(f'own way {n}', 42)}" for n in range(num_malformed)]
    row = made_row("p", "6 * 7?", 42, *attempts(2, 32 - num_malformed), *malformed)
    row["generations"] = [*attempts(2)[:2], *malformed, *attempts(0)][:32]
    assert kept_of(tmp_path, [row], *OWN_RATE) == kept


def test_problems_whose_gold_cannot_be_read_have_no_pass_rate(tmp_path, capsys):
    row = made_row("p", "Prove it.", None, *attempts(1))
    assert kept_of(tmp_path, [row], "--keep_unverifiable", *OWN_RATE) == 0
    assert "no_pass_rate" in capsys.readouterr().err


def test_problems_that_known_rates_drop_are_not_judged(tmp_path):
    rows = [made_row("p0", "6 * 7?", 42, *attempts(1)), made_row("p1", "7 * 6?", 42, *attempts(2))]
    easy = write_rates(tmp_path / "easy.jsonl", 0.5, 0.0, names=("p0", "p1"))
    assert kept_of(tmp_path, rows, "--easy_pass_rate", easy, *OWN_RATE) == 1
    journal = (tmp_path / "out" / "verdicts.jsonl").read_text(encoding="utf-8")
    assert '"key": "0"' not in journal


def test_pass_rates_of_problems_serve_rows_of_one_completion(tmp_path, caplog):
    rows = [
        {"problem": f"{n} * 1?", "answer": str(n), "completion": completion(f"try {t}", n)}
        for n in range(3)
        for t in range(3)
    ]
    rates = write_rows(tmp_path / "rates.jsonl", [{"problem": f"{n} * 1?", "pass_rate": n / 2} for n in range(3)])
    assert kept_of(tmp_path, rows, "--easy_pass_rate", rates, "--easy_max", "1/2", "--max_per_problem", "1") == 6
    assert "6 rows repeat a problem" in caplog.text


def test_rows_without_an_id_are_not_joined_by_their_place(tmp_path, capsys):
    rows = [
        made_row("x", problem, 42, completion("so", 42)) | {"uuid": name}
        for name, problem in ((None, "easy"), (None, "hard"), ("a", "other"))
    ]
    found = [
        {"uuid": name, "problem": problem, "pass_rate": rate}
        for name, problem, rate in (("a", "other", 0.0), (None, "hard", 0.0), (None, "easy", 1.0))
    ]
    words = ["--easy_pass_rate", write_rows(tmp_path / "rates.jsonl", found)]
    assert kept_of(tmp_path, rows, *words) == 0
    assert "2 of which have null" in capsys.readouterr().err
    assert kept_of(tmp_path, rows, *words, "--join_column", "problem") == 2
    assert [row["problem"] for row in rows_of(tmp_path / "out")] == ["hard", "other"]


def test_conversations_with_the_same_last_question_are_no_duplicates(tmp_path):
    answer = {"role": "assistant", "content": completion("so", 1)}
    turns = [{"role": "assistant", "content": "so"}, {"role": "user", "content": "Please check your answer."}]
    rows = [
        {"messages": [{"role": "user", "content": question}, *turns, answer]}
        for question in ("What is 2 * 3?", "How many days has a week?", "What is 2 * 3?")
    ]
    assert kept_of(tmp_path, rows, "--correct_by", "none", "--duplicates", "exact_problems", "near_problems") == 2
