# SPDX-License-Identifier: Apache-2.0
"""Pass rates as a job array: what `slurm/compute_pass_rate.slurm` runs.

A task completes and judges its share of the rows (`scripts/compute_pass_rate.py`): with vLLM in its own process, with
a `vllm serve` that it starts (--serve true), or by servers that are named (--server), for which it needs no GPU.

1. Open R1's script takes a recipe and two row numbers, and a shell loop submits it 87 times. That still works; --tasks
   makes it one array, with the merge that Open R1 leaves to a notebook.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from open_r1.cluster.arrays import Work, build_array_parser, run_array
from open_r1.cluster.command_line import count_leading
from open_r1.cluster.sites import Site
from open_r1.recipes import load_recipe

_EPILOG = """examples:
  slurm/compute_pass_rate.slurm --config recipes/dataset_filtering/filter_dapo.yaml --tasks 10
  slurm/compute_pass_rate.slurm --config recipes/dataset_filtering/filter_dapo.yaml --tasks 10 --array 3
  slurm/compute_pass_rate.slurm --merge --output_dir data/rates --push_to_hub me/rates
  sbatch slurm/compute_pass_rate.slurm recipes/dataset_filtering/filter_dapo.yaml 0 200     # a range of rows
All other flags go to scripts/compute_pass_rate.py, whose --help lists them; paths are relative to the project.
"""
# Needs trl, as the recipe's flags are those of a training: ten seconds.
_READER = """
import runpy
from open_r1.curation.pass_rate.arguments import PassRateConfig, PassRateScriptArguments
from open_r1.arguments import parse_args
_, rest = runpy.run_path('scripts/compute_pass_rate.py')['build_parser']().parse_known_args()
parse_args(PassRateScriptArguments, PassRateConfig, rest)
"""
_POSITIONAL = ("--config", "--start", "--end")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = build_array_parser("compute_pass_rate", __doc__.partition("\n\n1.")[0], _EPILOG)
    add = parser.add_argument_group("rows").add_argument
    add("--config", metavar="RECIPE", help="a GRPO recipe; Open R1's first argument")
    add("--chunk", type=int, metavar="ROWS", help="in place of --tasks: task i has the rows from i * ROWS on")
    add(
        "--num_rows",
        type=int,
        metavar="ROWS",
        help="with --chunk: rows of the data set, from which follows how many tasks there are",
    )
    add(
        "--start",
        "--dataset_start_index",
        type=int,
        metavar="ROW",
        help="one range of rows, without an array: the first one, from 0; Open R1's second argument",
    )
    add("--end", "--dataset_end_index", type=int, metavar="ROW", help="the row behind its last one; Open R1's third")
    add = parser.add_argument_group("output").add_argument
    add(
        "--output_dir",
        metavar="FOLDER",
        help="folder of the data set, below which shards/ are (default: data/ and "
        "the last part of `output_dataset_name`)",
    )
    add("--output_dataset_name", metavar="NAME", help="in place of the recipe's")
    add("--overwrite", action="store_true", help="replace a finished data set")
    add("--licence", help="licence of the rows, for the card (default: the source's)")
    add("--push_to_hub", nargs="?", const="", metavar="NAME", help="push the merged data set, privately")
    add("--public", action="store_true", help="with --push_to_hub: let everybody read it")
    add = parser.add_argument_group("who completes").add_argument
    add("--server", nargs="+", metavar="ADDRESS", help="servers, host:port; tasks then need no GPU")
    add("--tensor_parallel_size", type=int, metavar="GPUS", help="GPUs of a task (default: the recipe's, or 1)")
    return parser


def with_flags(words: Sequence[str]) -> list[str]:
    """Return a command line with names for Open R1's positional arguments: recipe, first row, row behind the last.

    Only flags of the submission may stand before them.

    Raises:
        ValueError: There are more than three.
    """
    start = count_leading(words)
    end = next((place for place, word in enumerate(words) if place >= start and word.startswith("-")), len(words))
    if end - start > len(_POSITIONAL):
        raise ValueError(f"got {end - start} arguments before the flags: CONFIG START END are the most")
    named = [word for pair in zip(_POSITIONAL, words[start:end], strict=False) for word in pair]
    return [*words[:start], *named, *words[end:]]


def make_work(arguments: argparse.Namespace, site: Site) -> Work:
    """Return what tasks and merge run.

    Raises:
        ValueError: Flags contradict each other, or the recipe can't be read.
    """
    recipe = load_recipe(site.root / Path(arguments.config).expanduser()) if arguments.config else {}
    is_array = arguments.tasks is not None or arguments.chunk is not None
    _check_rows(arguments, is_array=is_array)
    output = output_folder(arguments, recipe)
    if output is None and (is_array or arguments.merge):
        raise ValueError(
            "shards need a folder that is known before they run: give --output_dir FOLDER, or "
            "output_dataset_name in the recipe"
        )
    common = (
        *_flag("--output_dir", output),
        *(["--overwrite"] if arguments.overwrite else []),
        *_flag("--licence", arguments.licence),
    )
    pushed = _push_words(arguments, recipe)
    asked = (
        *_flag("--config", arguments.config),
        *_flag("--output_dataset_name", arguments.output_dataset_name),
        *(["--server", *arguments.server] if arguments.server else []),
        *_flag("--tensor_parallel_size", arguments.tensor_parallel_size),
        *arguments.rest,
    )
    is_served = bool(arguments.server or recipe.get("server"))
    rows = (*_flag("--start", arguments.start), *_flag("--end", arguments.end))
    return Work(
        script="compute_pass_rate.py",
        reader=_READER,
        whole=(*asked, *common, *rows, *pushed),
        merge=("--merge", *common, *pushed),
        of_task=(lambda task: (*asked, *common, *rows_of(arguments, task))) if is_array else None,
        num_tasks=num_tasks(arguments),
        gpus=0 if is_served else int(arguments.tensor_parallel_size or recipe.get("tensor_parallel_size") or 1),
        kind="cpu" if is_served else "gpu",
    )


def num_tasks(arguments: argparse.Namespace) -> int | None:
    """Return how many tasks there are, None if it isn't known."""
    if arguments.chunk is None or arguments.num_rows is None:
        return arguments.tasks
    return -(-arguments.num_rows // arguments.chunk)


def rows_of(arguments: argparse.Namespace, task: int) -> tuple[str, ...]:
    """Return the words that give a task its rows."""
    if arguments.chunk is None:
        return ("--shard", f"{task}/{arguments.tasks}")
    end = (task + 1) * arguments.chunk
    return ("--start", str(task * arguments.chunk), "--end", str(min(end, arguments.num_rows or end)))


def output_folder(arguments: argparse.Namespace, recipe: dict[str, Any]) -> str | None:
    """Return the folder of the data set as the script would choose it; None: of a name that only the script knows."""
    if arguments.output_dir is not None:
        return arguments.output_dir
    name = arguments.output_dataset_name or recipe.get("output_dataset_name")
    return str(Path("data") / str(name).rstrip("/").rpartition("/")[2]) if name else None


def _check_rows(arguments: argparse.Namespace, *, is_array: bool) -> None:
    if arguments.tasks is not None and arguments.chunk is not None:
        raise ValueError("--tasks and --chunk both cut the rows: give one of them")
    for name in ("chunk", "num_rows"):
        value = vars(arguments)[name]
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}: it must be 1 or more")
    if (arguments.start or 0) < 0 or (arguments.end is not None and arguments.end <= (arguments.start or 0)):
        raise ValueError(
            f"rows {arguments.start or 0} to {arguments.end}: the first is 0 or more, and the end is the "
            "row behind the last one"
        )
    if arguments.num_rows is not None and arguments.chunk is None:
        raise ValueError("--num_rows is for --chunk; with --tasks the rows are counted by the tasks")
    has_range = arguments.start is not None or arguments.end is not None
    if is_array and (has_range or any(word.startswith(("--shard", "--dataset_shard")) for word in arguments.rest)):
        raise ValueError("--tasks and --chunk give each task its rows: leave --start, --end and --shard out")
    if arguments.merge and arguments.rest and not is_array:
        raise ValueError(f"--merge takes everything from the shards: it does not take {' '.join(arguments.rest)}")


def _push_words(arguments: argparse.Namespace, recipe: dict[str, Any]) -> tuple[str, ...]:
    if arguments.push_to_hub is None:
        if arguments.public:
            raise ValueError("--public says how to push: add --push_to_hub NAME")
        return ()
    name = arguments.push_to_hub or arguments.output_dataset_name or recipe.get("output_dataset_name")
    if not name:
        raise ValueError("--push_to_hub needs a name on the hub: --push_to_hub <namespace>/<name>")
    return ("--push_to_hub", str(name), *(["--public"] if arguments.public else []))


def _flag(name: str, value: object) -> tuple[str, ...]:
    return () if value is None else (name, str(value))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = build_parser()
    try:
        words = with_flags(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        parser.error(str(error))
    return run_array(parser, make_work, words)


if __name__ == "__main__":
    sys.exit(main())
