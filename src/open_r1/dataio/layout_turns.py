# SPDX-License-Identifier: Apache-2.0
"""Readers of conversations: each returns the `messages` that SFT learns, or raises `UnmappableError`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from open_r1.dataio.layout_readers import Row, text_of
from open_r1.dataio.thoughts import THOUGHT_OPEN, UnmappableError, is_tagged, reply, tagged_reply, trace_reply

Messages = list[dict[str, Any]]
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_KNOWN_ROLES = {"system", "developer", "user", "assistant", "tool"}
# Why a server or a data set stopped before the end of a reply.
_UNFINISHED = {"length", "error", "abort", "content_filter", "max_tokens", "timeout"}


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
    """

    column: str

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return ((self.column,),)

    @property
    def may_read(self) -> tuple[str, ...]:
        return ()

    def read(self, row: Row) -> Messages:
        turns = row[self.column]
        if isinstance(turns, Mapping) and len({len(values or ()) for values in turns.values()}) == 1:
            # How `datasets` reads a sequence of structs of its older format.
            turns = [dict(zip(turns, values, strict=True)) for values in zip(*turns.values(), strict=True)]
        if not isinstance(turns, list) or not turns:
            raise UnmappableError(f"{self.column!r} holds no turns")
        messages = [as_message(turn) for turn in turns]
        for message in messages:
            if message["role"] == "assistant" and is_tagged(message["content"]):
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
        gold = row.get(self.gold) if self.gold is not None else None
        return conversation(question, trace_reply(trace, None if gold is None else text_of(gold, "the gold answer")))


@dataclass(frozen=True)
class Chosen:
    """One of several generations, by this rule.

    1. Generations that are null, blank, unfinished (`complete` says so, or `finish_reasons` length or error) or
       damaged (thought tags that do not match) are out.
    2. `verdicts` are asked in order: of those left, the first that the first column calls right; if it calls none
       right, by the second column; and so on. Without `verdicts` the first one left is taken.
    3. A turn in `published` wins if no verdict rejects it.

    Attributes:
        question: Columns of the question, the first that is there.
        generations: Column with the list of texts.
        verdicts: Columns with lists of verdicts, true or false, or rewards of which 1 is right; null where nobody
            judged. One of them must be there.
        complete: Column with a list that tells which have ended, or None.
        published: Column with messages that the data set's authors chose, or None.
        conversations: Column with a whole conversation for each generation, where they have several turns, or None.
    """

    question: tuple[str, ...]
    generations: str = "generations"
    finish_reasons: str = "finish_reasons"
    verdicts: tuple[str, ...] = ()
    complete: str | None = None
    published: str | None = None
    conversations: str | None = None

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return (self.question, (self.generations,), *((self.verdicts,) if self.verdicts else ()))

    @property
    def may_read(self) -> tuple[str, ...]:
        others = (self.complete, self.published, self.conversations)
        return (self.finish_reasons, *self.verdicts, *(name for name in others if name is not None))

    def read(self, row: Row) -> Messages:
        texts = row[self.generations]
        if not isinstance(texts, list) or not any(isinstance(text, str) and text.strip() for text in texts):
            raise UnmappableError("no generations")
        published = self._published(row, texts)
        if published is not None:
            return published
        prompt = self._prompt(row)
        whole = self._list(row, self.conversations, texts)
        for place in self._accepted(row, texts):
            try:
                if whole[place]:
                    return Turns("turns").read({"turns": whole[place]})
                text = texts[place]
                answer = tagged_reply(text) if self.verdicts or is_tagged(text) else text
            except UnmappableError:
                continue  # damaged: the next one may do
            return [*prompt, {"role": "assistant", "content": answer}]
        raise UnmappableError("no accepted generation")

    def _prompt(self, row: Row) -> Messages:
        name = next(column for column in self.question if column in row)
        value = row[name]
        if isinstance(value, list) and len(value) > 1:  # a conversation; the generations answer its last user turn
            messages = [as_message(turn) for turn in value]
            last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
            if last >= 0:
                return messages[: last + 1]
        return [{"role": "user", "content": text_of(value, name).strip()}]

    def _accepted(self, row: Row, texts: list[Any]) -> list[int]:
        """Return the places of finished generations that are right, best verdicts first."""
        reasons, complete = self._list(row, self.finish_reasons, texts), self._list(row, self.complete, texts)
        finished = [
            place for place, text in enumerate(texts)
            if isinstance(text, str) and text.strip() and reasons[place] not in _UNFINISHED
            and complete[place] is not False
        ]  # fmt: skip
        if not self.verdicts:
            return finished
        judged = [self._list(row, name, texts) for name in self.verdicts]
        # True, or 1.0 where the verdict is a reward.
        return [place for verdicts in judged for place in finished if verdicts[place] == 1]

    def _list(self, row: Row, column: str | None, texts: list[Any]) -> list[Any]:
        values = row.get(column) if column is not None else None
        if values is None:
            return [None] * len(texts)
        if not isinstance(values, list) or len(values) != len(texts):
            raise UnmappableError(f"{column!r} has not one value for each generation")
        return values

    def _published(self, row: Row, texts: list[Any]) -> Messages | None:
        if self.published is None or row.get(self.published) is None:
            return None
        try:
            messages = AsTheyAre(self.published).read(row)
        except UnmappableError:
            return None  # then one of the generations
        same = [place for place, text in enumerate(texts) if text == messages[-1]["content"]]
        accepted = self._accepted(row, texts)
        judged = [self._list(row, name, texts) for name in self.verdicts]
        unjudged = [place for place in same if all(verdicts[place] is None for verdicts in judged)]
        return messages if not same or unjudged or set(same) & set(accepted) else None
