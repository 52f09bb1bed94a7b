# SPDX-License-Identifier: Apache-2.0
r"""Running sums: one-digit numbers added and subtracted from left to right, the task of the demo.

A row of each config (columns cut short with ...):
    base        {"text": "Compute 7+9-8\nWork: 7+9=16-8=8\nAnswer: 8\n2+6-3:2+6=8-3=5\n..."}
    zero_base   {"text": "Compute 7+9-8+4\n<think>\n7+9=16-8=8+4=12\n</think>\n<answer>\n\\boxed{12}\n</answer>"}
    cold_start  {"prompt": [{"role": "user", "content": "Compute 7+9-8+4"}], "solution": "12",
                 "completion": [{"role": "assistant", "content": "<think>\n12\n</think>\n<answer>\n\\boxed{12}\n</answer>"}]}
    rl          {"problem": "Compute 7+9-8+4", "solution": "12"}

In a trace every `=` gives the running total so far, as one writes on paper; every answer in every text is right.

Disjointness. The SHA-256 of an expression alone puts it into one of four pools (`pool_of`): test, validation, text (base
texts and worked answers) or rl. A split draws from its own pool only, so no seed, config or length can bring a test or a
validation problem into training, nor an RL problem into a text. What this does not cover: a short problem may be
the beginning of a longer one of another pool.
"""

import hashlib
import random
import re
from collections.abc import Iterator

MAX_VALUE = 20
"""Running totals stay within 0 and this."""
PROBLEM_PREFIX = "Compute "
POOLS = ("test", "validation", *["text"] * 9, *["rl"] * 9)
"""Shares of the pools, in twentieths."""
NUM_TEST_ROWS = 400

TRAIN_TERMS = (3, 4, 5, 6)
RL_TERMS = (4, 5, 6, 7)
NUM_TRAIN_ROWS = {"base": 5600, "zero_base": 5600, "cold_start": 3200, "rl": 2048}
EXPRESSIONS_PER_TEXT = 4

HEADS = ("Compute {e}\n", "Sum {e}\n", "{e}\n", "{e}:", "Compute {e}.\n", "{e} is\n", "Sum: {e}\n\n")
LINKS = ("", "", "Work\n", "Let us see\n", "\n", "so:\n", "Work: ", "\n\n", "Result\n\n", "Let us see: ")
TAILS = ("\n{a}\n", "\n", "\nAnswer\n{a}\n", "\n\nAnswer: {a}\n", "\nso {a}\n", "\n\nResult\n\n({a})\n")

OPERATIONS_PER_STEP = (1, 2, None)
"""How much different writers do in their heads before they write a total; None: all of it."""
COLD_START_WEIGHTS = (0.3, 0.2, 0.5)


def pool_of(expression: str) -> str:
    """Returns the pool to which an expression belongs, whatever the config and the seed."""
    digest = hashlib.sha256(expression.encode()).digest()
    return POOLS[int.from_bytes(digest[:4], "big") % len(POOLS)]


def split_terms(expression: str) -> list[str]:
    """Returns the signed terms of an expression: `7+9-8` gives `7`, `+9`, `-8`."""
    if not re.fullmatch(r"\d+([+-]\d+)*", expression):
        raise ValueError(f"Not a running sum: {expression!r}; expected the form 7+9-8.")
    return re.findall(r"[+-]?\d+", expression)


def solve(problem: str) -> int:
    """Returns the value of a problem, given with or without `Compute ` in front."""
    return sum(int(term) for term in split_terms(problem.removeprefix(PROBLEM_PREFIX)))


def check(problem: str, answer: str) -> bool:
    """Returns whether an answer, as text, is the value of the problem."""
    return re.fullmatch(r"[+-]?\d+", answer.strip()) is not None and int(answer) == solve(problem)


def write_trace(expression: str, operations_per_step: int | None = 1) -> str:
    """Returns the working: the terms with the running total written after every so many operations.

    Args:
        expression: Such as `7+9-8+4`.
        operations_per_step: 1 gives `7+9=16-8=8+4=12`, 2 gives `7+9-8=8+4=12`, None the bare total `12`.
    """
    total = 0
    terms = split_terms(expression)
    if operations_per_step is None:
        return str(solve(expression))
    parts = []
    for index, term in enumerate(terms):
        total += int(term)
        parts.append(term)
        if index > 0 and (index % operations_per_step == 0 or index == len(terms) - 1):
            parts.append(f"={total}")
    return "".join(parts)


def write_completion(expression: str, operations_per_step: int | None = 1) -> str:
    """Returns a right answer in the format that the rewards ask for."""
    trace = write_trace(expression, operations_per_step)
    return f"<think>\n{trace}\n</think>\n<answer>\n\\boxed{{{solve(expression)}}}\n</answer>"


def draw_expression(rng: random.Random, num_terms: int) -> str:
    """Returns a random expression of distinct digits whose running totals stay within 0 and MAX_VALUE."""
    while True:
        digits = rng.sample(range(1, 10), num_terms)
        total = digits[0]
        terms = [str(total)]
        for digit in digits[1:]:
            signed = [value for value in (digit, -digit) if 0 <= total + value <= MAX_VALUE]
            if not signed:
                break
            total += (value := rng.choice(signed))
            terms.append(f"{value:+d}")
        else:
            return "".join(terms)


def draw_pool(pool: str, num_terms: tuple[int, ...], seed: int) -> Iterator[str]:
    """Yields expressions of one pool without end, lengths evenly mixed."""
    rng = random.Random(f"running_sums {pool} {seed}")
    while True:
        expression = draw_expression(rng, rng.choice(num_terms))
        if pool_of(expression) == pool:
            yield expression


def draw_distinct(pool: str, num_terms: tuple[int, ...], seed: int, count: int) -> list[str]:
    """Returns that many different expressions of one pool."""
    distinct: dict[str, None] = {}
    for expression in draw_pool(pool, num_terms, seed):
        distinct[expression] = None
        if len(distinct) == count:
            return list(distinct)
    raise AssertionError("draw_pool has no end")


def to_rl_row(expression: str) -> dict[str, object]:
    """Returns the row that GRPO trains and is evaluated on."""
    return {"problem": PROBLEM_PREFIX + expression, "solution": str(solve(expression))}


def to_sft_row(expression: str, operations_per_step: int | None) -> dict[str, object]:
    """Returns a worked chat answer; `solution` is there for the evaluation by rewards."""
    return {
        "prompt": [{"role": "user", "content": PROBLEM_PREFIX + expression}],
        "completion": [{"role": "assistant", "content": write_completion(expression, operations_per_step)}],
        "solution": str(solve(expression)),
    }


def load_base(seed: int) -> dict[str, list[dict[str, object]]]:
    """Returns plain texts of sums worked out in full, in many layouts, none of them a chat, none with tags."""
    rng = random.Random(f"base {seed}")
    expressions = draw_pool("text", RL_TERMS, seed)

    def write_text() -> str:
        parts = []
        for _ in range(EXPRESSIONS_PER_TEXT):
            e = next(expressions)
            head, link, tail = rng.choice(HEADS), rng.choice(LINKS), rng.choice(TAILS)
            parts.append(head.format(e=e) + link + write_trace(e) + tail.format(a=solve(e)))
        return "".join(parts)

    return {"train": [{"text": write_text()} for _ in range(NUM_TRAIN_ROWS["base"])]}


def load_zero_base(seed: int) -> dict[str, list[dict[str, object]]]:
    """Returns plain texts with the tags around worked and unworked sums, none of them a chat."""
    rng = random.Random(f"zero_base {seed}")
    expressions = draw_pool("text", RL_TERMS, seed)

    def write_text() -> str:
        parts = []
        for _ in range(EXPRESSIONS_PER_TEXT):
            e = next(expressions)
            parts.append(f"{PROBLEM_PREFIX}{e}\n{write_completion(e, rng.choice(OPERATIONS_PER_STEP))}")
        return "\n".join(parts)

    return {"train": [{"text": write_text()} for _ in range(NUM_TRAIN_ROWS["zero_base"])]}


def load_cold_start(seed: int) -> dict[str, list[dict[str, object]]]:
    """Returns chat answers by writers of different habits; few of them write every step."""
    rng = random.Random(f"cold_start {seed}")
    expressions = draw_distinct("text", TRAIN_TERMS, seed, NUM_TRAIN_ROWS["cold_start"])
    train = [to_sft_row(e, rng.choices(OPERATIONS_PER_STEP, COLD_START_WEIGHTS)[0]) for e in expressions]
    test = draw_distinct("test", RL_TERMS, seed, NUM_TEST_ROWS)
    return {"train": train, "test": [to_sft_row(e, 1) for e in test]}


def load_rl(seed: int) -> dict[str, list[dict[str, object]]]:
    """Returns problems with their solutions; `validation` is the split to tune on."""
    sizes = {"train": ("rl", NUM_TRAIN_ROWS["rl"]), "validation": ("validation", NUM_TEST_ROWS)}
    sizes["test"] = ("test", NUM_TEST_ROWS)
    return {
        split: [to_rl_row(e) for e in draw_distinct(pool, RL_TERMS, seed, count)]
        for split, (pool, count) in sizes.items()
    }


CONFIGS = {"base": load_base, "zero_base": load_zero_base, "cold_start": load_cold_start, "rl": load_rl}


def load(config: str | None = None, seed: int = 0) -> dict[str, list[dict[str, object]]]:
    """Returns the splits of a config; None means `rl`.

    Raises:
        ValueError: There is no such config; the message lists those there are.
    """
    if config is not None and config not in CONFIGS:
        raise ValueError(f"Unknown config {config!r} of tasks/running_sums: there is {', '.join(CONFIGS)}.")
    return CONFIGS[config or "rl"](seed)
