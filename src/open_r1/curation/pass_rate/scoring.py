# SPDX-License-Identifier: Apache-2.0
"""Rewards of whole groups: all completions of a row in one call, as GRPO's trainer would call them."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.rewards import Reward, is_unscorable, run_reward

logger = logging.getLogger(__name__)

# What a killed run judges again.
MOST_COMPLETIONS = 64
MOST_LOST_ROWS = 8
_TAKEN = {"prompt", "completion", "completion_ids"}  # names that TRL gives its own meaning


class RewardsDownError(RuntimeError):
    """Nothing could be judged any more: a service that a reward needs is down."""


@dataclass(frozen=True)
class Group:
    """The completions of a row.

    Attributes:
        row: Number of the row.
        columns: The row's columns; `prompt` is its conversation.
        indices: Which generations there are; others failed.
        texts: Their texts.
        token_ids: Their tokens, with the end token where they ended by themselves.
    """

    row: int
    columns: Mapping[str, Any]
    indices: tuple[int, ...]
    texts: Sequence[str]
    token_ids: Sequence[Sequence[int]]


def chunks(groups: Iterable[Group], most: int = MOST_COMPLETIONS) -> Iterator[list[Group]]:
    """Yield groups for one call each, at most `most` completions if a group has no more.

    Groups with an equal prompt never follow each other in a chunk: rewards tell groups apart by their prompts.
    """
    chunk: list[Group] = []
    size = 0
    for group in groups:
        is_full = size + len(group.texts) > most
        if chunk and (is_full or chunk[-1].columns["prompt"] == group.columns["prompt"]):
            yield chunk
            chunk, size = [], 0
        chunk.append(group)
        size += len(group.texts)
    if chunk:
        yield chunk


class Scorer:
    """Calls rewards on groups.

    Args:
        rewards: Rewards by name.
        given: What else TRL passes, such as `trainer_state`.
        tries: How often a group is judged in all while a value is NaN.
        pause_s: Wait before the second try; it doubles.
        counted: Rewards that decide a rate; others are only watched, and may be down. None: all decide.
    """

    def __init__(
        self,
        rewards: Mapping[str, Reward],
        *,
        given: Mapping[str, Any],
        tries: int = 3,
        pause_s: float = 2.0,
        counted: Collection[str] | None = None,
    ) -> None:
        self._rewards = rewards
        self._counted = set(rewards if counted is None else counted)
        self._given, self._tries, self._pause_s = given, tries, pause_s
        self._lost_rows = 0

    def score(self, groups: Sequence[Group]) -> list[dict[str, list[float | None]]]:
        """Return the values of each reward, for each group.

        Raises:
            ValueError: A reward returns another number of values than there are completions.
            RewardsDownError: Not one completion of `MOST_LOST_ROWS` rows in a row could be judged.
        """
        found: list[dict[str, list[float | None]]] = [{} for _ in groups]
        for name, reward in self._rewards.items():
            for values, rewards in zip(self._score(name, reward, groups), found, strict=True):
                rewards[name] = values
        counted = [{name: rewards[name] for name in rewards if name in self._counted} for rewards in found]
        self._lost_rows = self._lost_rows + len(found) if all(map(_is_all_lost, counted)) else 0
        if self._lost_rows >= MOST_LOST_ROWS:
            raise RewardsDownError(
                f"No completion of the last {self._lost_rows} rows could be judged: a service that a reward needs is "
                "down (the warnings above say which). What was judged is kept; the same command goes on later."
            )
        return found

    def _score(self, name: str, reward: Reward, groups: Sequence[Group]) -> list[list[float | None]]:
        values = self._call(name, reward, groups)
        for attempt in range(1, self._tries if name in self._counted else 1):
            lost = [number for number, found in enumerate(values) if any(map(is_unscorable, found))]
            if not lost:
                break
            pause_s = self._pause_s * 2 ** (attempt - 1)
            logger.warning(
                "%s could not judge %d of %d groups (first: row %d); asked again in %.0f s.",
                name,
                len(lost),
                len(groups),
                groups[lost[0]].row,
                pause_s,
            )
            time.sleep(pause_s)
            for number, found in zip(lost, self._call(name, reward, [groups[i] for i in lost]), strict=True):
                values[number] = found
        return values

    def _call(self, name: str, reward: Reward, groups: Sequence[Group]) -> list[list[float | None]]:
        sizes = [len(group.texts) for group in groups]
        try:
            values = run_reward(reward, **self._arguments(groups))
        except Exception as error:
            error.add_note(f"The reward {name!r} failed on rows {groups[0].row} to {groups[-1].row}.")
            raise
        if len(values) != sum(sizes):
            raise ValueError(f"The reward {name!r} returned {len(values)} values for {sum(sizes)} completions.")
        numbers = iter(None if value is None else float(value) for value in values)
        return [[next(numbers) for _ in range(size)] for size in sizes]

    def _arguments(self, groups: Sequence[Group]) -> dict[str, Any]:
        columns: dict[str, Any] = {
            name: [group.columns[name] for group in groups for _ in group.texts]
            for name in groups[0].columns
            if name not in _TAKEN
        }
        return {
            **columns,
            "prompts": [group.columns["prompt"] for group in groups for _ in group.texts],
            "completions": [[{"role": "assistant", "content": text}] for group in groups for text in group.texts],
            "completion_ids": [list(ids) for group in groups for ids in group.token_ids],
            "log_extra": _ignore,
            "log_metric": _ignore,
            **self._given,
        }


def _is_all_lost(rewards: Mapping[str, Sequence[float | None]]) -> bool:
    return any(values and all(map(is_unscorable, values)) for values in rewards.values())


def _ignore(name: str, value: object) -> None:
    pass


def to_json(values: Sequence[float | None]) -> list[float | str | None]:
    """Return values as JSON can hold them: NaN is no JSON."""
    return ["unscorable" if value is not None and math.isnan(value) else value for value in values]


def from_json(values: Sequence[float | str | None]) -> list[float | None]:
    """Return what `to_json` was given."""
    return [math.nan if isinstance(value, str) else value for value in values]


Encode = Callable[[Sequence[str]], list[list[int]]]
