# SPDX-License-Identifier: Apache-2.0
"""Which benchmarks a command line of `scripts/run_benchmarks.py` names, and what of it a job could only refuse.

    check_words(words)             before it is submitted: flags, local files and their columns
    check_on_node(words)           on its node, before a model is served: what the data sets need too
    python -m open_r1.evaluation.job_checks [--on_node] WORD...   either, for slurm/evaluate.slurm

Neither asks what serves the model, and neither reads rows.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from open_r1.data.benchmarks import AUTO, Benchmark, find_benchmarks, fitted, local_benchmark, refuse_same_names
from open_r1.evaluation.flags import build_parser, settings_of
from open_r1.sandbox import SandboxError


def chosen_benchmarks(args: argparse.Namespace) -> list[Benchmark]:
    """Return what is to be run.

    Raises:
        ValueError: Nothing is named, or what isn't there, or twice.
    """
    if not args.benchmarks and args.data is None:
        raise ValueError("Name --benchmarks, or a local file by --data; --list_benchmarks prints the table.")
    found = [
        _as_said(args, Path(entry.dataset)) if entry.is_local else entry for entry in find_benchmarks(args.benchmarks)
    ]
    if args.data is not None:
        if not args.data.expanduser().exists():
            raise ValueError(f"--data {args.data}: there is no such file or folder (in {Path.cwd()}).")
        found.append(_as_said(args, args.data))
    if args.kind != AUTO and not any(entry.is_local for entry in found):
        raise ValueError(
            f"--kind {args.kind} says how local files are judged, and there are none: name one by --data."
        )
    refuse_same_names(found)
    return found


def _as_said(args: argparse.Namespace, path: Path) -> Benchmark:
    """Return the benchmark that a local file is, read as the flags say."""
    return local_benchmark(
        path, split=args.split, prompt_column=args.prompt_column, solution_column=args.solution_column, kind=args.kind
    )


def check_words(words: Sequence[str]) -> None:
    """Refuse what can't work whatever the machine: values, prompt templates, local files without the columns.

    Raises:
        ValueError: See the message.
        SystemExit: A flag or its value is unknown; the message is on stderr.
    """
    _check(words, is_on_node=False)


def check_on_node(words: Sequence[str]) -> None:
    """Refuse the same, and data sets and sandboxes that this machine can't load.

    Raises:
        ValueError: See the message.
        SandboxError: The sandbox for programs can't be reached, or can't isolate them.
        SystemExit: A flag or its value is unknown; the message is on stderr.
    """
    _check(words, is_on_node=True)


def _check(words: Sequence[str], *, is_on_node: bool) -> None:
    # Imported here: the script's --help reads this module, and needs neither arrow nor aiohttp.
    from open_r1.generation.prompts import check_template

    args = build_parser(None).parse_args(words)
    settings, benchmarks = settings_of(args), chosen_benchmarks(args)
    if settings.template is not None:
        check_template(settings.template)
    found = [_opened(benchmark) if benchmark.is_local or is_on_node else benchmark for benchmark in benchmarks]
    if is_on_node and any(benchmark.kind == "code" for benchmark in found):
        settings.sandbox.check(())


def _opened(benchmark: Benchmark) -> Benchmark:
    """Return a benchmark with what its columns say; read its head alone."""
    from open_r1.data.sources import open_source

    try:
        source = open_source(benchmark.dataset, config=benchmark.config, split=benchmark.split)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"The benchmark {benchmark.name} ({benchmark.dataset}) can't be loaded: {error} Load it where the hub is "
            "reached, into an HF_HOME that both share, or name a local file by --data."
        ) from error
    return fitted(benchmark, source.column_names)


def main() -> int:
    """Check the words of a job, and print what its script has to know, as assignments of bash.

    `kept_in` is the folder of the answers, `commit` what the revision of a model on the hub is now.
    """
    words = sys.argv[1:]
    is_on_node = "--on_node" in words[:1]
    words = words[is_on_node:]
    try:
        with redirect_stdout(sys.stderr):  # bash runs what is printed here
            _check(words, is_on_node=is_on_node)
    except ImportError as error:
        if is_on_node:
            raise
        sys.stderr.write(f"The words for scripts/run_benchmarks.py are checked in the job alone: {error}\n")
        return 0
    except (ValueError, RuntimeError, OSError, SandboxError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    args = build_parser(None).parse_args(words)
    folder = settings_of(args).folder_of(args.model_id, chosen_benchmarks(args)[0]).parent
    with redirect_stdout(sys.stderr):
        commit = _commit_of(args) if is_on_node else ""
    sys.stdout.write(f"kept_in={shlex.quote(str(folder))}\ncommit={shlex.quote(commit)}\n")
    return 0


def _commit_of(args: argparse.Namespace) -> str:
    from open_r1.evaluation.identity import resolve_commit

    return "" if Path(args.model_id).is_dir() else resolve_commit(args.model_id, args.model_revision) or ""


if __name__ == "__main__":
    sys.exit(main())
