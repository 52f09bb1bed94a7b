# SPDX-License-Identifier: Apache-2.0
"""Rows of our own in the layout of public math data sets: the style of their gold column is what matters."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GoldRow:
    """A gold as a data set writes it, an answer that means the same, and one that doesn't."""

    gold: str
    right: str
    wrong: str
    problem: str = "Solve the problem above."


@dataclass(frozen=True)
class Layout:
    """The columns of a data set that training reads, with a few rows."""

    name: str
    prompt_column: str
    gold_column: str
    rows: tuple[GoldRow, ...]

    def columns(self) -> list[dict[str, str]]:
        """Return the rows as the data set has them."""
        return [{self.prompt_column: row.problem, self.gold_column: row.gold} for row in self.rows]


_TOOL_SOLUTION = r"""To find the sum of the first ten squares, we can use a short program.

```python
total = sum(k * k for k in range(1, 11))
print(total)
```
```output
385
```
The program prints 385, which agrees with $\frac{10\cdot 11\cdot 21}{6}$. Therefore, the sum is $\boxed{385}$."""

_TOOL_ROOTS = r"""We let sympy solve the equation.

```python
from sympy import symbols, solve
x = symbols("x")
print(solve(x**2 - 2*x - 1, x))
```
```output
[1 - sqrt(2), 1 + sqrt(2)]
```
The larger root is \[\boxed{1+\sqrt{2}}.\]"""

_WORKED = r"""1. Let $r$ be the radius. The area is $\pi r^2 = 9\pi$, so $r^2 = 9$.

2. Since $r > 0$, we get $r = 3$, and the circumference is $2\pi r = 6\pi$.

The final answer is $\boxed{6\pi}$."""

_WORKED_PROBABILITY = r"""There are $\binom{6}{2} = 15$ ways to choose two of the six balls, and $3\cdot 3 = 9$ of
them have one ball of each colour. Hence the probability is $\frac{9}{15} = \boxed{\frac{3}{5}}$."""

_GRADE_SCHOOL = """A box holds 12 pencils, so 4 boxes hold 12 * 4 = <<12*4=48>>48 pencils.
After giving 6 away there are 48 - 6 = <<48-6=42>>42 pencils left.
#### 42"""

_GRADE_SCHOOL_LARGE = """The house costs 80000 + 50000 = <<80000+50000=130000>>130000 dollars in all.
It is sold for 2 * 100000 = <<2*100000=200000>>200,000 dollars.
So the profit is 200000 - 130000 = $<<200000-130000=70000>>70,000.
#### 70,000"""

LAYOUTS = (
    Layout(
        "OpenR1-Math-220k",
        "problem",
        "answer",
        (
            GoldRow(r"\frac{\sqrt{3}}{2}", r"\frac{1}{2}\sqrt{3}", r"\frac{\sqrt{2}}{3}"),
            GoldRow("v_{1}=4,v_{2}=6", "v_{1}=4,v_{2}=6", "v_{1}=6,v_{2}=4"),
            GoldRow("(-\\infty,-1)\\cup(3,+\\infty)", "(3,\\infty)\\cup(-\\infty,-1)", "(-1,3)"),
            GoldRow("B", "B", "D"),
            GoldRow("2n", "n+n", "n^2"),
            GoldRow(r"28\mathrm{~}", "28", "29"),
            GoldRow(r"12 \mathrm{~cm}^{2}", r"12\text{ cm}^2", r"12\text{ cm}"),
            GoldRow(r"60 \mathrm{~km} / \mathrm{h}", "60", "61"),
            GoldRow(r"10 \text { seconds }", r"10\text{ s}", r"10\text{ minutes}"),
            GoldRow(r"x \leqslant-2", r"(-\infty,-2]", r"x < -2"),
        ),
    ),
    Layout(
        "OpenR1-Math-220k, worked",
        "problem",
        "solution",
        (
            GoldRow(_WORKED, r"6\pi", "3"),
            GoldRow("Solution. By parity the last digit is even, so it is 8.\n\nThe answer is $\\boxed{8}$", "8", "6"),
        ),
    ),
    Layout(
        "NuminaMath-TIR",
        "problem",
        "solution",
        (
            GoldRow(_TOOL_SOLUTION, "385", "384"),
            GoldRow(_TOOL_ROOTS, r"\sqrt{2}+1", r"1-\sqrt{2}"),
        ),
    ),
    Layout(
        "NuminaMath-1.5",
        "problem",
        "answer",
        (
            GoldRow("18", "18", "81"),
            GoldRow(r"(x-1)(x^{2}+x+1)", "x^3-1", "x^3+1"),
            GoldRow(r"\text{Yes}", "yes", "no"),
            GoldRow("x=2,y=-1", "x=2,y=-1", "x=-1,y=2"),
            GoldRow("C", r"\textbf{(C)}", "A"),
        ),
    ),
    Layout(
        "DAPO-Math-17k-Processed",
        "prompt",
        "solution",
        (GoldRow("34", "34", "43"), GoldRow("-1", "-1", "1"), GoldRow("2017", "2,017", "2018")),
    ),
    Layout(
        "DeepScaleR-Preview-Dataset",
        "problem",
        "answer",
        (
            GoldRow("-\\frac{2}{3}", r"\frac{-2}{3}", r"\frac{2}{3}"),
            GoldRow("26", "26", "62"),
            GoldRow("10\\%", r"10\%", r"1\%"),
            GoldRow("\\$32,\\!348", r"\$32348", r"\$32349"),
            GoldRow("\\begin{pmatrix} 1 & 2 \\\\ 0 & 1 \\end{pmatrix}", r"\begin{pmatrix}1&2\\0&1\end{pmatrix}", "1"),
            GoldRow("2\\sqrt{6}", r"\sqrt{24}", r"\sqrt{26}"),
            GoldRow("[-5,-3)", r"\left[-5,-3\right)", "[-5,-3]"),
        ),
    ),
    Layout(
        "LIMO",
        "question",
        "answer",
        (GoldRow("540", "540", "54"), GoldRow("\\frac{9}{2}", "4.5", "4.05"), GoldRow("077", "77", "70")),
    ),
    Layout(
        "s1K",
        "question",
        "solution",
        (
            GoldRow("128", "128", "127"),
            GoldRow(_WORKED_PROBABILITY, "0.6", "0.4"),
            GoldRow(r"$2^{10}-1$", "1023", "1024"),
            GoldRow("D", "(D)", "(E)"),
        ),
    ),
    Layout(
        "SimpleRL-Zoo-Data",
        "question",
        "answer",
        (
            GoldRow("\\dfrac{7}{2}", "3.5", r"\frac{2}{7}"),
            GoldRow("(3, \\frac{\\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)", r"(\frac{\pi}{2}, 3)"),
            GoldRow("5\\text{ cm}", r"5", "6"),
            GoldRow("p - q", "-q+p", "q-p"),
        ),
    ),
    Layout(
        "gsm8k",
        "question",
        "answer",
        (GoldRow(_GRADE_SCHOOL, "42", "48"), GoldRow(_GRADE_SCHOOL_LARGE, r"\$70000", "130000")),
    ),
    Layout(
        "MATH-500",
        "problem",
        "answer",
        (
            GoldRow("\\left( 3, \\frac{\\pi}{2} \\right)", r"(3,\frac{\pi}{2})", r"(3,\pi)"),
            GoldRow("\\text{Evelyn}", "Evelyn", "Briana"),
            GoldRow("4210_5", "4210_{5}", "4201_5"),
            GoldRow("90^\\circ", "90", "60^\\circ"),
            GoldRow("1,-2", "-2, 1", "1, 2"),
            GoldRow("\\frac 59", r"\frac{5}{9}", r"\frac{9}{5}"),
            GoldRow("11,\\! 111,\\! 111,\\! 100", "11111111100", "1111111100"),
            GoldRow("x=5", "5", "6"),
            GoldRow("\\text{(C)}", "C", "B"),
            GoldRow("6 - 5i", "-5i+6", "6+5i"),
            GoldRow("y = 2x + 3", "y=2x+3", "y=3x+2"),
            GoldRow("[-2,7]", r"-2 \le x \le 7", "(-2,7)"),
            GoldRow("\\frac{3}{2} \\text{ inches}", r"1.5\text{ inches}", r"\frac{2}{3}\text{ inches}"),
            GoldRow("\\sqrt{13}", r"\sqrt{13}", r"\sqrt{15}"),
        ),
    ),
    Layout("aime_2024", "problem", "answer", (GoldRow("033", "33", "330"), GoldRow("204", "204", "240"))),
    Layout("aime_2025", "problem", "answer", (GoldRow("70", "070", "7"), GoldRow("588", "588", "589"))),
)

# What some of these sets have in the place of a gold.
NO_GOLDS = ("", " ", "\n", "$$", r"\boxed{}")
