# SPDX-License-Identifier: Apache-2.0
"""Rows of SFT as they are trained on, and what a chat template or `max_length` takes away from them.

R1-Distill's published template keeps only what follows </think>, so that a row

    [{"role": "user", "content": "1+0?"}, {"role": "assistant", "content": "<think>add 0</think>1"}]

would train on `<｜User｜>1+0?<｜Assistant｜>1<｜end▁of▁sentence｜>`: such data are refused. A training counts all
of its rows, `check_only` 1,000 from all over them.
"""

import json
import logging
import random
import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import trl
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import get_training_chat_template, has_generation_markers
from trl.data_utils import is_conversational
from trl.trainer.utils import global_then_local_main_first

from open_r1.configs.training import SFTConfig
from open_r1.data.sources import keep_rows, row_numbers

logger = logging.getLogger(__name__)

_NUM_ROWS_CHECKED = 1000
_MOST_DROPPED, _MOST_CUT = 0.01, 0.5  # shares of the rows
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # where a message may have them beside its `content`

Row = dict[str, Any]


@dataclass(frozen=True)
class RowFigures:
    """Numbers of rows and tokens; all but `num_rows` are of the rows that were checked.

    Attributes:
        dropped: Rows of which the chat template drops something that the assistant said.
        cut: Rows longer than `max_length`.
        answers_cut: Rows that lose tokens to learn by that.
    """

    num_rows: int
    checked: int
    dropped: int
    cut: int
    answers_cut: int
    tokens: int
    tokens_lost: int
    longest: int

    def __str__(self) -> str:
        cut, answers, dropped = (
            f"{number / self.checked:.1%}" for number in (self.cut, self.answers_cut, self.dropped)
        )
        return (
            f"Rows: {self.checked:,} of {self.num_rows:,} checked; {cut} longer than `max_length` (answers cut: "
            f"{answers}, tokens lost: {self.tokens_lost / self.tokens:.1%}); the chat template drops words of the "
            f"assistant in {dropped}"
        )


def tokenize_rows(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, training_args: SFTConfig, where: str
) -> tuple[Dataset, RowFigures]:
    """Return the rows with the ids and labels that TRL gives them, uncut, and what is lost of them.

    Args:
        rows: Messages, prompts with completions, or text.
        tokenizer: Has the chat template.
        training_args: Says what is learned; with `check_only` a sample is returned.
        where: The rows in messages.

    Raises:
        ValueError: The template fails on a row, or drops text of the assistant in 1 % of the rows; no row ends in EOS;
            or more than half of the answers are cut and `allow_cut_rows` is not set.
    """
    num_rows = len(rows)
    if training_args.check_only:
        rows = keep_rows(rows, sorted(random.Random(0).sample(range(num_rows), min(num_rows, _NUM_ROWS_CHECKED))))
    numbers = row_numbers(rows)
    template, num_proc = None, training_args.dataset_num_proc
    if training_args.assistant_only_loss and not is_conversational(rows[0]):
        raise ValueError(f"{where}: `assistant_only_loss: true` needs messages, and the rows are text.")
    if training_args.assistant_only_loss and not has_generation_markers(tokenizer.chat_template):
        template = get_training_chat_template(tokenizer)
    render = partial(_render, tokenizer, template)
    is_completion_only = "completion" in rows.column_names and training_args.completion_only_loss is not False
    compare = partial(_compare, render=render, is_completion_only=is_completion_only, where=where, numbers=numbers)
    what = "Comparing rows with what the template prints"
    with global_then_local_main_first():  # the others find the cache
        kept = rows.map(compare, with_indices=True, desc=what, num_proc=num_proc, remove_columns=rows.column_names)
    dropped = [number for number, text in enumerate(kept["dropped"]) if text]
    if len(dropped) >= _MOST_DROPPED * len(rows):
        first = dropped[0]
        raise ValueError(
            f"{where}: of {len(dropped) / len(rows):.1%} of the rows the chat template drops something that the "
            f"assistant said (in row {numbers[first]} {kept[first]['dropped'][:80]!r}), which would not be learned. "
            "Set `chat_template` to one that keeps it, such as those in recipes/templates (docs/training.md)."
        )

    whole = copy(training_args)
    whole.max_length, whole.shuffle_dataset = None, False
    # The part of the trainer that its method reads: the rows are tokenized before a model is loaded.
    trainer = SimpleNamespace(_tokenizer=tokenizer, chat_template=template, completion_only_loss=is_completion_only)
    rows = trl.SFTTrainer._prepare_dataset(trainer, rows, tokenizer, whole, False, None, where)
    kept_part, limit = slice(None), training_args.max_length
    if limit is not None and (not training_args.packing or training_args.packing_strategy == "bfd"):
        kept_part = slice(None, limit) if training_args.truncation_mode == "keep_start" else slice(-limit, None)
    measure = partial(_measure, tokenizer=tokenizer, kept=kept_part)
    with global_then_local_main_first():
        sizes = rows.map(measure, desc="Measuring rows", num_proc=num_proc, remove_columns=rows.column_names)
    figures = RowFigures(
        num_rows=num_rows,
        checked=len(rows),
        dropped=len(dropped),
        cut=sum(lost > 0 for lost in sizes["num_lost"]),
        answers_cut=sum(sizes["is_answer_cut"]),
        tokens=sum(sizes["num_tokens"]),
        tokens_lost=sum(sizes["num_lost"]),
        longest=max(sizes["num_tokens"]),
    )
    if not any(sizes["has_end"]):
        raise ValueError(
            f"{where}: none of {len(rows)} rows ends in the EOS token {tokenizer.eos_token!r} as a label, so the "
            "model would never learn to stop. Check the chat template, `eos_token`, and whether `max_length` "
            f"({training_args.max_length}) cuts every row."
        )
    if figures.answers_cut > _MOST_CUT * len(rows) and not training_args.allow_cut_rows:
        raise ValueError(
            f"{where}: `max_length` ({training_args.max_length}) cuts {figures.answers_cut / len(rows):.1%} of the "
            f"answers; the longest row has {figures.longest} tokens. Raise it, leave long rows out, or set "
            "`allow_cut_rows: true`."
        )
    if figures.cut or figures.dropped:
        logger.warning("%s: %s.", where, figures)
    return rows, figures


def _messages_of(row: Row) -> list[Row]:
    """Return the conversation of a row; an empty one for text."""
    whole = row["prompt"] + row["completion"] if "completion" in row else row.get("messages")
    return whole if isinstance(whole, list) else []


def _render(tokenizer: PreTrainedTokenizerBase, template: str | None, messages: list[Row], row: Row) -> str:
    """Return the text of messages as TRL has it rendered."""
    tools, given = row.get("tools"), row.get("chat_template_kwargs") or {}
    tools = json.loads(tools) if isinstance(tools, str) else tools
    return tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template, tools=tools, **given)


def _compare(
    row: Row, number: int, render: partial[Any], *, is_completion_only: bool, where: str, numbers: Sequence[int]
) -> dict[str, Any]:
    """Return the first thing that the assistant said and a rendered row lacks a part of.

    White space doesn't count, nor do <think> tags, which templates write in ways of their own.
    """
    messages = _messages_of(row)
    try:
        said_by = [_said(message) for message in messages]
        rendered = _squeeze(render(messages, row)) if messages else ""
    except Exception as error:  # Jinja and template authors raise what they like
        raise ValueError(
            f"{where}, row {numbers[number]} (from 0) can't be rendered: {type(error).__name__}: {error}; it is "
            f"{str(messages)[:200]}"
        ) from error
    first, place, lost = len(row["prompt"]) if is_completion_only else 0, 0, ""
    for index, (message, parts) in enumerate(zip(messages, said_by, strict=True)):
        end = _end_of(parts, rendered, place)
        if end is None and message["role"] == "assistant" and index >= first:
            lost = lost or " ".join(parts).strip()
        place = place if end is None else end
    return {"dropped": lost}


def _end_of(texts: list[str], rendered: str, place: int) -> int | None:
    """Return where texts end that follow each other from a place on; None where one of them is missing."""
    for text in map(_squeeze, texts):
        found = rendered.find(text, place)
        if found < 0:
            return None
        place = found + len(text)
    return place


def _said(message: Row) -> list[str]:
    """Return what a message says, in parts: thoughts beside it, its text around <think> tags, names of tools."""
    if not isinstance(message["role"], str):
        raise TypeError("the role of a message must be text")
    calls = [(call.get("function") or call)["name"] for call in message.get("tool_calls") or []]
    beside = [message[name].strip() for name in _THOUGHTS if message.get(name)]
    return [*beside, *re.split("</?think>", message.get("content") or ""), *calls]


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _measure(row: Row, tokenizer: PreTrainedTokenizerBase, kept: slice) -> dict[str, Any]:
    """Return how many tokens a row has and loses, whether it loses some to learn, and whether it ends in EOS then."""
    whole, labels = row["labels"], row["labels"][kept]
    num_lost = len(whole) - len(labels)
    end = next((label for label in reversed(labels) if label != -100 and tokenizer.decode(label).strip()), None)
    return {
        "num_tokens": len(whole),
        "num_lost": num_lost,
        "is_answer_cut": whole.count(-100) - labels.count(-100) < num_lost,
        "has_end": end == tokenizer.eos_token_id,
    }
