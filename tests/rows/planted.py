# SPDX-License-Identifier: Apache-2.0
"""A corpus with planted contamination: benchmark items, rows that hold them in disguise, and rows that only seem to.

All of it is made by templates from a fixed seed. Items are 400 problems in the style of contests: 260 of prose and
formulas (60 of these are 20 stories with three questions each), 60 short ones, 40 formulas with hardly a word, 40
programming problems with the phrases that all of these share. Rows that must not be flagged are made from the same
words, numbers and phrases, but are other problems.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

SEED = 20
BOILERPLATE = (
    "The answer is $\\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. Find $m+n$.",
    "Express your answer as a common fraction in lowest terms, without any units at all.",
    "Return the answer modulo $10^9+7$, since the answer may be very large.",
)
PROGRAMMING = (
    "You are given a 0-indexed integer array nums and an integer k. {} Return the largest possible sum of such {}. "
    "Constraints: 1 <= nums.length <= 10^5 and 1 <= nums[i] <= 10^9."
)
STEP_BY_STEP = "Let's think step by step and output the final answer within \\boxed{}."
_ACTORS = [
    "baker",
    "farmer",
    "pilot",
    "gardener",
    "sailor",
    "clerk",
    "painter",
    "teacher",
    "miller",
    "hunter",
    "tailor",
    "weaver",
    "potter",
    "fisher",
    "mason",
    "driver",
    "porter",
    "singer",
    "smith",
    "judge",
]
_THINGS = [
    "apples",
    "bricks",
    "coins",
    "lamps",
    "books",
    "chairs",
    "tickets",
    "marbles",
    "stamps",
    "ropes",
    "wheels",
    "candles",
    "barrels",
    "letters",
    "pebbles",
    "ladders",
    "kettles",
    "mirrors",
    "baskets",
    "feathers",
]
_PLACES = (
    "the old harbour",
    "a narrow valley",
    "the northern market",
    "a round table",
    "the second floor",
    "a wooden bridge",
    "the village square",
    "a distant island",
    "the railway station",
    "an empty barn",
)
_SHAPES = [
    "triangle",
    "rectangle",
    "trapezoid",
    "rhombus",
    "pentagon",
    "hexagon",
    "circle",
    "kite",
    "cylinder",
    "cone",
]
_VERBS = ["arranges", "divides", "collects", "carries", "paints", "trades", "sorts", "stacks", "counts", "hides"]


@dataclass(frozen=True)
class PlantedRow:
    """A row, how it was made, and the item that it holds (None: it must not be flagged)."""

    text: str
    kind: str
    item: int | None


def benchmark_items() -> list[str]:
    """Return the items: prose (0-259), short ones (260-319), formulas (320-359), programs (360-399)."""
    rng = random.Random(SEED)
    prose = [_prose(rng, number) for number in range(200)]
    prose += [f"{_story(number // 3)} {_QUESTIONS[number % 3]}" for number in range(60)]
    short = [_short(number) for number in range(60)]
    formulas = [_formula(number) for number in range(40)]
    return prose + short + formulas + [_program(rng, number) for number in range(40)]


def _prose(rng: random.Random, number: int) -> str:
    a, b, c = (rng.randint(3, 97) for _ in range(3))
    actor, thing, place = rng.choice(_ACTORS), rng.choice(_THINGS), rng.choice(_PLACES)
    verb, shape = rng.choice(_VERBS), rng.choice(_SHAPES)
    texts = [
        f"A {actor} {verb} ${a}$ {thing} near {place} so that every {shape} holds at most $x^2+{b}x$ of them. "
        f"How many ways are there when exactly {c} {thing} stay behind?",
        f"In {place} the {actor} draws a {shape} of area $\\dfrac{{{a}}}{{{b}}}$ and {verb} {thing} along its longest "
        f"side. What is the least perimeter $p \\le {c}$ of such a {shape}?",
        f"Let $f(x)=\\left(x+{a}\\right)^2-{b}$ describe how the {actor} {verb} {thing} at time $x$ in {place}. "
        f"Determine the sum of all real $x$ for which the number of {thing} equals {c}.",
        f"Every {actor} in {place} owns {a} {thing}, and each of them {verb} ${b}$ percent before noon. After {c} "
        f"days, what fraction of the {thing} lies inside the {shape}?",
    ]
    text = texts[number % 4]
    return f"{text} {BOILERPLATE[number % 3]}" if number % 5 == 0 else text


def _story(number: int) -> str:
    rng = random.Random(SEED * 100 + number)
    one, two, three = rng.sample(_ACTORS, 3)
    first, second = rng.sample(_THINGS, 2)
    return (
        f"After a stormy night the {one} and the {two} hide ${rng.randint(20, 99)}$ {first} and "
        f"{rng.randint(20, 99)} {second} beside {rng.choice(_PLACES)}, while an impatient {three} "
        f"{rng.choice(_VERBS)} wooden {rng.choice(_THINGS)} for their {rng.choice(_SHAPES)}."
    )


_QUESTIONS = (
    "How many are left for the last of them?",
    "What was the least that anybody could have had?",
    "Who has more at the end, and by how much?",
)


def _short(number: int) -> str:
    n = 11 + 7 * number
    return [
        f"What is ${n}+{n + 3}-{n - 5}$?",
        f"Evaluate $\\log_2 {2 ** (number % 9 + 2) * (n % 5 + 1)}$.",
        f"Compute $\\sin {n}^\\circ$.",
        f"Find $\\gcd({n},{3 * n + 9})$.",
        f"Simplify $\\sqrt{{{n * 8}}}$.",
        f"Factor $x^2-{n}x+{n - 1}$.",
    ][number % 6]


def _formula(number: int) -> str:
    a, b = number + 2, 3 * number + 5
    return (
        f"Solve $x_1^{a}+x_2^{b}-\\frac{{x_3}}{{{a}}}=\\sqrt{{x_4+{b}}}$ and $y=x_1x_2-{a}x_3+{b}x_4$ for "
        f"$y\\ge {a * b}$."
    )


def _program(rng: random.Random, number: int) -> str:
    thing, verb, actor = _THINGS[number % 5], rng.choice(_VERBS), _ACTORS[number // 2]
    what = f"The {actor} {verb} every {thing} whose index is divisible by {number + 2} and skips its two neighbours."
    return PROGRAMMING.format(what, thing)


def _latex_spacing(text: str) -> str:
    text = text.replace("+", "\\,+\\, ").replace("\\left(", "(").replace("\\right)", ")").replace("\\dfrac", "\\frac")
    text = text.replace("\\frac", "\\displaystyle\\frac").replace("\\le ", "\\leq\\;").replace("\\ge ", "\\geqslant ")
    text = re.sub(r"\^(\d+)", r"^{\1}", text)
    return re.sub(r"\$([^$]*)\$", r"\\( \1 \\)", text)


def _markdown(text: str) -> str:
    words = text.split(" ")
    if len(words) > 4:
        words[1], words[-2] = f"**{words[1]}**", f"_{words[-2]}_"
    return "### Problem\n\n" + " ".join(words)


def _unicode(text: str) -> str:
    text = text.replace("^2", "²").replace("\\le ", "≤").replace("\\ge ", "≥").replace("-", "−").replace("$", "")
    return text.replace(" ", "\u00a0", 3).replace("^\\circ", "°").replace("?", "？").replace("'", "’")


DISGUISES: dict[str, Callable[[str], str]] = {
    "verbatim": lambda text: text,
    "case": str.upper,
    "white space": lambda text: "  " + text.replace(" ", " \n\t"),
    "punctuation": lambda text: re.sub(r"[.,?]", " ;", text) + "!!",
    "LaTeX spacing": _latex_spacing,
    "markdown": _markdown,
    "Unicode": _unicode,
    "embedded": lambda text: f"Please solve this with care. {text} Give your reasoning, then the answer in a box.",
    "question": lambda text: f"Question: {text}\nAnswer:",
    "label without colon": lambda text: f"Problem {text}",
    "solve": lambda text: f"Solve: {text}",
    "step by step": lambda text: f"{text} {STEP_BY_STEP}",
    "no final sign, step by step": lambda text: f"{text.rstrip('.?')} {STEP_BY_STEP}",
    "chat template": lambda text: f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",
    "instruct template": lambda text: f"[INST] {text} {STEP_BY_STEP} [/INST]",
    "reordered sentences": lambda text: " ".join(reversed(re.split(r"(?<=[.?]) ", text))),
}


def contaminated_rows() -> list[PlantedRow]:
    """Return each item in each disguise, and each story with another question; kinds are named after both."""
    items = benchmark_items()
    stories = [
        PlantedRow(f"{_story(number)} Explain in a letter to them.", "other question, prose", 200 + 3 * number)
        for number in range(20)
    ]
    return stories + [
        PlantedRow(disguise(item), f"{name}, {item_kind(number)}", number)
        for name, disguise in DISGUISES.items()
        for number, item in enumerate(items)
    ]


def item_kind(number: int) -> str:
    """Return of what kind an item is."""
    return "prose" if number < 260 else "short" if number < 320 else "formula" if number < 360 else "program"


def clean_rows(num_rows: int = 4200) -> list[PlantedRow]:
    """Return rows that hold no item: other problems with the same boilerplate, and near misses of short items."""
    rng = random.Random(SEED + 1)
    known = set(benchmark_items())
    rows: list[PlantedRow] = []
    number = 0
    while len(rows) < num_rows:
        number += 1
        kind, text = _CLEAN[number % len(_CLEAN)](rng, number)
        if text not in known:
            rows.append(PlantedRow(text, kind, None))
    return rows


def _other_prose(rng: random.Random, number: int) -> tuple[str, str]:
    one, two = rng.sample(_ACTORS, 2)
    text = (
        f"When the {one} of {rng.choice(_PLACES)} met the {two}, they had {rng.randint(100, 999)} "
        f"{rng.choice(_THINGS)} between them; how many did the {two} lose on day {number}?"
    )
    return "other problem", text


def _same_boilerplate(rng: random.Random, number: int) -> tuple[str, str]:
    return "boilerplate", f"{_other_prose(rng, number)[1]} {BOILERPLATE[number % 3]}"


def _same_phrases(rng: random.Random, number: int) -> tuple[str, str]:
    what = f"Choose {number} disjoint pairs of {rng.choice(_THINGS)} with the {rng.choice(_SHAPES)} rule."
    return "programming boilerplate", PROGRAMMING.format(what, rng.choice(_THINGS[:5]))


def _near_short(rng: random.Random, number: int) -> tuple[str, str]:
    n = 11 + 7 * rng.randint(0, 59)
    return "near miss of a short item", [
        f"What is ${n}-{n + 3}+{n - 5}$?",
        f"What is ${n}+{n + 3}-{n - 5}$ times {number}?",
        f"If a pupil says: what is {n}+{n + 3}-{n - 5} worth, answer {number}.",
        f"Factor $x^2+{n}x-{n - 1}$.",
        f"Find $\\gcd({n},{3 * n + 9})$ and $\\gcd({n},{number})$.",
        f"Compute $\\sin {n}^\\circ+\\cos {number}^\\circ$.",
    ][number % 6]


def _letters(rng: random.Random, number: int) -> tuple[str, str]:
    return "enumeration of letters", (
        f"Solve $x_1^{{{number}}}+x_2^{{{number}}}-x_3-x_4=0$ where $x_1, x_2, x_3, x_4, x_5, x_6$ are real and "
        f"$y=x_1x_2-{rng.randint(2, 40)}x_3$ for $n = 1, 2, 3, 4, 5, 6, 7, 8$."
    )


def _near_in_a_wrapper(rng: random.Random, number: int) -> tuple[str, str]:
    wrap = DISGUISES[WRAPPERS[number % len(WRAPPERS)]]
    return "near miss in a wrapper", wrap(_near_short(rng, rng.randint(0, 5))[1])


def _near_formula(rng: random.Random, number: int) -> tuple[str, str]:
    text = _formula(rng.randint(0, 39))
    return "near miss of a formula", [
        text.replace("_2^", "_2-"),
        text.replace("-\\frac", "+\\frac"),
        text.replace("\\ge ", f"\\ge {number}"),
        f"{text.rstrip('.')} and $x_1={number}$.",
        text.replace("x_4+", f"x_4+{number}"),
    ][number // 7 % 5]


WRAPPERS = ("question", "label without colon", "solve", "step by step", "chat template", "instruct template")
_CLEAN = (_other_prose, _same_boilerplate, _same_phrases, _near_short, _letters, _near_in_a_wrapper, _near_formula)
