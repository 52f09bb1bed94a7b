# SPDX-License-Identifier: Apache-2.0
"""A model that says what it is told to, behind the interface of real backends, with a real tokenizer of bytes."""

import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerFast

from open_r1.test_time.backends import Backend, Completion, Drawing, TokenRequest
from scripts.stand_ins import byte_tokenizer

CHATML = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(*tags: str, chat_template: str = CHATML) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes, special tokens, and one token for each tag."""
    tokenizer = byte_tokenizer(chat_template, "<|im_end|>")
    tokenizer.add_tokens(list(tags))
    return tokenizer


@dataclass
class ScriptedModel(Backend):
    """Continues a sequence by `say`, which returns what the model would say from there on, were it never stopped.

    Attributes:
        tokenizer: With `eos_token_id`.
        say: From the tokens so far to those that follow.
        max_model_len: Of prompt and completion together; a request beyond is an error.
        asked: What was asked: each prompt with its limit, seed and fewest tokens.
    """

    tokenizer: PreTrainedTokenizerFast
    say: Callable[[tuple[int, ...]], Iterable[int]]
    max_model_len: int = 4096
    asked: list[tuple[tuple[int, ...], int, int, int]] = field(default_factory=list)

    def _complete(self, requests: Sequence[TokenRequest], drawing: Drawing) -> list[Completion]:
        """Return a completion of each request."""
        found = []
        for prompt, most, seed in ((one.prompt, one.max_tokens, one.seed) for one in requests):
            assert prompt and 1 <= most <= self.max_model_len - len(prompt), (len(prompt), most)
            self.asked.append((prompt, most, seed, drawing.min_tokens))
            found.append(self._say(prompt, most, drawing))
        return found

    def _say(self, prompt: tuple[int, ...], most: int, drawing: Drawing) -> Completion:
        stop, stop_ids, min_tokens = drawing.stop, drawing.stop_token_ids, drawing.min_tokens
        eos, ids = self.tokenizer.eos_token_id, []
        for token in self.say(prompt):
            is_end = token == eos or token in stop_ids
            if is_end and len(ids) < min_tokens:
                continue  # a model that may not end takes what comes next
            ids.append(token)
            if is_end:
                text = self._text(ids[:-1])
                return Completion(tuple(ids), text, "stop", None if token == eos else token)
            text = self.tokenizer.decode(ids, skip_special_tokens=False)
            word = next((word for word in stop if word in text), None)
            if word is not None and len(ids) > min_tokens:
                return Completion(tuple(ids), text[: text.index(word)], "stop", word)
            if len(ids) == most:
                return Completion(tuple(ids), self._text(ids), "length")
        raise AssertionError(f"The script ends before the model does: {self.tokenizer.decode(list(prompt))!r}")

    def _text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def close(self) -> None:
        """Do nothing."""


def telling(tokenizer: PreTrainedTokenizerFast, *texts: str) -> Callable[[tuple[int, ...]], Sequence[int]]:
    """Return what says one text after the other, each for one call."""
    left = iter(texts)
    return lambda prompt: tokenizer.encode(next(left), add_special_tokens=False)


def rambling(
    tokenizer: PreTrainedTokenizerFast, ends: Sequence[int], chance: float, seed: int
) -> Callable[[tuple[int, ...]], Iterator[int]]:
    """Return what says random letters, each following from all before it, and ends with some chance a token."""
    letters = tokenizer.encode("abc \n", add_special_tokens=False)

    def say(prompt: tuple[int, ...]) -> Iterator[int]:
        state = zlib.crc32(str([seed, *prompt]).encode())
        while True:
            numbers = random.Random(state)
            token = numbers.choice(ends) if numbers.random() < chance else numbers.choice(letters)
            yield token
            state = zlib.crc32(str(token).encode(), state)

    return say
