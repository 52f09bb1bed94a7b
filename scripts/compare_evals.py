#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Compare runs of run_benchmarks.py: a table, the settings that differ, and which differences are noise.

    python scripts/compare_evals.py eval_results
    python scripts/compare_evals.py eval_results/me/a/main/math_500 eval_results/me/b/main/math_500
    python scripts/compare_evals.py eval_results --baseline eval_results/me/a/main

Figures are percent, with 95 % intervals over problems; "!" behind k: requests have failed or judgements were lost, and
the estimates are from what is there. With --baseline, or of two runs on a benchmark, the shares of right answers are
compared problem by problem (problems are known by conversation and solution, wherever they stand): mean difference
with its 95 % interval, p value of a permutation test, corrected by Holm for all comparisons that are made. At p = 0.05
or more, it is noise.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from open_r1.data.cli import STOPPED, FlagParser, respelled


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add = parser.add_argument
    add(
        "places", nargs="+", type=Path, metavar="PLACE", help="folders with runs anywhere below, or results.json files"
    )
    add(
        "--baseline",
        type=Path,
        metavar="PLACE",
        help="run to compare the others with, or a folder with one on each benchmark (default: of two runs on a "
        "benchmark the first, of more none)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; what can't be read or compared is one message and exit code 1."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    # Imported here: arrow takes half a second, which --help needn't.
    from open_r1.evaluation.compare import as_text, overview_of

    try:
        print(as_text(overview_of(args.places, args.baseline)))
    except (ValueError, OSError) as error:
        print(f"compare_evals.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
