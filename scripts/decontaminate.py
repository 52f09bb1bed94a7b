# SPDX-License-Identifier: Apache-2.0
"""Find the rows of a data set that share text with benchmarks; flag them, or remove them.

    python scripts/decontaminate.py --dataset open-r1/OpenR1-Math-220k --problem_column problem --cleanup
    python scripts/decontaminate.py --dataset data/rows.parquet --benchmark_file benchmarks/aime.jsonl:problem

Writes data/<name>_decontaminated: the rows, a card, contamination_report.json with evidence for each flagged
row. Without --cleanup all rows stay, with columns contaminated_<benchmark>. Nothing is pushed unless
--new_dataset_name or --push_to_hub asks for it.

Larger than one machine: run --shard 0/8 ... --shard 7/8 anywhere that sees the folder, then the same with --merge:

    sbatch --array=0-7 --wrap='python scripts/decontaminate.py --dataset ... --shard $SLURM_ARRAY_TASK_ID/8'

1. Upstream's rule (8 words in common, split at white space) is --normalization none. The default sees through case,
   Unicode, markdown, punctuation and LaTeX spacing, finds items shorter than 8 words, and passes over boilerplate: of
   8 words in common, 4 must be prose, and boilerplate is counted in the items of the given benchmarks alone.
2. Upstream always pushes, publicly. Here --new_dataset_name pushes there, privately unless --public.
3. Upstream says that it removes duplicates, and doesn't. --deduplicate does.
"""

import argparse
import os
import sys
from pathlib import Path

from open_r1.data.cli import STOPPED, FlagParser, log_to_stderr, respelled


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add = parser.add_argument_group("data").add_argument
    add("--dataset", required=True, help="local file or folder, tasks/<name>, or name on the hub")
    add("--config", help="configuration of the data set")
    add("--split", default="train", help="split, or a slice such as train[:100] (default: %(default)s)")
    add("--revision", help="branch, tag or commit on the hub")
    text = "text or conversations to check; several by commas or by repeating it (default: problem)"
    add("--problem_column", action="append", metavar="COLUMN", help=text)
    add = parser.add_argument_group("benchmarks").add_argument
    text = "of run_benchmarks.py, or Open R1's (default: aime_2024 aime_2025 math_500 gpqa lcb; none with a file)"
    add("--benchmarks", nargs="+", metavar="NAME", help=text)
    text = (
        "local file or folder with items; repeat it for several. With the NAME of a known one it stands for that "
        "(default NAME: of the file; COLUMN: problem, question, Question, question_content, problem_statement, "
        "prompt or text, the first that exists)"
    )
    add("--benchmark_file", action="append", default=[], metavar="[NAME=]PATH[:COLUMN]", help=text)
    add = parser.add_argument_group("rule").add_argument
    add("--ngram_size", type=int, default=8, metavar="WORDS", help="words in common that flag (default: %(default)s)")
    text = "none: upstream's rule to the letter (default: %(default)s)"
    add("--normalization", choices=["none", "default"], default="default", help=text)
    text = "words in common with N or more items don't flag; 0: they do (default: 5; with --normalization none 0)"
    add("--boilerplate_items", type=int, metavar="N", help=text)
    add = parser.add_argument_group("output").add_argument
    text = "remove flagged rows (default: add columns contaminated_<benchmark>)"
    add("--cleanup", action="store_true", help=text)
    text = (
        "also drop rows that repeat an earlier one that stays, exactly or with this Jaccard similarity of their runs "
        "of three words; 1: exact ones only (a bare flag: 0.8). Near ones agree in numbers, signs and last five words"
    )
    add("--deduplicate", type=float, nargs="?", const=0.8, metavar="SIMILARITY", help=text)
    add("--output_dir", type=Path, metavar="FOLDER", help="default: data/<name>_decontaminated")
    text = "flagged rows of each benchmark with evidence in the report; others are counted (default: %(default)s)"
    add("--max_evidence", type=int, default=1000, metavar="ROWS", help=text)
    add("--licence", help="licence of the output (default: that of the data set, if known)")
    add("--overwrite", action="store_true", help="make a finished data set anew, whatever its settings")
    add("--new_dataset_name", metavar="NAME", help="push there, privately; --output_dir is named after it")
    add("--push_to_hub", action="store_true", help="push to <dataset>_decontaminated, or to --new_dataset_name")
    add("--public", action="store_true", help="push publicly (default: privately)")
    add = parser.add_argument_group("work").add_argument
    cores = len(os.sched_getaffinity(0))
    text = "processes that match (default: number of cores)"
    add("--processes", "--num_workers", type=int, default=cores, metavar="N", help=text)
    add("--start", type=int, metavar="ROW", help="first row of a range, counted from 0")
    add("--end", type=int, metavar="ROW", help="the row behind the last one")
    text = (
        "the same in equal parts: 0/8 is the first of eight. A part leaves --deduplicate and pushes to the "
        "run with --merge, so that all may have one command line"
    )
    add("--shard", metavar="I/N", help=text)
    add("--merge", action="store_true", help="put the parts of --shard or --start/--end together")
    return parser


def parse_command_line(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments, dashes in names read as underscores; exits with 2 when they make no sense."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    args = parser.parse_args(respelled(given, "_"))
    args.problem_column = [name for text in args.problem_column or ["problem"] for name in text.split(",") if name]
    is_part = args.shard is not None or args.start is not None or args.end is not None
    limits = {
        "ngram_size": (1, 99),
        "processes": (1, 999),
        "max_evidence": (0, 1 << 40),
        "boilerplate_items": (0, 1 << 40),
        "deduplicate": (1e-9, 1),
    }
    for name, (least, most) in limits.items():
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            parser.error(f"--{name} must be from {least} to {most}, got {value}")
    wrong = {
        "--problem_column names no column": not args.problem_column,
        "--boilerplate_items 1 would take every n-gram for boilerplate": args.boilerplate_items == 1,
        "--shard and --start/--end both choose rows: give one of them": args.shard and args.start != args.end,
        "--merge takes all parts: leave --shard, --start and --end out": is_part and args.merge,
        "--public needs --push_to_hub or --new_dataset_name": args.public
        and not (args.push_to_hub or args.new_dataset_name),
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            parser.error(message)
    return args


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_command_line(arguments)
    log_to_stderr()
    from open_r1.curation.decontaminate import decontaminate  # half a second of imports, after the refusals

    try:
        for line in decontaminate(args):
            print(line)
    except KeyboardInterrupt:
        print("Stopped; nothing of this run is kept, and the same command begins anew.", file=sys.stderr)
        return STOPPED
    except (ValueError, RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
