# SPDX-License-Identifier: Apache-2.0
"""Selection among good completions: the best of each problem, or a sample over domains.

*Rule score*: simple signs of care, by which LIMO ranks chains of thought (arXiv 2502.03387 v3, section 3). The paper
names four signs and their weights: elaborated reasoning 30 %, self-verification 20 %, exploration 25 %, connectives
25 %, frequencies normalised by the length. Different from it, which publishes no lists and no scales:

1. The word lists below are this project's, English only.
2. A frequency counts in full from a rate on that we set (hits in 100 words), and in proportion below it, so that
   repeating "wait" doesn't pay without end.
3. A text of fewer than 200 words counts as one of 200: "So wait, check" has no frequencies.
4. Length counts as words / (words + 2000): half at 2,000 words.

*Sample*: as s1 draws its thousand (arXiv 2501.19393, section 2.2). Again and again a domain is drawn, all alike, and
a row within it, longer traces more likely by a power law: the row of rank r by length, 0 for the longest, has weight
2^-r among those that are left. Domains come from a column, or from clusters of the problems' words; s1 has a model
name them.
"""

import hashlib
import logging
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from open_r1.rewards.prose import prose_of

logger = logging.getLogger(__name__)

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


def measure_care(reasoning: str) -> dict[str, float]:
    """Return the signs of care in a reasoning, each in [0, 1]; formulas and code are no words.

    >>> measure_care("So x is 2. Let me check: 2 + 2 is 4.")["verification"]
    0.5
    """
    words = _WORD.findall(prose_of(reasoning).lower())
    text = f" {'  '.join(words)} "  # two spaces, so that no phrase takes one of the next
    shares = {"elaboration": len(words) / (len(words) + HALF_LENGTH_WORDS)}
    for sign, full_rate in FULL_RATE.items():
        hits = sum(map(_WORDS_OF[sign].__contains__, words)) + sum(map(text.count, _PHRASES_OF[sign]))
        shares[sign] = min(1.0, 100 * hits / max(len(words), MIN_WORDS) / full_rate)
    return shares


def rule_score(reasoning: str) -> float:
    """Return the signs of care weighted by `WEIGHTS`, in [0, 1]."""
    shares = measure_care(reasoning)
    return sum(weight * shares[sign] for sign, weight in WEIGHTS.items())


def count_words(text: str) -> int:
    """Return the number of words; don't and double-check are one each."""
    return len(_WORD.findall(text))


@dataclass(slots=True)
class Kept:
    """A completion that passed the filters, without its text.

    Attributes:
        place: Where it is among all completions.
        row: Number of its row, over all inputs.
        index: Which of the row's completions.
        length: Words, or tokens where they are known of all.
        num_tokens: Tokens; None where nobody counted.
        score: Rule score.
        domain: What its problem is about.
    """

    place: int
    row: int
    index: int
    length: int
    num_tokens: int | None = None
    score: float = 0.0
    domain: str = ""


def use_one_unit(kept: Sequence[Kept]) -> str:
    """Set the lengths to tokens where all are counted; return the unit of the lengths."""
    counted = [entry for entry in kept if entry.num_tokens is not None]
    if len(counted) < len(kept):
        if counted:
            found = (len(kept) - len(counted), len(kept))
            logger.warning(
                "%d of %d completions have no token count: all lengths are in words (set --tokenizer).", *found
            )
        return "words"
    for entry in kept:
        entry.length = entry.num_tokens or 0
    return "tokens"


def best(kept: Sequence[Kept], order: str, count: int, seed: int = 0) -> list[Kept]:
    """Return the `count` best completions, in the order they came in; of equal ones the earlier.

    Args:
        kept: What to choose from.
        order: first, rule_score, shortest, longest or random.
        count: How many.
        seed: Of the random order, which depends on it and on the completion alone.
    """

    def rank(entry: Kept) -> tuple:
        chance = hashlib.blake2b(f"{seed} {entry.row} {entry.index}".encode(), digest_size=8).digest()
        keys = {
            "first": 0,
            "rule_score": -entry.score,
            "shortest": entry.length,
            "longest": -entry.length,
            "random": chance,
        }
        return (keys[order], entry.row, entry.index)

    return sorted(sorted(kept, key=rank)[:count], key=lambda entry: entry.place)


def best_of_each(kept: Sequence[Kept], order: str, count: int, seed: int = 0) -> list[Kept]:
    """Return the `count` best completions of each row (`best`)."""
    groups = groupby(kept, key=lambda entry: entry.row)
    return [entry for _, group in groups for entry in best(list(group), order, count, seed)]


def draw_over_domains(kept: Sequence[Kept], num_rows: int, seed: int) -> list[Kept]:
    """Return `num_rows` of the completions, or all where there are fewer, in the order they came in."""
    rng = random.Random(seed)
    by_domain: dict[str, list[Kept]] = defaultdict(list)
    for entry in kept:
        by_domain[entry.domain].append(entry)
    for entries in by_domain.values():
        entries.sort(key=lambda entry: (-entry.length, entry.row, entry.index))
    names = sorted(by_domain)
    drawn = []
    while names and len(drawn) < num_rows:
        name = rng.choice(names)
        entries = by_domain[name]
        drawn.append(entries.pop(_draw_rank(rng, len(entries))))
        if not entries:
            names.remove(name)
    return sorted(drawn, key=lambda entry: entry.place)


def _draw_rank(rng: random.Random, count: int) -> int:
    """Return a rank below `count`, r with a probability in proportion to 2^-r."""
    while True:
        position = 0
        while rng.random() < 0.5:
            position += 1
        if position < count:
            return position


def cluster_problems(texts: Sequence[str], num_clusters: int, seed: int) -> list[str]:
    """Return for each problem the name of its cluster: k-means over the TF-IDF of its words."""
    from sklearn.cluster import MiniBatchKMeans  # two seconds
    from sklearn.feature_extraction.text import TfidfVectorizer

    num_clusters = min(num_clusters, len(set(texts)))
    # Single letters and digits are words of a problem, but of no topic.
    vectorizer = TfidfVectorizer(max_features=20_000, sublinear_tf=True, token_pattern=r"(?u)[^\W\d_]{2,}")
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # no words at all: one topic
        return ["cluster_0"] * len(texts)
    labels = MiniBatchKMeans(num_clusters, random_state=seed, n_init=3, batch_size=4096).fit_predict(matrix)
    return [f"cluster_{label}" for label in labels]
