# SPDX-License-Identifier: Apache-2.0
"""Questions of our own with reasoning, answer and gold, for rows in the layouts of public data sets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A question with its answer.

    Attributes:
        question: As it stands in a prompt.
        reasoning: What a model thinks.
        answer: What it writes below.
        gold: The final answer alone; None where nobody could compare it (prose, programs).
        program: A right program; None where the answer is none.
        tests: Input and output of its tests.
    """

    question: str
    reasoning: str
    answer: str
    gold: str | None = None
    program: str | None = None
    tests: tuple[tuple[str, str], ...] = ()

    @property
    def fenced(self) -> str:
        """The program as a reply has it."""
        return f"```python\n{self.program}```"


MATH = (
    Item("A rectangle is 3 cm longer than it is wide and has an area of 40 square centimetres. How wide is it?",
         "Let w be the width. Then w(w + 3) = 40.\n\nSo w^2 + 3w - 40 = (w - 5)(w + 8) = 0, and w = 5 is positive.",
         "The width solves $w(w+3)=40$, so it is $\\boxed{5}$ cm.", "5"),
    Item("What is the sum of the reciprocals of the roots of $2x^2 - 7x + 4 = 0$?",
         "The sum of the reciprocals is the sum over the product: (7/2) / (4/2).\nThat is 7/4; check: 3.5 / 2 = 1.75.",
         "By Vieta's formulas the value is $\\boxed{\\frac{7}{4}}$.", "\\frac{7}{4}"),
    Item("Find all real $x$ with $|x - 2| < 3$. Write the answer as an interval.",
         "The distance of x from 2 is below 3, so x lies between -1 and 5, ends left out.",
         "All such $x$ form the interval $\\boxed{(-1,5)}$.", "(-1,5)"),
    Item("In how many ways can 4 people sit around a round table if turned arrangements count as one?",
         "Fix one person. The three others can sit in 3! ways.", "There are $3! = \\boxed{6}$ ways.", "6"),
    Item("Simplify $\\sqrt{50} - \\sqrt{18}$.",
         "sqrt(50) is 5 sqrt(2), and sqrt(18) is 3 sqrt(2). The difference is 2 sqrt(2).",
         "$\\sqrt{50}-\\sqrt{18} = \\boxed{2\\sqrt{2}}$", "2\\sqrt{2}"),
    Item("The digits of a two-digit number sum to 9; reversed, the number is 27 larger. Which number is it?",
         "10b + a - 10a - b = 27 gives b - a = 3, and a + b = 9, so b = 6, a = 3.",
         "The number is $\\boxed{36}$.", "36"),
    Item("What is $1 - \\frac12 + \\frac14 - \\frac18 + \\cdots$?",
         "A geometric series of ratio -1/2: 1 / (1 + 1/2) = 2/3.", "The sum is \\(\\boxed{\\dfrac{2}{3}}\\).",
         "\\dfrac{2}{3}"),
    Item("How many positive divisors has 360?",
         "360 = 2^3 * 3^2 * 5, so there are 4 * 3 * 2 of them.", "360 has $\\boxed{24}$ divisors.", "24"),
    Item("Which of these is largest? (A) $2^{30}$ (B) $3^{20}$ (C) $10^9$ (D) $5^{12}$",
         "Compare logarithms: 30 * 0.301 = 9.03, 20 * 0.477 = 9.54, 9, 12 * 0.699 = 8.39.",
         "The largest is $\\boxed{B}$.", "B"),
)  # fmt: skip

SCIENCE = (
    Item(
        "Which gas makes up most of the air around us?\n\nA. oxygen\nB. argon\nC. nitrogen\nD. carbon dioxide",
        "Oxygen is about a fifth. Nitrogen is about 78 percent.",
        "Most of the air is nitrogen: \\boxed{C}.",
        "C",
    ),
    Item(
        "Which particle of the nucleus has no electric charge?",
        "Protons carry a charge, electrons aren't in the nucleus. It is the neutron.",
        "It is the \\boxed{\\text{neutron}}.",
        "neutron",
    ),
    Item(
        "A body falls freely for 2 s from rest, with $g = 10\\ \\mathrm{m/s^2}$. How far does it fall?",
        "s = g t^2 / 2 = 10 * 4 / 2 = 20 metres.",
        "It falls $\\boxed{20\\ \\mathrm{m}}$.",
        "20\\ \\mathrm{m}",
    ),
)

PUZZLES = (
    Item(
        "Ann always lies or always tells the truth, and so does Bo. Ann says: we are both liars. What is Bo?",
        "If Ann told the truth she'd be a liar, so she lies, and they aren't both liars. Bo tells the truth.",
        "Bo is \\boxed{\\text{truthful}}.",
        "truthful",
    ),
    Item(
        "A clock strikes six in 5 seconds. How many seconds does it need for twelve?",
        "Six strikes have five gaps of one second each. Twelve strikes have eleven gaps.",
        "It needs $\\boxed{11}$ seconds.",
        "11",
    ),
    Item(
        "What comes next: 1, 1, 2, 3, 5, 8?",
        "Each number is the sum of the two before it: 5 + 8 = 13.",
        "The next number is $\\boxed{13}$.",
        "13",
    ),
)

_CODE = (
    ("Read two whole numbers from one line and print their larger one.", "max does it.",
     "print(max(map(int, input().split())))\n", (("3 8\n", "8\n"), ("-5 -9\n", "-5\n"))),
    ("Read a word and print it backwards.", "A slice with step -1 reverses text.",
     "print(input()[::-1])\n", (("level\n", "level\n"), ("abc\n", "cba\n"))),
    ("Read n and print the sum of the squares of 1 to n.", "There is a formula, but n is small: a loop will do.",
     "n = int(input())\nprint(sum(k * k for k in range(1, n + 1)))\n", (("3\n", "14\n"), ("1\n", "1\n"))),
)  # fmt: skip

CODE = tuple(
    Item(question, reasoning, f"```python\n{program}```", program=program, tests=tests)
    for question, reasoning, program, tests in _CODE
)
