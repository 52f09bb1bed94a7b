# SPDX-License-Identifier: Apache-2.0
"""Mixtures of data sets whose columns have the same name and other types."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.data.training_rows import get_dataset
from tests.rows.layouts import CASES


@pytest.fixture
def part(tmp_path):
    """Writes rows, those of a layout by default; returns their path."""

    def write(name: str, rows: list[dict] | None = None) -> str:
        path = tmp_path / name
        path.mkdir(parents=True)
        Dataset.from_list(rows or [case.row for case in CASES[name]]).to_parquet(path / "train.parquet")
        return str(path)

    return write


def mix(kind: type, *datasets: dict, **settings):
    args = kind(dataset_mixture={"datasets": list(datasets)}, **settings)
    return args, get_dataset(args)["train"]


@pytest.mark.parametrize("layout", ["messages", None])
@pytest.mark.parametrize("is_first", [True, False])
def test_mapped_messages_are_mixed_with_those_of_other_keys(is_first, layout, part):
    rows = [{"messages": [turn | {"name": "x"} for turn in case.messages]} for case in CASES["messages"]]
    entries = [
        {"id": part("own", rows), "layout": layout, "columns": ["messages"]},
        {"id": part("s1k_1.1"), "layout": "s1k_1.1", "columns": ["messages"]},
    ]
    found = mix(SFTScriptArguments, *(entries if is_first else entries[::-1]))[1]["messages"][:]
    expected = [row["messages"] for row in rows]
    expected += [[turn | {"name": None} for turn in case.messages] for case in CASES["s1k_1.1"]]
    assert sorted(found, key=str) == sorted(
        [[{key: turn[key] for key in found[0][0]} for turn in turns] for turns in expected], key=str
    )


def test_messages_of_large_types_are_mixed(part, tmp_path):
    text = pa.large_string()
    kind = pa.large_list(pa.struct([("role", text), ("content", text)]))
    (tmp_path / "large").mkdir()
    messages = [case.messages for case in CASES["messages"]]
    pq.write_table(pa.table({"messages": pa.array(messages, type=kind)}), tmp_path / "large" / "train.parquet")
    entries = [
        {"id": part("s1k_1.1"), "layout": "s1k_1.1", "columns": ["messages"]},
        {"id": str(tmp_path / "large"), "columns": ["messages"]},
    ]
    found = mix(SFTScriptArguments, *entries)[1]["messages"][:]
    expected = [*messages, *(case.messages for case in CASES["s1k_1.1"])]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_whole_numbers_beside_answers_in_text_become_text(part):
    own = part("own", [{"prompt": "What is 1+1?", "solution": 2}])
    columns = ["prompt", "solution"]
    entries = [{"id": own, "columns": columns}, {"id": part("dapo"), "layout": "dapo", "columns": columns}]
    rows = mix(GRPOScriptArguments, *entries)[1]
    assert sorted(rows["solution"][:]) == sorted(["2", *(case.item.gold for case in CASES["dapo"])])


def test_types_that_differ_are_named_with_a_way_out(part):
    entries = [{"id": part(name), "layout": name} for name in ("simplerl", "countdown")]
    with pytest.raises(ValueError, match=r"target .*string vs int64"):
        mix(GRPOScriptArguments, *entries)
