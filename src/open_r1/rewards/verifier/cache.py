# SPDX-License-Identifier: Apache-2.0
"""Remembers verdicts: a group asks G times for one gold, and several rewards ask for the same row."""

import threading
from collections import OrderedDict

from open_r1.rewards.verifier.verdict import Verdict

Pair = tuple[str, str | None]

# NOTE: a timeout or a crash may be the machine's fault and is judged again.
_FINAL = frozenset([Verdict.RIGHT, Verdict.WRONG, Verdict.UNPARSABLE_GOLD, Verdict.NO_ANSWER])


class VerdictCache:
    """The final verdicts of the pairs used last; long texts are not kept. Safe in threads."""

    def __init__(self, max_pairs: int = 16_384, max_chars: int = 4_000) -> None:
        self._verdicts: OrderedDict[Pair, Verdict] = OrderedDict()
        self._lock = threading.Lock()
        self._max_pairs = max_pairs
        self._max_chars = max_chars

    def get(self, pair: Pair) -> Verdict | None:
        """Return the verdict of a pair, or None when it isn't known."""
        with self._lock:
            verdict = self._verdicts.get(pair)
            if verdict is not None:
                self._verdicts.move_to_end(pair)
            return verdict

    def put(self, pair: Pair, verdict: Verdict | None) -> None:
        """Keep a verdict that another look wouldn't change."""
        if verdict not in _FINAL or len(pair[0]) + len(pair[1] or "") > self._max_chars:
            return
        with self._lock:
            self._verdicts[pair] = verdict
            self._verdicts.move_to_end(pair)
            if len(self._verdicts) > self._max_pairs:
                self._verdicts.popitem(last=False)

    def clear(self) -> None:
        """Forget all verdicts, and the lock, which another thread may have held when this process was forked."""
        self._lock = threading.Lock()
        self._verdicts = OrderedDict()
