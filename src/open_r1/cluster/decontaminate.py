# SPDX-License-Identifier: Apache-2.0
"""Decontamination on nodes without GPUs: what `slurm/decontaminate.slurm` runs.

With --tasks the rows are cut into an array of parts (`scripts/decontaminate.py --shard`), and a job behind it merges
them; duplicates are looked for in the merge, and only the merge is pushed. Without it one job does all.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from open_r1.cluster.arrays import Work, build_array_parser, run_array
from open_r1.cluster.sites import Site

_READER = "import runpy; runpy.run_path('scripts/decontaminate.py')['parse_command_line']()"
_EPILOG = """examples:
  slurm/decontaminate.slurm --dataset open-r1/OpenR1-Math-220k --cleanup
  slurm/decontaminate.slurm --tasks 8 --dataset open-r1/OpenR1-Math-220k --cleanup --deduplicate
  slurm/decontaminate.slurm --tasks 8 --array 3 --dataset ...     # part 3 again, and the merge
All other flags go to scripts/decontaminate.py, whose --help lists them; paths are relative to the project.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = build_array_parser("decontaminate", __doc__, _EPILOG)
    add = parser.add_argument_group("data").add_argument
    add(
        "--dataset",
        metavar="NAME",
        required=True,
        help="what is decontaminated: local file or folder, tasks/<name>, or name on the hub",
    )
    add(
        "--output_dir",
        metavar="FOLDER",
        help="default: data/ and the last part of --new_dataset_name; else data/<name>_decontaminated",
    )
    add = parser.add_argument_group("for the merge alone").add_argument
    add("--deduplicate", nargs="?", const="", metavar="SIMILARITY", help="drop rows that repeat earlier ones")
    add("--report", metavar="FILE", help="also write the report here: JSON, or a table if it ends in .md")
    add("--new_dataset_name", metavar="NAME", help="push there, privately, when all is written")
    add("--push_to_hub", action="store_true", help="push to <dataset>_decontaminated, or to --new_dataset_name")
    add("--public", action="store_true", help="push publicly (default: privately)")
    return parser


def make_work(arguments: argparse.Namespace, site: Site) -> Work:
    """Return what parts and merge run.

    Raises:
        ValueError: Flags contradict each other.
    """
    is_array = arguments.tasks is not None
    for word in arguments.rest:
        if is_array and word.partition("=")[0] in ("--shard", "--start", "--end"):
            raise ValueError(f"--tasks gives each task its rows: leave {word} out")
    if arguments.public and not (arguments.push_to_hub or arguments.new_dataset_name):
        raise ValueError("--public says how to push: add --push_to_hub or --new_dataset_name")
    output = arguments.output_dir
    if output is None and arguments.new_dataset_name:
        # Parts are not told the name that the script would call the folder after.
        output = str(Path("data") / arguments.new_dataset_name.rstrip("/").rpartition("/")[2])
    part = ("--dataset", arguments.dataset, *(["--output_dir", output] if output else []), *arguments.rest)
    end = _words_of_the_end(arguments)
    return Work(
        script="decontaminate.py",
        reader=_READER,
        whole=(*part, *end),
        merge=(*part, *end, "--merge"),
        of_task=(lambda task: (*part, "--shard", f"{task}/{arguments.tasks}")) if is_array else None,
        num_tasks=arguments.tasks,
    )


def _words_of_the_end(arguments: argparse.Namespace) -> tuple[str, ...]:
    words = []
    if arguments.deduplicate is not None:
        words += ["--deduplicate", *([arguments.deduplicate] if arguments.deduplicate else [])]
    for name in ("report", "new_dataset_name"):
        words += [f"--{name}", vars(arguments)[name]] if vars(arguments)[name] else []
    for name in ("push_to_hub", "public"):
        words += [f"--{name}"] if vars(arguments)[name] else []
    return tuple(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_array(build_parser(), make_work, argv)


if __name__ == "__main__":
    sys.exit(main())
