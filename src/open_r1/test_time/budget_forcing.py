# SPDX-License-Identifier: Apache-2.0
"""Budget forcing of s1 (arXiv 2501.19393, section 3.1): how long a model thinks is decided from without.

    maximum   at the budget, the end of thinking and "Final Answer:" are appended, and the answer is generated
    minimum   n times the end of thinking is taken away, and "Wait" put in its place; it goes on with what is left of
              the budget

All is done in token ids; no text is tokenised again.

1. An `auto` budget is that of each problem: s1 takes that of the longest prompt for all. Room for
   "Wait" is kept beside budgets: its tokens are neither of a budget nor thinking that is paid for.
2. A budget beyond what the context leaves is what it leaves; ids that the tokenizer doesn't know, which models with
   padded embeddings sample now and then, aren't fed back (vLLM refused them).
3. Where sampling isn't greedy, each part of the thinking has another seed: one stream of numbers would repeat itself.
"""

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from open_r1.generation.messages import THINK_END, THINK_START
from open_r1.test_time.backends import Backend, Completion
from open_r1.test_time.methods import AUTO, Method, MethodOptions, Problem
from open_r1.test_time.rendering import decode
from open_r1.test_time.results import Attempt, Setting
from open_r1.test_time.thinking import ADVICE, FINAL_ANSWER, Thinking, find_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_SEEDS_APART = 1_000_003
DELIMITER, EOS, BUDGET = "delimiter", "eos", "budget"  # what has ended the thinking


@dataclass
class Trace:
    """The thinking on one problem, as it grows.

    Attributes:
        problem: The problem.
        prompt_ids: With the start of thinking.
        budget: Most tokens that may be generated.
        thinking_ids: What is thought so far, "Wait" included, without ends that were taken away.
        segments: Tokens of each part, with what ended it.
        parts: Their ids, without what ended them.
        dropped: Ids that the tokenizer doesn't know.
        waits: How often "Wait" was appended.
        ended_by: `DELIMITER`, `EOS` or `BUDGET`; "" while it goes on.
    """

    problem: Problem
    prompt_ids: tuple[int, ...]
    budget: int
    thinking_ids: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    parts: list[tuple[int, ...]] = field(default_factory=list)
    dropped: int = 0
    waits: int = 0
    ended_by: str = ""

    @property
    def left(self) -> int:
        """What is left of the budget: ends that were taken away are paid for, "Wait" isn't."""
        return self.budget - sum(self.segments)

    def add(self, completion: Completion, thinking: Thinking, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Take the next part of the thinking."""
        kept = without_end(completion, thinking, tokenizer)
        known = tuple(token for token in kept if token <= thinking.max_id)
        self.dropped += len(kept) - len(known)
        self.segments.append(len(completion.token_ids))
        self.parts.append(known)
        self.thinking_ids += known
        if completion.finish_reason == "length":
            self.ended_by = BUDGET
        else:
            # A model may have more tokens than one that end an answer; their ids are told, as those of delimiters are.
            is_delimiter = isinstance(completion.stop_reason, str) or completion.stop_reason in thinking.stop_token_ids
            self.ended_by = DELIMITER if is_delimiter else EOS

    def wait(self, wait_ids: Sequence[int]) -> None:
        """Have it go on."""
        self.thinking_ids += wait_ids
        self.waits += 1
        self.ended_by = ""

    def answer_prompt(self, thinking: Thinking, tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
        """Return the prompt of the answer."""
        context = (*self.prompt_ids, *self.thinking_ids)
        if self.ended_by != BUDGET:
            return (*context, *thinking.end_ids)
        is_new_line = tokenizer.decode([context[-1]], skip_special_tokens=False).endswith("\n")
        return (*context, *(() if is_new_line else thinking.newline_ids), *thinking.final_ids)

    def details(self) -> dict[str, Any]:
        """Return what a record keeps of it."""
        is_looping = len(self.parts) > 1 and self.parts[-1] == self.parts[-2] != ()
        return {
            "budget_tokens": self.budget,
            "waits": self.waits,
            "ended_by": self.ended_by,
            "segment_tokens": self.segments,
            "dropped_ids": self.dropped,
            "is_looping": is_looping,
        }


def without_end(completion: Completion, thinking: Thinking, tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """Return the tokens of a completion before what has ended it."""
    ids = completion.token_ids
    if completion.finish_reason != "stop" or not ids:
        return ids
    if not isinstance(completion.stop_reason, str):
        return ids[:-1]
    # Several tokens spell the end, and the first of them may begin with text of the thinking.
    before = decode(tokenizer, ids).rpartition(thinking.end)[0]
    length = next(length for length in range(len(ids), -1, -1) if before.startswith(decode(tokenizer, ids[:length])))
    rest = before[len(decode(tokenizer, ids[:length])) :]
    return (*ids[:length], *tokenizer.encode(rest, add_special_tokens=False))


class BudgetForcing:
    """Thinking of a length that is asked for; see `methods.Method`."""

    def __init__(self, options: MethodOptions) -> None:
        self.name, self._options = "budget_forcing", options
        for budget in options.budgets:
            if budget != AUTO and not (isinstance(budget, int) and budget >= 0):
                raise ValueError(f"A budget is {budget!r}; budgets are numbers of tokens, at least 0, or {AUTO!r}.")
        if any(count < 0 for count in options.num_waits):
            raise ValueError(f"num_waits is {list(options.num_waits)}; each must be at least 0.")
        if options.answer_reserve_tokens < 1:
            raise ValueError(f"answer_reserve_tokens is {options.answer_reserve_tokens}; it must be at least 1.")

    def groups(self) -> list[list[Setting]]:
        """Return each budget with each number of waits, on its own."""
        pairs = itertools.product(self._options.budgets, self._options.num_waits)
        return [[Setting(self.name, {"budget": budget, "num_waits": waits})] for budget, waits in pairs]

    def check(self, backend: Backend) -> None:
        """Refuse a model that doesn't think between delimiters, and one whose context has no room for them."""
        thinking = self._thinking_of(backend)
        room = backend.max_model_len - thinking.num_delimiter_tokens - self._options.answer_reserve_tokens
        if room < 1:
            raise ValueError(
                f"The context of {backend.max_model_len} tokens leaves nothing beside "
                f"{self._options.answer_reserve_tokens} tokens for an answer: lower --answer_reserve_tokens."
            )

    def room_tokens(self, backend: Backend) -> int:
        """Return how many tokens the delimiters take, and "Wait" as often as it is asked for."""
        thinking = self._thinking_of(backend)
        return thinking.num_delimiter_tokens + max(self._options.num_waits) * len(thinking.wait_ids)

    def solve(
        self, problems: Sequence[Problem], backend: Backend, settings: Sequence[Setting], seed: int
    ) -> Iterator[Attempt]:
        """Yield one attempt for each problem and setting.

        Raises:
            ValueError: The prompt of a problem leaves no room for an answer.
        """
        thinking = self._thinking_of(backend)
        for setting in settings:
            traces = [self._begin(problem, setting, backend, thinking) for problem in problems]
            num_waits = int(setting.values["num_waits"] or 0)
            self._think(traces, num_waits, backend, thinking, seed)
            yield from self._answer(traces, setting, backend, thinking, seed + (num_waits + 1) * _SEEDS_APART)

    def _thinking_of(self, backend: Backend) -> Thinking:
        options = self._options
        thinking = find_thinking(backend.tokenizer, options.thinking_start, options.thinking_end)
        if thinking is None:
            raise ValueError(
                f"budget_forcing: the tokenizer and its template tell of no thinking delimiters; {ADVICE}"
            )
        return thinking

    def _begin(self, problem: Problem, setting: Setting, backend: Backend, thinking: Thinking) -> Trace:
        prompt_ids = thinking.open_prompt(problem.prompt_ids, backend.tokenizer)
        beside = len(thinking.newline_ids) + len(thinking.final_ids) + self._options.answer_reserve_tokens
        beside += int(setting.values["num_waits"] or 0) * len(thinking.wait_ids)
        room = backend.max_model_len - len(prompt_ids) - beside
        if room < 0:
            raise ValueError(
                f"Row {problem.row}: its prompt has {len(prompt_ids)} tokens, and {beside} are kept for delimiters "
                f"and answer: more than the context of {backend.max_model_len}. Serve a longer one, or lower "
                "--answer_reserve_tokens."
            )
        wanted = setting.values["budget"]
        budget = room if wanted == AUTO else min(room, int(wanted or 0))
        if wanted != AUTO and budget < int(wanted or 0):
            logger.warning("Row %d: of a budget of %s tokens the context leaves %d.", problem.row, wanted, budget)
        return Trace(problem, prompt_ids, budget, ended_by="" if budget else BUDGET)

    def _think(self, traces: Sequence[Trace], num_waits: int, backend: Backend, thinking: Thinking, seed: int) -> None:
        for part in range(num_waits + 1):
            open_ = [trace for trace in traces if not trace.ended_by]
            if not open_:
                return
            completions = backend.complete(
                [(*trace.prompt_ids, *trace.thinking_ids) for trace in open_],
                max_tokens=[trace.left for trace in open_],
                temperature=self._options.temperature or 0.0,
                top_p=self._options.top_p,
                seeds=[seed + part * _SEEDS_APART] * len(open_),
                stop=thinking.stop,
                stop_token_ids=thinking.stop_token_ids,
                min_tokens=min(part, 1),
            )
            for trace, completion in zip(open_, completions, strict=True):
                trace.add(completion, thinking, backend.tokenizer)
                if trace.ended_by != BUDGET and part < num_waits and trace.left > 0:
                    trace.wait(thinking.wait_ids)

    def _answer(
        self, traces: Sequence[Trace], setting: Setting, backend: Backend, thinking: Thinking, seed: int
    ) -> Iterator[Attempt]:
        tokenizer = backend.tokenizer
        prompts = [trace.answer_prompt(thinking, tokenizer) for trace in traces]
        rooms = [backend.max_model_len - len(prompt) for prompt in prompts]
        completions = backend.complete(
            prompts,
            max_tokens=[min(room, self._options.max_tokens or room) for room in rooms],
            temperature=self._options.temperature or 0.0,
            top_p=self._options.top_p,
            seeds=[seed] * len(prompts),
        )
        for trace, completion in zip(traces, completions, strict=True):
            thought = tokenizer.decode(trace.thinking_ids, skip_special_tokens=True)
            forced = FINAL_ANSWER if trace.ended_by == BUDGET else ""
            yield Attempt(
                problem_row=trace.problem.row,
                text=f"{THINK_START}\n{thought}\n{THINK_END}\n{forced}{completion.text}",
                thinking_tokens=sum(trace.segments),
                total_tokens=sum(trace.segments) + len(completion.token_ids),
                setting=setting,
                finish_reason=completion.finish_reason,
                details={**trace.details(), "answer_tokens": len(completion.token_ids)},
            )


def build_method(name: str, options: MethodOptions) -> Method:
    """Return budget forcing."""
    return BudgetForcing(options)
