# SPDX-License-Identifier: Apache-2.0
"""What asks the servers for answers: an engine. What it brings back is judged, and written down, by the same code.

direct      requests of our own, every answer in a journal as soon as it is there; needs no other package
inspect     inspect-ai: its logs, to look at answers one by one (the extra `eval`)
lighteval   lighteval's prompts and scores, in an environment of its own, as in the tables of Open R1
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from open_r1.data.benchmarks import Benchmark
from open_r1.evaluation.problems import Problems
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.engine import Outcome
from open_r1.generation.models import ServedModel
from open_r1.generation.requests import Sampling

_MODULES = {
    "direct": "open_r1.evaluation.direct",
    "inspect": "open_r1.evaluation.inspect_engine",
    "lighteval": "open_r1.evaluation.lighteval_engine",
}


@dataclass(frozen=True)
class Question:
    """What is asked of one benchmark.

    Attributes:
        problems: Its rows; `problems.golds` has the numbers of those that are asked.
        settings: As they were given; `sampling` and `num_samples` are what they come to.
        served: The model.
        addresses: URLs of its servers.
        sampling: How answers are drawn; of answer i the seed is `sampling.seed + i`.
        num_samples: Answers a problem.
        folder: Where this engine keeps what it has of this benchmark; may be missing.
        asked: All settings that decide the answers: what is in `folder` must be of the same.
        served_by: What the servers say of themselves (`serving.describe_servers`).
        commit: Of the code that asks; None: it isn't known.
    """

    problems: Problems
    settings: EvaluationSettings
    served: ServedModel
    addresses: Sequence[str]
    sampling: Sampling
    num_samples: int
    folder: Path
    asked: Mapping[str, Any]
    served_by: Sequence[Mapping[str, Any]] = ()
    commit: str | None = None

    @property
    def total(self) -> int:
        """Answers that there are to be."""
        return len(self.problems.golds) * self.num_samples


class Records(Protocol):
    """Answers of an engine."""

    def get(self, row: int, index: int) -> Mapping[str, Any] | None:
        """Return an answer to the problem of a row, None where there is none.

        It has `index`, `text` (None: the request failed), `error` (why it did, or None), `finish_reason` as the
        server gave it, `usage` with `completion_tokens` where the server counts; and, where the engine has a scorer
        of its own, `engine_score` (0 to 1, or None) and `engine_note` (what that found, in words).
        """
        ...


@dataclass(frozen=True)
class Speed:
    """How fast answers came, over all runs that have asked for some and were not killed.

    Attributes:
        tokens: Tokens of the answers.
        seconds: From the first request to the last answer, of each run.
        answers: Their number.
    """

    tokens: int
    seconds: float
    answers: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second, of all requests in flight together."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Asked:
    """What an engine brings back.

    Attributes:
        records: The answers; None where a signal has ended the run (`outcome` says which).
        outcome: What was asked for; None: nothing was left to ask.
        speed: Of the asking, over all runs; None: nothing was measured, or the server doesn't count tokens.
        metrics: The engine's own figures, as it names them.
    """

    records: Records | None
    outcome: Outcome | None = None
    speed: Speed | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """Asks for the answers to one benchmark at a time."""

    name: str

    def check(self, settings: EvaluationSettings) -> None:
        """Refuse settings that have no effect with this engine, and a machine that lacks what it needs.

        Raises:
            ValueError: See the message.
            ImportError: A package is missing; the message names the extra.
        """
        ...

    def versions(self) -> Mapping[str, str]:
        """Return the versions of what decides the answers or the engine's scores, beyond our own packages."""
        ...

    def load(self, benchmark: Benchmark, settings: EvaluationSettings) -> Problems:
        """Read a benchmark, with the prompts that this engine asks.

        Raises:
            ValueError: It can't be loaded, has no such columns, or no row that could be asked and judged.
        """
        ...

    def ask(self, question: Question) -> AbstractContextManager[Asked]:
        """Ask for what isn't there yet; the answers can be read until the context is left.

        Raises:
            ValueError: What is in the folder is of other settings.
            ServersDownError: No server answers any more.
            TooManyErrorsError: Requests fail one after the other.
        """
        ...

    def put_aside(self, folder: Path, asked: Mapping[str, Any], *, is_finished: bool) -> None:
        """Rename a folder, for `overwrite`, whose answers are of other settings, or finished."""
        ...


def get_engine(name: str) -> Engine:
    """Return an engine by its name.

    Raises:
        ValueError: There is none of that name.
        ImportError: Its package isn't installed.
    """
    if name not in _MODULES:
        raise ValueError(f"There is no engine {name!r}; there are {', '.join(_MODULES)}.")
    build: Callable[[], Engine] = import_module(_MODULES[name]).build_engine
    return build()
