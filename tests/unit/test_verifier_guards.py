# SPDX-License-Identifier: Apache-2.0
"""What guards the verifier: a budget for every pair, and approximations that can't be stacked."""

import time

import pytest

from open_r1.rewards.verifier import Verdict, verify_all
from open_r1.rewards.verifier.judge import judge_texts

R, W, U = Verdict.RIGHT, Verdict.WRONG, Verdict.UNPARSABLE_GOLD
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
    ("gold", "answer", "verdict"),
    [
        ("1.5", r"\sqrt2\approx1.5", W),
        ("1.41", r"\sqrt{2}\approx 1.41", W),
        (r"\frac13", r"\frac13\approx0.34", R),
        (r"\sqrt{2}", r"x=\sqrt{2}\approx 1.41", R),
        ("1.41", r"x=\sqrt{2}\approx 1.41", W),
        ("3", r"x\approx 3", R),
        (r"\sqrt{2}\approx 1.41", "1.41", R),
        (r"\sqrt{2}\approx 1.41", r"\sqrt{2}", R),
    ],
)
def test_exact_side_of_an_approximation_counts(gold, answer, verdict):
    assert judge_texts(gold, answer).verdict is verdict


def test_number_of_exponent_form_keeps_its_digits():
    assert judge_texts("12500", "12.5e3").verdict is R
    assert judge_texts("12500", "2.5e3").verdict is W
