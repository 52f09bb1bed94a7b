# SPDX-License-Identifier: Apache-2.0
"""Where rows come from: files, folders, tasks and the hub; whole, sliced, and damaged."""

import csv
import gzip
import json
import os
import socket
import time

import pytest
from datasets import Dataset, DatasetDict

from open_r1.configs import ScriptArguments
from open_r1.data.loading import load_source, require_columns, take_split
from open_r1.data.training_rows import get_dataset, require_split
from open_r1.tasks import list_tasks, load_task

ROWS = [{"problem": "1+1", "solution": "2"}, {"problem": "2+2", "solution": "4"}]


def write_rows(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix.lower() == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.fixture
def numbers():
    return DatasetDict({"train": Dataset.from_list([{"number": number} for number in range(10)])})


@pytest.fixture
def unprivileged():
    """Run the test as a user to whom file permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.parametrize(
    "name",
    ["a.json", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "A.JSONL", "with space/f o.jsonl", "ä/ö.jsonl", "a[1].jsonl",
     "a*.jsonl", "a{b}.jsonl", "a?.jsonl", "a#b%20.jsonl", "-a.jsonl", ".hidden.jsonl"],
)  # fmt: skip
def test_rows_of_a_file(name, tmp_path):
    # What a name with a wildcard in it must not match.
    write_rows(tmp_path / "ab.jsonl", [{"problem": "another file"}])
    strings = [{"problem": "1+1", "solution": "two"}, {"problem": "2+2", "solution": "four"}]
    loaded = load_source(str(write_rows(tmp_path / name, strings)))
    assert {split: rows[:] for split, rows in loaded.items()} == {
        "train": {"problem": ["1+1", "2+2"], "solution": ["two", "four"]}
    }


def test_relative_path_and_home_are_found(tmp_path, monkeypatch):
    write_rows(tmp_path / "data" / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("data/a.jsonl", "./data/a.jsonl", "~/data/a.jsonl"):
        assert len(load_source(name)["train"]) == 2


def test_second_load_gives_the_same_rows(tmp_path):
    path = write_rows(tmp_path / "a.jsonl")
    assert load_source(str(path))["train"][:] == load_source(str(path))["train"][:]


def test_changed_file_of_the_same_size_is_read_again(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"problem": "old"}])
    assert load_source(str(path))["train"]["problem"][:] == ["old"]
    write_rows(path, [{"problem": "new"}])
    assert load_source(str(path))["train"]["problem"][:] == ["new"]


@pytest.mark.parametrize("folder", ["data", "with space", "ä"])
def test_folder_with_a_file_for_each_split(folder, tmp_path):
    write_rows(tmp_path / folder / "train.jsonl")
    write_rows(tmp_path / folder / "test.jsonl", ROWS[:1])
    loaded = load_source(str(tmp_path / folder))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 2, "test": 1}


def test_folder_with_configurations_loads_the_named_one_and_lists_them_when_none_is_named(tmp_path):
    write_rows(tmp_path / "a.jsonl")
    write_rows(tmp_path / "b.jsonl", ROWS[:1])
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in "ab")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert len(load_source(str(tmp_path), "b")["train"]) == 1
    for config in (None, "c"):
        with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
            load_source(str(tmp_path), config)


def test_folder_saved_by_datasets(tmp_path):
    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    DatasetDict(train=rows, test=rows.select([0])).save_to_disk(tmp_path / "two")
    assert {split: len(part) for split, part in load_source(str(tmp_path / "one")).items()} == {"train": 2}
    assert {split: len(part) for split, part in load_source(str(tmp_path / "two")).items()} == {"train": 2, "test": 1}


# All tasks of reasoning-gym come by the same way; each makes rows in tests/unit/test_tasks_reasoning_gym.py.
@pytest.mark.parametrize("name", [name for name in list_tasks() if "/" not in name] + ["reasoning_gym/chain_sum"])
def test_task_gives_the_rows_of_its_generator(name):
    loaded = load_source(f"tasks/{name}", None, 7)
    assert {split: rows[0] for split, rows in loaded.items()} == {
        split: rows[0] for split, rows in load_task(name, None, 7).items()
    }


@pytest.mark.parametrize(("name", "config"), [("tasks/nope", None), ("tasks/", None), ("tasks/running_sums", "nope")])
def test_unknown_task_is_refused_with_the_known_ones(name, config):
    with pytest.raises(ValueError, match=r"Unknown|running_sums"):
        load_source(name, config)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b"\n\n", "no rows"),
        ("a.json", b"[]", "no rows"),
        ("a.csv", b"problem,solution\n", "no rows"),
        ("a.jsonl", b'{"a": 1}\n{"a":\n', "line 2"),
        ("a.jsonl", b"\x93\x8c\x00\xff" * 100, "line 1"),
        ("a.parquet", b"\x93\x8c\x00\xff" * 100, "(?i)parquet"),
        ("a.csv", b"\x93\x8c\x00\xff" * 100, "utf-8"),
        ("a.csv", "problem\näöü\n".encode("latin-1"), "utf-8"),
        ("a.csv", "problem\na\n".encode("utf-16"), "utf-8"),
        ("a.csv", b"a,b\n1,2,3,4\n", "more fields than the header"),
        ("a.jsonl", b'{"a":' + b"[" * 1500 + b"]" * 1500 + b"}\n", "line 1"),
        ("a.txt", b"text", r"unknown file type '.txt'; known are \['.arrow', '.csv', '.json'"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n', mtime=0), "unknown file type '.gz'"),
        ("a", b"text", "unknown file type ''"),
    ],
    ids=lambda value: repr(value)[:25],
)
def test_file_that_cannot_be_read_is_refused_by_name(name, content, reason, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        load_source(str(path))
    assert f"Cannot load the data set {str(path)!r}" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "dataset_dict.json").write_text("[]"),
        lambda folder: (folder / "dataset_dict.json").write_text("{"),
        lambda folder: (folder / "dataset_dict.json").write_text('{"splits": ["train", "gone"]}'),
        lambda folder: (folder / "train" / "state.json").write_text("{}"),
        lambda folder: next((folder / "train").glob("*.arrow")).write_bytes(b"xx"),
        lambda folder: next((folder / "train").glob("*.arrow")).unlink(),
    ],
)
def test_damaged_folder_of_datasets_is_refused(damage, tmp_path):
    DatasetDict(train=Dataset.from_list(ROWS)).save_to_disk(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(ValueError, match="Cannot load the data set"):
        load_source(str(tmp_path / "data"))


@pytest.mark.parametrize("files", [{}, {"train.jsonl": ""}, {"weights.bin": "x"}])
def test_folder_without_rows_is_refused(files, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match="Cannot load the data set"):
        load_source(str(tmp_path))


def test_file_without_permission_is_refused(tmp_path, unprivileged):
    path = tmp_path / "a.jsonl"  # pytest's folders belong to the user who started it alone
    if os.geteuid() != 65534:
        path.write_text("{}")
        path.chmod(0)
    with pytest.raises(ValueError, match=r"(?i)permission denied"):
        load_source(str(path))


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "/does/not/exist", "./missing", "../missing", "~/missing", "a/b.csv"]
)
def test_missing_local_file_is_no_name_on_the_hub(name):
    with pytest.raises(ValueError, match="no such file"):
        load_source(name)


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing", "a/b/c", "no\0thing", "spaces in it"])
def test_hub_data_without_network_is_refused_at_once_with_the_way_out(name, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits, to try again"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asks the network"))
    with pytest.raises(
        ValueError, match=r"Offline, name a local json/jsonl/csv/parquet file, a folder, or tasks/<name>"
    ):
        load_source(name)


@pytest.mark.parametrize(
    ("split", "numbers_of_split"),
    [
        ("train", list(range(10))),
        ("train[:3]", [0, 1, 2]),
        ("train[7:]", [7, 8, 9]),
        ("train[2:4]", [2, 3]),
        ("train[:]", list(range(10))),
        ("train[-3:]", [7, 8, 9]),
        ("train[:-8]", [0, 1]),
        ("train[10%:30%]", [1, 2]),
        ("train[:14%]", [0]),
        ("train[-20%:]", [8, 9]),
        ("train[:99]", list(range(10))),
        ("train[:150%]", list(range(10))),
        ("train[8:2]", []),
        ("train[50:]", []),
        ("train[:0]", []),
    ],
)
def test_slice(split, numbers_of_split, numbers):
    assert take_split(numbers, split, "numbers")["number"][:] == numbers_of_split


@pytest.mark.parametrize(
    "split", ["train[", "train[5]", "train[a:b]", "train[1:2:3]", "train[%:]", "[:3]", "train[:3]+train[5:]"]
)
def test_malformed_slice_is_refused_with_the_right_form(split, numbers):
    with pytest.raises(ValueError, match=r"write train\[:100\]"):
        take_split(numbers, split, "numbers")


@pytest.mark.parametrize("split", ["tset", "Train", "", "tset[:3]"])
def test_unknown_split_is_refused_with_the_known_ones(split, numbers):
    with pytest.raises(ValueError, match=r"\['train'\]"):
        take_split(numbers, split, "numbers")


def test_slices_of_the_arguments_become_splits(tmp_path):
    path = write_rows(tmp_path / "a.jsonl")
    args = ScriptArguments(dataset_name=str(path), dataset_train_split="train[:1]", dataset_test_split="train[1:]")
    dataset = get_dataset(args)
    assert dataset["train[:1]"]["problem"][:] == ["1+1"]
    assert dataset["train[1:]"]["problem"][:] == ["2+2"]


def test_missing_columns_are_named_with_those_found(numbers):
    require_columns(numbers["train"], ["number"], "the data")
    with pytest.raises(ValueError, match=r"\['problem'\]"):
        require_columns(numbers["train"], ["problem", "number"], "the data")


def test_split_that_is_missing_or_empty_is_refused(numbers):
    numbers["empty"] = numbers["train"].select([])
    assert len(require_split(numbers, "train", "training")) == 10
    with pytest.raises(ValueError, match=r"\['empty', 'train'\]"):
        require_split(numbers, "test", "evaluation")
    with pytest.raises(ValueError, match="'empty' for training"):
        require_split(numbers, "empty", "training")
