# SPDX-License-Identifier: Apache-2.0
"""Rows to conversations: templates with braces, conversations, rows without a prompt, rows told apart."""

import json

import pytest

from open_r1.data.sources import open_source
from open_r1.generation.messages import Sampling
from open_r1.generation.prompts import (
    PromptError,
    Prompts,
    PromptSettings,
    choose_rows,
    fill_template,
    to_conversation,
)

PLAIN = PromptSettings("problem", template="{prompt}")


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{prompt}", r"\frac{1}{2} {prompt} {} {{x}}"),
        (r"\boxed{}: {prompt}", r"\boxed{}: \frac{1}{2} {prompt} {} {{x}}"),
        (r"\boxed{{}}: {prompt}", r"\boxed{}: \frac{1}{2} {prompt} {} {{x}}"),  # as Open R1's users write it
        (r"\frac{a}{{b}} {prompt}", r"\frac{a}{{b}} \frac{1}{2} {prompt} {} {{x}}"),
        ("} {prompt}", r"} \frac{1}{2} {prompt} {} {{x}}"),
        ("{prompt}{prompt!r}", r"\frac{1}{2} {prompt} {} {{x}}{prompt!r}"),
    ],
)
def test_template_takes_any_braces(template, filled):
    assert fill_template(template, r"\frac{1}{2} {prompt} {} {{x}}") == filled


@pytest.mark.parametrize("template", ["", "no place", "{problem}", "{ prompt }"])
def test_a_template_without_the_prompt_is_refused(template):
    with pytest.raises(ValueError, match=r"has no {prompt}"):
        PromptSettings("problem", template=template)


@pytest.mark.parametrize(
    ("settings", "row", "messages"),
    [
        (PLAIN, {"problem": "1+1"}, [user("1+1")]),
        (PromptSettings("problem", template="{prompt}", system_prompt="Be brief."), {"problem": "1+1"},
         [system("Be brief."), user("1+1")]),
        (PromptSettings("messages"), {"messages": [system("s"), user("1+1"), assistant("3"), user("no")]},
         [system("s"), user("1+1"), assistant("3"), user("no")]),
        (PromptSettings("messages"), {"messages": [user("1+1"), assistant("2")]}, [user("1+1")]),
        (PromptSettings("messages", system_prompt="s"), {"messages": [user("1+1")]}, [system("s"), user("1+1")]),
    ],
)  # fmt: skip
def test_conversation_of_a_row(settings, row, messages):
    assert to_conversation(row, settings) == messages


@pytest.mark.parametrize(
    ("settings", "row", "said"),
    [
        (PLAIN, {"problem": None}, "prompt is null"),
        (PLAIN, {"problem": ""}, "prompt is empty"),
        (PLAIN, {"problem": " \n"}, "prompt is empty"),
        (PLAIN, {"problem": 7}, "no text but int"),
        (PLAIN, {"problem": [user("1+1")]}, "no prompt template"),
        (PromptSettings("messages"), {"messages": []}, "doesn't end with the user"),
        (PromptSettings("messages"), {"messages": [assistant("2")]}, "doesn't end with the user"),
        (PromptSettings("messages"), {"messages": [user("1+1"), system("s")]}, "doesn't end with the user"),
        (PromptSettings("messages"), {"messages": [{"role": "human", "content": "x"}]}, "not a message"),
        (PromptSettings("messages"), {"messages": [{"role": "user", "content": None}]}, "is null"),
        (PromptSettings("messages"), {"messages": ["1+1"]}, "not a message"),
        (PromptSettings("messages", system_prompt="s"), {"messages": [system("t"), user("1+1")]}, "system prompt"),
    ],
)
def test_a_row_without_a_prompt_says_why(settings, row, said):
    with pytest.raises(PromptError, match=said):
        to_conversation(row, settings)


def read(folder, rows, settings):
    """Prompts of rows that lie in a file."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Prompts(open_source(str(path)), settings, len(rows))


def test_requests_come_in_the_order_of_the_rows_that_are_chosen(tmp_path):
    prompts = read(tmp_path, [{"problem": text} for text in ("a", None, "b", "")], PLAIN)
    assert prompts.bad == {1: "prompt is null", 3: "prompt is empty"}
    asked = list(prompts.requests([2, 1, 0], 2, Sampling()))
    assert [(one.messages[0]["content"], one.index) for one in asked] == [("b", 0), ("b", 1), ("a", 0), ("a", 1)]
    assert [(one.key, one.index) for one in asked] == list(prompts.names([2, 1, 0], 2))


@pytest.mark.parametrize("column", [None, "id"])
def test_equal_rows_are_told_apart_by_their_order(tmp_path, column):
    rows = [{"id": text, "problem": text} for text in ("a", "b", "a", "c", "a", "b")]
    keys = read(tmp_path, rows, PromptSettings("problem", column, "{prompt}")).keys
    assert len(set(keys)) == 6
    # The first of each has the key that it has without the others.
    assert read(tmp_path, rows[1:2], PromptSettings("problem", column, "{prompt}")).keys == keys[1:2]


def test_keys_are_of_the_id_whatever_the_prompt(tmp_path):
    settings = PromptSettings("problem", uuid_column="id")
    first = read(tmp_path, [{"id": 1, "problem": "a"}, {"id": 2, "problem": "b"}], settings)
    second = read(tmp_path, [{"id": 2, "problem": "c"}, {"id": 1, "problem": "d"}], settings)
    assert first.keys == second.keys[::-1]


def test_a_source_without_any_prompt_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"row 0: prompt is null"):
        read(tmp_path, [{"problem": None}, {"problem": None}], PLAIN)


def test_chosen_rows_are_the_first_ones_or_by_a_seed():
    assert list(choose_rows(5, 3, None)) == [0, 1, 2]
    assert list(choose_rows(5, 9, None)) == [0, 1, 2, 3, 4]
    shuffled = choose_rows(1000, None, 7)
    assert sorted(shuffled) == list(range(1000)) != list(shuffled)
    assert list(choose_rows(1000, 10, 7)) == list(shuffled[:10])
