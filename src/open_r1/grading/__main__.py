# SPDX-License-Identifier: Apache-2.0
"""Try one program by hand: the verdict, the time and the errors of each test.

    python -m open_r1.grading ROW.json PROGRAM.py
    python -m open_r1.grading ROW.json PROGRAM.cpp --provider router --sandbox_router_url HOST:8000

ROW.json holds one row as an object, in any layout that the reward `code` takes. The exit status is 0 when all tests
are passed, 1 when not, 2 when nothing could be judged.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args, get_type_hints

from open_r1.configs.rewards import CodeExecutionParameters
from open_r1.grading.batch import SandboxSettings
from open_r1.grading.cases import draw_tests, read_row
from open_r1.grading.patches import patch_code
from open_r1.grading.programs import Budget, judge_program
from open_r1.grading.verdict import TestResult, verdict_line
from open_r1.sandbox import Limits, SandboxError, run_coroutine

# Keys of recipes that are flags here too, with their defaults.
_KEYS = (
    "sandbox_router_url",
    "sandbox_router_token_env",
    "sandbox_patience_s",
    "sandbox_python",
    "code_test_timeout_s",
    "code_memory_mb",
    "code_max_tests",
    "code_max_timeouts",
    "code_extra_time_s",
    "patch_code",
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m open_r1.grading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("row", type=Path, metavar="ROW.json", help="the row with its tests")
    parser.add_argument("program", type=Path, metavar="PROGRAM", help="the program, in the row's language")
    parser.add_argument("--provider", default="local", help="the sandbox, as `code_provider` (default: local)")
    hints = get_type_hints(CodeExecutionParameters)
    for entry in fields(CodeExecutionParameters):
        if entry.name in _KEYS:
            name, said = f"--{entry.name}", entry.metadata["help"].replace("%", "%%")
            kind = next(kind for kind in (*get_args(hints[entry.name]), hints[entry.name]) if isinstance(kind, type))
            if kind is bool:
                parser.add_argument(name, help=said, action="store_true")
            else:
                parser.add_argument(name, help=said, type=kind, default=entry.default)
    return parser


def judge(args: argparse.Namespace) -> tuple[str, list[TestResult]]:
    """Return what the sandbox says of itself, and the results of the tests.

    Raises:
        ValueError: The row can't be used, or the sandbox can't be built.
        OSError: A file can't be read.
        SandboxError: The sandbox failed.
    """
    row = json.loads(args.row.read_text(encoding="utf-8"))
    if not isinstance(row, dict):
        raise ValueError(f"{args.row} holds a {type(row).__name__}; a row is an object with its columns.")
    tests = read_row(row)
    tests = replace(tests, tests=draw_tests(tests.tests, args.code_max_tests))
    program = args.program.read_text(encoding="utf-8")
    settings = SandboxSettings(
        args.provider,
        router_url=args.sandbox_router_url,
        router_token_env=args.sandbox_router_token_env,
        patience_s=args.sandbox_patience_s,
        python=args.sandbox_python,
    )
    sandbox = settings.build()
    results = run_coroutine(
        lambda: judge_program(
            patch_code(program, tests.language) if args.patch_code else program,
            tests,
            sandbox,
            limits=Limits(cpu_s=args.code_test_timeout_s, memory_mb=args.code_memory_mb),
            budget=Budget(args.code_max_timeouts or None, args.code_extra_time_s or None),
        )
    )
    return sandbox.describe(), results


def main(argv: Sequence[str] | None = None) -> int:
    """Print what became of each test; return the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        place, results = judge(args)
    except (SandboxError, ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(place)
    for number, result in enumerate(results, 1):
        print(f"test {number}: {result.verdict}{_times(result)}")
        shown = result.stderr if result.feedback in result.stderr else f"{result.feedback}\n{result.stderr}"
        for line in shown.splitlines():
            print("    " + "".join(mark if mark.isprintable() or mark == "\t" else "?" for mark in line))
    num_passed = sum(result.score == 1 for result in results)
    print(f"{verdict_line(results)}: {num_passed} of {len(results)} passed, reward {num_passed / len(results):.4g}")
    return 0 if num_passed == len(results) else 1


def _times(result: TestResult) -> str:
    """Return the times of a test that was run, as far as the provider tells them."""
    known = {"CPU": result.cpu_s, "on the clock": result.wall_s}
    return "".join(f", {value:.2f} s {what}" for what, value in known.items() if not math.isnan(value))


if __name__ == "__main__":
    sys.exit(main())
