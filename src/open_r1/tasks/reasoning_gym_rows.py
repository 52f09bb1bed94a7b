# SPDX-License-Identifier: Apache-2.0
r"""Rows made by the reasoning-gym library (extra `puzzles`): 105 generated tasks, each with the library's own scorer.

A row of `tasks/reasoning_gym/chain_sum`:
    {"problem": "State the final answer to the following arithmetic problem: 4 + 3 =", "solution": "7",
     "reasoning_gym_entry": "{\"task\": \"chain_sum\", \"options\": {}, \"question\": ..., \"answer\": \"7\", ...}",
     "domain": "reasoning_gym"}

`reasoning_gym_entry` is the library's item, from which `reasoning_gym_scoring` scores an answer as the library would.
`solution` is one answer that gets full marks; in `boxnet` and `rush_hour`, of which the library knows none, it is "".

Config: `num_train` (1000), `num_test` (100), and any option of the task's own dataclass in the library, as JSON or as
`name=value` with commas between: `dataset_config: num_train=5000,min_terms=3,max_terms=8`. A wrong name is refused
with the list of those there are.

Disjointness: the SHA-256 of the question puts an item into the pool `train` (9/10) or `test` (1/10), whatever the
options and the seed, and no question occurs twice. A few tasks have few questions (`coin_flip` 256 by default);
where they run out, the splits are shorter, with a warning.

Time: 1,100 rows of most tasks take seconds. On two busy cores: knight_swap 182 s, futoshiki 175, zebra_puzzles 80,
intermediate_integration 60, quantum_lock 56, puzzle24 53, sokoban 39. The library spends them on searches of its own,
so several cores help (16 at most, shared by the ranks of a node). Each run, and each rank of it, makes its rows anew.

Different from calling the library directly:
1. Rows are made in a process of their own, with fixed string hashing and fixed seeds of `random` and numpy: seven
   tasks would give other rows in every process (codeio, isomorphic_strings, knight_swap, list_functions,
   polynomial_multiplication, ransom_note, word_ladder), so in a run on several GPUs every rank would train on other
   data. `bf` and `codeio` print. `codeio` executes programs of the internet that come with the library, some of which
   write files or open connections: a warning says so. The process runs in a temporary folder. Scoring executes none.
2. The library draws item i from seed + i, so that the seeds 0 and 1 share all but one item. Ours are hashed first.
3. An item that takes longer than ITEM_LIMIT_S ends the run: some options have the library search without end.
"""

import contextlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from open_r1.tasks.options import parse_config
from open_r1.tasks.pools import choose_pool
from open_r1.tasks.reasoning_gym_items import require_library

logger = logging.getLogger(__name__)

DOMAIN = "reasoning_gym"
ENTRY_COLUMN = "reasoning_gym_entry"
POOLS = ("test", *["train"] * 9)
"""Shares of the pools, in tenths."""
NUM_ROWS = {"num_train": 1000, "num_test": 100}
MAX_MISSES = 1000
"""Items without a new question after which a task counts as exhausted."""
ITEM_LIMIT_S = 300
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


def pool_of(question: str) -> str:
    """Return the pool to which a question belongs, whatever the options and the seed."""
    return choose_pool(question, POOLS)


def load(task: str, config: str | None = None, seed: int = 0) -> dict[str, list[dict[str, object]]]:
    """Return the splits `train` and `test` of one task of the library.

    Raises:
        ModuleNotFoundError: The library is not installed.
        RuntimeError: A process that makes items died, or one item took too long.
        ValueError: An option does not exist, or a value is refused; the message says what there is.
    """
    where = f"tasks/reasoning_gym/{task}"
    require_library()
    options, wanted = read_config(config, where)
    if task == "codeio":
        logger.warning("%s executes programs from the internet that come with reasoning-gym to make its rows.", where)
    if task in SLOW_TASKS:
        logger.info("Making %d rows of %s, which may take minutes.", sum(wanted.values()), where)
    with contextlib.closing(generate_items(task, options, seed)) as items:
        splits = collect_rows(items, wanted, where)
    for split, rows in splits.items():
        if not rows:
            raise ValueError(f"{where} has too few different questions with {options} for a {split} split.")
        if len(rows) < wanted[split]:
            logger.warning(
                "%s has only %d different rows for its %s split, %d were asked for: other options may give more.",
                where,
                len(rows),
                split,
                wanted[split],
            )
    return splits


def read_config(config: str | None, where: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the library's options in a config, and the number of rows of each split."""
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
    return options, wanted


def collect_rows(
    items: Iterator[dict[str, str]], wanted: dict[str, int], where: str
) -> dict[str, list[dict[str, object]]]:
    """Return as many rows of each split as wanted, or fewer where the task runs out of questions."""
    splits: dict[str, list[dict[str, object]]] = {split: [] for split in wanted}
    seen: set[str] = set()
    misses = failures = 0
    while misses < MAX_MISSES and any(len(splits[split]) < count for split, count in wanted.items()):
        item = next(items)
        if "skipped" in item:
            misses += 1
            failures += 1
            logger.info("Left out an item of %s: %s", where, item["skipped"])
            continue
        question, pool = item["question"], pool_of(item["question"])
        misses = misses + 1 if question in seen else 0
        if question not in seen and len(splits[pool]) < wanted[pool]:
            splits[pool].append(
                {"problem": question, "solution": item["solution"], ENTRY_COLUMN: item["entry"], "domain": DOMAIN}
            )
        seen.add(question)
    if failures:
        logger.warning("reasoning-gym failed to make %d items of %s, or they differ from run to run.", failures, where)
    return splits


def generate_items(task: str, options: dict[str, Any], seed: int) -> Generator[dict[str, str], None, None]:
    """Yield the items of a task without end, as made by processes of their own.

    Yields:
        What `make_items` yields, in the same order whatever the number of processes.

    Raises:
        RuntimeError: A process died; the message has the end of what it wrote.
        ValueError: The library refuses the options; the message says why.
    """
    num_workers = num_processes(task)
    package_root = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": python_path}
    program = "from open_r1.tasks.reasoning_gym_items import write_items; write_items()"
    workers: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for start in range(num_workers):
                order = {"task": task, "options": options, "seed": seed, "start": start, "step": num_workers}
                workers.append(
                    subprocess.Popen(
                        [sys.executable, "-W", "ignore", "-c", program, json.dumps(order), str(ITEM_LIMIT_S)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        cwd=folder,
                        env=environment,
                    )
                )
            for worker in itertools.cycle(workers):  # worker k makes the items k, k + n, ...
                yield _read_item(worker, task, errors)
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()


def num_processes(task: str) -> int:
    """Return how many processes make the items of a task; the ranks of a node share its cores."""
    if task not in SLOW_TASKS:
        return 1
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(cores, MAX_WORKERS))


def _read_item(worker: subprocess.Popen[bytes], task: str, errors: Any) -> dict[str, str]:
    line = worker.stdout.readline() if worker.stdout else b""
    if not line:
        failed = f"Making rows of tasks/reasoning_gym/{task} failed"
        if worker.wait() == -signal.SIGALRM:
            raise RuntimeError(f"{failed}: an item took more than {ITEM_LIMIT_S} s. Try other options.")
        errors.seek(0)
        tail = errors.read().decode("utf-8", "replace").strip()[-500:]
        raise RuntimeError(f"{failed} (exit {worker.returncode}): {tail}")
    item = json.loads(line)
    if "error" in item:
        raise ValueError(f"tasks/reasoning_gym/{task}: {item['error']}")
    return item
