# SPDX-License-Identifier: Apache-2.0
"""Curves of accuracy against thinking tokens, and what s1 measures of one: control, scaling, performance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from open_r1.test_time.results import FINGERPRINT, ORACLE, UPPER_BOUND, Point, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What is varied along a curve: of a method, the first of these that varies; by the others its curves are told apart.
_ALONG = ("n", "budget", "num_waits")
_WIDE = 8.0  # from this ratio of the most to the fewest tokens on, their axis is logarithmic
_MOST_LABELLED = 24


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

    def name_of(self, point: Point) -> str:
        """Return what tells a point from the others of the curve."""
        return f"{self.along}={point.setting.values[self.along]}" if self.along else ""


def curves_of(points: Sequence[Point]) -> list[Curve]:
    """Return the curves that points make, each point in one."""
    by_method: dict[str, list[Point]] = {}
    for point in points:
        by_method.setdefault(point.setting.method, []).append(point)
    return [curve for method, group in by_method.items() for curve in _curves_of(method, group)]


def _curves_of(method: str, points: Sequence[Point]) -> list[Curve]:
    names = list(dict.fromkeys(name for point in points for name in point.setting.values))
    varying = [name for name in names if len({point.setting.values.get(name) for point in points}) > 1]
    along = next((name for name in _ALONG if name in varying), "")
    apart = [name for name in varying if name != along]
    groups: dict[tuple[Value, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(tuple(point.setting.values.get(name) for name in apart), []).append(point)
    # A scorer's fingerprint tells people nothing, unless scorers of one name stand side by side.
    named = [name for name in apart if name != FINGERPRINT]
    places = [apart.index(name) for name in named]
    if len({tuple(values[place] for place in places) for values in groups}) < len(groups):
        named = apart
    return [
        Curve(
            label=_label_of(
                method,
                {name: value for name, value in zip(apart, values, strict=True) if name in named},
                is_upper_bound=group[0].setting.is_upper_bound,
            ),
            along=along,
            points=tuple(sorted(group, key=lambda point: point.thinking_tokens.mean)),
        )
        for values, group in groups.items()
    ]


def _label_of(method: str, values: Mapping[str, Value], *, is_upper_bound: bool) -> str:
    words = [method, *(f"{name}={value}" for name, value in values.items() if value is not None)]
    if is_upper_bound:
        words += [UPPER_BOUND] if "scorer" in values else [ORACLE, UPPER_BOUND]
    return " ".join(words)


def forcing_metrics(points: Sequence[Point]) -> dict[str, Any]:
    """Return control, scaling and performance of a curve, as of section 3.2 of s1 (arXiv 2501.19393).

    control        share of the points of which all thinking is within its budget; None: they have no budgets
                   (control_of_attempts: share of all attempts)
    scaling_per_1000_tokens
                   mean slope over all pairs of points, in accuracy (0 to 1) per 1000 thinking tokens; None where no
                   two points differ in tokens
    performance    the largest accuracy
    """
    slopes = [
        1000 * (b.accuracy.mean - a.accuracy.mean) / (b.thinking_tokens.mean - a.thinking_tokens.mean)
        for a, b in combinations(points, 2)
        if a.thinking_tokens.mean != b.thinking_tokens.mean
    ]
    within = [point.within_budget for point in points if point.within_budget is not None]
    return {
        "control": float(np.mean([share == 1.0 for share in within])) if within else None,
        "control_of_attempts": float(np.mean(within)) if within else None,
        "scaling_per_1000_tokens": float(np.mean(slopes)) if slopes else None,
        "performance": max(point.accuracy.mean for point in points),
    }


def forcing_of(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return these metrics of each curve, as the results hold them."""
    return [{"curve": curve.label, "points": len(curve.points), **forcing_metrics(curve.points)} for curve in curves]


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
    is_labelled = sum(len(curve.points) for curve in curves) <= _MOST_LABELLED
    for curve in curves:
        _draw(axis, curve, is_labelled)
    _scale(axis, curves)
    axis.set(title=title, ylabel="accuracy (95 % interval over problems)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=120, format="png")
    plt.close(figure)
    part.replace(path)


def _draw(axis: "Axes", curve: Curve, is_labelled: bool) -> None:
    tokens = [point.thinking_tokens.mean for point in curve.points]
    means = np.array([point.accuracy.mean for point in curve.points])
    ends = np.array([[point.accuracy.low, point.accuracy.high] for point in curve.points]).T
    margins = np.abs(ends - means)
    drawn = axis.errorbar(
        tokens,
        means,
        yerr=margins,
        marker="o",
        markersize=4,
        capsize=3,
        linewidth=1.6,
        elinewidth=0.9,
        label=curve.label,
    )
    for bars in (*drawn.lines[1], *drawn.lines[2]):
        bars.set_alpha(0.5)
    for point, x, y in zip(curve.points, tokens, means, strict=True):
        if is_labelled and curve.along:
            axis.annotate(curve.name_of(point), (x, y), xytext=(4, 5), textcoords="offset points", fontsize=7)


def _scale(axis: "Axes", curves: Sequence[Curve]) -> None:
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    points = [point for curve in curves for point in curve.points]
    tokens = [point.thinking_tokens.mean for point in points]
    low, high = min(point.accuracy.low for point in points), max(point.accuracy.high for point in points)
    axis.set_ylim(max(low - 0.03, -0.02), min(high + 0.03, 1.02))
    axis.set_xlabel("thinking tokens of a problem (mean, all candidates)")
    if max(tokens) >= _WIDE * max(1.0, min(tokens)):
        axis.set_xscale("symlog" if min(tokens) < 1 else "log", base=2)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    if min(tokens) < 1:
        axis.set_xlim(left=-0.1 * max(1.0, min(8.0, max(tokens))))
