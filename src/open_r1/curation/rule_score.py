# SPDX-License-Identifier: Apache-2.0
"""Scores a reasoning by simple signs of care, as LIMO ranks chains of thought (arXiv 2502.03387 v3, section 3).

The paper names four signs and their weights: elaborated reasoning 30 %, self-verification 20 %, exploration 25 %,
connectives 25 %, frequencies normalised by the length. Different from it, which publishes no lists and no scales:
1. The word lists below are ours, English only.
2. A frequency counts in full from a rate on that we set (hits in 100 words), and in proportion below it, so that
   repeating "wait" doesn't pay without end.
3. A text of fewer than 200 words counts as one of 200: "So wait, check" has no frequencies.
4. Length counts as words / (words + 2000): half at 2,000 words.
"""

import re
from dataclasses import dataclass

from open_r1.rewards.prose import prose_of

HALF_LENGTH_WORDS = 2000
WEIGHTS = {"elaboration": 0.30, "verification": 0.20, "exploration": 0.25, "connectives": 0.25}
MIN_WORDS = 200
# Hits in 100 words from which on a sign counts in full.
FULL_RATE = {"verification": 1.0, "exploration": 1.5, "connectives": 3.0}
SIGNS = {
    "verification": (
        "check", "checks", "checked", "checking", "double-check", "verify", "verifies", "verified", "verifying",
        "confirm", "confirms", "confirmed", "validate", "recheck", "recompute", "re-examine", "sanity", "make sure",
        "plug back", "substitute back", "does that match", "is that right",
    ),
    "exploration": (
        "wait", "hmm", "alternatively", "perhaps", "maybe", "might", "could be", "what if", "another way",
        "another approach", "other approach", "instead", "try", "suppose", "consider", "on second thought", "however",
    ),
    "connectives": (
        "therefore", "thus", "hence", "because", "since", "so", "then", "consequently", "it follows", "which means",
        "implies", "first", "second", "next", "finally", "given that", "in other words", "that is",
    ),
}  # fmt: skip

_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_WORDS_OF = {sign: frozenset(phrase for phrase in phrases if " " not in phrase) for sign, phrases in SIGNS.items()}
_PHRASES_OF = {
    sign: [f" {phrase.replace(' ', '  ')} " for phrase in phrases if " " in phrase] for sign, phrases in SIGNS.items()
}


@dataclass(frozen=True)
class RuleScore:
    """The signs of care in a reasoning, each in [0, 1].

    Attributes:
        elaboration: How long it is.
        verification: How often it checks itself.
        exploration: How often it tries something else.
        connectives: How often it says what follows from what.
    """

    elaboration: float
    verification: float
    exploration: float
    connectives: float

    @property
    def score(self) -> float:
        """The sum weighted by `WEIGHTS`, in [0, 1]."""
        return sum(weight * getattr(self, sign) for sign, weight in WEIGHTS.items())


def measure_care(reasoning: str) -> RuleScore:
    """Return the signs of care in a reasoning; formulas and code are no words.

    >>> measure_care("So x is 2. Let me check: 2 + 2 is 4.").score > measure_care("x is 2, and 2 + 2 is 4.").score
    True
    """
    words = _WORD.findall(prose_of(reasoning).lower())
    if not words:
        return RuleScore(0.0, 0.0, 0.0, 0.0)
    text = f" {'  '.join(words)} "  # two spaces, so that no phrase takes one of the next
    shares = {}
    for sign, full_rate in FULL_RATE.items():
        hits = sum(map(_WORDS_OF[sign].__contains__, words)) + sum(map(text.count, _PHRASES_OF[sign]))
        shares[sign] = min(1.0, 100 * hits / max(len(words), MIN_WORDS) / full_rate)
    return RuleScore(elaboration=len(words) / (len(words) + HALF_LENGTH_WORDS), **shares)


def count_words(text: str) -> int:
    """Return the number of words; don't and double-check are one each."""
    return len(_WORD.findall(text))
