# SPDX-License-Identifier: Apache-2.0
"""Wrong answers that look right, of the kinds that a reviewer found: none of them may earn anything."""

import pytest

from open_r1.rewards.verifier import Verdict, verify

WRONG = {
    # What is small beside the rest of a formula, at most points.
    "2+3e^{-500t}": ["2+5e^{-500t}", "2"],
    "10-10e^{-200t}": ["10-5e^{-200t}"],
    r"\cosh(200x)": [r"\sinh(200x)"],
    r"\tanh(100x)": ["1"],
    r"\ln(1+e^{-200x})": ["0"],
    "10^{100n}+1": ["10^{100n}"],
    "e^{1000x}+5": ["e^{1000x}"],
    "|x-10^7|": ["10^7-x"],
    r"\max(n,10^7)": ["10^7"],
    r"\int_{-\infty}^{\infty} e^{-(x-1000)^2}dx": ["0"],
    r"\lim_{n\to\infty}(-1)^n": ["1"],
    # Families of integers: an argument is none, and the parts of a pair run together.
    r"f(n)=n+1, n\in\mathbb{Z}": ["f(n)=n", r"f(n)=1-n,n\in\mathbb{Z}"],
    r"a_n=3n+1, n\in\mathbb{Z}": [r"a_n=3n+4, n\in\mathbb{Z}"],
    r"y=x+1, x\in\mathbb{Z}": [r"y=x+3, x\in\mathbb{Z}"],
    r"x=3+5t, y=2-3t, t\in\mathbb{Z}": [r"x=3+5t, y=2+3t, t\in\mathbb{Z}", r"x=8+5t, y=2-3t, t\in\mathbb{Z}"],
    r"(k,k+1), k\in\mathbb{Z}": [r"(k,k+2), k\in\mathbb{Z}"],
    r"[k\pi-\frac{\pi}{3}, k\pi+\frac{\pi}{6}], k\in\mathbb{Z}": [
        r"[k\pi-\frac{\pi}{3}, k\pi+\frac{7\pi}{6}], k\in\mathbb{Z}",
        r"[k\pi+\frac{2\pi}{3}, k\pi+\frac{\pi}{6}], k\in\mathbb{Z}",
    ],
    r"\pi k": [r"\pi n"],
    r"2\pi r l": [r"2\pi r m"],
    # A given c is no constant of integration.
    "y=mx+c": ["y=mx+c+1"],
    "a+b+c": ["a+b+c+1", "a+b+k"],
    "ac": ["aC"],
    r"a^2+b^2-2ab\cos C": [r"a^2+b^2-2ab\cos c"],
    # Yes and no that are taken back.
    r"\text{No}": [r"\text{No, it is possible}", r"\text{No, it always holds}", r"\text{No, correct}"],
    r"\text{Yes}": [r"\text{Yes, it is impossible}", r"\text{Yes, when } n", r"\text{Yes, that is wrong}"],
    "0:30": [r"12:30\text{ p.m.}"],
    # "or" is not "and".
    r"x=1 \text{ or } y=2": ["x=1, y=2"],
    r"x>2 \text{ and } y>3": [r"x>2 \text{ or } y>3"],
    r"a=1 \text{ or } a>4": [r"a=1 \text{ and } a>4"],
    "x=y=z=1": [r"x=y=z\ne 1"],
    r"A\subset B": [r"B\subset A"],
    # Nothing is proportional to everything.
    "3:4": ["0:0"],
    "1:2:3": ["0:0:0"],
    "0:1:2": ["0:5:7"],
    "3\u4e07\u5143": ["3\u5143"],
    "3\u5347": ["3\u6beb\u5347"],
    "x=2": [r"x=2 \text{ (extraneous)}", r"x=2 \text{ (rejected)}"],
    "5": [r"5\text{ dozens}"],
    "f(2)-4=0": ["f(3)-4=0"],
}


@pytest.mark.parametrize(("gold", "answer"), [(gold, answer) for gold, answers in WRONG.items() for answer in answers])
def test_wrong_answer_that_looks_right_is_not_right(gold: str, answer: str):
    assert verify(gold, rf"\boxed{{{answer}}}") is not Verdict.RIGHT
