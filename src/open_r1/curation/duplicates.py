# SPDX-License-Identifier: Apache-2.0
r"""Duplicates among texts: equal ones, and near ones by MinHash (`datasketch`).

`find_exact_duplicates` and `find_near_duplicates` return, for each text, the number of the earlier text that it
repeats, or None where it is the first of its kind. The text named is itself a first one, so dropping all rows with a
number leaves one of each kind.

>>> find_exact_duplicates(["What is 2+2?", "What  is\n2+2?", None, "What is 3+3?", None])
[None, 0, None, None, None]
"""

import unicodedata
from collections.abc import Callable, Iterable
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import xxhash

from open_r1.curation.ngrams import canonical, operators, words

DEFAULT_THRESHOLD = 0.8
_NUM_HASHES = 128
_SHINGLE_WORDS = 3
_SKETCH_SIZE = 1024  # shingles kept of a text: all of most problems, a sample of a long reasoning
_MIN_RECALL = 0.995  # share of the pairs right at the threshold that are compared
# Words on which an answer hangs, though all others are the same; numbers and letters count too.
_WORDS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half third
    quarter once twice thrice double triple maximum minimum maximal minimal maximize minimize max min largest smallest
    greatest least biggest longest shortest most more fewer less higher lower increasing decreasing increase decrease
    increases decreases even odd positive negative prime composite rational irrational not no never without plus minus
    times sum product difference quotient union intersection above below before after inside outside left right
    clockwise counterclockwise north south east west sin cos tan sine cosine tangent log ln exp lcm gcd convex concave
    mean median mode first last b c d e f g h j k l m n o p q r s t u v w x y z
"""
_DECIDING = frozenset(_WORDS.split())
_LAST_WORDS = 5  # in which copies must agree: most problems say at their end what they ask for


def find_repeats(texts: Callable[[], Iterable[str]], similarity: float) -> list[int | None]:
    """Return for each problem the earlier one that it repeats: exactly, or nearly where `similarity` is below 1.

    Args:
        texts: Starts the problems anew.
        similarity: As in `find_near_duplicates`.
    """
    near = find_near_duplicates(texts(), threshold=similarity) if similarity < 1 else []
    pairs = zip_longest(find_exact_duplicates(texts()), near)
    return [one if one is not None else other for one, other in pairs]


def find_exact_duplicates(texts: Iterable[str | None]) -> list[int | None]:
    """Return for each text the first one that is equal to it, or None.

    Equal up to white space and the composition of characters (NFC). Case and superscripts count: a and A may be two
    sides of one triangle, and 10² is not 102. Texts that are null or blank repeat nothing.
    """
    first: dict[bytes, int] = {}
    repeats: list[int | None] = []
    for number, text in enumerate(texts):
        plain = " ".join(unicodedata.normalize("NFC", text or "").split()).encode("utf-8", "surrogatepass")
        earlier = first.setdefault(xxhash.xxh3_128_digest(plain), number) if plain else number
        repeats.append(earlier if earlier < number else None)
    return repeats


def find_near_duplicates(
    texts: Iterable[str | None], *, threshold: float = DEFAULT_THRESHOLD, same_numbers: bool = True
) -> list[int | None]:
    """Return for each text the earlier one that it nearly repeats, or None.

    Two texts are near when at least `threshold` of their shingles (runs of three words) are common to both (Jaccard).
    Candidates come from MinHash with bands; they are then compared by their shingles, all up to 1024, of longer texts
    a sample of that size (standard error of the share 0.013 at most). Texts without any word repeat nothing.

    Args:
        texts: Problems or completions; they are not held.
        threshold: Above 0, at most 1.
        same_numbers: Texts whose numbers, operators, LaTeX commands, single letters or words such as maximum differ,
            or stand in another order, are no duplicates: "7 apples" and "9 apples" are two problems, and so are
            3x + 5 and 3x - 5. So are texts that differ in their last five words ("Find its area" and "Find its
            perimeter"), which misses copies with another ending ("Answer in a box."). Problems still pass for copies
            where they differ earlier, in other words alone ("3 sheep, 7 goats" and "3 goats, 7 sheep", or the sides AB
            and AC). Turn it off for completions.
    """
    from datasketch import MinHash, MinHashLSH  # imports scipy: half a second

    def is_enough(rows: int) -> bool:
        return 1 - (1 - threshold**rows) ** (_NUM_HASHES // rows) >= _MIN_RECALL

    rows = max(filter(is_enough, range(1, _NUM_HASHES // 2 + 1)), default=1)
    index = MinHashLSH(num_perm=_NUM_HASHES, params=(_NUM_HASHES // rows, rows))
    blank = MinHash(_NUM_HASHES, hashfunc=int)
    sketches: dict[int, np.ndarray] = {}
    repeats: list[int | None] = []
    for number, text in enumerate(texts):
        text = (text or "").encode("utf-8", "replace").decode()
        found = canonical(words(pa.array([text], pa.large_string()), "default")[0].as_py(), "default")
        repeats.append(None)
        if not found:
            continue
        shingles = np.unique(
            [_hash(found[k : k + _SHINGLE_WORDS]) for k in range(max(len(found) - _SHINGLE_WORDS, 0) + 1)]
        )
        signature = blank.copy()
        for start in range(0, len(shingles), 8192):  # 8 MiB at a time
            signature.update_batch(shingles[start : start + 8192].tolist())
        if same_numbers:  # texts that differ there are in no common bucket
            asked = [word for word in found if not word.isalpha() or word in _DECIDING]
            signature.hashvalues ^= np.uint64(_hash([*asked, *operators(text), *found[-_LAST_WORDS:]]))
        sketch = shingles[:_SKETCH_SIZE]
        candidates = sorted(map(int, map(str, index.query(signature))))
        near = (earlier for earlier in candidates if _share_in_common(sketches[earlier], sketch) >= threshold)
        repeats[number] = next(near, None)
        if repeats[number] is None:
            index.insert(number, signature)
            sketches[number] = sketch
    return repeats


def _hash(found: list[str]) -> int:
    return xxhash.xxh32_intdigest(" ".join(found).encode())


def _share_in_common(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Jaccard similarity of two sorted samples of the smallest hashes."""
    union = np.union1d(one, other)
    if max(len(one), len(other)) == _SKETCH_SIZE:
        union = union[:_SKETCH_SIZE]  # beyond the sample's end one text's shingles are unknown
    in_both = np.isin(union, one, assume_unique=True) & np.isin(union, other, assume_unique=True)
    return float(in_both.sum()) / len(union)
