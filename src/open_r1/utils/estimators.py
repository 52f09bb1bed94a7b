# SPDX-License-Identifier: Apache-2.0
"""avg@k, unbiased pass@k and intervals from sampled completions, clustered by problem.

Notation: P problems, G completions of a problem. Scores are numbers, NaN where a completion could not be judged.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Rewards that say whether an answer is right: pass@k means something for these alone.
PASS_REWARDS = ("accuracy_reward",)


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


@dataclass
class Interval:
    """A mean with its 95 % bootstrap interval over problems."""

    mean: float
    low: float
    high: float
    scores_P: np.ndarray = field(repr=False)


def avg_at_k(scores_PG: Sequence[Sequence[float]], num_resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean over problems of the mean score of their completions, with a percentile bootstrap over problems.

    Problems are resampled, not completions: completions of one problem are not independent.

    Args:
        scores_PG: Scores; rows may have different lengths, NaN entries are left out.
        num_resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: No score at all.
    """
    scores_P = np.array([np.nanmean(row) for row in scores_PG if not np.all(np.isnan(row))], dtype=float)
    if scores_P.size == 0:
        raise ValueError("No completion was judged: there is nothing to average.")
    generator = np.random.default_rng(seed)
    # One resample at a time: all at once would need gigabytes for 100,000 problems.
    means = [scores_P[generator.integers(0, scores_P.size, size=scores_P.size)].mean() for _ in range(num_resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(scores_P.mean()), float(low), float(high), scores_P)


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


def summarize(records: Sequence[Record], num_generations: int, prefix: str) -> dict[str, float]:
    """Turn evaluated completions into metrics.

    Args:
        records: Sampled and greedy completions. At most `num_generations` sampled ones of a problem are used: with
            several processes the last batch may be filled up with problems that were already seen.
        num_generations: k of avg@k and pass@k.
        prefix: First part of every metric's name.

    Returns:
        `<prefix>_<reward>/avg@k` with `_low` and `_high` (95 % interval), `/pass@k` for `PASS_REWARDS`, `/greedy`,
        and `<prefix>_completions/...` (mean length in tokens, share truncated), `<prefix>_num_problems`.

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
        metrics |= {f"{key}/avg@{num_generations}": interval.mean,
                    f"{key}/avg@{num_generations}_low": interval.low,
                    f"{key}/avg@{num_generations}_high": interval.high}  # fmt: skip
        if name in PASS_REWARDS:
            # Like avg@k, over what was judged: one that could not be judged is no wrong answer.
            rows = [[score for score in row if not math.isnan(score)] for row in scores_PG]
            passed = [pass_at_k(len(row), sum(score == 1.0 for score in row), len(row)) for row in rows if row]
            metrics[f"{key}/pass@{num_generations}"] = float(np.mean(passed))
        greedy_scores = [_number(group[0].rewards[name]) for group in greedy.values()]
        if not np.all(np.isnan(greedy_scores)):
            metrics[f"{key}/greedy"] = float(np.nanmean(greedy_scores))
    return metrics


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
