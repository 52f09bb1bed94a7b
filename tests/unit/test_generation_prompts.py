# SPDX-License-Identifier: Apache-2.0
"""Rows to conversations: templates with braces, conversations, turns, rows without a prompt, rows told apart."""

import json

import numpy as np
import pytest

from open_r1.data.sources import open_source
from open_r1.generation.prompts import (
    PromptError,
    Prompts,
    PromptSettings,
    choose_rows,
    fill_template,
    to_conversation,
)

PLAIN = PromptSettings("problem", template="{prompt}")
TURNS = PromptSettings(turns_column="turns")


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


@pytest.mark.parametrize("columns", [(None, None), ("problem", "turns")])
def test_prompts_come_from_one_column(columns):
    with pytest.raises(ValueError, match="one of the two"):
        PromptSettings(*columns)


@pytest.mark.parametrize(
    ("settings", "row", "messages", "turns"),
    [
        (PLAIN, {"problem": "1+1"}, [user("1+1")], []),
        (PromptSettings("problem", template="{prompt}", system_prompt="Be brief."), {"problem": "1+1"},
         [system("Be brief."), user("1+1")], []),
        (PromptSettings("messages"), {"messages": [system("s"), user("1+1"), assistant("3"), user("no")]},
         [system("s"), user("1+1"), assistant("3"), user("no")], []),
        (PromptSettings("messages"), {"messages": [user("1+1"), assistant("2")]}, [user("1+1")], []),
        (PromptSettings("messages", system_prompt="s"), {"messages": [user("1+1")]}, [system("s"), user("1+1")], []),
        (TURNS, {"turns": ["1+1", "and 3?"]}, [user("1+1")], ["and 3?"]),
        (TURNS, {"turns": [system("s"), user("1+1"), assistant("2"), user("and 3?")]},
         [system("s"), user("1+1")], ["and 3?"]),
        (PromptSettings(turns_column="turns", template="Q: {prompt}"), {"turns": ["1+1", "and 3?"]},
         [user("Q: 1+1")], ["and 3?"]),
    ],
)  # fmt: skip
def test_conversation_of_a_row(settings, row, messages, turns):
    assert to_conversation(row, settings) == (messages, turns)


@pytest.mark.parametrize(
    ("settings", "row", "said"),
    [
        (PLAIN, {"problem": None}, "prompt is null"),
        (PLAIN, {"problem": ""}, "prompt is empty"),
        (PLAIN, {"problem": " \n"}, "prompt is empty"),
        (PLAIN, {"problem": 7}, "no text but int"),
        (PLAIN, {"problem": [user("1+1")]}, "takes no prompt template"),
        (PromptSettings("messages"), {"messages": []}, "doesn't end with the user"),
        (PromptSettings("messages"), {"messages": [assistant("2")]}, "doesn't end with the user"),
        (PromptSettings("messages"), {"messages": [user("1+1"), system("s")]}, "doesn't end with the user"),
        (PromptSettings("messages"), {"messages": [{"role": "human", "content": "x"}]}, "a message that is none"),
        (PromptSettings("messages"), {"messages": [{"role": "user", "content": None}]}, "is null"),
        (PromptSettings("messages"), {"messages": ["1+1"]}, "a message that is none"),
        (PromptSettings("messages", system_prompt="s"), {"messages": [system("t"), user("1+1")]}, "of its own"),
        (TURNS, {"turns": None}, "turns are null"),
        (TURNS, {"turns": "1+1"}, "turns are no list"),
        (TURNS, {"turns": []}, "an empty one"),
        (TURNS, {"turns": ["1+1", ""]}, "turn is empty"),
        (TURNS, {"turns": [assistant("2")]}, "nothing of the user"),
    ],
)
def test_a_row_without_a_prompt_says_why(settings, row, said):
    with pytest.raises(PromptError, match=said):
        to_conversation(row, settings)


def read(folder, rows, settings, num_rows=None):
    """Prompts of rows that lie in a file."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_source(str(path))
    return Prompts(source.rows(end=num_rows or len(rows)), source.dataset.__getitem__, settings, "rows")


def test_rows_come_back_in_any_order(tmp_path):
    prompts = read(tmp_path, [{"problem": f"{n} é中"} for n in range(50)], PLAIN)
    for row in np.random.default_rng(0).permutation(50):
        assert prompts.get(row)[1] == [user(f"{row} é中")]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_equal_prompts_are_told_apart_in_the_order_of_rows(tmp_path):
    problems = ["a", "b", "a", "c", "a", "b"]
    keys = [read(tmp_path, [{"problem": p} for p in problems], PLAIN).get(row)[0] for row in range(6)]
    assert len(set(keys)) == 6
    # The first of each has the key that it has without the others.
    assert read(tmp_path, [{"problem": "b"}], PLAIN).get(0)[0] == keys[1]


def test_keys_are_of_the_id_whatever_the_prompt(tmp_path):
    settings = PromptSettings("problem", uuid_column="id")
    first = read(tmp_path, [{"id": 1, "problem": "a"}, {"id": 2, "problem": "b"}], settings)
    second = read(tmp_path, [{"id": 2, "problem": "c"}, {"id": 1, "problem": "d"}], settings)
    assert [first.get(0)[0], first.get(1)[0]] == [second.get(1)[0], second.get(0)[0]]


def test_ids_that_come_twice_are_refused_with_their_rows(tmp_path):
    rows = [{"id": number, "problem": "a"} for number in (1, 2, 3, 2, 2)]
    with pytest.raises(ValueError, match="Rows 1 and 3"):
        read(tmp_path, rows, PromptSettings("problem", uuid_column="id"))


def test_rows_without_a_prompt_are_counted_and_not_asked_for(tmp_path):
    rows = [{"problem": "a"}, {"problem": None}, {"problem": "b"}, {"problem": ""}]
    prompts = read(tmp_path, rows, PLAIN)
    assert prompts.bad == {1: "prompt is null", 3: "prompt is empty"}
    asked = [(request.messages[0]["content"], request.index) for request in prompts.requests(range(4), 2)]
    assert asked == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_a_source_without_any_prompt_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"No row .* can be asked for; row 0: prompt is null"):
        read(tmp_path, [{"problem": None}, {"problem": None}], PLAIN)


def test_chosen_rows_are_the_first_ones_or_by_a_seed():
    assert list(choose_rows(5, 3, None)) == [0, 1, 2]
    assert list(choose_rows(5, 9, None)) == [0, 1, 2, 3, 4]
    shuffled = choose_rows(1000, None, 7)
    assert sorted(shuffled) == list(range(1000)) != list(shuffled)
    assert list(choose_rows(1000, 10, 7)) == list(shuffled[:10])
