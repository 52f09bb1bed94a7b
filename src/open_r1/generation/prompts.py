# SPDX-License-Identifier: Apache-2.0
"""From rows to conversations to ask for: columns, template, system prompt, turns, and a name for each row.

    {"uuid": "a1", "problem": "Compute 7+9-8"}                         -> one user message, by the template
    {"messages": [{"role": "system", ...}, {"role": "user", ...}]}     -> the conversation as it is
    {"turns": ["Compute 7+9-8", "Now subtract 3"]}                     -> each turn when the one before is answered

1. Open R1 fills the template by `str.format`, which fails on the braces of LaTeX: here `{prompt}` is replaced, and
   doubled braces count as single ones only where the whole template is one that `str.format` takes.
"""

import json
import logging
import string
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from open_r1.generation.messages import Message, Request, Sampling, row_key

logger = logging.getLogger(__name__)

# Reasoning step by step and a boxed answer, as Open R1 asks for.
DEFAULT_TEMPLATE = (
    "You will be given a problem. Please reason step by step, and put your final answer within \\boxed{}:\n{prompt}"
)
_ROLES = {"system", "developer", "user", "assistant", "tool"}


class PromptError(ValueError):
    """A row without a prompt that could be sent."""


@dataclass(frozen=True)
class PromptSettings:
    """Which columns make the prompt, and how.

    Attributes:
        prompt_column: Text for the template, or a conversation (a list of messages), sent as it is up to its last
            user message.
        turns_column: In place of `prompt_column`: a list of texts, or a conversation of which the user's messages are
            taken; each is sent when the one before is answered.
        uuid_column: A value that tells rows apart. None: the prompt and its count do.
        template: Text with `{prompt}`; None: `DEFAULT_TEMPLATE` for texts of `prompt_column`, nothing else for turns.
        system_prompt: First message of every conversation.
    """

    prompt_column: str | None = None
    turns_column: str | None = None
    uuid_column: str | None = None
    template: str | None = None
    system_prompt: str | None = None

    def __post_init__(self) -> None:
        if (self.prompt_column is None) == (self.turns_column is None):
            raise ValueError("Name the column of the prompts, or that of the turns: one of the two.")
        if self.template is not None:
            check_template(self.template)

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        names = (self.prompt_column, self.turns_column, self.uuid_column)
        return list(dict.fromkeys(name for name in names if name is not None))


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


@dataclass
class Bad:
    """Rows that can't be asked for: how many, the first one and what is wrong with it, by the first word."""

    count: int = 0
    first_row: int = 0
    first_reason: str = ""
    rows: dict[int, str] = field(default_factory=dict)

    def add(self, row: int, reason: str) -> None:
        """Note a row."""
        if not self.count:
            self.first_row, self.first_reason = row, reason
        self.count += 1
        self.rows[row] = reason


def to_conversation(row: Mapping[str, Any], settings: PromptSettings) -> tuple[list[Message], list[str]]:
    """Return the messages to send first, and what the user says later.

    Raises:
        PromptError: The row has none.
    """
    messages: list[Message]
    turns: list[str] = []
    if settings.turns_column is not None:
        messages, turns = _read_turns(row[settings.turns_column])
        if settings.template is not None:
            messages[-1] = {"role": "user", "content": fill_template(settings.template, messages[-1]["content"])}
    else:
        value = row[settings.prompt_column or ""]
        if isinstance(value, list):
            if settings.template is not None:
                raise PromptError("a conversation, which takes no prompt template")
            messages = _read_conversation(value)
        else:
            prompt = _text(value, "prompt")
            messages = [{"role": "user", "content": fill_template(settings.template or DEFAULT_TEMPLATE, prompt)}]
    if settings.system_prompt is not None:
        if messages[0]["role"] in {"system", "developer"}:
            raise PromptError("a conversation with a system prompt of its own, and another is given")
        messages.insert(0, {"role": "system", "content": settings.system_prompt})
    return messages, turns


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise PromptError(f"{what} is {'null' if value is None else f'no text but {type(value).__name__}'}")
    if not value.strip():
        raise PromptError(f"{what} is empty")
    return value


def _read_conversation(value: list[Any]) -> list[Message]:
    """Messages up to the last one of the user: an answer that follows is what is asked for."""
    messages = [_read_message(entry) for entry in value]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages or messages[-1]["role"] != "user":
        raise PromptError("a conversation that doesn't end with the user")
    return messages


def _read_message(value: Any) -> Message:
    if not isinstance(value, Mapping) or value.get("role") not in _ROLES:
        raise PromptError(f"a message that is none: {str(value)[:80]}")
    return {"role": value["role"], "content": _text(value.get("content"), "content of a message")}


def _read_turns(value: Any) -> tuple[list[Message], list[str]]:
    if not isinstance(value, list) or not value:
        raise PromptError(f"turns are {'null' if value is None else 'no list, or an empty one'}")
    if isinstance(value[0], Mapping):
        messages = [_read_message(entry) for entry in value]
        system = [message for message in messages[:1] if message["role"] in {"system", "developer"}]
        texts = [message["content"] for message in messages if message["role"] == "user"]
    else:
        system, texts = [], [_text(entry, "turn") for entry in value]
    if not texts:
        raise PromptError("turns hold nothing of the user")
    return [*system, {"role": "user", "content": texts[0]}], texts[1:]


class PromptRows(Protocol):
    """Rows with the columns of `PromptSettings`, such as those of a `RowSource`."""

    @property
    def name(self) -> str:
        """What messages call them."""
        ...

    def rows(self, columns: list[str] | None = None, *, end: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows before `end` in order."""
        ...


class Prompts:
    """The conversations of all rows, in a temporary file: millions of them, in any order, in little memory.

    Attributes:
        num_rows: Rows that were read.
        bad: Rows that can't be asked for.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as this object
        self._offsets = array("Q", [0])
        self._prints = array("Q")
        self._occurrences: np.ndarray = np.zeros(0, dtype=np.int64)
        self.bad = Bad()

    @property
    def num_rows(self) -> int:
        return len(self._prints)

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()

    def read(self, source: PromptRows, settings: PromptSettings, num_rows: int) -> None:
        """Read the first rows of a source.

        Raises:
            ValueError: Rows share a value of the uuid column, or none can be asked for.
        """
        for number, row in enumerate(source.rows(settings.columns, end=num_rows)):
            try:
                messages, turns = to_conversation(row, settings)
            except PromptError as error:
                self.bad.add(number, str(error))
                messages, turns = [], []
            uuid = row[settings.uuid_column] if settings.uuid_column is not None else None
            value = uuid if settings.uuid_column is not None else [messages, turns]
            try:
                key = row_key(value)
            except TypeError:
                raise ValueError(
                    f"Row {number}: the value of {settings.uuid_column!r} is {type(value).__name__}, which is no id; "
                    "name another column by --uuid-column, or none."
                ) from None
            self._add(key, messages, turns)
        self._file.flush()
        self._count_occurrences(settings)
        if self.bad.count == self.num_rows:
            raise ValueError(f"No row of {source.name!r} can be asked for; row 0: {self.bad.first_reason}.")

    def _add(self, key: str, messages: Sequence[Message], turns: Sequence[str]) -> None:
        line = json.dumps([key, messages, turns], ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))
        self._prints.append(int(key[:16], 16))

    def _count_occurrences(self, settings: PromptSettings) -> None:
        """Number rows of the same value, in the order of the source."""
        prints = np.frombuffer(self._prints, dtype=np.uint64)
        order = np.argsort(prints, kind="stable")
        is_new = np.ones(len(prints), dtype=bool)
        is_new[1:] = prints[order][1:] != prints[order][:-1]
        places = np.arange(len(prints))
        self._occurrences = np.empty(len(prints), dtype=np.int64)
        self._occurrences[order] = places - np.maximum.accumulate(np.where(is_new, places, 0))
        if settings.uuid_column is not None and not is_new.all():
            again = int(np.flatnonzero(self._occurrences)[0])
            first = int(np.flatnonzero(prints == prints[again])[0])
            raise ValueError(
                f"{int((~is_new).sum())} of {len(prints)} rows have a value of {settings.uuid_column!r} that an "
                f"earlier row has (rows {first} and {again} are the first such pair): results couldn't be told apart. "
                "Name another column by --uuid-column, or leave it out: rows are then told apart by their prompts."
            )

    def get(self, row: int) -> tuple[str, list[Message], list[str]]:
        """Return key, messages and turns of a row; no messages: it can't be asked for."""
        begin, end = self._offsets[row], self._offsets[row + 1]
        self._file.seek(begin)
        key, messages, turns = json.loads(self._file.read(end - begin).decode("utf-8", "surrogatepass"))
        occurrence = int(self._occurrences[row])
        return (row_key(key, occurrence) if occurrence else key), messages, turns

    def requests(
        self, rows: Sequence[int] | np.ndarray, num_generations: int, sampling: Sampling | None = None
    ) -> Iterator[Request]:
        """Yield a request for each generation of each row that can be asked for."""
        for row in rows:
            key, messages, turns = self.get(int(row))
            if messages:
                for index in range(num_generations):
                    yield Request(key, index, messages, turns, sampling=sampling or Sampling())


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
    return rows if limit is None else rows[:limit]
