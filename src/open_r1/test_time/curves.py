# SPDX-License-Identifier: Apache-2.0
"""Points of accuracy against thinking tokens, their curves, and what s1 measures of one.

{"method": "budget_forcing", "values": {"budget": 512, "num_waits": 0}, "accuracy": 0.31, "accuracy_low": 0.22,
 "accuracy_high": 0.41, "thinking_tokens": 498.2, ...}                               a point in results.json
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from open_r1.evaluation.intervals import Interval, mean_interval
from open_r1.evaluation.metrics import avg_at_k
from open_r1.test_time.methods import Attempt, Setting, Value

# What is varied along a curve: of a method, the first of these that varies; by the others its curves are told apart.
_ALONG = ("n", "budget", "num_waits")
_WIDE = 8.0  # from this ratio of the most to the fewest tokens on, their axis is logarithmic


@dataclass(frozen=True)
class Point:
    """What a setting has come to, over problems and repeats.

    Attributes:
        setting: The setting.
        figures: accuracy: mean score; thinking_tokens: mean of a problem; both with 95 % intervals clustered by
            problem. total_tokens: mean tokens of a problem that were paid for; scorer_tokens: that a scorer read.
            problems: different ones that were judged; attempts: each repeat one; lost: attempts of which nobody can
            say whether they are right, which are left out of the accuracy. truncated: share of the attempts that were
            cut off; within_budget: share that thinks no longer than its budget, None: there is none.
    """

    setting: Setting
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it as the results hold it."""
        return {"method": self.setting.method, "values": dict(self.setting.values), **self.figures}


def points_of(attempts: Iterable[Attempt], clusters: Mapping[int, Hashable]) -> list[Point]:
    """Return a point for each setting, in the order in which they come first.

    Args:
        attempts: Of all settings.
        clusters: What tells the problem of each row from others. Rows of the same problem each count in the means, and
            are one in the intervals.

    Raises:
        ValueError: No attempt at a setting could be judged.
    """
    by_setting: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_setting.setdefault(attempt.setting.label, []).append(attempt)
    return [Point(group[0].setting, _figures(label, group, clusters)) for label, group in by_setting.items()]


def _figures(label: str, attempts: Sequence[Attempt], clusters: Mapping[int, Hashable]) -> dict[str, Any]:
    by_row: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        by_row.setdefault(attempt.row, []).append(attempt)
    num_lost = sum(math.isnan(attempt.score) for attempt in attempts)
    if num_lost == len(attempts):
        raise ValueError(f"{label}: no attempt could be judged. Repeat the command to judge them again.")
    of_rows = [clusters[row] for row in by_row]
    accuracy = avg_at_k([[attempt.score for attempt in group] for group in by_row.values()], of_rows)
    thinking_P = [float(np.mean([attempt.thinking_tokens for attempt in group])) for group in by_row.values()]
    budgets = [
        (one.thinking_tokens, one.details["budget_tokens"]) for one in attempts if "budget_tokens" in one.details
    ]
    return {
        **_with_ends("accuracy", accuracy),
        **_with_ends("thinking_tokens", mean_interval(thinking_P, of_rows, is_bounded=False)),
        "total_tokens": float(np.mean([attempt.total_tokens for attempt in attempts])),
        "scorer_tokens": float(np.mean([attempt.scorer_tokens for attempt in attempts])),
        "problems": accuracy.scores_P.size,
        "attempts": len(attempts),
        "lost": num_lost,
        "truncated": float(np.mean([attempt.finish_reason == "length" for attempt in attempts])),
        "within_budget": float(np.mean([spent <= most for spent, most in budgets])) if budgets else None,
    }


def _with_ends(name: str, interval: Interval) -> dict[str, float | None]:
    ends = {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: None if math.isnan(value) else value for key, value in ends.items()}


@dataclass(frozen=True)
class Curve:
    """Points of one method that differ in one value, in the order of their thinking tokens.

    Attributes:
        label: Method, and the values that all points share where other curves of it have others.
        along: The value that differs; "": there is one point.
        points: The points.
    """

    label: str
    along: str
    points: tuple[Point, ...]


def curves_of(points: Sequence[Point]) -> list[Curve]:
    """Return the curves that points make, each point in one."""
    by_method: dict[str, list[Point]] = {}
    for point in points:
        by_method.setdefault(point.setting.method, []).append(point)
    return [curve for method, group in by_method.items() for curve in _curves_of(method, group)]


def _curves_of(method: str, points: Sequence[Point]) -> list[Curve]:
    names = list(points[0].setting.values)
    varying = [name for name in names if len({point.setting.values[name] for point in points}) > 1]
    along = next((name for name in _ALONG if name in varying), "")
    apart = [name for name in varying if name != along]
    groups: dict[tuple[Value, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(tuple(point.setting.values[name] for name in apart), []).append(point)
    bound = ["oracle (upper bound)"] if points[0].setting.is_upper_bound else []
    return [
        Curve(
            " ".join([method, *(f"{name}={value}" for name, value in zip(apart, values, strict=True)), *bound]),
            along,
            tuple(sorted(group, key=lambda point: point.figures["thinking_tokens"])),
        )
        for values, group in groups.items()
    ]


def forcing_of(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return control, scaling and performance of each curve, as of section 3.2 of s1 (arXiv 2501.19393).

    control        share of the points of which all thinking is within its budget; None: they have no budgets
                   (control_of_attempts: share of all attempts)
    scaling_per_1000_tokens
                   mean slope over all pairs of points, in accuracy (0 to 1) per 1000 thinking tokens; None where no
                   two points differ in tokens
    performance    the largest accuracy
    """
    return [{"curve": curve.label, "points": len(curve.points), **_forcing(curve.points)} for curve in curves]


def _forcing(points: Sequence[Point]) -> dict[str, Any]:
    found = [(point.figures["thinking_tokens"], point.figures["accuracy"]) for point in points]
    slopes = [1000 * (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(found, 2) if x1 != x2]
    within = [share for point in points if (share := point.figures["within_budget"]) is not None]
    return {
        "control": float(np.mean([share == 1.0 for share in within])) if within else None,
        "control_of_attempts": float(np.mean(within)) if within else None,
        "scaling_per_1000_tokens": float(np.mean(slopes)) if slopes else None,
        "performance": max(accuracy for _, accuracy in found),
    }


def draw_curves(curves: Sequence[Curve], path: Path, title: str) -> None:
    """Write a PNG: accuracy against mean thinking tokens a problem, with 95 % intervals.

    Args:
        curves: At least one.
        path: Where to; written under another name until it is whole.
        title: Model and benchmark.
    """
    import matplotlib as mpl

    mpl.use("Agg")  # no screen needed
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 5), constrained_layout=True)
    tokens: list[float] = []
    for curve in curves:
        x = [point.figures["thinking_tokens"] for point in curve.points]
        y, low, high = (
            np.array([point.figures[name] for point in curve.points])
            for name in ("accuracy", "accuracy_low", "accuracy_high")
        )
        axis.errorbar(x, y, yerr=[y - low, high - y], marker="o", markersize=4, capsize=3, label=curve.label)
        for point, place in zip(curve.points, zip(x, y, strict=True), strict=True):
            if curve.along:
                name = f"{curve.along}={point.setting.values[curve.along]}"
                axis.annotate(name, place, xytext=(4, 5), textcoords="offset points", fontsize=7)
        tokens += x
    if max(tokens) >= _WIDE * max(1.0, min(tokens)):
        axis.set_xscale("symlog" if min(tokens) < 1 else "log", base=2)
    axis.set(
        title=title,
        xlabel="thinking tokens of a problem (mean, all candidates)",
        ylabel="accuracy (95 % interval over problems)",
    )
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=120, format="png")
    plt.close(figure)
    part.replace(path)
