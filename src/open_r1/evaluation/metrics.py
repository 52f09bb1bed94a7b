# SPDX-License-Identifier: Apache-2.0
r"""Figures of a run on a benchmark: avg@k, unbiased pass@k, exact maj@k, counts, and notes to read them by.

    avg@4, avg@4_low, avg@4_high, avg@4_stderr   mean share of right answers, its 95 % interval and standard error
    pass@2, pass@4                               chance that one of k answers is right, with intervals
    maj@2, maj@4                                 expected score of what most of k answers say; none of programs
    truncated, no_answer, mean_length_tokens     shares of the answers that came, and their length

1. k is what was asked for, whatever came: avg@k is over all judged answers, pass@k and maj@k over the problems with k
   of them; `counts` says how many came. pass@1 and maj@1 are avg@k, and stand there once.
2. pass@k and maj@k are means over all choices of k answers, not over one.
3. Intervals are over problems, whose answers are not independent of each other (`intervals`); rows with the same
   conversation are one problem, though each counts in the mean.
4. Equal answers, the votes of a majority, are found without a gold. Texts that differ in spaces only are the same;
   what the verifier can't compare, not even with itself, equals nothing else. The text given most often (of equals the
   first) is the gold of the next class, and what the verifier calls right by it joins; and so on with the rest: the
   verifier's equality is no equivalence (50% is 50 and is 0.5, which are not each other). Work is bounded: long texts
   are not compared, nor texts beyond `MAX_TEXTS`, and once the steps of a problem are used up each text stands alone.

P problems, G answers of a problem. Scores are numbers, NaN where an answer could not be judged.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from open_r1.evaluation.intervals import Interval, mean_interval, within_bounds
from open_r1.evaluation.judges import LOST, Answer
from open_r1.evaluation.prompts import Problems
from open_r1.rewards.verifier import Verdict
from open_r1.rewards.verifier.budget import OverBudgetError, limited_to, spend
from open_r1.rewards.verifier.judge import judge_pair

logger = logging.getLogger(__name__)

MAX_TEXTS, MAX_CHARS = 128, 1_000
MAX_MAJORITY = 512  # answers for which counting all draws takes seconds
# Rewards that say whether an answer is right: pass@k means something for these alone.
PASS_REWARDS = ("accuracy_reward",)
_MAX_STEPS = 10_000_000  # of the verifier, for the answers to one problem: some ten seconds
_MANY_TRUNCATED, _MANY_WITHOUT_ANSWER = 0.05, 0.2
_NUM_ERRORS, _ERROR_CHARACTERS = 5, 200
_NUMBER = re.compile(r"(?<!HTTP )(?<!\d)\d+")  # of an error, as of tokens, which differ from prompt to prompt


class Metrics:
    """Scores, votes and counts of the answers to a benchmark, without their texts."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self.scores_PG: list[list[float]] = []
        self.classes_PG: list[list[int | None]] = []
        self.clusters_P: list[Hashable] = []
        self.verdicts: Counter[str] = Counter()
        self._lengths: list[int] = []
        self._ends: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def add(self, row: int, answers: Sequence[Answer]) -> None:
        """Count the answers to the problem of a row."""
        returned = [answer for answer in answers if answer.text is not None]
        self._errors.update(_NUMBER.sub("#", answer.error) for answer in answers if answer.error)
        self.clusters_P.append(self._problems.cluster_of(row))
        self.scores_PG.append([answer.score for answer in returned])
        self.classes_PG.append(group_answers([answer.extracted for answer in returned]))
        self.verdicts.update(answer.verdict or LOST for answer in returned)
        self._lengths += [answer.num_tokens for answer in returned if answer.num_tokens is not None]
        self._ends.update(answer.finish_reason or "unknown" for answer in returned)

    @property
    def errors(self) -> dict[str, int]:
        """Why requests failed, the commonest first, and how many; what differs in numbers alone is one."""
        return {text[:_ERROR_CHARACTERS]: count for text, count in self._errors.most_common(_NUM_ERRORS)}

    def figures(self, k: int) -> dict[str, float]:
        """Return the metrics of k answers to each problem, without those that can't be estimated; {}: none can."""
        classes_PG = self.classes_PG if self._problems.has_votes else None
        found = estimates(self.scores_PG, k, self.clusters_P, classes_PG)
        if not found:
            return {}
        returned = self.verdicts.total()
        if known := returned - self._ends["unknown"]:
            found["truncated"] = self._ends["length"] / known
        found["no_answer"] = self.verdicts[Verdict.NO_ANSWER] / returned
        if self._lengths:
            found["mean_length_tokens"] = float(np.mean(self._lengths))
        return found

    def counts(self, num_requested: int) -> dict[str, Any]:
        """Return how many of what there are; `num_requested` answers were to be had."""
        returned = [len(row) for row in self.scores_PG]
        judged = sum(not all(map(math.isnan, row)) for row in self.scores_PG)
        return {
            "problems": len(returned),
            "requested": num_requested,
            "returned": sum(returned),
            "failed": num_requested - sum(returned),
            "lost": self.verdicts[LOST],
            "problems_judged": judged,
            "problems_lost": len(returned) - judged,
            "verdicts": dict(sorted(self.verdicts.items())),
        }

    def notes(self, num_requested: int) -> list[str]:
        """Return what must be known to read the metrics; empty: nothing out of the ordinary."""
        counts = self.counts(num_requested)
        returned, lost = counts["returned"], sum(math.isnan(score) for row in self.scores_PG for score in row)
        first = "".join(f", {count} of them with: {error}" for error, count in [*self.errors.items()][:1])
        share = max(returned, 1)
        without = self.verdicts[Verdict.NO_ANSWER] / share
        notes = {
            f"{counts['failed']} of {num_requested} requests have failed{first}: the estimates are from what came; "
            "the same command asks for the rest": counts["failed"],
            f"{lost} of {returned} answers could not be judged: the means are over {counts['problems_judged']} of "
            f"{counts['problems']} problems": lost or counts["problems_lost"],
            f"{self._ends['length'] / share:.0%} of the answers were cut off at the limit of tokens: the figures are "
            "those of this limit": self._ends["length"] / share > _MANY_TRUNCATED,
            f"{without:.0%} of the answers hold no final answer, and count as wrong: is the prompt one that this "
            "model follows, and the limit of tokens high enough?": without > _MANY_WITHOUT_ANSWER,
        }
        return [note for note, is_due in notes.items() if is_due]


def estimates(
    scores_PG: Sequence[Sequence[float]],
    k: int,
    clusters_P: Sequence[Hashable] | None = None,
    classes_PG: Sequence[Sequence[int | None]] | None = None,
) -> dict[str, float]:
    """Return avg@k, pass@2 ... pass@k and maj@2 ... maj@k with their 95 % intervals; {} where no answer was judged.

    Args:
        scores_PG: Scores; NaN: could not be judged.
        k: What was asked for.
        clusters_P: Which rows are the same problem; see `mean_interval`.
        classes_PG: Which answers are equal (`group_answers`); None: there is no majority.
    """
    clusters_P = range(len(scores_PG)) if clusters_P is None else clusters_P
    groups: list[tuple[Hashable, list[int | None], list[float]]] = []
    for row, scores in enumerate(scores_PG):
        names = [None] * len(scores) if classes_PG is None else classes_PG[row]
        judged = [pair for pair in zip(names, scores, strict=True) if not math.isnan(pair[1])]
        if judged:
            groups.append((clusters_P[row], [name for name, _ in judged], [score for _, score in judged]))
    if not groups:
        return {}
    average = avg_at_k([scores for _, _, scores in groups], [cluster for cluster, _, _ in groups])
    found = _with_ends(f"avg@{k}", average)
    found |= {} if math.isnan(average.standard_error) else {f"avg@{k}_stderr": average.standard_error}
    measures: dict[str, Callable[[list[int | None], list[float], int], float]] = {
        "pass": lambda names, scores, drawn: pass_at_k(len(scores), scores.count(1.0), drawn)
    }
    if classes_PG is not None:
        measures["maj"] = lambda names, scores, drawn: maj_at_k(names[:MAX_MAJORITY], scores[:MAX_MAJORITY], drawn)
    draws = sorted({min(2**power, k) for power in range(1, k.bit_length() + 1)} - {1})
    for name, measure in measures.items():
        for drawn in draws:
            whole = [group for group in groups if len(group[2]) >= drawn and (name == "pass" or drawn <= MAX_MAJORITY)]
            if whole:
                values = [measure(names, scores, drawn) for _, names, scores in whole]
                found |= _with_ends(f"{name}@{drawn}", mean_interval(values, [cluster for cluster, _, _ in whole]))
    return found


def _with_ends(name: str, interval: Interval) -> dict[str, float]:
    ends = {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: interval.mean, **{end: value for end, value in ends.items() if not math.isnan(value)}}


def avg_at_k(
    scores_PG: Sequence[Sequence[float]] | np.ndarray, clusters: Sequence[Hashable] | None = None
) -> Interval:
    """Mean over problems of the mean score of their answers, with its 95 % interval clustered by problem.

    Args:
        scores_PG: Scores; rows may have different lengths, NaN entries are left out, and rows without any other.
        clusters: Which rows are the same problem; see `mean_interval`.

    Raises:
        ValueError: No score at all.
    """
    means_P = [math.nan if np.all(np.isnan(row)) else float(np.nanmean(row)) for row in scores_PG]
    is_bounded = all(within_bounds(np.asarray(row, dtype=float)) for row in scores_PG)
    return mean_interval(means_P, clusters, is_bounded=is_bounded)


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """Unbiased probability that one of k samples is right, from n >= k samples of which c are right.

    1 - C(n - c, k) / C(n, k), Chen et al. 2021 (Evaluating Large Language Models Trained on Code), equation 1.
    """
    return 1.0 - math.comb(num_samples - num_right, k) / math.comb(num_samples, k)


def maj_at_k(classes: Sequence[int | None], scores: Sequence[float] | np.ndarray, k: int) -> float:
    """Expected score of the majority's answer among k answers of a problem; exact, by all draws.

    Where classes tie, the score is the mean of theirs; where no drawn answer votes it is 0. Draws are counted by the
    votes of their winner, m: `ways[t, u]` draws of u answers in which t classes have m votes and none has more, and
    `sums` the same times the sum of the scores of these t.

    Args:
        classes: Which answers are equal; None: no answer, and no vote, though it is drawn as often as another.
        scores: Of the answers; that of a class is the mean of its members. NaN: could not be judged, left out.
        k: At least 1, and at most as many as were judged.
    """
    judged = [(name, score) for name, score in zip(classes, scores, strict=True) if not math.isnan(score)]
    members: dict[int, list[float]] = {}
    for name, score in judged:
        if name is not None:
            members.setdefault(name, []).append(score)
    counts = [(len(entries), sum(entries) / len(entries)) for entries in members.values()]
    silent, found = len(judged) - sum(count for count, _ in counts), 0.0
    for m in range(1, min(max((count for count, _ in counts), default=0), k) + 1):
        ways, sums = np.zeros((2, k // m + 1, k + 1))
        ways[0] = [math.comb(silent, drawn) for drawn in range(k + 1)]
        for count, mean in counts:
            more_ways, more_sums = np.zeros((2, *ways.shape))
            for votes in range(min(m - 1, count) + 1):
                chosen, rest = math.comb(count, votes), k + 1 - votes
                more_ways[:, votes:] += chosen * ways[:, :rest]
                more_sums[:, votes:] += chosen * sums[:, :rest]
            if count >= m:
                chosen, rest = math.comb(count, m), k + 1 - m
                more_ways[1:, m:] += chosen * ways[:-1, :rest]
                more_sums[1:, m:] += chosen * (sums[:-1, :rest] + mean * ways[:-1, :rest])
            ways, sums = more_ways, more_sums
        found += float((sums[1:, k] / np.arange(1, len(sums))).sum())
    return found / math.comb(len(judged), k)


def group_answers(extracted: Sequence[str | None], *, max_steps: int = _MAX_STEPS) -> list[int | None]:
    r"""Return the class of equal answers of each; None where there is no answer.

    >>> group_answers(["1/2", "0.5", None, r"\frac{1}{2}", "2", " 2.0"])
    [0, 0, None, 0, 1, 1]

    Args:
        extracted: Final answers, as `extract_answer` finds them; blank is none.
        max_steps: Of the verifier's budget, for all comparisons.

    Returns:
        Numbers from 0, in the order in which classes first appear.
    """
    texts = [None if text is None else " ".join(text.split()) or None for text in extracted]
    representatives = _representatives(Counter(text for text in texts if text is not None), max_steps)
    numbers: dict[str, int] = {}
    return [None if text is None else numbers.setdefault(representatives[text], len(numbers)) for text in texts]


def _representatives(counts: Mapping[str, int], max_steps: int) -> dict[str, str]:
    """Return by text the text that stands for its class."""
    found = {text: text for text in counts}
    if len(counts) < 2:
        return found
    frequent = [text for text, _ in Counter(counts).most_common() if len(text) <= MAX_CHARS][:MAX_TEXTS]
    try:
        with limited_to(max_steps):
            left = [text for text in frequent if _says(text, text)]
            while left:
                gold, *others = left
                equal = {other for other in others if _says(gold, other)}
                found |= dict.fromkeys(equal, gold)
                left = [other for other in others if other not in equal]
    except OverBudgetError:
        logger.warning("%d answers to one problem were too expensive to compare.", len(counts))
    return found


def _says(gold: str, other: str) -> bool:
    """Whether a text says what another does; nothing is kept, since the steps that are left decide it too."""
    verdict = judge_pair(gold, other).verdict
    spend(1)
    return verdict is Verdict.RIGHT


def reward_metric_names(rewards: Sequence[str], k: int, *, with_greedy: bool) -> list[str]:
    """Return the names of what `reward_metrics` leaves out where no completion could be judged."""
    names = []
    for reward in rewards:
        ends = [f"avg@{k}", f"avg@{k}_low", f"avg@{k}_high", *([f"pass@{k}"] if reward in PASS_REWARDS else [])]
        names += [f"eval_{reward}/{end}" for end in (*ends, *(["greedy"] if with_greedy else []))]
    return names


def reward_metrics(rows: Sequence[Mapping[str, Any]], rewards: Sequence[str], k: int, prefix: str) -> dict[str, float]:
    """Return metrics of completions that rewards have scored, such as those of a test split.

    Args:
        rows: Completions, each with `prompt`, `solution`, `num_tokens`, `is_truncated`, `is_greedy`, and a column a
            reward (None or NaN: not judged). At most k sampled ones of a problem are used: with several processes the
            last batch may be filled up with problems that were already seen.
        rewards: Names of the columns.
        k: Of avg@k and pass@k.
        prefix: First part of every metric's name.

    Returns:
        `<prefix>_<reward>/avg@k` with `_low` and `_high`, `/pass@k` for `PASS_REWARDS` (of the problems with k judged
        completions), `/greedy`, `<prefix>_completions/...` (mean length in tokens, share truncated), and
        `<prefix>_num_problems`; without what could not be judged.

    Raises:
        ValueError: There is no sampled completion.
    """
    groups: dict[tuple[bool, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        group = groups.setdefault((row["is_greedy"], repr((row["prompt"], row.get("solution")))), [])
        if len(group) < (1 if row["is_greedy"] else k):
            group.append(row)
    sampled = [group for (is_greedy, _), group in groups.items() if not is_greedy]
    if not sampled:
        raise ValueError("No sampled completion: there is nothing to summarize.")
    chosen = [row for group in sampled for row in group]
    found: dict[str, float] = {f"{prefix}_num_problems": len(sampled)}
    found[f"{prefix}_completions/mean_length"] = float(np.mean([row["num_tokens"] for row in chosen]))
    found[f"{prefix}_completions/truncated"] = float(np.mean([row["is_truncated"] for row in chosen]))
    for name in rewards:
        figures = estimates([_scores(group, name) for group in sampled], k)
        greedy = [score for (is_greedy, _), group in groups.items() if is_greedy for score in _scores(group, name)]
        figures |= {"greedy": float(np.mean(greedy))} if greedy else {}
        wanted = [full.rpartition("/")[2] for full in reward_metric_names([name], k, with_greedy=True)]
        found |= {f"{prefix}_{name}/{end}": figures[end] for end in wanted if end in figures}
    return found


def _scores(group: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(value) for row in group if (value := row[name]) is not None and not math.isnan(value)]
