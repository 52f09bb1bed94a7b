# SPDX-License-Identifier: Apache-2.0
r"""Which answers to a problem say the same: the votes of a majority, without a gold.

    1. texts that differ in spaces only are the same answer;
    2. what the verifier can't compare, not even with itself, equals nothing else: an essay, an unfinished formula;
    3. the text given most often (of equals the first) is the gold of the next class, and what the verifier calls right
       by it joins; and so on with what is left.

The verifier's equality is no equivalence: 50% is 50 and is 0.5, which are not each other; and some pairs are equal
with one of them as the gold only. By rule 3 an answer joins the class of the most frequent text that it is right by,
and a class holds what equals that text. Work is bounded: long texts are not compared, nor texts beyond `MAX_TEXTS`,
and once the steps of a problem are used up each text that is left stands alone.
"""

import logging
from collections import Counter
from collections.abc import Sequence

from open_r1.rewards.verifier import Verdict
from open_r1.rewards.verifier.budget import OverBudgetError, limited_to, spend
from open_r1.rewards.verifier.judge import judge_pair

logger = logging.getLogger(__name__)

MAX_TEXTS = 128
MAX_CHARS = 1_000
# Of the verifier, for the answers to one problem: some ten seconds.
_MAX_STEPS = 10_000_000


def group_answers(extracted: Sequence[str | None], *, max_steps: int = _MAX_STEPS) -> list[int | None]:
    r"""Return the class of equal answers of each; None where there is no answer.

    >>> group_answers(["1/2", "0.5", None, r"\frac{1}{2}", "2", " 2.0"])
    [0, 0, None, 0, 1, 1]

    Args:
        extracted: Final answers, as `extract_answer` finds them; blank is none.
        max_steps: Of the verifier's budget, for all comparisons.

    Returns:
        Numbers from 0, in the order in which classes first appear.
    """
    texts = [None if text is None else " ".join(text.split()) or None for text in extracted]
    counts = Counter(text for text in texts if text is not None)
    representatives = _representatives(counts, max_steps)
    numbers: dict[str, int] = {}
    return [None if text is None else numbers.setdefault(representatives[text], len(numbers)) for text in texts]


def _representatives(counts: Counter[str], max_steps: int) -> dict[str, str]:
    """Return by text the text that stands for its class."""
    found = {text: text for text in counts}
    if len(counts) < 2:
        return found
    frequent = [text for text, _ in counts.most_common() if len(text) <= MAX_CHARS][:MAX_TEXTS]
    try:
        with limited_to(max_steps):
            left = [text for text in frequent if _says(text, text)]
            while left:
                gold, *others = left
                equal = {other for other in others if _says(gold, other)}
                found |= dict.fromkeys(equal, gold)
                left = [other for other in others if other not in equal]
    except OverBudgetError:
        logger.warning(
            "%d different answers to one problem were too much work to compare; those that are left count as unequal.",
            len(counts),
        )
    return found


def _says(gold: str, other: str) -> bool:
    """Whether a text says what another does; nothing is kept, since the steps that are left decide it too.

    Raises:
        OverBudgetError: No step is left.
    """
    verdict = judge_pair(gold, other).verdict
    spend(1)
    return verdict is Verdict.RIGHT
