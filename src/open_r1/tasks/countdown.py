# SPDX-License-Identifier: Apache-2.0
r"""Countdown: combine some numbers into an expression with a given value, the task of TinyZero and Mini-R1.

A row:
    {"problem": "Combine the numbers [19, 36, 55, 7] into an expression ...", "target": 65, "nums": [19, 36, 55, 7],
     "solution": "55 + 36 - 7 - 19", "domain": "countdown"}

`target` and `nums` are the columns of `Jiayi-Pan/Countdown-Tasks-3to4`, so a recipe may take either. `solution` is one
expression of many; `check` judges any. Every problem is made from its solution, with whole, positive values at every
step, so it can be solved.

Configs: `3to4` (default), `3`, `4`, and options behind it: `dataset_config: 3to4,num_train=50000,prompt=task`.
    min_numbers, max_numbers    how many numbers a problem has
    min_number, max_number      their range; one may occur twice
    min_target, max_target      range of the target
    num_train, num_test         rows
    prompt                      `tags`: the problem asks for <think> and <answer>, as in the published prompts;
                                `task`: it says the task alone, for recipes with a system prompt; `task_zh` in Chinese

Disjointness: the SHA-256 of target and sorted numbers puts a problem into the pool `train` (19/20) or `test` (1/20),
whatever the config and the seed. Different from the published set: that one is drawn without a test split, so its head
and tail share problems up to the order of the numbers.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from open_r1.tasks.arithmetic import NotArithmetic, read_arithmetic
from open_r1.tasks.options import read_options
from open_r1.tasks.pools import choose_pool

DOMAIN = "countdown"
POOLS = ("test", *["train"] * 19)
"""Shares of the pools, in twentieths."""
MAX_DRAWS_PER_ROW = 2000
"""Draws without a new problem after which the pool counts as exhausted."""

TASK = (
    "Combine the numbers {nums} into an expression with the value {target}. You may add, subtract, multiply and "
    "divide (+, -, *, /) and set parentheses; use every number exactly once."
)
TASK_ZH = "用数字 {nums} 组成一个值为 {target} 的算式，可用加减乘除（+、-、*、/）和括号，每个数字恰好用一次。"
TAGS = (
    " Write your reasoning inside <think> </think> tags and then the expression alone inside <answer> </answer> tags, "
    "for example <answer> (1 + 2) / 3 </answer>."
)
PROMPTS = {"tags": TASK + TAGS, "task": TASK, "task_zh": TASK_ZH}

Row = dict[str, object]


@dataclass(frozen=True)
class CountdownOptions:
    """What a config may set; the module's docstring says what each means."""

    min_numbers: int = 3
    max_numbers: int = 4
    min_number: int = 1
    max_number: int = 99
    min_target: int = 10
    max_target: int = 100
    num_train: int = 20_000
    num_test: int = 1_024
    prompt: str = "tags"

    def __post_init__(self) -> None:
        if not 2 <= self.min_numbers <= self.max_numbers <= 8:
            raise ValueError("tasks/countdown takes 2 <= min_numbers <= max_numbers <= 8.")
        if self.min_number > self.max_number or self.min_target > self.max_target:
            raise ValueError("tasks/countdown takes min_number <= max_number and min_target <= max_target.")
        if self.prompt not in PROMPTS:
            raise ValueError(f"tasks/countdown takes prompt={', '.join(PROMPTS)}; got {self.prompt!r}.")


PRESETS = {
    "3to4": {"min_numbers": 3, "max_numbers": 4},
    "3": {"min_numbers": 3, "max_numbers": 3},
    "4": {"min_numbers": 4, "max_numbers": 4},
}


@dataclass(frozen=True)
class Problem:
    """Numbers, a target and an expression that reaches it."""

    nums: tuple[int, ...]
    target: int
    solution: str


def check(expression: str, nums: Sequence[int], target: int) -> bool:
    """Return whether an expression has the value of the target and uses every number exactly once.

    >>> check("55 + 36 - 7 - 19", [19, 36, 55, 7], 65), check("95**87**66", [95, 87, 66], 1)
    (True, False)
    """
    try:
        read = read_arithmetic(expression)
    except NotArithmetic:
        return False
    return sorted(read.numbers) == sorted(nums) and read.value == target


def pool_of(nums: Sequence[int], target: int) -> str:
    """Return the pool to which a problem belongs, whatever the config, the seed and the order of its numbers."""
    return choose_pool(f"{target}: {sorted(nums)}", POOLS)


@dataclass(frozen=True)
class _Part:
    """A piece of an expression in the making. `rank` is 1 for a sum, 2 for a product, 3 for a number."""

    value: int
    text: str
    rank: int


def _combine(rng: random.Random, first: _Part, second: _Part) -> _Part:
    """Join two parts by a random operation whose value is whole and positive."""
    operators = ["+", "*"]
    if first.value > second.value:
        operators.append("-")
    if first.value % second.value == 0 and second.value > 1:
        operators.append("/")
    operator = rng.choice(operators)
    value = {
        "+": first.value + second.value,
        "-": first.value - second.value,
        "*": first.value * second.value,
        "/": first.value // second.value,
    }[operator]
    rank = 1 if operator in "+-" else 2
    left = f"({first.text})" if first.rank < rank else first.text
    needs_brackets = second.rank < rank or (second.rank == rank and operator in "-/")
    right = f"({second.text})" if needs_brackets else second.text
    return _Part(value, f"{left} {operator} {right}", rank)


def draw_problem(rng: random.Random, options: CountdownOptions) -> Problem | None:
    """Return a random problem, or None when the draw missed the range of the target."""
    count = rng.randint(options.min_numbers, options.max_numbers)
    nums = [rng.randint(options.min_number, options.max_number) for _ in range(count)]
    parts = [_Part(number, str(number), 3) for number in nums]
    while len(parts) > 1:
        rng.shuffle(parts)
        parts.append(_combine(rng, parts.pop(), parts.pop()))
    if not options.min_target <= parts[0].value <= options.max_target:
        return None
    return Problem(tuple(nums), parts[0].value, parts[0].text)


def draw_distinct(pool: str, options: CountdownOptions, seed: int, count: int) -> list[Problem]:
    """Return that many different problems of one pool.

    Raises:
        ValueError: The options allow fewer; the message says how many were found.
    """
    rng = random.Random(f"countdown {pool} {seed}")
    problems: dict[tuple[int, tuple[int, ...]], Problem] = {}
    misses = 0
    while len(problems) < count:
        problem = draw_problem(rng, options)
        key = None if problem is None else (problem.target, tuple(sorted(problem.nums)))
        if problem is None or key is None or key in problems or pool_of(problem.nums, problem.target) != pool:
            misses += 1
            if misses > MAX_DRAWS_PER_ROW:
                raise ValueError(
                    f"tasks/countdown found {len(problems)} different problems for its {pool} split, not {count}: "
                    "widen the ranges of numbers and target, or ask for fewer rows."
                )
            continue
        problems[key] = problem
        misses = 0
    return list(problems.values())


def to_row(problem: Problem, prompt: str) -> Row:
    """Return the row that GRPO trains on."""
    nums = list(problem.nums)
    return {
        "problem": PROMPTS[prompt].format(nums=nums, target=problem.target),
        "target": problem.target,
        "nums": nums,
        "solution": problem.solution,
        "domain": DOMAIN,
    }


def load(config: str | None = None, seed: int = 0) -> dict[str, list[Row]]:
    """Return the splits `train` and `test` of a config; None means `3to4`.

    Raises:
        ValueError: The config is unknown or cannot be met; the message says what there is.
    """
    options = read_options(config, CountdownOptions(), PRESETS, "tasks/countdown")
    return {
        split: [to_row(problem, options.prompt) for problem in draw_distinct(split, options, seed, count)]
        for split, count in (("train", options.num_train), ("test", options.num_test))
    }
