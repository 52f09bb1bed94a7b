# SPDX-License-Identifier: Apache-2.0
r"""The bridge to the reasoning-gym library (extra `puzzles`): 105 generated tasks, each with the library's own scorer.

A row of `tasks/reasoning_gym/chain_sum`:
    {"problem": "State the final answer to the following arithmetic problem: 4 + 3 =", "solution": "7",
     "reasoning_gym_entry": "{\"task\": \"chain_sum\", \"options\": {}, \"question\": ..., \"answer\": \"7\", ...}",
     "domain": "reasoning_gym"}

`reasoning_gym_entry` is JSON that keeps tuples and keys of any type, so that `score_answer` judges a row as the
library would have judged the item. `solution` is one answer that gets full marks; in `boxnet` and `rush_hour`, of
which the library knows none, it is "".

Config: `num_train` (1000), `num_test` (100), and any option of the task's own dataclass in the library, as JSON or as
`name=value` with commas between: `dataset_config: num_train=5000,min_terms=3,max_terms=8`. A wrong name is refused
with the list of those there are.

Disjointness: the SHA-256 of the question puts an item into the pool `train` (9/10) or `test` (1/10), whatever the
options and the seed, and no question stands there twice. A few tasks have few questions (`coin_flip` 256 by default);
where they run out, the splits are shorter, with a warning.

Time: 1,100 rows of most tasks take seconds. On two cores with other work to do: knight_swap 182 s, futoshiki 175,
zebra_puzzles 80, intermediate_integration 60, quantum_lock 56 (15 on idle ones), puzzle24 53, sokoban 39. The
library spends them on searches of its own, so several cores help (16 at most), and a bar shows the progress. Rows once
made are read from a cache on disk (`row_cache`, `$OPEN_R1_CACHE`): by later runs, and by the other ranks of this one.

Different from calling the library directly:
1. Rows are made in a process of their own, with fixed string hashing: five tasks would give other rows in every
   process (isomorphic_strings, knight_swap, polynomial_multiplication, ransom_note, word_ladder), so in a run on
   several GPUs every rank would train on other data. `bf` and `codeio` print. `codeio` executes programs of the
   internet that come with the library, some of which write files or open connections: it does so in a temporary
   folder, and a warning says so. Scoring executes none.
2. The library draws item i from seed + i, so that the seeds 0 and 1 share all but one item. Ours are hashed first.
3. Answers pass a guard before the library sees them (`reasoning_gym_guards`): nine of its scorers evaluate the answer
   as Python. Integrals are judged by the values of derivatives instead of sympy.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from open_r1.tasks.options import parse_config
from open_r1.tasks.reasoning_gym_guards import JUDGED_BY_GUARD, may_be_scored
from open_r1.tasks.row_cache import Splits, load_or_make
from open_r1.tasks.tagged_json import dump_json, load_json

logger = logging.getLogger(__name__)

DOMAIN = "reasoning_gym"
ENTRY_COLUMN = "reasoning_gym_entry"
POOLS = ("test", *["train"] * 9)
"""Shares of the pools, in tenths."""
FORMAT_VERSION = 1
"""Of the rows and of how they are drawn: to be raised when either changes, so that no old rows come from the cache."""
NUM_ROWS = {"num_train": 1000, "num_test": 100}
MAX_MISSES = 1000
"""Items without a new question after which a task counts as exhausted."""
PROGRESS_DELAY_S = 5
"""Seconds after which a bar on stderr shows how far the rows are."""
MAX_WORKERS = 16
SLOW_TASKS = frozenset(
    {
        "countdown",
        "futoshiki",
        "intermediate_integration",
        "jugs",
        "knight_swap",
        "polynomial_equations",
        "puzzle24",
        "quantum_lock",
        "sokoban",
        "sudoku",
        "zebra_puzzles",
    }
)
"""Tasks that take 5 to 300 ms an item; they are made by several processes."""

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


def pool_of(question: str) -> str:
    """Return the pool to which a question belongs, whatever the options and the seed."""
    digest = hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()
    return POOLS[int.from_bytes(digest[:4], "big") % len(POOLS)]


def generate_items(task: str, options: dict[str, Any], seed: int) -> Generator[dict[str, str], None, None]:
    """Yield the items of a task without end, as made by processes of their own.

    Yields:
        Dictionaries with `question`, `solution` and `entry`; with `skipped` and a reason where the library fails.

    Raises:
        ValueError: The library refuses the options; the message says why.
        RuntimeError: A process died; the message has the end of what it wrote.
    """
    num_workers = min(os.cpu_count() or 1, MAX_WORKERS) if task in SLOW_TASKS else 1
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    package_root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, environment.get("PYTHONPATH")]))
    with tempfile.TemporaryFile() as errors:
        workers = []
        try:
            for start in range(num_workers):
                order = {"task": task, "options": options, "seed": seed, "start": start, "step": num_workers}
                command = [sys.executable, "-W", "ignore", "-m", "open_r1.tasks.reasoning_gym_worker"]
                workers.append(
                    subprocess.Popen(
                        [*command, json.dumps(order)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        env=environment,
                    )
                )
            while True:
                for worker in workers:  # worker k makes the items k, k + n, ...: the order is that of one process
                    yield _read_item(worker, task, errors)
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()


def _read_item(worker: subprocess.Popen[bytes], task: str, errors: Any) -> dict[str, str]:
    line = worker.stdout.readline() if worker.stdout else b""
    if not line:
        worker.wait()
        errors.seek(0)
        tail = errors.read().decode("utf-8", "replace").strip()[-500:]
        raise RuntimeError(f"Making rows of tasks/reasoning_gym/{task} failed (exit {worker.returncode}): {tail}")
    item = json.loads(line)
    if "error" in item:
        raise ValueError(f"tasks/reasoning_gym/{task}: {item['error']}")
    return item


def load(task: str, config: str | None = None, seed: int = 0) -> Splits:
    """Return the splits `train` and `test` of one task of the library.

    Raises:
        ModuleNotFoundError: The library is not installed.
        ValueError: The task or an option does not exist, or a value is refused; the message says what there is.
    """
    where = f"tasks/reasoning_gym/{task}"
    if task not in NAMES:
        close = difflib.get_close_matches(task, NAMES, n=3)
        suggestion = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"Unknown task {where!r}.{suggestion} There is {', '.join(NAMES)}.")
    require_library()
    words, options = parse_config(config, where)
    if words:
        raise ValueError(
            f"{where} has no config {words[0]!r}; write options, such as num_train=1000 or a JSON object."
        )
    if {"seed", "size"} & options.keys():
        raise ValueError(f"{where} takes its seed from dataset_seed and its sizes from num_train and num_test.")
    wanted = {split: options.pop(f"num_{split}", NUM_ROWS[f"num_{split}"]) for split in ("train", "test")}
    for split, count in wanted.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"num_{split} of {where} is {count!r}, but it must be a whole number of at least 1.")
    key = {
        "task": task,
        "options": dump_json(options),
        "rows": wanted,
        "seed": seed,
        "format": FORMAT_VERSION,
        "library": importlib.metadata.version("reasoning-gym"),
    }
    splits = load_or_make(where, key, lambda: _collect(task, options, seed, wanted))
    for split, rows in splits.items():
        if len(rows) < wanted[split]:
            logger.warning(
                "%s has only %d different rows for its %s split, %d were asked for: other options may give more.",
                where,
                len(rows),
                split,
                wanted[split],
            )
        if not rows:
            raise ValueError(f"{where} has too few different questions with {options} for a {split} split.")
    return splits


def _collect(task: str, options: dict[str, Any], seed: int, wanted: dict[str, int]) -> Splits:
    """Make the rows: as many of each split as wanted, or fewer where the task runs out of questions."""
    where = f"tasks/reasoning_gym/{task}"
    if task == "codeio":
        logger.warning("%s executes programs from the internet that come with reasoning-gym to make its rows.", where)
    splits: Splits = {split: [] for split in wanted}
    seen: set[str] = set()
    misses = failures = 0
    with (
        closing(generate_items(task, options, seed)) as items,
        tqdm(total=sum(wanted.values()), desc=where, unit="row", delay=PROGRESS_DELAY_S, dynamic_ncols=True) as bar,
    ):
        while misses < MAX_MISSES and any(len(splits[split]) < count for split, count in wanted.items()):
            item = next(items)
            if "skipped" in item:
                misses += 1
                failures += 1
                logger.info("reasoning-gym failed to make an item of %s: %s", task, item["skipped"])
                continue
            question = item["question"]
            misses = misses + 1 if question in seen else 0
            pool = pool_of(question)
            if question not in seen and len(splits[pool]) < wanted[pool]:
                splits[pool].append(
                    {
                        "problem": question,
                        "solution": item["solution"],
                        ENTRY_COLUMN: item["entry"],
                        "domain": DOMAIN,
                    }
                )
                bar.update()
            seen.add(question)
    if failures:
        logger.warning("reasoning-gym failed to make %d of %d items of %s.", failures, len(seen) + failures, task)
    return splits


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
    defaults = {name: value for name, value in vars(config_class()).items() if name not in ("seed", "size")}
    defaults = {name: value for name, value in defaults.items() if not name.startswith("_")}
    for name in options:
        if name not in defaults and name not in ("seed", "size"):
            raise ValueError(f"unknown option {name!r}; there is {', '.join([*NUM_ROWS, *defaults])}")
    return {name: _fit(value, defaults.get(name)) for name, value in options.items()}


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


def score_answer(entry: str, answer: str) -> float:
    """Return the library's score of an answer to a row, from 0 to 1; 0 when a guard keeps the answer from it.

    Args:
        entry: The row's `reasoning_gym_entry`.
        answer: The answer, without tags.

    Raises:
        ValueError: The entry is none of ours.
        Exception: Whatever the library's scorer raises on an answer that it did not expect.
    """
    task, options, item = read_entry(entry)
    if not may_be_scored(task, answer, item):
        return 0.0
    if task in JUDGED_BY_GUARD:
        return 1.0
    return float(build_dataset(task, options).score_answer(answer, item))


@functools.lru_cache(maxsize=512)
def read_entry(entry: str) -> tuple[str, str, dict[str, Any]]:
    """Return the task, its options as JSON and the library's item of a `reasoning_gym_entry`; cached for the group.

    Raises:
        ValueError: The entry is none of ours.
    """
    try:
        loaded = load_json(entry)
        task, options = loaded["task"], loaded["options"]
        item = {name: loaded[name] for name in ("question", "answer", "metadata")}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"The column {ENTRY_COLUMN} holds {entry[:80]!r}, not an entry of tasks/reasoning_gym."
        ) from error
    if task not in NAMES:
        raise ValueError(f"The column {ENTRY_COLUMN} names the unknown task {task!r}.")
    return task, dump_json({**options, "seed": 0, "size": 1}), item  # neither matters to a scorer
