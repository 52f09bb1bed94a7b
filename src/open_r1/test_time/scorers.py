# SPDX-License-Identifier: Apache-2.0
"""Who scores the steps of candidates: process reward models, reward models, functions of the user's own, an oracle.

| --scorer                                            | scores                                                     |
|-----------------------------------------------------|------------------------------------------------------------|
| folder, or id on the hub, of a process reward model | each step (`process_models`)                               |
| folder, or id on the hub, of a reward model         | the whole, as one step: the logistic function of its score |
| path/to/file.py:function, package.module:function   | what `function(problems, steps, **more)` returns           |
| oracle                                              | 1 where the benchmark's judge says right, else 0           |

The oracle looks at the gold: what it chooses is an upper bound of what any scorer can do, and no result.
A trace that a model's context has no room for is read as far as it goes, and the steps beyond it have the score 0; an
outcome reward model gives the whole 0. How many these are is logged.
"""

import hashlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from open_r1.data.user_code import is_user_place, load_function
from open_r1.evaluation.fingerprint import identify
from open_r1.evaluation.judges import LOST, Judge
from open_r1.test_time.aggregation import check_step_scores
from open_r1.test_time.methods import Problem
from open_r1.test_time.results import ORACLE

logger = logging.getLogger(__name__)

KINDS = ("auto", "qwen", "math_shepherd", "rlhflow", "skywork", "outcome")


class ScorerError(RuntimeError):
    """A scorer that failed, or that returned what is no score."""


@dataclass(frozen=True)
class StepScores:
    """What a scorer says of a candidate.

    Attributes:
        scores: One in [0, 1] for each step; one alone for the whole; none for no steps.
        num_tokens: Tokens that it has read.
    """

    scores: tuple[float, ...]
    num_tokens: int = 0


class Scorer(Protocol):
    """Scores the steps of candidates."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def kind(self) -> str | None:
        """How it reads and scores steps, one of `KINDS` but auto; None: it is no model."""
        ...

    def score(
        self, problems: Sequence[Problem], step_texts: Sequence[Sequence[str]], texts: Sequence[str]
    ) -> list[StepScores]:
        """Return the scores of each candidate.

        Args:
            problems: The problem of each candidate.
            step_texts: Its steps, none of them blank.
            texts: The whole, as the model wrote it.

        Raises:
            ScorerError: It failed.
        """
        ...


def build_scorer(
    name: str | None, kind: str = "auto", judge: Judge | None = None, *, for_method: str = "best_of_n"
) -> Scorer:
    """Return a scorer by what `--scorer` says; models load now, but for one that another method holds.

    Args:
        name: See the table above.
        kind: How a model reads and scores steps, one of `KINDS`; auto: found in its configuration, or by its name.
        judge: Whom the oracle asks.
        for_method: Who asks, for the message.

    Raises:
        ValueError: There is no such scorer, or it can't work.
    """
    if name is None:
        raise ValueError(
            f"{for_method} chooses by scores: name a --scorer, which is the folder of a process reward model, a "
            "reward model, or path/to/file.py:function. The method majority needs none."
        )
    if name == "verifier":
        raise ValueError(
            "The verifier looks at the gold answer, so it can't choose. For the upper bound of what any scorer could "
            "do, say so: --scorer oracle."
        )
    if kind not in KINDS:
        raise ValueError(f"There is no kind of scorer {kind!r}; there are {', '.join(KINDS)}.")
    if name == ORACLE:
        if judge is None:
            raise ValueError(f"{for_method}: the oracle needs the judge of a benchmark.")
        return Oracle(judge)
    if is_user_place(name):
        function, place = load_function(name, role="scorer", setting="--scorer")
        _check_signature(function, place)
        return FunctionScorer(place, function)
    return _shared(name, kind)


# Methods of a run share a model, which may take most of a GPU: it is let go of with the last of them.
_HELD: WeakValueDictionary[tuple[str, str], Scorer] = WeakValueDictionary()


def _shared(name: str, kind: str) -> Scorer:
    from open_r1.test_time.process_models import load_model_scorer  # torch and transformers take seconds

    scorer = _HELD.get((name, kind))
    if scorer is None:
        scorer = _HELD[name, kind] = load_model_scorer(name, kind)
    return scorer


def fingerprint_of(name: str | None) -> str | None:
    """Return what tells a scorer from another of the same name; None: nobody says, or it is no file and no model.

    Of a function its file; of a model its weights, tokenizer and configuration, or its commit on the hub.

    Raises:
        ValueError: There is no such function.
    """
    if name in (None, ORACLE, "verifier"):
        return None
    if is_user_place(name):
        source = load_function(name, role="scorer", setting="--scorer")[1].rpartition(":")[0]
        file = source if source.endswith(".py") else sys.modules[source].__file__
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    base, _, revision = name.partition("@")
    found = identify(name if Path(name).expanduser().is_dir() else base, revision or "main")
    return found["model_fingerprint"] or found["model_commit"]


def _check_signature(function: Callable[..., Any], place: str) -> None:
    parameters = inspect.signature(function).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    takes_all = inspect.Parameter.VAR_KEYWORD in kinds and inspect.Parameter.POSITIONAL_ONLY not in kinds
    if not takes_all or not {"problems", "steps"} <= set(parameters):
        raise ValueError(
            f"The scorer {place!r} in --scorer must take `problems` and `steps` by keyword and end in **more: "
            f"def {place.rpartition(':')[2]}(problems, steps, **more)."
        )
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"The scorer {place!r} in --scorer is an `async def`: make it a plain function.")


def split_steps(text: str, separator: str = "\n\n") -> list[str]:
    r"""Return the steps of a candidate without their separators; blank ones are none.

    >>> split_steps("Add.\n\n\n\nSo \\boxed{4}.\n")
    ['Add.', 'So \\boxed{4}.']
    """
    return [step.strip() for step in text.split(separator) if step.strip()]


def checked_scores(
    scorer: Scorer, problems: Sequence[Problem], texts: Sequence[str], separator: str
) -> list[StepScores]:
    """Return the scores of candidates by the steps of their texts; those without aren't asked for, and have none.

    Raises:
        ScorerError: The scorer failed, or there is not a score in [0, 1] for each step or for the whole.
    """
    step_texts = [split_steps(text, separator) for text in texts]
    asked = [place for place, steps in enumerate(step_texts) if steps]
    found = [StepScores(())] * len(step_texts)
    if not asked:
        return found
    results = scorer.score(
        [problems[place] for place in asked],
        [step_texts[place] for place in asked],
        [texts[place] for place in asked],
    )
    if len(results) != len(asked):
        raise ScorerError(f"The scorer {scorer.name} returned scores of {len(results)} candidates for {len(asked)}.")
    for place, result in zip(asked, results, strict=True):
        if len(result.scores) not in (1, len(step_texts[place])):
            raise ScorerError(
                f"The scorer {scorer.name} returned {len(result.scores)} scores for a candidate of "
                f"{len(step_texts[place])} steps to row {problems[place].row}; need one a step, or one for the whole."
            )
        try:
            check_step_scores(result.scores)
        except ValueError as error:
            raise ScorerError(f"The scorer {scorer.name}, row {problems[place].row}: {error}") from error
        found[place] = result
    return found


@dataclass(frozen=True)
class Oracle:
    """1 for a candidate that the benchmark's judge says is right, 0 for any other: the upper bound of all choices."""

    judge: Judge
    name: str = ORACLE
    kind: None = None

    def score(
        self, problems: Sequence[Problem], step_texts: Sequence[Sequence[str]], texts: Sequence[str]
    ) -> list[StepScores]:
        """Return one score for each candidate.

        Raises:
            ScorerError: What judges failed.
        """
        judgements = self.judge.judge([problem.row for problem in problems], texts)
        if any(judgement.verdict == LOST for judgement in judgements):
            raise ScorerError("What judges for the oracle failed; the same command resumes.")
        return [StepScores((float(judgement.score == 1.0),)) for judgement in judgements]


@dataclass(frozen=True)
class FunctionScorer:
    """A function of the user's own: `function(problems, steps, **more)`, both lists with an entry a candidate.

    `problems` holds the text of each problem, `steps` a list of texts; it returns for each candidate a list with a
    number in [0, 1] for each step, or one number for the whole. More arguments come by keyword: `messages`, the
    conversations as the model was asked, and `texts`, the candidates as they are.
    """

    name: str
    function: Callable[..., Any]
    kind: None = None

    def score(
        self, problems: Sequence[Problem], step_texts: Sequence[Sequence[str]], texts: Sequence[str]
    ) -> list[StepScores]:
        """Return what the function returns.

        Raises:
            ScorerError: It fails, or what it returns are no scores.
        """
        asked, messages = [problem.text for problem in problems], [problem.messages for problem in problems]
        steps = [list(one) for one in step_texts]
        try:
            values = self.function(problems=asked, steps=steps, messages=messages, texts=list(texts))
        except Exception as error:  # whatever the user's code raises
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise ScorerError(
                f"The scorer {self.name} failed ({last.filename}, line {last.lineno}): {type(error).__name__}: {error}"
            ) from error
        if not _is_list(values):
            raise ScorerError(
                f"The scorer {self.name} must return a list with an entry for each candidate, got {values!r:.200}."
            )
        return [StepScores(self._numbers(value)) for value in values]

    def _numbers(self, value: Any) -> tuple[float, ...]:
        numbers = list(value) if _is_list(value) else [value]
        try:
            if any(isinstance(one, str | bytes | bytearray) for one in numbers):  # float() would read them
                raise TypeError("a text")
            return tuple(map(float, numbers))
        except (TypeError, ValueError) as error:
            raise ScorerError(
                f"The scorer {self.name} must return numbers from 0 to 1 for each candidate, got {value!r:.200}."
            ) from error


def _is_list(value: Any) -> bool:
    """Whether it holds values: a list, an array, a tensor; arrays of no dimension are numbers."""
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes | dict) and getattr(value, "ndim", 1) > 0
