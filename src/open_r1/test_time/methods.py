# SPDX-License-Identifier: Apache-2.0
"""Arguments of `scripts/test_time_compute.py`, and the table of methods that spend tokens at test time.

A method is a module with two functions. `groups` gives its settings, those together that share samples. `solve` is a
generator for one problem: it yields what it wants (requests to the model, candidates to score), is sent the replies
in the same order, and returns attempts.

    steps = solve(problem, settings, policy, seed=0)
    replies = [ask(request) for request in next(steps)]
    steps.send(replies)                                      # the next requests; StopIteration.value has the attempts
"""

import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from open_r1.configs.fields import setting
from open_r1.evaluation.settings import EvaluationArguments
from open_r1.generation.messages import NEUTRAL, Message, Request, Sampling, row_key
from open_r1.test_time.thinking import Thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

METHODS = {
    "greedy": "sampling",
    "cot": "sampling",
    "budget_forcing": "budget_forcing",
    "majority": "sampling",
    "best_of_n": "sampling",
    "weighted": "sampling",
    "beam_search": "tree_search",
    "dvts": "tree_search",
}
SCORED = {"best_of_n", "weighted", "beam_search", "dvts"}
SEARCHES = {"beam_search", "dvts"}
AUTO = "auto"  # a budget: all that the context leaves
CHOICES = ("max", "vote")
ORACLE = "oracle"  # the scorer that looks at the gold
DEFAULT_TEMPERATURE = 0.8  # of methods that sample, as in search-and-learn
SEEDS_APART = 100_000  # of repeats; a method's candidates have those in between

Value = int | float | str | bool | None


def _log(score: float) -> float:
    return math.log(score) if score > 0 else -math.inf


# One score from those of the steps. Logarithms: the product over a long trace is smaller than any float (0.5 ** 2000).
AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "min": lambda scores: _log(min(scores)),
    "last": lambda scores: _log(scores[-1]),
    "avg": lambda scores: _log(math.fsum(scores) / len(scores)),
    "product": lambda scores: math.fsum(map(_log, scores)) if min(scores) > 0 else -math.inf,
}


@dataclass(kw_only=True)
class TestTimeArguments(EvaluationArguments):
    """How methods solve the problems of a benchmark.

    Raises:
        ValueError: A value is out of its range, or two contradict each other.
    """

    __test__ = False  # for pytest: no class of tests

    benchmark: str | None = setting(
        None, "A name of `run_benchmarks.py --list_benchmarks`, a data set of the hub as owner/name, or a local file."
    )
    output_dir: str = setting("test_time_results", "Folder for the results.")
    max_model_len: int | None = setting(
        None, "Most tokens of prompt and completion together; by default what the model has, or the servers say."
    )
    methods: list[str] = setting(
        ["greedy", "budget_forcing"], "Methods to compare.", aliases=["--method"], choices=list(METHODS)
    )
    temperature: float | None = setting(  # pyrefly: ignore[bad-override-mutable-attribute]
        None, f"By default 0 of budget_forcing, {DEFAULT_TEMPERATURE} of methods that sample; greedy has 0."
    )
    top_p: float = setting(1.0, "Nucleus sampling: above 0, at most 1.")
    max_tokens: int | None = setting(
        None, "Of a candidate, or of an answer behind its thinking; by default what the context leaves."
    )
    num_repeats: int = setting(1, "Repetitions of each problem with other seeds, for methods that sample.")
    budgets: list[str] = setting([AUTO], "budget_forcing: most thinking tokens; auto: what the context leaves.")
    num_waits: list[int] = setting([0], 'budget_forcing: how often the end of thinking is replaced by "Wait".')
    thinking_start: str | None = setting(None, "Text that opens the thinking. Default: read from the chat template.")
    thinking_end: str | None = setting(None, "Text that ends the thinking. Default: read from the chat template.")
    answer_reserve_tokens: int = setting(100, "Tokens of the context reserved for the answer.")
    n: list[int] = setting(
        [1, 2, 4, 8], "Numbers of candidates, drawn from one pool; searches use the multiples of --beam_width."
    )
    scorer: str | None = setting(
        None,
        "Who scores candidates: a process reward model or reward model (folder, or id on the hub), "
        "path/to/file.py:function, or oracle, the upper bound. Models share the first GPU with vLLM: leave room by "
        "--serve_args '--gpu-memory-utilization 0.6'.",
    )
    scorer_kind: Literal["auto", "qwen", "math_shepherd", "rlhflow", "skywork", "outcome"] = setting(
        "auto", "Scoring format of that model; auto: by its configuration and name."
    )
    aggregations: list[str] = setting(
        ["last"], "How step scores are combined into one; each is evaluated.", choices=list(AGGREGATIONS)
    )
    choices: list[str] = setting(
        list(CHOICES),
        "How a search picks its answer from scored candidates; each is evaluated.",
        choices=list(CHOICES),
    )
    beam_width: int = setting(4, "Continuations per beam.")
    max_steps: int = setting(40, "Most steps per search.")
    max_step_tokens: int = setting(2048, "Most tokens per search step.")
    lookahead: int = setting(0, "Greedy steps that a search looks ahead before scoring a step.")
    step_separator: str = setting(r"\n\n", "Text that ends a step.")
    # Of run_benchmarks.py alone.
    benchmarks: list[str] = field(default_factory=list, init=False)
    list_benchmarks: bool = field(default=False, init=False)
    num_samples: int | None = field(default=None, init=False)
    judge_again: bool = field(default=False, init=False)
    run_id: str | None = field(default=None, init=False)
    slurm: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.benchmarks = [] if self.benchmark is None else [self.benchmark]
        self.step_separator = self.step_separator.replace("\\n", "\n")
        methods, width, most = set(self.methods), self.beam_width, max(self.n, default=0)
        least = {"num_repeats": 1, "beam_width": 1, "max_steps": 1, "max_step_tokens": 1, "lookahead": 0, "n": 1,
                 "answer_reserve_tokens": 1, "seed": 0, "num_waits": 0}  # fmt: skip
        low = [name for name, value in least.items() if _least(getattr(self, name)) < value]
        refusals = {
            "Name a --benchmark, or data by --data: one of the two": (self.benchmark is None) == (self.data is None),
            f"--{', --'.join(low)}: too low": low,
            "One --model_id, and one --seed; --num_repeats draws others": len(self.model_id) > 1 or len(self.seed) > 1,
            f"--budgets are {self.budgets}: numbers of tokens, at least 0, or auto": not all(
                re.fullmatch(rf"\d+|{AUTO}", budget) for budget in self.budgets
            ),
            f"--n is {self.n}: searches need a multiple of --beam_width, which is {width}": methods & SEARCHES
            and not low
            and all(n % width for n in self.n),
            "--step_separator is empty: name the text that ends a step": not self.step_separator,
            f"--temperature 0 makes all {most} candidates the same: set it above 0": methods & {"majority", *SCORED}
            and self.temperature == 0
            and most > 1,
            f"{', '.join(sorted(methods & SCORED))} choose by scores: name a --scorer, which is the folder of a "
            "process reward model or a reward model, or path/to/file.py:function; majority needs none": methods
            & SCORED
            and self.scorer is None,
            "--thinking_start and --thinking_end go together": bool(self.thinking_start) != bool(self.thinking_end),
        }
        if refused := [text for text, is_due in refusals.items() if is_due]:
            raise ValueError(f"{refused[0]}.")

    def temperature_of(self, method: str) -> float:
        """Return the temperature that a method samples at; 0: it is greedy."""
        if method == "greedy":
            return 0.0
        own = 0.0 if method == "budget_forcing" else DEFAULT_TEMPERATURE
        return own if self.temperature is None else self.temperature

    def repeats_of(self, method: str) -> int:
        """Return how often a method solves each problem: once, where it would do the same again."""
        return 1 if self.temperature_of(method) == 0 else self.num_repeats


def _least(value: float | list[int] | None) -> float:
    return math.inf if value is None else min(value, default=math.inf) if isinstance(value, list) else value


@dataclass(frozen=True)
class Policy:
    """The model as methods see it.

    Attributes:
        args: Of the command.
        tokenizer: The model's.
        context_tokens: Most tokens of prompt and completion together.
        thinking: Delimiters of its thinking; None: it has none.
        has_votes: Whether answers can be equal; False: they are programs.
    """

    args: TestTimeArguments
    tokenizer: "PreTrainedTokenizerBase"
    context_tokens: int
    thinking: Thinking | None = None
    has_votes: bool = True

    def room(self, prompt_ids: Sequence[int]) -> int:
        """Return how many tokens a completion may have."""
        room = self.context_tokens - len(prompt_ids)
        return min(room, self.args.max_tokens or room)

    def request(
        self,
        prompt_ids: Sequence[int],
        *,
        seed: int,
        temperature: float,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        **body: Any,
    ) -> Request:
        """Return a request for a completion, token ids among it; the same request has the same key in every run.

        Args:
            prompt_ids: What is continued.
            seed: Of the completion.
            temperature: 0: greedy.
            max_tokens: At least 1; None: all that there is room for.
            stop: Texts that end a completion.
            **body: More fields of the request's body; those that are empty are left out.
        """
        args = self.args
        limits = {"top_k": args.top_k, "min_p": args.min_p}
        more = {**NEUTRAL, **{name: value for name, value in limits.items() if value is not None}}
        more |= {"return_token_ids": True, **{name: value for name, value in body.items() if value}}
        most = self.room(prompt_ids) if max_tokens is None else max_tokens
        sampling = Sampling(temperature, args.top_p, max_tokens=most, seed=0, stop=tuple(stop), extra_body=more)
        key = row_key([list(prompt_ids), sampling.body()])
        return Request(key, seed, prompt_ids=tuple(prompt_ids), sampling=sampling)

    def num_thinking(self, ids: Sequence[int]) -> int:
        """Return how many tokens of a completion are thinking; all where the model has no delimiters."""
        return len(ids) if self.thinking is None else self.thinking.count(ids)


@dataclass(frozen=True)
class Task:
    """A problem that is asked.

    Attributes:
        row: Number of its row in the data.
        messages: The conversation, as the model is asked.
        prompt_ids: The conversation in the model's chat template, open for the answer.
        text: The problem alone, as the data has it: what scorers of steps read. Of choices, they are below the
            question; of a conversation, it is what the user says last.
    """

    row: int
    messages: Sequence[Message]
    prompt_ids: Sequence[int]
    text: str


@dataclass(frozen=True)
class Candidate:
    """A text to score: whole, or as far as a search has come."""

    task: Task
    text: str


@dataclass(frozen=True)
class StepScores:
    """What a scorer says of a candidate.

    Attributes:
        scores: One in [0, 1] for each step; one alone for the whole; none for no steps.
        num_tokens: Tokens that it has read.
    """

    scores: Sequence[float] = ()
    num_tokens: int = 0

    def log_score(self, aggregation: str) -> float:
        """Return the logarithm of the candidate's score, in [-inf, 0]; -inf where it has no step.

        >>> [round(math.exp(StepScores([0.5, 0.9, 0.8]).log_score(how)), 6) for how in AGGREGATIONS]
        [0.5, 0.8, 0.733333, 0.36]
        """
        return AGGREGATIONS[aggregation](self.scores) if self.scores else -math.inf


@dataclass(frozen=True)
class Setting:
    """One point of a curve.

    Attributes:
        method: Name of the method.
        values: All that decides its attempts, beside what the whole run shares (model, data, sampling).
    """

    method: str
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_upper_bound(self) -> bool:
        """Whether an oracle chooses, which looks at the gold: nobody could have such a setting."""
        return self.values.get("scorer") == ORACLE

    @property
    def label(self) -> str:
        """How people read it; no two settings have the same.

        >>> print(Setting("dvts", {"n": 4, "step_separator": "\\n\\n", "scorer": "oracle"}).label)
        dvts n=4 step_separator=\\n\\n scorer=oracle (upper bound)
        """
        shown = [f"{name}={value}".replace("\n", "\\n") for name, value in self.values.items()]
        return " ".join([self.method, *shown, *(["(upper bound)"] if self.is_upper_bound else [])])


@dataclass(frozen=True)
class Attempt:
    """What a method has made of one problem at one setting.

    Attributes:
        row: Number of the problem's row.
        setting: At which setting.
        chances: Texts that may be chosen, the one shown first, each with its chance; one of 1.0 where one was chosen.
        thinking_tokens: Generated while thinking, of all candidates; without thinking delimiters, all tokens.
        total_tokens: Generated and paid for, of all candidates, discarded ones too.
        scorer_tokens: Tokens that a scorer read for it.
        finish_reason: "length" where the likeliest choice was cut off.
        details: What else the method tells, as JSON can hold it.
        repeat: Which of the attempts at its problem and setting.
        score: From 0 to 1, the mean over `chances`; NaN: nobody has said, or can.
    """

    row: int
    setting: Setting
    chances: Sequence[tuple[str, float]]
    thinking_tokens: int
    total_tokens: int
    scorer_tokens: int = 0
    finish_reason: str = "stop"
    details: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0
    score: float = math.nan


Wanted = Sequence[Request | Candidate]
Steps = Generator[Wanted, Sequence[Any], list[Attempt]]


def get_method(name: str) -> Any:
    """Return the module of a method: `groups` and `solve`.

    `groups(name, args, scorer) -> list[list[Setting]]` has all settings that the arguments ask for; `scorer` is what
    settings say of it. `solve(task, settings, policy, seed) -> Steps` gives an attempt at each setting of a group;
    candidate i has `seed + i`.
    """
    return import_module(f"open_r1.test_time.{METHODS[name]}")
