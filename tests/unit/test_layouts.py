# SPDX-License-Identifier: Apache-2.0
"""What each layout makes of a row, and whether it can be learned from: by three rows a layout, then damaged ones."""

import pytest

from open_r1.data.layouts import LAYOUTS, MESSAGES, PROBLEM, RowMapper
from open_r1.grading.cases import read_row
from open_r1.rewards import CountdownReward, think_format_reward
from open_r1.rewards.verifier import Verdict, verify
from tests.rows.layout_items import MATH
from tests.rows.layouts import CASES, DAPO_HEAD, DAPO_TAIL, THINK, chat, openr1_row, write

BY_NAME = {layout.name: layout for layout in LAYOUTS}
ALL = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, found in CASES.items()
    for number, case in enumerate(found)
]
FOR_SFT = [param for param in ALL if BY_NAME[param.values[0]].messages is not None]
FOR_GRPO = [param for param in ALL if BY_NAME[param.values[0]].problem is not None]
ITEM = MATH[0]
GOOD = write(THINK, ITEM)


def map_row(name: str, row: dict, target: str = MESSAGES) -> tuple[dict, str | None]:
    return RowMapper(BY_NAME[name], [target]).map_row(row, target)


def changed(name: str, **columns) -> dict:
    """The first row of a layout with other values."""
    return CASES[name][0].row | columns


def test_every_layout_has_three_rows():
    assert {name: len(found) for name, found in CASES.items()} == dict.fromkeys(BY_NAME, 3)


@pytest.mark.parametrize(("name", "case"), FOR_SFT)
def test_conversation_is_what_it_was_made_of(name, case):
    mapped, reason = map_row(name, case.row)
    if name != "numina_tir":  # solutions with programs: no thought tags
        assert (mapped[MESSAGES], reason) == (case.messages, None)
    assert reason is None


@pytest.mark.parametrize(("name", "case"), [param for param in FOR_SFT if param.values[0] != "numina_tir"])
def test_reply_has_the_format_that_rewards_ask_for_and_its_answer_is_right(name, case):
    reply = map_row(name, case.row)[0][MESSAGES][-1]["content"]
    assert think_format_reward([[{"role": "assistant", "content": reply}]]) == [1.0]
    if case.item.gold is not None:
        assert verify(case.item.gold, reply) is Verdict.RIGHT


@pytest.mark.parametrize(("name", "case"), FOR_GRPO)
def test_problem_is_the_question_and_the_gold_solution_scores_one(name, case):
    mapped, reason = map_row(name, case.row, PROBLEM)
    assert reason is None
    assert mapped["prompt"] == mapped["problem"]
    if name == "countdown":
        assert all(str(number) in mapped["problem"] for number in [*case.row["nums"], case.row["target"]])
        completion = f"<think>\nx\n</think>\n<answer>{case.item.answer}</answer>"
        assert CountdownReward()([completion], nums=[case.row["nums"]], target=[case.row["target"]]) == [1.0]
        return
    assert mapped["problem"] == case.item.question
    assert mapped.get("solution") == case.item.gold
    if case.item.gold is not None:
        assert verify(mapped["solution"], rf"\boxed{{{case.item.gold}}}") is Verdict.RIGHT
        assert verify(mapped["solution"], r"\boxed{-999}") is Verdict.WRONG


@pytest.mark.parametrize("name", ["openthoughts", "primeintellect_code", "open_r1_code"])
def test_tests_of_programs_can_be_read(name):
    rows = [case for case in CASES[name] if case.item.tests]
    assert rows
    for case in rows:
        expected = [(given, output) for given, output in case.item.tests]
        assert [(test.input, test.expected) for test in read_row(case.row).tests] == expected


@pytest.mark.parametrize(
    ("name", "columns", "reason"),
    [
        ("thought_turns", {"conversations": None}, "'conversations' holds no turns"),
        ("thought_turns", {"conversations": []}, "'conversations' holds no turns"),
        ("thought_turns", {"conversations": "text"}, "'conversations' holds no turns"),
        ("thought_turns", {"conversations": [None]}, "a turn that is no mapping"),
        ("thought_turns", {"conversations": [{"from": "narrator", "value": "x"}]}, "a turn of the role 'narrator'"),
        ("thought_turns", {"conversations": [{"from": None, "value": "x"}]}, "a turn of the role 'None'"),
        ("thought_turns", {"conversations": [{"from": "user", "value": None}]}, "'a turn' is null or empty"),
        ("thought_turns", {"conversations": [{"from": "user", "value": " \n"}]}, "'a turn' is blank"),
        ("thought_turns", {"conversations": [{"from": "user", "value": 1j}]}, "'a turn' is not text but a complex"),
        ("thought_turns", {"conversations": [{"from": "user", "value": "x"}]}, "do not alternate"),
        (
            "thought_turns",
            {"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]},
            "do not alternate",
        ),
        ("openthoughts", {"deepseek_reasoning": None}, "'deepseek_reasoning' is null or empty"),
        ("openthoughts", {"deepseek_reasoning": "\t "}, "'deepseek_reasoning' is blank"),
        ("openthoughts", {"deepseek_solution": "so </think> there"}, "thought tags inside"),
        ("s1k", {"thinking_trajectories": []}, "'thinking_trajectories' is null or empty"),
        ("s1k", {"thinking_trajectories": ["a", "b"]}, "'thinking_trajectories' is not text but a list"),
        ("limo", {"solution": "<think>\nfor ever"}, "the reasoning is not closed"),
        ("limo", {"solution": "<think>\n\n</think>\n\nHello."}, "no reasoning"),
        ("limo", {"solution": "<think>\nx\n</think>\n"}, "no answer after the reasoning"),
        ("limo", {"solution": "Well. <think>\nx\n</think>\n5"}, "text before the reasoning"),
        ("limo", {"solution": "<think>a</think><think>b</think>5"}, "thought tags inside"),
        ("limo", {"solution": "Nothing was found.", "answer": None}, "a trace without a final answer"),
        ("numina_qwq", {"correct": False}, "a response that is not correct"),
        ("numina_qwq", {"correct": None}, "a response that is not correct"),
        ("openr1_math", {"messages": None, "generations": None}, "no generations"),
        ("openr1_math", {"messages": None, "generations": [None, " "]}, "no generations"),
        ("openr1_math", {"messages": None, "correctness_math_verify": [True]}, "not one value for each generation"),
        ("openr1_math", {"messages": None, "correctness_math_verify": [False, False]}, "no accepted generation"),
        ("openr1_math", {"messages": None, "correctness_math_verify": None}, "no accepted generation"),
        ("openr1_math", {"messages": None, "finish_reasons": ["stop", "length"]}, "no accepted generation"),
        ("generations", {"generations": [None, "x", "y"], "finish_reasons": ["error"] * 3}, "no accepted generation"),
        ("pass_rate", {"pass_rate_rewards_accuracy": [0.1, 0.0, None]}, "no accepted generation"),
        ("pass_rate", {"pass_rate_generations": None}, "no generations"),
        ("messages", {"messages": chat(ITEM, "x")[:1]}, "no reply at the end"),
        ("messages", {"messages": chat(ITEM, " ")}, "no reply at the end"),
        ("messages", {"messages": chat(ITEM, "x")[1:]}, "no user turn"),
        ("messages", {"messages": [{"role": "user"}]}, "a turn without content"),
        ("messages", {"messages": [{"role": "narrator", "content": "x"}]}, "a turn of the role 'narrator'"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_damaged_row_gives_no_conversation_but_a_reason(name, columns, reason):
    mapped, found = map_row(name, changed(name, **columns))
    assert mapped == {}
    assert reason in found


@pytest.mark.parametrize(
    ("name", "columns", "reason"),
    [
        ("numina_1.5", {"answer": "proof"}, "not a gold answer but 'proof'"),
        ("numina_1.5", {"answer": "notfound"}, "not a gold answer but 'notfound'"),
        ("numina_1.5", {"answer": ""}, "'answer' is null or empty"),
        ("numina_1.5", {"question_type": "proof"}, "a proof"),
        ("numina_1.5", {"problem_is_valid": "Incomplete"}, "a problem that is not marked valid"),
        ("numina_1.5", {"solution_is_valid": None}, "a solution that is not marked valid"),
        ("problem_answer", {"answer": " "}, "'answer' is blank"),
        ("problem_answer", {"problem": None}, "'problem' is null or empty"),
        ("numina_tir", {"solution": "There is no box."}, "no box in the solution"),
        ("numina_tir", {"solution": r"\boxed{never closed"}, "no box in the solution"),
        ("dapo", {"reward_model": None}, "'reward_model' is no mapping"),
        ("dapo", {"reward_model": {"style": "rule"}}, "'ground_truth' is null or empty"),
        ("dapo", {"prompt": [{"role": "user", "content": DAPO_HEAD + DAPO_TAIL}]}, "a wrapper without a problem"),
        ("countdown", {"nums": None}, "not whole numbers"),
        ("countdown", {"nums": ["1", "2"]}, "not whole numbers"),
        ("countdown", {"target": 1.5}, "not whole numbers"),
        ("dapo", {"reward_model": "{'ground_truth'"}, "neither JSON nor a Python literal"),
        ("dapo", {"reward_model": "5"}, "'reward_model' is no mapping"),
        ("openthoughts", {"ground_truth_solution": None}, "'ground_truth_solution' is null or empty"),
        ("ioi", {"problem": ""}, "'problem' is null or empty"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_damaged_row_gives_no_problem_but_a_reason(name, columns, reason):
    mapped, found = map_row(name, changed(name, **columns), PROBLEM)
    assert mapped == {}
    assert reason in found


def test_gold_that_is_missing_costs_the_problem_alone():
    row = changed("openr1_math", answer="")
    assert map_row("openr1_math", row)[1] is None
    assert map_row("openr1_math", row, PROBLEM)[1] == "'answer' is null or empty"


OTHER = GOOD.replace("Let w", "Let again w")
WRONG = "<think>\nA guess.\n</think>\n\n\\boxed{1}"


@pytest.mark.parametrize(
    ("texts", "columns", "chosen"),
    [
        ([GOOD, OTHER], {"correctness_math_verify": [True, True]}, GOOD),
        ([WRONG, GOOD, OTHER], {"correctness_math_verify": [False, True, True]}, GOOD),
        ([OTHER, GOOD], {"correctness_math_verify": [False, True], "correctness_llama": [True, True]}, GOOD),
        ([WRONG, GOOD], {"correctness_math_verify": [None, None], "correctness_llama": [False, True]}, GOOD),
        ([OTHER, GOOD], {"correctness_math_verify": [True, True], "finish_reasons": ["length", "stop"]}, GOOD),
        ([OTHER, GOOD], {"correctness_math_verify": [True, True], "is_reasoning_complete": [False, True]}, GOOD),
        (["<think>\nno end", GOOD], {"correctness_math_verify": [True, True]}, GOOD),
        ([None, GOOD], {"correctness_math_verify": [None, True]}, GOOD),
        ([GOOD, OTHER], {"correctness_math_verify": [True, True], "messages": chat(ITEM, OTHER)}, OTHER),
        ([WRONG, GOOD], {"correctness_math_verify": [False, True], "messages": chat(ITEM, OTHER)}, OTHER),
        ([GOOD], {"correctness_math_verify": [None], "messages": chat(ITEM, GOOD)}, GOOD),
        ([WRONG, GOOD], {"correctness_math_verify": [False, True], "messages": [{"role": "user"}]}, GOOD),
    ],
    ids=["first", "first-right", "math-verify-before-llama", "llama", "finished", "complete", "damaged", "null",
         "published", "published-from-elsewhere", "published-unjudged", "published-damaged"],
)  # fmt: skip
def test_generation_is_chosen_by_the_documented_rule(texts, columns, chosen):
    verdicts = columns.pop("correctness_math_verify")
    row = openr1_row(ITEM, texts, verdicts, is_reasoning_complete=None) | columns
    assert map_row("openr1_math", row) == ({MESSAGES: chat(ITEM, chosen)}, None)


def test_generation_of_ours_without_thoughts_stays_as_it_is():
    row = {"prompt": ITEM.question, "generations": [" ", ITEM.answer]}
    assert map_row("generations", row) == ({MESSAGES: chat(ITEM, ITEM.answer)}, None)


@pytest.mark.parametrize("lists", [["deepseek_thinking_trajectory"], ["deepseek_attempt"]])
def test_early_revision_of_s1k_with_lists_of_one_is_read_alike(lists):
    case = CASES["s1k_1.1"][0]
    row = case.row | {name: [case.row[name]] for name in lists}
    assert map_row("s1k_1.1", row) == ({MESSAGES: case.messages}, None)


@pytest.mark.parametrize("system", ["You are kind.", None])
def test_system_turn_stays_unless_it_asks_for_markers(system):
    turns = [{"from": "system", "value": system or "Think in <|begin_of_thought|>."}]
    turns += CASES["thought_turns"][0].row["conversations"]
    found = map_row("thought_turns", {"conversations": turns})[0][MESSAGES]
    assert [turn["role"] for turn in found] == ["system"] * (system is not None) + ["user", "assistant"]


def test_conversation_of_several_turns_and_plain_replies():
    turns = [
        {"from": name, "value": text}
        for name, text in zip(("human", "gpt") * 2, ("Hi", "Hello.", ITEM.question, GOOD), strict=True)
    ]
    found = map_row("thought_turns", {"conversations": turns})[0][MESSAGES]
    assert [turn["content"] for turn in found] == ["Hi", "Hello.", ITEM.question, GOOD]


def test_turns_with_the_null_keys_of_another_kind_are_read():
    turns = [{"from": None, "value": None, **turn} for turn in chat(ITEM, GOOD)]
    turns[0] |= {"from": "human", "value": ITEM.question, "role": None, "content": None}
    assert map_row("thought_turns", {"conversations": turns})[0][MESSAGES] == chat(ITEM, GOOD)


def test_messages_that_call_tools_stay_as_they_are():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}]}
    messages = [chat(ITEM, GOOD)[0], call, {"role": "tool", "content": "5"}, chat(ITEM, GOOD)[1]]
    assert map_row("messages", {"messages": messages}) == ({MESSAGES: messages}, None)


@pytest.mark.parametrize(
    "prompt",
    ["What is 1+1?", DAPO_HEAD + "What is 1+1?" + DAPO_TAIL, DAPO_HEAD + "What is 1+1?", "What is 1+1?" + DAPO_TAIL],
)
def test_wrapper_is_stripped_where_there_is_one(prompt):
    assert map_row("dapo_processed", {"prompt": prompt, "solution": "2"}, PROBLEM)[0]["problem"] == "What is 1+1?"


def test_problem_that_repeats_is_taken_once_whatever_its_spacing():
    mapper = RowMapper(BY_NAME["dapo_processed"], [PROBLEM])
    columns = mapper({"prompt": ["What is 1+1?", "What is\n1+1?", "What is 1+2?"], "solution": ["2", "2", "3"]})
    assert columns["problem"] == ["What is 1+1?", None, "What is 1+2?"]
    assert columns["no_problem_because"] == [None, "a problem that stands in an earlier row", None]
