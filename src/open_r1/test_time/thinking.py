# SPDX-License-Identifier: Apache-2.0
r"""Delimiters of a model's thinking, as token ids: of s1's layout, or think tags as R1 and its like have them.

<|im_start|>assistant\n<|im_start|>think\n ... <|im_start|>answer\n ...<|im_end|>      s1
<|im_start|>assistant\n<think>\n ... \n</think>\n\n ...<|im_end|>                      think tags
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from open_r1.generation.messages import THINK_END, THINK_START

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Start and end, in the order in which templates are looked through.
_TAGS = (f"{THINK_START}\n", THINK_END)
LAYOUTS = (("<|im_start|>think", "<|im_start|>answer"), _TAGS)


@dataclass(frozen=True)
class Thinking:
    """The delimiters of a tokenizer.

    Attributes:
        tokenizer: Encodes them.
        start: Opens the thinking.
        end: Ends it.
    """

    tokenizer: "PreTrainedTokenizerBase"
    start: str
    end: str

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, special ones among them."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def stop_token_ids(self) -> list[int]:
        """The token that ends the thinking, beside EOS: the only one, or one with which no text begins; or none."""
        first, *others = self.ids(self.end)
        return [first] if not others or first in self.tokenizer.added_tokens_decoder else []

    @property
    def stop(self) -> list[str]:
        """The text that ends it, where no single token does."""
        return [] if self.stop_token_ids else [self.end]

    @cached_property
    def _whole_end(self) -> int | None:
        """The token that is the end and no part of another text's tokens."""
        ids = self.ids(self.end)
        return ids[0] if len(ids) == 1 and ids[0] in self.tokenizer.added_tokens_decoder else None

    @cached_property
    def max_id(self) -> int:
        """The largest id that the tokenizer knows."""
        return max(self.tokenizer.get_vocab().values())

    def open_prompt(self, prompt_ids: Sequence[int]) -> tuple[int, ...]:
        """Return a prompt within which the thinking has begun; chat templates of some models begin it."""
        start = self.ids(self.start)
        is_open = self.decode(prompt_ids[-len(start) - 8 :]).rstrip().endswith(self.start.rstrip())
        return (*prompt_ids, *(() if is_open else start))

    def count(self, ids: Sequence[int]) -> int:
        """Return how many tokens of a completion are thinking, with its end; all where it doesn't end.

        The end is looked for in the text: within one, its first and last tokens may be others than those of `end`
        alone (">" and the line's end behind it are one token for Qwen).
        """
        if self._whole_end is not None:  # decoding prefixes takes half a second for 40,000 tokens
            return ids.index(self._whole_end) + 1 if self._whole_end in ids else len(ids)
        if self.end not in self.decode(ids):
            return len(ids)
        return bisect.bisect_left(range(len(ids)), x=True, key=lambda length: self.end in self.decode(ids[:length]))


def find_thinking(
    tokenizer: "PreTrainedTokenizerBase", start: str | None = None, end: str | None = None
) -> Thinking | None:
    """Return the delimiters of a tokenizer; None: neither its template nor its vocabulary has any.

    Args:
        tokenizer: With a chat template or without.
        start: In place of what is found; with `end`.
        end: Likewise.
    """
    if start is not None and end is not None:
        return Thinking(tokenizer, start, end)
    template, vocabulary = str(tokenizer.chat_template), tokenizer.get_vocab()  # of some, several by name
    for layout in LAYOUTS:
        if layout[0].strip() in template and layout[1] in template:
            return Thinking(tokenizer, *layout)
    is_known = THINK_START in vocabulary and THINK_END in vocabulary
    return Thinking(tokenizer, *_TAGS) if is_known else None
