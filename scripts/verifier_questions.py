# SPDX-License-Identifier: Apache-2.0
r"""Generated questions of three kinds for `bench_verifier.py`, and answers that only repeat a formula of them.

simplify   Simplify $\sqrt{242}$.       gold 11\sqrt{2}    echo \boxed{\sqrt{242}}
solve      Solve $2x+1=7$ for $x$.      gold x=3           echo \boxed{2x+1=7}
compute    What is $123 \cdot 456$?     gold 56088         echo \boxed{123 \cdot 456}
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

_FORMULA = re.compile(r"\$([^$]+)\$")
_LEAD_INS = ("{}", "{} Show your work.", "{} Put the answer into a box.", "Here is a problem. {}")


@dataclass(frozen=True)
class Question:
    """A question, its gold, and the formulas of the question that have an operator and aren't the gold's text."""

    prompt: str
    gold: str
    echoes: list[str]


def signed(value: int) -> str:
    """Return a number with its sign, as a term of a sum."""
    return f"+{value}" if value >= 0 else str(value)


def fraction(value: Fraction) -> str:
    """Return a fraction or an integer in LaTeX."""
    sign = "-" if value < 0 else ""
    bottom = value.denominator
    return str(value) if bottom == 1 else rf"{sign}\frac{{{abs(value.numerator)}}}{{{bottom}}}"


def simplify(rng: random.Random) -> tuple[str, str]:
    """Return a question that asks for another form, and its gold."""
    a, b, c, d = (rng.randint(2, 12) for _ in range(4))
    root = rng.choice([2, 3, 5, 6, 7, 10])
    value = Fraction(a * c, b * c)
    asks = [
        (rf"Simplify $\sqrt{{{a * a * root}}}$.", rf"{a}\sqrt{{{root}}}"),
        (rf"Simplify $-{a}-{b}(n-{c})$.", f"{b * c - a}-{b}n"),
        (rf"Expand $(x+{a})(x-{b})$.", f"x^2{signed(a - b)}x-{a * b}"),
        (rf"Factor $x^2{signed(a + b)}x+{a * b}$.", f"(x+{a})(x+{b})"),
        (rf"Simplify $\frac{{x^2-{a * a}}}{{x-{a}}}$.", f"x+{a}"),
        (
            rf"Rationalize the denominator of $\frac{{{a}}}{{\sqrt{{{root}}}}}$.",
            rf"\frac{{{a}\sqrt{{{root}}}}}{{{root}}}",
        ),
        (rf"Write $\frac{{{a * c}}}{{{b * c}}}$ in lowest terms.", fraction(value)),
        (rf"Express ${a / 20 + b:g}$ as a common fraction.", fraction(Fraction(a, 20) + b)),
        (rf"Write $\ln {a}+\ln {b}$ as a single logarithm.", rf"\ln {a * b}"),
        (rf"Simplify $x^{{{a}}} \cdot x^{{{b}}}$.", f"x^{{{a + b}}}"),
        (rf"Simplify $({a}+{b}i)({c}-{d}i)$.", f"{a * c + b * d}{signed(b * c - a * d)}i"),
        (rf"Simplify $\frac{{{a}x^{{{b + c}}}}}{{x^{{{b}}}}}$.", f"{a}x^{{{c}}}"),
    ]
    return rng.choice(asks)


def solve(rng: random.Random) -> tuple[str, str]:
    """Return an equation, inequality or system, and its solution."""
    a, b, x, y = rng.randint(2, 9), rng.randint(-20, 20) or 1, rng.randint(-9, 9), rng.randint(-9, 9)
    sign = rng.choice(["<", ">", r"\le", r"\ge"])
    low, high = sorted(rng.sample(range(-9, 10), 2))
    end = a * x + b
    interval = {
        "<": rf"(-\infty, {x})",
        ">": rf"({x}, \infty)",
        r"\le": rf"(-\infty, {x}]",
        r"\ge": rf"[{x}, \infty)",
    }[sign]
    root = rng.choice([2, 3, 5])
    asks = [
        (f"Solve ${a}x{signed(b)}={end}$ for $x$.", rng.choice([str(x), f"x={x}"])),
        (f"Find $x$ if ${a}(x{signed(b)})={a * (x + b)}$.", rng.choice([str(x), f"x={x}"])),
        (f"Solve ${a}x{signed(b)} {sign} {end}$.", rng.choice([f"x {sign} {x}", interval])),
        (rf"For which $x$ is ${a}x{signed(b)} \ne {end}$?", rf"x \ne {x}"),
        (f"Solve $x+y={x + y}$, $x-y={x - y}$.", rng.choice([f"x={x}, y={y}", f"({x}, {y})"])),
        (f"Solve $x{signed(b)}={x + b}$, ${a}y={a * y}$.", f"x={x}, y={y}"),
        (
            rf"Solve \[\begin{{cases}} {a}x+y={a * x + y} \\ x-{a}y={x - a * y} \end{{cases}}\]",
            rng.choice([f"x={x}, y={y}", f"({x}, {y})"]),
        ),
        (f"Solve $x^2{signed(-low - high)}x{signed(low * high)}=0$.", rf"x={low} \text{{ or }} x={high}"),
        (f"Find the roots of $x^2{signed(-low - high)}x{signed(low * high)}=0$.", rf"\{{{low}, {high}\}}"),
        (f"Solve $|x{signed(b)}| < {a}$.", f"({-a - b}, {a - b})"),
        (f"Solve ${a}y=x+{a * root}$ for $y$.", rf"y=\frac{{x}}{{{a}}}+{root}"),
        (rf"Solve $2^x={2**a}$.", rng.choice([str(a), f"x={a}"])),
        (rf"Solve $\frac{{x}}{{{a}}}={b}$.", rng.choice([str(a * b), f"x={a * b}"])),
    ]
    return rng.choice(asks)


def compute(rng: random.Random) -> tuple[str, str]:
    """Return an expression and its value."""
    a, b = rng.randint(11, 999), rng.randint(11, 999)
    c, d, n = rng.randint(2, 9), rng.randint(2, 9), rng.randint(3, 8)
    asks = [
        (rf"What is ${a} \cdot {b}$?", str(a * b)),
        (rf"Calculate ${a} \times {b}$.", str(a * b)),
        (f"What is ${a} + {b}$?", str(a + b)),
        (f"What is ${a} - {b}$?", str(a - b)),
        (f"What is {a} * {b}?", str(a * b)),
        (rf"Calculate $\frac{{{a * c}}}{{{c}}}$.", str(a)),
        (f"Evaluate ${c}^{{{n}}}$.", str(c**n)),
        (f"Evaluate ${n}!$.", str([1, 1, 2, 6, 24, 120, 720, 5040, 40320][n])),
        (rf"Evaluate $\binom{{{n + 3}}}{{2}}$.", str((n + 3) * (n + 2) // 2)),
        (rf"Compute $\frac{{{c}}}{{{d}}} + \frac{{{d}}}{{{c}}}$.", fraction(Fraction(c, d) + Fraction(d, c))),
        (rf"Compute $\sqrt{{{a * a}}}$.", str(a)),
        (rf"Compute $\log_{{{c}}} {c**n}$.", str(n)),
        (rf"Evaluate $\sum_{{k=1}}^{{{n}}} k^2$.", str(n * (n + 1) * (2 * n + 1) // 6)),
        (rf"Evaluate $\int_0^{c} x\,dx$.", fraction(Fraction(c * c, 2))),
        (rf"Let $f(x)=x^2+{a}x$. Find $f({c})$.", str(c * c + a * c)),
        (rf"Calculate ${c}({a}-{b})+{d}$.", str(c * (a - b) + d)),
    ]
    return rng.choice(asks)


KINDS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "simplify": simplify,
    "solve": solve,
    "compute": compute,
}


def generated_questions(kind: str, count: int) -> list[Question]:
    """Return questions of a kind, whose golds are no formula of their question."""
    rng = random.Random(kind)
    found: dict[str, Question] = {}
    while len(found) < count:
        prompt, gold = KINDS[kind](rng)
        formulas = [
            *_FORMULA.findall(prompt),
            *re.findall(r"\\\[(.+)\\\]", prompt),
            *re.findall(r"\d+ \* \d+", prompt),
        ]
        sides = [side for formula in formulas for side in re.split(r"=", formula) if "\\begin" not in formula]
        echoes = [*dict.fromkeys([*formulas, *sides, ", ".join(formulas)])]
        echoes = [
            echo for echo in echoes if re.search(r"[-+*=<>!^\\.]", echo[1:]) and spaceless(echo) != spaceless(gold)
        ]
        if echoes and not any(spaceless(formula) == spaceless(gold) for formula in formulas):
            found[prompt] = Question(rng.choice(_LEAD_INS).format(prompt), gold, echoes)
    return list(found.values())


def spaceless(text: str) -> str:
    """Return a formula without its spaces."""
    return "".join(text.split())
