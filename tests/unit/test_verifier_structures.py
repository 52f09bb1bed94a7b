# SPDX-License-Identifier: Apache-2.0
"""Pairs with systems, domains, named roots and hedges: right ones, and near misses that are wrong."""

import pytest

from open_r1.rewards.verifier import Verdict, verify

R, W, U = Verdict.RIGHT, Verdict.WRONG, Verdict.UNPARSABLE_GOLD

# Gold, answer (in a box), verdict.
LOOSE_ANSWERS = [
    (r"(-\infty,3)\cup(5,\infty)", r"x<3 \text{ and } x>5", W),
    (r"(-\infty,3)\cup(5,\infty)", r"x<3 \text{ or } x>5", R),
    (r"(-\infty,3)\cup(5,\infty)", "x<3, x>5", R),
    ("(3,5)", r"x>3 \text{ and } x<5", R),
    ("B", "(B) or (C)", W),
    ("B", r"\text{(B) or (C)}", W),
    ("A", "(A) or (B) or (C)", W),
    ("B", "B. 12 or C. 13", W),
    ("B", "(B) or 12", W),
    ("B", "(B) 12", R),
    ("B", r"\text{(B)} 3x", R),
    ("B", "B. 12 or 13", R),
    ("A, C", "(A), (C)", R),
    ("A, C", r"(C) \text{ and } (A)", R),
    ("A, C", "(A), (D)", W),
    ("(A) and (C)", "A, C", R),
    (r"\lceil n/2\rceil", r"\lfloor\frac{n+2}{2}\rfloor", W),
    (r"\lceil n/2\rceil", r"\lfloor n/2\rfloor+1", W),
    (r"\left\lceil\frac n2\right\rceil", r"\lfloor\frac{n+1}{2}\rfloor", R),
    (r"\lceil (n-1)/2\rceil", r"\lfloor n/2\rfloor", R),
    (r"\lceil x\rceil", r"\lfloor x\rfloor+1", W),
    ("x", r"\lfloor x\rfloor", W),
    (r"\lfloor x+1\rfloor", r"\lfloor x\rfloor+1", R),
    (r"\lfloor n/7\rfloor", r"\lfloor (n+1)/7\rfloor", W),
    ("13", "①③", W),
    ("①③", "③①", R),
    ("①③", "①, ③", R),
    ("①③", "①、③", R),
    ("②", "2", R),
    ("①③", "①②", W),
    ("5", r"5\text{ is wrong}", W),
    ("5", r"5\text{ but not unique}", W),
    ("5", r"5\text{ at most}", W),
    ("5", r"5\text{ apples}", R),
    ("12", r"12\text{ ways to arrange them}", R),
    ("5", r"5\text{ more}", R),
    ("5", r"5\text{ square units}", R),
    ("5", r"5\text{ for }n=1, 6\text{ for }n=2", W),
    ("5", r"5\text{ if }n=1, 6\text{ otherwise}", W),
    ("5", r"5\text{ to }7", W),
    ("5", r"5\text{ or more}", W),
    (r"2k\pi", r"2k\pi \text{ where } k \text{ is an integer}", R),
    ("x>0", r"x>0, x\in\mathbb{Z}", W),
    (r"x>0, x\in\mathbb{Z}", "x>0", W),
    (r"x>0, x\in\mathbb{Z}", r"x\in\mathbb{Z}, x>0", R),
    (r"2k\pi", r"2k\pi, k\in\mathbb{Z}", R),
    (r"x=2k\pi", r"x=2k\pi, k\in\mathbb{Z}", R),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), [*LOOSE_ANSWERS])
def test_pairs(gold: str, answer: str, verdict: Verdict):
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict
