# SPDX-License-Identifier: Apache-2.0
"""The README of a data folder: a header for the loader of `datasets` and the hub, then the card as tables."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import yaml

from open_r1.data.card import DataCard, plain_json
from open_r1.data.licences import UNKNOWN_LICENCE, header_licence

_PARENT_COLUMNS = {
    "data set": "name",
    "config": "config",
    "split": "split",
    "revision": "revision",
    "rows": "num_rows",
    "fingerprint": "fingerprint",
    "licence": "licence",
}
_STEP_COLUMNS = ["step", "rows before", "rows after", "removed", "detail"]


def render_readme(card: DataCard, files: dict[str, dict[str, list[str]]]) -> str:
    """Return the text of `README.md`.

    Args:
        card: The card.
        files: Patterns of the files by configuration and split, relative to the folder.
    """
    values = plain_json(asdict(card))
    parts = [f"---\n{_header(card, files)}\n---", f"# {_plain(card.name)}", *map(_plain, values["notes"])]
    parts.append(_facts(values))
    if values["parents"]:
        lines = [
            ["&emsp;" * depth + _cell(parent["name"]), *(parent.get(key) for key in _parent_keys()[1:])]
            for depth, parent in _ancestors(values["parents"], 0)
        ]
        parts += ["## Made from", _table(list(_PARENT_COLUMNS), lines)]
    if values["steps"]:
        lines = [
            [
                step["name"],
                step["rows_before"],
                step["rows_after"],
                step["rows_before"] - step["rows_after"],
                _settings(step["detail"]),
            ]
            for step in values["steps"]
        ]
        parts += ["## Steps", _table(_STEP_COLUMNS, lines)]
    parts += ["## Contamination", _contamination(values)]
    for title in ("teacher", "sampling", "settings", "versions"):
        if values[title]:
            parts += [f"## {title.capitalize()}", _table(["what", "value"], list(map(list, values[title].items())))]
    return "\n\n".join(parts) + "\n"


def _header(card: DataCard, files: dict[str, dict[str, list[str]]]) -> str:
    configs: list[dict[str, Any]] = [
        {"config_name": config, "data_files": [{"split": split, "path": paths} for split, paths in splits.items()]}
        for config, splits in files.items()
    ]
    if len(configs) > 1:
        configs[0]["default"] = True
    header: dict[str, Any] = {"configs": configs, **header_licence(card.licence or UNKNOWN_LICENCE)}
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip()


def _facts(values: dict[str, Any]) -> str:
    counts = ", ".join(f"{split} {number}" for split, number in values["counts"].items())
    rows = [
        ["rows", counts],
        ["command", f"`{values['command']}`"],
        ["licence", values["licence"]],
        ["made", values["created"]],
        ["commit", values["commit"]],
        ["files beside the data", ", ".join(values["reports"]) or None],
    ]
    return _table(["what", "value"], [row for row in rows if row[1] is not None])


def _parent_keys() -> list[str]:
    return list(_PARENT_COLUMNS.values())


def _ancestors(parents: list[dict[str, Any]], depth: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the parents, each followed by what it was made from, with the number of steps back."""
    for parent in parents:
        yield depth, parent
        yield from _ancestors((parent.get("card") or {}).get("parents", []), depth + 1)


def _contamination(values: dict[str, Any]) -> str:
    """Say what was checked here, else what was found where the rows come from."""
    own = values["contamination"]
    checked = [
        (parent["name"], found)
        for _, parent in _ancestors(values["parents"], 0)
        if (found := (parent.get("card") or {}).get("contamination"))
    ]
    parts = [] if own is None else [_table(["what", "value"], list(map(list, own.items())))]
    if not checked:
        return parts[0] if parts else "Not checked."
    lines = [[name, _settings(found)] for name, found in checked]
    before = "Of what it was made from:\n\n" + _table(["data set", "result"], lines)
    return "\n\n".join([*parts, before]) if parts else f"Not checked here. {before}"


def _table(columns: list[str], rows: list[list[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _plain(text).replace("\\|", "|").replace("|", "\\|")


def _plain(text: str) -> str:
    """Return text on one line, without tags and images of a web page."""
    return " ".join(text.split()).replace("<", "&lt;").replace("![", "!\\[")


def _settings(detail: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in detail.items()
    )
