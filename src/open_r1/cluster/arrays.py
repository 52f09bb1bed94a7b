# SPDX-License-Identifier: Apache-2.0
"""Scripts whose rows are cut into the tasks of a job array, and merged by a job behind it.

    slurm/NAME.slurm --tasks 10 ...              an array of ten, and a merge that waits for all of them
    slurm/NAME.slurm --tasks 10 --array 3 ...    task 3 again, and the merge
    sbatch --array=0-9 slurm/NAME.slurm --tasks 10 ...;  sbatch slurm/NAME.slurm --merge ...    the same by hand

1. Flags that the launcher doesn't know are for the script, which is asked for them before anything is submitted.
2. A task that is done says so and ends well, so a whole array may be submitted again.
"""

import argparse
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.command_line import (
    build_parser,
    guarded,
    is_job,
    own_words,
    run_here,
    say,
    sbatch_words,
    show_plan,
)
from open_r1.cluster.script_flags import check_flags, check_no_secrets
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.submission import (
    Kind,
    asks_for_gpus,
    directive,
    read_options,
    sbatch_command,
    site_options,
    submit,
    without_gpus,
)
from open_r1.cluster.supervisor import Plan
from open_r1.data.flags import joined, respelled
from open_r1.data.secret_names import shell_line

_MOST_TASKS = 100_000
# What --sbatch says of both array and merge: who pays and who is told. All else is of the array, such as its time.
_OF_ALL = ("account", "qos", "reservation", "clusters", "wckey", "comment", "mail-type", "mail-user", "nice")
_INDICES = re.compile(r"\d+(-\d+(:[1-9]\d*)?)?(,\d+(-\d+(:[1-9]\d*)?)?)*(%[1-9]\d*)?")


@dataclass(frozen=True)
class Work:
    """What a script of Python does for a command line, whole or in tasks.

    Args:
        script: The Python script, below scripts/.
        reader: Python that reads a command line of the script as it does (`check_flags`).
        whole: Its arguments for all rows at once.
        merge: Its arguments for the merge of what tasks wrote.
        of_task: Its arguments for a task; None when the rows aren't cut.
        num_tasks: How many tasks there are; None: only the array knows.
        gpus: GPUs of a task.
        kind: The site's options that whole runs and tasks are submitted with.
    """

    script: str
    reader: str
    whole: tuple[str, ...]
    merge: tuple[str, ...]
    of_task: Callable[[int], tuple[str, ...]] | None = None
    num_tasks: int | None = None
    gpus: int = 0
    kind: Kind = "cpu"


MakeWork = Callable[[argparse.Namespace, Site], Work]


@dataclass(frozen=True)
class _Job:
    kind: Kind
    words: tuple[str, ...]
    options: tuple[str, ...]
    plan: Plan
    allocation: Allocation


def build_array_parser(module: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser with the flags of every script whose rows are cut; see `build_parser`."""
    of_all = f"Of --sbatch the merge gets --{', --'.join(_OF_ALL)},\nand --partition when tasks need no GPU."
    parser = build_parser(module, description, f"{epilog}{of_all}\n")
    add = parser.add_argument_group("array").add_argument
    add("--tasks", type=int, metavar="N", help="cut the rows into N equal tasks (default: no array)")
    add(
        "--array",
        metavar="I,J-K",
        help="the tasks to run, as sbatch writes them: 3 or 3,7 or 0-9%%4, four of "
        "them at a time (default: all). A merge follows them at once, which needs all tasks: run those that failed "
        "again when the others have ended",
    )
    add("--merge", action="store_true", help="only make one data set of what finished tasks wrote")
    return parser


def run_array(parser: argparse.ArgumentParser, make_work: MakeWork, argv: Sequence[str] | None = None) -> int:
    """Do what a command line asks for: submit array and merge, or run a task, the merge or all rows.

    Args:
        parser: From `build_array_parser`; flags of its own have underscores.
        make_work: Makes the work; `rest` of its arguments has the words that the parser doesn't know.
        argv: Words after the script's name; those of this process when None.

    Returns:
        Exit status: 2 for a command line that can't work, else that of the job.
    """
    given = [word for word in (sys.argv[1:] if argv is None else argv) if word != "--"]
    given = own_spelling(joined(parser, given))
    arguments, arguments.rest = parser.parse_known_args(given)

    def do() -> int:
        site = Site.from_environment()
        check_array(arguments)
        check_no_secrets(arguments.rest, "among the arguments")
        work = make_work(arguments, site)
        if is_job():
            return run_here(arguments, site, partial(_plan_here, work), takes_array=True)
        jobs = _jobs(arguments, given, site, work)
        if arguments.rest:
            check_flags(site, f"scripts/{work.script}", work.reader, work.of_task(0) if work.of_task else work.whole)
        _submit_all(arguments, site, jobs)
        return 0

    return guarded(parser, do)


def own_spelling(words: Iterable[str]) -> list[str]:
    """Return a command line (`joined`) with underscores in the names of flags, but for `--dry-run`."""
    return ["--dry-run" if word == "--dry_run" else word for word in respelled(list(words), "_")]


def check_array(arguments: argparse.Namespace) -> None:
    """Refuse numbers of tasks that can't be.

    Raises:
        ValueError: There is no such number of tasks, or no such task.
    """
    options = list(read_options(sbatch_words(arguments)))
    if any(option.name == "array" for option in options):
        raise ValueError(
            "--array is not for --sbatch here: --tasks N says how many tasks there are, and the script's "
            "own --array which of them to run"
        )
    nodes = {option.value for option in options if option.name == "nodes"}
    if arguments.nodes not in (None, 1) or nodes - {"1"}:
        raise ValueError("each task runs on one node: --nodes is not for arrays; --tasks says how many tasks")
    if arguments.tasks is not None and not 1 <= arguments.tasks <= _MOST_TASKS:
        raise ValueError(f"--tasks is {arguments.tasks}: it must be 1 to {_MOST_TASKS}")
    if arguments.array is not None and arguments.merge:
        raise ValueError("--array chooses tasks to run, and --merge runs none: give one of them")
    if arguments.array is not None and (not _INDICES.fullmatch(arguments.array) or not all(_ranges(arguments.array))):
        raise ValueError(f"--array is {arguments.array!r}: write 3 or 3,7 or 0-9 or 0-9%4")
    if arguments.rest and not arguments.rest[0].startswith("-"):
        raise ValueError(f"{arguments.rest[0]} stands behind no flag that takes it: what has no flag comes first")


def _ranges(indices: str) -> list[range]:
    """Return the tasks that text such as 3,7-9 names; a range that is written backwards is empty."""
    found = re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", indices.partition("%")[0])
    return [range(int(first), int(last or first) + 1, int(step or 1)) for first, last, step in found]


def step_of(work: Work, name: str, words: Sequence[str], site: Site, allocation: Allocation, gpus: int) -> Step:
    """Return the step that runs the script with these arguments on the job's first node."""
    script = str(site.root / "scripts" / work.script)
    return Step(name, site.python_command(script, *words), allocation.nodes[:1], gpus=gpus, is_shown=True)


def _plan_here(work: Work, arguments: argparse.Namespace, site: Site, allocation: Allocation) -> Plan:
    if arguments.array is not None:
        raise ValueError("--array is for a script that submits itself; with sbatch it stands before the script's name")
    work = replace(work, gpus=int(os.environ.get("SLURM_GPUS_ON_NODE") or 0))  # fewer than the node has, perhaps
    if arguments.merge:
        return _merge_plan(work, site, allocation)
    task = allocation.array_task
    if task is None and work.of_task is not None:
        raise ValueError(
            "the rows are cut into tasks, but this job is no array: submit it with sbatch --array=0-"
            f"{(work.num_tasks or 2) - 1}, or let the script submit itself"
        )
    if task is None:
        return _whole_plan(work, site, allocation)
    if work.of_task is None:
        first, last = (os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("MIN", "MAX"))
        raise ValueError(
            f"this is task {task} of an array of tasks {first} to {last}, which may be some of them "
            "only: say --tasks N, the number of all"
        )
    return _task_plan(work, task, site, allocation)


def _task_plan(work: Work, task: int, site: Site, allocation: Allocation) -> Plan:
    assert work.of_task is not None
    if work.num_tasks is not None and task >= work.num_tasks:
        raise ValueError(f"there is no task {task}: the {work.num_tasks} tasks are 0 to {work.num_tasks - 1}")
    of_all = f" of {work.num_tasks} (from 0)" if work.num_tasks is not None else ""
    step = step_of(work, Path(work.script).stem, work.of_task(task), site, allocation, work.gpus)
    note = (
        f"Task {task}{of_all}. What it has is kept if it fails: when the others have ended, --array {task} runs "
        "it again alone, and a merge."
    )
    return Plan(work=(step,), on_time_limit="requeue", notes=(note,))


def _whole_plan(work: Work, site: Site, allocation: Allocation) -> Plan:
    step = step_of(work, Path(work.script).stem, work.whole, site, allocation, work.gpus)
    return Plan(work=(step,), on_time_limit="requeue")


def _merge_plan(work: Work, site: Site, allocation: Allocation) -> Plan:
    notes = ("If rows are missing: --array I,J runs the tasks I and J again, and a merge behind them.",)
    step = step_of(work, "merge", work.merge, site, allocation, 0)
    return Plan(work=(step,), on_time_limit="requeue", notes=notes if work.of_task is not None else ())


def _jobs(arguments: argparse.Namespace, given: Sequence[str], site: Site, work: Work) -> list[_Job]:
    """Return what is to be submitted: array and merge, or one job for all rows, or a merge alone."""
    name = directive(_script(), "job-name") or _script().stem
    words = tuple(own_words(given, ("--array",)))
    if arguments.merge:
        return [_merge_job(name, words, site, work)]
    gpus = 0 if site.gpus_per_node == 0 else work.gpus
    asked = f"--gpus-per-node={without_gpus(site_options(site, work.kind))[1] if gpus else ''}{gpus}"
    allocation = Allocation.imagined(site, name=name, gpus_per_node=gpus)
    if work.of_task is None:
        if arguments.array is not None:
            raise ValueError("--array chooses among the tasks of --tasks N: say the number of all")
        plan = _whole_plan(work, site, allocation)
        return [_Job(work.kind, words, (asked,), plan, allocation)]
    if work.num_tasks is None and arguments.array is None:
        raise ValueError("how many tasks there are is not known: say which ones to run, --array 0-9")
    indices = arguments.array or f"0-{(work.num_tasks or 1) - 1}"
    named = sorted(itertools.chain.from_iterable((tasks[0], tasks[-1]) for tasks in _ranges(indices)))
    plans = [_task_plan(work, task, site, allocation) for task in named]  # refuses tasks that there aren't
    options = (f"--array={indices}", asked, *_log_of_tasks(site, work.kind))
    return [_Job(work.kind, words, options, plans[0], allocation), _merge_job(name, words, site, work)]


def _log_of_tasks(site: Site, kind: Kind) -> list[str]:
    """Return the word that names logs by array and task, as their folders are; Slurm's %j tells no task's number."""
    if "SBATCH_OUTPUT" in os.environ or any(word.startswith(("--output", "-o")) for word in site_options(site, kind)):
        return []
    return ["--output=logs/%x-%A_%a.log"]


def _merge_job(name: str, words: Sequence[str], site: Site, work: Work) -> _Job:
    own = ("--merge", *(word for word in words if word != "--merge"))
    allocation = Allocation.imagined(site, name=f"{name}-merge", gpus_per_node=0)
    options = (f"--job-name={name}-merge", "--gpus-per-node=0")
    return _Job("cpu", own, options, _merge_plan(work, site, allocation), allocation)


def _submit_all(arguments: argparse.Namespace, site: Site, jobs: Sequence[_Job]) -> None:
    """Submit jobs, each behind the one before it, and print their ids; or print what would be submitted."""
    extra = sbatch_words(arguments)
    # Beside --gpus-per-node another option for GPUs would count too; where the user's says how many, ours is left out.
    site = replace(site, gpu_options=without_gpus(site.gpu_options)[0], cpu_options=without_gpus(site.cpu_options)[0])
    before = None
    for job in jobs:
        chain = [f"--dependency=afterok:{before}", "--kill-on-invalid-dep=yes"] if before else []
        of_user = extra if job is jobs[0] else _of_all(extra, jobs[0].kind == job.kind)
        own = [word for word in job.options if not (asks_for_gpus([word]) and asks_for_gpus(of_user))]
        options = [*own, *of_user, *chain]
        command = sbatch_command(site, _script(), job.kind, job.words, options)
        if arguments.dry_run:
            say(shell_line(command))
            show_plan(job.plan, site, job.allocation)
            before = "<array>"
            continue
        before = submit(command)
        indices = [word.removeprefix("--array=") for word in job.options if word.startswith("--array=")]
        what = f"tasks {indices[0]}" if indices else job.plan.work[0].name
        say(f"Submitted batch job {before} ({what})")


def _of_all(options: Sequence[str], is_same_kind: bool) -> list[str]:
    """Return the words for sbatch that hold for the merge too; --partition if both run on the same kind of node."""
    names = (*_OF_ALL, *(["partition"] if is_same_kind else []))
    return [word for option in read_options(options) if option.name in names for word in option.words]


def _script() -> Path:
    return Path(os.environ["OPEN_R1_JOB_SCRIPT"])
