# SPDX-License-Identifier: Apache-2.0
"""An answer that grows token by token, and what ends it: an end token, a stop text, or its limit; as in vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"  # what tokenizers put for the first bytes of a character


@dataclass(frozen=True)
class Sampled:
    """A finished answer.

    Attributes:
        token_ids: All that were sampled, with the token that ended it.
        text: Of them, without special tokens (unless asked for); ends before a stop text, stop token or end token
            (unless that is to be included).
        finish_reason: "length" only where the limit cut it; "abort" where nobody wants it any more.
        stop_reason: The stop text or stop token that ended it; None for an end token of the model, and for "length".
    """

    token_ids: list[int]
    text: str
    finish_reason: Literal["stop", "length", "abort"]
    stop_reason: str | int | None = None


@dataclass(frozen=True)
class End:
    """What ends an answer.

    Attributes:
        max_tokens: Most tokens; at least 1.
        eos_ids: End tokens of the model.
        stop: Texts; those within the first `min_tokens` tokens don't count.
        stop_token_ids: More tokens.
        include_stop: Whether the text keeps the stop text, stop token or end token.
        min_tokens: Nothing but `max_tokens` ends the answer within so many tokens.
        skip_special_tokens: Whether the text is without them; stop texts are looked for in it.
    """

    max_tokens: int
    eos_ids: frozenset[int] = frozenset()
    stop: Sequence[str] = ()
    stop_token_ids: frozenset[int] = frozenset()
    include_stop: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool = True


class OpenAnswer:
    """Grows by `add` until that returns what it has become."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end: End) -> None:
        self.token_ids: list[int] = []
        self._tokenizer, self._end = tokenizer, end
        self._text = ""  # kept only where there are stop texts
        self._searched = 0  # characters of it
        self._context = self._shown = 0  # tokens whose text later ones leave as it is, and those that are in `_text`

    @property
    def forbidden_ids(self) -> frozenset[int]:
        """Tokens that may not come next, as they would end it too early."""
        if len(self.token_ids) >= self._end.min_tokens:
            return frozenset()
        return self._end.eos_ids | self._end.stop_token_ids

    def add(self, token_id: int) -> Sampled | None:
        """Take the next token; return the answer if that ended it."""
        end = self._end
        self.token_ids.append(token_id)
        if token_id in end.eos_ids or token_id in end.stop_token_ids:
            kept = self.token_ids if end.include_stop else self.token_ids[:-1]
            reason = None if token_id in end.eos_ids else token_id
            return Sampled(self.token_ids, self._decode(kept), "stop", reason)
        if end.stop and (found := self._find_stop()) is not None:
            start, word = found
            return Sampled(self.token_ids, self._text[: start + len(word) * end.include_stop], "stop", word)
        if len(self.token_ids) >= end.max_tokens:
            return Sampled(self.token_ids, self._decode(self.token_ids), "length")
        return None

    def abort(self) -> Sampled:
        """Return what there is of it."""
        return Sampled(self.token_ids, self._decode(self.token_ids), "abort")

    def _find_stop(self) -> tuple[int, str] | None:
        """Return where the first stop text starts that the last token has completed."""
        self._text += self._new_text()
        if len(self.token_ids) <= self._end.min_tokens:
            self._searched = len(self._text)
            return None
        places = [(self._text.find(word, self._searched), word) for word in self._end.stop]
        found = [(start, word) for start, word in places if start >= 0]
        if not found:
            # The next one may begin in the last characters of what is there, but not before the first tokens' end.
            longest = max(map(len, self._end.stop))
            self._searched = max(self._searched, len(self._text) - longest + 1)
        return min(found, key=lambda place: place[0], default=None)

    def _new_text(self) -> str:
        """Return what the tokens since the last call add to the text: "" within a character of several tokens.

        A token's text depends on the ones before it (a space at the start), so it is decoded behind some.
        """
        before = self._decode(self.token_ids[self._context : self._shown])
        now = self._decode(self.token_ids[self._context :])
        if len(now) <= len(before) or now.endswith(_UNFINISHED):
            return ""
        self._context, self._shown = self._shown, len(self.token_ids)
        return now[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=self._end.skip_special_tokens)
        assert isinstance(text, str)
        return text
