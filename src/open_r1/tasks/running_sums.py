# SPDX-License-Identifier: Apache-2.0
r"""Running sums: one-digit numbers added and subtracted from left to right, the task of the demo.

A row of each config:
    base        {"text": "Compute 7+5-8\nSum see\n7+5=12-8=4\n\n\\boxed{4}\nCompute ..."}
    zero_base   {"text": "Compute 7+5-8+2\nso\n<think>\n7+5-8=4+2=6\n</think>\n<answer>\n\\boxed{6}\n</answer>\n..."}
    cold_start  {"prompt": [{"role": "user", "content": "Compute 7+5-8+2"}], "solution": "6", "completion":
                 [{"role": "assistant", "content": "<think>\n6\n</think>\n<answer>\n\\boxed{6}\n</answer>"}]}
    two_languages  the same, but thoughts begin with a word of English or of Chinese
    calls       {"messages": [user: Compute 7+5-8+2, assistant: calls calculator(expression="7+5-8+2"), tool: 6,
                 assistant: \\boxed{6}]}; most rows answer at once
    rl          {"problem": "Compute 7+5-8+2", "solution": "6"}
    rl_3        the same with three terms each, and so rl_4 and rl_5; only for training, as stages of a curriculum

In a trace every `=` gives the running total so far, as one writes on paper. All answers in all texts are right. What
differs is how much their writers do in their heads. The model cannot do it in its head: it imitates all of them, and
GRPO lets it find out whom to imitate. Along the way it learns to copy and to add more surely.

No digit occurs twice in a problem, so the term before tells which one comes next. Finding the next term, not the
arithmetic, is what a model this small learns last.

Disjointness: the SHA-256 of an expression puts it into one of four pools, `test`, `validation`, `text` (base texts and
worked answers) and `rl`, whatever the config and the seed. A split draws from its own pool only, so no seed brings a
test or validation problem into training, nor an RL problem into a text. Not covered: a problem may be the beginning of
a longer one in another pool.
"""

import random
import re
from collections.abc import Callable, Iterator
from functools import partial

from open_r1.tasks.pools import choose_pool

MAX_VALUE = 15
"""Running totals stay within 0 and this."""
PROBLEM_PREFIX = "Compute "
POOLS = ("test", "validation", *["text"] * 9, *["rl"] * 9)
"""Shares of the pools, in twentieths."""

TEXT_TERMS = (3, 4, 5)
RL_TERMS = (4, 5)
NUM_ROWS = {
    "base": 8000,
    "zero_base": 7200,
    "cold_start": 2400,
    "calls": 6000,
    "rl": 2048,
    "rl_of_one_length": 384,
    "test": 400,
}

FILLERS = ("so", "Work", "see", "Let us", "Sum", "is")
"""Words between problem, working and answer; the changing distance makes the model look up terms by content."""
STEP_SIZES = (1, 2, None)
"""Terms that a writer adds in the head before writing a total down; None: all of them."""
COLD_START_SHARES = (0.3, 0.2, 0.5)
CALLS_SHARE = 0.3
"""Share of the answers in `calls` that use the calculator."""
LANGUAGES = ("see ", "\u6211\u4eec ")
"""What thoughts of two_languages begin with: an English word, or a Chinese one (we)."""
TAGGED_SHARE = 0.5
"""Share of the sums in zero_base that stand between tags."""

Row = dict[str, object]


def pool_of(expression: str) -> str:
    """Return the pool to which an expression belongs, whatever the config and the seed."""
    return choose_pool(expression, POOLS)


def split_terms(expression: str) -> list[str]:
    """Return the signed terms of an expression: `7+9-8` gives `7`, `+9`, `-8`."""
    if not re.fullmatch(r"[0-9]+([+-][0-9]+)*", expression):
        raise ValueError(f"Not a running sum: {expression!r}; expected the form 7+9-8.")
    return re.findall(r"[+-]?\d+", expression)


def solve(problem: str) -> int:
    """Return the value of a problem, given with or without `Compute ` in front."""
    return sum(int(term) for term in split_terms(problem.removeprefix(PROBLEM_PREFIX)))


def write_trace(expression: str, step_size: int | None = 1) -> str:
    """Return the working: the terms, with the running total after every so many of them.

    Args:
        expression: Such as `7+5-8+2`.
        step_size: 1 gives `7+5=12-8=4+2=6`, 2 gives `7+5-8=4+2=6`, None the bare total `6`.
    """
    terms = split_terms(expression)
    if step_size is None:
        return str(solve(expression))
    parts, total = [], 0
    for index, term in enumerate(terms):
        total += int(term)
        parts.append(term)
        if index > 0 and (index % step_size == 0 or index == len(terms) - 1):
            parts.append(f"={total}")
    return "".join(parts)


def write_completion(expression: str, step_size: int | None = 1, opening: str = "") -> str:
    """Return a right answer in the format that the rewards ask for; the thoughts begin with the opening."""
    trace = opening + write_trace(expression, step_size)
    return f"<think>\n{trace}\n</think>\n<answer>\n\\boxed{{{solve(expression)}}}\n</answer>"


def draw_expression(rng: random.Random, num_terms: int) -> str:
    """Return a random expression of distinct digits whose running totals stay within 0 and MAX_VALUE."""
    while True:
        first, *digits = rng.sample(range(1, 10), num_terms)
        terms, total = [str(first)], first
        for digit in digits:
            allowed = [term for term in (digit, -digit) if 0 <= total + term <= MAX_VALUE]
            if not allowed:
                break
            term = rng.choice(allowed)
            terms.append(f"{term:+d}")
            total += term
        else:
            return "".join(terms)


def draw_from_pool(pool: str, num_terms: tuple[int, ...], seed: int) -> Iterator[str]:
    """Yield expressions of one pool without end, all lengths equally often."""
    rng = random.Random(f"running_sums {pool} {seed}")
    while True:
        length = rng.choice(num_terms)
        while pool_of(expression := draw_expression(rng, length)) != pool:
            pass
        yield expression


def draw_distinct(pool: str, num_terms: tuple[int, ...], seed: int, count: int) -> list[str]:
    """Return that many different expressions of one pool."""
    endless = draw_from_pool(pool, num_terms, seed)
    distinct: dict[str, None] = {}
    while len(distinct) < count:
        distinct[next(endless)] = None
    return list(distinct)


def to_rl_row(expression: str) -> Row:
    """Return the row that GRPO trains on and that all evaluations use."""
    return {"problem": PROBLEM_PREFIX + expression, "solution": str(solve(expression))}


def to_sft_row(expression: str, step_size: int | None, opening: str = "") -> Row:
    """Return a worked chat answer; `solution` is for the evaluation by rewards."""
    return {
        "prompt": [{"role": "user", "content": PROBLEM_PREFIX + expression}],
        "completion": [{"role": "assistant", "content": write_completion(expression, step_size, opening)}],
        "solution": str(solve(expression)),
    }


def write_gap(rng: random.Random) -> str:
    """Return a line with none to three fillers, line feeds around it."""
    return "\n" + " ".join(rng.choices(FILLERS, k=rng.randint(0, 3))) + "\n"


def write_exercise(expression: str, rng: random.Random) -> str:
    """Return a sum worked in full, as it stands in the base texts."""
    working = write_trace(expression)
    return f"{PROBLEM_PREFIX}{expression}{write_gap(rng)}{working}{write_gap(rng)}\\boxed{{{solve(expression)}}}"


def write_tagged(expression: str, rng: random.Random) -> str:
    """Return a sum between tags, with all, some or none of the working."""
    return f"{PROBLEM_PREFIX}{expression}{write_gap(rng)}{write_completion(expression, rng.choice(STEP_SIZES))}"


def load_base(seed: int) -> dict[str, list[Row]]:
    """Return plain texts of two sums worked in full; no chats, no tags."""
    rng = random.Random(f"base {seed}")
    expressions = draw_from_pool("text", TEXT_TERMS, seed)
    texts = [[write_exercise(next(expressions), rng) for _ in range(2)] for _ in range(NUM_ROWS["base"])]
    return {"train": [{"text": "\n".join(text)} for text in texts]}


def load_zero_base(seed: int) -> dict[str, list[Row]]:
    """Return plain texts of one to three sums, some between tags with more or less of the working; no chats."""
    rng = random.Random(f"zero_base {seed}")
    expressions = draw_from_pool("text", TEXT_TERMS, seed)

    def write_text() -> str:
        writers = [write_tagged if rng.random() < TAGGED_SHARE else write_exercise for _ in range(rng.randint(1, 3))]
        return "\n".join(writer(next(expressions), rng) for writer in writers)

    return {"train": [{"text": write_text()} for _ in range(NUM_ROWS["zero_base"])]}


def load_cold_start(seed: int, openings: tuple[str, ...] = ("",)) -> dict[str, list[Row]]:
    """Return chat answers by writers of whom few write every step; the test answers do.

    Args:
        seed: Picks expressions and writers.
        openings: What thoughts begin with, each as often.
    """
    rng = random.Random(f"cold_start {seed}")
    train = draw_distinct("text", TEXT_TERMS, seed, NUM_ROWS["cold_start"])
    test = draw_distinct("test", RL_TERMS, seed, NUM_ROWS["test"])
    step_sizes = rng.choices(STEP_SIZES, COLD_START_SHARES, k=len(train))
    words = rng.choices(openings, k=len(train))
    return {
        "train": [to_sft_row(*row) for row in zip(train, step_sizes, words, strict=True)],
        "test": [to_sft_row(expression, 1, openings[0]) for expression in test],
    }


def to_calls_row(expression: str, *, has_call: bool) -> Row:
    """Return a chat answer in the head, or by a calculator."""
    value = str(solve(expression))
    answer = {"role": "assistant", "content": f"\\boxed{{{value}}}"}
    function = {"name": "calculator", "arguments": {"expression": expression}}
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    calls = [call, {"role": "tool", "name": "calculator", "content": value}] if has_call else []
    return {"messages": [{"role": "user", "content": PROBLEM_PREFIX + expression}, *calls, answer]}


def load_calls(seed: int) -> dict[str, list[Row]]:
    """Return chat answers of which some use a calculator."""
    rng = random.Random(f"calls {seed}")
    expressions = draw_distinct("text", TEXT_TERMS, seed, NUM_ROWS["calls"])
    return {"train": [to_calls_row(expression, has_call=rng.random() < CALLS_SHARE) for expression in expressions]}


def load_rl(seed: int) -> dict[str, list[Row]]:
    """Return problems with their solutions; `validation` is the split to tune on."""
    splits = {"train": ("rl", "rl"), "validation": ("validation", "test"), "test": ("test", "test")}
    return {
        split: [to_rl_row(expression) for expression in draw_distinct(pool, RL_TERMS, seed, NUM_ROWS[size])]
        for split, (pool, size) in splits.items()
    }


def load_rl_of_one_length(seed: int, num_terms: int) -> dict[str, list[Row]]:
    """Return problems of so many terms; of three there are 448, and too few for tests."""
    expressions = draw_distinct("rl", (num_terms,), seed, NUM_ROWS["rl_of_one_length"])
    return {"train": [to_rl_row(expression) for expression in expressions]}


CONFIGS: dict[str, Callable[[int], dict[str, list[Row]]]] = {
    "base": load_base,
    "zero_base": load_zero_base,
    "cold_start": load_cold_start,
    "rl": load_rl,
    "calls": load_calls,
    **{f"rl_{terms}": partial(load_rl_of_one_length, num_terms=terms) for terms in TEXT_TERMS},
    "two_languages": partial(load_cold_start, openings=LANGUAGES),
}


def load(config: str | None = None, seed: int = 0) -> dict[str, list[Row]]:
    """Return the splits of a config; None means `rl`.

    Raises:
        ValueError: There is no such config; the message lists those there are.
    """
    name = "rl" if config is None else config
    if name not in CONFIGS:
        raise ValueError(f"Unknown config {config!r} of tasks/running_sums: there is {', '.join(CONFIGS)}.")
    return CONFIGS[name](seed)
