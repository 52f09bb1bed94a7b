# SPDX-License-Identifier: Apache-2.0
"""Prompts of rows: column, template, system prompt, and a name for each row.

    {"uuid": "a1", "problem": "Compute 7+9-8"}                         -> one user message, by the template
    {"messages": [{"role": "system", ...}, {"role": "user", ...}]}     -> the conversation as it is

1. Open R1 fills the template by `str.format`, which fails on the braces of LaTeX: here `{prompt}` is replaced, and
   doubled braces count as single ones only where the whole template is one that `str.format` takes.
"""

import logging
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from open_r1.data.sources import RowSource
from open_r1.generation.messages import Message, Request, Sampling, row_key

logger = logging.getLogger(__name__)

# Reasoning step by step and a boxed answer, as Open R1 asks for.
DEFAULT_TEMPLATE = (
    "You will be given a problem. Please reason step by step, and put your final answer within \\boxed{}:\n{prompt}"
)
_SYSTEM_ROLES = {"system", "developer"}
_ROLES = {*_SYSTEM_ROLES, "user", "assistant", "tool"}


class PromptError(ValueError):
    """A row without a prompt that could be sent."""


@dataclass(frozen=True)
class PromptSettings:
    """Which columns make the prompt, and how.

    Attributes:
        prompt_column: Text for the template, or a conversation (a list of messages), sent as it is up to its last
            user message.
        uuid_column: A value that tells rows apart. None: the prompt does.
        template: Text with `{prompt}`; None: `DEFAULT_TEMPLATE` for texts.
        system_prompt: First message of every conversation.
    """

    prompt_column: str
    uuid_column: str | None = None
    template: str | None = None
    system_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.template is not None:
            check_template(self.template)

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return [*dict.fromkeys(filter(None, (self.prompt_column, self.uuid_column)))]


def check_template(template: str) -> None:
    """Raise a ValueError if there is no place for the prompt."""
    if "{prompt}" not in template:
        raise ValueError(f"The prompt template has no {{prompt}}: {template!r}.")


def fill_template(template: str, prompt: str) -> str:
    """Return the template with the prompt in place of `{prompt}`.

    >>> fill_template(r"Answer in \\boxed{}: {prompt}", "{x}"), fill_template(r"In \\boxed{{}}: {prompt}", "{x}")
    ('Answer in \\\\boxed{}: {x}', 'In \\\\boxed{}: {x}')
    """
    try:
        fields = {name for _, name, spec, conversion in string.Formatter().parse(template) if name is not None}
    except ValueError:
        fields = set()
    parts = template.split("{prompt}")
    if fields == {"prompt"}:
        parts = [part.replace("{{", "{").replace("}}", "}") for part in parts]
    return prompt.join(parts)


def to_conversation(row: Mapping[str, Any], settings: PromptSettings) -> list[Message]:
    """Return the messages to send.

    Raises:
        PromptError: The row has none.
    """
    value = row[settings.prompt_column]
    messages: list[Message]
    if isinstance(value, list):
        if settings.template is not None:
            raise PromptError("a conversation, to which no prompt template applies")
        # Up to the last message of the user: an answer that follows is what is asked for.
        messages = [_read_message(entry) for entry in value]
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages or messages[-1]["role"] != "user":
            raise PromptError("a conversation that doesn't end with the user")
    else:
        text = fill_template(settings.template or DEFAULT_TEMPLATE, _text(value, "prompt"))
        messages = [{"role": "user", "content": text}]
    if settings.system_prompt is not None:
        if messages[0]["role"] in _SYSTEM_ROLES:
            raise PromptError("a conversation with a system prompt, besides the given one")
        messages.insert(0, {"role": "system", "content": settings.system_prompt})
    return messages


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise PromptError(f"{what} is {'null' if value is None else f'no text but {type(value).__name__}'}")
    if not value.strip():
        raise PromptError(f"{what} is empty")
    return value


def _read_message(value: Any) -> Message:
    if not isinstance(value, Mapping) or value.get("role") not in _ROLES:
        raise PromptError(f"not a message: {str(value)[:80]}")
    return {"role": value["role"], "content": _text(value.get("content"), "content of a message")}


class Prompts:
    """Conversations of rows, and a name for each in a journal; a row is read again when it is asked for.

    Args:
        source: The rows.
        settings: Columns and template.
        num_rows: The first rows, of which names are made and faults are found.

    Attributes:
        keys: Names of the rows.
        bad: Rows that can't be asked for, and why.

    Raises:
        ValueError: None can be asked for.
    """

    def __init__(self, source: RowSource, settings: PromptSettings, num_rows: int) -> None:
        self._read = source.dataset.select_columns(settings.columns).__getitem__
        self._settings = settings
        self.keys: list[str] = []
        self.bad: dict[int, str] = {}
        seen: Counter[str] = Counter()
        for number, row in enumerate(source.rows(settings.columns, end=num_rows)):
            value: Any = []
            try:
                value = to_conversation(row, settings)
            except PromptError as error:
                self.bad[number] = str(error)
            key = row_key(value if settings.uuid_column is None else row[settings.uuid_column])
            self.keys.append(row_key(key, seen[key]) if seen[key] else key)
            seen[key] += 1
        if len(self.bad) == len(self.keys):
            raise ValueError(f"No row of {source.name!r} can be used; row 0: {self.bad[0]}.")
        for row, reason in [*self.bad.items()][:1]:
            logger.warning("%d rows can't be used; the first is row %d: %s.", len(self.bad), row, reason)

    def requests(self, rows: Iterable[int], num_generations: int, sampling: Sampling) -> Iterator[Request]:
        """Yield a request for each generation of each row that can be asked for."""
        for row in map(int, rows):
            if row not in self.bad:
                messages = to_conversation(self._read(row), self._settings)
                for index in range(num_generations):
                    yield Request(self.keys[row], index, messages, sampling=sampling)

    def names(self, rows: Iterable[int], num_generations: int) -> Iterator[tuple[str, int]]:
        """Yield key and index of each request."""
        return ((self.keys[int(row)], i) for row in rows if int(row) not in self.bad for i in range(num_generations))


def choose_rows(num_rows: int, limit: int | None, shuffle_seed: int | None) -> np.ndarray:
    """Return the numbers of the rows to ask for, in the order of asking.

    Args:
        num_rows: Rows of the source.
        limit: How many are chosen; None: all.
        shuffle_seed: None: the first ones, in their order.
    """
    rows = np.arange(num_rows)
    if shuffle_seed is not None:
        rows = np.random.default_rng(shuffle_seed).permutation(num_rows)
    return rows[:limit]
