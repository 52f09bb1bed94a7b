# SPDX-License-Identifier: Apache-2.0
"""How process reward models read a problem and its steps: token ids, and the places at which a score is read.

The formats are those of the models' cards; see the table in `process_models`. A place is the index of the token whose
last hidden state gives the score. System prompts are the models' own: the policy's is nothing that they know.
"""

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

from open_r1.generation.messages import Message
from open_r1.test_time.rendering import render
from open_r1.test_time.scorers import ScorerError

QWEN_TAG, SHEPHERD_TAG, GOOD = "<extra_0>", "ки", "+"
QWEN_SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."

# From the text of a problem, and its steps.
Layout = Callable[[str, Sequence[str], PreTrainedTokenizerBase], tuple[list[int], list[int]]]


def single_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """Return the one token that a text is, at the start of a word where there is a choice.

    Raises:
        ValueError: It is several.
    """
    ids = tokenizer.encode(text, add_special_tokens=False)
    # Some tokenizers put the space before a word into a token of its own.
    if not ids or str(tokenizer.decode([ids[-1]])).strip() != text:
        raise ValueError(f"The tokenizer has no single token for {text!r}, by which models of this kind score.")
    return ids[-1]


def qwen_layout(problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the layout of Qwen2.5-Math-PRM, with the system prompt of its card."""
    tag = single_id(tokenizer, QWEN_TAG)
    turns = [
        {"role": "system", "content": QWEN_SYSTEM},
        {"role": "user", "content": problem.replace(QWEN_TAG, "")},
        {"role": "assistant", "content": "".join(step.replace(QWEN_TAG, "") + QWEN_TAG for step in steps)},
    ]
    ids = tokenizer.encode(render(tokenizer, turns), add_special_tokens=False)
    return ids, [place for place, token in enumerate(ids) if token == tag]


def math_shepherd_layout(
    problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Return the layout of Math-Shepherd: no chat, the question and the steps a line each."""
    tag = single_id(tokenizer, SHEPHERD_TAG)
    question = problem.replace(SHEPHERD_TAG, "")
    lines = "\n".join(f"{step.replace(SHEPHERD_TAG, '')} {SHEPHERD_TAG}" for step in steps)
    ids = tokenizer.encode(f"{question} {lines}")
    return ids, [place for place, token in enumerate(ids) if token == tag]


def rlhflow_layout(
    problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Return the layout of RLHFlow: the question stands before the first step; each step is answered by "+"."""
    turns: list[Message] = []
    ends = []
    for number, step in enumerate(steps):
        content = f"{problem} {step}" if number == 0 else step
        turns.append({"role": "user", "content": content})
        ends.append(render(tokenizer, turns, is_open=True))
        turns.append({"role": "assistant", "content": GOOD})
    text = render(tokenizer, turns)
    if any(not text.startswith(end.rstrip()) for end in ends):
        raise ScorerError("The chat template changes earlier turns as a conversation goes on: no step can be scored.")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    marks = [text.index(GOOD, len(end.rstrip())) for end in ends]
    places = []
    for mark in marks:
        covering = [place for place, (low, high) in enumerate(found["offset_mapping"]) if low <= mark < high]
        places.append(covering[0] - 1)
    return list(found["input_ids"]), places


def skywork_layout(
    problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Return the layout of Skywork-o1-Open-PRM: each line of a step on its own, and a newline, which is scored.

    The newline is a token of its own: encoded with the line, it would be one with the full stop before it for Qwen.
    """
    newline = tokenizer.encode("\n", add_special_tokens=False)[-1]
    ids = tokenizer.encode(f"{tokenizer.bos_token or ''}{problem}\n", add_special_tokens=False)
    places = []
    for step in steps:
        for line in filter(str.strip, step.split("\n")):
            ids += [*tokenizer.encode(line, add_special_tokens=False), newline]
        places.append(len(ids) - 1)
    return ids, places


LAYOUTS: dict[str, Layout] = {
    "qwen": qwen_layout,
    "math_shepherd": math_shepherd_layout,
    "rlhflow": rlhflow_layout,
    "skywork": skywork_layout,
}
