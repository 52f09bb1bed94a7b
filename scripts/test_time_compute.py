# SPDX-License-Identifier: Apache-2.0
"""Spend more tokens on each problem at test time, and draw accuracy against thinking tokens with error bars.

    python scripts/test_time_compute.py --model_id open-r1/OpenR1-Distill-7B --benchmark aime24 \\
        --methods greedy budget_forcing --budgets 512 1024 2048 4096 8192
    python scripts/test_time_compute.py --model_id simplescaling/s1.1-32B --benchmark math_500 \\
        --thinking_start "<|im_start|>think" --thinking_end "<|im_start|>answer" --num_waits 0 1 2 4
    python scripts/test_time_compute.py --url localhost:8000 --data problems.jsonl --methods majority --n 1 2 4 8

Methods: greedy, cot (one sampled answer), budget_forcing (s1: the end of thinking is forced at a budget, or replaced
by "Wait"), majority, best_of_n, weighted, beam_search, dvts. Each runs at all settings that its flags make. Results
are in <output_dir>/<model>/<revision>/<benchmark>-test-time/: results.json, answers.parquet, curve.png, and the
journal from which a command that was killed resumes.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from open_r1.data.cli import STOPPED, log_to_stderr
from open_r1.evaluation.settings import build_parser as parser_of
from open_r1.evaluation.settings import parse
from open_r1.test_time.methods import Setting, TestTimeArguments

if TYPE_CHECKING:
    from open_r1.test_time.run import Report


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return parser_of(__doc__, TestTimeArguments)


def print_report(report: "Report") -> None:
    """Print a line for each point, and where the rest is."""
    for point in report.results["points"]:
        low, high, label = (
            point["accuracy_low"],
            point["accuracy_high"],
            Setting(point["method"], point["values"]).label,
        )
        print(
            f"{label}: accuracy {point['accuracy']:.4f} ({low:.4f}-{high:.4f}), "
            f"{point['thinking_tokens']:.1f} thinking tokens, {point['total_tokens']:.1f} in all"
        )
    for curve in report.results["forcing"]:
        print(_line_of(curve))
    for note in report.results["notes"]:
        print(f"NOTE: {note}.")
    counts = report.results["counts"]
    print(f"{counts['attempts']} attempts at {counts['problems']} problems; {report.folder}")


def _line_of(curve: Mapping[str, Any]) -> str:
    names = {"control": "control", "scaling_per_1000_tokens": "scaling per 1000 tokens", "performance": "performance"}
    known = [f"{text} {curve[name]:.4f}" for name, text in names.items() if curve[name] is not None]
    return f"{curve['curve']}: {', '.join(known)}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals and failures are one message and exit code 1."""
    log_to_stderr()
    try:
        args = parse(sys.argv[1:] if argv is None else argv, __doc__, TestTimeArguments)
        from open_r1.test_time.run import run  # takes seconds, which --help and refusals needn't

        print_report(run(args))
    except KeyboardInterrupt as stopped:
        print("Stopped; what was done is kept. Repeat the command, without --overwrite, to resume.", file=sys.stderr)
        return 128 + stopped.args[0] if stopped.args else STOPPED
    except (ValueError, RuntimeError, OSError, TemplateError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
