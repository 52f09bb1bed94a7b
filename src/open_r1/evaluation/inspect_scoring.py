# SPDX-License-Identifier: Apache-2.0
"""Our judge as a scorer of inspect-ai, and our figures as its metrics.

1. inspect scores each sample by itself: here the judge is asked for many at a time, off the event loop.
2. Figures are those of `run_benchmarks.py`: inspect's own `pass_at` and `stderr` name and bound them otherwise.
"""

import asyncio
import math
from collections.abc import Mapping

from inspect_ai.model import ContentReasoning, ContentText
from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    ScoreReducer,
    Target,
    metric,
    score_reducer,
    scorer,
)
from inspect_ai.solver import TaskState

from open_r1.evaluation.estimators import avg_at_k, pass_at_k
from open_r1.evaluation.judging import Judge, Judgement
from open_r1.generation.messages import join_reasoning

PROBLEM = "problem"  # key of a sample's metadata: what tells its problem from others
_BATCH_ANSWERS = 64
_EXPLAINED_CHARACTERS = 200


def text_of(state: TaskState) -> str:
    """Return the answer of a sample as one text, its reasoning in think tags as servers without a parser give it."""
    content = state.output.message.content if state.output.choices else ""
    if isinstance(content, str):
        return content
    reasoning = "\n".join(part.reasoning for part in content if isinstance(part, ContentReasoning))
    text = "".join(part.text for part in content if isinstance(part, ContentText))
    return join_reasoning(reasoning, text, is_cut=state.output.stop_reason == "max_tokens")


class Grader:
    """Grades samples: asks a judge for all answers that wait, one batch after the other, on a thread.

    Args:
        judge: Says which answers are right.
        golds: By the number of the row, which is the sample's id.
    """

    def __init__(self, judge: Judge, golds: Mapping[int, str]) -> None:
        self._judge, self._golds = judge, golds
        self._waiting: list[tuple[int, str, asyncio.Future[Judgement]]] = []
        self._work: asyncio.Task[None] | None = None

    async def grade(self, state: TaskState) -> Score:
        """Return the score of a sample: 1 right, 0 not, NaN where nobody can say."""
        row, text = int(state.sample_id), text_of(state)
        future: asyncio.Future[Judgement] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, text, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._judge_all())
        judgement = await future
        note = {"note": judgement.note} if judgement.note else {}
        return Score(
            value=judgement.score,
            answer=judgement.extracted,
            metadata={"verdict": judgement.verdict} | note,
            explanation=_explain(judgement, text, self._golds[row]),
        )

    async def _judge_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH_ANSWERS], self._waiting[_BATCH_ANSWERS:]
            rows, texts = [row for row, _, _ in batch], [text for _, text, _ in batch]
            asked = asyncio.to_thread(self._judge.judge, rows, texts)
            (found,) = await asyncio.gather(asked, return_exceptions=True)
            for place, (_, _, future) in enumerate(batch):
                if future.done():  # its sample was cancelled
                    continue
                if isinstance(found, BaseException):
                    future.set_exception(found)
                else:
                    future.set_result(found[place])


@metric
def figures() -> Metric:
    """Return the metric: avg@k with its 95 % interval over problems, and unbiased pass@k, as `tally` has them.

    k is the number of judged answers of the problem with the fewest. Samples of equal `PROBLEM` are one problem.
    """

    def measure(scores: list[SampleScore]) -> dict[str, str | int | float | bool | None]:
        scores_PG, problems_P = [], []
        for place, sample in enumerate(scores):
            values = [value for value in _values_of(sample.score) if not math.isnan(value)]
            if values:
                scores_PG.append(values)
                problems_P.append((sample.sample_metadata or {}).get(PROBLEM, place))
        if not scores_PG:
            return {}
        fewest = min(map(len, scores_PG))
        interval = avg_at_k(scores_PG, problems_P)
        found: dict[str, str | int | float | bool | None] = {
            f"avg@{fewest}": interval.mean,
            f"avg@{fewest}_low": interval.low,
            f"avg@{fewest}_high": interval.high,
        }
        for k in sorted({min(2**power, fewest) for power in range(fewest.bit_length() + 1)}):
            chances = [pass_at_k(len(row), sum(value == 1.0 for value in row), k) for row in scores_PG]
            found[f"pass@{k}"] = math.fsum(chances) / len(chances)
        return found

    return measure


def _values_of(score: Score) -> list[float]:
    values = (score.metadata or {}).get("scores")
    return [score.as_float()] if values is None else values


@score_reducer
def answers() -> ScoreReducer:
    """Return the reducer: the mean score of a problem's answers, with each of them for `figures`."""

    def reduce(scores: list[Score]) -> Score:
        values = [score.as_float() for score in scores]
        known = [value for value in values if not math.isnan(value)]
        mean = math.fsum(known) / len(known) if known else math.nan
        return Score(value=mean, metadata={"scores": values})

    return reduce


@scorer(metrics=[figures()])
def judged(grader: Grader) -> Scorer:
    """Return the scorer; a log names its arguments, so they are one object and not all golds."""

    async def score(state: TaskState, target: Target) -> Score:
        return await grader.grade(state)

    return score


def _explain(judgement: Judgement, text: str, gold: str) -> str:
    """Return a sentence for people who look at the sample."""
    note = f" ({judgement.note})" if judgement.note else ""
    if not text.strip():
        return f"{judgement.verdict}{note}: the answer is empty."
    if judgement.extracted is None:  # a program, or none
        return f"{judgement.verdict}{note}."
    return f"{judgement.verdict}{note}: found {_shown(judgement.extracted)}, the solution is {_shown(gold)}."


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _EXPLAINED_CHARACTERS else f"{text[:_EXPLAINED_CHARACTERS]!r}..."
