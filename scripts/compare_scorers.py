# SPDX-License-Identifier: Apache-2.0
"""Score the answers of a finished run by another scorer too, and list those that it judges differently.

    python scripts/compare_scorers.py eval_results/my-model/main/math_500
    python scripts/compare_scorers.py eval_results/my-model/main/math_500 --by math_verify

The answers may be of any engine of scripts/run_benchmarks.py; no model is asked. Our verdicts are those of the run.
lighteval's metric runs in an environment of its own, which is made on first use (scripts/lighteval_env.sh).
math_verify judges as TRL's accuracy reward.
"""

import argparse
import json
import sys
from pathlib import Path

from open_r1.data.flags import STOPPED, FlagParser, log_to_stderr, respelled
from open_r1.evaluation.disagreements import DISAGREEMENTS_NAME
from open_r1.evaluation.scorer_comparison import SCORERS, ScorerComparison, compare_scorers


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder with answers.parquet and results.json")
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="FOLDER",
        help="for the comparison (default: compared_with_<scorer> in the folder of the run)",
    )
    parser.add_argument("--by", default=SCORERS[0], choices=SCORERS, help="the other scorer (default: %(default)s)")
    parser.add_argument(
        "--show",
        type=int,
        default=5,
        metavar="N",
        help="differing answers to print, the first ones (default: %(default)s)",
    )
    return parser


def show(comparison: ScorerComparison, num_shown: int) -> None:
    """Print the counts, and some of the answers that differ."""
    counts = comparison
    print(f"| our judge | {counts.scorer}: right | {counts.scorer}: wrong |\n|---|---:|---:|")
    print(f"| right | {counts.both_right} | {counts.ours_alone} |")
    print(f"| wrong | {counts.scorer_alone} | {counts.both_wrong} |")
    if counts.not_judged:
        print(f"Our judge abstains from {counts.not_judged} answers.")
    print(f"{counts.total} answers; {json.dumps({name: round(value, 4) for name, value in counts.metrics.items()})}")
    path = counts.folder / DISAGREEMENTS_NAME
    with path.open(encoding="utf-8") as file:
        for _, line in zip(range(num_shown), file, strict=False):
            row = json.loads(line)
            print(f"  row {row['row']}, answer {row['index']}: {row['reason']}")
    print(f"All that differ: {path}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals and failures are one message and exit code 1."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    log_to_stderr()
    try:
        output = args.output_dir or args.folder / f"compared_with_{args.by}"
        show(compare_scorers(args.folder, output, args.by), args.show)
    except KeyboardInterrupt:
        print("Stopped; there is no comparison yet.", file=sys.stderr)
        return STOPPED
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
