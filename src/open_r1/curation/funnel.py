# SPDX-License-Identifier: Apache-2.0
"""Counts what goes into each step, what comes out, and why the rest doesn't."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from open_r1.curation.completions import Completion, Problem
from open_r1.curation.selection import Kept
from open_r1.data.card import Step

Attempt = tuple[Problem, Completion]


class Funnel:
    """The steps of a curation, in the order in which they were first named."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}
        self._problems: dict[str, int] = {}
        self._dropped: dict[str, Counter[str]] = {}
        self._last_row: dict[str, int] = {}
        self._extra: dict[str, dict[str, object]] = {}

    def __contains__(self, step: str) -> bool:
        return step in self._kept

    def begin(self, *steps: str) -> None:
        """Fix the place of steps that are still to come."""
        for step in steps:
            self._kept.setdefault(step, 0)
            self._problems.setdefault(step, 0)
            self._dropped.setdefault(step, Counter())

    def keep(self, step: str, row: int, count: int = 1) -> None:
        """Count what passes; rows come in order."""
        self.begin(step)
        self._kept[step] += count
        if self._last_row.get(step) != row:
            self._last_row[step] = row
            self._problems[step] += 1

    def drop(self, step: str, reason: str, count: int = 1) -> None:
        """Count what doesn't."""
        self.begin(step)
        self._dropped[step][reason] += count

    def note(self, step: str, **values: object) -> None:
        """Add to what the card says of a step."""
        self.begin(step)
        self._extra.setdefault(step, {}).update(values)

    def sift(
        self, step: str, attempts: Iterable[Attempt], fault_of: Callable[[Problem, Completion], str | None]
    ) -> Iterator[Attempt]:
        """Yield the attempts without a fault, and count the others by it."""
        self.begin(step)
        for problem, completion in attempts:
            fault = fault_of(problem, completion)
            if fault is None:
                self.keep(step, problem.row)
                yield problem, completion
            else:
                self.drop(step, fault)

    def compare(self, step: str, before: list[Kept], after: list[Kept], reason: str) -> list[Kept]:
        """Count a step that was done as a whole; return what it left."""
        self.begin(step)
        for kept in after:
            self.keep(step, kept.row)
        if len(before) > len(after):
            self.drop(step, reason, len(before) - len(after))
        return after

    def steps(self) -> list[Step]:
        """Return the steps for a card."""
        found = []
        for step, kept in self._kept.items():
            dropped = self._dropped[step]
            detail: dict[str, object] = {f"dropped: {reason}": count for reason, count in sorted(dropped.items())}
            detail["problems"] = self._problems[step]
            detail |= self._extra.get(step, {})
            found.append(Step(step, kept + dropped.total(), kept, detail))
        return found

    def table(self) -> str:
        """Return the steps as lines to read."""
        lines = [f"{'step':<28} {'before':>10} {'after':>10}  dropped"]
        for step in self.steps():
            reasons = ", ".join(
                f"{name.removeprefix('dropped: ')} {count}"
                for name, count in step.detail.items()
                if name.startswith("dropped: ")
            )
            lines.append(f"{step.name:<28} {step.rows_before:>10} {step.rows_after:>10}  {reasons}".rstrip())
        return "\n".join(lines)
