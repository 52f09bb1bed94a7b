# SPDX-License-Identifier: Apache-2.0
"""The reader that chooses one of several generations."""

from dataclasses import dataclass
from typing import Any

from open_r1.data.layout_readers import Row
from open_r1.data.layout_turns import AsTheyAre, Messages, Turns, as_message, chat_of
from open_r1.data.thoughts import UnmappableError, is_tagged, tagged_reply

# Why a server or a data set stopped before the end of a reply.
_UNFINISHED = {"length", "error", "abort", "content_filter", "max_tokens", "timeout"}


@dataclass(frozen=True)
class Chosen:
    """One of several generations, by this rule.

    1. Generations that are null, blank, unfinished (`complete` says so, or `finish_reasons` length or error) or
       damaged (thought tags that do not match) are out.
    2. `verdicts` are asked in order: of those left, the first that the first column calls right; if it calls none
       right, by the second column; and so on. Without `verdicts` the first one left is taken.
    3. A turn in `published` wins if no verdict rejects it, and where there is nothing that it can be compared with.
    4. Where a column has not one verdict for each generation, it counts as if nobody had judged.

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
        texts = row[self.generations] if isinstance(row[self.generations], list) else []
        published = self._published(row, texts)
        if published is not None:
            return published
        if not any(isinstance(text, str) and text.strip() for text in texts):
            raise UnmappableError("no generations")
        prompt = chat_of(row, self.question)
        whole = self._list(row, self.conversations, texts)
        for place in self._accepted(row, texts):
            try:
                if whole[place]:
                    return Turns(("turns",), has_thoughts=False).read({"turns": whole[place]})
                text = texts[place]
                answer = tagged_reply(text) if self.verdicts or is_tagged(text) else text
            except UnmappableError:
                continue  # damaged: the next one may do
            return [*prompt, {"role": "assistant", "content": answer}]
        for name in self.verdicts:
            self._list(row, name, texts)  # the better reason
        raise UnmappableError("no accepted generation")

    def _accepted(self, row: Row, texts: list[Any]) -> list[int]:
        """Return the places of finished generations that are right, best verdicts first."""
        reasons, complete = self._list(row, self.finish_reasons, texts), self._list(row, self.complete, texts)
        finished = [
            place
            for place, text in enumerate(texts)
            if isinstance(text, str)
            and text.strip()
            and reasons[place] not in _UNFINISHED
            and complete[place] is not False
        ]
        if not self.verdicts:
            return finished
        return [place for verdicts in self._judged(row, texts) for place in finished if _is_right(verdicts[place])]

    def _judged(self, row: Row, texts: list[Any]) -> list[list[Any]]:
        """Return the verdicts of each column, null throughout where they can't be told apart."""
        found = [row.get(name) for name in self.verdicts]
        return [
            values if isinstance(values, list) and len(values) == len(texts) else [None] * len(texts)
            for values in found
        ]

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
            messages = [as_message(turn) for turn in AsTheyAre(self.published).read(row)]
            messages[-1]["content"] = tagged_reply(messages[-1]["content"])
        except UnmappableError:
            return None  # then one of the generations
        try:
            accepted = self._accepted(row, texts)
        except UnmappableError:
            return messages
        same = _places_of(row[self.published][-1]["content"], texts)
        judged = self._judged(row, texts)
        unjudged = [place for place in same if all(verdicts[place] is None for verdicts in judged)]
        return messages if not same or unjudged or set(same) & set(accepted) else None


def _is_right(verdict: object) -> bool:
    """Return whether a verdict is true, as text too, or the reward 1."""
    return verdict == 1 or (isinstance(verdict, str) and verdict.strip().lower() == "true")


def _places_of(text: str, texts: list[Any]) -> list[int]:
    """Return where a text stands among others; white space counts only if it stands there as it is."""
    same = [place for place, other in enumerate(texts) if other == text]
    if same:
        return same
    words = text.split()
    return [place for place, other in enumerate(texts) if isinstance(other, str) and other.split() == words]
