#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""In what do the recipes differ from those of Open R1, and why? Prints a Markdown table.

    python scripts/upstream_differences.py            # print it
    python scripts/upstream_differences.py --write    # put it into recipes/README.md
    python scripts/upstream_differences.py --check    # exit status 1 where recipes/README.md is out of date

recipes/upstream.yaml holds Open R1's values; old names are translated. The reason for a difference is the comment
beside the key in the recipe, or the lines above it. A difference without a reason ends with status 1.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from open_r1.data.flags import FlagParser
from open_r1.recipes import TRANSLATIONS, load_recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
BEGIN, END = "<!-- differences: made by scripts/upstream_differences.py -->", "<!-- end of differences -->"
ABSENT = object()
SCALE_REWARDS = {True: "group", False: "none"}  # TRL takes both spellings


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="put the table into recipes/README.md")
    action.add_argument("--check", action="store_true", help="exit status 1 where recipes/README.md differs")
    return parser


def main(argv: Sequence[str] | None = None, recipes: Path = RECIPES) -> int:
    """Run the command line; refusals are one message and exit status 1."""
    args = build_parser().parse_args(argv)
    page = recipes / "README.md"
    try:
        table = make_table(recipes)
        text = page.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        new = f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}"
    except (OSError, ValueError, LookupError) as error:
        print(f"upstream_differences.py: {error}", file=sys.stderr)
        return 1
    if args.check:
        if new != text:
            print(f"{page} is out of date: run scripts/upstream_differences.py --write.", file=sys.stderr)
        return int(new != text)
    if args.write:
        page.write_text(new, encoding="utf-8")
    else:
        print(table)
    return 0


def make_table(folder: Path) -> str:
    """Return the table: one row a key, pair of values and reason.

    Raises:
        ValueError: A recipe is missing; differences without a reason, each named by recipe and key.
    """
    upstream = load_recipe(folder / "upstream.yaml")
    names = list(upstream["recipes"])
    rows: dict[tuple[str, ...], list[str]] = {}
    unexplained = []
    for name in names:
        for key, theirs, ours in differences(upstream, name, load_recipe(folder / name)):
            reason = reason_beside(key, (folder / name).read_text(encoding="utf-8"))
            if not reason:
                unexplained.append(f"{name}: {key}")
            rows.setdefault((f"`{key}`", theirs, ours, reason), []).append(name)
    if unexplained:
        raise ValueError("differences without a reason beside the key:\n  " + "\n  ".join(unexplained))
    table = [("key", "Open R1", "here", "recipes", "reason"), ("---",) * 5]
    table += [(*row[:3], labels(where, names), row[3]) for row, where in sorted(rows.items())]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table)


def differences(upstream: dict[str, Any], name: str, recipe: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return key of today, Open R1's value and the recipe's, both as text, of what differs in a recipe."""
    task = Path(name).parent.name
    by_default = upstream["by_default"][task] | upstream["by_default"].get(name, {})
    written = upstream["common"][task] | upstream["recipes"][name]
    found = []
    for old, value in (by_default | written).items():
        translation = TRANSLATIONS.get(old)
        key = translation.name if translation else old
        if key is None:  # it has no effect any more
            continue
        theirs = translation.convert(value) if translation else value
        ours = recipe.get(key, ABSENT)
        if normalised(key, theirs) != normalised(key, ours):
            note = "" if old in written else ", by default"
            found.append((key, shown(value) + note, shown(ours)))
    return found


def labels(where: list[str], names: list[str]) -> str:
    """Return recipes in short: `all grpo` for all of a task, else model and configuration."""
    found = []
    for task in dict.fromkeys(Path(name).parent.name for name in where):
        of_task = [name for name in names if Path(name).parent.name == task]
        here = [name for name in where if name in of_task]
        short = [re.sub(r"/(sft|grpo)/config_", "/", name).removesuffix(".yaml") for name in here]
        found += [f"all {task}"] if here == of_task and len(here) > 1 else short
    return ", ".join(found)


def normalised(key: str, value: Any) -> Any:
    """Return a value in one of the forms that mean the same."""
    if key == "scale_rewards" and isinstance(value, bool):
        return SCALE_REWARDS[value]
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def shown(value: Any) -> str:
    """Return a value as the table has it: long texts and descriptions in words."""
    if value is ABSENT:
        return "-"
    if isinstance(value, str) and ("\n" in value or value.startswith("(")):
        return "other words" if "\n" in value else value.strip("()")
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    return f"`{text}`"


def reason_beside(key: str, text: str) -> str:
    """Return the comment on the line of a key, else the comment lines above it, without the heading of a section."""
    lines = text.splitlines()
    position = next((number for number, line in enumerate(lines) if line.startswith(f"{key}:")), None)
    if position is None:
        return ""
    beside = re.search(r"\s# (.*)", lines[position])
    if beside:
        return beside[1]
    first = position
    while lines[first - 1].startswith("# "):
        first -= 1
    first += lines[first - 1] == "" and first < position  # a heading
    return " ".join(line.removeprefix("# ") for line in lines[first:position])


if __name__ == "__main__":
    sys.exit(main())
