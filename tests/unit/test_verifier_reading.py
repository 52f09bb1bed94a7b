# SPDX-License-Identifier: Apache-2.0
"""How answers are read and compared."""

import time

import pytest

from open_r1.rewards.verifier import Verdict
from open_r1.rewards.verifier.answer import read
from open_r1.rewards.verifier.judge import judge_texts
from open_r1.rewards.verifier.normalize import normalize
from open_r1.rewards.verifier.tokens import UnreadableError
from open_r1.rewards.verifier.units import find_unit

R, W, U = Verdict.RIGHT, Verdict.WRONG, Verdict.UNPARSABLE_GOLD


@pytest.mark.parametrize(
    "text",
    [
        "x+" * 4_000 + "x",
        "x^" * 4_000 + "x",
        r"\sqrt" * 1_900,
        r"\sin" * 2_000,
        "(" * 9_000,
        "|" * 9_000,
        "-" * 9_000 + "1",
        r"\frac12" * 1_400,
        "1," * 4_000,
        "1 " * 4_000,
        "x'" * 4_000,
        "!" * 9_000,
        r"\begin{pmatrix}" * 600,
        r"\cup".join(["(1,2)"] * 500) + r"\cap" + r"\cup".join(["(1,2)"] * 500),
        r"\mathbb{R}\setminus\{" + ",".join(map(str, range(2_000))) + r"\}",
        r"\{" + ",".join(["x"] * 4_000) + r"\}",
        "(1+x*(" * 35 + "1" + "))" * 35,
        "=".join(["x"] * 4_000),
        r"\approx".join(["x"] * 900),
    ],
    ids=lambda text: text[:12],
)
def test_a_strange_formula_neither_raises_nor_takes_long(text: str):
    start = time.process_time()
    assert judge_texts("7", text).verdict is W
    for answer in ("7", r"\{x, y, 1\}", r"(0,1)\cup(2,\infty)"):
        assert judge_texts(text, answer).verdict in (W, U)
        assert judge_texts(answer, text).verdict in (W, U)
    assert time.process_time() - start < 7 * 2


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2\\theta\u00e9", "solution>\\left9y"),
        (r"\ln^\circ x", "1"),
        (r"\{x | x > 0\}", r"A \cap B'"),
        (r"\infty", r"(-1,1)\cap(0B,2)"),
        (r"\binom(B)\pi", "m"),
        (r"\log_{1} 2", r"\pi"),
        ("(-1)!", r"\pi"),
        (r"(\frac{n}{7})!", r"\sqrt{2}"),
    ],
)
def test_what_fuzzing_found_is_judged(gold: str, answer: str):
    for pair in ((gold, answer), (answer, gold)):
        assert judge_texts(*pair).verdict in (W, U)


@pytest.mark.parametrize("text", ["1/0", r"\frac{x}{0}", "0^0", r"(1, \frac{0}{0})", r"\{1/0\}"])
def test_a_gold_without_a_value_is_unparsable(text: str):
    assert judge_texts(text, "1").verdict is U


EXACT = [
    ("42", "42", R),
    ("42", "42.0", R),
    ("42", "+42", R),
    ("42", "042", R),
    ("42", "43", W),
    ("0", "-0", R),
    ("1,234,567", "1234567", R),
    ("1,23", "123", W),
    ("1, 234", "1234", W),
    ("0.5", r"\frac12", R),
    ("0.5", "1/2", R),
    ("-0.5", r"-\frac{1}{2}", R),
    ("-0.5", r"\frac{-1}{2}", R),
    ("1/3", "0.333333", W),
    ("1/3", "2/6", R),
    ("1/0", "2/0", U),
    ("9" * 100_000, "9" * 100_000 + ".0", R),
    ("9" * 100_000, "9" * 99_999 + "8", W),
    ("$42$", r"\(42\)", R),
    (r"\text{Yes}", "yes", R),
    ("yes", "no", W),
    ("listen", "silent", W),
    ("B", "(B)", R),
    ("B", "b)", R),
    ("(B)", r"\text{(B)}", R),
    ("B", "B. 12", R),
    ("B", "C) 12", W),
    ("A", "Apple", W),
    ("50", r"50\%", R),
    ("12", "12 cm", R),
    ("", "", U),
    (r"2\sqrt{3}", r"2 \sqrt{3}", R),
    ("(1,2)", r"\left( 1, 2 \right)", R),
    ("1 2", "12", U),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), EXACT, ids=lambda value: repr(value)[:20])
def test_exact_comparison(gold: str, answer: str, verdict: Verdict | None):
    assert judge_texts(gold, answer).verdict is verdict


ALGEBRA = [
    (r"2\sqrt{3}", r"\sqrt{12}", R),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", R),
    (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}", R),
    (r"\sqrt{2}", r"\sqrt{2} + 10^{-3000}", W),
    (r"\frac{1}{1500!}", r"\frac{1}{1501!}", W),
    ("1500!", r"1500 \cdot 1499!", R),
    (r"\sqrt{x^2}", "x", W),
    (r"\sqrt{x^2}", "|x|", R),
    (r"\ln(x^2)", r"2\ln x", R),
    (r"\sqrt[3]{-8}", "-2", R),
    ("(-8)^{1/3}", "-2", R),
    (r"(-1)^{2n}", "1", R),
    (r"\cos(n\pi)", "(-1)^n", R),
    ("(n+1)!", r"(n+1) \cdot n!", R),
    (r"e^{i\pi}", "-1", R),
    (r"\sin^2 x + \cos^2 x", "1", R),
    (r"\sin 2x", r"2 \sin x", W),
    (r"2^{n+1}", r"2 \cdot 2^n", R),
    (r"\log_2 8", "3", R),
    (r"\log 100", "2", R),
    (r"\log 2", r"\ln 2", R),
    ("xy = 1", r"y = \frac{1}{x}", R),
    (r"x > \sqrt{2}", r"(\frac{2}{\sqrt{2}}, \infty)", R),
    (r"\int_0^1 x\,dx", r"\frac{1}{2}", R),
    (r"\sum_{k=1}^{4} k", "10", R),
    (r"\sum_{k=1}^{4} k", "11", W),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), ALGEBRA)
def test_algebra(gold: str, answer: str, verdict: Verdict):
    assert judge_texts(gold, answer).verdict is verdict


# What the policy's table leaves to good sense.
STRUCTURES = [
    (r"x = 30^\circ", "30", R),
    (r"30^\circ, 60^\circ", "30, 60", R),
    (r"5 \text{ cm}", r"x = 50 \text{ mm}", R),
    (r"9.8 \text{ m/s}^2", r"9.8\ \mathrm{m\cdot s^{-2}}", R),
    ("5 hours 30 minutes", "5.5 hours", R),
    ("5 million", "5,000,000", R),
    (r"\{1\pm\sqrt{5},-2\}", r"-2, 1+\sqrt{5}, 1-\sqrt{5}", R),
    ("x=1, y=2", "(1,2)", R),
    ("(1,2), (3,4)", "(3,4),(1,2)", R),
    ("(1,2), (3,4)", "(1,2)", W),
    (r"\mathbb{R}\setminus\{0\}", r"x \ne 0", R),
    (r"[0,1]\cup[1,2]", "[0,2]", R),
    ("2x+1>7", "x>3", R),
    ("x>2", "y>2", W),
    (r"\frac{x^2}{9}+\frac{y^2}{4}=1", "4x^2+9y^2=36", R),
    ("f(x)=x^2", "f(x) = x^3", W),
    ("7", "3+4=7", R),
    ("8", "3+4=8", W),
    (r"5\sqrt{2}", r"5\sqrt{2} \approx 7.07", R),
    (r"0.1\overline{6}", r"\frac{1}{6}", R),
    ("{10 \\choose 3}", "120", R),
    ("1A_{16}", "1a_{16}", R),
    ("3:4:5", "6:8:10", R),
    ("A, B, D", "ABD", R),
    ("D", "ABD", W),
    ("(1,2,3)^T", "(1,2,3)", R),
    (r"x = \frac{\pi}{4} + k\pi, k \in \mathbb{Z}", r"\frac{\pi}{4} + k\pi", R),
    (r"\frac{10!}{5!5!}", "252", R),
    ("1, 2, 2", r"\{1,2\}", R),
    (r"\begin{cases} x=1 \\ y=2 \end{cases}", "(1,2)", R),
    ("a=1, b=2", "x=1, y=2", W),
    (r"\emptyset", r"1 \pm \sqrt{19}", W),
    (r"\emptyset", "{}", R),
    ("3+4=7", r"\frac{6}{36} = \frac{1}{6}", W),
    (r"25\%", r"25^\circ \text{C}", W),
    (r"\frac{d}{dx} x^2", "2x", U),
    (r"\begin{vmatrix} 1 & 2 \\ 3 & x \end{vmatrix}", "x-6", R),
    (r"\lim_{x\to 0} \frac{\sin 3x}{x}", "3", R),
    (r"\lim_{x\to 0} \frac{\sin 3x}{x}", "2", W),
    (r"\int_0^{\infty} e^{-x^2}\,dx", r"\frac{\sqrt{\pi}}{2}", R),
    (r"\int_0^{\infty} e^{-x^2}\,dx", "0.886227", W),
    (r"\sum_{n=1}^{\infty} \frac{1}{n^2}", r"\frac{\pi^2}{6}", R),
    (r"\sum_{n=1}^{\infty} \frac{1}{n^2}", "1.644934066848", W),
    (r"\prod_{k=2}^{10} (1-\frac{1}{k^2})", r"\frac{11}{20}", R),
    ("10^{20000}-1", "9" * 20_000, R),
    ("9" * 20_000, "10^{20000}-1", R),
    ("£5", "5 pounds", R),
    (r"5\text{ m}", "5m", R),
    ("5m", "5", W),
    ("minus infinity", r"-\infty", R),
    (r"\frac{1}{2}", r"\frac{1}{2} \text{ or } 50\%", R),
    (r"-\frac{1}{2}\begin{pmatrix} 1 & 2 \end{pmatrix}", r"(-\frac12, -1)", R),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), STRUCTURES)
def test_structures(gold: str, answer: str, verdict: Verdict):
    assert judge_texts(gold, answer).verdict is verdict


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
