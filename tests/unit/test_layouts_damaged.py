# SPDX-License-Identifier: Apache-2.0
r"""Rows that are whole in one column and damaged, empty or odd in another: what is kept of them, and why others go."""

import json

import pytest

from open_r1.data.layout_readers import has_tests
from open_r1.data.layouts import LAYOUTS, MESSAGES, PROBLEM, RowMapper
from tests.rows.layout_items import CODE, MATH
from tests.rows.layouts import CASES, MARKERS, MARKERS_PROMPT, THINK, chat, openr1_row, write

BY_NAME = {layout.name: layout for layout in LAYOUTS}
ITEM = MATH[0]
GOOD, WRONG = write(THINK, ITEM), "<think>\nA guess.\n</think>\n\n\\boxed{1}"


def map_row(name: str, row: dict, target: str = MESSAGES) -> tuple[dict, str | None]:
    return RowMapper(BY_NAME[name], [target]).map_row(row, target)


def changed(name: str, number: int = 0, **columns) -> dict:
    return CASES[name][number].row | columns


def reply_of(name: str, row: dict) -> str:
    mapped, reason = map_row(name, row)
    assert reason is None
    return mapped[MESSAGES][-1]["content"]


# Traces and their gold answers


@pytest.mark.parametrize("word", ["proof", "notfound", "nan", "Proof.", "", None, "\x0crac{1}{2}"])
@pytest.mark.parametrize("name", ["numina_qwq", "limo"])
def test_word_for_no_answer_is_not_put_into_a_box(name, word):
    reader = BY_NAME[name].messages
    row = changed(name, **{reader.needs[1][0]: "A trace.", reader.options["answer"]: word})
    assert map_row(name, row) == ({}, "a trace without a final answer")
    assert map_row(name, row, PROBLEM)[0] == {}


@pytest.mark.parametrize("gold", ["", None, "proof"])
def test_trace_with_an_answer_needs_no_gold(gold):
    case = CASES["limo"][0]
    assert map_row("limo", case.row | {"answer": gold}) == ({MESSAGES: case.messages}, None)


@pytest.mark.parametrize("text", ["\x0crac{1}{2}", "5 \text{ cm}".replace("\\t", "\t"), "a\x08"])
def test_gold_with_misread_latex_is_refused(text):
    mapped, reason = map_row("problem_answer", changed("problem_answer", answer=text), PROBLEM)
    assert (mapped, reason) == ({}, "a gold answer with control characters")


@pytest.mark.parametrize(("correct", "is_kept"), [("True", True), ("true", True), (1, True), ("False", False)])
def test_truth_value_may_be_text(correct, is_kept):
    assert bool(map_row("numina_qwq", changed("numina_qwq", correct=correct))[0]) is is_kept


@pytest.mark.parametrize("later", [r"and \boxed 5", r"and \fbox{5}"])
def test_earlier_box_is_no_answer_where_the_last_is_spelled_otherwise(later):
    row = changed("numina_tir", solution=rf"x \boxed{{7}}, {later}")
    assert map_row("numina_tir", row, PROBLEM) == ({}, "the last box of the solution is not written \\boxed{...}")
    assert map_row("numina_tir", row | {"solution": rf"{later}, x \boxed{{7}}"}, PROBLEM)[0]["solution"] == "7"


# Turns


def test_last_reply_without_thoughts_is_dropped_where_all_have_them():
    row = changed("thought_turns", conversations=chat(ITEM, "An untagged reply."))
    assert map_row("thought_turns", row) == ({}, "no thought tags")


def test_messages_with_markers_are_mapped_where_there_are_no_turns():
    row = {"messages": [{"role": "system", "content": MARKERS_PROMPT}, *chat(ITEM, write(MARKERS, ITEM))]}
    assert map_row("thought_turns", row) == ({MESSAGES: chat(ITEM, GOOD)}, None)


# Several generations


@pytest.mark.parametrize(
    "columns", [{"generations": None}, {"generations": []}, {"finish_reasons": ["stop"]}], ids=str
)
def test_published_turn_needs_no_generations(columns):
    row = openr1_row(ITEM, [WRONG, GOOD], [False, True], messages=chat(ITEM, GOOD)) | columns
    assert reply_of("openr1_math", row) == GOOD


def test_verdicts_of_another_length_are_those_of_nobody():
    row = openr1_row(ITEM, [WRONG, GOOD], [False, True], correctness_llama=[True])
    assert reply_of("openr1_math", row) == GOOD
    row["correctness_math_verify"] = [True]
    assert map_row("openr1_math", row) == ({}, "'correctness_math_verify' has not one value for each generation")


@pytest.mark.parametrize("more", [{"info": None}, {"tool_calls": None, "name": "x"}])
def test_published_turns_are_reduced_to_role_and_content(more):
    messages = [turn | more for turn in chat(ITEM, GOOD)]
    row = openr1_row(ITEM, [WRONG, GOOD], [False, True], messages=messages)
    assert map_row("openr1_math", row) == ({MESSAGES: chat(ITEM, GOOD)}, None)


@pytest.mark.parametrize(
    "reply",
    ["A plain reply.", "<think>\ncut", [{"type": "text", "text": GOOD}], None],
    ids=["plain", "cut", "parts", "null"],
)
def test_published_turn_that_is_damaged_gives_way_to_a_generation(reply):
    row = openr1_row(ITEM, [WRONG, GOOD], [False, True], messages=chat(ITEM, reply))
    assert reply_of("openr1_math", row) == GOOD


def test_verdicts_may_be_text():
    row = openr1_row(ITEM, [WRONG, GOOD], [None, None], correctness_math_verify=["false", "True"])
    assert reply_of("openr1_math", row) == GOOD


# Tests of programs

NO_TESTS = [
    None, "", " ", "{}", "[]", "null", "garbage", "'text'", "5", {}, [], {"test_cases": None}, {"test_cases": []},
    "{'language': 'python', 'test_cases': []}", '{"inputs": [], "outputs": []}', {"test_cases": "[]"},
    {"language": None, "test_cases": None}, {"test_cases": [{"input": None, "output": None}]},
]  # fmt: skip
TESTS = [
    '{"inputs": ["1"], "outputs": ["2"]}',
    {"inputs": [[1]]},
    "{'test_cases': [{'input': '', 'output': '1'}]}",
    {"test_cases": [{"input": "1", "output": None}]},
    [{"input": "1"}],
    ["1-01"],
    {"test_cases": '[{"input": "1"}]'},
    json.dumps({"inputs": ["1 " * 5000], "outputs": ["2"]}),
    repr({"test_cases": [{"input": "1" * 9000}]}),
]


@pytest.mark.parametrize(
    ("value", "expected"), [(value, False) for value in NO_TESTS] + [(value, True) for value in TESTS]
)
def test_cell_with_tests_is_told_from_one_without(value, expected):
    assert has_tests(value) is expected


@pytest.mark.parametrize("value", ["{'test_cases': []" + " " * 9000 + "}", "x" * 9000])
def test_long_cell_without_tests_has_none(value):
    assert has_tests(value) is False


@pytest.mark.parametrize("tests", ["{}", "[]", "null", "  ", '{"inputs": [], "outputs": []}'])
def test_openthoughts_gold_stays_where_the_tests_are_none(tests):
    row = changed("openthoughts", test_cases=tests)
    assert map_row("openthoughts", row, PROBLEM)[0]["solution"] == CASES["openthoughts"][0].item.gold
    code = changed("openthoughts", 1, test_cases=tests, ground_truth_solution=None)
    assert CASES["openthoughts"][1].item is CODE[1]
    assert map_row("openthoughts", code, PROBLEM) == ({}, "'ground_truth_solution' is null or empty")
