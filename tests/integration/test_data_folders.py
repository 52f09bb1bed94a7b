# SPDX-License-Identifier: Apache-2.0
"""Folders that our scripts wrote, loaded for training: their layout is that of their parents, or of what was added."""

import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.data.card import DataCard, Parent
from open_r1.data.folder import DatasetFolder
from open_r1.data.layouts import LAYOUTS, MESSAGES
from open_r1.data.sources import open_source
from open_r1.data.training_rows import get_dataset
from tests.rows.layout_items import MATH
from tests.rows.layouts import CASES, chat

OF_SETS = [layout for layout in LAYOUTS if layout.problem is not None and layout.sets]


def rows_of(name: str) -> list[dict]:
    return [case.row for case in CASES[name]]


def load(kind: type, path: str, layout: str | None = None, **settings):
    return get_dataset(kind(dataset_name=path, dataset_layout=layout, **settings))


def publish(path: Path, rows: list[dict], parent: str, **settings) -> str:
    found = open_source(parent).parent() if Path(parent).is_dir() else Parent(parent)
    card = DataCard(name=path.name, settings=settings, parents=[found])
    with DatasetFolder(path, card) as folder:
        folder.write(rows)
    return str(path)


def test_folder_of_ours_has_the_layout_of_its_parents(tmp_path):
    first = publish(tmp_path / "clean", rows_of("limo"), "GAIR/LIMO")
    second = publish(tmp_path / "cleaner", rows_of("limo"), first)
    third = publish(tmp_path / "cleanest", rows_of("limo"), second)
    shutil.rmtree(first)  # cards tell of parents that are gone
    for folder in (second, third):
        rows = load(SFTScriptArguments, folder)["train"]
        assert rows[MESSAGES][:] == [case.messages for case in CASES["limo"]]
        assert load(GRPOScriptArguments, folder)["train"]["solution"][:] == [case.item.gold for case in CASES["limo"]]


@pytest.mark.parametrize("layout", OF_SETS, ids=lambda layout: layout.name)
def test_rows_that_were_mapped_before_they_were_written_are_not_mapped_again(layout, tmp_path):
    name = layout.name
    Dataset.from_list(rows_of(name)).to_parquet(tmp_path / "rows.parquet")
    mapped = load(GRPOScriptArguments, str(tmp_path / "rows.parquet"), name)["train"].to_list()
    folder = publish(tmp_path / "rates", mapped, layout.sets[0])
    assert load(GRPOScriptArguments, folder)["train"].to_list() == mapped
    again = load(SFTScriptArguments, folder)["train"]
    if MESSAGES in again.column_names and name != "numina_tir":
        assert again[MESSAGES][:] == [case.messages for case in CASES[name]]


def test_folder_of_an_unknown_parent_stays_as_it_is(tmp_path):
    folder = publish(tmp_path / "mine", [{"problem": "1+1", "solution": "2"}], "nobody/nothing")
    assert load(GRPOScriptArguments, folder)["train"].to_list() == [{"problem": "1+1", "solution": "2"}]


def test_generations_of_ours_are_conversations_by_the_column_that_was_asked(tmp_path):
    rows = [row | {"asked": f"Please: {row['problem']}"} for row in rows_of("generations")]
    folder = publish(tmp_path / "made", rows, "nobody/nothing", prompt_column="asked")
    mapped = load(SFTScriptArguments, folder)["train"]
    assert [row[0]["content"] for row in mapped[MESSAGES]] == [row["asked"] for row in rows]
    assert [row[1] for row in mapped[MESSAGES]] == [case.messages[1] for case in CASES["generations"]]


def test_right_completions_of_pass_rates_are_conversations(tmp_path):
    folder = publish(tmp_path / "rates", rows_of("pass_rate"), "nobody/nothing", prompt_column="problem")
    assert load(SFTScriptArguments, folder)["train"][MESSAGES][:] == [case.messages for case in CASES["pass_rate"]]
    assert load(GRPOScriptArguments, folder, dataset_prompt_column="problem")["train"].to_list() == rows_of(
        "pass_rate"
    )


def test_completions_of_pass_rates_do_not_stand_in_for_the_data_themselves(tmp_path):
    rates = {key: value for key, value in rows_of("pass_rate")[0].items() if key.startswith("pass_rate")}
    folder = publish(tmp_path / "rates", [row | rates for row in rows_of("limo")], "x/y")
    assert load(SFTScriptArguments, folder, "limo")["train"][MESSAGES][0] == CASES["limo"][0].messages
    known = next(layout for layout in LAYOUTS if layout.name == "limo").sets[0]
    folder = publish(tmp_path / "known", [row | rates for row in rows_of("limo")], known)
    assert load(SFTScriptArguments, folder)["train"][MESSAGES][0] == CASES["limo"][0].messages


def test_curated_rows_of_ours_stay_as_they_are(tmp_path):
    rows = [{"messages": chat(MATH[0], "<think>\nx\n</think>\n\n5"), "reasoning": "x", "answer": "5"}]
    curated = publish(tmp_path / "curated", rows, "QuixiAI/dolphin-r1", script="curate")
    for folder in (curated, publish(tmp_path / "clean", rows, curated)):
        assert load(SFTScriptArguments, folder)["train"].to_list() == rows
