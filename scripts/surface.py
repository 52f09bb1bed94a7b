# SPDX-License-Identifier: Apache-2.0
"""Write what users can see of this project, one fact a line: `make surface`. Its diff is the list of visible changes.

    python scripts/surface.py --output assets/surface.txt
    python scripts/surface.py --output assets/surface.txt --check     # exit status 1, and the diff, where it is stale

Flags and recipe keys are those of the parsers that each program really builds: it is run, and stopped where it parses.
Tables are imported. Metrics, keys, columns, file names and environment variables are literals found in the source by
`source_names.py`, which says what it can't see. Nothing depends on the machine, its environment or today's date.

Not covered: `--config` and `env` of recipes, which stand in no argument class; options of the tasks of reasoning_gym;
what programs print, exit statuses, requests to and replies of servers, import paths of functions.
"""

import argparse
import contextlib
import dataclasses
import difflib
import io
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, get_type_hints
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [str(ROOT / "src"), str(ROOT / "scripts"), str(ROOT)]
KEPT_VARIABLES = ("HOME", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PATH", "TMPDIR", "VIRTUAL_ENV")
UNKNOWN_FLAG = "--no-such-flag"  # a program that leaves words to a second parser goes on to that one
NUM_CORES = 9973  # a default that is made of it depends on the machine
TABLES = {
    "reward": "open_r1.rewards:REWARDS",
    "layout": "open_r1.data.layout_table:LAYOUTS",
    "benchmark": "open_r1.data.benchmarks:SUPPORTED_BENCHMARKS",
    "decontamination benchmark": "open_r1.curation.decontamination.benchmarks:KNOWN_BENCHMARKS",
    "sandbox provider": "open_r1.sandbox.providers:PROVIDERS",
    "program language": "open_r1.sandbox.languages:LANGUAGES",
    "test-time method": "open_r1.test_time.methods:METHODS",
    "callback": "open_r1.training.callbacks:CALLBACKS",
    "old name": "open_r1.recipes:TRANSLATIONS",
    "removed name": "open_r1.recipes:REMOVED",
}


class _Parsed(BaseException):
    """A program has come to the point where it parses its words; no program catches this."""


def parsers_of(run: Callable[[], object]) -> list[argparse.ArgumentParser]:
    """Run a program up to where it parses its command line, and return its parsers."""
    found: list[argparse.ArgumentParser] = []
    parse_known_args = argparse.ArgumentParser.parse_known_args

    def note(parser: argparse.ArgumentParser) -> None:
        if parser.add_help and parser not in found:
            found.append(parser)

    def stop(parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> NoReturn:
        note(parser)
        raise _Parsed

    def go_on(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> object:
        note(parser)
        return parse_known_args(parser, *args, **kwargs)

    parser_class, quiet = argparse.ArgumentParser, io.StringIO()
    with (
        patch.object(parser_class, "parse_args", stop),
        patch.object(parser_class, "parse_known_args", go_on),
        patch.object(parser_class, "exit", stop),
        patch.object(sys, "argv", ["program", UNKNOWN_FLAG]),
        patch.object(os, "sched_getaffinity", lambda process: set(range(NUM_CORES))),
        patch.object(os, "cpu_count", lambda: NUM_CORES),
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        contextlib.suppress(_Parsed),
    ):
        run()
    return found


def find_programs() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield every program with flags: scripts, and those of `src/open_r1` itself that a launcher starts."""
    for path in sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "src" / "open_r1").glob("*.py")]):
        text = path.read_text(encoding="utf-8")
        # One that takes its words by position is a part of another program.
        if '__name__ == "__main__"' in text and "sys.argv[1]" not in text:
            yield str(path.relative_to(ROOT)), partial(runpy.run_path, str(path), run_name="__main__")


def shown(value: object) -> str:
    """Return a value as text that is the same on every machine.

    >>> shown((Path("/tmp"), "a")), shown(0.5)
    ("['/tmp', 'a']", '0.5')
    """
    if isinstance(value, Enum):
        return shown(value.value)
    if isinstance(value, Path):
        return shown(str(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{shown(key)}: {shown(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, set | frozenset):
        return "[" + ", ".join(sorted(map(shown, value))) + "]"
    if dataclasses.is_dataclass(value):
        return shown({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if value == NUM_CORES:
        return "<cores>"
    return repr(value).replace(str(ROOT), "<project>").replace(str(Path.home()), "~")


def is_plain(value: object) -> bool:
    """Return whether a value is data; not a function, and no sentence for people."""
    if isinstance(value, list | tuple):
        return all(isinstance(entry, str) for entry in value)
    if isinstance(value, str):
        return len(value.split()) <= 3
    return value is None or isinstance(value, bool | int | float | Enum)


def flag_line(action: argparse.Action) -> str:
    """Return a flag with what it takes and its default."""
    words = [", ".join(action.option_strings) or action.dest]
    if action.nargs == 0:
        words.append("(switch)")
    elif action.type in (int, float, Path):
        words.append(f"({action.type.__name__})")
    if action.nargs not in (None, 0):
        words.append(f"x {action.nargs}")
    if action.choices is not None:
        words.append(f"of {shown(list(action.choices))}")
    if action.required and action.nargs not in ("*", "?"):
        return " ".join([*words, "required"])
    return " ".join([*words, "=", "unset" if action.default is argparse.SUPPRESS else shown(action.default)])


def flags_of(name: str, parsers: Iterable[argparse.ArgumentParser]) -> Iterator[str]:
    """Yield a line for each flag of a program."""
    for parser in parsers:
        for action in parser._actions:
            if "--help" not in action.option_strings:
                yield f"{name} {flag_line(action)}"


def keys_of(config_class: type) -> Iterator[str]:
    """Yield the fields of an argument class, with their types and defaults."""
    hints = get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if not field.init:
            continue
        hint = hints[field.name]
        kind = hint.__name__ if isinstance(hint, type) else re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(hint))
        name = ", ".join([field.name, *field.metadata.get("aliases", [])])
        if field.default_factory is not dataclasses.MISSING:
            yield f"{name}: {kind} = {shown(field.default_factory())}"
        elif field.default is dataclasses.MISSING:
            yield f"{name}: {kind} required"
        else:
            yield f"{name}: {kind} = {shown(field.default)}"


def section_flags_and_keys() -> dict[str, Iterable[str]]:
    """Return the flags of programs, and the recipe keys of those that read recipes with the programs in front."""
    flags: list[str] = []
    keys: dict[str, list[str]] = {}
    for name, run in find_programs():
        parsers = parsers_of(run)
        if not parsers:
            raise RuntimeError(f"{name} is a program, but has parsed no command line.")
        of_recipes = [parser for parser in parsers if "dataclass_types" in vars(parser)]
        flags += flags_of(name, [parser for parser in parsers if parser not in of_recipes])
        for config_class in [entry for parser in of_recipes for entry in vars(parser)["dataclass_types"]]:
            for line in keys_of(config_class):
                keys.setdefault(line, []).append(Path(name).stem)
    return {
        "Flags of programs": flags,
        "Recipe keys": [f"{line}  [{' '.join(dict.fromkeys(names))}]" for line, names in keys.items()],
        "Keys within recipe keys": nested_keys(),
    }


def nested_keys() -> Iterator[str]:
    """Yield the keys of the argument classes that a recipe nests: data sets of a mixture."""
    configs = import_module("open_r1.configs")
    for name in configs.__all__:
        config_class = getattr(configs, name)
        if config_class.__mro__[1:] == (object,) and config_class.__module__.startswith(configs.__name__):
            yield from (f"{name}.{line}" for line in keys_of(config_class))


def section_tables() -> Iterator[str]:
    """Yield the names of each table; of entries that are dataclasses also what differs from their defaults."""
    for kind, place in TABLES.items():
        module, _, name = place.partition(":")
        table = vars(import_module(module))[name]
        named = table.items() if isinstance(table, Mapping) else ((getattr(row, "name", row), row) for row in table)
        for key, entry in named:
            yield f"{kind} {key}"
            if dataclasses.is_dataclass(entry):
                for field in dataclasses.fields(entry):
                    value = getattr(entry, field.name)
                    if value not in (key, field.default) and is_plain(value):
                        yield f"{kind} {key}: {field.name} = {shown(value)}"
            if kind == "layout":
                yield from (f"{kind} {key}: {to} from {shown(entry.missing(to, []))}" for to in entry.targets())
    yield from reward_functions()
    tasks = import_module("open_r1.tasks")
    yield from (f"task {name}" for name in tasks.list_tasks())
    for name in tasks.TASKS:
        try:
            tasks.load_task(name, "no-such-config")
        except ValueError as error:  # its message lists what there is
            yield f"task {name}: {str(error).partition(': ')[2]}"


def reward_functions() -> Iterator[str]:
    """Yield the function behind each reward: metrics and columns have its name."""
    rewards, configs = import_module("open_r1.rewards"), import_module("open_r1.configs")
    context, script_args = rewards.RewardContext(eos_token_ids=(0,)), configs.GRPOScriptArguments(dataset_name="rows")
    for name, spec in rewards.REWARDS.items():
        yield f"reward {name}: function {spec.build(script_args, context).__name__}"


def section_slurm() -> Iterator[str]:
    """Yield directives and flags of job scripts; settings of a site."""
    for path in sorted(path for path in (ROOT / "slurm").rglob("*") if path.suffix in (".slurm", ".sh")):
        name, text = path.relative_to(ROOT), path.read_text(encoding="utf-8")
        yield from (f"{name} #SBATCH {line}" for line in re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE))
        for flags in re.findall(r"^ *(-[-\w= |*]+)\)", text, re.MULTILINE):
            yield f"{name} reads {flags}"
    site = (ROOT / "slurm" / "cluster.sh").read_text(encoding="utf-8")
    for name, value in re.findall(r"^(\w+)=(\([^)]*\)|\S*)", site, re.MULTILINE):
        yield f"slurm/cluster.sh {name}={value}"


def section_make() -> Iterator[str]:
    """Yield targets of the Makefile with the variables that each reads, and the variables with their defaults."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^([A-Z_]+) \?= ?(.*)$", text, re.MULTILINE))
    yield from (f"{name} ?= {value}".rstrip() for name, value in defaults.items())
    for target, recipe in re.findall(r"^(\w+):.*## .*\n((?:\t.*\n)*)", text, re.MULTILINE):
        read = set(re.findall(r"\$\(\w*\b *?([A-Z_]{2,})\b", recipe))
        yield " ".join(["make", target, *sorted(read)])


def surface() -> str:
    """Return the whole text."""
    from source_names import section_source

    sections: dict[str, Iterable[str]] = {
        **section_flags_and_keys(),
        "Names in tables": section_tables(),
        "Job scripts and settings of a site": section_slurm(),
        "Make": section_make(),
        **section_source(ROOT),
    }
    lines = [
        "Made by `make surface`. Each line of its diff has a line in CHANGELOG.md.",
        "Of flags, `x +` takes one value or more, `x *` any number, `x ?` one or none. In brackets behind a recipe",
        "key are the programs that know it. In names from the source, `{…}` is what isn't known before a run.",
        "",
    ]
    for title, facts in sections.items():
        lines += [f"## {title}", "", *sorted(set(facts)), ""]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there (default: print it)")
    parser.add_argument("--check", action="store_true", help="compare FILE instead; exit status 1 where it differs")
    args = parser.parse_args(argv)
    if args.check and args.output is None:
        parser.error("--check needs --output, the file to compare")
    output = args.output and args.output.resolve()
    sys.path[:0] = FOLDERS
    for name in set(os.environ) - set(KEPT_VARIABLES):
        del os.environ[name]
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # no `.env`, no data of this machine
        text = surface()
    if output is None:
        print(text, end="")
        return 0
    before = output.read_text(encoding="utf-8") if output.exists() else ""
    if args.check:
        names = (f"{args.output}, as it is", "as the code is now")
        print("\n".join(difflib.unified_diff(before.splitlines(), text.splitlines(), *names, lineterm="", n=0)))
        return int(before != text)
    output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
