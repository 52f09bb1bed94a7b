# SPDX-License-Identifier: Apache-2.0
"""Beside a journal, what its answers don't tell: who gave them in each run, whose code asked, and how long it took.

    <benchmark>/asking.jsonl    {"served_by": [...], "commit": ...} where a run begins to ask,
                                {"tokens": ..., ...} where it ends

1. A run that is killed leaves who was asked, and no seconds: its answers are then missing in the speed, not its share.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.data.card import plain_json

ASKING_NAME = "asking.jsonl"


@dataclass(frozen=True)
class Speed:
    """How fast answers came, over all runs that have asked for some and were not killed.

    Attributes:
        tokens: Tokens of the answers.
        seconds: From the first request to the last answer, of each run.
        answers: Their number.
    """

    tokens: int
    seconds: float
    answers: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second, of all requests in flight together."""
        return self.tokens / self.seconds


def note_servers(folder: Path, served_by: Sequence[Mapping[str, Any]], commit: str | None) -> None:
    """Add who is asked from now on, and by which code; the caller alone is at the folder."""
    add_line(folder, {"served_by": [dict(entry) for entry in served_by], "commit": commit})


def note_speed(folder: Path, speed: Speed | None) -> None:
    """Add how fast the answers of a run came; None: none came, or the server doesn't count tokens."""
    if speed is not None:
        add_line(folder, vars(speed))


def read_servers(folder: Path) -> list[dict[str, Any]]:
    """Return all that were asked so far, each kind once, the first ones first."""
    found: list[dict[str, Any]] = []
    for line in read_lines(folder):
        found += [entry for entry in line.get("served_by", []) if entry not in found]
    return found


def read_commits(folder: Path) -> list[str]:
    """Return the commits of all code that has asked so far, each once, the first ones first."""
    return list(dict.fromkeys(line["commit"] for line in read_lines(folder) if isinstance(line.get("commit"), str)))


def read_speed(folder: Path) -> Speed | None:
    """Return the speed over all runs: their tokens over their seconds; None: none has measured it."""
    runs = [line for line in read_lines(folder) if "seconds" in line]
    if not runs:
        return None
    return Speed(
        sum(run["tokens"] for run in runs), sum(run["seconds"] for run in runs), sum(run["answers"] for run in runs)
    )


def add_line(folder: Path, line: Mapping[str, Any]) -> None:
    """Add what is to be known of a run."""
    path = folder / ASKING_NAME
    is_torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:  # what a killed process has half written stays a line by itself
        file.write(("\n" if is_torn else "") + json.dumps(plain_json(line), ensure_ascii=False) + "\n")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return what was added so far, of all runs."""
    try:
        lines = (folder / ASKING_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
