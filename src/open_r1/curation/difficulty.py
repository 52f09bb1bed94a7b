# SPDX-License-Identifier: Apache-2.0
"""How hard a problem is, by the share of a model's attempts that solve it, and rows joined with such pass rates.

LIMO (arXiv 2502.03387) drops what a small model solves, and keeps what a strong one solves in 1 to 3 of 32 attempts.
"""

import hashlib
import json
import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from open_r1.data.sources import RowSource

logger = logging.getLogger(__name__)

COLUMN_PREFIX = "column:"
OWN_GENERATIONS = "generations"
NO_KEY = 0  # of rows with null in the column that names them: they have no partner
_TOLERANCE = 1e-6  # pass rates come as floats, of 32 bits in some files


@dataclass(frozen=True)
class Bounds:
    """A range of pass rates, both ends included.

    Attributes:
        low: Least pass rate.
        high: Highest pass rate.
    """

    low: float
    high: float

    def fault_of(self, rate: float | None) -> str | None:
        """Return too_hard, too_easy, no_pass_rate (None or NaN), or None for a rate within."""
        if rate is None or rate != rate:
            return "no_pass_rate"
        if rate < self.low - _TOLERANCE:
            return "too_hard"
        return "too_easy" if rate > self.high + _TOLERANCE else None


def parse_rate(text: str | float, setting: str) -> float:
    """Return a pass rate that is written as a number or a fraction.

    Raises:
        ValueError: It is neither, or not between 0 and 1.

    >>> parse_rate("3/32", "--hard_max")
    0.09375
    """
    try:
        rate = float(Fraction(str(text).strip()))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{setting} is {text!r}: give a number or a fraction, such as 0.1 or 3/32.") from None
    if not 0 <= rate <= 1:
        raise ValueError(f"{setting} is {text!r}: a pass rate is between 0 and 1.")
    return rate


def make_bounds(low: str | float, high: str | float, name: str) -> Bounds:
    """Return the bounds of the settings `--<name>_min` and `--<name>_max`.

    Raises:
        ValueError: One is no pass rate, or the lower one is higher.
    """
    bounds = Bounds(parse_rate(low, f"--{name}_min"), parse_rate(high, f"--{name}_max"))
    if bounds.low > bounds.high:
        raise ValueError(f"--{name}_min {low} is above --{name}_max {high}: no problem could be kept.")
    return bounds


class RowKeys:
    """Gives every row a key of 64 bits: its join value, and how many rows before it had the same one."""

    def __init__(self) -> None:
        self._seen: Counter[int] = Counter()

    def key(self, value: Any) -> int:
        """Return the key of the next row."""
        text = _text_of(value)
        first = _hash(text)
        occurrence = self._seen[first]
        self._seen[first] += 1
        return first if not occurrence else _hash(f"{occurrence} {text}")


def _text_of(value: Any) -> str:
    """Return a value as text; 1.0 is 1, since readers turn whole numbers beside a null into fractions."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class PassRates:
    """The pass rates of another data set, by the key of its rows. Holds about 150 bytes a row.

    Args:
        source: Rows of compute_pass_rate, or any with such a column.
        join_column: Column that names a row in both data sets.
        rate_column: Column with the pass rate: a number, or null where nothing could be judged.

    Raises:
        ValueError: A column is missing, or holds no pass rates.
    """

    def __init__(self, source: RowSource, join_column: str, rate_column: str) -> None:
        source.require([join_column, rate_column], "--join_column and --pass_rate_column")
        self.name = source.name
        self._rates: dict[int, float | None] = {}
        self._repeated: set[int] = set()
        keys, num_unlike = RowKeys(), 0
        for number, row in enumerate(source.rows([join_column, rate_column])):
            value, rate = row[join_column], checked_rate(row[rate_column], f"{source.name}, row {number}")
            if value is None:
                continue
            key, first = keys.key(value), _hash(_text_of(value))
            self._rates[key] = rate
            if key != first:
                self._repeated.add(first)
                num_unlike += rate != self._rates[first]
        if num_unlike:
            logger.warning(
                "%d rows of %s share their %r with an earlier row that has another pass rate: they go by "
                "the order of the rows. Set --join_column to a column that names one row.",
                num_unlike,
                source.name,
                join_column,
            )

    def keys(self, values: Iterable[Any]) -> Iterator[int]:
        """Yield the keys of rows by their join values.

        One pass rate serves all rows with its value; where there are several, they go by the order of the rows.
        """
        keys = RowKeys()
        for value in values:
            first = NO_KEY if value is None else _hash(_text_of(value))
            yield keys.key(value) if first in self._repeated else first

    def __contains__(self, key: int) -> bool:
        return key in self._rates

    def __getitem__(self, key: int) -> float | None:
        return self._rates[key]

    def __len__(self) -> int:
        return len(self._rates)


def checked_rate(value: object, where: str) -> float | None:
    """Return a pass rate as it stands in a column.

    Raises:
        ValueError: It is no number between 0 and 1.
    """
    if value is None or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 + _TOLERANCE:
        raise ValueError(f"{where}: the pass rate is {value!r}; it must be a number between 0 and 1, or null.")
    return float(value)


def require_same_rows(rates: PassRates, keys: Iterable[int], join_column: str, *, may_miss: bool) -> int:
    """Return how many rows have no partner in the pass rates.

    Raises:
        ValueError: None has one, or some have none and `may_miss` isn't set.
    """
    wanted = array("Q", keys)
    missing = [number for number, key in enumerate(wanted) if key not in rates]
    if not missing:
        return 0
    found = f"{len(wanted) - len(missing)} of {len(wanted)} rows are found by {join_column!r} among the {len(rates)}"
    if NO_KEY in wanted:
        found += f" ({wanted.count(NO_KEY)} have null there)"
    if len(missing) == len(wanted):
        raise ValueError(
            f"{rates.name} doesn't belong to this input: {found} of it. Name the pass rates of the same problems, or "
            "set --join_column to a column that names a row in both."
        )
    if not may_miss:
        raise ValueError(
            f"{rates.name} doesn't cover this input: {found} of it (the first without: row {missing[0]}). Compute "
            "the others' pass rates too, set --join_column to a column that names every row, or drop these rows with "
            "--drop_without_pass_rate."
        )
    return len(missing)
