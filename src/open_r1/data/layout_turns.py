# SPDX-License-Identifier: Apache-2.0
"""Readers of conversations: each returns the `messages` that SFT learns, or raises `UnmappableError`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from open_r1.data.layout_readers import Gold, Row, Text, text_of
from open_r1.data.thoughts import THOUGHT_OPEN, UnmappableError, is_tagged, reply, tagged_reply, trace_reply

Messages = list[dict[str, Any]]
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_KNOWN_ROLES = {"system", "developer", "user", "assistant", "tool"}


def conversation(question: str, answer: str) -> Messages:
    """Return a question and its answer as messages."""
    return [{"role": "user", "content": question.strip()}, {"role": "assistant", "content": answer}]


def as_message(turn: object) -> dict[str, str]:
    """Return a from/value or role/content turn as a message.

    Raises:
        UnmappableError: Its role is unknown, or it has no text.
    """
    if not isinstance(turn, Mapping):
        raise UnmappableError("a turn that is no mapping")
    # Where files of both kinds were joined, a turn has all four keys, two of them null.
    name = turn.get("role") if turn.get("from") is None else turn["from"]
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise UnmappableError(f"a turn of the role {str(name)[:30]!r}")
    content = turn.get("content") if turn.get("value") is None else turn["value"]
    return {"role": role, "content": text_of(content, "a turn")}


def chat_of(row: Row, columns: tuple[str, ...]) -> Messages:
    """Return the prompt in the first of these columns that is there: text, or turns up to the last of the user.

    Raises:
        UnmappableError: There is none.
    """
    name = next(column for column in columns if column in row)
    value = row[name]
    if isinstance(value, list) and len(value) > 1:  # a conversation; what follows answers its last user turn
        messages = [as_message(turn) for turn in value]
        last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
        if last >= 0:
            return messages[: last + 1]
    return [{"role": "user", "content": text_of(value, name).strip()}]


class Prompt(Text):
    """The prompt of a row whose turns, where it has several, are all kept; as text it is the user's last turn."""

    def read(self, row: Row) -> str:
        value = row[next(column for column in self.columns if column in row)]
        return chat_of(row, self.columns)[-1]["content"] if isinstance(value, list) else super().read(row)


@dataclass(frozen=True)
class AsTheyAre:
    """Messages that are in the right form already; checked, not changed."""

    column: str = "messages"

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return ((self.column,),)

    @property
    def may_read(self) -> tuple[str, ...]:
        return ()

    def read(self, row: Row) -> Messages:
        messages = row[self.column]
        if not isinstance(messages, list) or not messages:
            raise UnmappableError(f"{self.column!r} holds no messages")
        for message in messages:
            role = message.get("role") if isinstance(message, Mapping) else None
            if role not in _KNOWN_ROLES:
                raise UnmappableError(f"a turn of the role {str(role)[:30]!r}")
            if message.get("content") is None and not message.get("tool_calls"):
                raise UnmappableError("a turn without content")
        last = messages[-1]
        is_blank = not (last["content"] if isinstance(last.get("content"), str) else "x").strip()
        if last["role"] != "assistant" or (is_blank and not last.get("tool_calls")):
            raise UnmappableError("no reply at the end")
        if not any(message["role"] == "user" for message in messages):
            raise UnmappableError("no user turn")
        return messages


@dataclass(frozen=True)
class Turns:
    """From/value turns, or role/content ones; thought markers and tags become think tags.

    A system turn that asks for thought markers is left out, and so is the column `system`, which does.

    Attributes:
        columns: Columns of the turns, the first that is there.
        has_thoughts: Whether every last reply has thoughts: one without them is damaged then.
    """

    columns: tuple[str, ...]
    has_thoughts: bool = True

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return (self.columns,)

    @property
    def may_read(self) -> tuple[str, ...]:
        return ()

    def read(self, row: Row) -> Messages:
        column = next(name for name in self.columns if name in row)
        turns = row[column]
        if isinstance(turns, Mapping) and len({len(values or ()) for values in turns.values()}) == 1:
            # How `datasets` reads a sequence of structs of its older format.
            turns = [dict(zip(turns, values, strict=True)) for values in zip(*turns.values(), strict=True)]
        if not isinstance(turns, list) or not turns:
            raise UnmappableError(f"{column!r} holds no turns")
        messages = [as_message(turn) for turn in turns]
        for message in messages:
            is_last = self.has_thoughts and message is messages[-1]
            if message["role"] == "assistant" and (is_last or is_tagged(message["content"])):
                message["content"] = tagged_reply(message["content"])
        if messages[0]["role"] == "system" and THOUGHT_OPEN in messages[0]["content"]:
            del messages[0]
        roles = [message["role"] for message in messages]
        roles = roles[1:] if roles[:1] == ["system"] else roles
        expected = ["user", "assistant"] * (len(roles) // 2)
        if not roles or roles != expected:
            raise UnmappableError("turns that are not user and assistant by turns")
        return messages


@dataclass(frozen=True)
class PromptAndReply:
    """A prompt of messages, with reasoning and answer in columns beside it (dolphin-r1)."""

    prompt: str
    reasoning: str
    answer: str
    may_read: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return ((self.prompt,), (self.reasoning,), (self.answer,))

    def read(self, row: Row) -> Messages:
        turns = row[self.prompt]
        if not isinstance(turns, list) or not turns:
            raise UnmappableError(f"{self.prompt!r} holds no messages")
        messages = [as_message(turn) for turn in turns]
        if messages[-1]["role"] == "assistant":
            if row[self.reasoning] is None and row[self.answer] is None:  # a chat without thoughts, whole as it is
                return messages
            raise UnmappableError("a prompt that ends with a reply")
        if len(messages) == 1:  # some rows have the instruction in a system turn, and nothing else
            messages[0]["role"] = "user"
        if messages[-1]["role"] != "user":
            raise UnmappableError("a prompt that does not end with the user's turn")
        reasoning, answer = text_of(row[self.reasoning], self.reasoning), text_of(row[self.answer], self.answer)
        return [*messages, {"role": "assistant", "content": reply(reasoning, answer)}]


@dataclass(frozen=True)
class Reply:
    """A question, reasoning and an answer in three columns."""

    question: str
    reasoning: str
    answer: str
    may_read: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return ((self.question,), (self.reasoning,), (self.answer,))

    def read(self, row: Row) -> Messages:
        question, reasoning, answer = (
            text_of(row[name], name) for name in (self.question, self.reasoning, self.answer)
        )
        return conversation(question, reply(reasoning, answer))


@dataclass(frozen=True)
class Trace:
    """A question and one text of reasoning and answer.

    Attributes:
        question: Column of the question.
        trace: Column of the text.
        is_tagged: Whether it always has think tags: a text without them is damaged then.
        gold: Column of the gold answer, for traces that end without one.
    """

    question: str
    trace: str
    is_tagged: bool = True
    gold: str | None = None

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return ((self.question,), (self.trace,))

    @property
    def may_read(self) -> tuple[str, ...]:
        return () if self.gold is None else (self.gold,)

    def read(self, row: Row) -> Messages:
        question, trace = text_of(row[self.question], self.question), text_of(row[self.trace], self.trace)
        if self.is_tagged:
            return conversation(question, tagged_reply(trace))
        return conversation(question, trace_reply(trace, self._gold_of(row)))

    def _gold_of(self, row: Row) -> str | None:
        if self.gold is None or self.gold not in row:
            return None
        try:
            return Gold(self.gold).read(row)
        except UnmappableError:  # "proof", null: the trace may do without
            return None
