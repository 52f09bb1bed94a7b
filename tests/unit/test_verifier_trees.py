# SPDX-License-Identifier: Apache-2.0
"""Pairs with equations, points, systems, set-builders and transposes: near misses that are wrong, and right ones."""

import pytest

from open_r1.rewards.verifier import Verdict, verify

R, W = Verdict.RIGHT, Verdict.WRONG
CASES = r"\begin{cases}x=1\\y=2\end{cases}"
MATRIX = r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"

# Gold, answer (in a box), verdict.
BARE_CONSTANTS = [
    ("x-y=0", "0", W),
    ("x+y=0", "0", W),
    ("x+y+z=0", "0", W),
    (r"\sin x=0", "0", W),
    ("x+y=5", "5", W),
    ("|z|=1", "1", W),
    ("-x=2", "2", W),
    ("3", "-x=3", W),
    ("1", r"\pm x=1", W),
    ("x=1", r"\pm x=1", W),
    ("x=3", "3", R),
    ("AB=5", "5", R),
    ("|AB|=5", "5", R),
    ("ABC=5", "5", R),
    (r"P(A)=\frac12", r"\frac12", R),
    ("3", "m+n=3", R),
    ("3", "m-n=3", R),
    ("3", "AB=3", R),
    (r"\frac12", r"\sin A=\frac12", R),
    ("x+y=5", "x+y=5", R),
    ("x+y=5", "y=5-x", R),
]
POINTS = [
    ("1<x<2", "x=1,y=2", W),
    ("1<x<2", CASES, W),
    ("1<x<2", r"\langle1,2\rangle", W),
    ("1<x<2", "(x,y)=(1,2)", W),
    ("x=1,y=2", "1<x<2", W),
    (CASES, "1<x<2", W),
    (r"\langle1,2\rangle", "1<x<2", W),
    ("(1,2)", r"x=1 \text{ or } y=2", W),
    ("(3,4)", r"\{x=3,y=4\}", W),
    ("1<x<2", "(1,2)", R),
    ("(1,2)", "x=1,y=2", R),
    ("(1,2)", "(x,y)=(1,2)", R),
    ("(x,y)=(1,2)", "(1,2)", R),
    ("(x,y)=(1,2)", CASES, R),
    ("(1,2)", CASES, R),
    ("(1,2)", r"\langle1,2\rangle", R),
    (r"\langle1,2\rangle", "(1,2)", R),
    (r"\langle1,2\rangle", "(2,1)", W),
    (r"\langle1,2\rangle", r"\begin{pmatrix}1\\2\end{pmatrix}", R),
    ("x=1,y=2", "y=2,x=1", R),
]
SET_BUILDERS = [
    ("(0,3)", r"\{x\in\mathbb{Z}\mid 0<x<3\}", W),
    ("(0,3)", r"\{2x\mid 0<x<3\}", W),
    ("0<x<3", r"\{x^2\mid 0<x<3\}", W),
    ("x>0", r"\{(x,y)\mid x>0\}", W),
    ("[0,3]", r"\{x\in\mathbb{N}: 0\le x\le 3\}", W),
    (r"\{x\in\mathbb{Z}|x>1\}", "x>1", W),
    ("(0,3)", r"5\in(0,3)", W),
    ("(0,3)", r"\{x\mid 0<x<3\}", R),
    ("(0,3)", r"\{x\in\mathbb{R}\mid 0<x<3\}", R),
    ("(0,3)", r"x\in(0,3)", R),
    (r"\{x\in\mathbb{Z}|x>1\}", r"x>1, x\in\mathbb{Z}", R),
    (r"\{x\in\mathbb{Z}|x>1\}", r"\{x\mid x>1, x\in\mathbb{Z}\}", R),
    (r"\{x\in\mathbb{Z}|x>1\}", r"\{n\in\mathbb{N}|n>1\}", W),
]
TRANSPOSES = [
    (MATRIX, f"{MATRIX}^T", W),
    (MATRIX, r"\begin{pmatrix}1&3\\2&4\end{pmatrix}^T", R),
    ("(1,2)", "(1,2)^T", R),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}^T", R),
]
DISTANCES = [
    ("(-2,2)", "|x|<2", R),
    ("|x|<2", "(-2,2)", R),
    ("|x|<2", "-2<x<2", R),
    ("-2<x<2", "2>|x|", R),
    ("[-1,3]", r"|x-1|\le2", R),
    (r"(-\infty,-2)\cup(2,\infty)", "|x|>2", R),
    ("|x|>2", r"x<-2\text{ or }x>2", R),
    ("(-2,2)", r"|x|\le2", W),
    ("(-2,2)", "|x|>2", W),
    ("(-2,2)", "|x|<3", W),
    ("(-2,2)", "|x|<-2", W),
    ("(-2,2)", "|z|<2", W),
    ("|x|<2", "x<2", W),
    ("|x|<2", "|x|<|y|", W),
]


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"), BARE_CONSTANTS + POINTS + SET_BUILDERS + TRANSPOSES + DISTANCES
)
def test_shape_of_an_answer_decides(gold, answer, verdict):
    assert verify(gold, rf"\boxed{{{answer}}}") is verdict
