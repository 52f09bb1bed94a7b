# SPDX-License-Identifier: Apache-2.0
"""What layouts leave to the user: splits nobody asked for, columns that are named, prompts of several messages."""

import json

import pytest
from datasets import Dataset, DatasetDict

from open_r1.configs import GRPOScriptArguments, ScriptArguments, SFTScriptArguments
from open_r1.data.card import DataCard, Parent
from open_r1.data.folder import DatasetFolder
from open_r1.data.layouts import MESSAGES, PROBLEM
from open_r1.data.training_rows import get_dataset, require_split, to_conversations
from tests.rows.layout_items import MATH
from tests.rows.layouts import CASES, THINK, write

GOOD = write(THINK, MATH[0])
SYSTEM = {"role": "system", "content": "Be brief."}


def rows_of(name: str) -> list[dict]:
    return [case.row for case in CASES[name]]


def load(kind: type, path: str, layout: str | None = None, **settings):
    return get_dataset(kind(dataset_name=path, dataset_layout=layout, **settings))


@pytest.fixture
def data(tmp_path):
    """Writes rows to a file; returns its path."""

    def write_rows(rows: list[dict], suffix: str = ".parquet") -> str:
        path = tmp_path / f"rows{suffix}"
        if suffix == ".parquet":
            Dataset.from_list(rows).to_parquet(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write_rows


# Splits


@pytest.fixture
def hidden_answers(tmp_path):
    """A folder with a training split, and a test split without answers."""
    rows = rows_of("problem_answer")
    DatasetDict(
        train=Dataset.from_list(rows), test=Dataset.from_list([row | {"answer": ""} for row in rows])
    ).save_to_disk(tmp_path / "data")
    return str(tmp_path / "data")


@pytest.mark.parametrize("train", ["train", "train[:2]"])
@pytest.mark.parametrize("test", ["test", "none"])
def test_split_without_a_row_that_maps_stops_nobody_who_trains(train, test, hidden_answers, caplog):
    splits = {"dataset_train_split": train, "dataset_test_split": test}
    dataset = load(GRPOScriptArguments, hidden_answers, "problem_answer", **splits)
    assert list(dataset) == [train]
    assert "Split 'test' is left out. The layout 'problem_answer' fits no row" in caplog.text
    with pytest.raises(ValueError, match="'test'"):
        require_split(dataset, "test", "evaluation")


@pytest.mark.parametrize("train", ["test", "test[:2]"])
def test_training_split_without_a_row_that_maps_is_refused(train, hidden_answers):
    with pytest.raises(ValueError, match=r"fits no row of .*'answer' is null or empty: "):
        load(GRPOScriptArguments, hidden_answers, "problem_answer", dataset_train_split=train)


# Columns that the user names


def problems(path: str, layout: str, **settings) -> list[dict]:
    args = GRPOScriptArguments(dataset_name=path, dataset_layout=layout, **settings)
    return to_conversations(get_dataset(args)["train"], args, None).to_list()


def test_solution_column_of_the_user_is_theirs_and_needs_no_other_gold(data):
    rows = [row | {"judge": f"j{number}", "answer": ""} for number, row in enumerate(rows_of("problem_answer"))]
    found = problems(data(rows), "problem_answer", dataset_solution_column="judge")
    assert [row["solution"] for row in found] == ["j0", "j1", "j2"]


def test_prompt_column_of_the_user_is_not_replaced(data, caplog):
    rows = [row | {"problem": f"Mine {number}"} for number, row in enumerate(rows_of("dapo_processed"))]
    found = problems(data(rows), "dapo_processed", dataset_prompt_column="problem")
    assert [row["prompt"][0]["content"] for row in found] == ["Mine 0", "Mine 1", "Mine 2"]
    assert [row["solution"] for row in found] == [case.item.gold for case in CASES["dapo_processed"]]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_published_turns_with_other_keys_are_loaded(suffix, data):
    case = CASES["openr1_math"][0]
    row = case.row | {"messages": [turn | {"info": None, "name": "x"} for turn in case.messages]}
    assert load(SFTScriptArguments, data([row], suffix), "openr1_math")["train"][MESSAGES][:] == [case.messages]


@pytest.mark.parametrize(
    ("layout", "columns"),
    [
        ("primeintellect_code", {"verification_info": "{'language': 'python', 'test_cases': []}"}),
        ("primeintellect_code", {"verification_info": "garbage"}),
        ("open_r1_code", {"verification_info": {"language": "python", "test_cases": []}}),
        ("open_r1_code", {"verification_info": {"language": None, "test_cases": None}}),
        ("codeforces", {"official_tests": []}),
        ("ioi", {"test_names": []}),
    ],
)
def test_programs_whose_tests_are_empty_are_dropped_and_counted(layout, columns, data, caplog):
    path = data([*rows_of(layout), rows_of(layout)[0] | columns])
    assert len(load(GRPOScriptArguments, path, layout)["train"]) == 3
    assert f"1 '{next(iter(columns))}' holds no tests" in caplog.text


@pytest.mark.parametrize("column", ["prompt", "problem"])
def test_folder_of_generations_for_chats_keeps_all_turns_for_grpo(column, tmp_path):
    prompts = [
        [SYSTEM, {"role": "user", "content": "1+1?"}],
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "2?"},
        ],
        [{"role": "user", "content": "3?"}],
    ]
    rows = [
        {column: prompt, "solution": "2", "generations": [GOOD], "finish_reasons": ["stop"], "api_metadata": [None]}
        for prompt in prompts
    ]
    card = DataCard(name="made", settings={"prompt_column": column}, parents=[Parent("nobody/nothing")])
    with DatasetFolder(tmp_path / "made", card) as folder:
        folder.write(rows)
    args = GRPOScriptArguments(dataset_name=str(tmp_path / "made"))
    mapped = get_dataset(args)["train"]
    assert to_conversations(mapped, args, None)["prompt"][:] == prompts
    assert mapped[PROBLEM][:] == ["1+1?", "2?", "3?"]
    conversations = load(SFTScriptArguments, str(tmp_path / "made"))["train"][MESSAGES][:]
    assert [turns[:-1] for turns in conversations] == prompts


def test_arguments_without_a_target_map_both(data):
    found = load(ScriptArguments, data(rows_of("openr1_math")), "openr1_math")["train"]
    assert {MESSAGES, PROBLEM} <= set(found.column_names)
