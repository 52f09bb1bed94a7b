# SPDX-License-Identifier: Apache-2.0
"""Rows laid out as in public math data sets, loaded and converted as for training, keep a gold that can be judged."""

import json

import pytest

from open_r1.configs import ScriptArguments
from open_r1.data.training_rows import drop_null_rows, load_source, to_conversations
from open_r1.rewards.verifier import Verdict, verify_all
from tests.unit.gold_layouts import LAYOUTS, NO_GOLDS, Layout


def load(layout: Layout, rows: list[dict[str, str]], folder):
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    args = ScriptArguments(
        dataset_name=str(file),
        dataset_prompt_column=layout.prompt_column,
        dataset_solution_column=layout.gold_column,
    )
    dataset = drop_null_rows(load_source(str(file))["train"], [layout.prompt_column, layout.gold_column], "train")
    return to_conversations(dataset, args, "Put the answer in a box.")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name.replace(" ", "-"))
def test_converted_gold_is_judged(layout: Layout, tmp_path):
    rows = load(layout, layout.columns(), tmp_path)
    assert [row["prompt"][-1]["content"] for row in rows] == [row.problem for row in layout.rows]
    golds = list(rows["solution"])
    right = verify_all(golds, [rf"<think>\n</think>\boxed{{{row.right}}}" for row in layout.rows])
    wrong = verify_all(golds, [rf"<think>\n</think>\boxed{{{row.wrong}}}" for row in layout.rows])
    assert right == [Verdict.RIGHT] * len(golds)
    assert wrong == [Verdict.WRONG] * len(golds)


def test_rows_without_a_gold_are_dropped_or_not_judged(tmp_path):
    layout = LAYOUTS[0]
    rows = load(layout, [*layout.columns(), *({"problem": "1+1", "answer": gold} for gold in NO_GOLDS)], tmp_path)
    golds = list(rows["solution"])[len(layout.rows) :]
    assert golds == ["$$", r"\boxed{}"]
    assert verify_all(golds, [r"\boxed{2}"] * 2) == [Verdict.UNVERIFIABLE] * 2
