# SPDX-License-Identifier: Apache-2.0
"""Diverse verifier tree search: N / M subtrees that know nothing of each other, each going on from its best step.

At each step a subtree samples M candidates and goes on from the one with the best score, until that one is finished.
The M candidates of a subtree's last step are its results, so that there are N to choose from, as in search-and-learn
(`diverse`); finished candidates of earlier steps that weren't the best are discarded, as there. Settings and their
defaults are those of beam search; more subtrees than one need N of at least 2 M.
"""

from collections.abc import Sequence

from open_r1.test_time.methods import Method, MethodOptions
from open_r1.test_time.tree_search import Path, Tree, TreeSearch


class Subtrees:
    """Subtrees of one problem; see `tree_search.Tree`."""

    def __init__(self, n: int, width: int) -> None:
        self._width = width
        self._tips = [Path() for _ in range(n // width)]
        self._last: list[list[Path]] = [[] for _ in self._tips]

    @property
    def results(self) -> list[Path]:
        """The candidates of each subtree's last step."""
        return [path for last in self._last for path in last]

    def _open(self) -> list[int]:
        return [number for number, tip in enumerate(self._tips) if not tip.finish_reason]

    def beams(self) -> list[Path]:
        """Return the tips of the subtrees that aren't finished, each M times."""
        return [self._tips[number] for number in self._open() for _ in range(self._width)]

    def take(self, candidates: Sequence[Path]) -> None:
        """Go on from the best candidate of each subtree; of equal ones the first."""
        for order, number in enumerate(self._open()):
            self._last[number] = list(candidates[order * self._width : (order + 1) * self._width])
            self._tips[number] = max(self._last[number], key=lambda path: path.log_score)


class Dvts(TreeSearch):
    """See above."""

    def new_tree(self, n: int, width: int) -> Tree:
        """Return a search before its first step."""
        return Subtrees(n, width)


def build_method(name: str, options: MethodOptions) -> Method:
    """Return DVTS."""
    return Dvts(name, options)
