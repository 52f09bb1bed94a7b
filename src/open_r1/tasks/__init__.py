# SPDX-License-Identifier: Apache-2.0
"""Procedural, verifiable data, one module a task; no torch, no downloads.

A recipe names a task as a data set: `dataset_name: tasks/running_sums`, `dataset_config: rl`.
A task is a function `load(config, seed) -> {split: rows}`; to add one, write its module and put it in TASKS.

`running_sums` the demo · `countdown`, `knights_knaves` puzzles · `reasoning_gym_items` the library's tasks ·
`reasoning_gym_scoring` answers to them · `options` a config · `pools` keeps training and test apart ·
`arithmetic` formulas of a model
"""

import difflib
from collections.abc import Callable

from open_r1.tasks import countdown, knights_knaves, reasoning_gym_items, running_sums
from open_r1.tasks.reasoning_gym_items import NAMES

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
    return sorted([*TASKS, *(LIBRARY_PREFIX + name for name in NAMES)])


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
    if name not in list_tasks():
        ends_alike = [known for known in list_tasks() if known.endswith(f"/{name}")]
        close = ends_alike or difflib.get_close_matches(name, list_tasks(), n=3)
        suggestion = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"Unknown task {name!r}.{suggestion} Known are {', '.join(sorted(TASKS))} and {LIBRARY_PREFIX}<name>, "
            f"with one of the {len(NAMES)} names of that library."
        )
    if name.startswith(LIBRARY_PREFIX):
        return reasoning_gym_items.load(name.removeprefix(LIBRARY_PREFIX), config, seed)
    return TASKS[name](config, seed)
