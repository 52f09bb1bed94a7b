# SPDX-License-Identifier: Apache-2.0
"""Words as the reference reads them and as numpy does: the same words in the same places, and one hash each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_r1.curation.decontamination.hashing import find_words
from open_r1.curation.decontamination.normalization import (
    fold,
    normalize_string,
    operators,
    original_tokens,
    tokens,
)

ALPHABET = " \t\n\x0b\x1c\x1f.,$\\{}^_-*aBxYz09é求ΣİßﬁⅣ½²⁻\u0085\u00a0\u2003\u0307\u200b\x00\u1100\u1161"
PIECES = [
    r"\frac",
    r"\left(",
    r"\,",
    "\\\\",
    r"\dfrac{1}",
    r"\leq",
    r"\varepsilon",
    "A B C",
    "10⁻¹²",
    "1,000",
    "{,}",
    "000",
]
TEXTS = st.lists(
    st.text(st.one_of(st.sampled_from(ALPHABET), st.characters(exclude_categories=["Cs"])), max_size=30)
    | st.sampled_from(PIECES),
    max_size=6,
).map("".join)


def keys(text, normalization="default"):
    return [token.key for token in tokens(fold(text, normalization), normalization)]


@pytest.mark.parametrize("normalization", ["none", "default"])
@given(texts=st.lists(TEXTS, max_size=6))
@settings(max_examples=300)
def test_numpy_finds_the_words_of_the_reference(normalization, texts):
    folded = [fold(text, normalization) for text in texts]
    encoded = [text.encode() for text in folded]
    offsets = np.cumsum([0, *map(len, encoded)])
    words = find_words(np.frombuffer(b"".join(encoded), np.uint8), offsets, normalization)
    by_key, row_words = {}, [tokens(text, normalization) for text in folded]
    for row, (text, expected) in enumerate(zip(folded, row_words, strict=True)):
        own = slice(words.first_R[row], words.first_R[row + 1])
        starts, ends = words.start_T[own] - offsets[row], words.end_T[own] - offsets[row]
        places = [(len(text[: word.start].encode()), len(text[: word.end].encode())) for word in expected]
        assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == places
    every_key = [word.key for found in row_words for word in found]
    for key, value in zip(every_key, words.windows(1).tolist(), strict=True):
        assert by_key.setdefault(key, value) == value
    assert len(set(by_key.values())) == len(by_key)


@given(TEXTS)
@settings(max_examples=300)
def test_without_normalisation_words_are_those_of_upstream(text):
    assert keys(text, "none") == normalize_string(text).split()


@given(TEXTS)
@settings(max_examples=300)
def test_places_in_the_text_are_of_the_words(text):
    found = original_tokens(text, "none")
    assert [text[word.start : word.end].lower() for word in found] == [word.key for word in found]


@pytest.mark.parametrize("text", ["1,000 é", "Say 12{,}345 is ½", "e\u0301 10⁻¹² 1\\,000", "İ ß 求求", "1{,}000,000"])
def test_places_in_the_text_are_found_through_folding(text):
    found = original_tokens(text, "default")
    assert [word.key for word in found] == keys(text)
    assert text[found[0].start : found[-1].end] == text.strip()


@pytest.mark.parametrize(
    "first, second",
    [
        ("Find the VALUE", "find\u00a0the  value"),
        ("Find the value.", "**Find** the _value_"),
        (r"$x\,\le\,\dfrac{1}{2}$", "x ≤ ½"),
        (r"\(\left( a + b \right)^{2}\)", "(a+b)²"),
        (r"$10^{-12}$", "10⁻¹²"),
        (r"$\text{if }n\geqslant 3$", "if n ≥ 3"),
        (r"$\varepsilon\to0$", r"ε → 0"),
        ("ﬁnd Ｆull ｗidth ４２", "find full width 42"),
        ("a\u200bb so\u00adft", "ab soft"),
        ("cafe\u0301", "café"),
        (r"$2x\quad y~z$", "2 x y z"),
        ("“smart” ‘quotes’ – dash", "\"smart\" 'quotes' - dash"),
        ("求：值。", "求 值"),
        ("1,000,000 and $10{,}000$", "1000000 and 10000"),
        (r"12\,345 é $10,\!000$", "12345 É 10000"),
        (r"\begin{align} a &= b \end{align}", r"\[align a = b align\]"),
    ],
)
def test_spellings_of_the_same_words(first, second):
    assert keys(first) == keys(second)


@pytest.mark.parametrize(
    "first, second",
    [
        ("left over", r"\left over"),
        (r"\alpha", "alpha"),
        ("12", "1 2"),
        ("1,2000", "12000"),
        ("(242,735)", "242735"),
        ("1, 000", "1000"),
        ("ab", "a b"),
        (r"\sqrt 2", r"\sin 2"),
    ],
)
def test_words_that_differ(first, second):
    assert keys(first) != keys(second)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("7+9-8", ["+", "-"]),
        (r"$7 + 9 - 8$", ["+", "-"]),
        (r"\(a \le \frac{b}{2}\)", ["<=", "/"]),
        ("a well-known *fact* **bold**", []),
        ("2*3", ["*"]),
        (r"2 \cdot 3 \times 4", ["*", "*"]),
    ],
)
def test_operators_in_any_spelling(text, expected):
    assert operators(text) == expected
