# SPDX-License-Identifier: Apache-2.0
"""Where data folders may be written, and what of a finished one may change: licence, a card that is damaged."""

import json
import os

import pytest

from open_r1.data.card import DataCard, Parent, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import load_source, open_source


def write(path, card=None, overwrite=False, report=None):
    with DatasetFolder(path, card or DataCard("numbers", {"n": 1}), overwrite=overwrite) as folder:
        folder.write([{"n": 1}])
        if report:
            folder.write_text(report, "{}")
    return path


@pytest.mark.parametrize("name", ["README.md", "card.json", "contamination_report.json", ".partial/x"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_refused_before_the_work(tmp_path, name, overwrite):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text('{"precious": 1}')
    with pytest.raises(ValueError, match="is not ours"):
        DatasetFolder(tmp_path / "out", DataCard("x", {}), overwrite=overwrite).is_done()
    with pytest.raises(ValueError, match="is not ours"):
        write(tmp_path / "out", overwrite=overwrite)
    assert file.read_text() == '{"precious": 1}'


def test_report_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not ours"):
        write(tmp_path, report="mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["generations.jsonl", "scores.jsonl", "verdicts.jsonl", "vllm.log", "notes.txt"])
def test_journals_logs_and_notes_may_be_there(tmp_path, name):
    (tmp_path / name).write_text("{}\n")
    write(tmp_path)
    assert (tmp_path / name).read_text() == "{}\n"


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        write(tmp_path / "file" / "out")


def test_staging_folder_that_is_a_link_is_refused(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "else").mkdir()
    (tmp_path / "out" / ".partial").symlink_to(tmp_path / "else")
    with pytest.raises(ValueError, match="is a link"):
        DatasetFolder(tmp_path / "out", DataCard("numbers", {"n": 1})).is_done()


@pytest.mark.parametrize("text", ["{", '{"settings": {}, "parents": [1], "steps": []}'])
def test_damaged_card_is_told_before_the_work_and_replaced_by_overwriting(tmp_path, text):
    out = write(tmp_path / "out")
    (out / "card.json").write_text(text)
    with pytest.raises(ValueError, match="no card of ours"):
        DatasetFolder(out, DataCard("numbers", {"n": 1})).is_done()
    write(out, overwrite=True)
    assert read_card(out).counts == {"train": 1}


def test_text_that_is_no_utf8_does_not_stop_publication(tmp_path):
    name = os.fsdecode(b"rows-\xff.jsonl")
    card = DataCard("numbers", {"source": name}, [Parent(name, fingerprint="f")])
    out = write(tmp_path / "out", card)
    assert read_card(out).parents[0].name == name
    assert DatasetFolder(out, DataCard("numbers", {"source": name}, card.parents)).is_done()
    assert "rows-\\udcff.jsonl" in (out / "README.md").read_text(encoding="utf-8")


def test_other_licence_is_written_into_the_card_of_a_finished_folder(tmp_path, caplog):
    out = write(tmp_path / "out", DataCard("numbers", {"n": 1}, licence="mit"))
    before = json.loads((out / "card.json").read_text())
    assert DatasetFolder(out, DataCard("numbers", {"n": 1}), licence="apache-2.0").is_done()
    assert json.loads((out / "card.json").read_text()) == {**before, "licence": "apache-2.0"}
    assert "license: apache-2.0" in (out / "README.md").read_text()
    assert "was 'mit' and is now 'apache-2.0'" in caplog.text
    assert [row["n"] for row in open_source(str(out)).rows()] == [1]


def test_licence_that_the_rows_would_inherit_is_taken_where_it_is_asked_for(tmp_path):
    parents = [Parent("a.jsonl", fingerprint="f", licence="mit")]
    out = write(tmp_path / "out", DataCard("numbers", {"n": 1}, parents, licence="apache-2.0"))
    assert DatasetFolder(out, DataCard("numbers", {"n": 1}, parents), licence="mit").is_done()
    assert read_card(out).licence == "mit"


@pytest.mark.parametrize("part", ["shards/000000-000002", "part-000000-000002"])
def test_parts_that_are_not_merged_are_no_data_set(tmp_path, part):
    write(tmp_path / part)
    for read in (open_source, load_source):
        with pytest.raises(ValueError, match="not merged"):
            read(str(tmp_path))


def test_journal_without_a_card_is_no_data_set(tmp_path):
    (tmp_path / "generations.jsonl").write_text('{"journal": 1, "settings": {}}\n{"key": "0", "index": 0}\n')
    for read in (open_source, load_source):
        with pytest.raises(ValueError, match=r"not finished: it has generations\.jsonl"):
            read(str(tmp_path))


def test_folder_of_shards_of_somebody_else_loads(tmp_path):
    (tmp_path / "shards" / "000").mkdir(parents=True)
    (tmp_path / "shards" / "000" / "generations.jsonl").write_text('{"n": 1}\n')
    assert [row["n"] for row in open_source(str(tmp_path)).rows()] == [1]
