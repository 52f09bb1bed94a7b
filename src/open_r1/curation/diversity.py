# SPDX-License-Identifier: Apache-2.0
"""A few rows from many domains, as s1 draws its thousand (arXiv 2501.19393, section 2.2).

Again and again a domain is drawn, all alike, and a row within it, longer traces more likely by a power law: the row of
rank r by length, 0 for the longest, has weight 2^-r among those that are left.

Different from s1:
1. Domains come from a column, or from clusters of the problems' words; s1 has a model name the domain.
2. All rows are drawn. s1 first takes some sources whole.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from open_r1.curation.selection import Kept

MAX_FEATURES = 20_000


def draw_over_domains(completions: Sequence[Kept], domains: Sequence[str], num_rows: int, *, seed: int) -> list[Kept]:
    """Return `num_rows` of the completions, in the order they came in.

    Args:
        completions: What to draw from.
        domains: The domain of each.
        num_rows: How many; all where there are fewer.
        seed: Of the drawing.
    """
    rng = random.Random(seed)
    by_domain: dict[str, list[Kept]] = defaultdict(list)
    for kept, domain in zip(completions, domains, strict=True):
        by_domain[domain].append(kept)
    for rows in by_domain.values():
        rows.sort(key=lambda kept: (-kept.length, kept.row, kept.index))
    names = sorted(by_domain)
    drawn = []
    while names and len(drawn) < num_rows:
        name = rng.choice(names)
        rows = by_domain[name]
        drawn.append(rows.pop(_draw_rank(rng, len(rows))))
        if not rows:
            names.remove(name)
    return sorted(drawn, key=lambda kept: (kept.row, kept.index))


def _draw_rank(rng: random.Random, count: int) -> int:
    """Return a rank below `count`, r with a probability in proportion to 2^-r."""
    while True:
        position = 0
        while rng.random() < 0.5:
            position += 1
        if position < count:
            return position


def cluster_problems(texts: Sequence[str], num_clusters: int, *, seed: int) -> list[str]:
    """Return for each problem the name of its cluster: k-means over the TF-IDF of its words.

    Holds a sparse matrix of the words, about 12 bytes for each different word of each problem.

    Raises:
        ValueError: There are fewer than 2 clusters.
    """
    if num_clusters < 2:
        raise ValueError(f"num_clusters must be at least 2, got {num_clusters}.")
    from sklearn.cluster import MiniBatchKMeans  # two seconds
    from sklearn.feature_extraction.text import TfidfVectorizer

    num_clusters = min(num_clusters, len(set(texts)))
    if num_clusters < 2:
        return ["cluster_0"] * len(texts)
    # Single letters and digits are words of a problem, but of no topic.
    vectorizer = TfidfVectorizer(max_features=MAX_FEATURES, sublinear_tf=True, token_pattern=r"(?u)[^\W\d_]{2,}")
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # no words at all: one topic
        return ["cluster_0"] * len(texts)
    labels = MiniBatchKMeans(num_clusters, random_state=seed, n_init=3, batch_size=4096).fit_predict(matrix)
    return [f"cluster_{label}" for label in labels]
