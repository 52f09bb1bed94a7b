# SPDX-License-Identifier: Apache-2.0
"""Formulas that agree at few points only, or at small ones, or differ by a percent sign, are not equal."""

import pytest

from open_r1.rewards.verifier import Verdict, verify_all

# Gold, answer (in a box).
WRONG = [
    ("x=3", r"y=\sqrt{x-2.5}"),
    ("x=100", r"y=\ln{x-2.5}"),
    ("k=2", r"y=\sqrt{x-2.5}"),
    ("y=2x+1", r"y=\sqrt{x-2.5}"),
    ("x^2+y^2=1", r"y=\ln{x-2.5}"),
    ("x+y+z=6", r"y=\sqrt{x-2.5}"),
    (r"y=\ln(x-2)", "y=x"),
    (r"y=\log_2(x-2)", "y=3x+7"),
    (r"y=\sqrt{-x-1}", "y=3x+7"),
    (r"y=\sqrt{x-2}", "x=1"),
    ("x=0", "|x|=x"),
    ("y=2x+1", "|y-2x-1|=y-2x-1"),
    ("|x+5|", "x+5"),
    ("|x-10|", "10-x"),
    (r"\sqrt{(x-4)^2}", "4-x"),
    ("|x-5000|", "5000-x"),
    ("0", r"\lfloor n/100\rfloor"),
    ("1", r"\gcd(n,101)"),
    (r"\frac{\sqrt2}{2}", r"\frac{\sqrt2}{2}\%"),
    (r"\frac{1}{\pi}", r"\frac{1}{\pi}\%"),
    ("x", r"x\%"),
]
RIGHT = [
    (r"y=\sqrt{x-2}", r"\sqrt{x-2}=y"),
    (r"y=\ln(x-2)", r"2y=\ln((x-2)^2)-0"),
    ("x^2+y^2=1", r"\sqrt{4}x^2+2y^2-2=0"),
    (r"1", r"\cosh^2 x-\sinh^2 x"),
    ("|x-10|", "|10-x|"),
    ("2e^{x}", r"\frac{2e^{2x}}{e^{x}}"),
    ("y=2x+1", "2x-y+1=0"),
    (r"\ln(x^2-5)", r"\ln(5x^2-25)-\ln 5"),
    ("50", r"50\%"),
]


@pytest.mark.parametrize(
    ("pairs", "verdict"), [(WRONG, Verdict.WRONG), (RIGHT, Verdict.RIGHT)], ids=["wrong", "right"]
)
def test_formulas_are_compared_at_enough_points_of_every_size(pairs: list[tuple[str, str]], verdict: Verdict) -> None:
    verdicts = verify_all([gold for gold, _ in pairs], [rf"\boxed{{{answer}}}" for _, answer in pairs])

    assert dict(zip(pairs, verdicts, strict=True)) == dict.fromkeys(pairs, verdict)
