# SPDX-License-Identifier: Apache-2.0
"""Spellings that mean the same: normal texts, names of units; and texts that are no answer."""

import pytest

from open_r1.rewards.verifier.answer import read
from open_r1.rewards.verifier.normalize import normalize
from open_r1.rewards.verifier.tokens import UnreadableError
from open_r1.rewards.verifier.units import find_unit


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("1 2", "1 2"),
        ("x²", "x^{2}"),
        ("1\u200b2", "12"),
        ("２１", "21"),
        ("½", r"\frac{1}{2}"),
        (r"\$5", r"\$5"),
        ("$5", r"\$5"),
        ("$x=1$ or $x=2$", "x=1 or x=2"),
        (r"11,\! 111,\! 100", "11111100"),
        (r"28\mathrm{~}", "28"),
        ("**42**", "42"),
    ],
)
def test_normal_spelling(text: str, normal: str):
    assert normalize(text).strip("\x02\x03 ") == normal


@pytest.mark.parametrize("text", ["", "%%%", "x^{2", r"\frac{1}{", r"\begin{cases} x & y", "1 2", "3 & 4", "😀"])
def test_what_is_no_answer_is_unreadable(text: str):
    with pytest.raises(UnreadableError):
        read(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("cm", "Centimeters"), ("km", "kilometres"), ("hours", "h"), ("$", "dollars"), ("lbs", "pounds")],
)
def test_names_of_one_unit(one: str, other: str):
    assert find_unit(one) == find_unit(other) is not None
