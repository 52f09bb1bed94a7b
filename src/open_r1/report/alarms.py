# SPDX-License-Identifier: Apache-2.0
"""Alarms of a run in words, each with the section of docs/troubleshooting.md that says what to do.

    Completions are 2.4 times as long as at the start.   (docs/troubleshooting.md#completions-grow-or-shrink)

The start and the end of a curve are the means of its first and last quarters.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from open_r1.report.runs import Run

_MANY, _FEW = 8, 3  # entries of a curve that say something of a drift, and of a level


class Alarm(NamedTuple):
    """What is wrong, and the section that says what to do."""

    text: str
    section: str


def alarms_of(run: Run) -> list[Alarm]:
    """Return what a reader of the run should look at first."""
    return [*_drifts(run), *_levels(run), *_texts(run)]


def _ends(run: Run, name: str, least: int = _MANY) -> tuple[float, float] | None:
    """Return the means of the first and of the last quarter of a curve; None: it is too short."""
    values = [value for _, value in run.curves.get(name, ())]
    if len(values) < least:
        return None
    size = max(1, len(values) // 4)
    return sum(values[:size]) / size, sum(values[-size:]) / size


def _drifts(run: Run) -> Iterator[Alarm]:
    rights = [ends for name in run.curves if name.endswith("/right") and (ends := _ends(run, name))]
    if (ends := _ends(run, "reward")) and rights:
        start, end = ends
        if end - start > 0.1 * max(abs(start), 0.1) and all(after - before < 0.01 for before, after in rights):
            yield Alarm(
                f"The reward rose from {start:.2f} to {end:.2f}, and the share of right answers did not: "
                f"{rights[0][0]:.2f} to {rights[0][1]:.2f}.",
                "reward-rises-accuracy-does-not",
            )
    if (ends := _ends(run, "completions/mean_length")) and ends[0] > 0:
        factor = ends[1] / ends[0]
        if not 0.5 < factor < 2:
            yield Alarm(f"Completions are {factor:.2g} times as long as at the start.", "completions-grow-or-shrink")
    if (ends := _ends(run, "entropy")) and ends[1] < 0.1 * ends[0]:
        yield Alarm(f"The entropy fell from {ends[0]:.3g} to {ends[1]:.3g}.", "entropy-collapses")
    if (ends := _ends(run, "kl")) and ends[1] > 1.0:
        yield Alarm(f"The KL divergence from the reference grew to {ends[1]:.3g}.", "kl-grows")


def _levels(run: Run) -> Iterator[Alarm]:
    limits = [
        (
            "frac_reward_zero_std",
            0.8,
            "{:.0%} of the groups have equal rewards, nothing to learn.",
            "all-groups-equal",
        ),
        ("completions/clipped_ratio", 0.2, "{:.0%} of the completions are cut off.", "completions-never-stop"),
        ("rewards/unscorable", 0.0, "{:.1%} of the completions could not be judged.", "rewards-are-nan"),
    ]
    limits += [
        (name, 0.01, "{:.1%} of the answers repeat a formula of the question.", "reward-rises-accuracy-does-not")
        for name in run.curves
        if name.endswith("/echo")
    ]
    for name, limit, text, section in limits:
        if (ends := _ends(run, name, _FEW)) and ends[1] > limit:
            yield Alarm(text.format(ends[1]), section)


def _texts(run: Run) -> Iterator[Alarm]:
    last = [row["completion"].encode() for row in run.rollouts[-512:]]
    long = [text for text in last if len(text) >= 1000]
    repeated = sum(len(zlib.compress(text)) < 0.1 * len(text) for text in long)
    if long and repeated > 0.1 * len(long):
        yield Alarm(f"{repeated} of the last {len(long)} long completions repeat themselves.", "completions-repeat")
