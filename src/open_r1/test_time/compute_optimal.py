# SPDX-License-Identifier: Apache-2.0
"""The compute-optimal choice: for each difficulty and budget of tokens, the setting that is best (arXiv 2502.06703).

Difficulty is the share of plain samples that are right (pass@1), in the absolute bins of the paper: easy 50 to 100 %,
medium 10 to 50 %, hard below 10 %; or in quantiles, as Snell et al. 2024 (arXiv 2408.03314) do. A budget is a mean
number of tokens a problem, those of discarded candidates included.
Different from the paper, whose choice and accuracy are of the same problems:
1. In each bin the setting is chosen on one half of the problems, and its accuracy taken on the other, both ways round
   and over several divisions: the best of many settings on the problems that it is chosen by looks better than it is.
2. Accuracies have 95 % intervals over problems, beside those of the best single setting for all bins, chosen in the
   same way and of the same problems: what difficulty adds. They don't count what another choice had given, and are
   a little narrow where settings are equally good.
3. Difficulty comes from one half of the repeats, and all that is compared from the other: samples that put a problem
   into an easy bin look better there than they are, and so does all that shares them. Greedy settings, which are
   solved once, share no sample.
4. Rows that ask the same are one problem, in bins, halves and intervals, though each counts in the means: a problem
   that stands on both halves is chosen by and reported on.
The bin of a new problem is known by its gold alone (Snell et al.'s oracle difficulty), and the samples that measure
it are in no budget. What an oracle chose is left out, since nobody could have it.
"""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from open_r1.evaluation.intervals import Interval, mean_interval
from open_r1.test_time.difficulty import absolute_bins, measured_and_compared, quantile_bins, rates_of
from open_r1.test_time.results import Attempt, Setting

NUM_SPLITS = 20
_ALL = "all"


@dataclass(frozen=True)
class Choice:
    """What is best in a bin within a budget.

    Attributes:
        bin: Name of the bin; "all": one setting for all problems.
        budget: Most total tokens of a row, on average over those of the problems that are chosen by.
        setting: Best on all problems of the bin.
        share: Share of the halves on which it is the best.
        accuracy: On the halves that weren't chosen by, of what was chosen on the others.
        thinking_tokens: Mean of a row, likewise.
        total_tokens: Likewise.
        num_by_fixed: Problems for which the best single setting stands, since their bin has no choice of its own.
    """

    bin: str
    budget: int
    setting: Setting
    share: float
    accuracy: Interval
    thinking_tokens: float
    total_tokens: float
    num_by_fixed: int = 0

    @property
    def name(self) -> str:
        """What the table calls what is best."""
        if self.setting.method:
            return self.setting.label
        return "as by bin" + (f", {self.num_by_fixed} as all" if self.num_by_fixed else "")

    def as_json(self) -> dict[str, Any]:
        """Return it as the results hold it."""
        return {
            "bin": self.bin,
            "budget": self.budget,
            "method": self.setting.method,
            "values": dict(self.setting.values),
            "share_of_halves": self.share,
            "accuracy": self.accuracy.mean,
            "accuracy_low": self.accuracy.low,
            "accuracy_high": self.accuracy.high,
            "thinking_tokens": self.thinking_tokens,
            "total_tokens": self.total_tokens,
            "problems": int(self.accuracy.scores_P.size),
            "problems_by_fixed": self.num_by_fixed,
        }


@dataclass(frozen=True)
class ComputeOptimal:
    """Choices by bin and budget.

    Attributes:
        bins: Rows of the problems of each bin, of those that ask the same the first.
        choices: For each budget and bin in which there is one.
        overall: For each budget, over all bins; `setting` is empty.
        fixed: For each budget, the best single setting, on the same problems.
        notes: Which problems and settings are left out.
    """

    bins: Mapping[str, Sequence[int]]
    choices: Sequence[Choice]
    overall: Sequence[Choice]
    fixed: Sequence[Choice]
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as the results hold it."""
        return {
            "bins": {name: len(rows) for name, rows in self.bins.items()},
            **{
                name: [choice.as_json() for choice in choices]
                for name, choices in (("choices", self.choices), ("overall", self.overall), ("fixed", self.fixed))
            },
        }

    def frontier(self) -> dict[float, float]:
        """Return accuracy by mean thinking tokens, over all bins."""
        return {choice.thinking_tokens: choice.accuracy.mean for choice in self.overall}

    def table(self) -> str:
        """Return a line of Markdown for each bin and budget, without budgets at which nothing changes."""
        lines = [
            "| budget | bin | problems | best setting | of halves | accuracy (95 %) | tokens |",
            "|---|---|---|---|---|---|---|",
        ]
        by_budget: dict[int, list[str]] = {}
        for choice in [*self.choices, *self.overall, *self.fixed]:
            found = choice.accuracy
            by_budget.setdefault(choice.budget, []).append(
                f"{choice.bin} | {found.scores_P.size} | {choice.name} | {choice.share:.0%} | "
                f"{found.mean:.3f} ({found.low:.3f}-{found.high:.3f}) | {choice.total_tokens:.0f} |"
            )
        before: list[str] = []
        for budget, cells in sorted(by_budget.items()):
            lines += [f"| {budget} | {rest}" for rest in cells if cells != before]
            before = cells
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Table:
    """Mean score and tokens of each setting (S) at each problem (P), over repeats, and how many rows ask it."""

    settings: Sequence[Setting]
    rows: Sequence[int]
    scores_SP: np.ndarray
    total_SP: np.ndarray
    thinking_SP: np.ndarray
    weights_P: np.ndarray


def compute_optimal(
    attempts: Iterable[Attempt],
    *,
    problems: Mapping[int, Hashable] | None = None,
    budgets: Sequence[int] | None = None,
    num_quantiles: int | None = None,
    num_splits: int = NUM_SPLITS,
    seed: int = 0,
) -> ComputeOptimal:
    """Return the best setting for each difficulty and budget.

    Args:
        attempts: Of all methods, settings and repeats, at least two of plain samples; problems on which a setting
            could not be judged are left out.
        problems: What tells the problem of each row from others; None: each row is one of its own.
        budgets: Most total tokens of a row, on average; None: powers of 2 from the cheapest setting to the dearest.
        num_quantiles: Bins of about as many problems each; None: `ABSOLUTE_BINS`.
        num_splits: How often the problems of a bin are divided into halves.
        seed: Of the divisions.

    Raises:
        ValueError: There are no plain samples, none of them are repeated, or fewer than two problems were judged at
            each setting.
    """
    if num_splits < 1 or (num_quantiles is not None and num_quantiles < 1):
        raise ValueError(f"num_splits is {num_splits} and num_quantiles {num_quantiles}; both must be at least 1.")
    possible, num_rows = _by_problem([one for one in attempts if not one.setting.is_upper_bound], problems)
    plain, measured, compared = measured_and_compared(possible)
    rates = rates_of(measured)
    table, notes = _table_of(compared, rates, num_rows)
    rates = {row: rates[row] for row in table.rows}
    if len(rates) < 2:
        raise ValueError(
            f"{plain.label}: {len(rates)} problems were judged at each setting; two halves need at least 2."
        )
    bins = absolute_bins(rates) if num_quantiles is None else quantile_bins(rates, num_quantiles)
    found: dict[str, list[Choice]] = {"choices": [], "overall": [], "fixed": []}
    for budget in sorted(set(_default_budgets(table) if budgets is None else budgets)):
        parts = {name: _choose(table, name, rows, budget, num_splits, seed) for name, rows in bins.items() if rows}
        fixed = _choose(table, _ALL, list(rates), budget, num_splits, seed)
        found["choices"] += [part.choice() for part in parts.values() if part is not None]
        overall = _overall(bins, parts, fixed)
        if overall is not None and fixed is not None:
            fixed = fixed.at(overall.values)
        found["fixed"] += [] if fixed is None else [fixed.choice()]
        found["overall"] += [] if overall is None else [overall.choice()]
    return ComputeOptimal(bins, found["choices"], found["overall"], found["fixed"], notes)


@dataclass(frozen=True)
class _Part:
    """A choice, and score, thinking and total tokens of each problem by it, with the number of its rows."""

    bin: str
    budget: int
    setting: Setting
    share: float
    values: Mapping[int, np.ndarray]
    num_by_fixed: int = 0

    def at(self, rows: Collection[int]) -> "_Part":
        """Return it on some of its problems."""
        return replace(self, values={row: value for row, value in self.values.items() if row in rows})

    def choice(self) -> Choice:
        """Return it as it is reported."""
        scores_P, thinking_P, total_P, weights_P = np.stack(list(self.values.values()), axis=1)
        clusters = np.repeat(np.arange(len(self.values)), weights_P.astype(int))
        accuracy = mean_interval(scores_P.clip(0.0, 1.0)[clusters], clusters.tolist(), is_bounded=True)
        thinking, total = (float(np.average(values, weights=weights_P)) for values in (thinking_P, total_P))
        return Choice(self.bin, self.budget, self.setting, self.share, accuracy, thinking, total, self.num_by_fixed)


def _overall(
    bins: Mapping[str, Sequence[int]], parts: Mapping[str, _Part | None], fixed: _Part | None
) -> _Part | None:
    """Return the choices of all bins together; in a bin without one the single setting stands.

    None: no bin has one, or one has none and no single setting is within the budget.
    """
    values: dict[int, np.ndarray] = {}
    num_by_fixed = 0
    for name, part in parts.items():
        if part is not None:
            values |= part.values
        elif fixed is None:
            return None
        else:
            kept = fixed.at(bins[name]).values
            values |= kept
            num_by_fixed += len(kept)
    known = [part for part in parts.values() if part is not None]
    if not known:
        return None
    if fixed is not None:
        values = {row: value for row, value in values.items() if row in fixed.values}
    return _Part(_ALL, known[0].budget, Setting(""), 1.0, values, num_by_fixed)


def _by_problem(
    attempts: Sequence[Attempt], problems: Mapping[int, Hashable] | None
) -> tuple[list[Attempt], Counter[int]]:
    """Return attempts with the first row of their problem in place of their own, and how many rows such a row has."""
    first: dict[Hashable, int] = {}
    rows = sorted({one.problem_row for one in attempts})
    named = {row: first.setdefault(row if problems is None else problems[row], row) for row in rows}
    return [replace(one, problem_row=named[one.problem_row]) for one in attempts], Counter(named.values())


def _table_of(
    attempts: Sequence[Attempt], rated: Collection[int], num_rows: Mapping[int, int]
) -> tuple[_Table, list[str]]:
    """Return settings and problems that have a verdict on each other, and notes on those that are left out.

    A problem is left out where a setting was lost on it: the choice would be among other settings there. A setting is
    left out that would take most problems with it, or wasn't tried on all of them.
    """
    tried: dict[str, set[int]] = {}
    cells: dict[str, dict[int, list[Attempt]]] = {}
    settings = {one.setting.key: one.setting for one in attempts}
    for attempt in attempts:
        tried.setdefault(attempt.setting.key, set()).add(attempt.problem_row)
        by_row = cells.setdefault(attempt.setting.key, {})
        if not math.isnan(attempt.score):
            by_row.setdefault(attempt.problem_row, []).append(attempt)
    everything = {row for rows in tried.values() for row in rows}
    compared = [key for key in settings if tried[key] == everything and 2 * len(cells[key]) >= len(everything)]
    rows = sorted(everything.intersection(rated, *(cells[key] for key in compared))) if compared else []
    notes = [
        f"the compute-optimal choice leaves {setting.label} out, which has verdicts on {len(cells[key])} of "
        f"{len(everything)} problems"
        for key, setting in settings.items()
        if key not in compared
    ]
    if len(rows) < len(everything):
        notes.append(
            f"the compute-optimal choice is of {len(rows)} of {len(everything)} problems: on the others a "
            "setting, or all samples that measure difficulty, could not be judged"
        )
    values = [
        [
            np.mean([(one.score, one.total_tokens, one.thinking_tokens) for one in cells[key][row]], axis=0)
            for row in rows
        ]
        for key in compared
    ]
    arrays = np.array(values).reshape(len(compared), len(rows), 3)
    scores_SP, total_SP, thinking_SP = np.moveaxis(arrays, 2, 0)
    weights_P = np.array([num_rows[row] for row in rows], dtype=float)
    return _Table([settings[key] for key in compared], rows, scores_SP, total_SP, thinking_SP, weights_P), notes


def _default_budgets(table: _Table) -> list[int]:
    means = np.average(table.total_SP, axis=1, weights=table.weights_P)
    low, high = (math.ceil(math.log2(max(1.0, float(value)))) for value in (means.min(), means.max()))
    return [2**power for power in range(low, high + 1)]


def _choose(table: _Table, name: str, rows: Sequence[int], budget: int, num_splits: int, seed: int) -> _Part | None:
    """Return the choice for some rows; None: no setting is within the budget, or there are no two halves."""
    places = np.array([table.rows.index(row) for row in rows], dtype=int)
    best = _best(table, places, budget)
    if len(places) < 2 or best is None:
        return None
    generator = np.random.default_rng(seed)
    arrays = np.stack([table.scores_SP, table.thinking_SP, table.total_SP])
    sums, counts, chosen = np.zeros((3, len(table.rows))), np.zeros(len(table.rows)), []
    for _ in range(num_splits):
        order = generator.permutation(places)
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for chosen_by, reported in (halves, halves[::-1]):
            setting = _best(table, chosen_by, budget)
            if setting is None:
                continue
            sums[:, reported] += arrays[:, setting, reported]
            counts[reported] += 1
            chosen.append(setting)
    seen = places[counts[places] > 0]
    if not seen.size:
        return None
    values = {table.rows[place]: np.append(sums[:, place] / counts[place], table.weights_P[place]) for place in seen}
    return _Part(name, budget, table.settings[best], chosen.count(best) / len(chosen), values)


def _best(table: _Table, places: np.ndarray, budget: int) -> int | None:
    """Return the setting of the highest accuracy within the budget; of equals the one with the fewest tokens."""
    tokens_S, scores_S = (
        _means(values_SP, places, table.weights_P) for values_SP in (table.total_SP, table.scores_SP)
    )
    pairs = zip(scores_S.tolist(), tokens_S.tolist(), strict=True)
    found = [(-round(score, 12), tokens, number) for number, (score, tokens) in enumerate(pairs) if tokens <= budget]
    return min(found)[2] if found else None


def _means(values_SP: np.ndarray, places: np.ndarray, weights_P: np.ndarray) -> np.ndarray:
    return np.average(np.ascontiguousarray(values_SP[:, places]), axis=1, weights=weights_P[places])
