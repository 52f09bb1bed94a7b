# SPDX-License-Identifier: Apache-2.0
"""Data folders: whole or unfinished, whoever dies when; what they hold loads by every reader."""

import os
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.data import folder as folder_module
from open_r1.data.card import DataCard, Parent, read_card
from open_r1.data.folder import DatasetFolder, load_columns
from open_r1.data.sources import load_source, open_source
from open_r1.generation.journal import Journal


def card(**settings) -> DataCard:
    return DataCard("numbers", {"n": 1, **settings})


def write(path, values=(1, 2, 3), overwrite=False, **settings) -> Path:
    with DatasetFolder(path, card(**settings), overwrite=overwrite) as folder:
        folder.write([{"n": value} for value in values])
    return Path(path)


def values_of(path, name="n", **options) -> list:
    return [row[name] for row in open_source(path, **options).rows()]


@pytest.fixture
def small_buffer(monkeypatch):
    monkeypatch.setattr(folder_module, "_BUFFER_ROWS", 2)


@pytest.mark.parametrize("name", ["with spaces, ä", "data", "-dash"])
def test_folder_loads_by_every_reader_whatever_its_name(tmp_path, name):
    path = write(tmp_path / name)
    assert values_of(path) == [1, 2, 3]
    assert load_columns(path, ["n"])["n"].to_pylist() == [1, 2, 3]
    assert datasets.load_dataset(str(path))["train"]["n"][:] == [1, 2, 3]


def test_folder_behind_a_link_is_written_where_it_is(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
    write(tmp_path / "link", [4], overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert values_of(tmp_path / "real") == [4]


def test_configurations_and_splits_load_by_name_and_empty_ones_are_left_out(tmp_path):
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"n": 1}])
        folder.write([{"n": 2}], split="test")
        folder.write(pa.table({"n": pa.array([], pa.int64())}), split="dev")
        folder.write([{"m": 4}], config="math", split="test.part")
    out = str(tmp_path / "out")
    assert {split: rows["n"][:] for split, rows in load_source(out).items()} == {"train": [1], "test": [2]}
    assert datasets.load_dataset(out, "math")["test.part"]["m"][:] == [4]
    assert values_of(out, "m", config="math", split="test.part") == [4]
    assert read_card(out).counts == {"train": 1, "test": 1, "dev": 0, "math/test.part": 1}
    for wanted in ({"config": "code"}, {"split": "dev"}):
        with pytest.raises(ValueError, match=next(iter(wanted.values()))):
            open_source(out, **wanted)


NO_NAMES = {
    "split": ["a-b", "", "../a", "train[:3]"],
    "config": ["data", "", "a/b", "..", ".partial", "README.md", "card.json", "src"],
    "report": ["README.md", "card.json", "../x", "data", "", ".x", "mine.txt"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NO_NAMES.items() for name in names])
def test_name_that_would_hide_another_file_is_refused(tmp_path, kind, name):
    (tmp_path / "src").mkdir()
    for file in ("src/main.py", "mine.txt"):
        (tmp_path / file).write_text("precious")
    with pytest.raises(ValueError, match=kind), DatasetFolder(tmp_path, card()) as folder:
        if kind == "report":
            folder.write_text(name, "x")
        folder.write([{"n": 1}], **{kind: name})
    assert (tmp_path / "src" / "main.py").read_text() == (tmp_path / "mine.txt").read_text() == "precious"


STRANGERS = ["README.md", "card.json", "contamination_report.json", ".partial/x", "data/train-00000-of-00001.parquet"]


@pytest.mark.parametrize("name", STRANGERS)
def test_files_of_somebody_else_are_refused_before_the_work(tmp_path, name):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text('{"precious": 1}')
    for call in (DatasetFolder(tmp_path / "out", card(), overwrite=True).is_done, lambda: write(tmp_path / "out")):
        with pytest.raises(ValueError, match="no command of this project"):
            call()
    assert file.read_text() == '{"precious": 1}'


def test_files_of_somebody_else_in_the_data_of_a_finished_folder_are_refused(tmp_path):
    write(tmp_path / "out")
    file = tmp_path / "out" / "data" / "notes.txt"
    file.write_text("precious")
    with pytest.raises(ValueError, match=r"contains \['data'\]"):
        DatasetFolder(tmp_path / "out", card(), overwrite=True).is_done()
    assert file.read_text() == "precious"


@pytest.mark.parametrize("name", ["generations.jsonl", "scores.jsonl", "vllm.log"])
def test_journals_and_logs_may_be_there(tmp_path, name):
    (tmp_path / name).write_text("{}\n")
    write(tmp_path)
    assert (tmp_path / name).read_text() == "{}\n"


def test_folder_that_is_a_file_or_the_source_is_refused(tmp_path):
    (tmp_path / "file").touch()
    source = write(tmp_path / "source")
    own = DataCard("x", {}, [open_source(source).parent()])
    for folder in (
        DatasetFolder(tmp_path / "file", card()),
        DatasetFolder(tmp_path / "file" / "below", card()),
        DatasetFolder(tmp_path / "." / "source", own, overwrite=True),
    ):
        with pytest.raises(ValueError, match="another output folder"):
            folder.is_done()


def test_finished_folder_is_known_again_and_other_settings_are_refused(tmp_path):
    out = write(tmp_path / "out")
    assert DatasetFolder(out, card()).is_done()
    for other, named in (
        (card(n=2, new="x"), "n 1 -> 2; new None -> 'x'"),
        (DataCard("numbers", {"n": 1}, [Parent("a.jsonl", fingerprint="f1")]), r"a\.jsonl"),
    ):
        with pytest.raises(ValueError, match=named):
            DatasetFolder(out, other).is_done()
    assert not DatasetFolder(out, card(n=2), overwrite=True).is_done()


def test_source_that_moved_is_the_same_source(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    with DatasetFolder(tmp_path / "out", DataCard("x", {}, [open_source(tmp_path / "a.jsonl").parent()])) as folder:
        folder.write([{"n": 1}])
    shutil.move(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    moved = DataCard("x", {}, [open_source(tmp_path / "b.jsonl").parent()])
    assert DatasetFolder(tmp_path / "out", moved).is_done()


def test_overwriting_leaves_nothing_of_before(tmp_path):
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"n": 1}])
        folder.write([{"n": 2}], split="test")
        folder.write([{"n": 3}], config="math")
        folder.write_text("old.json", "{}")
    (tmp_path / "out" / "notes.txt").write_text("of the user")
    write(tmp_path / "out", [7], overwrite=True, other=1)
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {"README.md", "card.json", "notes.txt", ".open_r1.lock", "data/train-00000-of-00001.parquet"}
    assert values_of(tmp_path / "out") == [7]


def test_empty_result_is_an_error_that_says_where_the_rows_went(tmp_path):
    with pytest.raises(ValueError, match="No row"), DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([])
    assert read_card(tmp_path / "out") is None
    assert values_of(write(tmp_path / "out")) == [1, 2, 3]


def test_columns_that_appear_late_are_null_before_where_they_are_declared(tmp_path, small_buffer):
    schema = pa.schema({"a": pa.float64(), "l": pa.list_(pa.float64()), "b": pa.string()})
    with DatasetFolder(tmp_path / "out", card(), schema=schema) as folder:
        folder.write([{"a": None, "l": []}, {"a": None, "l": None}])
        folder.write([{"a": 1, "l": [1]}, {"a": 0.5}])
        folder.write([{"b": "late", "l": [0.5]}])
        folder.write([{"a": 1}], split="test")
    rows = load_source(str(tmp_path / "out"))["train"].to_list()
    assert [row["a"] for row in rows] == [None, None, 1.0, 0.5, None]
    assert [row["b"] for row in rows] == [None] * 4 + ["late"]
    assert [row["l"] for row in rows] == [[], None, [1.0], None, [0.5]]


@pytest.mark.parametrize(
    ("first", "late"),
    [
        *((1, late) for late in ("x", 0.5, [1], True)),
        *((None, late) for late in ("x", 1, [0.5])),
        ([None], ["x"]),
        ({"k": None}, {"k": 1}),
        ({}, {"k": "x"}),
    ],
)
def test_value_that_does_not_fit_the_rows_before_is_refused(tmp_path, small_buffer, first, late):
    with pytest.raises(ValueError, match="rows before"), DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"a": first}, {"a": first}])
        folder.write([{"a": late}, {"a": late}])
    with pytest.raises(ValueError, match="rows before"), DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"a": first}, {"a": first}])
        folder.write([{"a": first, "new": 1}, {"a": first}])


def test_rows_of_one_buffer_find_a_common_type_that_keeps_their_values(tmp_path):
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"score": 1, "meta": {}, "t": "\0é\r\n😀"}])
        folder.write([{"score": 0.5, "meta": {}, "t": "x" * 10**6}])
    assert values_of(tmp_path / "out", "score") == [1.0, 0.5]
    assert values_of(tmp_path / "out", "t") == ["\0é\r\n😀", "x" * 10**6]
    with pytest.raises(ValueError, match="fit"), DatasetFolder(tmp_path / "other", card()) as folder:
        folder.write([{"a": 2**60 + 1}])
        folder.write([{"a": 0.5}])


@pytest.mark.parametrize("damage", ["cut", "missing", "other rows"])
def test_finished_folder_whose_parquet_is_damaged_is_not_finished(tmp_path, damage):
    out = write(tmp_path / "out", range(1000))
    (path,) = (out / "data").iterdir()
    if damage == "other rows":
        pq.write_table(pa.table({"n": [1]}), path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    else:
        path.unlink()
    for call in (DatasetFolder(out, card()).is_done, lambda: open_source(out)):
        with pytest.raises(ValueError, match="--overwrite"):
            call()
    assert values_of(write(out, overwrite=True)) == [1, 2, 3]


@pytest.mark.parametrize("text", ["{", '{"settings": {}, "parents": [1], "steps": []}'])
def test_damaged_card_is_told_before_the_work_and_replaced_by_overwriting(tmp_path, text):
    out = write(tmp_path / "out")
    (out / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card\.json"):
        DatasetFolder(out, card()).is_done()
    assert values_of(write(out, [1], overwrite=True)) == [1]


def test_error_in_the_block_leaves_what_was_there(tmp_path):
    out = write(tmp_path / "out")
    with pytest.raises(KeyError), DatasetFolder(out, card(n=2), overwrite=True) as folder:
        folder.write([{"n": 9}] * 20_000)
        raise KeyError("of the caller")
    assert values_of(out) == [1, 2, 3]
    assert not (out / ".partial").exists()


def test_text_that_is_no_utf8_does_not_stop_publication(tmp_path):
    name = os.fsdecode(b"rows-\xff.jsonl")
    made = DataCard("numbers", {"source": name}, [Parent(name, fingerprint="f")])
    with DatasetFolder(tmp_path / "out", made) as folder:
        folder.write([{"n": 1}])
        folder.write_text("report.txt", "\ud800")
    assert read_card(tmp_path / "out").parents[0].name == name
    assert "rows-\\udcff.jsonl" in (tmp_path / "out" / "README.md").read_text()


def test_parents_cards_are_told_by_their_children(tmp_path):
    with DatasetFolder(tmp_path / "a", DataCard("a", {}, licence="mit", contamination={"rows": 2})) as folder:
        folder.write([{"n": 1}])
    source = open_source(tmp_path / "a")
    with DatasetFolder(tmp_path / "b", DataCard("b", {}, [source.parent()])) as folder:
        folder.write([{"n": 1}])
    child = open_source(tmp_path / "b").parent()
    assert child.licence == "mit"
    (parent,) = child.card["parents"]
    assert (parent["name"], parent["fingerprint"]) == (str(tmp_path / "a"), source.fingerprint())
    assert parent["card"]["contamination"] == {"rows": 2}
    assert '"rows": 2' in (tmp_path / "b" / "README.md").read_text()


def test_parts_that_are_not_merged_are_no_data_set(tmp_path):
    write(tmp_path / "part-000000-000002")
    with pytest.raises(ValueError, match="part-000000-000002"):
        open_source(tmp_path)


def test_journal_without_a_card_is_no_data_set(tmp_path):
    with Journal(tmp_path / "journal.jsonl", {"model": "m"}):
        pass
    with pytest.raises(ValueError, match=r"journal\.jsonl"):
        open_source(tmp_path)
    (tmp_path / "journal.jsonl").write_text('{"n": 1}\n')  # of somebody else
    assert values_of(tmp_path) == [1]
