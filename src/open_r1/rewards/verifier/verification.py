# SPDX-License-Identifier: Apache-2.0
"""The verifier's public functions: judging completions, and turning verdicts into rewards and metrics."""

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from open_r1.rewards.base import UNSCORABLE, LogExtra, LogMetric
from open_r1.rewards.verifier.answer_extraction import extract_gold, find_answer
from open_r1.rewards.verifier.cache import Pair, VerdictCache
from open_r1.rewards.verifier.judge import judge_quickly
from open_r1.rewards.verifier.pool import judge_in_workers
from open_r1.rewards.verifier.verdict import Verdict

DEFAULT_TIMEOUT_S = 5.0
# What a batch gets beyond the limit of one pair.
_DEADLINE_MARGIN_S = 10.0

_CACHE = VerdictCache()
os.register_at_fork(after_in_child=_CACHE.clear)


def verify(gold: object, completion: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Verdict | None:
    r"""Return the verdict of one completion by its gold answer. The order matters: the gold comes first.

    >>> verify("42", "<think>\n6 * 7\n</think>\n<answer>\n42\n</answer>")
    <Verdict.RIGHT: 'right'>
    >>> str(verify(r"\frac{1}{2}", r"so \boxed{0.25}")), str(verify("42", "no idea")), str(verify("", r"\boxed{1}"))
    ('wrong', 'no_answer', 'unparsable_gold')
    """
    return verify_all([gold], [completion], timeout_s=timeout_s)[0]


def verify_all(
    golds: Sequence[object],
    completions: Sequence[str],
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    deadline_s: float | None = None,
) -> list[Verdict | None]:
    """Return the verdicts of B completions, each by the gold of its row; None where our workers were lost twice.

    Args:
        golds: Gold answers or worked solutions; a gold that is a number is read as its text.
        completions: What the model wrote.
        timeout_s: CPU seconds that judging one pair may take in a worker.
        deadline_s: Wall seconds for the batch (default: `timeout_s` + 10); what isn't judged by then is a timeout.

    Raises:
        ValueError: A limit isn't a positive number, or the columns differ in length.
    """
    start = time.monotonic()
    deadline_s = timeout_s + _DEADLINE_MARGIN_S if deadline_s is None else deadline_s
    for name, value in (("timeout_s", timeout_s), ("deadline_s", deadline_s)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` must be a positive number of seconds, got {value}.")
    rows = [_pairs_of(gold, completion) for gold, completion in zip(golds, completions, strict=True)]
    pairs = dict.fromkeys(pair for row in rows for pair in row)
    verdicts = judge_pairs(pairs, timeout_s=timeout_s, ends_at=start + deadline_s)
    return [_verdict_of(row, verdicts) for row in rows]


def reward_of(verdict: Verdict | None) -> float | None:
    """Return 1.0 for right, None where the gold is at fault, NaN (`UNSCORABLE`) where our workers were, else 0.0."""
    return UNSCORABLE if verdict is None else verdict.reward


def log_verdicts(
    name: str, verdicts: Sequence[Verdict | None], log_extra: LogExtra | None, log_metric: LogMetric | None
) -> None:
    """Log the verdict of every row as column `<name>/verdict` and the rate of every verdict as `<name>/<verdict>`.

    Rows without a verdict, since our workers were lost, count as "lost".
    """
    names = ["lost" if verdict is None else verdict.value for verdict in verdicts]
    if log_extra is not None:
        log_extra(f"{name}/verdict", names)
    if log_metric is not None and names:
        counts = Counter(names)
        for outcome in [*(verdict.value for verdict in Verdict), "lost"]:
            log_metric(f"{name}/{outcome}", counts[outcome] / len(names))


def _pairs_of(gold: object, completion: str) -> list[Pair]:
    """Return what has to be judged for a row: its answer, and whatever else stands in a hedge with it."""
    answer = find_answer(completion)
    gold_text = "" if gold is None else extract_gold(str(gold))
    return [(gold_text, text) for text in (answer.text, *answer.others)]


def _verdict_of(row: list[Pair], verdicts: dict[Pair, Verdict | None]) -> Verdict | None:
    """Return the verdict of a row: right only if all boxes of a hedge are, which equal ones always are."""
    found = verdicts[row[0]]
    if found is not Verdict.RIGHT:
        return found
    others = [verdicts[pair] for pair in row[1:]]
    if any(verdict is None for verdict in others):
        return None
    return found if all(verdict is Verdict.RIGHT for verdict in others) else Verdict.WRONG


def judge_pairs(pairs: Iterable[Pair], *, timeout_s: float, ends_at: float) -> dict[Pair, Verdict | None]:
    """Return the verdict of every pair of texts, a gold and an answer as they were extracted; None: see `verify_all`.

    It comes from memory, or is found in process, or by a worker.

    Args:
        pairs: Gold and answer each.
        timeout_s: CPU seconds that one may take in a worker.
        ends_at: When all must be judged (`time.monotonic`); what isn't by then is a timeout.
    """
    verdicts: dict[Pair, Verdict | None] = {}
    for pair in pairs:
        is_late = time.monotonic() >= ends_at
        verdicts[pair] = _CACHE.get(pair) or (Verdict.TIMEOUT if is_late else judge_quickly(*pair))
    hard = [pair for pair, verdict in verdicts.items() if verdict is None]
    if hard:
        found = judge_in_workers(hard, timeout_s=timeout_s, deadline_s=max(ends_at - time.monotonic(), 0.0))
        verdicts.update(zip(hard, found, strict=True))
    for pair, verdict in verdicts.items():
        _CACHE.put(pair, verdict)
    return verdicts
