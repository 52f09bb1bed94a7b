# SPDX-License-Identifier: Apache-2.0
"""The bridge to reasoning-gym: hostile answers first; every task makes items whose own solution gets full marks."""

import ast
import json
import time

import pytest
from reasoning_gym.factory import DATASETS

from open_r1.rewards.puzzle_rewards import reasoning_gym_reward
from open_r1.tasks import list_tasks, load_task, reasoning_gym_items
from open_r1.tasks.reasoning_gym_items import make_items
from open_r1.tasks.reasoning_gym_scoring import SCORE_LIMIT_S, score_answer

NO_KNOWN_SOLUTION = {"boxnet", "rush_hour"}
THAT_EVALUATE = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
NUM_ITEMS = 1


@pytest.fixture(scope="module")
def items() -> dict[str, list[dict[str, str]]]:
    """An item of every task, made in this process: one process each would take minutes."""
    made = {}
    for name in reasoning_gym_items.NAMES:
        source = make_items(name, {}, seed=0)
        made[name] = [next(source) for _ in range(NUM_ITEMS)]
    return made


def first_entry(task: str, **options: object) -> str:
    return next(make_items(task, options, seed=0))["entry"]


# Task, answer: what the library would evaluate, loop over, or take although it is wrong.
HOSTILE = [
    *[(task, "exec('raise SystemExit')") for task in THAT_EVALUATE],
    *[(task, "[*iter(int, 1)]") for task in THAT_EVALUATE],
    *[(task, "9**9**9") for task in ("countdown", "puzzle24", "binary_matrix", "string_insertion")],
    *[
        (task, answer)
        for task in ("polynomial_multiplication",)
        for answer in (
            "9**9**9", "x**9**9", "x**(9**9)", "1e999999999", "factorial(10**7)", "(x+1)**3000", "((x+1)**60)**60",
            "2**(2**40)", "exec('while 1: pass')", "__import__('os').getpid()", "x.__class__", "integrate(x,x)",
            "sin(sin(sin(sin(x))))", "(" * 5000, "-" * 300 + "x", "x+" * 150 + "x", "lambda: x", "[x for x in y]",
            "exp(x)**exp(x)**exp(x)", "f'{x}'",
        )
    ],
    *[
        ("polynomial_multiplication", answer)
        for answer in ("x**65", "(9**64)**64", "(x**8)**8", "N(1/3, 9)", "x # 1", "'x'*9", "x*y*" * 9999)
    ],
    ("coin_flip", "1e999999999"),
    ("coin_flip", "1e-999999999"),
    ("coin_flip", "0"),
    ("complex_arithmetic", "nan"),
    ("complex_arithmetic", "nan+nani"),
    ("game_of_life_halting", "perhaps"),
    ("puzzle24", "6*4*1*1"),
    ("puzzle24", "49/2"),
    ("rubiks_cube", "x**99999999"),
    ("rubiks_cube", "R99999999"),
    ("rush_hour", "M+99999999"),
    ("gcd", "1" * 30_000),
]  # fmt: skip


SLOW = ("1e999999999", "((x+1)**60)**60", "x**99999999", "R99999999", "M+99999999")  # until the time limit


@pytest.mark.parametrize(("task", "answer"), HOSTILE, ids=lambda value: repr(value)[:30])
def test_hostile_answer_scores_nothing_at_once(task: str, answer: str, items: dict[str, list[dict[str, str]]]):
    entry = items[task][0]["entry"]
    score_answer(entry, items[task][0]["solution"])  # starts the process
    start = time.monotonic()
    try:
        assert score_answer(entry, answer) == 0.0
    except RuntimeError as error:
        assert "Error" in str(error)  # of the library, which the reward takes for a wrong answer
    assert time.monotonic() - start < (SCORE_LIMIT_S + 10 if answer in SLOW else 4)


# Task, the item's answer and metadata; an answer in other words, its score.
ORDINARY = [
    ("polynomial_multiplication", "3*x**2 - 4*x*y + 2", {}, "2 - 2*2*y*x + 3*x**2", 1.0),
    ("polynomial_multiplication", "3*x**2 - 4*x*y + 2", {}, "2 - 4*x*y + 3*x**3", 0.0),
    ("polynomial_multiplication", "x**2 + 2*x + 1", {}, "(x + 1)**2", 0.0),
    ("countdown", "?", {"numbers": [94, 4, 61, 6], "target": 52.5}, "(94*4 - 61) / 6", 1.0),
    ("puzzle24", "(8 - 4)*6*1", {"numbers": [8, 1, 6, 4]}, "6*1*(8 - 4)", 1.0),
    ("puzzle24", "(8 - 4)*6*1", {"numbers": [8, 1, 6, 4]}, "6*4*1*1", 0.0),
    ("puzzle24", "(7 + 10 + 7)/1", {"numbers": [7, 10, 7, 1]}, "7)/1 + 10 + (7", 0.0),
    ("complex_arithmetic", "?", {"result": [-15.0, 3.0]}, "-15.0 + 3.0i", 1.0),
    ("n_queens", "?", {"valid_answers": ["Q _\n_ Q"]}, "Q _\n_ Q", 1.0),
    ("n_queens", "?", {"valid_answers": ["Q _\n_ Q"]}, "[['Q', '_'], ['_', 'Q']]", 0.5),
    ("game_of_life_halting", True, {}, "true", 1.0),
    ("game_of_life_halting", True, {}, "False", 0.0),
    ("coin_flip", "5/16", {}, "5/16", 1.0),
    ("coin_flip", "5/16", {}, "10/32", 1.0),
    ("coin_flip", "5/16", {}, "0.3125", 1.0),
    ("coin_flip", "5/16", {}, "0.31250001", 1.0),
    ("coin_flip", "5/16", {}, "0.3", 0.0),
]


@pytest.mark.parametrize(("task", "solution", "metadata", "answer", "score"), ORDINARY)
def test_ordinary_answers_get_their_score(task: str, solution: object, metadata: dict, answer: str, score: float):
    item = {"question": "?", "answer": solution, "metadata": metadata}
    assert score_answer(repr({"task": task, "options": {}, **item}), answer) == score


def test_a_model_cannot_run_programs_through_a_scorer(tmp_path, items: dict[str, list[dict[str, str]]]):
    trace = tmp_path / "trace"
    answer = f"[open({str(trace)!r}, 'w').close()]"
    completions = [f"<answer>{answer}</answer>"] * len(items)
    reasoning_gym_reward(completions, reasoning_gym_entry=[made[0]["entry"] for made in items.values()])
    assert not trace.exists()


def test_names_are_those_of_the_library():
    assert set(reasoning_gym_items.NAMES) == set(DATASETS) - {
        "codeio",
        "composite",
        "simple_integration",
        "intermediate_integration",
    }
    assert len(reasoning_gym_items.NAMES) > 100
    assert {f"reasoning_gym/{name}" for name in reasoning_gym_items.NAMES} < set(list_tasks())


@pytest.mark.parametrize("name", sorted(set(reasoning_gym_items.NAMES) - NO_KNOWN_SOLUTION))
def test_own_solution_of_every_row_gets_full_marks(name: str, items: dict[str, list[dict[str, str]]]):
    rows = items[name]
    plain = [f"<think>\nhm\n</think>\n<answer>\n{row['solution']}\n</answer>" for row in rows]
    boxed = [f"<think>\nhm\n</think>\n<answer>\n\\boxed{{{row['solution']}}}\n</answer>" for row in rows]
    entries = [row["entry"] for row in rows]
    assert all(row["question"] and row["solution"] for row in rows)
    assert reasoning_gym_reward(plain, reasoning_gym_entry=entries) == [1.0] * len(rows)
    assert reasoning_gym_reward(boxed, reasoning_gym_entry=entries) == [1.0] * len(rows)


@pytest.mark.parametrize("name", sorted(NO_KNOWN_SOLUTION))
def test_tasks_without_a_known_solution_make_rows_too(name: str, items: dict[str, list[dict[str, str]]]):
    assert all(row["question"] and row["solution"] == "" for row in items[name])


def test_wrong_answers_score_less_than_right_ones(items: dict[str, list[dict[str, str]]]):
    rows = [made[0] for made in items.values()]
    rewards = reasoning_gym_reward(
        ["<answer>certainly not</answer>"] * len(rows), reasoning_gym_entry=[row["entry"] for row in rows]
    )
    assert max(rewards) < 0.5


def test_entries_bring_back_the_item_of_the_library(items: dict[str, list[dict[str, str]]]):
    arc = ast.literal_eval(items["arc_agi"][0]["entry"])
    assert isinstance(arc["metadata"]["output"], tuple)  # a list there costs the right answer its point


def test_options_reach_the_library():
    item = ast.literal_eval(first_entry("chain_sum", min_terms=6, max_terms=6))
    assert item["metadata"]["num_terms"] == 6
    assert ast.literal_eval(first_entry("word_sorting", transformation="uppercase"))["answer"].isupper()


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("gcd", "hard", "'hard'"),
        ("gcd", "seed=3", "seed=3"),
        ("gcd", "num_train=0", "num_train"),
        ("gcd", "num_test=many", "num_test"),
        ("gcd", '{"num_train": ', "not valid JSON"),
        ("gdc", None, "reasoning_gym/gcd"),
        ("composite", None, "Unknown task"),
        ("", None, "Unknown task"),
    ],
)
def test_wrong_names_and_values_are_refused(name: str, config: str | None, message: str):
    with pytest.raises(ValueError, match=message):
        load_task(f"reasoning_gym/{name}", config)


def test_a_missing_library_is_named_with_the_command_that_helps(monkeypatch):
    monkeypatch.setattr(reasoning_gym_items.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="make install EXTRAS=puzzles"):
        load_task("reasoning_gym/gcd")
    with pytest.raises(ModuleNotFoundError, match="make install EXTRAS=puzzles"):
        reasoning_gym_reward(["x"], reasoning_gym_entry=[json.dumps({})])
