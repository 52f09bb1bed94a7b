# SPDX-License-Identifier: Apache-2.0
"""What guards the verifier: a budget for every pair, and approximations that can't be stacked."""

import time

import pytest

from open_r1.rewards.verifier import Verdict, verify_all
from open_r1.rewards.verifier.judge import judge_texts
from open_r1.rewards.verifier.normalize import respell

R, W, U = Verdict.RIGHT, Verdict.WRONG, Verdict.UNVERIFIABLE
# These shapes cost seconds to hours where their steps aren't counted. The machine may be busy, and collect garbage.
MAX_PAIR_S = 2.0
COSTLY = {
    "nested fractions": r"\frac{1}{x+" * 28 + "x" + "}" * 28,
    "sum of fractions": "+".join(f"1/{number}" for number in range(1, 100)),
    "factorials": ",".join(f"{3000 + number}!" for number in range(90)),
    "double factorials": "2400!!," * 80 + "1",
    "powers": ",".join(f"3^{{{20_000 + number}}}" for number in range(55)),
    "powers of sums": "+".join(f"(x+y)^{{{300 + number}}}" for number in range(40)),
    "difference of sets": r"\mathbb{R}\setminus\{" + ",".join(map(str, range(150))) + r"\}",
    "long difference of sets": r"\mathbb{R}\setminus\{" + ",".join(map(str, range(1_500))) + r"\}",
    "intervals": r"\cup".join(f"({2 * number},{2 * number + 1})" for number in range(60)),
    "digits": "0." + "3" * 9_000 + r"\overline{3}",
    "root of digits": r"\sqrt{" + "7" * 9_500 + "}",
    "circled digits": "\u2460" * 9_500,
    "vulgar fractions": "\u00bd" * 590,
    "a million vulgar fractions": "\u00bd" * 1_000_000,
    "Arabic digits": "\u0663" * 9_500,
    "spaces": "1" + " " * 9_500 + "1",
    "units to powers": "1 " + "acre^9 " * 1_200,
    "few units to powers": "1 " + "acre^9 " * 80,
    "sets of sets": ",".join(rf"\{{x^{number},\sqrt{{{number}}}\}}" for number in range(30)),
    "sines": r"\sin(" * 38 + "x" + ")" * 38,
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_text_is_judged_in_time(name):
    text = COSTLY[name]
    pairs = [("7", text), (text, "7"), (r"\frac{x}{2}", text), (text, text + "+1"), ("y=" + text, "2y=" + text)]
    pairs += [("y=2x+1", "y=" + text), (f"({text},9]", f"({text}+0,9]"), (f"{text} cm", f"1+{text} mm")]
    for gold, answer in pairs:
        start = time.process_time()
        judge_texts(gold, answer)
        assert time.process_time() - start < MAX_PAIR_S, (gold[:60], answer[:60])


@pytest.mark.parametrize("sign", [r"\cup", r"\cap", r"\setminus", r"\pm"])
def test_long_chain_of_a_gold_costs_only_its_own_row(sign):
    gold = f"1{sign}" * 1_500 + "1"
    assert judge_texts("7", gold).verdict is W
    assert verify_all([gold, "4"], [r"\boxed{7}", r"\boxed{4}"]) == [U, R]


@pytest.mark.parametrize("gold", ["1", "7", "42", "59"])
def test_chain_of_approximations_is_wrong_for_every_value_in_it(gold):
    chain = r"\approx ".join(map(str, range(1, 60)))
    assert judge_texts(gold, chain).verdict is W


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


@pytest.mark.parametrize(
    "part",
    [
        r"{\bf ",
        r"{\over",
        r"\color{red}",
        "C_5^",
        "_5C_",
        r"\pmod",
        r"1^\circ1'",
        r"0.\dot",
        "3.",
        "{-}",
        r"^{\text{o}",
        "{ ",
    ],
)
def test_a_form_repeated_takes_linear_time(part: str):
    text = part * (9_900 // len(part))
    start = time.process_time()
    respell(text)
    respell(rf"x \equiv {text}")
    assert time.process_time() - start < 1  # a hundred times as long as it takes
