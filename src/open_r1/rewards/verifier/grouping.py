# SPDX-License-Identifier: Apache-2.0
r"""Which answers to a problem say the same: the votes of a majority, without a gold.

    1. texts that differ in spaces only are the same answer;
    2. what the verifier can't compare, not even with itself, equals nothing else: an essay, an unfinished formula;
    3. the text given most often (of equals the first) is the gold of the next class, and what the verifier calls right
       by it joins; and so on with what is left.

The verifier's equality is no equivalence: 50% is 50 and is 0.5, which are not each other; and some pairs are equal
with one of them as the gold only. By rule 3 an answer joins the class of the most frequent text that it is right by,
and a class holds what equals that text. Work is bounded: long texts are not compared, nor texts beyond `MAX_TEXTS`,
and after `deadline_s` each text that is left stands alone.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence

from open_r1.rewards.verifier.verdict import Verdict
from open_r1.rewards.verifier.verification import judge_pairs

logger = logging.getLogger(__name__)

MAX_TEXTS = 128
MAX_CHARS = 1_000


def group_answers(
    extracted: Sequence[str | None], *, timeout_s: float = 2.0, deadline_s: float = 30.0
) -> list[int | None]:
    r"""Return the class of equal answers of each; None where there is no answer.

    >>> group_answers(["1/2", "0.5", None, r"\frac{1}{2}", "2", " 2.0"])
    [0, 0, None, 0, 1, 1]

    Args:
        extracted: Final answers, as `extract_answer` finds them; blank is none.
        timeout_s: CPU seconds that comparing two may take in a worker.
        deadline_s: Seconds for all.

    Returns:
        Numbers from 0, in the order in which classes first appear.
    """
    texts = [None if text is None else " ".join(text.split()) or None for text in extracted]
    counts = Counter(text for text in texts if text is not None)
    representatives = _representatives(counts, timeout_s, time.monotonic() + deadline_s)
    numbers: dict[str, int] = {}
    return [None if text is None else numbers.setdefault(representatives[text], len(numbers)) for text in texts]


def _representatives(counts: Counter[str], timeout_s: float, ends_at: float) -> dict[str, str]:
    """Return by text the text that stands for its class."""
    found = {text: text for text in counts}
    by_frequency = [text for text, _ in counts.most_common() if len(text) <= MAX_CHARS]
    left = _comparable(by_frequency[:MAX_TEXTS], timeout_s, ends_at) if len(counts) > 1 else []
    while len(left) > 1 and time.monotonic() < ends_at:
        gold, *others = left
        verdicts = judge_pairs([(gold, other) for other in others], timeout_s=timeout_s, ends_at=ends_at)
        equal = {other for other in others if verdicts[gold, other] is Verdict.RIGHT}
        found |= dict.fromkeys(equal, gold)
        left = [other for other in others if other not in equal]
    if len(counts) > 1 and time.monotonic() >= ends_at:
        logger.warning(
            "%d different answers to one problem took too long to be compared; those that are left count as unequal.",
            len(counts),
        )
    return found


def _comparable(texts: Sequence[str], timeout_s: float, ends_at: float) -> list[str]:
    verdicts = judge_pairs([(text, text) for text in texts], timeout_s=timeout_s, ends_at=ends_at)
    return [text for text in texts if verdicts[text, text] is Verdict.RIGHT]
