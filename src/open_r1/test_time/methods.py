# SPDX-License-Identifier: Apache-2.0
"""The table of methods that spend tokens at test time, and what each of them is given.

method = get_method("majority", options)
method.check(backend)
for settings in method.groups():                # settings of a group share candidates: n = 1, 2, 4 of the same 4
    for attempt in method.solve(problems, backend, settings, seed=0): ...
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from open_r1.generation.messages import Message
from open_r1.test_time.aggregation import DEFAULT_AGGREGATION
from open_r1.test_time.thinking import find_thinking

if TYPE_CHECKING:
    # The command line has its defaults from here, and these take most of a second.
    from open_r1.evaluation.judges import Judge
    from open_r1.test_time.backends import Backend
    from open_r1.test_time.results import Attempt, Setting

# Name -> module with `build_method(name: str, options: MethodOptions) -> Method`, imported when it is asked for.
METHODS = {
    "greedy": "open_r1.test_time.chain_of_thought",
    "cot": "open_r1.test_time.chain_of_thought",
    "budget_forcing": "open_r1.test_time.budget_forcing",
    "majority": "open_r1.test_time.best_of_n",
    "best_of_n": "open_r1.test_time.best_of_n",
    "weighted": "open_r1.test_time.best_of_n",
    "beam_search": "open_r1.test_time.beam_search",
    "dvts": "open_r1.test_time.dvts",
}
AUTO = "auto"  # a budget: all that the context leaves
DEFAULT_TEMPERATURE = 0.8  # of methods that sample, as in search-and-learn
DEFAULT_N = (1, 2, 4, 8)  # of candidates; searches take the multiples of their beam width


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        row: Number of its row in the data.
        messages: The conversation, as the model is asked.
        prompt_ids: The conversation in the model's chat template, open for the answer.
        text: The problem alone, as the data has it: what scorers of steps read. Of choices, they are below the
            question; of a conversation, it is what the user says last.
    """

    row: int
    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class MethodOptions:
    """The flags of the command that methods are made of; each takes those that it has a use for.

    Attributes:
        budgets: Most thinking tokens, at least 0 each, or `AUTO`.
        num_waits: How often the end of the thinking is replaced by "Wait".
        n: Numbers of candidates, at least 1 each.
        beam_width: Continuations of one beam; a search takes those n that are multiples of it.
        max_steps: Most steps of a search.
        step_separator: Text that ends a step.
        max_step_tokens: Most tokens of one step of a search.
        lookahead: Steps that candidates of a search are gone on with, greedily, before they are scored.
        scorer: Who scores candidates, as `--scorer` has it; None: nobody.
        scorer_kind: How a model scores steps (`scorers.KINDS`); auto: found in its configuration, or by its name.
        scorer_fingerprint: Of the scorer's code or weights, so that another under its name is another setting.
        has_answers: Whether texts hold final answers; False: they are programs.
        judge: Whom the oracle asks; None: there is no oracle.
        aggregations: How scores of steps become one: min, last, avg, product.
        choices: How a candidate is chosen by score: max, vote.
        temperature: None: the method's own (0 for budget forcing, else 0.8); greedy has 0 in any case.
        top_p: Above 0, at most 1.
        max_tokens: Most tokens of one candidate, or of an answer after its thinking; None: what the context leaves.
        thinking_start: Opens the thinking; None: found in the tokenizer's template.
        thinking_end: Ends it; None: found likewise.
        answer_reserve_tokens: What every budget leaves for the answer; prompts that can't are left out.
    """

    budgets: tuple[int | str, ...] = (AUTO,)
    num_waits: tuple[int, ...] = (0,)
    n: tuple[int, ...] = DEFAULT_N
    beam_width: int = 4
    max_steps: int = 40
    step_separator: str = "\n\n"
    max_step_tokens: int = 2048
    lookahead: int = 0
    scorer: str | None = None
    scorer_kind: str = "auto"
    scorer_fingerprint: str | None = None
    has_answers: bool = True
    judge: "Judge | None" = None
    aggregations: tuple[str, ...] = (DEFAULT_AGGREGATION,)
    choices: tuple[str, ...] = ("max", "vote")
    temperature: float | None = None
    top_p: float = 1.0
    max_tokens: int | None = None
    thinking_start: str | None = None
    thinking_end: str | None = None
    answer_reserve_tokens: int = 100


class Method(Protocol):
    """Spends tokens on problems in one way, at several settings."""

    name: str

    def groups(self) -> "Sequence[Sequence[Setting]]":
        """Return all settings that the options ask for; those of a group are solved together, from one work.

        Raises:
            ValueError: Options that can't work.
        """
        ...

    def check(self, backend: "Backend") -> None:
        """Refuse what this model can't do, before the first token.

        Raises:
            ValueError: See the message.
        """
        ...

    def room_tokens(self, backend: "Backend") -> int:
        """Return how many tokens a prompt must leave beside the answer: for what the method adds, or a first one."""
        ...

    def solve(
        self, problems: Sequence[Problem], backend: "Backend", settings: "Sequence[Setting]", seed: int
    ) -> "Iterator[Attempt]":
        """Yield one attempt for each problem and setting, in any order; `score` is left to the caller.

        Args:
            problems: Problems of one batch.
            backend: The model.
            settings: A group, or a part of one.
            seed: Of candidate 0; candidate i has `seed + i`.
        """
        ...


class UnforcedMethod:
    """What methods share that take any model, and add nothing to a prompt."""

    _options: MethodOptions

    def check(self, backend: "Backend") -> None:
        """Take any model; refuse delimiters that are none."""
        find_thinking(backend.tokenizer, self._options.thinking_start, self._options.thinking_end)

    def room_tokens(self, backend: "Backend") -> int:
        """Return 1: it adds nothing to a prompt."""
        return 1


def get_method(name: str, options: MethodOptions) -> Method:
    """Return a method by its name.

    Raises:
        ValueError: There is none of that name, or its options can't work.
    """
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}; there are {', '.join(METHODS)}.")
    build: Callable[[str, MethodOptions], Method] = import_module(METHODS[name]).build_method
    return build(name, options)
