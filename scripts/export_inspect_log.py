# SPDX-License-Identifier: Apache-2.0
"""Write a finished run of run_benchmarks.py as a log of inspect-ai, to look at its answers one by one.

    python scripts/export_inspect_log.py eval_results/grpo/main/sums
    inspect view --log-dir eval_results/grpo/main/sums

It needs the extra `eval`, and asks no model.
"""

import argparse
import sys
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder with results.json and answers.parquet")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the log; a refusal is one message and exit code 1."""
    folder = build_parser().parse_args(argv).folder
    from open_r1.evaluation.inspect_log import export  # inspect-ai takes seconds to import

    try:
        print(export(folder))
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
