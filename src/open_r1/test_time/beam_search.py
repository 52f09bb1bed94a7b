# SPDX-License-Identifier: Apache-2.0
"""Beam search over steps: of N candidates the N / M best go on, each in M ways.

| setting         | here       | search-and-learn | compute-optimal paper (arXiv 2502.06703) |
|-----------------|------------|------------------|------------------------------------------|
| N, M            | 4 and 8, 4 | 4, 4             | 4 to 256, 4                              |
| step            | ends at a blank line in all three                                       |
| steps           | 40         | 40               | 40                                       |
| step_tokens     | 2048       | 2048             | 2048                                     |
| temperature     | 0.8        | 0.8              | 0.7                                      |
| lookahead       | 0          | 0                | 0                                        |
| aggregation     | last       | last             | min, last, avg compared                  |

Finished candidates are kept as results; the search is over with N of them, with no other left, or after the last step,
which runs to the end of the answer. Scores that are equal keep the order in which the candidates were sampled.
Different from search-and-learn:
1. Candidates of the same text go on once (there an option, off), and the others get their continuations.
2. The search ends with N results, of which the N best count; there it goes on while any beam is open.
"""

from collections.abc import Sequence

from open_r1.test_time.methods import Method, MethodOptions
from open_r1.test_time.tree_search import Path, Tree, TreeSearch


class BeamTree:
    """Beams of one problem; see `tree_search.Tree`."""

    def __init__(self, n: int, width: int) -> None:
        self.results: list[Path] = []
        self._n, self._num_kept = n, n // width
        self._kept = [Path()]

    def beams(self) -> list[Path]:
        """Return the N paths that grow: those kept, each about as often."""
        return [self._kept[place * len(self._kept) // self._n] for place in range(self._n)] if self._kept else []

    def take(self, candidates: Sequence[Path]) -> None:
        """Keep finished candidates as results, and the best of the others to go on."""
        if not candidates:
            return
        self.results = _best([*self.results, *(path for path in candidates if path.finish_reason)], self._n)
        open_ = {path.text: path for path in reversed(candidates) if not path.finish_reason}
        different = [path for path in candidates if open_.get(path.text) is path]
        self._kept = [] if len(self.results) == self._n else _best(different, self._num_kept)


class BeamSearch(TreeSearch):
    """See above."""

    def new_tree(self, n: int, width: int) -> Tree:
        """Return a search before its first step."""
        return BeamTree(n, width)


def _best(paths: Sequence[Path], count: int) -> list[Path]:
    return sorted(paths, key=lambda path: -path.log_score)[:count]


def build_method(name: str, options: MethodOptions) -> Method:
    """Return beam search."""
    return BeamSearch(name, options)
