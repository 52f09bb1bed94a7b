# SPDX-License-Identifier: Apache-2.0
"""Made-up batches for `bench_verifier.py`: one as a training step has them, and one with hostile rows.

B rows, P prompts (one gold each), G completions of a prompt; B = P * G.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

NUM_PROMPTS = 32
NUM_GENERATIONS = 16
# 60 % integers, 20 % decimals and fractions, 20 % symbolic.
KINDS_P = ["integer"] * 19 + ["number"] * 6 + ["symbolic"] * 7


@dataclass(frozen=True)
class Problem:
    """A gold as datasets have it, and answers as a model writes them: equal to it in several forms, and not equal."""

    gold: str
    right: list[str]
    wrong: list[str]


@dataclass(frozen=True)
class Row:
    """A gold, a completion, and whether the completion is right."""

    gold: str
    completion: str
    is_right: bool


def integer_problem(rng: random.Random) -> Problem:
    """Return a problem with an integer answer, from one to six digits."""
    value = rng.choice([1, 1, 1, -1]) * rng.randrange(1, 10 ** rng.randint(1, 6))
    slips = {value + 1, value - 1, -value, 2 * value, value + 10}
    return Problem(str(value), [str(value), f"{value:,}"], [str(slip) for slip in sorted(slips - {value})])


def number_problem(rng: random.Random) -> Problem:
    """Return a problem with a fraction or a decimal as its answer."""
    if rng.random() < 0.5:
        value = Fraction(rng.randrange(1, 90), rng.choice([7, 9, 11, 12, 13, 30]))
        top, bottom = value.numerator, value.denominator
        right = [rf"\frac{{{top}}}{{{bottom}}}", rf"\dfrac{{{top}}}{{{bottom}}}", f"{top}/{bottom}"]
        wrong = [rf"\frac{{{top + 1}}}{{{bottom}}}", rf"\frac{{{top}}}{{{bottom + 1}}}", f"{top / bottom + 0.01:.2f}"]
        return Problem(rf"$\frac{{{top}}}{{{bottom}}}$", right, wrong)
    cents = rng.randrange(100, 100_000) * 10 + rng.randrange(1, 10)
    gold = f"{cents / 100:.2f}"
    right = [gold, f"{gold}0", rf"\frac{{{cents}}}{{100}}"]
    return Problem(gold, right, [f"{cents / 10:.1f}", f"{(cents + 1) / 100:.2f}", f"-{gold}"])


def symbolic_problem(rng: random.Random) -> Problem:
    """Return a problem with a formula, a point, an interval or a set as its answer."""
    a, b = rng.sample(range(2, 40), 2)
    c = rng.choice([2, 3, 5, 7])
    shapes = [
        (
            [rf"{a}\sqrt{{{c}}}", rf"\sqrt{{{c}}} \cdot {a}", rf"\sqrt{{{a * a * c}}}"],
            [rf"{a}\sqrt{{{c + 1}}}", rf"{a + 1}\sqrt{{{c}}}", rf"\sqrt{{{a * c}}}"],
        ),
        (
            [f"x^2 + {a + b}x + {a * b}", f"(x+{a})(x+{b})"],
            [f"x^2 - {a + b}x + {a * b}", f"(x+{a})(x-{b})", f"x^2 + {a * b}"],
        ),
        (
            [rf"\frac{{{a}\pi}}{{{c}}}", rf"\frac{{{a}}}{{{c}}}\pi"],
            [rf"\frac{{{a}\pi}}{{{c + 1}}}", rf"{a * c}\pi", rf"\frac{{{a}}}{{{c}}}"],
        ),
        ([f"({a}, {-b})", rf"\left({a}, {-b}\right)"], [f"({-b}, {a})", f"({a}, {b})", f"({-a}, {-b})"]),
        (
            [f"[{min(a, b)}, {max(a, b)})", rf"\left[{min(a, b)}, {max(a, b)}\right)"],
            [f"[{min(a, b)}, {max(a, b)}]", f"({min(a, b)}, {max(a, b)})", f"[{min(a, b)}, {max(a, b) + 1})"],
        ),
        ([rf"{a} + {b}i", rf"{b}i + {a}"], [rf"{a} - {b}i", rf"{b} + {a}i", rf"{a + b}i"]),
        ([rf"y = {a}x + {b}", rf"y - {a}x = {b}"], [rf"y = {a}x - {b}", rf"y = {b}x + {a}", rf"y = {a + 1}x + {b}"]),
        (
            [rf"{a}e^{{{c}x}} - \ln {b}", rf"-\ln({b}) + {a}e^{{{c}x}}"],
            [rf"{a}e^{{{c}x}} + \ln {b}", rf"{a}e^{{-{c}x}} - \ln {b}", rf"{a}e^{{x}} - \ln {b}"],
        ),
    ]
    right, wrong = rng.choice(shapes)
    return Problem(f"${right[0]}$", right, wrong)


PROBLEMS: dict[str, Callable[[random.Random], Problem]] = {
    "integer": integer_problem,
    "number": number_problem,
    "symbolic": symbolic_problem,
}
REASONING = (
    "Let me read the problem again and write down what is given.",
    "So if I call the first quantity $a$ and the second one $b$, then $a + b = {n}$ and $ab = {m}$.",
    "Hmm, that would give ${n} \\cdot {m} = {product}$, which seems too large.",
    "Wait, I should not forget the case where the discriminant is negative.",
    "Let me check with a small example: for $n = {n}$ we get ${sum}$, as expected.",
    "Alternatively, use the identity $(a+b)^2 = a^2 + 2ab + b^2$, that gives \\[ {n}^2 + 2 \\cdot {m} = {sum}. \\]",
    "Maybe the answer is {m}? No, that does not satisfy the second condition.",
    "Dividing both sides by {n} leaves a simpler expression.",
    "I keep getting the same value, so I am fairly confident.",
)
ENDINGS = (
    "The answer is $\\boxed{{{answer}}}$.",
    "Therefore, the final answer is \\[\n\\boxed{{{answer}}}\n\\]",
    "**Final Answer**\n\n$$\\boxed{{{answer}}}$$",
    "So we get $\\boxed{{{answer}}}$.",
)


def completion_of(rng: random.Random, answer: str) -> str:
    """Return a completion with a think block of 500 to 4,000 characters and a boxed answer."""
    thoughts = []
    for _ in range(rng.randint(8, 64)):
        n, m = rng.randrange(2, 500), rng.randrange(2, 500)
        thoughts.append(rng.choice(REASONING).format(n=n, m=m, product=n * m, sum=n * n + 2 * m))
    return f"<think>\n{' '.join(thoughts)}\n</think>\n\n{rng.choice(ENDINGS).format(answer=answer)}"


def training_batch(seed: int) -> list[Row]:
    """Return B = 512 rows: P = 32 golds of the mix above, G = 16 completions of each, some of them right."""
    rng = random.Random(seed)
    rows = []
    for kind in rng.sample(KINDS_P, NUM_PROMPTS):
        problem = PROBLEMS[kind](rng)
        pass_rate = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0])
        for _ in range(NUM_GENERATIONS):
            is_right = rng.random() < pass_rate
            answer = rng.choice(problem.right if is_right else problem.wrong)
            rows.append(Row(problem.gold, completion_of(rng, answer), is_right))
    return rows


def hostile_batch(hostile: Sequence[tuple[str, str]]) -> tuple[list[Row], list[int]]:
    """Return 32 good rows shuffled among hostile ones, none of which is right, and the places of the good ones."""
    rng = random.Random(0)
    rows = []
    for number in range(NUM_PROMPTS):
        problem, is_right = PROBLEMS[rng.choice(KINDS_P)](rng), number % 2 == 0
        answer = rng.choice(problem.right if is_right else problem.wrong)
        rows.append(Row(problem.gold, completion_of(rng, answer), is_right))
    rows += [Row(gold, completion, False) for gold, completion in hostile]
    order = rng.sample(range(len(rows)), len(rows))
    return [rows[place] for place in order], [place for place, source in enumerate(order) if source < NUM_PROMPTS]
