# SPDX-License-Identifier: Apache-2.0
"""The problems of a benchmark as token ids, by the chat template of the model's tokenizer; token ids as text."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from open_r1.evaluation.prompts import Problems
from open_r1.generation.messages import Message
from open_r1.test_time.backends import Backend
from open_r1.test_time.methods import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def render_problems(
    problems: Problems, backend: Backend, answer_reserve_tokens: int, room_tokens: int
) -> list[Problem]:
    """Return the problems that are asked, without those that the model's context has no room for.

    Args:
        problems: Rows and golds.
        backend: The model.
        answer_reserve_tokens: What a prompt must leave for the answer.
        room_tokens: What it must leave beside, for what methods add to it (`Method.room_tokens`).

    Raises:
        ValueError: The tokenizer has no chat template, it refuses a conversation, or all prompts are too long.
    """
    tokenizer, context = backend.tokenizer, backend.max_model_len
    if not tokenizer.chat_template:
        raise ValueError(f"The tokenizer of {tokenizer.name_or_path!r} has no chat template: prompts can't be made.")
    found: list[Problem] = []
    too_long: list[int] = []
    for row, problem in problems.by_row.items():
        messages = problem.messages
        ids = tokenizer.encode(render(tokenizer, messages, is_open=True), add_special_tokens=False)
        if len(ids) + room_tokens + answer_reserve_tokens > context:
            too_long.append(row)
        else:
            found.append(Problem(row, tuple(messages), tuple(ids), problem.text or messages[-1]["content"]))
    if not found:
        raise ValueError(
            f"All prompts are too long: with {answer_reserve_tokens} tokens for the answer and {room_tokens} beside, "
            f"none fits the context of {context}. Give a longer one by --max_model_len, or lower "
            "--answer_reserve_tokens."
        )
    if too_long:
        logger.warning(
            "%d of %d prompts are too long for the context of %d tokens; they are left out. The first is row %d.",
            len(too_long),
            len(problems.by_row),
            context,
            too_long[0],
        )
    return found


def render(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Message], *, is_open: bool = False) -> str:
    """Return a conversation in the tokenizer's chat template; open: the assistant is to speak next.

    Raises:
        ValueError: The template refuses it, as some do a system prompt.
    """
    try:
        text = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tokenize=False, add_generation_prompt=is_open
        )
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise ValueError(
            f"The chat template of {tokenizer.name_or_path!r} refuses the conversation ({roles}): {error}."
        ) from error
    assert isinstance(text, str)  # of one conversation, untokenized
    return text


def decode(
    tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int], *, skip_special_tokens: bool = False
) -> str:
    """Return the text of one sequence of token ids."""
    text = tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
    assert isinstance(text, str)  # of one sequence
    return text
