# SPDX-License-Identifier: Apache-2.0
"""avg@k, unbiased pass@k and maj@k from sampled completions; intervals, clustered by problem, are in `intervals`.

Notation: P problems, G completions of a problem. Scores are numbers, NaN where a completion could not be judged.
"""

import json
import logging
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from open_r1.evaluation.intervals import Interval, mean_interval, within_bounds

logger = logging.getLogger(__name__)

# Rewards that say whether an answer is right: pass@k means something for these alone.
PASS_REWARDS = ("accuracy_reward",)
_EXACT_ANSWERS = 128
_NUM_DRAWS = 4_000


@dataclass
class Record:
    """One evaluated completion.

    Args:
        prompt: Messages of the prompt.
        completion: Text of the completion.
        num_tokens: Its length in tokens.
        is_truncated: Whether it hit the length limit before an end-of-turn token.
        rewards: Value of each reward by metric key; None where it was not judged.
        solution: Gold answer, if the data has one.
        is_greedy: Decoded greedily, not sampled.
    """

    prompt: list[dict[str, Any]]
    completion: str
    num_tokens: int
    is_truncated: bool
    rewards: dict[str, float | None]
    solution: str | None = None
    is_greedy: bool = False

    @property
    def problem(self) -> str:
        """Key that completions of the same problem share."""
        return json.dumps([self.prompt, self.solution], ensure_ascii=False)


def avg_at_k(
    scores_PG: Sequence[Sequence[float]] | np.ndarray, clusters: Sequence[Hashable] | None = None
) -> Interval:
    """Mean over problems of the mean score of their completions, with its 95 % interval clustered by problem.

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
    """Unbiased probability that one of k samples is right, from n samples of which c are right.

    1 - C(n - c, k) / C(n, k), Chen et al. 2021 (Evaluating Large Language Models Trained on Code), equation 1.

    Raises:
        ValueError: k is larger than the number of samples.
    """
    if not 0 < k <= num_samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, got {num_samples}.")
    if num_samples - num_right < k:
        return 1.0
    return 1.0 - math.comb(num_samples - num_right, k) / math.comb(num_samples, k)


def maj_at_ks(
    classes: Sequence[int | None], scores: Sequence[float] | np.ndarray, ks: Sequence[int], seed: int = 0
) -> list[float]:
    """Expected score of the majority's answer among k answers of a problem, for several k.

    Where classes tie, the score is the mean of theirs; where no drawn answer votes it is 0. Exact for up to 128
    answers, by counting all draws; for more the mean of 4,000 draws.

    Args:
        classes: Which answers are equal; None: no answer, and no vote, though it is drawn as often as another.
        scores: Of the answers; that of a class is the mean of its members. NaN: could not be judged, left out.
        ks: Numbers of answers, each at least 1 and at most as many as were judged.
        seed: Of the draws.

    Raises:
        ValueError: A k is out of its range, or the lengths differ.
    """
    judged = [(name, score) for name, score in zip(classes, scores, strict=True) if not math.isnan(score)]
    for k in ks:
        if not 0 < k <= len(judged):
            raise ValueError(f"maj@{k} needs at least {k} answers, got {len(judged)}.")
    members: dict[int, list[float]] = {}
    for name, score in judged:
        if name is not None:
            members.setdefault(name, []).append(score)
    counts = [len(entries) for entries in members.values()]
    means = [sum(entries) / len(entries) for entries in members.values()]
    silent = len(judged) - sum(counts)
    if len(judged) <= _EXACT_ANSWERS:
        return _exact_majority(counts, means, silent, ks)
    return _drawn_majority(counts, means, silent, ks, seed)


def _exact_majority(counts: Sequence[int], means: Sequence[float], silent: int, ks: Sequence[int]) -> list[float]:
    """Count draws by the votes of their winner, m: `ways[t, u]` draws of u answers in which t classes have m votes and
    none has more, and `sums` the same times the sum of the scores of these t."""
    most, total = max(ks), sum(counts) + silent
    found = np.zeros(most + 1)
    for m in range(1, min(max(counts, default=0), most) + 1):
        ways, sums = np.zeros((2, most // m + 1, most + 1))
        ways[0] = [math.comb(silent, drawn) for drawn in range(most + 1)]
        for count, mean in zip(counts, means, strict=True):
            more_ways, more_sums = np.zeros((2, *ways.shape))
            for votes in range(min(m - 1, count) + 1):
                chosen, rest = math.comb(count, votes), most + 1 - votes
                more_ways[:, votes:] += chosen * ways[:, :rest]
                more_sums[:, votes:] += chosen * sums[:, :rest]
            if count >= m:
                chosen, rest = math.comb(count, m), most + 1 - m
                more_ways[1:, m:] += chosen * ways[:-1, :rest]
                more_sums[1:, m:] += chosen * (sums[:-1, :rest] + mean * ways[:-1, :rest])
            ways, sums = more_ways, more_sums
        found += (sums[1:] / np.arange(1, len(sums))[:, None]).sum(axis=0)
    return [float(found[k] / math.comb(total, k)) for k in ks]


def _drawn_majority(
    counts: Sequence[int], means: Sequence[float], silent: int, ks: Sequence[int], seed: int
) -> list[float]:
    answers = np.repeat(np.arange(len(counts) + 1), [*counts, silent])
    generator, sums = np.random.default_rng(seed), np.zeros(len(ks))
    for _ in range(_NUM_DRAWS):
        order = generator.permutation(answers)
        for place, k in enumerate(ks):
            votes = np.bincount(order[:k], minlength=len(counts) + 1)[:-1]
            if votes.any():
                sums[place] += np.asarray(means)[votes == votes.max()].mean()
    return (sums / _NUM_DRAWS).tolist()


def estimate_names(rewards: Sequence[str], k: int, with_greedy: bool) -> list[str]:
    """Return the names of what `summarize` estimates from rewards, which it leaves out where none could be judged."""
    names = []
    for reward in rewards:
        names += [f"eval_{reward}/avg@{k}", f"eval_{reward}/avg@{k}_low", f"eval_{reward}/avg@{k}_high"]
        names += [f"eval_{reward}/pass@{k}"] if reward in PASS_REWARDS else []
        names += [f"eval_{reward}/greedy"] if with_greedy else []
    return names


def summarize(records: Sequence[Record], num_generations: int, prefix: str) -> dict[str, float]:
    """Turn evaluated completions into metrics.

    Args:
        records: Sampled and greedy completions. At most `num_generations` sampled ones of a problem are used: with
            several processes the last batch may be filled up with problems that were already seen.
        num_generations: k of avg@k and pass@k.
        prefix: First part of every metric's name.

    Returns:
        `<prefix>_<reward>/avg@k` with `_low` and `_high` (95 % interval; none of one problem with a score beyond
        [0, 1]), `/pass@k` for `PASS_REWARDS` (of the problems with k judged completions), `/greedy`, and
        `<prefix>_completions/...` (mean length in tokens, share truncated), `<prefix>_num_problems`.

    Raises:
        ValueError: There is no sampled completion.
    """
    sampled, greedy = _by_problem(records, False, num_generations), _by_problem(records, True, 1)
    if not sampled:
        raise ValueError("No sampled completion: there is nothing to summarize.")
    metrics: dict[str, float] = {f"{prefix}_num_problems": len(sampled)}
    chosen = [record for group in sampled.values() for record in group]
    metrics[f"{prefix}_completions/mean_length"] = float(np.mean([record.num_tokens for record in chosen]))
    metrics[f"{prefix}_completions/truncated"] = float(np.mean([record.is_truncated for record in chosen]))
    for name in chosen[0].rewards:
        scores_PG = [[_number(record.rewards[name]) for record in group] for group in sampled.values()]
        judged = [score for row in scores_PG for score in row if not math.isnan(score)]
        if not judged:
            continue
        key = f"{prefix}_{name}"
        interval = avg_at_k(scores_PG)
        metrics[f"{key}/avg@{num_generations}"] = interval.mean
        if not math.isnan(interval.low):
            metrics |= {
                f"{key}/avg@{num_generations}_low": interval.low,
                f"{key}/avg@{num_generations}_high": interval.high,
            }
        if name in PASS_REWARDS:
            metrics |= _passed(scores_PG, num_generations, key)
        greedy_scores = [_number(group[0].rewards[name]) for group in greedy.values()]
        if not np.all(np.isnan(greedy_scores)):
            metrics[f"{key}/greedy"] = float(np.nanmean(greedy_scores))
    return metrics


def _passed(scores_PG: Sequence[Sequence[float]], k: int, key: str) -> dict[str, float]:
    """Return pass@k of the problems with k judged completions: of fewer it would be lower. None has so many: {}."""
    judged_PG = [[score for score in row if not math.isnan(score)] for row in scores_PG]
    rows = [row for row in judged_PG if row]  # the others avg@k leaves out too
    whole = [row for row in rows if len(row) >= k]
    if len(whole) < len(rows):
        logger.warning(
            "%s: of %d problems fewer than %d completions could be judged: pass@%d is over the %d others.",
            key,
            len(rows) - len(whole),
            k,
            k,
            len(whole),
        )
    if not whole:
        return {}
    return {f"{key}/pass@{k}": float(np.mean([pass_at_k(len(row), row.count(1.0), k) for row in whole]))}


def _by_problem(records: Sequence[Record], is_greedy: bool, limit: int) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.is_greedy == is_greedy:
            group = groups.setdefault(record.problem, [])
            if len(group) < limit:
                group.append(record)
    return groups


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
