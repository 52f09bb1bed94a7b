# SPDX-License-Identifier: Apache-2.0
"""Majority vote, best of N and weighted best of N: N whole answers, of which one is chosen.

| method    | chosen                                                                   | in search-and-learn |
|-----------|--------------------------------------------------------------------------|---------------------|
| majority  | the answer that most candidates give; no scorer                          | `maj`               |
| best_of_n | the candidate with the best score                                        | `naive`             |
| weighted  | the answer with the largest sum of scores over the candidates that give it | `weighted`          |

Defaults: temperature 0.8, top_p 1, aggregation last, as in search-and-learn; the compute-optimal paper
(arXiv 2502.06703) samples at 0.7 up to N = 256.
All n of a method are estimated from one pool of max(n) candidates, without bias, as pass@k is (`votes.chances`): an
attempt at n holds each text that could have been chosen from n of the pool, with its chance, and the tokens that n
candidates take on average.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from open_r1.evaluation.metrics import group_answers
from open_r1.rewards.verifier.extract import extract_answer
from open_r1.test_time.aggregation import log_score
from open_r1.test_time.backends import Backend, Completion
from open_r1.test_time.methods import DEFAULT_TEMPERATURE, Method, MethodOptions, Problem, UnforcedMethod
from open_r1.test_time.results import Attempt, Setting
from open_r1.test_time.scorers import Scorer, StepScores, build_scorer, checked_scores
from open_r1.test_time.thinking import find_thinking
from open_r1.test_time.tree_search import check_names, scorer_values
from open_r1.test_time.votes import chances

CHOICE_OF = {"majority": "vote", "best_of_n": "max", "weighted": "vote"}
_SMALLEST_CHANCE = 1e-12  # what differs from 0 by rounding alone


@dataclass(frozen=True)
class Pool:
    """The candidates of one problem.

    Attributes:
        texts: What they say.
        answers: Their final answers; None: there is none.
        classes: Which of them are equal; None: no answer.
        num_tokens: Tokens that were sampled for each.
        num_thinking: Those of them while thinking.
        finish_reasons: "stop" or "length".
        scored: Scores of their steps; empty without a scorer.
    """

    texts: Sequence[str]
    answers: Sequence[str | None]
    classes: Sequence[int | None]
    num_tokens: Sequence[int]
    num_thinking: Sequence[int]
    finish_reasons: Sequence[str]
    scored: Sequence[StepScores]

    def log_scores(self, aggregation: str | None) -> list[float]:
        """Return the score of each candidate; without an aggregation all are alike."""
        if aggregation is None:
            return [0.0] * len(self.texts)
        return [log_score(one.scores, aggregation) for one in self.scored]


class BestOfN(UnforcedMethod):
    """The three methods; see `methods.Method`."""

    def __init__(self, name: str, options: MethodOptions) -> None:
        self.name, self._options = name, options
        if not options.n or min(options.n) < 1:
            raise ValueError(f"{name}: n is {list(options.n)}; each must be at least 1.")
        if not options.step_separator:
            raise ValueError(f"{name}: step_separator is empty; name the text that ends a step.")
        check_names(options)
        self._temperature = DEFAULT_TEMPERATURE if options.temperature is None else options.temperature
        if self._temperature == 0 and max(options.n) > 1:
            raise ValueError(f"{name}: at temperature 0 all {max(options.n)} candidates are the same; set it above 0.")
        self._scorer: Scorer | None = None
        if name != "majority":
            self._scorer = build_scorer(options.scorer, options.scorer_kind, options.judge, for_method=name)

    def groups(self) -> list[list[Setting]]:
        """Return all settings in one group: they share the pool, whose size they name."""
        pool = max(self._options.n)
        if self._scorer is None:
            return [[Setting(self.name, {"n": n, "pool": pool}) for n in self._options.n]]
        more = {**scorer_values(self._options, self._scorer), "step_separator": self._options.step_separator}
        pairs = itertools.product(self._options.aggregations, self._options.n)
        return [[Setting(self.name, {"n": n, "pool": pool, "aggregation": how, **more}) for how, n in pairs]]

    def solve(
        self, problems: Sequence[Problem], backend: Backend, settings: Sequence[Setting], seed: int
    ) -> Iterator[Attempt]:
        """Yield one attempt for each problem and setting.

        Raises:
            ScorerError: The scorer failed.
        """
        # Always as many as the options ask for: a run that goes on with some of the settings has the same pool.
        size = max(self._options.n)
        rooms = [backend.max_model_len - len(problem.prompt_ids) for problem in problems for _ in range(size)]
        completions = backend.complete(
            [problem.prompt_ids for problem in problems for _ in range(size)],
            max_tokens=[min(room, self._options.max_tokens or room) for room in rooms],
            temperature=self._temperature,
            top_p=self._options.top_p,
            seeds=[seed + place for _ in problems for place in range(size)],
        )
        for number, problem in enumerate(problems):
            pool = self._pool_of(problem, completions[number * size : (number + 1) * size], backend)
            for setting in settings:
                yield attempt_from(pool, problem, setting)

    def _pool_of(self, problem: Problem, completions: Sequence[Completion], backend: Backend) -> Pool:
        options = self._options
        thinking = find_thinking(backend.tokenizer, options.thinking_start, options.thinking_end)
        texts = [completion.text for completion in completions]
        answers = [extract_answer(text) if options.has_answers else None for text in texts]
        scored: list[StepScores] = []
        if self._scorer is not None:
            scored = checked_scores(self._scorer, [problem] * len(texts), texts, options.step_separator)
        ids = [completion.token_ids for completion in completions]
        return Pool(
            texts,
            answers,
            group_answers(answers),
            list(map(len, ids)),
            [len(one) if thinking is None else thinking.count(one, backend.tokenizer) for one in ids],
            [completion.finish_reason for completion in completions],
            scored,
        )


def attempt_from(pool: Pool, problem: Problem, setting: Setting) -> Attempt:
    """Return the attempt at a setting: what is chosen from n of the pool, by its chances.

    `text` is the likeliest choice, of equals the first.
    """
    n, aggregation = int(setting.values["n"] or 0), setting.values.get("aggregation")
    log_scores = pool.log_scores(None if aggregation is None else str(aggregation))
    chances_N = chances(log_scores, pool.classes, CHOICE_OF[setting.method], n)
    place = int(np.argmax(chances_N >= chances_N.max() - _SMALLEST_CHANCE))
    by_text: dict[str, float] = {}
    for text, chance in zip(pool.texts, chances_N.tolist(), strict=True):
        if chance > _SMALLEST_CHANCE:
            by_text[text] = by_text.get(text, 0.0) + chance
    share = n / len(pool.texts)
    return Attempt(
        problem_row=problem.row,
        text=pool.texts[place],
        thinking_tokens=round(share * sum(pool.num_thinking)),
        total_tokens=round(share * sum(pool.num_tokens)),
        answer=pool.answers[place],
        setting=setting,
        scorer_tokens=round(share * sum(one.num_tokens for one in pool.scored)),
        finish_reason=pool.finish_reasons[place],
        details={"chosen": place, "answers": list(pool.answers), "scores": [math.exp(score) for score in log_scores]},
        chances=_summing_to_one(by_text),
    )


def _summing_to_one(chances: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return chances of which no sum is above 1 by rounding: scores above it would be no shares any more."""
    likeliest = max(chances, key=lambda text: chances[text])
    rest = math.fsum(chance for text, chance in chances.items() if text != likeliest)
    return tuple((text, 1.0 - rest if text == likeliest else chance) for text, chance in chances.items())


def build_method(name: str, options: MethodOptions) -> Method:
    """Return one of the three."""
    return BestOfN(name, options)
