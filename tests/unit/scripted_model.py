# SPDX-License-Identifier: Apache-2.0
"""Scripted model that replies to requests of test-time methods, with a real tokenizer of bytes."""

import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerFast

from open_r1.generation.messages import Reply, Request
from open_r1.test_time.methods import Attempt, Policy, Setting, Task, TestTimeArguments, get_method
from open_r1.test_time.scorers import Scorer, score_all
from open_r1.test_time.thinking import find_thinking
from scripts.stand_ins import byte_tokenizer

CHATML = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Say = Callable[[tuple[int, ...], int | None], Iterable[int]]


def build_tokenizer(*tags: str, chat_template: str = CHATML) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes, special tokens, and one token for each tag."""
    tokenizer = byte_tokenizer(chat_template, "<|im_end|>")
    tokenizer.add_tokens(list(tags))
    return tokenizer


@dataclass
class ScriptedModel:
    """Continues a prompt by `say`, which returns what the model would say from there on, were it never stopped.

    Attributes:
        tokenizer: With `eos_token_id`.
        say: From the tokens so far and a seed (None: greedy) to those that follow.
        max_model_len: Of prompt and completion together; a request beyond is an error.
        asked: The prompt and the body of each request.
    """

    tokenizer: PreTrainedTokenizerFast
    say: Say
    max_model_len: int = 4096
    asked: list[tuple[tuple[int, ...], dict[str, Any]]] = field(default_factory=list)

    def solve(
        self,
        tasks: Sequence[Task],
        scored_by: Scorer | None = None,
        *,
        seed: int = 0,
        has_votes: bool = True,
        **given: Any,
    ) -> list[Attempt]:
        """Return the attempts of the method in `given`, at all its settings and on all tasks."""
        args = arguments(**given)
        thinking = find_thinking(self.tokenizer, args.thinking_start, args.thinking_end)
        policy = Policy(args, self.tokenizer, self.max_model_len, thinking, has_votes)
        groups = settings_of(args, {} if scored_by is None else {"scorer": scored_by.name})
        return [one for group in groups for task in tasks for one in self._solve(task, group, policy, scored_by, seed)]

    def _solve(
        self, task: Task, group: list[Setting], policy: Policy, scorer: Scorer | None, seed: int
    ) -> list[Attempt]:
        steps = get_method(group[0].method).solve(task, group, policy, seed)
        wanted = next(steps)
        while True:
            if wanted and not isinstance(wanted[0], Request):
                assert scorer is not None
                replies = score_all(scorer, wanted, policy.args.step_separator)
            else:
                replies = [self.reply(request) for request in wanted]
            try:
                wanted = steps.send(replies)
            except StopIteration as end:
                return end.value

    def reply(self, request: Request) -> Reply:
        """Return the reply to a request."""
        body, prompt = request.sampling.body(request.index), tuple(request.prompt_ids)
        assert prompt and 1 <= body["max_tokens"] <= self.max_model_len - len(prompt), (len(prompt), body)
        self.asked.append((prompt, body))
        stop_ids, least, ids = body.get("stop_token_ids", ()), body.get("min_tokens", 0), []
        for token in self.say(prompt, None if body["temperature"] == 0 else body["seed"]):
            is_end = token == self.tokenizer.eos_token_id or token in stop_ids
            if is_end and len(ids) < least:
                continue  # a model that may not end takes what comes next
            ids.append(token)
            if is_end:
                reason = None if token == self.tokenizer.eos_token_id else token
                return self._reply(ids, "stop", reason, len(ids) - 1)
            text = self.tokenizer.decode(ids, skip_special_tokens=False)
            word = next((word for word in body.get("stop", ()) if word in text), None)
            if word is not None and len(ids) > least:
                return self._reply(ids, "stop", word, len(ids))
            if len(ids) == body["max_tokens"]:
                return self._reply(ids, "length", None, len(ids))
        raise AssertionError(f"The script ends before the model does: {self.tokenizer.decode(list(prompt))!r}")

    def _reply(self, ids: list[int], reason: str, stop_reason: int | str | None, length: int) -> Reply:
        text = self.tokenizer.decode(ids[:length], skip_special_tokens=True)
        return Reply(text, reason, token_ids=ids, stop_reason=stop_reason)


def arguments(method: str, **given: Any) -> TestTimeArguments:
    """Return the arguments of a command with one method."""
    return TestTimeArguments(model_id=["m"], data="d", methods=[method], **given)


def settings_of(args: TestTimeArguments, scorer: dict[str, Any] | None = None) -> list[list[Setting]]:
    """Return the settings of its method, in groups."""
    return get_method(args.methods[0]).groups(args.methods[0], args, scorer or {})


def task_of(tokenizer: PreTrainedTokenizerFast, row: int = 0, question: str = "2+2", prompt: str = "") -> Task:
    """Return a problem with its prompt, in which other words stand around it."""
    messages = ({"role": "user", "content": f"Solve: {question}"},)
    text = prompt or tokenizer.apply_chat_template(
        [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
    )
    return Task(row, messages, tuple(tokenizer.encode(text, add_special_tokens=False)), question)


def telling(tokenizer: PreTrainedTokenizerFast, *texts: str) -> Say:
    """Return what says one text after the other, each for one request."""
    left = iter(texts)
    return lambda prompt, seed: tokenizer.encode(next(left), add_special_tokens=False)


def rambling(tokenizer: PreTrainedTokenizerFast, ends: Sequence[int], chance: float, number: int) -> Say:
    """Return what says random letters, each following from all before it, and ends with some chance a token."""
    letters = tokenizer.encode("abc \n", add_special_tokens=False)

    def say(prompt: tuple[int, ...], seed: int | None = None) -> Iterator[int]:
        state = zlib.crc32(str([number, *prompt]).encode())
        while True:
            numbers = random.Random(state)
            token = numbers.choice(ends) if numbers.random() < chance else numbers.choice(letters)
            yield token
            state = zlib.crc32(str(token).encode(), state)

    return say
