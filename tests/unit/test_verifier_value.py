# SPDX-License-Identifier: Apache-2.0
"""Whether two formulas are equal: by residues, by digits, by points; and what that may cost."""

import threading
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_r1.rewards.verifier.budget import OverBudgetError, limited_to
from open_r1.rewards.verifier.grammar import parse
from open_r1.rewards.verifier.tokens import tokenize
from open_r1.rewards.verifier.tree import (
    IMAGINARY,
    INFINITY,
    ONE,
    TWO,
    Add,
    Mul,
    Neg,
    Node,
    Number,
    Pow,
    Symbol,
)
from open_r1.rewards.verifier.value import (
    FormulaError,
    UndefinedError,
    check_value,
    equal_values,
    order_key,
    plain_value,
    proportional,
)

MAX_STEPS = 300_000
MAX_PAIR_S = 2.0
NO_VALUE = (FormulaError, OverBudgetError)

WITHOUT_VALUE = [
    (r"\frac{1}{0}", UndefinedError),
    (r"\frac{1}{\sqrt2\sqrt3-\sqrt6}", UndefinedError),
    ("0^0", UndefinedError),
    (r"\ln 0", UndefinedError),
    (r"\log_1 5", UndefinedError),
    ("(-1)!+\\ln 2", UndefinedError),
    ("9^{9^{9^{9}}}", UndefinedError),
    ("e^{e^{e^{e^{e}}}}", UndefinedError),
    ("(10^9)!", UndefinedError),
    (r"\{1,2\}", FormulaError),
]
COSTLY = {
    "roots": "+".join(rf"\sqrt{{{number}}}" for number in range(2, 100)),
    "cube roots": "+".join(rf"\sqrt[3]{{{number}}}" for number in range(2, 100)),
    "logarithms": "+".join(rf"\ln {number}" for number in range(2, 100)),
    "sines": "+".join(rf"\sin({number}x)" for number in range(1, 99)),
    "product of sines": "".join(rf"\sin({number})" for number in range(1, 99)),
    "sines of sines": r"\sin(" * 38 + "x" + ")" * 38,
    "roots of roots": r"\sqrt{2+" * 30 + "2" + "}" * 30,
    "fractions of fractions": r"\frac{1}{x+" * 28 + r"\sqrt x" + "}" * 28,
    "sizes of variables": "+".join(f"|x-{number}|" for number in range(100)),
    "jumps": "+".join(rf"\lfloor n/{number}\rfloor" for number in range(2, 99)),
    "tower": "9^{9^{9^{9}}}",
    "tower of variables": "x^{x^{x^{x^{x}}}}",
    "tower of e": "e^{e^{e^{e^{x}}}}",
    "power of a root": r"(1+\sqrt2)^{1000000}",
    "power of a logarithm": r"(\ln 3)^{10^9}",
    "complex powers": r"(1+i)^{1000000}+\ln(i)+i^{1/7}",
    "factorial": "(10^{6})!",
    "factorial of a factorial": "((10)!)!",
    "binomial": r"\binom{10^9}{5\cdot10^8}",
    "binomial beside a root": r"\sqrt2\binom{99999}{50000}+\ln(3^{9000})",
    "digits": r"\sqrt{" + "7" * 1500 + "}",
    "floor of a large number": r"\lfloor 10^{10^{10}}\pi\rfloor",
}


def tree(text: str) -> Node:
    return parse(tokenize(text))


@pytest.mark.parametrize(("text", "error"), WITHOUT_VALUE)
def test_gold_without_value_is_refused(text: str, error: type[Exception]) -> None:
    with limited_to(MAX_STEPS), pytest.raises(error):
        check_value(tree(text))


@pytest.mark.parametrize("text", [r"\sqrt2", "2^{10^{10}}", "x", "f(x)", r"\infty", r"\sin\pi"])
def test_gold_with_value_is_accepted(text: str) -> None:
    check_value(tree(text))


@pytest.mark.parametrize(
    ("gold", "answer", "is_proportional"),
    [
        ("2x-y+1", "y-2x-1", True),
        (r"\pi x-\pi", "x-1", True),
        (r"\sqrt3 x-1", r"x-\frac{\sqrt3}{3}", True),
        (r"\ln(x-2)-y", r"\ln((x-2)^2)-2y", True),
        ("x^2-x", "x-1", False),
        ("x-1", "0", False),
        ("x", "|x|-x", False),
        ("y-2x-1", "|y-2x-1|-y+2x+1", False),
        (r"y-\sqrt{x-2}", "x-1", False),
    ],
)
def test_proportional_formulas(gold: str, answer: str, is_proportional: bool) -> None:
    assert proportional(tree(gold), tree(answer)) is is_proportional


def test_constants_are_sorted() -> None:
    nodes = [
        tree(text) for text in (r"\infty", r"\sqrt2", "1.5", r"-\infty", r"-\ln 2", "-0.5", "1.41", r"2^{1000}", "-3")
    ]
    ordered = [r"-\infty", "-3", r"-\ln 2", "-0.5", "1.41", r"\sqrt2", "1.5", r"2^{1000}", r"\infty"]
    assert sorted(nodes, key=order_key) == [tree(text) for text in ordered]


@pytest.mark.parametrize("node", [IMAGINARY, Symbol("x"), Pow(TWO, INFINITY)])
def test_what_is_no_real_constant_is_not_sorted(node: Node) -> None:
    with pytest.raises(FormulaError):
        order_key(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.125", Fraction(1, 8)), (r"\sqrt{\frac49}", Fraction(2, 3)), ("8^{2/3}", Fraction(4)), (r"\sqrt2", None)],
)
def test_plain_value_is_a_rational_number_or_none(text: str, value: Fraction | None) -> None:
    assert plain_value(tree(text)) == value


@pytest.mark.parametrize("name", COSTLY)
def test_costly_formula_ends_in_time(name: str) -> None:
    text = COSTLY[name]
    for gold, answer in ((text, "7"), ("7", text), (text, text + r"+\ln 2"), (text + r"+\ln 2", text + r"+\ln 3")):
        start = time.thread_time()
        try:
            with limited_to(MAX_STEPS):
                assert not equal_values(tree(gold), tree(answer)), (gold[:60], answer[:60])
        except NO_VALUE:
            pass
        assert time.thread_time() - start < MAX_PAIR_S, (gold[:60], answer[:60])


def test_threads_do_not_share_digits() -> None:
    found: list[bool] = []

    def compare(size: int) -> None:
        root = tree(r"\sqrt[3]{2}")
        for power in range(size, size + 20):
            found.append(equal_values(root, Add(root, Number(Fraction(1, 10**power)))))
            found.append(not equal_values(tree(r"\sqrt[3]{16}"), Mul(TWO, root)))

    threads = [threading.Thread(target=compare, args=(size,)) for size in (5, 20, 50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [False] * 160


numbers = st.fractions(-9, 9, max_denominator=9).map(Number)
leaves = st.one_of(numbers, st.sampled_from([Symbol("x"), Symbol("y"), tree(r"\pi"), tree(r"\sqrt3"), tree(r"\ln 2")]))
formulas = st.recursive(
    leaves, lambda part: st.one_of(st.builds(Add, part, part), st.builds(Mul, part, part), st.builds(Neg, part))
)


@settings(max_examples=60, deadline=None)
@given(formulas, formulas, formulas)
def test_formulas_follow_the_laws_of_arithmetic(one: Node, other: Node, third: Node) -> None:
    assert equal_values(Mul(one, Add(other, third)), Add(Mul(third, one), Mul(one, other)))
    assert not equal_values(one, Add(one, ONE))
    assert not equal_values(Add(one, other), Add(other, Add(one, Number(Fraction(1, 10**40)))))
