# SPDX-License-Identifier: Apache-2.0
"""The data set of a pass-rate run: all rows with their completions, and the rows that are kept, with the rates alone.

Columns that are added, G completions of a row, `<name>` a reward; null where nothing was asked or could be judged:

    pass_rate                  float        mean of the weighted sum of the rewards
    pass_rate_<name>           float        mean of one reward
    pass_rate_rewards          list[float]  G weighted sums
    pass_rate_rewards_<name>   list[float]  G values of one reward
    pass_rate_status           text         kept, too easy, too hard, or why there is no rate (`Status`)
    pass_rate_generations      list[text]   G completions, null for a request that failed; only in the rows of all
    pass_rate_finish_reasons   list[text]   G times stop, length, error, ...
    pass_rate_num_tokens       list[int]    G lengths, as far as they were counted
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from open_r1.curation.pass_rate.rates import NOT_ASKED, Rates, Status, rates_of, status_of
from open_r1.data.card import DataCard, Step
from open_r1.data.folder import DatasetFolder
from open_r1.generation.messages import ERROR

logger = logging.getLogger(__name__)

KEPT_CONFIG = "pass_rate"
GENERATIONS_COLUMN, STATUS_COLUMN, REASONS_COLUMN = (
    "pass_rate_generations",
    "pass_rate_status",
    "pass_rate_finish_reasons",
)
_ROWS_AT_A_TIME = 32  # of long completions, 30 MB
_BY_REASON = "completions by finish reason"
_MISSING = (Status.INCOMPLETE, Status.NO_COMPLETION)
_FLOATS, _TEXTS = pa.list_(pa.float64()), pa.list_(pa.string())


@dataclass(frozen=True)
class Judged:
    """What the rewards said of a row.

    Attributes:
        indices: Which generations they saw.
        rewards: Values by reward, one for each of those.
    """

    indices: tuple[int, ...]
    rewards: Mapping[str, Sequence[float | None]]


class Outcome(Protocol):
    """The parts of a `PassRateRun` that are read here."""

    start: int
    end: int
    statuses: dict[int, Status]
    weights: Mapping[str, float]
    bounded_reward: str | None
    bounds: tuple[float, float]
    num_generations: int

    @property
    def read_table(self) -> Callable[[int, int], pa.Table]: ...


class CompletionReader(Protocol):
    """Reads completions of a row: `Texts`."""

    def read(self, row: int) -> list[dict[str, Any] | None]: ...


class Tally:
    """Counts what became of rows and completions, from the tables that are written."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table."""
        self.statuses.update(table[STATUS_COLUMN].to_pylist())
        self.reasons.update(reason for row in table[REASONS_COLUMN].to_pylist() for reason in row or [])

    def steps(self, bounds: Sequence[float]) -> list[Step]:
        """Return the steps of the card."""

        def counted(*statuses: Status) -> dict[str, Any]:
            return {str(status): self.statuses[status] for status in statuses if self.statuses[status]}

        total, kept = self.statuses.total(), self.statuses[Status.KEPT]
        asked = total - sum(self.statuses[status] for status in NOT_ASKED)
        rated = kept + self.statuses[Status.TOO_EASY] + self.statuses[Status.TOO_HARD]
        return [
            Step("prompts that can be asked", total, asked, counted(*NOT_ASKED)),
            Step(
                "completions judged",
                asked,
                rated,
                {
                    **counted(*_MISSING, Status.UNJUDGED, Status.UNSCORABLE),
                    _BY_REASON: dict(sorted(self.reasons.items())),
                },
            ),
            Step(
                "pass rate within the bounds",
                rated,
                kept,
                {"lowest": bounds[0], "highest": bounds[1], **counted(Status.TOO_EASY, Status.TOO_HARD)},
            ),
        ]


def publish(run: Outcome, folder: DatasetFolder, texts: CompletionReader, judged: Mapping[int, Judged]) -> None:
    """Write all rows, and those that are kept.

    Args:
        run: What was asked.
        folder: Where to.
        texts: The completions.
        judged: What the rewards said, by row.
    """
    tally = Tally()
    outside = 0
    with folder:
        for table, rates in _tables(run, texts, judged):
            outside += sum(not -1e-9 <= rate <= 1 + 1e-9 for rate in rates)
            write(folder, table, tally)
        folder.card.steps += tally.steps(run.bounds)
    if missing := sum(tally.statuses[status] for status in _MISSING):
        logger.warning(
            "%d rows have fewer than %d completions and no rate: the same command asks for those again that may come; "
            "--overwrite asks for all.",
            missing,
            run.num_generations,
        )
    if outside and run.bounded_reward is None:
        logger.warning(
            "The combined reward of %d rows is outside [0, 1], so it is no rate: let `reward_weights` add up to 1, or "
            "name one reward by `pass_rate_reward`.",
            outside,
        )


def has_missing(card: DataCard) -> bool:
    """Whether rows of a finished data set lack completions, because their requests failed."""
    return any(step.detail.get(str(status)) for step in card.steps for status in _MISSING)


def num_completions(card: DataCard) -> int:
    """Return how many completions a finished data set has."""
    reasons = [step.detail.get(_BY_REASON, {}) for step in card.steps]
    return sum(count for counts in reasons for reason, count in counts.items() if reason != ERROR)


def write(folder: DatasetFolder, table: pa.Table, tally: Tally) -> None:
    """Write rows, and once more, without their completions, those that are kept."""
    tally.add(table)
    folder.write(table)
    is_kept = pa.array([status == Status.KEPT for status in table[STATUS_COLUMN].to_pylist()])
    kept = table.filter(is_kept).drop_columns([GENERATIONS_COLUMN, REASONS_COLUMN])
    if len(kept):
        folder.write(kept, config=KEPT_CONFIG)


def added_columns(rewards: Sequence[str]) -> list[str]:
    """Return the names of the columns that a run with these rewards adds."""
    own = [name for reward in rewards for name in (f"pass_rate_{reward}", f"pass_rate_rewards_{reward}")]
    return [
        "pass_rate",
        *own,
        "pass_rate_rewards",
        STATUS_COLUMN,
        GENERATIONS_COLUMN,
        REASONS_COLUMN,
        "pass_rate_num_tokens",
    ]


def _tables(
    run: Outcome, texts: CompletionReader, judged: Mapping[int, Judged]
) -> Iterator[tuple[pa.Table, list[float]]]:
    """Yield the source's rows with the columns that are added, and their combined rates."""
    names = list(run.weights)
    for start in range(run.start, run.end, _ROWS_AT_A_TIME):
        end = min(start + _ROWS_AT_A_TIME, run.end)
        table = run.read_table(start, end)
        table = table.drop_columns([name for name in table.column_names if name in added_columns(names)])
        rows = [_added(run, row, texts, judged.get(row)) for row in range(start, end)]
        for name in added_columns(names):
            values = pa.array([values[name] for values in rows], type=_type_of(name, names))
            table = table.append_column(name, values)
        yield table, [values["pass_rate"] for values in rows if values["pass_rate"] is not None]


def _added(run: Outcome, row: int, texts: CompletionReader, judged: Judged | None) -> dict[str, Any]:
    """Return the values that are added to a row."""
    values: dict[str, Any] = dict.fromkeys(added_columns(list(run.weights)))
    if row in run.statuses:
        return values | {STATUS_COLUMN: str(run.statuses[row])}
    records = [record or {} for record in texts.read(row)]
    values |= {
        GENERATIONS_COLUMN: [record.get("text") for record in records],
        REASONS_COLUMN: [record.get("finish_reason") for record in records],
        "pass_rate_num_tokens": [(record.get("usage") or {}).get("completion_tokens") for record in records],
    }
    if judged is None:
        return values | {STATUS_COLUMN: str(Status.NO_COMPLETION)}
    rates = rates_of(judged.rewards, run.weights)
    if len(judged.indices) < run.num_generations:
        unrated = dict.fromkeys(["pass_rate", *(f"pass_rate_{name}" for name in judged.rewards)])
        return values | _rated(run, rates, judged) | unrated | {STATUS_COLUMN: str(Status.INCOMPLETE)}
    bounded = rates.rate if run.bounded_reward is None else rates.by_reward[run.bounded_reward]
    return values | _rated(run, rates, judged) | {STATUS_COLUMN: str(status_of(bounded, *run.bounds))}


def _rated(run: Outcome, rates: Rates, judged: Judged) -> dict[str, Any]:
    def spread(found: Sequence[float | None]) -> list[float | None]:
        by_index = dict(zip(judged.indices, found, strict=True))
        return [_number(by_index.get(index)) for index in range(run.num_generations)]

    values: dict[str, Any] = {"pass_rate": _number(rates.rate), "pass_rate_rewards": spread(rates.combined)}
    for name, rewards in judged.rewards.items():
        values[f"pass_rate_{name}"] = _number(rates.by_reward[name])
        values[f"pass_rate_rewards_{name}"] = spread(rewards)
    return values


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _type_of(column: str, rewards: Sequence[str]) -> pa.DataType:
    if column in (GENERATIONS_COLUMN, REASONS_COLUMN):
        return _TEXTS
    if column == "pass_rate_num_tokens":
        return pa.list_(pa.int64())
    if column == STATUS_COLUMN:
        return pa.string()
    is_list = column == "pass_rate_rewards" or column in {f"pass_rate_rewards_{name}" for name in rewards}
    return _FLOATS if is_list else pa.float64()
