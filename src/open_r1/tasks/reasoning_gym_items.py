# SPDX-License-Identifier: Apache-2.0
"""Calls the reasoning-gym library: makes items of its 105 tasks, keeps them as JSON, builds the data sets that score.

`reasoning_gym_rows` runs `write_items` in processes of their own. The library is imported at use, which takes 1 s.
"""

import functools
import hashlib
import importlib
import importlib.util
import itertools
import json
import os
import random
import re
import signal
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

CHUNK_SIZE = 1000
"""Items drawn from one data set of the library. Most make an item when asked for it, but `acre` makes all at once."""

# Where the answer of an item is None, any of many answers is right, and the metadata name one.
_ANSWERS_IN_METADATA = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}

# Marks of codeio programs that may differ from run to run, whatever the seeds: a third of them, though 1 % of rows do.
_UNREPEATABLE = re.compile(
    r"\b(import|from) (random|secrets|time|uuid)\b|\brandom\.|default_rng|RandomState|urandom"
    r"|\btime\.(time|perf_counter|monotonic)|\.(now|today|utcnow)\(|\.rvs\("
)

# Written out, so that a list of tasks takes no import of the library (1 s). A test compares it with the library's.
_NAMES = """
ab acre advanced_geometry aiw arc_1d arc_agi base_conversion basic_arithmetic bf binary_alternation binary_matrix
bitwise_arithmetic boxnet caesar_cipher calendar_arithmetic chain_sum circuit_logic codeio coin_flip
color_cube_rotation complex_arithmetic count_bits count_primes countdown course_schedule cryptarithm
decimal_arithmetic decimal_chain_sum dice emoji_mystery family_relationships figlet_font fraction_simplification
futoshiki game_of_life game_of_life_halting gcd graph_color group_anagrams gsm_symbolic intermediate_integration
isomorphic_strings jugs kakurasu knight_swap knights_knaves largest_island lcm leg_counting letter_counting
letter_jumble list_functions mahjong_puzzle manipulate_matrix maze mini_sudoku modulo_grid n_queens needle_haystack
number_filtering number_format number_sequence number_sorting palindrome_generation palindrome_partitioning path_star
polynomial_equations polynomial_multiplication pool_matrix power_function prime_factorization products
propositional_logic puzzle24 quantum_lock ransom_note rearc rectangle_count rotate_matrix rotten_oranges rubiks_cube
rush_hour self_reference sentence_reordering shortest_path simple_equations simple_geometry simple_integration
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


def write_items() -> None:
    """Write the items of an order to stdout, one JSON line each, until nobody reads on: the program of a worker.

    Whatever the library and the programs that it executes print goes to stderr. A refusal of the options is the line
    `{"error": ...}`. An item that takes too long ends the process.
    """
    order, limit_s = json.loads(sys.argv[1]), int(sys.argv[2])
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    items = make_items(**order)
    while True:
        signal.alarm(limit_s)
        try:
            item = next(items)
        except (AssertionError, TypeError, ValueError) as error:  # what the library checks its options with
            item = {"error": str(error) or repr(error)}
        signal.alarm(0)
        lines.write(json.dumps(item) + "\n")
        lines.flush()
        if "error" in item:
            return


def make_items(
    task: str, options: dict[str, Any], seed: int, start: int = 0, step: int = 1
) -> Iterator[dict[str, str]]:
    """Yield the items start, start + step, ... of a task: `question`, `solution` and `entry`.

    A dictionary with `skipped` stands for an item that the library fails to make, as `maze` does now and then, or that
    would differ in another process.

    Raises:
        AssertionError, TypeError, ValueError: The library refuses the options.
    """
    for index in itertools.count(start, step):
        chunk, place = divmod(index, CHUNK_SIZE)
        settings = {**options, "seed": seed_for(task, seed, chunk), "size": CHUNK_SIZE}
        dataset = build_dataset(task, dump_json(settings))
        random.seed(settings["seed"] + place)  # list_functions also draws from generators of the process
        np.random.seed(settings["seed"] + place)
        try:
            item = dataset[place]
            entry = dump_json({"task": task, "options": options, **item})
        except Exception as error:  # noqa: BLE001 - generators of the library fail as they like; counted by the reader
            yield {"skipped": repr(error)}
            continue
        if task == "codeio" and _UNREPEATABLE.search(item["question"]):  # which holds the program
            yield {"skipped": "its program draws random numbers or reads the clock"}
            continue
        yield {"question": item["question"], "solution": find_solution(task, item), "entry": entry}


def seed_for(task: str, seed: int, chunk: int) -> int:
    """Return the library's seed. Item i has the seed + i: neighbouring seeds must not be neighbours there."""
    digest = hashlib.sha256(f"reasoning_gym {task} {seed} {chunk}".encode()).digest()
    return int.from_bytes(digest[:4], "big") // 2  # numpy takes no more than 32 bits, i included


def find_solution(task: str, item: dict[str, Any]) -> str:
    """Return an answer that gets full marks, or "" where the library knows none."""
    if item["answer"] is not None:
        return str(item["answer"])
    answer = item["metadata"].get(_ANSWERS_IN_METADATA.get(task))
    if answer is None:
        return ""
    return answer if isinstance(answer, str) else json.dumps(answer)


@functools.lru_cache(maxsize=128)
def build_dataset(task: str, options: str) -> Any:
    """Return the library's data set of a task; `options` is a JSON object in the form of `dump_json`."""
    require_library()
    library = importlib.import_module("reasoning_gym.factory")
    _, config_class = library.DATASETS[task]
    return library.create_dataset(task, **fit_options(config_class, load_json(options)))


def fit_options(config_class: type, options: dict[str, Any]) -> dict[str, Any]:
    """Return options in the types that the library's dataclass has: tuples, enumerations, dates.

    Raises:
        ValueError: An option does not exist.
    """
    defaults = {name: value for name, value in vars(config_class()).items() if not name.startswith("_")}
    for name in options:
        if name not in defaults:
            known = ["num_train", "num_test", *(name for name in defaults if name not in ("seed", "size"))]
            raise ValueError(f"unknown option {name!r}; there is {', '.join(known)}")
    return {name: _fit(value, defaults[name]) for name, value in options.items()}


def _fit(value: Any, default: Any) -> Any:
    kind = type(default)
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)):
        return kind(_fit(entry, default[0] if default else entry) for entry in value)
    if hasattr(default, "isoformat") and isinstance(value, str):
        return kind.fromisoformat(value)
    if hasattr(default, "__dataclass_fields__") and isinstance(value, dict):
        return kind(**value)
    if hasattr(kind, "__members__") and not isinstance(value, kind):
        return kind(value)
    return value


def dump_json(value: Any) -> str:
    """Return JSON that `load_json` turns back into the same value: tuples, fractions, keys that are no text.

    >>> load_json(dump_json({"edges": [(0, 1)], "colors": {0: 1}}))
    {'edges': [(0, 1)], 'colors': {0: 1}}
    """
    return json.dumps(_tag(value))


def load_json(text: str) -> Any:
    """Return the value that `dump_json` wrote."""
    return json.loads(text, object_hook=_untag)


def _tag(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"__tuple__": [_tag(entry) for entry in value]}
    if isinstance(value, list):
        return [_tag(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Fraction):
        return {"__fraction__": str(value)}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _tag(entry) for key, entry in value.items()}
        return {"__items__": [[_tag(key), _tag(entry)] for key, entry in value.items()]}
    return value


def _untag(loaded: dict[str, Any]) -> Any:
    if loaded.keys() == {"__tuple__"}:
        return tuple(loaded["__tuple__"])
    if loaded.keys() == {"__fraction__"}:
        return Fraction(loaded["__fraction__"])
    if loaded.keys() == {"__items__"}:
        return dict(loaded["__items__"])
    return loaded
