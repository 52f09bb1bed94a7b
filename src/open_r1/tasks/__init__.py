# SPDX-License-Identifier: Apache-2.0
"""Procedural, verifiable data: one module a task, each with a generator and a checker; no torch, no downloads.

A recipe names a task as a data set: `dataset_name: tasks/running_sums`, `dataset_config: rl`.
A task is a function `load(config, seed) -> {split: rows}`; to add one, write its module and put it in TASKS.

`running_sums` the demo · `countdown` and `knights_knaves` our own puzzles · `reasoning_gym/<name>` the library's, by
`reasoning_gym_bridge`, with its `_guards` and its `_worker` · `row_cache` keeps the library's rows on disk, and
`tagged_json` their metadata · `options` reads a config · `arithmetic` and `formulas` read what a model computes.
"""

import difflib
from collections.abc import Callable

from open_r1.tasks import countdown, knights_knaves, reasoning_gym_bridge, running_sums

Row = dict[str, object]
TaskLoader = Callable[[str | None, int], dict[str, list[Row]]]

TASKS: dict[str, TaskLoader] = {
    "countdown": countdown.load,
    "knights_knaves": knights_knaves.load,
    "running_sums": running_sums.load,
}
LIBRARY_PREFIX = "reasoning_gym/"


def list_tasks() -> list[str]:
    """Return the names that `load_task` knows, sorted; those of the library whether it is installed or not."""
    return sorted([*TASKS, *(LIBRARY_PREFIX + name for name in reasoning_gym_bridge.NAMES)])


def load_task(name: str, config: str | None = None, seed: int = 0) -> dict[str, list[Row]]:
    """Build the splits of a procedural task; the same arguments always give the same rows.

    Args:
        name: Name of the task, without the `tasks/` in front.
        config: Which of the task's data sets; None takes the task's default.
        seed: Picks the rows. Test rows of any seed stay disjoint from training rows of every seed.

    Raises:
        ModuleNotFoundError: The task is one of the library's, which is not installed.
        ValueError: The task or the config does not exist; the message lists those that do.
    """
    if name.startswith(LIBRARY_PREFIX):
        return reasoning_gym_bridge.load(name.removeprefix(LIBRARY_PREFIX), config, seed)
    if name not in TASKS:
        ends_alike = [known for known in list_tasks() if known.endswith(f"/{name}")]
        close = ends_alike or difflib.get_close_matches(name, list_tasks(), n=3)
        suggestion = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"Unknown task {name!r}.{suggestion} There is {', '.join(sorted(TASKS))} and {LIBRARY_PREFIX}<name>, with "
            f"one of the {len(reasoning_gym_bridge.NAMES)} names of that library."
        )
    return TASKS[name](config, seed)
