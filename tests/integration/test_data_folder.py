# SPDX-License-Identifier: Apache-2.0
"""Data folders: whole or unfinished, whoever dies when; what they hold loads by every reader."""

import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.data import shards
from open_r1.data.card import DataCard, Parent, read_card
from open_r1.data.folder import DatasetFolder, load_columns
from open_r1.data.sources import load_source, open_source


def card(**settings) -> DataCard:
    return DataCard("numbers", {"n": 1, **settings})


def write(path, values=(1, 2, 3), overwrite=False, **settings) -> Path:
    with DatasetFolder(path, card(**settings), overwrite=overwrite) as folder:
        folder.write([{"n": value} for value in values])
    return Path(path)


def values_of(path, name="n", **options) -> list:
    return [row[name] for row in open_source(str(path), **options).rows()]


@pytest.mark.parametrize("name", ["plain", "with spaces, ä", "é ü", "data", "-dash"])
def test_folder_loads_by_every_reader_whatever_its_name(tmp_path, name):
    path = write(tmp_path / name)
    assert values_of(path) == [1, 2, 3]
    assert load_source(str(path))["train"]["n"][:] == [1, 2, 3]
    assert load_columns(path, ["n"])["n"].to_pylist() == [1, 2, 3]
    if "[" not in name:  # its reader takes brackets in a path for a pattern
        assert datasets.load_dataset(str(path))["train"]["n"][:] == [1, 2, 3]
    (path / "elsewhere").mkdir()


def test_folder_behind_a_link_is_written_where_it_is(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert values_of(tmp_path / "real") == [1, 2, 3]
    write(tmp_path / "link", [4], overwrite=True)
    assert values_of(tmp_path / "real") == [4]


def test_configurations_and_splits_load_by_name(tmp_path):
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"n": 1}])
        folder.write([{"n": 2}], split="test")
        folder.write([{"m": 3}], config="math")
        folder.write([{"m": 4}], config="math", split="test.part")
    out = str(tmp_path / "out")
    assert datasets.load_dataset(out)["test"]["n"][:] == [2]
    assert datasets.load_dataset(out, "math")["test.part"]["m"][:] == [4]
    assert load_source(out, "math")["train"]["m"][:] == [3]
    assert values_of(out, "m", config="math", split="test.part") == [4]
    with pytest.raises(ValueError, match="'code'"):
        open_source(out, config="code")
    with pytest.raises(ValueError, match="'dev'"):
        open_source(out, split="dev")


NO_NAMES = {
    "split": ["a-b", "", "a/b", "../a", "a b", "train[:3]"],
    "config": ["data", "", "a/b", "..", ".partial", "README.md", "card.json"],
    "report": ["README.md", "card.json", "../x", "data", "a/b", "", ".x"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NO_NAMES.items() for name in names])
def test_name_that_would_hide_another_file_is_refused(tmp_path, kind, name):
    with pytest.raises(ValueError, match=kind), DatasetFolder(tmp_path / "o", card()) as folder:
        if kind == "report":
            folder.write_text(name, "x")
        folder.write([{"n": 1}], **{kind: name})


def test_finished_folder_is_known_again_and_other_settings_are_refused(tmp_path):
    out = write(tmp_path / "out")
    assert DatasetFolder(out, card()).is_done()
    with pytest.raises(ValueError, match="n 1 -> 2; new None -> 'x'"):
        DatasetFolder(out, card(n=2, new="x")).is_done()
    other = DataCard("numbers", {"n": 1}, [Parent("a.jsonl", fingerprint="f1")])
    with pytest.raises(ValueError, match=r"a\.jsonl"):
        DatasetFolder(out, other).is_done()
    assert not DatasetFolder(out, card(n=2), overwrite=True).is_done()


def test_source_that_moved_is_the_same_source(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    before = DataCard("x", {}, [open_source(str(tmp_path / "a.jsonl")).parent()])
    with DatasetFolder(tmp_path / "out", before) as folder:
        folder.write([{"n": 1}])
    shutil.move(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert DatasetFolder(
        tmp_path / "out", DataCard("x", {}, [open_source(str(tmp_path / "b.jsonl")).parent()])
    ).is_done()


def test_finished_folder_with_missing_shards_is_told(tmp_path):
    out = write(tmp_path / "out")
    next((out / "data").iterdir()).unlink()
    for call in (DatasetFolder(out, card()).is_done, lambda: open_source(str(out)), lambda: load_source(str(out))):
        with pytest.raises(ValueError, match="--overwrite"):
            call()


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
    assert load_source(str(tmp_path / "out"))["train"]["n"][:] == [7]


def test_data_of_somebody_else_is_never_touched(tmp_path):
    foreign = tmp_path / "foreign"
    (foreign / "data").mkdir(parents=True)
    (foreign / "data" / "train-00000-of-00001.parquet").write_bytes(b"precious")
    with pytest.raises(ValueError, match="is not ours"):
        DatasetFolder(foreign, card(), overwrite=True).is_done()
    with pytest.raises(ValueError, match="is not ours"):
        write(foreign, overwrite=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("precious")
    with pytest.raises(ValueError, match="is not ours"), DatasetFolder(tmp_path, card()) as folder:
        folder.write([{"n": 1}], config="src")
    assert (tmp_path / "src" / "main.py").read_text() == "precious"
    assert (foreign / "data" / "train-00000-of-00001.parquet").read_bytes() == b"precious"


def test_folder_that_is_a_file_or_the_source_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        DatasetFolder(tmp_path / "file", card()).is_done()
    source = write(tmp_path / "source")
    own = DataCard("x", {}, [open_source(str(source)).parent()])
    with pytest.raises(ValueError, match="is read"):
        DatasetFolder(tmp_path / "." / "source", own, overwrite=True).is_done()


def test_empty_result_is_an_error_that_says_where_the_rows_went(tmp_path):
    with (
        pytest.raises(ValueError, match="No row"),
        DatasetFolder(tmp_path / "out", card()) as folder,
    ):
        folder.write_text("report.json", "{}")
        folder.write([])
        folder.write(pa.table({"n": pa.array([], pa.int64())}))
    assert (tmp_path / "out" / ".partial" / "report.json").exists()
    assert read_card(tmp_path / "out") is None
    assert values_of(write(tmp_path / "out")) == [1, 2, 3]


def test_split_without_rows_is_counted_and_left_out(tmp_path):
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"n": 1}])
        folder.write(pa.table({"n": pa.array([], pa.int64())}), split="test")
        folder.write(pa.table({"n": pa.array([], pa.int64())}), config="math")
    assert set(datasets.load_dataset(str(tmp_path / "out"))) == {"train"}
    assert set(load_source(str(tmp_path / "out"))) == {"train"}
    assert read_card(tmp_path / "out").counts == {"train": 1, "test": 0, "math/train": 0}


def test_columns_that_appear_late_are_null_before_where_they_are_declared(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_BUFFER_ROWS", 2)
    monkeypatch.setattr(shards, "_SHARD_BYTES", 1)
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
    assert len(list((tmp_path / "out" / "data").glob("train-*.parquet"))) == 3
    assert list(open_source(str(tmp_path / "out")).rows()) == rows


def test_columns_that_appear_late_and_are_not_declared_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_BUFFER_ROWS", 2)
    for late in ({"n": 1, "b": 1}, {"n": "x"}, {"n": 0.5}):
        with pytest.raises(ValueError, match="rows before"), DatasetFolder(tmp_path / "out", card()) as folder:
            folder.write([{"n": 1}, {"n": 2}])
            folder.write([late, late])


@pytest.mark.parametrize("damage", ["cut", "empty", "other rows"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_finished_folder_whose_parquet_is_damaged_is_not_finished(tmp_path, damage, overwrite):
    out = write(tmp_path / "out", range(1000))
    (path,) = (out / "data").iterdir()
    content = path.read_bytes()
    if damage == "other rows":
        pq.write_table(pa.table({"n": [1]}), path)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    if overwrite:
        assert not DatasetFolder(out, card(), overwrite=True).is_done()
        assert values_of(write(out, overwrite=True)) == [1, 2, 3]
        return
    for call in (DatasetFolder(out, card()).is_done, lambda: open_source(str(out)), lambda: load_source(str(out))):
        with pytest.raises(ValueError, match="--overwrite"):
            call()


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([{"a": 1}], [{"a": "x"}], "do not fit"),
        ([{"a": [1]}], [{"a": {"b": 1}}], "do not fit"),
        ([{"a": True}], [{"a": 1}], "do not fit"),
        ([{"a": 1}, {"a": "x"}], [], "tried to convert"),
        ([{"a": 2**60 + 1}], [{"a": 0.5}], "does not fit the rows before"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), [], "same name"),
    ],
)
def test_rows_that_do_not_go_together_are_refused_by_column(tmp_path, first, second, reason):
    with pytest.raises(ValueError, match=reason), DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write(first)
        folder.write(second)
    assert read_card(tmp_path / "out") is None


@pytest.mark.parametrize(
    ("nothing", "late"),
    [(None, "x"), (None, 1), (None, [0.5]), ([None], ["x"]), ({"k": None}, {"k": 1}), ({}, {"k": "x"})],
)
def test_value_behind_rows_of_nulls_is_not_lost(tmp_path, monkeypatch, nothing, late):
    monkeypatch.setattr(shards, "_BUFFER_ROWS", 2)
    with pytest.raises(ValueError, match="rows before"), DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"a": nothing}, {"a": nothing}])
        folder.write([{"a": late}, {"a": late}])


def test_empty_structs_and_nulls_of_other_types_behind_nulls_are_null(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_BUFFER_ROWS", 2)
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"a": None}, {"a": None}])
        folder.write([{"a": {}}, {"a": None}])
        folder.write(pa.table({"a": pa.array([None, None], pa.string())}))
    assert values_of(tmp_path / "out", "a") == [None] * 6


def test_fraction_behind_whole_numbers_is_not_cut(tmp_path):
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"score": 1}])
        folder.write([{"score": 0.5}])
    assert values_of(tmp_path / "out", "score") == [1.0, 0.5]


def test_hostile_values_come_back(tmp_path):
    texts = ["", "\0", "a\r\nb", "é" * 500_000, "😀", "---", "x" * 10**6]
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write([{"t": text, "n b|c": [{"x": text}]} for text in texts])
        folder.write_text("report.txt", "\ud800")
    assert values_of(tmp_path / "out", "t") == texts


def test_text_types_that_loaders_do_not_know_become_plain(tmp_path):
    table = pa.table({"v": pa.array(["a"], pa.string_view()), "d": pa.array(["b"]).dictionary_encode()})
    with DatasetFolder(tmp_path / "out", card()) as folder:
        folder.write(table)
        folder.write([{"v": "c", "d": "e"}])
    assert {str(kind) for kind in open_source(str(tmp_path / "out")).schema.types} == {"string"}


def test_error_in_the_block_leaves_what_was_there(tmp_path, caplog):
    out = write(tmp_path / "out")
    with pytest.raises(KeyError), DatasetFolder(out, card(n=2), overwrite=True) as folder:
        folder.write([{"n": 9}] * 20_000)
        raise KeyError("of the caller")
    assert values_of(out) == [1, 2, 3]
    assert not (out / ".partial").exists()


def test_parents_cards_are_told_by_their_children(tmp_path):
    with DatasetFolder(tmp_path / "a", DataCard("a", {}, licence="mit", contamination={"rows": 2})) as folder:
        folder.write([{"n": 1}])
    source = open_source(str(tmp_path / "a"))
    with DatasetFolder(tmp_path / "b", DataCard("b", {}, [source.parent()])) as folder:
        folder.write([{"n": 1}])
    child = open_source(str(tmp_path / "b")).parent()
    assert child.licence == "mit"
    (parent,) = child.card["parents"]
    assert (parent["name"], parent["fingerprint"]) == (str(tmp_path / "a"), source.fingerprint())
    assert parent["card"]["contamination"] == {"rows": 2}
    assert "| rows: 2 |" in (tmp_path / "b" / "README.md").read_text()


def test_finished_folder_loses_what_a_killed_run_left(tmp_path):
    out = write(tmp_path / "out")
    (out / ".partial" / "replaced").mkdir(parents=True)
    assert values_of(out) == [1, 2, 3]
    assert DatasetFolder(out, card()).is_done()
    assert not (out / ".partial").exists()
