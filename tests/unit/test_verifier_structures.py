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

SYSTEMS = [
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", r"\begin{cases}x=1\\y=2\end{cases}", R),
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", "(1,2)", R),
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", "x=1, y=2", R),
    ("x=1, y=2", r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", R),
    ("(1,2)", r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", R),
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", "y=2, x=1", R),
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", "x=2, y=1", W),
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", "(2,1)", W),
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", "x=1", W),
    (r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right.", "3", W),
    (r"\begin{cases} x = 1, \\ y = 2. \end{cases}", "(1,2)", R),
    ("(1,2)", r"\begin{cases} x = 1, \\ y = 2. \end{cases}", R),
    ("x=1, y=2", r"\begin{aligned}x&=1\\y&=2\end{aligned}", R),
    ("x=1, y=2", r"\begin{aligned}x&=1,\\[4pt] y&=2.\end{aligned}", R),
    ("x=1, y=2", r"\left\{\begin{aligned}x&=1\\y&=2\end{aligned}\right.", R),
    ("x=1, y=2", r"\left\{\begin{matrix}x=1\\y=2\end{matrix}\right.", R),
    ("x=1, y=2", r"\begin{aligned}x&=1\\y&=3\end{aligned}", W),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\left(\begin{array}{c}1\\2\end{array}\right)", R),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)", R),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\left[\begin{array}{rr}1&2\\3&4\end{array}\right]", R),
    (r"\left[\begin{array}{rr}1&2\\3&4\end{array}\right]", r"\begin{bmatrix}1&2\\[4pt]3&4\end{bmatrix}", R),
    (r"\left[\begin{array}{rr}1&2\\3&4\end{array}\right]", r"\begin{bmatrix}1&3\\2&4\end{bmatrix}", W),
    (
        r"f(x)=\left\{\begin{array}{ll}x^2 & x>0 \\ 0 & x\le 0\end{array}\right.",
        r"f(x)=\begin{cases}x^2 & x>0 \\ 0 & x\le 0\end{cases}",
        R,
    ),
    (
        r"\left\{\begin{array}{ll}x^2, & x>0 \\ 0, & x\le 0\end{array}\right.",
        r"\begin{cases}x^2 & \text{if } x>0 \\ 0 & \text{if } x\le 0\end{cases}",
        R,
    ),
    (r"\begin{cases}x^2 & x>0 \\ 0 & x\le 0\end{cases}", r"\begin{cases}0, & x\le 0 \\ x^2, & x>0\end{cases}", R),
    (
        r"\left\{\begin{array}{ll}x^2, & x>0 \\ 0, & x\le 0\end{array}\right.",
        r"\begin{cases}x^2, & x>0 \\ 1, & x\le 0\end{cases}",
        W,
    ),
    (
        r"\left\{\begin{array}{ll}x^2, & x>0 \\ 0, & x\le 0\end{array}\right.",
        r"\begin{cases}x^2, & x\ge0 \\ 0, & x< 0\end{cases}",
        W,
    ),
    (r"\left\{\begin{array}{ll}x^2, & x>0 \\ 0, & x\le 0\end{array}\right.", "x^2", W),
    (r"\left\{\begin{array}{l}x+y=3\\x-y=1\end{array}\right.", r"\begin{cases}x-y=1\\x+y=3\end{cases}", R),
    (r"\left\{\begin{array}{l}x+y=3\\x-y=1\end{array}\right.", r"\begin{cases}x-y=3\\x+y=1\end{cases}", W),
    (r"\begin{cases}x=1\\y=2\end{cases} \text{ or } \begin{cases}x=3\\y=4\end{cases}", "(1,2),(3,4)", R),
    (
        "(3,4),(1,2)",
        r"\left\{\begin{array}{l}x=1\\y=2\end{array}\right. , \left\{\begin{array}{l}x=3\\y=4\end{array}\right.",
        R,
    ),
    (r"\begin{cases}x=1\\y=2\end{cases} \text{ or } \begin{cases}x=3\\y=4\end{cases}", "(1,4),(3,2)", W),
    ("-1<x<3", r"\left\{\begin{array}{l}x>-1\\x<3\end{array}\right.", R),
    ("7", r"\begin{aligned}x&=1\\y&=2\end{aligned}", W),
    ("7", r"\begin{array}{l}7\\8\end{array}", W),
    ("7", r"\begin{aligned}x&=3+4\\&=7\end{aligned}", R),
    ("7", r"\begin{aligned}x&=3\\&=7\end{aligned}", W),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), [*LOOSE_ANSWERS, *SYSTEMS])
def test_pairs(gold: str, answer: str, verdict: Verdict):
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict
