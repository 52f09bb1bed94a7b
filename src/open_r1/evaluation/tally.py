# SPDX-License-Identifier: Apache-2.0
"""The figures of a run on a benchmark: metrics, counts, and what must be known to read them.

    avg@k, avg@k_low, avg@k_high      mean share of right answers, with its 95 % interval
    pass@k, ...                       chance that one of k answers is right, for k = 1, 2, 4, ... and all
    maj@k, ...                        expected correctness of what most of k answers say; none of programs
    truncated, no_answer              shares of the answers that came
    mean_length_tokens                where the server counts

1. k is the number of answers that came for the problem with the fewest, not what was asked for. A curve that must
   keep its name has the other k: what was asked for, over the problems with as many judged answers.
2. pass@k and maj@k are means over all choices of k answers, not over one (`evaluation.estimators`).
3. Intervals are over problems, whose answers are not independent of each other (`evaluation.intervals`); rows with the
   same conversation are one problem, though each counts in the mean.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from open_r1.evaluation.equal_answers import group_answers
from open_r1.evaluation.estimators import avg_at_k, maj_at_ks, pass_at_k
from open_r1.evaluation.intervals import Interval, mean_interval
from open_r1.evaluation.judging import LOST, Answer
from open_r1.evaluation.problems import Problems
from open_r1.generation.messages import MAY_PASS, row_key
from open_r1.rewards.verifier import Verdict

_FEW_PROBLEMS = 30
_UNKNOWN_ENDS = ("unknown", "", None)  # as `replies` writes what servers leave out
_MANY_TRUNCATED = 0.05
_MANY_WITHOUT_ANSWER = 0.2
_NUM_ERRORS, _ERROR_CHARACTERS = 5, 200
_COUNTS = re.compile(r"(?<!HTTP )(?<!\d)\d+")  # numbers of an error, as of tokens, which differ from prompt to prompt
_STATUS = re.compile(r"HTTP (\d{3}):")


class Tally:
    """Scores, votes and counts of the answers, without their texts.

    Args:
        problems: What was asked.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self.scores_PG: list[list[float]] = []
        self.classes_PG: list[list[int | None]] = []
        self.clusters_P: list[Hashable] = []
        self.verdicts: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.num_truncated = self.num_end_unknown = 0
        self.num_failed = 0
        self.last_error = ""
        self._errors: dict[str, tuple[str, int]] = {}

    def add(self, answers: Sequence[Answer]) -> None:
        """Count the answers to one problem."""
        returned = [answer for answer in answers if answer.text is not None]
        self.num_failed += len(answers) - len(returned)
        for error in (answer.error for answer in answers if answer.error):
            first, count = self._errors.get(kind := _COUNTS.sub("0", error), (error, 0))
            self._errors[kind], self.last_error = (first, count + 1), error
        self.clusters_P.append(self._cluster_of(answers))
        self.scores_PG.append([answer.score for answer in returned])
        self.classes_PG.append(group_answers([answer.extracted for answer in returned]))
        self.verdicts.update(answer.verdict or LOST for answer in returned)
        self.lengths += [answer.num_tokens for answer in returned if answer.num_tokens is not None]
        self.num_truncated += sum(answer.finish_reason == "length" for answer in returned)
        self.num_end_unknown += sum(answer.finish_reason in _UNKNOWN_ENDS for answer in returned)

    def _cluster_of(self, answers: Sequence[Answer]) -> Hashable:
        return problem_key(self._problems, answers[0].row) if answers else len(self.clusters_P)

    def errors(self) -> dict[str, int]:
        """Return why requests failed, the commonest first, and how many; what differs in numbers alone is one."""
        shown: Counter[str] = Counter()
        for error, count in self._errors.values():
            shown[_shortened(error)] += count
        return dict(shown.most_common(_NUM_ERRORS))

    @property
    def num_returned(self) -> int:
        """Answers that came."""
        return sum(map(len, self.scores_PG))

    def metrics(self, k: int | None = None) -> dict[str, float]:
        """Return the metrics.

        Args:
            k: Of the names. avg@k is then over all judged answers; pass@k and maj@k are over the problems with k of
                them, and none where there is no such problem. None: the number of the problem with the fewest.

        Raises:
            ValueError: No answer could be judged.
        """
        rows = [row for row, scores in enumerate(self.scores_PG) if not all(map(math.isnan, scores))]
        judged_PG = [[score for score in self.scores_PG[row] if not math.isnan(score)] for row in rows]
        interval = avg_at_k(judged_PG, [self.clusters_P[row] for row in rows])
        if k is None:
            k = min(map(len, judged_PG))
        found = _with_ends(f"avg@{k}", interval) | self._by_draws(k)
        if self.num_end_unknown < self.num_returned:
            found["truncated"] = self.num_truncated / (self.num_returned - self.num_end_unknown)
        found["no_answer"] = self.verdicts[Verdict.NO_ANSWER] / self.num_returned
        if self.lengths:
            found["mean_length_tokens"] = float(np.mean(self.lengths))
        return found

    def _by_draws(self, k: int) -> dict[str, float]:
        """Return pass@ and maj@, for up to k answers, of the problems with k that were judged."""
        rows = [row for row in range(len(self.scores_PG)) if self.num_judged(row) >= k]
        if not rows:
            return {}
        clusters, found = [self.clusters_P[row] for row in rows], {}
        ks = sorted({min(2**power, k) for power in range(k.bit_length() + 1)})
        for drawn in ks:
            chances = [pass_at_k(self.num_judged(row), self.scores_PG[row].count(1.0), drawn) for row in rows]
            found |= _with_ends(f"pass@{drawn}", mean_interval(chances, clusters))
        if self._problems.benchmark.kind != "code":  # programs hold nothing that could be equal
            majorities = [maj_at_ks(self.classes_PG[row], self.scores_PG[row], ks) for row in rows]
            for drawn, values in zip(ks, zip(*majorities, strict=True), strict=True):
                found |= _with_ends(f"maj@{drawn}", mean_interval(values, clusters))
        return found

    def num_judged(self, row: int) -> int:
        """Answers of a problem, by its place, that could be judged."""
        return sum(not math.isnan(score) for score in self.scores_PG[row])

    def counts(self, num_requested: int) -> dict[str, Any]:
        """Return how many of what there are; `num_requested` answers were to be had."""
        returned = list(map(len, self.scores_PG))
        return {
            "problems": len(returned),
            "problems_repeated": len(returned) - len(set(self.clusters_P)),
            "requested": num_requested,
            "returned": self.num_returned,
            "returned_of_a_problem": [min(returned), max(returned)],
            "failed": num_requested - self.num_returned,
            "lost": self.verdicts[LOST],
            "problems_judged": sum(not all(map(math.isnan, row)) for row in self.scores_PG),
            "problems_lost": sum(all(map(math.isnan, row)) for row in self.scores_PG),
            "verdicts": dict(sorted(self.verdicts.items())),
        }

    def notes(self, num_requested: int) -> list[str]:
        """Return what must be known to read the metrics; empty: nothing out of the ordinary."""
        counts, found = self.counts(num_requested), []
        if counts["failed"]:
            found.append(
                f"{counts['failed']} of {num_requested} requests have failed: the run isn't complete, and "
                f"the estimates are from what came; {self._note_of_errors()}"
            )
        if counts["problems_lost"]:
            found.append(
                f"the means are over {counts['problems_judged']} of {counts['problems']} problems: the "
                "others have no answer to judge, so these are no figures of the benchmark"
            )
        if counts["problems_repeated"]:
            found.append(
                f"{counts['problems_repeated']} of {counts['problems']} rows ask what another row asks: each "
                "counts in the means, and the intervals are over different problems"
            )
        judged = zip(self.clusters_P, self.scores_PG, strict=True)
        num_different = len({name for name, scores in judged if not all(map(math.isnan, scores))})
        if 0 < num_different < _FEW_PROBLEMS:
            found.append(f"so few problems ({num_different}) say little: what chance alone may do is in the interval")
        return [*found, *self._notes_of_answers()]

    def _note_of_errors(self) -> str:
        """Return why most have failed, and what can be done."""
        said = [f"{count} of them with: {error}; " for error, count in list(self.errors().items())[:1]]
        if self._errors and all(_comes_again(error) for error, _ in self._errors.values()):
            return f"{''.join(said)}the same command gets the same refusal until what is asked, or the server, changes"
        return f"{''.join(said)}the same command asks for the rest"

    def _notes_of_answers(self) -> list[str]:
        found, num_returned = [], self.num_returned
        num_lost = sum(math.isnan(score) for row in self.scores_PG for score in row)
        if self.verdicts[LOST]:
            found.append(
                f"{self.verdicts[LOST]} answers have no verdict since what judges them failed: the run isn't "
                "complete; the same command judges them again"
            )
        if num_lost:
            found.append(f"{num_lost} of {num_returned} answers could not be judged: the estimates leave them out")
        if self.num_end_unknown:
            found.append(
                f"of {self.num_end_unknown} of {num_returned} answers the server doesn't tell why they "
                "ended: the share that was cut off leaves them out"
            )
        if num_returned and self.num_truncated / num_returned > _MANY_TRUNCATED:
            found.append(
                f"{self.num_truncated / num_returned:.0%} of the answers were cut off at the limit of "
                "tokens: the figures are those of this limit"
            )
        without = self.verdicts[Verdict.NO_ANSWER]
        if num_returned and without / num_returned > _MANY_WITHOUT_ANSWER:
            found.append(
                f"{without / num_returned:.0%} of the answers hold no final answer, and count as wrong: is "
                "the prompt one that this model follows, and the limit of tokens high enough?"
            )
        return found


def problem_key(problems: Problems, row: int) -> str:
    """Return what tells problems apart: a hash of all messages of a row, whatever their spaces."""
    context, question = problems.question_of(row)
    return row_key([context, " ".join(question.split())])


def _comes_again(error: str) -> bool:
    """Whether a server would refuse the same request again, as one that is longer than its context."""
    status = _STATUS.match(error)
    return status is not None and int(status[1]) not in MAY_PASS


def _shortened(text: str) -> str:
    return text if len(text) <= _ERROR_CHARACTERS else f"{text[:_ERROR_CHARACTERS]}..."


def _with_ends(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
