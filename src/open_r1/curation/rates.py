# SPDX-License-Identifier: Apache-2.0
"""Where the pass rates of the input's rows come from: another data set, a column of the input, or its own verdicts."""

import logging

from open_r1.curation.difficulty import (
    COLUMN_PREFIX,
    OWN_GENERATIONS,
    Bounds,
    PassRates,
    checked_rate,
    require_same_rows,
)
from open_r1.curation.inputs import Inputs
from open_r1.curation.settings import CurateSettings
from open_r1.data.card import Parent
from open_r1.data.sources import open_source

logger = logging.getLogger(__name__)

_JOIN_COLUMNS = ("uuid", "id")


class RateFilter:
    """Keeps the problems within the bounds of pass rates that are known before any verdict.

    Args:
        rates: Pass rate of each row of the input by its number; a row that isn't there has none.
        bounds: What is kept.
    """

    def __init__(self, rates: dict[int, float | None], bounds: Bounds) -> None:
        self.rates = rates
        self.bounds = bounds

    def fault_of(self, row: int) -> str | None:
        """Return why a row is dropped, or None."""
        return self.bounds.fault_of(self.rates.get(row))


def find_rates(settings: CurateSettings, inputs: Inputs) -> tuple[dict[str, RateFilter], list[Parent]]:
    """Return the filters `easy` and `hard`, as far as they are asked for, and the data sets they read.

    Raises:
        ValueError: Pass rates don't belong to the input, or aren't any.
    """
    named: dict[str, tuple[list[str], Bounds]] = {
        "easy": (settings.easy_pass_rate or [], settings.easy_bounds()),
        "hard": ([settings.hard_pass_rate] if settings.hard_pass_rate else [], settings.hard_bounds()),
    }
    filters, parents = {}, []
    for name, (places, bounds) in named.items():
        found = []
        for place in places:
            if place == OWN_GENERATIONS:
                continue
            if place.startswith(COLUMN_PREFIX):
                found.append(_rates_of_column(inputs, place.removeprefix(COLUMN_PREFIX)))
            else:
                rates, parent = _joined_rates(settings, inputs, place)
                found.append(rates)
                parents.append(parent)
        if found:
            filters[name] = RateFilter(_highest(found), bounds)
    return filters, parents


def _highest(rates: list[dict[int, float | None]]) -> dict[int, float | None]:
    """Return the highest pass rate of each row, None where one of them isn't known."""
    merged: dict[int, float | None] = {}
    for row in rates[0]:
        of_row = [entry.get(row) for entry in rates]
        merged[row] = None if None in of_row else max(rate for rate in of_row if rate is not None)
    return merged


def _rates_of_column(inputs: Inputs, column: str) -> dict[int, float | None]:
    return {
        number: checked_rate(row[column], f"{part.source.name}, row {number - part.first}")
        for number, part, row in inputs.rows("pass rates", [column])
    }


def _joined_rates(settings: CurateSettings, inputs: Inputs, name: str) -> tuple[dict[int, float | None], Parent]:
    source = open_source(name)
    join_column = settings.join_column or _join_column(inputs, source.column_names)
    for part in inputs.parts:
        part.source.require([join_column], "--join_column")
    rates = PassRates(source, join_column, settings.pass_rate_column)
    keys = list(rates.keys(row[join_column] for _, _, row in inputs.rows("joining pass rates", [join_column])))
    missing = require_same_rows(rates, keys, join_column, may_miss=settings.drop_without_pass_rate)
    if missing:
        logger.warning("%d rows have no pass rate in %s: dropped.", missing, name)
    found = {number: rates[key] for number, key in enumerate(keys) if key in rates}
    return found, source.parent()


def _join_column(inputs: Inputs, others: list[str]) -> str:
    """Return a column that names rows on both sides: an id, else the problem."""
    own = [set(part.source.column_names) for part in inputs.parts]
    problems = [part.columns.problem for part in inputs.parts]
    for column in (*_JOIN_COLUMNS, *problems[:1]):
        if column is not None and column in others and all(column in names for names in own):
            return column
    raise ValueError(
        f"Nothing names the rows of both the input and its pass rates: set --join_column. Columns of the input: "
        f"{inputs.parts[0].source.column_names}; of the pass rates: {others}"
    )
