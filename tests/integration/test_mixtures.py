# SPDX-License-Identifier: Apache-2.0
"""Mixtures: how much of each data set, in which order, with which columns."""

import json
import logging

import pytest
from datasets import Dataset

from open_r1.configs import GRPOScriptArguments, ScriptArguments, SFTScriptArguments
from open_r1.data.card import DataCard
from open_r1.data.folder import DatasetFolder
from open_r1.data.training_rows import get_dataset
from tests.integration.tiny import addition_rows, build_tiny, write_rows
from tests.rows.layouts import CASES


@pytest.fixture
def source(tmp_path):
    """Writes a data set of numbered rows; returns its path."""

    def write(name: str, num_rows: int, **columns) -> str:
        path = tmp_path / f"{name}.parquet"
        Dataset.from_list([{"text": f"{name}{row}", **columns} for row in range(num_rows)]).to_parquet(path)
        return str(path)

    return write


@pytest.fixture
def laid_out(tmp_path):
    """Writes the three rows of a layout; returns their path."""

    def write(name: str) -> str:
        path = tmp_path / f"{name}.parquet"
        Dataset.from_list([case.row for case in CASES[name]]).to_parquet(path)
        return str(path)

    return write


def mix(*datasets, kind=ScriptArguments, **settings):
    return get_dataset(kind(dataset_mixture={"datasets": list(datasets), **settings}))


def texts(dataset, split="train"):
    return dataset[split]["text"][:]


@pytest.mark.parametrize(
    ("weight", "num_rows"),
    [(1.0, 100), (1, 100), (0.5, 50), (0.29, 29), (0.57, 57), (0.58, 58), (0.999, 99), (0.011, 1), (None, 100)],
)
def test_weight_is_the_share_of_its_own_data_set(source, weight, num_rows):
    found = texts(mix({"id": source("a", 100), "weight": weight}, {"id": source("b", 10)}))
    assert sum(text.startswith("a") for text in found) == num_rows
    assert sum(text.startswith("b") for text in found) == 10
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("share", "num_rows"), [({"fraction": 0.25}, 25), ({"num_rows": 7}, 7), ({"num_rows": 100}, 100)]
)
def test_fraction_and_number_of_rows_are_drawn_like_a_weight(source, share, num_rows, caplog):
    path = source("a", 100)
    with caplog.at_level(logging.INFO, logger="open_r1"):
        found = texts(mix({"id": path, **share}, {"id": source("b", 10)}, seed=3))
    expected = Dataset.from_parquet(path).shuffle(seed=3).select(range(num_rows))["text"][:]
    assert {text for text in found if text.startswith("a")} == set(expected)
    table = [line.split() for line in caplog.text.splitlines() if "(train)" in line]
    assert [line[:3] for line in table] == [
        ["100", str(num_rows), path],
        ["10", "10", path.replace("a.parquet", "b.parquet")],
    ]
    assert table[0][4:] == ([str(100 - num_rows), "not", "drawn"] if num_rows < 100 else [])


@pytest.mark.parametrize(
    ("share", "named"),
    [
        ({"weight": 0.5, "num_rows": 3}, "weight"),
        ({"fraction": 1.5}, "weight"),
        ({"weight": 0.5, "fraction": 0.5}, "fraction"),
        ({"num_rows": 0}, "num_rows"),
        ({"num_rows": 2.0}, "num_rows"),
        ({"num_rows": 101}, "num_rows"),
    ],
)
def test_share_that_cannot_be_is_refused(source, share, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        mix({"id": source("a", 100), **share})


def test_share_is_drawn_after_a_seeded_shuffle_of_its_own_data_set(source):
    path = source("a", 100)
    expected = Dataset.from_parquet(path).shuffle(seed=3).select(range(30))["text"][:]
    assert set(texts(mix({"id": path, "weight": 0.3}, seed=3))) == set(expected)
    assert set(expected) != {f"a{row}" for row in range(30)}
    # What else is in the mixture changes nothing.
    together = texts(mix({"id": source("b", 7)}, {"id": path, "weight": 0.3}, seed=3))
    assert {text for text in together if text.startswith("a")} == set(expected)


def test_data_sets_are_shuffled_into_each_other(source):
    found = texts(mix({"id": source("a", 50)}, {"id": source("b", 50)}))
    assert 10 < sum(text.startswith("a") for text in found[:50]) < 40


def test_split_and_slice_of_an_entry(source):
    found = texts(mix({"id": source("a", 100), "split": "train[:10]", "weight": None}))
    assert set(found) == {f"a{row}" for row in range(10)}


def test_weight_applies_to_the_slice(source):
    found = texts(mix({"id": source("a", 100), "split": "train[:10]", "weight": 0.5}))
    assert len(found) == 5
    assert set(found) <= {f"a{row}" for row in range(10)}


def test_test_split_is_disjoint_and_of_the_asked_size(source):
    dataset = mix({"id": source("a", 60)}, {"id": source("b", 40)}, test_split_size=0.1, seed=5)
    assert (len(dataset["train"]), len(dataset["test"])) == (90, 10)
    assert not set(texts(dataset)) & set(texts(dataset, "test"))
    again = mix({"id": source("a", 60)}, {"id": source("b", 40)}, test_split_size=0.1, seed=5)
    assert texts(dataset, "test") == texts(again, "test")


def test_only_the_named_columns_are_kept(source):
    dataset = mix({"id": source("a", 5, extra=1), "columns": ["text"]}, {"id": source("b", 5), "columns": ["text"]})
    assert dataset["train"].column_names == ["text"]


def test_missing_column_is_refused_with_those_found(source):
    with pytest.raises(ValueError, match=r"\['prompt'\]"):
        mix({"id": source("a", 5), "columns": ["prompt"]})


def test_columns_that_one_data_set_lacks_are_null_in_its_rows(source, caplog):
    with caplog.at_level(logging.INFO, logger="open_r1"):
        dataset = mix({"id": source("a", 2, extra="x")}, {"id": source("b", 2)})
    assert sorted(dataset["train"]["extra"][:], key=str) == [None, None, "x", "x"]
    told = [record for record in caplog.records if "extra" in record.message]
    assert [(record.levelname, "b.parquet" in record.message) for record in told] == [("INFO", True)]


def test_every_data_set_may_name_columns_of_its_own(source):
    first = {"id": source("a", 1, extra="x"), "columns": ["text", "extra"]}
    second = {"id": source("b", 1, other=3), "columns": ["text", "other"]}
    rows = sorted(mix(first, second)["train"].to_list(), key=lambda row: row["text"])
    assert rows == [{"text": "a0", "extra": "x", "other": None}, {"text": "b0", "extra": None, "other": 3}]


def test_domain_of_an_entry_is_the_domain_of_its_rows(source):
    math, plain = {"id": source("a", 2), "domain": "math"}, {"id": source("b", 1)}
    assert {row["text"]: row["domain"] for row in mix(math, plain)["train"]} == {
        "a0": "math",
        "a1": "math",
        "b0": None,
    }


@pytest.mark.parametrize("found", ["math", None])
def test_domain_may_repeat_or_fill_the_column_of_the_data(source, found):
    assert mix({"id": source("a", 2, domain=found), "domain": "math"})["train"]["domain"][:] == ["math"] * 2


def test_domain_that_contradicts_the_column_of_the_data_is_refused(source):
    entry = {"id": source("a", 2, domain="chat"), "domain": "math"}
    with pytest.raises(ValueError, match="domain: math"):
        mix(entry)
    assert mix({**entry, "columns": ["text"]})["train"]["domain"][:] == ["math"] * 2


def test_columns_of_different_types_are_refused(source):
    with pytest.raises(ValueError, match="do not fit together"):
        mix({"id": source("a", 2, extra="x")}, {"id": source("b", 2, extra=[{"role": "user"}])})


@pytest.mark.parametrize("entry", [{"weight": 0.01}, {"split": "train[:0]"}, {"split": "train[50:]"}])
def test_entry_that_gives_no_row_is_refused(source, entry):
    with pytest.raises(ValueError, match="takes no row of"):
        mix({"id": source("a", 50), **entry}, {"id": source("b", 50)})


def test_every_data_set_has_a_layout_of_its_own(laid_out):
    names = ("thought_turns", "s1k_1.1", "limo", "codeforces_cots")
    entries = [{"id": laid_out(name), "layout": name, "columns": ["messages"]} for name in names]
    rows = mix(*entries, kind=SFTScriptArguments)["train"]["messages"][:]
    expected = [case.messages for name in names for case in CASES[name]]
    assert sorted(rows, key=str) == sorted(expected, key=str)


def test_problems_of_several_layouts_come_together(laid_out):
    names = ("dapo", "simplerl", "numina_1.5")
    entries = [
        {"id": laid_out(name), "layout": name, "columns": ["problem", "solution"], "domain": name} for name in names
    ]
    rows = mix(*entries, kind=GRPOScriptArguments)["train"]
    assert {(row["domain"], row["problem"], row["solution"]) for row in rows} == {
        (name, case.item.question, case.item.gold) for name in names for case in CASES[name]
    }


def test_layout_weight_and_slice_of_an_entry_go_together(laid_out):
    entry = {"id": laid_out("s1k_1.1"), "layout": "s1k_1.1", "split": "train[:2]", "weight": 0.5}
    rows = mix(entry, kind=SFTScriptArguments)["train"]
    assert len(rows) == 1
    assert rows["messages"][0] in [case.messages for case in CASES["s1k_1.1"][:2]]


def test_layout_none_leaves_an_entry_as_it_is(laid_out):
    entry = {"id": laid_out("dapo_processed"), "layout": "none"}
    assert mix(entry)["train"].column_names == ["prompt", "solution", "data_source"]


def test_unknown_layout_of_an_entry_is_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="'medical' of data set 'b'"):
        mix({"id": "nobody/nothing"}, {"id": "b", "layout": "medical"})


def test_layout_that_does_not_fit_an_entry_is_refused_by_name(laid_out, source):
    with pytest.raises(ValueError, match=r"'s1k'.*thinking_trajectories"):
        mix({"id": source("b", 2), "layout": "s1k"})


def test_columns_of_one_layout_are_null_in_rows_of_another(laid_out):
    entries = [{"id": laid_out(name), "layout": name} for name in ("dapo", "countdown")]
    rows = mix(*entries, kind=GRPOScriptArguments)["train"]
    assert {row["target"] for row in rows} == {None, *(case.row["target"] for case in CASES["countdown"])}


def test_folder_of_ours_is_part_of_a_mixture(source, tmp_path):
    with DatasetFolder(tmp_path / "ours", DataCard(name="ours", settings={})) as folder:
        folder.write([{"text": f"o{number}"} for number in range(4)])
    found = texts(mix({"id": source("a", 3)}, {"id": str(tmp_path / "ours"), "weight": 0.5}))
    assert sorted(text[0] for text in found) == ["a"] * 3 + ["o"] * 2


@pytest.mark.parametrize("test_split_size", [0.001, 0.999])
def test_test_split_that_leaves_one_side_empty_is_refused(source, test_split_size):
    with pytest.raises(ValueError, match="empty"):
        mix({"id": source("a", 1)}, test_split_size=test_split_size)


def test_check_only_counts_rows_found_taken_and_dropped(tmp_path, caplog):
    tiny = build_tiny(tmp_path / "tiny")
    first, second = (str(write_rows(tmp_path / name / "train.jsonl", addition_rows(8)).parent) for name in "ab")
    mixture = {"datasets": [{"id": first, "num_rows": 3}, {"id": second}], "test_split_size": 0.2}
    (tmp_path / "recipe.yaml").write_text(json.dumps({"dataset_mixture": mixture}))
    tiny.train("grpo", tmp_path / "out", config=tmp_path / "recipe.yaml", dataset_name=None, check_only=True)
    table = [line.split() for line in caplog.text.splitlines() if "(train)" in line]
    assert table == [
        ["8", "3", first, "(train)", "5", "not", "drawn"],
        ["8", "8", second, "(train)"],
    ]
    assert not (tmp_path / "out" / "trainer_state.json").exists()
