# SPDX-License-Identifier: Apache-2.0
"""Rows become conversations: prompts, gold answers, null rows and prompts that are too long."""

import logging
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from open_r1.configs import GRPOScriptArguments, ScriptArguments
from open_r1.data.training_rows import build_prompt, drop_long_prompts, drop_null_rows, to_conversations
from open_r1.rewards.rows import prepare_prompts

CHATML = Path(__file__).resolve().parents[2] / "recipes" / "templates" / "chatml.jinja"
USER = {"role": "user", "content": "1+1"}
SYSTEM = {"role": "system", "content": "own"}


def convert(rows, system_prompt=None, prompt="problem", solution="solution"):
    args = ScriptArguments(dataset_name="x", dataset_prompt_column=prompt, dataset_solution_column=solution)
    return to_conversations(Dataset.from_list(rows), args, system_prompt)


@pytest.mark.parametrize(
    ("prompt", "system_prompt", "messages"),
    [
        ("1+1", None, [USER]),
        ("1+1", "think", [{"role": "system", "content": "think"}, USER]),
        ("1+1", "", [{"role": "system", "content": ""}, USER]),  # keeps a template from adding its own
        ([USER], None, [USER]),  # not wrapped twice
        ([USER], "think", [{"role": "system", "content": "think"}, USER]),
        ([SYSTEM, USER], "think", [SYSTEM, USER]),
        ("[{'role': 'user'}]", None, [{"role": "user", "content": "[{'role': 'user'}]"}]),
    ],
)
def test_prompt_becomes_messages(prompt, system_prompt, messages):
    assert build_prompt(prompt, system_prompt) == messages


def test_messages_of_a_row_stay_as_they_were():
    messages = [USER]
    build_prompt(messages, "think")
    assert messages == [USER]


@pytest.mark.parametrize(
    "prompt", [None, 5, [], ["1+1"], [None], {"role": "user", "content": "x"}, [{"content": "x"}]]
)
def test_prompt_of_another_shape_is_refused(prompt):
    with pytest.raises(ValueError, match="list of messages"):
        build_prompt(prompt, "think")


def test_conversation_that_went_through_a_file_is_not_wrapped_twice(tmp_path):
    rows = convert([{"prompt": [USER], "solution": "2"}], "think", prompt="prompt")
    rows.to_parquet(tmp_path / "rows.parquet")
    again = convert(Dataset.from_parquet(str(tmp_path / "rows.parquet")).to_list(), "think", prompt="prompt")
    assert again[0]["prompt"] == [{"role": "system", "content": "think"}, USER]


def test_other_columns_stay_for_the_rewards():
    rows = convert([{"problem": "1+1", "solution": "2", "level": 3, "prompt": "another"}])
    assert rows[0] == {"problem": "1+1", "solution": "2", "level": 3, "prompt": [USER]}


@pytest.mark.parametrize("column", ["answer", "problem"])
def test_solution_column_is_renamed(column):
    rows = convert([{"problem": "1+1", "answer": "2"}], solution=column)
    assert rows[0]["solution"] == {"answer": "2", "problem": "1+1"}[column]
    assert rows[0]["prompt"] == [USER]


def test_named_solution_column_replaces_one_called_solution():
    rows = convert([{"problem": "1+1", "solution": "long text", "answer": "2"}], solution="answer")
    assert (rows[0]["solution"], "answer" in rows.column_names) == ("2", False)


def test_missing_prompt_column_is_refused_with_those_found():
    with pytest.raises(ValueError, match="`dataset_prompt_column`"):
        convert([{"text": "1+1"}])


def test_missing_solution_column_is_refused_when_it_was_named():
    with pytest.raises(ValueError, match="`dataset_solution_column`"):
        convert([{"problem": "1+1", "answer": "2"}], solution="answr")


def test_data_without_a_solution_column_is_left_to_the_rewards():
    assert convert([{"problem": "1+1"}]).column_names == ["problem", "prompt"]


def test_columns_that_trl_passes_to_rewards_itself_are_dropped():
    row = {
        "problem": "1+1",
        "solution": "2",
        "messages": [USER],
        "completions": ["x"],
        "prompts": ["y"],
        "completion": "z",
    }
    assert sorted(convert([row]).column_names) == ["problem", "prompt", "solution"]


def test_messages_may_be_the_prompt_column():
    assert convert([{"messages": [USER], "solution": "2"}], prompt="messages")[0] == {
        "solution": "2",
        "prompt": [USER],
    }


NULL_ROWS = {
    "null": None,
    "empty text": "",
    "white space": " \n\t",
}
NULL_MESSAGES = {
    "null": None,
    "no message": [],
    "null content": [{"role": "user", "content": None}],
    "null content of the answer": [USER, {"role": "assistant", "content": None}],
}


@pytest.mark.parametrize("value", NULL_ROWS.values(), ids=NULL_ROWS)
def test_null_text_is_dropped_with_a_count(value, caplog):
    rows = Dataset.from_list([{"problem": "1+1"}, {"problem": value}, {"problem": "0"}])
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        assert drop_null_rows(rows, ["problem"], "train")["problem"][:] == ["1+1", "0"]
    assert "Dropped 1 of 3 rows of split 'train'" in caplog.text
    assert "(first: row 1, from 0)" in caplog.text


# What is taken out of eight rows (row, column, value), and what is said of the first of those that are dropped.
NAMED_ROWS = {
    "gold": ([(5, "answer", None)], "one of ['answer'] is null or empty (first: row 5,"),
    "gold behind prompts": ([(0, "q", " "), (5, "answer", "")], "one of ['answer'] is null or empty (first: row 5,"),
    "prompt": ([(3, "q", None)], "one of ['q'] is null or empty (first: row 3,"),
}


def named_rows(changes):
    rows = [{"q": f"{row} + {row}", "answer": f"{2 * row}"} for row in range(8)]
    for row, column, value in changes:
        rows[row][column] = value
    columns = {"dataset_prompt_column": "q", "dataset_solution_column": "answer"}
    args = GRPOScriptArguments(dataset_name="x", reward_funcs=["accuracy"], **columns)
    rows = prepare_prompts(DatasetDict(train=Dataset.from_list(rows)), "train", "a test", None, args, "think", None)
    return rows["solution"][:]


@pytest.mark.parametrize(("changes", "said"), NAMED_ROWS.values(), ids=NAMED_ROWS)
def test_dropped_row_is_named_by_its_number_in_the_file_and_the_column_of_the_user(changes, said, caplog):
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        golds = named_rows(changes)
    assert said in caplog.text
    assert golds == [f"{2 * row}" for row in range(8) if row not in {row for row, *_ in changes}]


def test_prompt_of_another_shape_is_refused_with_its_row():
    with pytest.raises(ValueError, match="'q', row 0 "):
        convert([{"q": 7, "solution": "2"}], prompt="q")


@pytest.mark.parametrize("value", NULL_MESSAGES.values(), ids=NULL_MESSAGES)
def test_null_message_is_dropped(value):
    rows = Dataset.from_list([{"messages": [USER]}, {"messages": value}])
    assert drop_null_rows(rows, ["messages"], "train").to_list() == [{"messages": [USER]}]


def test_message_that_calls_a_tool_needs_no_content():
    calls = [{"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]
    assert len(drop_null_rows(Dataset.from_list([{"messages": calls}]), ["messages"], "train")) == 1


@pytest.mark.parametrize("value", [0, 0.0, False, "0", {"a": None}])
def test_value_that_is_false_is_not_null(value):
    assert len(drop_null_rows(Dataset.from_list([{"solution": value}]), ["solution"], "train")) == 1


def test_one_null_of_several_columns_drops_the_row_and_unknown_columns_do_not():
    rows = Dataset.from_list([{"a": "x", "b": None}, {"a": None, "b": "x"}, {"a": "x", "b": "x"}])
    assert len(drop_null_rows(rows, ["a", "b", "c"], "train")) == 1
    assert len(drop_null_rows(rows, ["c"], "train")) == 3


def test_nulls_beyond_the_first_batch_are_found():
    rows = Dataset.from_list([{"a": None if row in (0, 1500, 2099) else "x"} for row in range(2100)])
    assert len(drop_null_rows(rows, ["a"], "train")) == 2097


def test_data_of_nulls_alone_is_refused():
    with pytest.raises(ValueError, match=r"\['a'\]"):
        drop_null_rows(Dataset.from_list([{"a": None}, {"a": ""}]), ["a"], "train")


@pytest.fixture
def tokenizer(make_tokenizer):
    return make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=CHATML.read_text(encoding="utf-8"))


@pytest.fixture
def prompts(tokenizer):
    """Prompts of growing length, and the number of tokens of each."""
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "x" * length}]} for length in (1, 5, 50)])
    shortest = len(tokenizer.apply_chat_template(rows[0]["prompt"], add_generation_prompt=True, return_dict=False))
    return rows, [shortest, shortest + 4, shortest + 49]


def test_prompt_of_just_the_limit_stays_and_longer_ones_are_dropped_with_a_count(prompts, tokenizer, caplog):
    rows, lengths = prompts
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        kept = drop_long_prompts(rows, tokenizer, lengths[1], "train")
    assert kept.to_list() == rows.to_list()[:2]
    assert f"Dropped 1 of 3 prompts of split 'train' longer than {lengths[1]} tokens" in caplog.text
    assert f"(the longest has {lengths[2]})" in caplog.text


@pytest.mark.parametrize("limit", [None, 10_000])
def test_prompts_within_the_limit_all_stay(prompts, tokenizer, limit, caplog):
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        assert drop_long_prompts(prompts[0], tokenizer, limit, "train") is prompts[0]
    assert not caplog.messages


def test_limit_that_drops_every_prompt_is_refused_with_the_shortest(prompts, tokenizer):
    rows, lengths = prompts
    with pytest.raises(ValueError, match=f"the shortest has {lengths[0]}"):
        drop_long_prompts(rows, tokenizer, lengths[0] - 1, "train")
