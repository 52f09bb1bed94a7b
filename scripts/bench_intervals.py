# SPDX-License-Identifier: Apache-2.0
"""What 95 % intervals of benchmark results cover: ours beside the usual ones, in a simulation.

    python scripts/bench_intervals.py --table assets/benchmarks/intervals.md    # make bench_intervals
    python scripts/bench_intervals.py --rounds 200

Problems have rates at which a model solves them, drawn anew in each round; of each there are k answers. An interval
should hold the mean rate of all problems that might have been drawn in 95 of 100 rounds.

ours             `evaluation.intervals.mean_interval`: Student's with a problem of 0 and one of 1 added
t                Student's of the means of problems
bootstrap        percentiles of 300 resamples of problems
Wilson           of the effective number of trials by the variance between problems, at least P, with Student's t
Korn-Graubard    exact binomial of that number of trials, less by the ratio of squared t
Wilson of P      as if each problem were one trial

Pairs of runs are compared too (`evaluation.paired`), of one model and of one that has changed: does the interval hold
the mean change of all problems, how often is p below 0.05, does what is called detectable show in 8 of 10 rounds?
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from open_r1.data.flags import FlagParser
from open_r1.evaluation.intervals import mean_interval, student_quantile
from open_r1.evaluation.paired import SIGNIFICANCE, paired_difference

Ends = tuple[np.ndarray, np.ndarray]
PROBLEMS, ANSWERS, PAIRS = (3, 5, 10, 30, 100, 500), (1, 4, 64), (5, 10, 30, 100)
PAIR_ANSWERS = (1, 4, 64)
_RESAMPLES = 300
_MANY_RATES = 200_000


def two_kinds(share: float, high: float, low: float) -> tuple[Callable, float]:
    """Return how rates are drawn, a share of them high and the others low, and their mean."""
    return lambda rng, size: np.where(rng.random(size) < share, high, low), share * high + (1 - share) * low


def beta(a: float, b: float) -> tuple[Callable, float]:
    """Return how rates are drawn from a beta distribution, and their mean."""
    return lambda rng, size: rng.beta(a, b, size), a / (a + b)


SITUATIONS = {
    "any rate, many easy or hard: beta(0.5, 0.5)": beta(0.5, 0.5),
    "middling: beta(2, 3)": beta(2, 3),
    "hard: beta(0.1, 1.5)": beta(0.1, 1.5),
    "easy: beta(1.9, 0.1)": beta(1.9, 0.1),
    "all at 0.5": two_kinds(1, 0.5, 0),
    "all at 0.97": two_kinds(1, 0.97, 0),
    "half always, half never": two_kinds(0.5, 1, 0),
    "3 % always, others never": two_kinds(0.03, 1, 0),
    "5 % at 0.9, others at 0.01": two_kinds(0.05, 0.9, 0.01),
    "30 % at 0.6, others at 0.02": two_kinds(0.3, 0.6, 0.02),
}


def ours(scores: np.ndarray, num_answers: int, rng: np.random.Generator) -> Ends:
    found = [mean_interval(row) for row in scores]
    return np.array([entry.low for entry in found]), np.array([entry.high for entry in found])


def students(scores: np.ndarray, num_answers: int, rng: np.random.Generator) -> Ends:
    number = scores.shape[1]
    margin = student_quantile(0.975, number - 1) * scores.std(axis=1, ddof=1) / np.sqrt(number)
    return scores.mean(axis=1) - margin, scores.mean(axis=1) + margin


def bootstrap(scores: np.ndarray, num_answers: int, rng: np.random.Generator) -> Ends:
    number = scores.shape[1]
    means = [row[rng.integers(0, number, (_RESAMPLES, number))].mean(axis=1) for row in scores]
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    return low, high


def wilson(scores: np.ndarray, num_answers: int, rng: np.random.Generator) -> Ends:
    return _wilson(scores.mean(axis=1), _trials(scores, num_answers), student_quantile(0.975, scores.shape[1] - 1))


def wilson_of_problems(scores: np.ndarray, num_answers: int, rng: np.random.Generator) -> Ends:
    return _wilson(scores.mean(axis=1), np.full(len(scores), scores.shape[1]), 1.96)


def korn_graubard(scores: np.ndarray, num_answers: int, rng: np.random.Generator) -> Ends:
    mean, trials = scores.mean(axis=1), _trials(scores, num_answers)
    reach = np.array([student_quantile(0.975, max(1, int(number) - 1)) for number in trials])
    trials = np.clip(trials * (reach / student_quantile(0.975, scores.shape[1] - 1)) ** 2, 1, trials)
    right = mean * trials
    low = np.where(right > 0, _beta_quantile(np.maximum(right, 1e-9), trials - right + 1, 0.025), 0.0)
    high = np.where(right < trials, _beta_quantile(right + 1, np.maximum(trials - right, 1e-9), 0.975), 1.0)
    return low, high


CHANGES = {
    "none": lambda rng, rates: rates,
    "5 points in each": lambda rng, rates: np.clip(rates + 0.05, 0, 1),
    "1 in 5 to 0.8": lambda rng, rates: np.where(rng.random(rates.shape) < 0.2, 0.8, rates),
    "1 in 20 to 0.8": lambda rng, rates: np.where(rng.random(rates.shape) < 0.05, 0.8, rates),
}
CHANGED = [
    *((name, "none") for name in SITUATIONS),
    *(
        (name, change)
        for change in list(CHANGES)[1:]
        for name in ("any rate, many easy or hard: beta(0.5, 0.5)", "middling: beta(2, 3)", "hard: beta(0.1, 1.5)")
    ),
]

METHODS = {
    "ours": ours,
    "t": students,
    "bootstrap": bootstrap,
    "Wilson": wilson,
    "Korn-Graubard": korn_graubard,
    "Wilson of P": wilson_of_problems,
}


def _trials(scores: np.ndarray, num_answers: int) -> np.ndarray:
    """Return the number of independent trials whose mean varies as much: of problems at least, of answers at most."""
    mean, variance = scores.mean(axis=1), scores.var(axis=1, ddof=1)
    number = scores.shape[1]
    found = np.full(len(scores), float(number))
    np.divide(mean * (1 - mean) * number, variance, out=found, where=(variance > 0) & (mean > 0) & (mean < 1))
    found[(variance == 0) & (mean > 0) & (mean < 1)] = number * num_answers
    return np.clip(found, number, number * num_answers)


def _wilson(mean: np.ndarray, trials: np.ndarray, reach: float) -> Ends:
    center = (mean + reach**2 / (2 * trials)) / (1 + reach**2 / trials)
    margin = reach / (1 + reach**2 / trials) * np.sqrt(mean * (1 - mean) / trials + reach**2 / (4 * trials**2))
    return center - margin, center + margin


def _beta_quantile(a: np.ndarray, b: np.ndarray, probability: float) -> np.ndarray:
    """Return quantiles of beta distributions, from their densities at 4,000 points of the logit."""
    logits = np.linspace(-25, 25, 4_000)
    log_rate, log_rest = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    found = np.empty(len(a))
    for row, (one, other) in enumerate(zip(a, b, strict=True)):
        density = one * log_rate + other * log_rest
        mass = np.cumsum(np.exp(density - density.max()))
        found[row] = np.exp(log_rate[np.searchsorted(mass, probability * mass[-1])])
    return found


def measure(rounds: int, seed: int) -> dict[tuple[str, str, int, int], tuple[float, float]]:
    """Return coverage and mean width by method, situation, problems and answers."""
    rng, found = np.random.default_rng(seed), {}
    for situation, (draw, truth) in SITUATIONS.items():
        for number in PROBLEMS:
            for answers in ANSWERS:
                scores = rng.binomial(answers, draw(rng, (rounds, number))) / answers
                for name, method in METHODS.items():
                    ends = np.clip(method(scores, answers, rng), 0, 1)
                    covered = (ends[0] <= truth + 1e-9) & (truth <= ends[1] + 1e-9)
                    found[name, situation, number, answers] = covered.mean(), (ends[1] - ends[0]).mean()
    return found


def measure_pairs(
    rounds: int, seed: int, changed: Sequence[tuple[str, str]] = CHANGED
) -> dict[tuple[str, str, int, int], tuple[float, float, float, float]]:
    """Return coverage, share of p < 0.05, mean width and mean detectable, by situation, change, problems, answers."""
    rng, found = np.random.default_rng(seed), {}
    for (situation, change), number, answers in itertools.product(changed, PAIRS, PAIR_ANSWERS):
        draw, alter = SITUATIONS[situation][0], CHANGES[change]
        many = draw(rng, _MANY_RATES)
        truth = float((alter(rng, many) - many).mean())
        rates = draw(rng, (rounds, number))
        runs = [rng.binomial(answers, shares) / answers for shares in (rates, alter(rng, rates))]
        pairs = [paired_difference(a, b) for a, b in zip(*runs, strict=True)]
        found[situation, change, number, answers] = (
            float(np.mean([pair.low - 1e-9 <= truth <= pair.high + 1e-9 for pair in pairs])),
            float(np.mean([pair.p_value < SIGNIFICANCE for pair in pairs])),
            float(np.mean([pair.high - pair.low for pair in pairs])),
            float(np.mean([pair.detectable for pair in pairs])),
        )
    return found


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of Markdown."""
    lines = [list(head), ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def pages_of_pairs(rounds: int, seed: int) -> list[str]:
    """Return the part on pairs of runs."""
    pairs, lines = measure_pairs(rounds, seed), []
    head = [f"{number} problems" for number in PAIRS]
    for answers in PAIR_ANSWERS:
        covered, shown = [], []
        for where, change in CHANGED:
            cells = [pairs[where, change, number, answers] for number in PAIRS]
            covered.append(
                [where, change, *(f"{100 * share:.0f} / {100 * alarms:.0f}" for share, alarms, *_ in cells)]
            )
            shown.append(
                [
                    where,
                    change,
                    *(
                        f"{100 * width:.1f} / {'-' if np.isnan(least) else f'{100 * least:.1f}'}"
                        for *_, width, least in cells
                    ),
                ]
            )
        lines += [
            f"### {answers} answer{'s' if answers > 1 else ''} a problem",
            "",
            "Rounds of 100 in which the interval of the difference holds the truth / in which p < 0.05.",
            "",
            *as_table(["rates of problems", "change", *head], covered),
            "",
            "Mean width of the interval / mean of what is said to show in 8 of 10 cases, in points.",
            "",
            *as_table(["rates of problems", "change", *head], shown),
            "",
        ]
    return [
        f"## Two runs compared problem by problem, {rounds} rounds",
        "",
        "Change: what the second run's rates differ by. 5 problems can't show anything at this level. Where few "
        "problems change, and by much, so few hardly contain one, and the interval doesn't hold what it can't "
        "see.",
        "",
        *lines,
    ]


def report(rounds: int, seed: int) -> str:
    """Return the page of results."""
    found = measure(rounds, seed)
    worst, width, detail = [], [], []
    for name in METHODS:
        cells = [
            [found[name, where, number, answers] for where in SITUATIONS for answers in ANSWERS] for number in PROBLEMS
        ]
        covered = [[100 * share for share, _ in column] for column in cells]
        worst.append([name, *(f"{min(column):.0f} ({np.mean(column):.0f})" for column in covered)])
        width.append([name, *(f"{np.mean([wide for _, wide in column]):.3f}" for column in cells)])
    for where in SITUATIONS:
        both = [[100 * found[name, where, number, 64][0] for name in ("ours", "bootstrap")] for number in PROBLEMS]
        detail.append([where, *(f"{mine:.0f} / {other:.0f}" for mine, other in both)])
    head = [f"{number} problems" for number in PROBLEMS]
    return "\n".join([
        "# Intervals of benchmark results", "",
        f"Made by `python scripts/bench_intervals.py --rounds {rounds} --seed {seed} --table "
        "assets/benchmarks/intervals.md`; the script says what is compared.", "",
        "## Rounds of 100 in which the interval holds the truth", "",
        f"The worst of {len(SITUATIONS)} situations with 1, 4 and 64 answers a problem, and in brackets their mean; "
        "95 is meant.", "", *as_table(["interval", *head], worst), "",
        "## Mean width", "", *as_table(["interval", *head], width), "",
        "## By situation, 64 answers a problem", "",
        "Rounds of 100 in which ours / the bootstrap's hold the truth.", "",
        *as_table(["rates of problems", *head], detail), "",
        *pages_of_pairs(max(1, rounds // 10), seed),
    ])  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = FlagParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="of each situation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: %(default)s)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the page there (default: nowhere)")
    args: argparse.Namespace = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}; it must be at least 1")
    page = report(args.rounds, args.seed)
    print(page)
    if args.table is not None:
        args.table.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
