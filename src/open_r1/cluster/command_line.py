# SPDX-License-Identifier: Apache-2.0
"""What all scripts of slurm/ have in common: flags, and the way from a command line to a job.

A script that is run where it lies submits itself; as a job it runs. Both make the plan first, so what can't work is
refused before anything starts, on the login node already. --dry-run stops there and prints it.
"""

import argparse
import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.sites import Site
from open_r1.cluster.submission import (
    Kind,
    SubmissionError,
    count_nodes,
    directive,
    read_options,
    sbatch_command,
    site_options,
    submit,
)
from open_r1.cluster.supervisor import Plan, Supervisor
from open_r1.data.flags import WORDS, joined
from open_r1.data.secret_names import shell_line

MakePlan = Callable[[argparse.Namespace, Site, Allocation], Plan]

_WITH_VALUE = ("--nodes", "--sbatch")
_WOULD_DO_THE_SAME = "would do the same work in the same place: submit without --array"
_OF_SUBMISSION = ("--dry-run", "--dry_run", *_WITH_VALUE)


def build_parser(module: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """Return a parser with the flags of every script.

    Args:
        module: Name of the script below slurm/ without .slurm, for the usage line of a job.
        description: What the script does.
        epilog: Examples, printed as they are.
    """
    folder = Path(os.environ.get("OPEN_R1_ROOT", "")) / "slurm"
    script = Path(os.environ.get("OPEN_R1_JOB_SCRIPT") or folder / f"{module}.slurm")
    name = script.relative_to(folder) if script.is_relative_to(folder) else script.name
    parser = argparse.ArgumentParser(
        prog=f"slurm/{name}", description=description, epilog=epilog, allow_abbrev=False, formatter_class=_Formatter
    )
    common = parser.add_argument_group("submission")
    common.add_argument("--dry-run", action="store_true", help="print the exact commands and start nothing")
    common.add_argument(
        "--nodes",
        type=_positive,
        default=None,
        metavar="N",
        help="nodes of the job, when the script submits itself (its #SBATCH line)",
    )
    common.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar=WORDS,
        help="more words for sbatch, when the script submits itself: --sbatch=--time=2:00:00; may be repeated",
    )
    return parser


def run(
    parser: argparse.ArgumentParser,
    make_plan: MakePlan,
    argv: Sequence[str] | None = None,
    *,
    passes_on: bool = False,
    takes_array: bool = False,
) -> int:
    """Do what a command line asks for: submit the script, run it as a job, or say what it would do.

    Args:
        parser: From `build_parser`, with the flags of the script.
        make_plan: Makes the plan; a ValueError's message is for the user.
        argv: Words after the script's name; those of this process when None.
        passes_on: Words that the parser doesn't know are left to `make_plan`, in `rest` of its arguments.
        takes_array: Tasks of an array may run the script; with others all would do the same, in the same folder.

    Returns:
        Exit status: 2 for a command line that can't work, else that of the job.
    """
    words = joined(parser, sys.argv[1:] if argv is None else argv)
    arguments, rest = parser.parse_known_args(words) if passes_on else (parser.parse_args(words), [])
    arguments.rest = rest

    def work() -> int:
        site = Site.from_environment()
        if is_job():
            return run_here(arguments, site, make_plan, takes_array=takes_array)
        return _submit(arguments, words, site, make_plan, takes_array=takes_array)

    return guarded(parser, work)


def guarded(parser: argparse.ArgumentParser, work: Callable[[], int]) -> int:
    """Do some work and return its exit status; end with 2 where a command line can't work, 1 where Slurm doesn't."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    try:
        status = work()
    except BrokenPipeError:  # `--dry-run | head`
        status = 0
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\nAll options are listed by --help.\n")
    except (SubmissionError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    try:
        sys.stdout.flush()
    except OSError:  # nobody reads, or the disk is full: Python would end with a status of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def is_job() -> bool:
    """Return whether this is the batch process of a job; else the script submits itself."""
    return os.environ.get("OPEN_R1_JOB_MODE") == "job"


def run_here(arguments: argparse.Namespace, site: Site, make_plan: MakePlan, *, takes_array: bool) -> int:
    """Run the plan in this job, or print it; return the exit status."""
    if arguments.nodes is not None or arguments.sbatch:
        raise ValueError(
            "--nodes and --sbatch are for a script that submits itself (slurm/NAME.slurm ...); with "
            "sbatch they stand before its name: sbatch --nodes=2 slurm/NAME.slurm ..."
        )
    os.chdir(site.root)
    allocation = Allocation.current(site)
    if allocation.array_task is not None and not takes_array:
        raise ValueError(f"this is a task of an array, and all of them {_WOULD_DO_THE_SAME}")
    allocation.correct(os.environ)
    plan = make_plan(arguments, site, allocation)
    if arguments.dry_run:
        show_plan(plan, site, allocation)
        return 0
    for note in plan.notes:
        logging.info(note)
    try:
        supervisor = Supervisor(site, allocation, plan)
    except OSError as error:
        raise RuntimeError(f"the folder for logs can't be made, `logs` in cluster.sh says where: {error}") from error
    return supervisor.run()


def _submit(
    arguments: argparse.Namespace, words: list[str], site: Site, make_plan: MakePlan, *, takes_array: bool
) -> int:
    script = Path(os.environ["OPEN_R1_JOB_SCRIPT"])
    kind: Kind = "cpu" if os.environ["OPEN_R1_JOB_KIND"] == "cpu" else "gpu"
    options = sbatch_words(arguments)
    if not takes_array and any(option.name == "array" for option in read_options(options)):
        raise ValueError(f"all tasks of an array {_WOULD_DO_THE_SAME}")
    if arguments.nodes is not None:
        options.append(f"--nodes={arguments.nodes}")
    command = sbatch_command(site, script, kind, own_words(words), options)
    nodes = count_nodes(script, [*site_options(site, kind), *options])
    allocation = Allocation.imagined(site, name=directive(script, "job-name") or script.stem, num_nodes=nodes)
    plan = make_plan(arguments, site, allocation)
    if arguments.dry_run:
        say(shell_line(command))
        show_plan(plan, site, allocation)
        return 0
    say(f"Submitted batch job {submit(command)}")
    return 0


def sbatch_words(arguments: argparse.Namespace) -> list[str]:
    """Return the words of all --sbatch.

    Raises:
        ValueError: A quote is not closed.
    """
    return [word for entry in arguments.sbatch for word in shlex.split(entry)]


def count_leading(words: Sequence[str]) -> int:
    """Return how many words in front are for the submission: slurm/lib.sh puts them before words by position."""
    count = 0
    while count < len(words) and words[count].partition("=")[0] in _OF_SUBMISSION:
        count += 2 if words[count] in _WITH_VALUE else 1
    return count


def own_words(words: Sequence[str], others: Sequence[str] = ()) -> list[str]:
    """Return words without those that are for the submission alone; what follows a bare -- is left as it is.

    Args:
        words: The command line.
        others: More flags with one value that are for the submission alone.
    """
    names = (*_WITH_VALUE, *others)
    kept, position = [], 0
    while position < len(words) and words[position] != "--":
        word = words[position]
        takes_next = word in names
        position += 2 if takes_next else 1
        if not takes_next and word != "--dry-run" and not word.startswith(tuple(f"{name}=" for name in names)):
            kept.append(word)
    return [*kept, *words[position:]]


def show_plan(plan: Plan, site: Site, allocation: Allocation) -> None:
    """Print what a plan would start."""
    for note in plan.notes:
        say(f"# {note}")
    for server in plan.servers:
        ready = f"; ready when 200 comes from {', '.join(server.health_urls)}" if server.health_urls else ""
        say(f"# {server.step.name}, until the job ends{ready}")
        say(server.step.shell_line(site, allocation))
    for step in plan.work:
        say(f"# {step.name}")
        say(step.shell_line(site, allocation))


def check_deadline(seconds: float) -> None:
    """Refuse what is no time until servers must be ready.

    Raises:
        ValueError: It's none.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"--deadline must be more than 0 seconds, got {seconds:g}")


def say(line: str) -> None:
    """Print a line for the user."""
    sys.stdout.write(f"{line}\n")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be one number, 1 or more, got {text!r}")
    return int(text)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults behind each flag that has one; description and examples as they are written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, "", []) else super()._get_help_string(action)
