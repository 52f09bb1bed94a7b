#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Submit several Slurm jobs at once, each of which starts when the one before has succeeded (--dependency=afterok).

    python scripts/submit.py --stage train --recipe sft.yaml --accelerator zero3 \\
        --stage evaluate --model data/sft --benchmarks math_500

A stage is the name of a script in slurm/, or the path of one that takes --sbatch and --dry-run as those do, and its
arguments. With --dry-run anywhere each stage prints what it would start, and nothing is submitted. A job that fails
takes those behind it out of the queue; an array has failed when one of its tasks has. Stages that wait for several
others need no more than the numbers of jobs, which every script prints:

    slurm/evaluate.slurm --sbatch="--dependency=afterok:12:15 --kill-on-invalid-dep=yes" --model data/sft ...

1. Every stage is tried with --dry-run first: nothing is submitted when one of them can't work.
2. When a submission fails the jobs submitted before it are cancelled.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from open_r1.cluster.submission import submit_script
from open_r1.data.cli import FlagParser

ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT_S = 300.0  # a script may submit an array and a merge


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word not in ("--dry-run", "--dry_run")]
    starts = [place for place, word in enumerate(words) if word == "--stage"]
    parser = FlagParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print what each stage would start, and submit nothing")
    parser.add_argument("--stage", metavar="SCRIPT ARGUMENT...", help="all words up to the next --stage")
    parser.parse_args(words[: starts[0]] if starts else words)
    if not starts or len(words) - 1 in starts:
        parser.error("give --stage SCRIPT ARGUMENT..., once for each job")
    stages = [words[start + 1 : end] for start, end in zip(starts, [*starts[1:], len(words)], strict=True)]
    commands = [(find_script(name), arguments) for name, *arguments in stages]
    for script, arguments in commands:
        tried = subprocess.run([script, "--dry-run", *arguments], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            print(f"submit.py: {script} can't work, nothing was submitted:\n{tried.stderr}", file=sys.stderr)
            return 2
        if words != given:
            print(f"# {shlex.join([script, *arguments])}\n{tried.stdout}")
    return 0 if words != given else submit(commands)


def find_script(name: str) -> str:
    """Return the script of slurm/ of this name, or the path as it is."""
    path = ROOT / "slurm" / f"{name}.slurm"
    return str(path if path.is_file() else Path(name).expanduser().absolute())


def submit(commands: Sequence[tuple[str, Sequence[str]]]) -> int:
    """Submit stages, each behind the one before; return the exit status."""
    before: list[str] = []
    given: list[str] = []
    for script, arguments in commands:
        chain = [f"--sbatch=--dependency=afterok:{':'.join(before)} --kill-on-invalid-dep=yes"] if before else []
        try:
            before = submit_script([script, *chain, *arguments], folder=ROOT, timeout_s=_TIMEOUT_S)
        except (OSError, RuntimeError) as error:  # a TimeoutError too: `squeue --me` shows whether it was taken
            print(f"submit.py: {error}\ncancelled: {' '.join(given) or 'nothing'}", file=sys.stderr)
            if given:
                subprocess.run(["scancel", *given], check=False)
            return 1
        print(f"{Path(script).stem}: {' '.join(before)}", flush=True)
        given += before
    return 0


if __name__ == "__main__":
    sys.exit(main())
