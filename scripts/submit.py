#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Submit several Slurm jobs at once, each of which starts when those before it have succeeded.

    python scripts/submit.py --stage train --recipe sft.yaml --accelerator zero3 \\
        --stage evaluate --model data/sft --benchmarks math_500
    python scripts/submit.py chain.yaml --dry-run

A stage is the name of a script in slurm/ and its arguments, as one would type them. On the command line each stage
waits for the one before; a file says more:

    stages:
      - script: train                      # slurm/train.slurm; or a path
        args: [--recipe, sft.yaml, --accelerator, zero3, --nodes, 2]
      - script: evaluate
        name: before                       # by default that of the script
        after: []                          # waits for nothing; by default for the stage above
        args: [--model, Qwen/Qwen3-1.7B, --benchmarks, math_500]
      - script: evaluate
        name: behind
        after: [train, before]
        args: [--model, data/sft, --benchmarks, math_500]

1. Every stage is tried with --dry-run first: nothing is submitted when one of them can't work.
2. A job that fails takes those that wait for it out of the queue; an array has failed when one of its tasks has.
3. When a submission fails the jobs submitted before it are cancelled.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from open_r1.cluster.chains import ChainError, check, stages_of_file, stages_of_words, submit
from open_r1.data.flags import STOPPED, FlagParser, respelled
from open_r1.data.secret_names import shell_line

SCRIPTS = Path(__file__).resolve().parents[1] / "slurm"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before the first --stage."""
    parser = FlagParser(description=__doc__)
    parser.add_argument("chain", nargs="?", metavar="FILE", help="file with the stages, when --stage is not given")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what each stage would start, and submit nothing; among the words of a stage it "
        "says so of all of them",
    )
    parser.add_argument(
        "--stage",
        metavar="SCRIPT ARGUMENT...",
        help="a script of slurm/ with its arguments: all words up to the next --stage",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    first = given.index("--stage") if "--stage" in given else len(given)
    parser = build_parser()
    arguments = parser.parse_args(respelled(given[:first], "-"))
    if (arguments.chain is None) == (first == len(given)):
        parser.error("give either a FILE with stages or --stage SCRIPT ARGUMENT..., once for each stage")
    try:
        named = arguments.chain is None
        stages = stages_of_words(given[first:], SCRIPTS) if named else stages_of_file(arguments.chain, SCRIPTS)
        shown = check(stages)
    except ChainError as error:
        parser.exit(2, f"submit.py: {error}\n")
    except KeyboardInterrupt:
        parser.exit(STOPPED, "submit.py: nothing was submitted\n")
    if arguments.dry_run or any(stage.is_dry_run for stage in stages):
        for stage in stages:
            command = stage.command({name: [f"JOB_OF_{name}"] for name in shown})
            print(f"# stage {stage.name}: {shell_line(command)}\n{shown[stage.name].rstrip()}")
        return 0
    try:
        for stage, job_ids in submit(stages):
            waits = f", after {', '.join(stage.after)}" if stage.after else ""
            print(f"{stage.name}: {' '.join(job_ids)}{waits}", flush=True)
    except ChainError as error:
        parser.exit(1, f"submit.py: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
