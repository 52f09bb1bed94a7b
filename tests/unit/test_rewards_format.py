# SPDX-License-Identifier: Apache-2.0
"""Rewards for the layout: format, soft and think format, tag_count, reasoning_steps, code_format, and their text."""

import pytest

from open_r1.rewards import (
    RewardContext,
    completion_text,
    format_reward,
    get_code_format_reward,
    reasoning_steps_reward,
    tag_count_reward,
)
from open_r1.rewards.base import group_slices
from open_r1.rewards.format_rewards import soft_format_reward, think_format_reward


def message(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


GOOD = "<think>\nSome reasoning\n</think>\n<answer>\nThe answer\n</answer>"
PREFILLED = RewardContext(completion_prefix="<think>\n")

FORMATS = [
    (GOOD, 1.0),
    (GOOD + "\n", 1.0),
    ("<think>\nmany\n\nlines\n</think>\n<answer>\n9\n10\n</answer>", 1.0),
    ("<think>Only thinking</think>", 0.0),
    ("<answer>Only answer</answer>", 0.0),
    ("No tags at all", 0.0),
    ("", 0.0),
    ("<think>inline</think><answer>inline</answer>", 0.0),
    ("<think>Wrong order</answer><answer>Wrong order</think>", 0.0),
    ("<answer>\n1\n</answer>\n<think>\n2\n</think>", 0.0),
    (" " + GOOD, 0.0),
    ("Sure!\n" + GOOD, 0.0),
    (GOOD + " and more", 0.0),
    (GOOD + "\nand more", 0.0),
    (GOOD + "\n" + GOOD, 0.0),
    (GOOD.replace("</think>\n", "</think>\n\n"), 0.0),
    ("<think>\na\n</think>\n<think>\nb\n</think>\n<answer>\nc\n</answer>", 0.0),
    ("<think>\na\n</think>\n<answer>\n\n</answer>", 0.0),
    ("<think>\na\n</think>\n<answer>\n</answer>", 0.0),
    ("<think>\n\n</think>\n<answer>\nc\n</answer>", 0.0),
    ("<think>\n</think>\n<answer>\nc\n</answer>", 0.0),
    ("\n</think>\n<answer>\n" * 50_000, 0.0),
]


@pytest.mark.parametrize(("text", "reward"), FORMATS, ids=lambda value: repr(value)[:30])
def test_format_reward(text: str, reward: float):
    assert format_reward([message(text)]) == [reward]
    assert format_reward([text]) == [reward]


def test_think_tag_opened_by_the_template_counts():
    completions = [message(GOOD.removeprefix("<think>\n")), message(GOOD)]
    assert format_reward(completions) == [0.0, 1.0]
    assert format_reward(completions, context=PREFILLED) == [1.0, 0.0]  # the second one opens it twice
    assert tag_count_reward(completions, context=PREFILLED) == [1.0, 0.75]


SOFT_FORMATS = [
    ("<think>" * 100_000, 0.0),
    ("<think></think><answer></answer>" * 30_000, 0.0),
    ("<think>\x00\ud800</think><answer>4</answer>", 0.0),
    ("", 0.0),
    ("42", 0.0),
    ("<think> \n</think><answer>4</answer>", 0.0),
    ("<think>2 + 2</think><answer>\n\t</answer>", 0.0),
    ("<think>2 + 2</think><answer>4", 0.0),
    ("<think>2 + 2<answer>4</answer></think>", 0.0),
    ("<think>2 + 2<answer></think>4</answer>", 0.0),
    ("<answer>4</answer><think>2 + 2</think>", 0.0),
    ("Sure! <think>2 + 2</think><answer>4</answer>", 0.0),
    ("<think>2 + 2</think> So: <answer>4</answer>", 0.0),
    ("<think>2 + 2</think><answer>4</answer>.", 0.0),
    ("<think>2</think><think>2</think><answer>4</answer>", 0.0),
    ("<think>2 + 2</think><answer>4</answer><answer>4</answer>", 0.0),
    ("<THINK>2 + 2</THINK><ANSWER>4</ANSWER>", 0.0),
    (GOOD, 1.0),
    ("<think>2 + 2</think><answer>4</answer>", 1.0),
    (" \n<think>2 + 2</think>\n\n \t<answer> 4 </answer>\n ", 1.0),
]

THINK_FORMATS = [
    ("<think>" * 100_000, 0.0),
    ("</think>" * 100_000, 0.0),
    ("<think>\x00\ud800</think>4", 0.0),
    ("", 0.0),
    ("42", 0.0),
    ("<think>2 + 2", 0.0),
    ("<think>2 + 2</think>", 0.0),
    ("<think>2 + 2</think> \n ", 0.0),
    ("<think>\n\n</think>\n\n4", 0.0),
    ("Sure! <think>2 + 2</think>4", 0.0),
    ("2 + 2</think>4<think>", 0.0),
    ("<think>2</think><think>2</think>4", 0.0),
    (GOOD, 0.0),
    ("<think>2 + 2</think>4</answer>", 0.0),
    ("<think>Should I write <answer>? No.</think>4", 1.0),
    ("<think>\n2 + 2\n</think>\n\nIt is 4.", 1.0),
    ("\n <think>2 + 2</think>4", 1.0),
]


@pytest.mark.parametrize(("text", "reward"), SOFT_FORMATS, ids=lambda value: repr(value)[:60])
def test_soft_format_reward(text: str, reward: float):
    assert soft_format_reward([message(text)]) == [reward]


@pytest.mark.parametrize(("text", "reward"), THINK_FORMATS, ids=lambda value: repr(value)[:60])
def test_think_format_reward(text: str, reward: float):
    assert think_format_reward([message(text)]) == [reward]


@pytest.mark.parametrize("prefix", ["<think>", "<think>\n", "Let me solve this step by step.\n<think>"])
@pytest.mark.parametrize(
    ("reward", "rest"),
    [(soft_format_reward, "2 + 2</think> <answer>4</answer>"), (think_format_reward, "2 + 2</think> It is 4.")],
)
def test_soft_layouts_count_in_what_the_template_opened(reward, rest: str, prefix: str):
    context = RewardContext(completion_prefix=prefix)
    assert reward([message(rest)]) == [0.0]
    assert reward([message(rest)], context=context) == [1.0]
    assert reward([message(prefix + rest)], context=context) == [0.0]
    moved = {"role": "assistant", "reasoning_content": "2 + 2", "content": rest.partition("</think>")[2]}
    assert reward([[moved]], context=context) == [1.0]


@pytest.mark.parametrize(
    "unseen", ["", " \n", "\x00", "\u200b", "\ufeff\u2060", "\u3164", "\u2800", "\ufe0f", "\u00ad"]
)
def test_blocks_of_characters_that_nobody_sees_are_blank(unseen: str):
    for reasoning, answer in ((unseen, "4"), ("2 + 2", unseen)):
        layout = f"<think>\n{reasoning}\n</think>\n<answer>\n{answer}\n</answer>"
        assert format_reward([layout]) == soft_format_reward([layout]) == [0.0]
        assert think_format_reward([f"<think>{reasoning}</think>{answer}"]) == [0.0]


def test_the_strict_layout_is_soft_too():
    for text, reward in FORMATS:
        assert reward <= soft_format_reward([text])[0]


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        (GOOD, 1.0),
        (GOOD.replace("<think>\n", ""), 0.75),
        (GOOD.replace("\n</think>", ""), 0.75),
        (GOOD.replace("<answer>\n", ""), 0.75),
        (GOOD.replace("\n</answer>", ""), 0.75),
        (GOOD + "\n</answer>", 0.75),
        (GOOD * 2, 0.0),
        ("<think>a</think><answer>b</answer>", 0.0),
        ("Some reasoning\nThe answer", 0.0),
        ("", 0.0),
    ],
)
def test_tag_count_reward(text: str, reward: float):
    assert tag_count_reward([message(text)]) == [reward]


@pytest.mark.parametrize(
    ("text", "num_steps"),
    [
        ("Step 1: First step\nStep 2: Second step\nStep 3: Third step", 3),
        ("First, we do this.\nSecond, we do that.\nFinally, we conclude.", 3),
        ("1. one\n2. two\n3. three\n4. four", 4),
        ("text\n- one\n- two\n* three", 3),
        ("Step 1: Only step", 1),
        ("First, this.\nFinally, that.", 2),
        ("First, First, First, First,", 1),
        ("1. a\n1. a\n1. a", 1),
        ("- a\n- a\n- a", 1),
        ("Just plain text, 1.5 long", 0),
        ("", 0),
    ],
)
def test_reasoning_steps_reward(text: str, num_steps: int):
    assert reasoning_steps_reward([message(text)]) == [min(1.0, num_steps / 3)]


def in_layout(answer: str) -> list[dict]:
    return message(f"<think>\nAnalysis\n</think>\n<answer>\n{answer}\n</answer>")


@pytest.mark.parametrize(
    ("answer", "language", "reward"),
    [
        ("```python\nprint(1)\n```", "python", 1.0),
        ("Here:\n```python\nprint(1)\n```\nand\n```python\nprint(2)\n```", "python", 1.0),
        ("```javascript\nconsole.log(1);\n```", "javascript", 1.0),
        ("```javascript\nconsole.log(1);\n```", "java", 0.0),
        ("```rust\nfn main() {}\n```", "r", 0.0),
        ("```c++\nint main() {}\n```", "c++", 1.0),
        ("```py\nprint(1)\n```", "python", 1.0),
        ("```Python\nprint(1)\n```", "python", 1.0),
        ("```python3\nprint(1)\n```", "python", 1.0),
        ("```C++17\nint main() {}\n```", "cpp", 1.0),
        ("```R\nprint(1)\n```", "r", 1.0),  # a language that no sandbox knows has no other names
        ("```\nprint(1)\n```", "python", 0.0),
        ("```python\nprint(1)", "python", 0.0),
        ("```python\n\n```", "python", 0.0),
        ("plain text", "python", 0.0),
    ],
)
def test_code_format_reward(answer: str, language: str, reward: float):
    assert get_code_format_reward(language=language)([in_layout(answer)]) == [reward]


def test_code_in_the_reasoning_alone_is_no_program():
    text = "<think>\n```python\nx = 1\n```\n</think>\n<answer>\nx is 1\n</answer>"
    assert get_code_format_reward()([message(text)]) == [0.0]


def test_code_format_takes_the_language_of_the_row():
    completions = [in_layout("```cpp\nint main() {}\n```")] * 3
    assert get_code_format_reward()(completions, language=["cpp", "python", None]) == [1.0, 0.0, 0.0]
    assert get_code_format_reward()(completions) == [0.0] * 3


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ([], ""),
        ([{"content": "no role"}], "no role"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], ""),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "ab"),
        (
            [
                {"role": "assistant", "content": "calls a tool"},
                {"role": "tool", "content": "7"},
                {"role": "assistant", "content": "It is 7"},
            ],
            "It is 7",
        ),
        (
            [{"role": "assistant", "reasoning_content": "2 + 2", "content": "<answer>\n4\n</answer>"}],
            "<think>\n2 + 2\n</think>\n<answer>\n4\n</answer>",
        ),
        ([{"role": "assistant", "thinking": "2 + 2\n", "content": "4"}], "<think>\n2 + 2\n</think>\n4"),
        ([{"role": "assistant", "reasoning_content": "cut off", "content": ""}], "<think>\ncut off"),
        ([{"role": "assistant", "reasoning_content": "", "content": "4"}], "4"),
    ],
)
def test_completion_text(completion: object, text: str):
    assert completion_text(completion) == text


def test_completion_text_adds_what_the_prompt_opened():
    assert completion_text("2 + 2", PREFILLED) == "<think>\n2 + 2"
    assert completion_text("<think>\n2 + 2", PREFILLED) == "<think>\n<think>\n2 + 2"
    moved = [{"role": "assistant", "reasoning_content": "2 + 2", "content": "4"}]
    assert completion_text(moved, PREFILLED) == "<think>\n2 + 2\n</think>\n4"


def test_content_of_an_unknown_kind_is_refused():
    with pytest.raises(TypeError, match="content"):
        completion_text([{"role": "assistant", "content": 3}])


@pytest.mark.parametrize(
    ("prompts", "num_generations", "sizes"),
    [
        (["a", "a", "b", "b"], 2, [2, 2]),
        (["a", "a", "a", "a"], 2, [2, 2]),
        (["a", "a", "a", "a"], 1, [4]),
        (["a", "b", "a"], 4, [1, 1, 1]),
        ([[{"role": "user", "content": "a"}]] * 3, 8, [3]),
        (None, 2, [2, 2]),
        (None, 1, [4]),
        ([], 4, []),
    ],
)
def test_group_is_a_run_of_equal_prompts(prompts: list | None, num_generations: int, sizes: list[int]):
    num_rows = sum(sizes)
    slices = group_slices(prompts, num_rows, RewardContext(num_generations=num_generations))
    assert [part.stop - part.start for part in slices] == sizes
    assert [row for part in slices for row in range(num_rows)[part]] == list(range(num_rows))


def test_prompts_of_another_batch_are_refused():
    with pytest.raises(ValueError, match="1 prompts for 2 completions"):
        group_slices(["a"], 2)
