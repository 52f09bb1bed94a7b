# SPDX-License-Identifier: Apache-2.0
"""Sources: batches, slices, columns and fingerprints of parquet files and of what `datasets` reads."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.data.sources import open_source

NUMBERS = list(range(10))


@pytest.fixture
def parquet(tmp_path) -> Path:
    """Ten rows in four row groups."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"n": NUMBERS, "text": [f"row {n}" for n in NUMBERS]}), path, row_group_size=3)
    return path


def numbers(source, **options):
    return [row["n"] for row in source.rows(["n"], **options)]


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train", NUMBERS),
        ("train[:3]", NUMBERS[:3]),
        ("train[3:]", NUMBERS[3:]),
        ("train[2:7]", NUMBERS[2:7]),
        ("train[-2:]", NUMBERS[-2:]),
        ("train[:-8]", NUMBERS[:2]),
        ("train[10%:50%]", NUMBERS[1:5]),
        ("train[-10%:]", NUMBERS[9:]),
        ("train[:1000]", NUMBERS),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "json", "arrow"])
def test_slice_of_every_kind_of_file(parquet, tmp_path, split, wanted, suffix):
    path = tmp_path / f"copy.{suffix}"
    rows = pq.read_table(parquet).to_pylist()
    if suffix == "parquet":
        path = parquet
    elif suffix == "csv":
        path.write_text("n,text\n" + "".join(f"{row['n']},{row['text']}\n" for row in rows))
    elif suffix == "arrow":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pq.read_schema(parquet)) as writer:
            writer.write_table(pq.read_table(parquet))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_source(str(path), split=split)
    assert source.num_rows == len(wanted)
    assert source.num_rows_in_split == 10
    assert numbers(source) == wanted
    assert numbers(source, start=1, end=3) == wanted[1:3]


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (0, 0), (3, 3), (2, 9), (4, 3), (9, 100), (10, None), (50, 60), (0, 3), (3, 6)]
)
@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_bounds_count_in_the_slice(parquet, start, end, batch_rows):
    source = open_source(str(parquet), split="train[1:9]")
    batches = list(source.batches(start=start, end=end, batch_rows=batch_rows))
    assert all(0 < batch.num_rows <= batch_rows for batch in batches)
    assert [n for batch in batches for n in batch["n"].to_pylist()] == NUMBERS[1:9][start:end]


@pytest.mark.parametrize("options", [{"start": -1}, {"end": -1}, {"batch_rows": 0}])
def test_impossible_bounds_are_refused(parquet, options):
    with pytest.raises(ValueError, match="bounds are 0 or more"):
        list(open_source(str(parquet)).batches(**options))


def test_columns_come_in_the_order_asked_for(parquet, tmp_path):
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"n": 1, "text": "x"}\n')
    for path in (parquet, lines):
        batch = next(open_source(str(path)).batches(["text", "n"]))
        assert batch.schema.names == ["text", "n"]
        with pytest.raises(ValueError, match=r"\['other'\]"):
            next(open_source(str(path)).batches(["other"]))


def test_column_with_a_dot_is_not_its_neighbour(tmp_path):
    pq.write_table(pa.table({"a": [{"b": 1}], "a.b": [2]}), tmp_path / "dots.parquet")
    source = open_source(str(tmp_path / "dots.parquet"))
    assert list(source.rows(["a"])) == [{"a": {"b": 1}}]
    assert list(source.rows(["a.b"])) == [{"a.b": 2}]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
    ids=str,
)
def test_text_of_every_type_comes_as_text(tmp_path, kind):
    table = pa.table({"t": pa.array(["a", None, "é", "a"], kind)})
    if not pa.types.is_dictionary(kind):
        table = table.append_column("l", pa.array([["x"], None, [], [None]], pa.list_(kind)))
    pq.write_table(table, tmp_path / "text.parquet", row_group_size=2)
    source = open_source(str(tmp_path / "text.parquet"))
    assert source.schema.field("t").type in (pa.string(), pa.large_string())
    assert all(batch.schema == source.schema for batch in source.batches())
    assert [row["t"] for row in source.rows()] == ["a", None, "é", "a"]


def test_nested_values_and_nulls_come_as_they_are(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "é" * 10_000}], "meta": {"a": {"b": [1, None]}}, "n": 2**60 + 1},
        {"messages": [], "meta": None, "n": None},
        {"messages": None, "meta": {"a": None}, "n": -1},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "nested.parquet", row_group_size=1)
    assert list(open_source(str(tmp_path / "nested.parquet")).rows()) == rows


def test_large_row_groups_come_in_small_batches(tmp_path):
    pq.write_table(pa.table({"n": range(100_000)}), tmp_path / "large.parquet")
    batches = list(open_source(str(tmp_path / "large.parquet")).batches(batch_rows=1000, start=50_500))
    assert {batch.num_rows for batch in batches} <= {500, 1000}
    assert batches[0]["n"][0].as_py() == 50_500


@pytest.mark.parametrize(
    ("name", "split", "config", "reason"),
    [
        ("rows.parquet", "test", None, "its only split is 'train'"),
        ("rows.parquet", "train", "math", "without configurations"),
        ("rows.parquet", "train[", None, "is no slice of a split"),
        ("rows.parquet", "train[1:2:3]", None, "is no slice of a split"),
        ("rows.parquet", "train[5:5]", None, "has no rows in"),
        ("missing.parquet", "train", None, "there is no such file"),
        ("broken.parquet", "train", None, "Cannot read"),
        ("empty.parquet", "train", None, "Cannot read"),
        ("no_rows.parquet", "train", None, "has no rows in"),
        ("text.txt", "train", None, "unknown file type"),
        ("tasks/nothing", "train", None, "nothing"),
    ],
)
def test_source_that_cannot_be_read_is_refused(parquet, monkeypatch, name, split, config, reason):
    folder = parquet.parent
    (folder / "broken.parquet").write_bytes(parquet.read_bytes()[:-50])
    (folder / "empty.parquet").touch()
    (folder / "text.txt").write_text("text")
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), folder / "no_rows.parquet")
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=reason):
        open_source(name, split=split, config=config)


def test_damage_inside_a_file_is_told_with_its_name(tmp_path):
    path = tmp_path / "damaged.parquet"
    pq.write_table(pa.table({"t": [str(n) * 50 for n in range(1000)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xff" * 3900
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read .*damaged\.parquet"):
        list(open_source(str(path)).rows())


def test_fingerprint_is_of_the_contents_not_of_the_place(parquet, tmp_path):
    (tmp_path / "elsewhere [1]").mkdir()
    moved = Path(shutil.copy(parquet, tmp_path / "elsewhere [1]" / "renamed.parquet"))
    original = open_source(str(parquet)).fingerprint()
    assert open_source(str(moved)).fingerprint() == original
    assert open_source(str(parquet), split="train[:10]").fingerprint() == original
    others = [
        open_source(str(parquet), split=split).fingerprint() for split in ("train[:9]", "train[1:]", "train[:1]")
    ]
    assert len({original, *others}) == 4
    pq.write_table(pa.table({"n": NUMBERS[::-1]}), moved)
    assert open_source(str(moved)).fingerprint() != original


def test_parent_names_the_source_and_its_rows(parquet):
    parent = open_source(str(parquet), split="train[:4]").parent()
    assert (parent.name, parent.split, parent.num_rows, parent.licence) == (str(parquet), "train[:4]", 4, None)
    assert parent.identity() == [parent.fingerprint]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ('{"n": 1}\n{"n": "x"}\n', ["1", "x"]),
        ('[{"n": 1}, {"n": 2}]', [1, 2]),
        ('[\n {"n": 1},\n {"n": 2}\n]\n', [1, 2]),
        ('{"n": 1}', [1]),
    ],
)
def test_json_file_may_hold_lines_or_one_list(tmp_path, content, values):
    (tmp_path / "rows.json").write_text(content)
    source = open_source(str(tmp_path / "rows.json"))
    assert numbers(source) == values
    assert source.fingerprint() == open_source(str(tmp_path / "rows.json")).fingerprint()


def test_folders_saved_by_datasets_are_sources(tmp_path):
    import datasets  # a second, which the other tests here do without

    rows = datasets.Dataset.from_dict({"n": NUMBERS})
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows.select([3])}).save_to_disk(str(tmp_path / "two"))
    assert numbers(open_source(str(tmp_path / "one"), split="train[2:4]")) == [2, 3]
    assert numbers(open_source(str(tmp_path / "two"), split="test")) == [3]
    assert open_source(str(tmp_path / "one")).fingerprint() == open_source(str(tmp_path / "two")).fingerprint()
    with pytest.raises(ValueError, match="has no split 'dev'"):
        open_source(str(tmp_path / "two"), split="dev")


def test_task_is_a_source():
    small = "3,num_train=50,num_test=10"
    source = open_source("tasks/countdown", config=small, split="train[:5]", seed=3)
    again = open_source("tasks/countdown", config=small, split="train[:5]", seed=3)
    other = open_source("tasks/countdown", config=small, split="train[:5]", seed=4)
    assert source.fingerprint() == again.fingerprint() != other.fingerprint()
    assert len(list(source.rows(["problem"], start=2))) == 3


def test_folder_of_files_declares_its_licence(parquet, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(parquet, folder / "train.parquet")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Rows\n")
    assert open_source(str(folder)).parent().licence == "apache-2.0"
