# SPDX-License-Identifier: Apache-2.0
"""Spend more tokens on each problem at test time, and draw accuracy against thinking tokens with error bars.

    python scripts/test_time_compute.py --model_id open-r1/OpenR1-Distill-7B --benchmark aime24 \\
        --methods greedy budget_forcing --budgets 512 1024 2048 4096 8192
    python scripts/test_time_compute.py --model_id simplescaling/s1.1-32B --benchmark math_500 \\
        --thinking_start "<|im_start|>think" --thinking_end "<|im_start|>answer" --num_waits 0 1 2 4
    python scripts/test_time_compute.py --url localhost:8000 --data problems.jsonl --methods majority --n 1 2 4 8

Methods: greedy, cot (one sampled answer), budget_forcing (s1: the end of thinking is forced at a budget, or replaced
by "Wait"), majority, best_of_n, weighted, beam_search, dvts. Each runs at all settings that its flags make. Results
are in <output_dir>/<model>/<revision>/<benchmark>-test-time/: results.json, curve.png, and the journal from which a
command that was killed goes on.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from open_r1.data.cli import STOPPED, FlagParser, log_to_stderr, respelled
from open_r1.test_time.flags import (
    add_candidate_flags,
    add_method_flags,
    add_model_flags,
    add_problem_flags,
    add_sandbox_flags,
    run_settings,
)

if TYPE_CHECKING:
    from open_r1.test_time.command import Report

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal that ends the run; as Ctrl-C, nothing catches it on its way."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add_model_flags(parser)
    add_problem_flags(parser)
    add_method_flags(parser)
    add_candidate_flags(parser)
    add_sandbox_flags(parser)
    return parser


@contextmanager
def _stoppable() -> Iterator[None]:
    """Have SIGINT and SIGTERM raise `Stopped`, wherever it is; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_report(report: "Report") -> None:
    """Print a line for each point, and where the rest is."""
    for point in report.points:
        accuracy, thinking = point.accuracy, point.thinking_tokens
        print(
            f"{point.setting.label}: accuracy {accuracy.mean:.4f} ({accuracy.low:.4f}-{accuracy.high:.4f}), "
            f"{thinking.mean:.1f} thinking tokens, {point.total_tokens:.1f} in all"
        )
    for curve in report.results["forcing"]:
        print(_line_of(curve))
    for note in report.results["notes"]:
        print(f"NOTE: {note}.")
    print(
        f"{report.results['counts']['attempts']} attempts at {report.results['counts']['problems']} problems; "
        f"{report.folder}"
    )


def _line_of(curve: Mapping[str, Any]) -> str:
    values = {
        "control": curve["control"],
        "scaling per 1000 tokens": curve["scaling_per_1000_tokens"],
        "performance": curve["performance"],
    }
    known = ", ".join(f"{name} {value:.4f}" for name, value in values.items() if value is not None)
    return f"{curve['curve']}: {known}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals and failures are one message and exit code 1."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    log_to_stderr()
    try:
        settings = run_settings(args)
        from open_r1.test_time.command import run  # takes seconds, which --help and refusals needn't

        with _stoppable():
            report = run(settings)
    except Stopped as stopped:
        again = "without --overwrite " if args.overwrite else ""  # with it, what has been paid for may be left aside
        print(
            f"Stopped by {stopped}; what was done is kept below {args.output_dir}. Repeat the command {again}to go "
            "on.",
            file=sys.stderr,
        )
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("Stopped before anything was asked.", file=sys.stderr)
        return STOPPED
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print_report(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
