# SPDX-License-Identifier: Apache-2.0
r"""Rows made by the reasoning-gym library (extra `puzzles`): 102 generated tasks, each with the library's own scorer.

A row of `tasks/reasoning_gym/chain_sum`:
    {"problem": "State the final answer to the following arithmetic problem: 4 + 3 =", "solution": "7",
     "reasoning_gym_entry": "{'task': 'chain_sum', 'options': {}, 'question': ..., 'answer': '7', 'metadata': ...}",
     "domain": "reasoning_gym"}

`reasoning_gym_entry` is the library's item as a literal of Python, from which `reasoning_gym_scoring` scores an answer
as the library would. `solution` is one answer that gets full marks; in `boxnet` and `rush_hour`, of which the library
knows none, it is "".

Config: `num_train` (1000), `num_test` (100), and any option of the task's own dataclass in the library, as JSON or as
`name=value` with commas between: `dataset_config: num_train=5000,min_terms=3,max_terms=8`.

Disjointness: the SHA-256 of the question puts an item into the pool `train` (9/10) or `test` (1/10), whatever the
options and the seed, and no question occurs twice. A few tasks have few questions (`coin_flip` 256 by default);
where they run out, the splits are shorter, with a warning.

Time: 1,100 rows of most tasks take seconds; of futoshiki, knight_swap, zebra_puzzles,
quantum_lock, puzzle24 and sokoban one to six minutes, for searches of the library. Each run, and each rank of it,
makes its rows anew. With some options the library searches without end: LOAD_LIMIT_S ends that.

Different from calling the library directly:
1. Rows are made in a process of their own, with fixed string hashing and fixed seeds of `random` and numpy: six tasks
   would give other rows in every process (isomorphic_strings, knight_swap, list_functions, polynomial_multiplication,
   ransom_note, word_ladder), so in a run on several GPUs every rank would train on other data.
2. The library draws item i from seed + i, so that the seeds 0 and 1 share all but one item. Ours are hashed first.
3. Left out: `codeio`, which executes programs of the internet that come with the library, and `simple_integration` and
   `intermediate_integration`, whose scorer gives `Integral(..., x)` full marks.
"""

import ast
import contextlib
import hashlib
import importlib.util
import itertools
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from open_r1.tasks.options import parse_config
from open_r1.tasks.pools import choose_pool

logger = logging.getLogger(__name__)

DOMAIN = "reasoning_gym"
POOLS = ("test", *["train"] * 9)  # in tenths
NUM_ROWS = {"train": 1000, "test": 100}
MAX_MISSES = 1000  # items without a new question after which a task counts as exhausted
LOAD_LIMIT_S = 3600
CHUNK_SIZE = 1000  # items of one data set of the library: `acre` makes all at once

# Where the answer of an item is None, any of many answers is right, and the metadata name one.
_ANSWERS_IN_METADATA = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}

# Written out, so that a list of tasks takes no import of the library (1 s). A test compares it with the library's.
_NAMES = """
ab acre advanced_geometry aiw arc_1d arc_agi base_conversion basic_arithmetic bf binary_alternation binary_matrix
bitwise_arithmetic boxnet caesar_cipher calendar_arithmetic chain_sum circuit_logic coin_flip
color_cube_rotation complex_arithmetic count_bits count_primes countdown course_schedule cryptarithm
decimal_arithmetic decimal_chain_sum dice emoji_mystery family_relationships figlet_font fraction_simplification
futoshiki game_of_life game_of_life_halting gcd graph_color group_anagrams gsm_symbolic
isomorphic_strings jugs kakurasu knight_swap knights_knaves largest_island lcm leg_counting letter_counting
letter_jumble list_functions mahjong_puzzle manipulate_matrix maze mini_sudoku modulo_grid n_queens needle_haystack
number_filtering number_format number_sequence number_sorting palindrome_generation palindrome_partitioning path_star
polynomial_equations polynomial_multiplication pool_matrix power_function prime_factorization products
propositional_logic puzzle24 quantum_lock ransom_note rearc rectangle_count rotate_matrix rotten_oranges rubiks_cube
rush_hour self_reference sentence_reordering shortest_path simple_equations simple_geometry
sokoban spell_backward spiral_matrix string_insertion string_manipulation string_splitting string_synthesis sudoku
survo syllogism time_intervals tower_of_hanoi tsumego word_ladder word_sequence_reversal word_sorting zebra_puzzles
"""
NAMES = tuple(_NAMES.split())


def require_library() -> None:
    """Raise ModuleNotFoundError with the command that helps when reasoning-gym is not installed."""
    if importlib.util.find_spec("reasoning_gym") is None:
        raise ModuleNotFoundError(
            "tasks/reasoning_gym and its reward need the package reasoning-gym: make install EXTRAS=puzzles."
        )


def pool_of(question: str) -> str:
    """Return the pool to which a question belongs, whatever the options and the seed."""
    return choose_pool(question, POOLS)


def load(task: str, config: str | None = None, seed: int = 0) -> dict[str, list[dict[str, object]]]:
    """Return the splits `train` and `test` of one task of the library.

    Raises:
        ModuleNotFoundError: The library is not installed.
        ValueError: The library refuses an option, or takes too long; the message has what it said.
    """
    where = f"tasks/reasoning_gym/{task}"
    require_library()
    words, options = parse_config(config, where)
    if words or {"seed", "size"} & options.keys():
        raise ValueError(f"{where} takes options such as num_train=1000 and min_terms=3, got {config!r}.")
    wanted = {split: options.pop(f"num_{split}", count) for split, count in NUM_ROWS.items()}
    if not all(type(count) is int and count > 0 for count in wanted.values()):
        raise ValueError(f"num_train and num_test of {where} are whole numbers of at least 1, got {wanted}.")
    order = json.dumps({"task": task, "options": options, "seed": seed, "wanted": wanted})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = start_beside("from open_r1.tasks.reasoning_gym_items import write_rows; write_rows()", folder)
        with process:
            try:
                stdout, stderr = process.communicate(order, timeout=LOAD_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ValueError(f"{where} took more than {LOAD_LIMIT_S} s. Try other options.") from None
    if process.returncode:
        raise ValueError(f"{where} (exit {process.returncode}): {stderr.strip()[-500:]}")
    splits = json.loads(stdout)
    for split, rows in splits.items():
        if len(rows) < wanted[split]:
            text = "%s has only %d different rows for its %s split, and %d are asked for: try other options."
            logger.warning(text, where, len(rows), split, wanted[split])
    if not all(splits.values()):
        raise ValueError(f"{where} has too few different questions with {options}.")
    return splits


def start_beside(program: str, folder: str | None = None) -> subprocess.Popen[str]:
    """Start a program of this package in a process with fixed string hashing, its streams pipes."""
    python_path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if folder is None else subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": python_path},
    )


def write_rows() -> None:
    """Write the rows of the order on stdin to stdout; what the library prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        splits = collect_rows(**json.load(sys.stdin))
    json.dump(splits, sys.stdout)


def collect_rows(
    task: str, options: dict[str, Any], seed: int, wanted: dict[str, int]
) -> dict[str, list[dict[str, object]]]:
    """Return as many rows of each split as wanted, or fewer where questions run out."""
    splits: dict[str, list[dict[str, object]]] = {split: [] for split in wanted}
    seen: set[str] = set()
    misses = 0
    for item in make_items(task, options, seed):
        misses = misses + 1 if item["question"] in seen else 0
        if misses >= MAX_MISSES or all(len(splits[split]) >= count for split, count in wanted.items()):
            break
        pool = pool_of(item["question"])
        if not misses and len(splits[pool]) < wanted[pool]:
            row = {"problem": item["question"], "solution": item["solution"], "reasoning_gym_entry": item["entry"]}
            splits[pool].append({**row, "domain": DOMAIN})
        seen.add(item["question"])
    return splits


def make_items(task: str, options: dict[str, Any], seed: int) -> Iterator[dict[str, str]]:
    """Yield the items of a task without end: `question`, `solution` and `entry`.

    An item that the library fails to make, as `maze` does now and then, is left out.

    Raises:
        AssertionError, TypeError, ValueError: The library refuses the options.
    """
    for chunk in itertools.count():
        # The library's item i has the seed + i: neighbouring seeds must not be neighbours there.
        digest = hashlib.sha256(f"reasoning_gym {task} {seed} {chunk}".encode()).digest()
        library_seed = int.from_bytes(digest[:4], "big") // 2  # numpy takes no more than 32 bits, i included
        dataset = create_dataset(task, options, library_seed, CHUNK_SIZE)
        for place in range(CHUNK_SIZE):
            random.seed(library_seed + place)  # list_functions also draws from generators of the process
            np.random.seed(library_seed + place)
            with contextlib.suppress(Exception):  # generators of the library fail as they like
                item = dataset[place]
                entry = repr({"task": task, "options": options, **_plain(item)})
                ast.literal_eval(entry)
                yield {"question": item["question"], "solution": _solution(task, item), "entry": entry}


def _solution(task: str, item: dict[str, Any]) -> str:
    answer = item["answer"]
    if answer is None:
        answer = item["metadata"].get(_ANSWERS_IN_METADATA.get(task), "")
        answer = answer if isinstance(answer, str) else json.dumps(answer)
    return str(answer)


def create_dataset(task: str, options: dict[str, Any], seed: int = 0, size: int = 1) -> Any:
    """Return the library's data set of a task; options are in the types of JSON."""
    from reasoning_gym.factory import DATASETS, create_dataset

    default = DATASETS[task][1]()
    fitted = {
        name: type(getattr(default, name))(value) if isinstance(getattr(default, name, None), Enum | tuple) else value
        for name, value in options.items()
    }
    return create_dataset(task, seed=seed, size=size, **fitted)


def _plain(value: Any) -> Any:
    """Return a value of the library as one whose `repr` is a literal."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value
