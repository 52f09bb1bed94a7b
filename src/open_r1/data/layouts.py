# SPDX-License-Identifier: Apache-2.0
"""Chooses the layout of a data set by its name. `python -m open_r1.data.layouts` lists the table.

1. A layout is never guessed: it is named (`dataset_layout`), belongs to a known name on the hub, or to the parent that
   the card of a folder of ours names. Columns that look like a layout are a hint in a warning, nothing more.
2. A known name whose columns fit none of its layouts is taken as it is, with a warning: configurations differ.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from open_r1.data.card import DataCard, read_card
from open_r1.data.layout_chosen import Chosen
from open_r1.data.layout_table import LAYOUTS, MESSAGES, PROBLEM, TARGETS, Layout
from open_r1.data.layout_turns import Prompt

logger = logging.getLogger(__name__)

NO_LAYOUT = "none"
_BY_NAME = {layout.name: layout for layout in LAYOUTS}
# Columns that our scripts add to the rows for which they asked a model.
_OF_GENERATIONS = {
    "generations": {"generations", "finish_reasons", "api_metadata"},
    "pass_rate": {"pass_rate_generations", "pass_rate_finish_reasons"},
}
_MAX_CARDS = 50


def check_name(name: str | None, where: str) -> None:
    """Raise a ValueError that lists the layouts when `name` is none of them, nor `none`, nor None."""
    if name not in (None, NO_LAYOUT, *_BY_NAME):
        raise ValueError(f"Unknown layout {name!r} of {where}: known are {', '.join(_BY_NAME)}, and none.")


def find_layout(source: str, name: str | None, columns: list[str], target: str | None) -> Layout | None:
    """Return the layout of a source, or None when its rows stay as they are.

    Args:
        source: Name of the data set, as `load_source` takes it.
        name: Layout that the user named; `none` for none, None to go by the source's name.
        columns: Columns of its rows.
        target: What is needed: `messages`, `problem`, or None for either.

    Raises:
        ValueError: The named layout is unknown, hasn't the target, or the rows lack its columns.
    """
    check_name(name, f"data set {source!r}")
    if name == NO_LAYOUT:
        return None
    if name is not None:
        _require_fit(_BY_NAME[name], source, columns, target)
        return _BY_NAME[name]
    known, origin = _layouts_of_source(source, columns, target)
    if not known:
        return None
    fitting = [layout for layout in known if _fits(layout, target, columns)]
    if fitting:
        logger.info(
            "Data set %s: layout %s by %s (%s). `dataset_layout: none` takes the columns as they are.",
            source,
            fitting[0].name,
            origin,
            fitting[0].summary,
        )
        return fitting[0]
    if any(target in (None, *layout.targets()) for layout in known):
        lacking = {layout.name: layout.missing(target or layout.targets()[0], columns) for layout in known}
        logger.warning(
            "Data set %s: the columns %s fit none of its layouts (missing: %s) and are taken as they are. "
            "Layouts that fit: %s.",
            source,
            columns,
            lacking,
            fitting_names(columns, target),
        )
    return None


def fitting_names(columns: list[str], target: str | None) -> list[str]:
    """Return the names of all layouts whose columns are there."""
    return [layout.name for layout in LAYOUTS if _fits(layout, target, columns)]


def hub_name(source: str) -> str:
    """Return `owner/name` in lower case of a name on the hub, or of a file there or in a folder of that name."""
    source = source.removeprefix("./").rstrip("/")
    if source.startswith("hf://datasets/"):
        source = "/".join(source.removeprefix("hf://datasets/").split("/")[:2]).partition("@")[0]
    elif source.count("/") == 2 and source.lower().endswith((".parquet", ".json", ".jsonl", ".csv", ".tsv", ".arrow")):
        source = source.rpartition("/")[0]
    return source.lower()


def _layouts_of_source(source: str, columns: list[str], target: str | None) -> tuple[list[Layout], str]:
    """Return the layouts that may be those of a source, best first, and what told so."""
    known = [layout for layout in LAYOUTS if hub_name(source) in map(str.lower, layout.sets)]
    if known:
        return known, "its name"
    folder = Path(source).expanduser()
    card = read_card(folder) if folder.is_dir() else None
    if card is None:
        return [], ""
    names, settings = _history(card)
    if MESSAGES in columns and any(made.get("script") == "curate" for made in settings):
        return [_BY_NAME["messages"]], "its card"
    known = [layout for layout in LAYOUTS if names & set(map(str.lower, layout.sets))]
    asked = next((made["prompt_column"] for made in settings if made.get("prompt_column")), None)
    ours = _of_generations(asked, columns)
    if ours is not None:
        # Generations are made to be learned from; completions of pass rates are but measured.
        is_first = ours.name == "generations" and target != PROBLEM
        known = [ours, *known] if is_first else [*known, ours]
    if set(columns) >= {PROBLEM, "prompt"}:  # together only in rows that were mapped for GRPO before they were written
        if target != MESSAGES:
            return [], ""
        known = [layout for layout in known if "solution" not in layout.inputs(MESSAGES)]  # it is the gold by now
    return known, f"its card, which names {', '.join(sorted(names)) or 'no parent'}"


def _of_generations(prompt_column: str | None, columns: list[str]) -> Layout | None:
    """Return the layout of rows that our scripts asked a model for, with the column that the card says was asked."""
    name = next((name for name, added in _OF_GENERATIONS.items() if set(columns) >= added), None)
    layout = _BY_NAME[name] if name is not None else None
    if layout is None or prompt_column is None or prompt_column not in columns:
        return layout
    problem = Prompt(prompt_column) if layout.problem is not None else None
    messages = layout.messages
    messages = replace(messages, question=(prompt_column,)) if isinstance(messages, Chosen) else messages
    return replace(layout, messages=messages, problem=problem)


def _history(card: DataCard) -> tuple[set[str], list[dict[str, Any]]]:
    """Return the names of the data sets that rows come from, and the settings of what was done since, latest first."""
    names: set[str] = set()
    settings: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = [card.summary()]
    while summaries and len(settings) < _MAX_CARDS:
        made = summaries.pop(0)
        settings.append(made.get("settings") or {})
        for parent in made.get("parents") or []:
            names.add(hub_name(parent["name"]))
            if parent.get("card"):
                summaries.append(parent["card"])
    return names, settings


def _fits(layout: Layout, target: str | None, columns: list[str]) -> bool:
    return any(layout.fits(each, columns) for each in ([target] if target else TARGETS))


def _require_fit(layout: Layout, source: str, columns: list[str], target: str | None) -> None:
    if _fits(layout, target, columns):
        return
    fitting = fitting_names(columns, target) or "none"
    if target is not None and target not in layout.targets():
        raise ValueError(
            f"The layout {layout.name!r} of data set {source!r} gives {_described(layout.targets())}, but needed are "
            f"{_described([target])}. Layouts that fit: {fitting}."
        )
    lacking = layout.missing(target or layout.targets()[0], columns)
    raise ValueError(
        f"The layout {layout.name!r} does not fit the data set {source!r}: missing are the columns {lacking}. Columns "
        f"found: {columns}. Layouts that fit: {fitting}."
    )


def _described(targets: Sequence[str]) -> str:
    words = {MESSAGES: "`messages` (SFT)", PROBLEM: "`problem` and what rewards need (GRPO)"}
    return " and ".join(words[target] for target in targets)


def list_layouts() -> str:
    """Return the table of layouts as Markdown."""
    lines = ["| layout | gives | maps | chosen by itself for |", "|---|---|---|---|"]
    for layout in LAYOUTS:
        gives = " + ".join(
            "messages" if target == MESSAGES else "problem" + (", solution" if layout.solution else "")
            for target in layout.targets()
        )
        lines.append(f"| `{layout.name}` | {gives} | {layout.summary} | {', '.join(layout.sets)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(list_layouts() + "\n")
