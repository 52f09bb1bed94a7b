# SPDX-License-Identifier: Apache-2.0
"""What counts as progress of a job: new answers, verdicts and results; not settings, logs or the same files again."""

import pytest

from open_r1.cluster.kept import find_answers, find_checkpoints
from open_r1.generation.journal import Journal

RECORD = {"key": "a", "index": 0, "text": "4"}


@pytest.mark.parametrize(
    "first",
    ["", '{"journal": 1, "settings": {"model": "m"}}\n', '{"journal": 1, "settings": {"mod'],
    ids=["empty", "settings", "half of settings"],
)
def test_journal_that_was_only_begun_is_no_answer(tmp_path, first):
    (tmp_path / "generations.jsonl").write_text(first)
    assert not find_answers([tmp_path])


def test_journal_that_is_opened_again_has_no_new_answer_until_one_comes(tmp_path):
    path = tmp_path / "generations.jsonl"
    with Journal(path, {"model": "m"}) as journal:
        journal.append(RECORD)
    before = find_answers([tmp_path])
    with Journal(path, {"model": "m"}) as journal:
        assert before and find_answers([tmp_path]) == before
        journal.append({**RECORD, "index": 1})
    assert find_answers([tmp_path]) - before


def test_answers_that_are_begun_anew_are_new(tmp_path):
    path = tmp_path / "generations.jsonl"
    with Journal(path, {"model": "m"}) as journal:
        journal.append(RECORD, {**RECORD, "index": 1})
    before = find_answers([tmp_path])
    with Journal(path, {"model": "other"}, overwrite=True) as journal:
        assert not find_answers([tmp_path]) - before
        journal.append(RECORD)
    assert find_answers([tmp_path]) - before


@pytest.mark.parametrize(
    ("name", "is_progress"),
    [("programs.jsonl", True), ("results.json", True), ("card.json", True), ("asking.jsonl", False)],
)
def test_verdicts_and_results_are_progress_and_logs_are_not(tmp_path, name, is_progress):
    (tmp_path / name).write_text("{\n}\n")
    assert bool(find_answers([tmp_path / "none", tmp_path])) == is_progress


def test_checkpoint_counts_when_it_is_complete_and_when_it_is_written_again(tmp_path):
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    assert not find_checkpoints(tmp_path) and not find_checkpoints(None)
    (folder / "manifest.json").touch()
    before = find_checkpoints(tmp_path)
    (folder / "manifest.json").write_text("{}")
    assert len(before) == 1 and find_checkpoints(tmp_path) - before
