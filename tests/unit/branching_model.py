# SPDX-License-Identifier: Apache-2.0
"""A model that says different things by seed, behind the interface of real backends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerFast

from open_r1.test_time.backends import Backend, Completion, Drawing, TokenRequest
from open_r1.test_time.methods import Problem

END = "<|im_end|>"


@dataclass
class BranchingModel(Backend):
    """Continues a text by `say(text so far, seed)`, which it would say to the end, were it never stopped.

    Attributes:
        tokenizer: Of bytes, with `END` as its EOS.
        say: From the text behind the prompt, and a seed (None: greedy), to all that follows; `END` ends it.
        prompts: Of the problems; what follows one of them is the text so far.
        max_model_len: Of prompt and completion together.
        asked: Each prompt, with its seed and limit.
    """

    tokenizer: PreTrainedTokenizerFast
    say: Callable[[str, int | None], str]
    prompts: Sequence[tuple[int, ...]]
    max_model_len: int = 4096
    asked: list[tuple[tuple[int, ...], int | None, int]] = field(default_factory=list)

    def _complete(self, requests: Sequence[TokenRequest], drawing: Drawing) -> list[Completion]:
        """Return a completion of each request."""
        found = []
        for prompt, most, seed in ((one.prompt, one.max_tokens, one.seed) for one in requests):
            assert 1 <= most <= self.max_model_len - len(prompt)
            given = next(one for one in self.prompts if prompt[: len(one)] == one)
            drawn = None if drawing.temperature == 0 else seed
            self.asked.append((prompt, drawn, most))
            said = self.say(self.tokenizer.decode(list(prompt[len(given) :])), drawn)
            found.append(self._stopped(said, most, drawing.stop))
        return found

    def _stopped(self, said: str, most: int, stop: Sequence[str]) -> Completion:
        ids = self.tokenizer.encode(said, add_special_tokens=False)
        for length in range(1, len(ids) + 1):
            text = self.tokenizer.decode(ids[:length], skip_special_tokens=True)
            if ids[length - 1] == self.tokenizer.eos_token_id:
                return Completion(tuple(ids[:length]), text, "stop")
            if any(word in text for word in stop):
                return Completion(tuple(ids[:length]), text, "stop", next(word for word in stop if word in text))
            if length == most:
                return Completion(tuple(ids[:length]), text, "length")
        raise AssertionError(f"The script ends before the model does: {said!r}")

    def close(self) -> None:
        """Do nothing."""


def problem_of(tokenizer: PreTrainedTokenizerFast, row: int, question: str) -> Problem:
    """Return a problem with its prompt, in which other words stand around it."""
    messages = ({"role": "user", "content": f"Solve: {question}"},)
    text = tokenizer.apply_chat_template(
        [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
    )
    return Problem(row, messages, tuple(tokenizer.encode(text, add_special_tokens=False)), question)
