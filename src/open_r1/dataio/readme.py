# SPDX-License-Identifier: Apache-2.0
"""The README of a data folder: a header for the loader of `datasets` and the hub, then the card as tables."""

import json
from typing import Any

import yaml

from open_r1.dataio.card import UNKNOWN_LICENCE, DataCard


def render_readme(card: DataCard, files: dict[str, dict[str, list[str]]]) -> str:
    """Return the text of `README.md`.

    Args:
        card: The card.
        files: Patterns of the files by configuration and split, relative to the folder.
    """
    parts = ["---", _header(card, files), "---", f"# {card.name}", *map(_plain, card.notes), _facts(card)]
    if card.parents:
        rows = [[p.name, p.config or "", p.split, p.revision or "", p.num_rows, p.fingerprint or "", p.licence or ""]
                for p in card.parents]  # fmt: skip
        columns = ["data set", "config", "split", "revision", "rows", "fingerprint", "licence"]
        parts += ["## Made from", _table(columns, rows)]
    if card.steps:
        rows = [[s.name, s.rows_before, s.rows_after, s.rows_before - s.rows_after, _settings(s.detail)]
                for s in card.steps]  # fmt: skip
        parts += ["## Steps", _table(["step", "rows before", "rows after", "removed", "detail"], rows)]
    for title, values in (("Teacher", card.teacher), ("Sampling", card.sampling),
                          ("Contamination", card.contamination), ("Settings", card.settings),
                          ("Versions", card.versions)):  # fmt: skip
        if values is not None:
            parts += [f"## {title}", _table(["what", "value"], [[name, value] for name, value in values.items()])]
    if card.contamination is None:
        parts += ["## Contamination", "Not checked."]
    return "\n\n".join(parts).replace("---\n\n", "---\n", 1).replace("\n\n---\n", "\n---\n", 1) + "\n"


def _header(card: DataCard, files: dict[str, dict[str, list[str]]]) -> str:
    configs: list[dict[str, Any]] = [
        {"config_name": config, "data_files": [{"split": split, "path": paths} for split, paths in splits.items()]}
        for config, splits in files.items()
    ]
    if len(configs) > 1:
        configs[0]["default"] = True
    header: dict[str, Any] = {"configs": configs}
    if card.licence not in (None, UNKNOWN_LICENCE):
        header["license"] = card.licence
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip()


def _facts(card: DataCard) -> str:
    counts = ", ".join(f"{split} {number}" for split, number in card.counts.items())
    rows = [["rows", counts], ["command", f"`{card.command}`"], ["licence", card.licence], ["made", card.created],
            ["commit", card.commit]]  # fmt: skip
    return _table(["what", "value"], [row for row in rows if row[1] is not None])


def _table(columns: list[str], rows: list[list[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Return text on one line: a line of three dashes inside would end the header."""
    return " ".join(text.split())


def _settings(detail: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value if isinstance(value, str) else json.dumps(value, default=str)}"
                     for name, value in detail.items())  # fmt: skip
