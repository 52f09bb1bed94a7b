# SPDX-License-Identifier: Apache-2.0
"""Rows of every layout as completions, and what is wrong with malformed ones."""

import json

import pytest

from open_r1.curation.completions import find_columns, read_completions
from open_r1.data.layout_readers import UnmappableError
from open_r1.data.sources import open_source
from scripts.curate import build_parser

USER = {"role": "user", "content": "6 * 7?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": "42"}


def read(tmp_path, rows: list[dict], **named: str) -> list:
    """Return the completions of each row, or what is wrong with it; `named`: columns, or a layout."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_source(str(path))
    words = [f"--{what if what == 'dataset_layout' else f'{what}_column'}={name}" for what, name in named.items()]
    columns = find_columns(source, build_parser().parse_args(["--input", "rows", *words]))
    found = []
    for row in source.rows():
        try:
            found.append(read_completions(row, columns))
        except UnmappableError as error:
            found.append(str(error))
    return found


def texts_of(completions: list[dict]) -> list:
    return [row["completion"] for row in completions]


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"problem": "6 * 7?", "answer": "42", "generations": ["42", None]}, ["42", None]),
        ({"prompt": [SYSTEM, USER], "answer": "42", "completion": "42"}, ["42"]),
        ({"question": "6 * 7?", "solution": "42", "pass_rate_generations": ["42"]}, ["42"]),
        ({"instruction": "6 * 7?", "ground_truth": "42", "generation": "42"}, ["42"]),
        ({"messages": [USER, ASSISTANT], "answer": "42"}, ["42"]),
        ({"messages": [SYSTEM, USER, ASSISTANT, USER, ASSISTANT], "answer": "42"}, ["42"]),
    ],
)
def test_layouts(tmp_path, row, texts):
    (problem,) = read(tmp_path, [row])
    assert texts_of(problem) == texts
    assert (problem[0]["problem"], problem[0]["solution"]) == ("6 * 7?", "42")
    assert problem[0]["prompt"][-1] == USER


TAGGED = "<think>\nsix sevens\n</think>\n\n42"


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"completion": [ASSISTANT]}, ["42"]),
        ({"completion": [ASSISTANT | {"reasoning_content": "six sevens"}]}, [TAGGED]),
        ({"generations": [[ASSISTANT], [ASSISTANT | {"content": "43"}]]}, ["42", "43"]),
        ({"generations": [ASSISTANT, ASSISTANT]}, ["42", "42"]),
        ({"completion": [ASSISTANT, USER, ASSISTANT | {"content": "44"}]}, ["44"]),
        ({"generations": [[ASSISTANT, USER]]}, [None]),  # no completion: dropped as no_text
        ({"messages": [USER, ASSISTANT | {"reasoning_content": "six sevens"}]}, [TAGGED]),
        ({"messages": [USER, ASSISTANT | {"content": TAGGED, "reasoning": "six sevens"}]}, [TAGGED]),
        ({"messages": [USER, ASSISTANT | {"reasoning": " "}]}, ["42"]),
    ],
)
def test_completions_in_messages(tmp_path, row, texts):
    (problem,) = read(tmp_path, [{"problem": "6 * 7?"} | row])
    assert texts_of(problem) == texts


def test_earlier_turns_of_a_completion_belong_to_the_prompt(tmp_path):
    (problem,) = read(tmp_path, [{"problem": "6 * 7?", "completion": [ASSISTANT, USER, ASSISTANT]}])
    assert (problem[0]["prompt"], problem[0]["problem"]) == ([USER, ASSISTANT, USER], "6 * 7?")


@pytest.mark.parametrize("before", [[USER], [SYSTEM, USER]])
def test_completion_that_is_the_whole_conversation_asks_once(tmp_path, before):
    (problem,) = read(tmp_path, [{"prompt": before, "completion": [*before, ASSISTANT]}])
    assert (problem[0]["prompt"], texts_of(problem)) == (before, ["42"])


def test_begun_answer_is_part_of_the_completion(tmp_path):
    prompt = [USER, {"role": "assistant", "content": "<think>\n"}]
    (problem,) = read(tmp_path, [{"prompt": prompt, "generations": [TAGGED.removeprefix("<think>\n"), TAGGED, None]}])
    assert problem[0]["prompt"] == [USER]
    assert texts_of(problem) == [TAGGED, TAGGED, None]


BOTH = {
    "problem": "6 * 7?",
    "generations": ["41", "42"],
    "mine": ["42", "4"],
    "finish_reasons": ["stop", "length"],
    "api_metadata": [{"completion_tokens": 8}, None],
    "right": [True, False],
    "pass_rate_generations": ["42", "40"],
    "pass_rate_rewards_accuracy": [1.0, 0.0],
    "pass_rate_finish_reasons": ["stop", "stop"],
}


def test_verdicts_of_compute_pass_rate_choose_its_completions(tmp_path):
    (problem,) = read(tmp_path, [BOTH], correct="pass_rate_rewards_accuracy")
    found = [(row["completion"], row["flag"], row["finish_reason"], row["num_tokens"]) for row in problem]
    assert found == [("42", 1.0, "stop", None), ("40", 0.0, "stop", None)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"generations": "mine", "correct": "pass_rate_rewards_accuracy"}, "pass_rate_rewards_a"),
        ({"generations": "generations", "finish_reasons": "pass_rate_finish_reasons"}, "pass_rate_finish_reasons"),
    ],
)
def test_verdicts_of_other_completions_are_refused(tmp_path, wanted, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, [BOTH], **wanted)


def test_verdicts_of_completions_that_are_not_there_are_refused(tmp_path):
    row = {name: value for name, value in BOTH.items() if name != "pass_rate_generations"}
    with pytest.raises(ValueError, match="pass_rate_generations"):
        read(tmp_path, [row], correct="pass_rate_rewards_accuracy")


def test_column_that_is_named_has_no_reasons_of_another_one(tmp_path):
    (problem,) = read(tmp_path, [BOTH], generations="mine")
    assert [(row["completion"], row["finish_reason"], row["num_tokens"]) for row in problem] == [
        ("42", None, None),
        ("4", None, None),
    ]


TURNS = [
    {"from": "user", "value": "6 * 7?"},
    {
        "from": "assistant",
        "value": "<|begin_of_thought|>\n\nsix sevens\n\n<|end_of_thought|>\n\n"
        "<|begin_of_solution|>\n\n42\n\n<|end_of_solution|>",
    },
]


@pytest.mark.parametrize(
    ("layout", "row", "gold"),
    [
        ("thought_turns", {"conversations": TURNS, "answer": "42"}, "42"),
        ("thought_turns", {"conversations": TURNS}, None),
        (
            "s1k",
            {"question": "6 * 7?", "thinking_trajectories": ["six sevens"], "attempt": "42", "solution": "42"},
            "42",
        ),
    ],
)
def test_layouts_of_field_sets(tmp_path, layout, row, gold):
    (problem,) = read(tmp_path, [row], dataset_layout=layout)
    assert (problem[0]["prompt"], problem[0]["solution"]) == ([USER], gold)
    assert texts_of(problem) == [TAGGED]


def test_rows_that_a_layout_cannot_map_are_counted_by_its_reason(tmp_path):
    bad = [TURNS[0], {"from": "assistant", "value": "42"}]
    _, found = read(tmp_path, [{"conversations": turns} for turns in (TURNS, bad)], dataset_layout="thought_turns")
    assert found == "unmapped: no thought tags"


def test_question_is_all_that_is_asked(tmp_path):
    check = {"role": "user", "content": "Please check your answer."}
    (problem,) = read(tmp_path, [{"messages": [SYSTEM, USER, ASSISTANT, check, ASSISTANT]}])
    assert (problem[0]["problem"], problem[0]["question"]) == (
        check["content"],
        "6 * 7?\n\n42\n\nPlease check your answer.",
    )


def test_columns_beside_the_generations_go_with_them(tmp_path):
    row = {
        "problem": "6 * 7?",
        "generations": ["42", None, "41"],
        "finish_reasons": ["stop", "error", None],
        "api_metadata": [{"completion_tokens": 12}, {"completion_tokens": None}, None],
        "right": [True, None, False],
        "topic": "arithmetic",
    }
    (problem,) = read(tmp_path, [row], correct="right", domain="topic")
    assert problem[0]["domain"] == "arithmetic"
    assert [(row["finish_reason"], row["num_tokens"], row["flag"]) for row in problem] == [
        ("stop", 12, True),
        ("error", None, None),
        (None, None, False),
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"problem": None}, "no_problem"),
        ({"problem": " \n"}, "no_problem"),
        ({"generations": None}, "no_completions"),
        ({"generations": []}, "no_completions"),
        ({"finish_reasons": ["stop"]}, "uneven_columns"),
        ({"finish_reasons": []}, "uneven_columns"),
    ],
)
def test_malformed_rows(tmp_path, row, fault):
    good = {"problem": "6 * 7?", "generations": ["42", "43"], "finish_reasons": ["stop", "stop"]}
    _first, second = read(tmp_path, [good, good | row])
    assert second == fault


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        (None, "no_problem"),
        ([], "no_problem"),
        ([ASSISTANT], "no_problem"),
        ([SYSTEM, ASSISTANT], "no_problem"),
        ([USER], "no_completions"),
        ([USER, {"role": "assistant", "content": None}], "no_problem"),
        ([{"role": None, "content": "6 * 7?"}, ASSISTANT], "no_problem"),
    ],
)
def test_malformed_conversations(tmp_path, messages, fault):
    _, found = read(tmp_path, [{"messages": [USER, ASSISTANT]}, {"messages": messages}])
    assert found == fault


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"problem": "text"}, r"\['text'\] .*--problem_column"),
        ({"generations": "texts"}, r"--generations_column"),
        ({"gold": "gold"}, r"--gold_column"),
        ({"correct": "right"}, r"--correct_column"),
        ({"domain": "topic"}, r"--domain_column"),
    ],
)
def test_columns_that_are_missing_are_refused(tmp_path, wanted, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, [{"problem": "6 * 7?", "generations": ["42"]}], **wanted)


@pytest.mark.parametrize(
    ("row", "setting"), [({"problem": "6?"}, "--generations_column"), ({"generations": ["42"]}, "--problem_column")]
)
def test_rows_without_problem_or_completions_are_refused(tmp_path, row, setting):
    with pytest.raises(ValueError, match=setting):
        read(tmp_path, [row])


def test_generations_go_with_the_reasons_of_their_own_script(tmp_path):
    row = {
        "problem": "6 * 7?",
        "generations": ["42"],
        "finish_reasons": ["stop"],
        "api_metadata": [None],
        "pass_rate_generations": ["4", "42"],
        "pass_rate_finish_reasons": ["length", "stop"],
        "pass_rate_num_tokens": [3, 12],
    }
    (first,) = read(tmp_path, [row])
    (second,) = read(tmp_path, [row], generations="pass_rate_generations")
    assert [row["finish_reason"] for row in first] == ["stop"]
    assert [(row["finish_reason"], row["num_tokens"]) for row in second] == [("length", 3), ("stop", 12)]
