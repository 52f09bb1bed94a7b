# SPDX-License-Identifier: Apache-2.0
"""Makes items of a reasoning-gym task in a process of its own, one JSON line each, until nobody reads on.

    python -m open_r1.tasks.reasoning_gym_worker '{"task": "gcd", "options": {}, "seed": 0, "start": 0, "step": 1}'

Whatever the library and the programs that it executes print goes to stderr. A refusal of the options is the line
`{"error": ...}`.
"""

import contextlib
import hashlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from open_r1.tasks.reasoning_gym_bridge import build_dataset
from open_r1.tasks.tagged_json import dump_json

# Where the answer of an item is None, any of many answers is right, and the metadata name one.
_ANSWERS_IN_METADATA = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}
CHUNK_SIZE = 1000
"""Items drawn from one data set of the library. Most make an item when asked for it, but `acre` makes all at once."""


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


@contextlib.contextmanager
def _own_folder() -> Iterator[None]:
    """Go into an empty folder for a while: the programs of `codeio` write files wherever they are."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def make_items(
    task: str, options: dict[str, Any], seed: int, start: int = 0, step: int = 1
) -> Iterator[dict[str, str]]:
    """Yield the items start, start + step, ... of a task: `question`, `solution` and `entry`.

    Where the library fails to make an item, as `maze` does now and then, a dictionary with `skipped` stands for it.

    Raises:
        AssertionError, TypeError, ValueError: The library refuses the options.
    """
    for index in itertools.count(start, step):
        chunk, place = divmod(index, CHUNK_SIZE)
        settings = {**options, "seed": seed_for(task, seed, chunk), "size": CHUNK_SIZE}
        dataset = build_dataset(task, dump_json(settings))
        try:
            with _own_folder() if task == "codeio" else contextlib.nullcontext():
                item = dataset[place]
        except Exception as error:  # noqa: BLE001 - generators of the library fail as they like; counted by the reader
            yield {"skipped": repr(error)}
            continue
        entry = {"task": task, "options": options, **item}
        yield {"question": item["question"], "solution": find_solution(task, item), "entry": dump_json(entry)}


def main(order: str) -> None:
    """Write items to stdout until it is closed."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        for item in make_items(**json.loads(order)):
            lines.write(json.dumps(item) + "\n")
            lines.flush()
    except (AssertionError, TypeError, ValueError) as error:  # what the library checks its options with
        lines.write(json.dumps({"error": str(error) or repr(error)}) + "\n")
        lines.flush()


if __name__ == "__main__":
    main(sys.argv[1])
