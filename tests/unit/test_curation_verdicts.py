# SPDX-License-Identifier: Apache-2.0
"""Verdicts on disk: what a killed run leaves, and what belongs to other rows."""

import pytest

from open_r1.curation.verdicts import Judge, VerdictJournal

SETTINGS = {"inputs": ["a1b2"], "gold": ["answer"], "verifier": "c3d4"}
RIGHT, WRONG = "<think>\n6 * 7\n</think>\n\n\\boxed{42}", "\\boxed{41}"


def test_verdicts_are_kept_and_not_given_again(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    judge = Judge(VerdictJournal(path, SETTINGS))
    assert judge.judge([(0, 0), (0, 1), (7, 0)], ["42", "42", ""], [RIGHT, WRONG, RIGHT]) == [
        "right",
        "wrong",
        "unverifiable",
    ]
    again = Judge(VerdictJournal(path, SETTINGS))
    assert again.judge([(0, 1), (7, 0), (9, 0)], ["42", "", "42"], [WRONG, RIGHT, RIGHT]) == [
        "wrong",
        "unverifiable",
        "right",
    ]
    assert again.num_judged == 1


@pytest.mark.parametrize("cut", range(1, 30))
def test_half_a_line_is_cut_off(tmp_path, cut):
    path = tmp_path / "verdicts.jsonl"
    journal = VerdictJournal(path, SETTINGS)
    journal.add([(0, 0)], ["right"])
    journal.add([(1, 0)], ["no_answer"])
    path.write_bytes(path.read_bytes()[:-cut])
    known = VerdictJournal(path, SETTINGS).known
    assert known in ({(0, 0): "right"}, {})
    VerdictJournal(path, SETTINGS).add([(2, 0)], ["wrong"])
    assert VerdictJournal(path, SETTINGS).known == known | {(2, 0): "wrong"}


def test_file_killed_in_its_first_line_is_begun_anew(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    path.write_bytes(b'{"verdicts_of": {"inp')
    VerdictJournal(path, SETTINGS).add([(0, 0)], ["right"])
    assert VerdictJournal(path, SETTINGS).known == {(0, 0): "right"}


def test_verdicts_of_other_rows_are_refused(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    VerdictJournal(path, SETTINGS).add([(0, 0)], ["right"])
    with pytest.raises(ValueError, match=r"other rows or settings.*--overwrite"):
        VerdictJournal(path, SETTINGS | {"verifier": "e5f6"})
    assert VerdictJournal(path, SETTINGS | {"verifier": "e5f6"}, overwrite=True).known == {}


@pytest.mark.parametrize("content", ["what?\n", '[1, 2]\n"x"\n', "{}\n", "\x00\n"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "verdicts.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"remove it|other rows"):
        VerdictJournal(path, SETTINGS)
    assert path.read_text(encoding="utf-8") == content


def test_damaged_lines_are_refused(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    VerdictJournal(path, SETTINGS)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"not": "a list of verdicts"}\n')
    with pytest.raises(ValueError, match="no file of verdicts"):
        VerdictJournal(path, SETTINGS)


def test_counting_alone_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Judge(VerdictJournal(None, {})).judge([(0, 0)], ["42"], [RIGHT]) == ["right"]
    assert list(tmp_path.iterdir()) == []
