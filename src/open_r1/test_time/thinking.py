# SPDX-License-Identifier: Apache-2.0
r"""Where a model's thinking begins and ends, as token ids: of s1's layout, or of think tags as R1 and its like have.

<|im_start|>assistant\n<|im_start|>think\n ... <|im_start|>answer\n ...<|im_end|>      s1
<|im_start|>assistant\n<think>\n ... \n</think>\n\n ...<|im_end|>                      think tags
"""

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from open_r1.generation.messages import THINK_END, THINK_START

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Start and end, in the order in which templates are looked through.
LAYOUTS = {"s1": ("<|im_start|>think", "<|im_start|>answer"), "think tags": (f"{THINK_START}\n", THINK_END)}
WAIT = "Wait"
FINAL_ANSWER = "\nFinal Answer:"
ADVICE = (
    "name them by --thinking_start and --thinking_end: '<think>' and '</think>' for models like R1, "
    "'<|im_start|>think' and '<|im_start|>answer' for s1's. A model that wasn't trained to think between such has "
    "nothing to force; --methods greedy, majority or best_of_n don't need them."
)


@dataclass(frozen=True)
class Thinking:
    """The delimiters of a tokenizer.

    Attributes:
        start: Opens the thinking.
        end: Ends it.
        start_ids: Tokens of `start`.
        end_ids: Tokens of `end`.
        final_ids: Tokens of `end` and "Final Answer:" behind it.
        wait_ids: Tokens of "Wait".
        newline_ids: Tokens of a line's end.
        stop_token_ids: A token at which the thinking ends, beside EOS; empty: there is no single one.
        stop: The text at which it ends where no single token does.
        max_id: The largest id that the tokenizer knows.
    """

    start: str
    end: str
    start_ids: tuple[int, ...]
    end_ids: tuple[int, ...]
    final_ids: tuple[int, ...]
    wait_ids: tuple[int, ...]
    newline_ids: tuple[int, ...]
    stop_token_ids: tuple[int, ...]
    stop: tuple[str, ...]
    max_id: int

    @property
    def num_delimiter_tokens(self) -> int:
        """Most tokens that delimiters add to a prompt, without those of "Wait"."""
        return len(self.start_ids) + len(self.newline_ids) + len(self.final_ids)

    def open_prompt(self, prompt_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
        """Return a prompt within which the thinking has begun; chat templates of some models begin it."""
        end = tokenizer.decode(list(prompt_ids)[-len(self.start_ids) - 8 :], skip_special_tokens=False)
        if end.rstrip().endswith(self.start.rstrip()):
            return tuple(prompt_ids)
        return (*prompt_ids, *self.start_ids)

    def count(self, token_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> int:
        """Return how many tokens of a completion are thinking, with its end; all where it doesn't end.

        The end is looked for in the text: within one, its first and last tokens may be others than those of `end`
        alone (">" and the line's end behind it are one token for Qwen). A token of its own is no other's part.
        """
        if len(self.end_ids) == 1 and self.end_ids[0] in tokenizer.added_tokens_decoder:
            # Decoding prefixes takes half a second for 40,000 tokens.
            return token_ids.index(self.end_ids[0]) + 1 if self.end_ids[0] in token_ids else len(token_ids)

        def has_end(length: int) -> bool:
            return self.end in tokenizer.decode(list(token_ids[:length]), skip_special_tokens=False)

        if not has_end(len(token_ids)):
            return len(token_ids)
        return bisect.bisect_left(range(len(token_ids)), x=True, key=has_end)


def find_thinking(
    tokenizer: "PreTrainedTokenizerBase", start: str | None = None, end: str | None = None
) -> Thinking | None:
    """Return the delimiters of a tokenizer; None: neither its template nor its vocabulary has any.

    Args:
        tokenizer: With a chat template or without.
        start: In place of what is found; with `end`.
        end: Likewise.

    Raises:
        ValueError: One of the two is given, or both are the same, or empty.
    """
    if (start is None) != (end is None):
        raise ValueError("--thinking_start and --thinking_end go together: give both, or neither.")
    if start is None or end is None:
        found = _layout_of(tokenizer)
        if found is None:
            return None
        start, end = LAYOUTS[found]
    if not start.strip() or not end.strip() or start.strip() == end.strip():
        raise ValueError(f"thinking_start is {start!r} and thinking_end {end!r}: two texts that differ are needed.")
    encode = functools.partial(_encode, tokenizer)
    end_ids = encode(end)
    single = _single_stop(tokenizer, end_ids)
    return Thinking(
        start=start,
        end=end,
        start_ids=encode(start),
        end_ids=end_ids,
        final_ids=encode(end + FINAL_ANSWER),
        wait_ids=encode(WAIT),
        newline_ids=encode("\n"),
        stop_token_ids=() if single is None else (single,),
        stop=(end,) if single is None else (),
        max_id=max(tokenizer.get_vocab().values()),
    )


def _layout_of(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    template = tokenizer.chat_template
    texts = [template] if isinstance(template, str) else list((template or {}).values())
    for name, (start, end) in LAYOUTS.items():
        if any(start.strip() in text and end in text for text in texts):
            return name
    vocabulary = tokenizer.get_vocab()
    is_known = THINK_START in vocabulary and THINK_END in vocabulary
    return "think tags" if is_known else None


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def _single_stop(tokenizer: "PreTrainedTokenizerBase", end_ids: Sequence[int]) -> int | None:
    """The token that ends the thinking whatever follows it: the only one, or one with which no text begins."""
    is_single = len(end_ids) == 1 or end_ids[0] in tokenizer.added_tokens_decoder
    return end_ids[0] if is_single else None
