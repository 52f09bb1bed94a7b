# SPDX-License-Identifier: Apache-2.0
"""Sources: files, folders, tasks and the hub; whole, sliced, damaged."""

import csv
import gzip
import json
import shutil
import socket
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from open_r1.configs import ScriptArguments
from open_r1.data.sources import load_source, open_source, require_columns, take_split
from open_r1.data.training_rows import get_dataset, require_split
from open_r1.tasks import list_tasks, load_task

ROWS = [{"problem": "1+1", "solution": "two"}, {"problem": "2+2", "solution": "four"}]
NUMBERS = list(range(10))


def write_rows(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    match path.suffix.lower():
        case ".json":
            path.write_text(json.dumps(rows))
        case ".jsonl":
            path.write_text(lines)
        case ".gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".arrow":
            table = pa.Table.from_pylist(rows)
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
        case _:
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
                writer.writeheader()
                writer.writerows(rows)
    return path


@pytest.fixture
def numbers(tmp_path) -> Path:
    """Ten rows in four row groups."""
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"n": NUMBERS, "text": [f"row {n}" for n in NUMBERS]}), path, row_group_size=3)
    return path


@pytest.mark.parametrize(
    "name",
    ["a.json", "a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv", "a.parquet", "a.arrow", "A.JSONL", "with space/f o.jsonl",
     "ä/ö.jsonl", "a[1].jsonl", "a*.jsonl", "a{b}.jsonl", "a#b%20.jsonl", "-a.jsonl", ".hidden.jsonl"],
)  # fmt: skip
def test_rows_of_a_file(name, tmp_path):
    # What a name with a wildcard in it must not match.
    write_rows(tmp_path / "ab.jsonl", [{"problem": "another file"}])
    assert list(open_source(write_rows(tmp_path / name)).rows()) == ROWS


def test_relative_path_and_home_are_found(tmp_path, monkeypatch):
    write_rows(tmp_path / "data" / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("data/a.jsonl", "./data/a.jsonl", "~/data/a.jsonl"):
        assert open_source(name).num_rows == 2


def test_changed_file_of_the_same_size_is_read_again(tmp_path):
    for text in ("old", "new"):
        path = write_rows(tmp_path / "a.jsonl", [{"problem": text}])
        assert [row["problem"] for row in open_source(path).rows()] == [text]


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train", NUMBERS),
        ("train[2:7]", NUMBERS[2:7]),
        ("train[-2:]", NUMBERS[-2:]),
        ("train[:-8]", NUMBERS[:2]),
        ("train[10%:50%]", NUMBERS[1:5]),
        ("train[-10%:]", NUMBERS[9:]),
        ("train[:1000]", NUMBERS),
        ("train[:2]+train[8:]", [0, 1, 8, 9]),
    ],
)
def test_slice(numbers, split, wanted):
    source = open_source(numbers, split=split)
    assert [row["n"] for row in source.rows(["n"])] == wanted
    assert [row["n"] for row in source.rows(start=1, end=3)] == wanted[1:3]
    batches = list(source.batches(["text", "n"], batch_rows=2))
    assert [n for batch in batches for n in batch["n"].to_pylist()] == wanted
    assert {tuple(batch.schema.names) for batch in batches} == {("text", "n")}
    assert max(batch.num_rows for batch in batches) <= 2


def test_nested_values_and_nulls_come_as_they_are(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "é" * 10_000}], "meta": {"a": {"b": [1, None]}}, "n": 2**60 + 1},
        {"messages": [], "meta": None, "n": None},
        {"messages": None, "meta": {"a": None}, "n": -1},
    ]
    source = open_source(write_rows(tmp_path / "nested.parquet", rows))
    assert list(source.rows()) == rows
    assert {batch.schema for batch in source.batches()} == {source.schema}


@pytest.mark.parametrize("folder", ["data", "with space", "ä"])
def test_folder_with_a_file_for_each_split(folder, tmp_path):
    write_rows(tmp_path / folder / "train.jsonl")
    write_rows(tmp_path / folder / "test.jsonl", ROWS[:1])
    (tmp_path / folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Rows\n")
    loaded = load_source(str(tmp_path / folder))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 2, "test": 1}
    assert open_source(tmp_path / folder, split="test").parent().licence == "apache-2.0"


def test_folder_with_configurations_loads_the_named_one_and_lists_them_when_none_is_named(tmp_path):
    write_rows(tmp_path / "a.jsonl")
    write_rows(tmp_path / "b.jsonl", ROWS[:1])
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in "ab")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert len(load_source(str(tmp_path), "b")["train"]) == 1
    for config in (None, "c"):
        with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
            load_source(str(tmp_path), config)


def test_folders_saved_by_datasets_are_sources(tmp_path):
    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    DatasetDict(train=rows, test=rows.select([1])).save_to_disk(tmp_path / "two")
    assert list(open_source(tmp_path / "two", split="test").rows()) == ROWS[1:]
    assert open_source(tmp_path / "one").fingerprint() == open_source(tmp_path / "two").fingerprint()


# All tasks of reasoning-gym come by the same way; each makes rows in tests/unit/test_tasks_reasoning_gym.py.
@pytest.mark.parametrize("name", [name for name in list_tasks() if "/" not in name] + ["reasoning_gym/chain_sum"])
def test_task_gives_the_rows_of_its_generator(name):
    config = "num_train=20,num_test=5" if name in ("countdown", "knights_knaves") else None  # half a minute less
    expected = load_task(name, config, 7)
    for split, rows in load_source(f"tasks/{name}", config, 7).items():
        assert rows[0] == expected[split][0]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b"", ""),
        ("a.json", b"[]", ""),
        ("a.csv", b"problem,solution\n", ""),
        ("a.parquet", b"\x93\x8c\x00\xff" * 100, "(?i)parquet"),
        ("a.csv", "problem\näöü\n".encode("latin-1"), "utf-8"),
        ("a.csv", b"a,b\n1,2,3,4\n", "more cells"),
        ("a.txt", b"text", ".jsonl"),
        ("a", b"text", "unknown file type"),
        ("folder/nothing.bin", b"x", ""),
        ("folder/dataset_dict.json", b'{"splits": ["train", "gone"]}', ""),
    ],
    ids=lambda value: repr(value)[:25],
)
def test_damaged_or_unknown_source_is_refused_by_name(name, content, reason, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    source = path.parent if "folder" in name else path
    with pytest.raises(ValueError, match=reason or None) as caught:
        open_source(source)
    assert repr(str(source)) in str(caught.value)


@pytest.mark.parametrize("name", ["missing.jsonl", "/does/not/exist", "../missing", "~/missing", "a/b.csv"])
def test_missing_local_file_is_no_name_on_the_hub(name):
    with pytest.raises(ValueError, match="no such file"):
        open_source(name)


@pytest.mark.parametrize(
    "name", ["nobody/nothing", "nothing", "a/b/c", "no\0thing", "spaces in it", "tasks/nope", "tasks/"]
)
def test_unknown_name_is_refused_without_network(name, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits, to try again"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asks the network"))
    with pytest.raises(ValueError, match="Cannot load the data set"):
        open_source(name)


@pytest.mark.parametrize(
    ("split", "named"),
    [
        *((split, "train") for split in ("train[", "train[5]", "train[a:b]", "[:3]")),
        *((split, r"\['train'\]") for split in ("tset[:3]", "")),
        *((split, "no rows") for split in ("train[8:2]", "train[50:]")),
    ],
)
def test_split_that_cannot_be_taken_is_refused(numbers, split, named):
    with pytest.raises(ValueError, match=named):
        open_source(numbers, split=split)


def test_fingerprint_is_of_the_rows_not_of_the_place(numbers, tmp_path):
    (tmp_path / "elsewhere [1]").mkdir()
    moved = Path(shutil.copy(numbers, tmp_path / "elsewhere [1]" / "renamed.parquet"))
    original = open_source(numbers).fingerprint()
    assert open_source(moved).fingerprint() == open_source(numbers, split="train[:10]").fingerprint() == original
    others = [open_source(numbers, split=split).fingerprint() for split in ("train[:9]", "train[1:]", "train[:1]")]
    others += [
        open_source("tasks/countdown", config="3,num_train=50,num_test=10", seed=seed).fingerprint() for seed in (3, 4)
    ]
    assert len({original, *others}) == 6
    parent = open_source(moved, split="train[:4]").parent()
    assert (parent.name, parent.split, parent.num_rows, parent.licence) == (str(moved), "train[:4]", 4, None)


def test_slices_of_the_arguments_become_splits(tmp_path):
    path = write_rows(tmp_path / "a.jsonl")
    args = ScriptArguments(dataset_name=str(path), dataset_train_split="train[:1]", dataset_test_split="train[1:]")
    dataset = get_dataset(args)
    assert dataset["train[:1]"]["problem"][:] == ["1+1"]
    assert dataset["train[1:]"]["problem"][:] == ["2+2"]


def test_missing_columns_and_splits_are_named_with_those_found(numbers):
    dataset = load_source(str(numbers))
    dataset["empty"] = take_split(dataset, "train[:0]", "numbers")
    require_columns(dataset["train"], ["n"], "the data")
    with pytest.raises(ValueError, match=r"\['problem'\].*\['n', 'text'\]"):
        require_columns(dataset["train"], ["problem", "n"], "the data")
    assert len(require_split(dataset, "train", "training")) == 10
    for split, named in (("test", r"\['empty', 'train'\]"), ("empty", "'empty'")):
        with pytest.raises(ValueError, match=named):
            require_split(dataset, split, "training")
