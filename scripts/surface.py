# SPDX-License-Identifier: Apache-2.0
"""Write names that users depend on, one a line: flags, recipe keys, metrics, columns, files. The diff shows changes.

    python scripts/surface.py --output assets/surface.txt             # make surface

Flags and recipe keys come from the parsers that the programs build: each runs up to where it parses its command line.
Metrics, keys and file names are literals in src/open_r1, `{}` for what an f-string fills in. Not covered: tables of
names (rewards, benchmarks, tasks), flags of job scripts, environment variables, and what libraries log and write.
"""

import argparse
import ast
import contextlib
import os
import re
import runpy
import sys
import tempfile
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
NUM_CORES = 9973  # a default that is the number of cores
HEADINGS = ("Flags of programs", "Recipe keys", "Metrics", "Keys and columns of outputs", "File names")
FILE_NAME = re.compile(r'"([\w.*{}-]*[\w}]\.(?:json|jsonl|parquet|png|md|csv|ya?ml|txt|log|done|lock))"')
METRIC = re.compile(r"(?!application/)(?=.*[a-z])[a-z_{}]+[/@][\w{}/]+")


class _Parsed(BaseException):
    """Raised where a program parses its words; no program catches this."""


def parser_of(program: Path) -> argparse.ArgumentParser:
    """Run a program up to where it parses its command line, and return its parser."""
    parse = argparse.ArgumentParser.parse_known_args

    def stop(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> object:
        if parser.add_help:
            raise _Parsed(parser)
        return parse(parser, *args, **kwargs)  # looks for `--config` alone

    with patch.object(argparse.ArgumentParser, "parse_known_args", stop), patch.object(sys, "argv", ["program"]):
        try:
            runpy.run_path(str(program), run_name="__main__")
        except _Parsed as stopped:
            return stopped.args[0]
    raise RuntimeError(f"{program} has parsed no command line")


def shown(value: object) -> str:
    """Return a default as text that is the same on every machine.

    >>> shown(ROOT / "data"), shown(NUM_CORES)
    ("'<project>/data'", '<cores>')
    """
    text = "<cores>" if value == NUM_CORES else repr(str(value) if isinstance(value, Path) else value)
    return text.replace(str(ROOT), "<project>").replace(str(Path.home()), "~")


def flags_and_keys() -> tuple[set[str], set[str]]:
    """Return flags of programs, and recipe keys of those that read recipes."""
    flags, keys = set(), set()
    for path in [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "src/open_r1").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' not in text or "sys.argv[1]" in text:  # a part of another program
            continue
        parser = parser_of(path)
        configs = vars(parser).get("dataclass_types", [])
        for field in [field for config in configs for field in fields(config) if field.init]:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            keys.add(f"{path.stem}: {field.name} = {'required' if default is MISSING else shown(default)}")
        for action in [] if configs else parser._actions[1:]:
            name, choices = ", ".join(action.option_strings) or action.dest, action.choices and list(action.choices)
            default = "required" if action.required else shown(action.default)
            flags.add(f"{path.relative_to(ROOT)} {name} = {default}{f' of {choices}' if choices else ''}")
    return flags, keys


def names_in_source() -> tuple[set[str], set[str], set[str]]:
    """Return metrics, keys of records and columns, and names of files."""
    metrics, columns, files = set(), set(), set()
    for path in (ROOT / "src").rglob("*.py"):
        if {"verifier", "sandbox", "tasks"} & set(path.relative_to(ROOT).parts):
            continue
        source = path.read_text(encoding="utf-8")
        files.update(FILE_NAME.findall(source))
        functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
        for node in [node for function in functions for node in ast.walk(function)]:
            keys: list[ast.expr | None] = []
            if isinstance(node, ast.Dict):
                keys = node.keys
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                keys = [node.slice]
            columns.update(text for text in map(text_of, keys) if re.fullmatch(r"[a-z][\w{}]+", text))
            metrics.update(filter(METRIC.fullmatch, [text_of(node)]))
    return metrics, columns, files


def text_of(node: ast.AST | None) -> str:
    """Return the text of a literal, "" of anything else.

    >>> text_of(ast.parse("f'eval_{name}'", mode="eval").body)
    'eval_{}'
    """
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def surface() -> str:
    """Return the whole text."""
    lines = ["Made by `make surface`. Each line of its diff has a line in CHANGELOG.md.", ""]
    for heading, group in zip(HEADINGS, [*flags_and_keys(), *names_in_source()], strict=True):
        lines += [f"## {heading}", "", *sorted(group), ""]
    return "\n".join(lines)


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write")
    args = parser.parse_args()
    output = args.output.resolve()
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "scripts"), str(ROOT)]
    os.environ["HF_HUB_OFFLINE"] = "1"
    cores = patch.object(os, "sched_getaffinity", lambda process: range(NUM_CORES))
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        cores,
    ):  # no `.env`, no data of this machine
        text = surface()
    output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
