# SPDX-License-Identifier: Apache-2.0
"""Scorers of candidates: process reward models, reward models, functions of the user, and the oracle.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from open_r1.data.user_code import is_user_place, load_function
from open_r1.evaluation.judges import LOST, Judge
from open_r1.test_time.methods import ORACLE, Candidate, StepScores


class ScorerError(RuntimeError):
    """A scorer that failed, or that returned what is no score."""


class Scorer(Protocol):
    """Scores the steps of candidates.

    Attributes:
        name: What messages call it.
        kind: How a model reads and scores steps; None: it is no model.
        identity: What tells it from another of the same name: a hash of a function's file; weights, or commit on the
            hub, of a model; the judge of the oracle.
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str | None: ...

    @property
    def identity(self) -> Any: ...

    def score(self, candidates: Sequence[Candidate], steps: Sequence[Sequence[str]]) -> list[StepScores]:
        """Return the scores of each candidate by its steps, none of which is blank."""
        ...


def build_scorer(name: str, kind: str, judge: Judge) -> Scorer:
    """Return a scorer by what `--scorer` says; models load now.

    Args:
        name: See the table above.
        kind: How a model scores; auto: found in its configuration, or by its name.
        judge: Whom the oracle asks.

    Raises:
        ValueError: There is no such scorer, or it can't work.
    """
    if name == ORACLE:
        return Oracle(judge, judge.check())
    if not is_user_place(name):
        from open_r1.test_time.process_models import load_model_scorer  # torch and transformers take seconds

        return load_model_scorer(name, kind)
    function, place = load_function(name, role="scorer", setting="--scorer")
    parameters = inspect.signature(function).parameters.values()
    is_plain = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    if not is_plain or inspect.iscoroutinefunction(function):
        raise ValueError(
            f"The scorer {place!r} in --scorer must be a plain function that accepts **more: "
            f"def {place.rpartition(':')[2]}(problems, steps, **more)."
        )
    file = inspect.getsourcefile(function)
    identity = None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return FunctionScorer(place, function, identity)


def split_steps(text: str, separator: str = "\n\n") -> list[str]:
    r"""Return the steps of a candidate without their separators; blank ones are none.

    >>> split_steps("Add.\n\n\n\nSo \\boxed{4}.\n")
    ['Add.', 'So \\boxed{4}.']
    """
    return [step.strip() for step in text.split(separator) if step.strip()]


def score_all(scorer: Scorer, candidates: Sequence[Candidate], separator: str) -> list[StepScores]:
    """Return the scores of candidates; those without steps aren't shown to the scorer, and have none.

    Raises:
        ScorerError: The scorer failed, or there is not a score in [0, 1] for each step or for the whole.
    """
    steps = [split_steps(candidate.text, separator) for candidate in candidates]
    places = [place for place, one in enumerate(steps) if one]
    found = [StepScores()] * len(candidates)
    results = scorer.score([candidates[p] for p in places], [steps[p] for p in places]) if places else []
    if len(results) != len(places):
        raise ScorerError(f"The scorer {scorer.name} returned scores of {len(results)} candidates for {len(places)}.")
    for place, result in zip(places, results, strict=True):
        wrong = [score for score in result.scores if not 0.0 <= score <= 1.0]  # NaN is neither
        if wrong or len(result.scores) not in (1, len(steps[place])):
            raise ScorerError(
                f"The scorer {scorer.name} returned {list(result.scores)} for {len(steps[place])} steps to row "
                f"{candidates[place].task.row}: expected one number from 0 to 1 per step, or one for the whole answer."
            )
        found[place] = result
    return found


@dataclass(frozen=True)
class Oracle:
    """1 for a candidate that the benchmark's judge says is right, 0 for any other: the upper bound of all choices."""

    judge: Judge
    identity: Any
    name: str = ORACLE
    kind: None = None

    def score(self, candidates: Sequence[Candidate], steps: Sequence[Sequence[str]]) -> list[StepScores]:
        """Return one score for each candidate.

        Raises:
            ScorerError: What judges failed.
        """
        judgements = self.judge.judge([one.task.row for one in candidates], [one.text for one in candidates])
        if any(judgement.verdict == LOST for judgement in judgements):
            raise ScorerError("The oracle's judge failed; the same command resumes.")
        return [StepScores((float(judgement.score == 1.0),)) for judgement in judgements]


@dataclass(frozen=True)
class FunctionScorer:
    """A function of the user: `function(problems, steps, **more)`, both lists with an entry a candidate.

    `problems` holds the text of each problem, `steps` a list of texts; it returns for each candidate a list with a
    number in [0, 1] for each step, or one number for the whole. More arguments come by keyword: `messages`, the
    conversations as the model was asked, and `texts`, the candidates as they are.
    """

    name: str
    function: Callable[..., Any]
    identity: str | None
    kind: None = None

    def score(self, candidates: Sequence[Candidate], steps: Sequence[Sequence[str]]) -> list[StepScores]:
        """Return what the function returns.

        Raises:
            ScorerError: It fails, or what it returns are no scores.
        """
        problems, messages = [one.task.text for one in candidates], [one.task.messages for one in candidates]
        texts = [one.text for one in candidates]
        try:
            values = self.function(problems=problems, steps=[*map(list, steps)], messages=messages, texts=texts)
            return [StepScores(tuple(map(float, value if _is_list(value) else [value]))) for value in values]
        except Exception as error:  # whatever the user's code raises
            raise ScorerError(f"The scorer {self.name} failed: {type(error).__name__}: {error}") from error


def _is_list(value: Any) -> bool:
    """Whether it holds values: a list, an array, a tensor; arrays of no dimension are numbers."""
    return hasattr(value, "__iter__") and not isinstance(value, str) and getattr(value, "ndim", 1) > 0
