# SPDX-License-Identifier: Apache-2.0
r"""Says whether a completion gives the gold answer. The only place that calls math-verify.

Every reward, filter and evaluation that needs a correct answer calls `verify` or `verify_all`.

| Verdict         | reward | when                                                                                   |
|-----------------|--------|----------------------------------------------------------------------------------------|
| right           | 1.0    | the answer equals the gold: as text, as an exact number, or by math-verify             |
| wrong           | 0.0    | it doesn't, or it can't be parsed, or it is too large to look at                       |
| no_answer       | 0.0    | no answer outside the reasoning (`answer_extraction`)                                  |
| unparsable_gold | None   | the gold is blank, can't be parsed within the time limit, or is too large              |
| timeout         | 0.0    | the answer took longer than `PARSE_TIMEOUT_S` or `COMPARE_TIMEOUT_S`                   |
| crash           | 0.0    | the algebra system failed on the answer                                                |

Time limits: math-verify's are SIGALRM, which exists on the main thread only. They are used there when no other alarm
is pending (ours would cancel it) and the present handler can be put back; elsewhere only the size limits protect. An
operation on huge integers holds the interpreter and outlasts any signal: the size limits come first.
Everything below `_judge_pairs` can move into worker processes without a change above it.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from open_r1.rewards.base import LogExtra, LogMetric
from open_r1.rewards.verifier.answer_extraction import extract_answer, extract_gold
from open_r1.rewards.verifier.formula_limits import MAX_FORMULA_CHARS
from open_r1.rewards.verifier.judge import judge_by_algebra, judge_quickly
from open_r1.rewards.verifier.verdict import Verdict

__all__ = ["Verdict", "log_verdicts", "verify", "verify_all"]


def verify(gold: object, completion: str) -> Verdict:
    r"""Judges one completion by its gold answer. The order matters: the gold comes first.

    >>> verify("42", "<think>\n6 * 7\n</think>\n<answer>\n42\n</answer>")
    <Verdict.RIGHT: 'right'>
    >>> str(verify(r"\frac{1}{2}", r"so \boxed{0.25}")), str(verify("42", "no idea")), str(verify("", r"\boxed{1}"))
    ('wrong', 'no_answer', 'unparsable_gold')
    """
    return verify_all([gold], [completion])[0]


def verify_all(golds: Sequence[object], completions: Sequence[str]) -> list[Verdict]:
    """Judges B completions, each by the gold of its row; a gold that is a number is read as its text."""
    pairs = [
        ("" if gold is None else extract_gold(str(gold)), extract_answer(completion))
        for gold, completion in zip(golds, completions, strict=True)
    ]
    return _judge_pairs(pairs)


def log_verdicts(
    name: str, verdicts: Sequence[Verdict], log_extra: LogExtra | None, log_metric: LogMetric | None
) -> None:
    """Logs the verdict of every row as column `<name>/verdict` and the rate of every verdict as `<name>/<verdict>`."""
    if log_extra is not None:
        log_extra(f"{name}/verdict", [verdict.value for verdict in verdicts])
    if log_metric is not None and verdicts:
        counts = Counter(verdicts)
        for verdict in Verdict:
            log_metric(f"{name}/{verdict.value}", counts[verdict] / len(verdicts))


def _judge_pairs(pairs: Sequence[tuple[str, str | None]]) -> list[Verdict]:
    """Judges (gold, answer) pairs, here one after the other in this process."""
    return [_judge_cached(gold, answer) for gold, answer in pairs]


def _judge_cached(gold: str, answer: str | None) -> Verdict:
    """Judges a pair; long texts, which never reach the algebra system, are not kept in memory."""
    is_short = len(gold) + len(answer or "") <= 2 * MAX_FORMULA_CHARS
    return _judge(gold, answer) if is_short else _judge.__wrapped__(gold, answer)


@lru_cache(maxsize=8_192)
def _judge(gold: str, answer: str | None) -> Verdict:
    # A group asks G times for one gold, and several rewards ask for the same row: hence the cache.
    return judge_quickly(gold, answer) or judge_by_algebra(gold, answer, lambda: None)
