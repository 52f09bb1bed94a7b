# SPDX-License-Identifier: Apache-2.0
"""One program judged by hand: the verdict, the time and the errors of each test.

    python -m open_r1.grading ROW.json PROGRAM.py
    python -m open_r1.grading ROW.json PROGRAM.cpp --provider router --sandbox_router_url HOST:8000

ROW.json holds one row as an object, in any layout that the reward `code` takes. The exit status is 0 when all tests
are passed, 1 when not, 2 when nothing could be judged.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from open_r1.configs.rewards import CodeExecutionParameters
from open_r1.grading.cases import read_row
from open_r1.grading.patches import patch_code
from open_r1.grading.programs import Budget, judge_program
from open_r1.grading.verdict import verdict_line
from open_r1.sandbox import Limits, SandboxError, run_coroutine
from open_r1.sandbox.providers import SandboxSettings

# Keys of recipes that are flags here too, with their defaults.
_KEYS = ("sandbox_router_url", "sandbox_router_token_env", "sandbox_patience_s", "sandbox_python")
_KEYS += ("code_test_timeout_s", "code_memory_mb", "code_max_timeouts", "code_total_cpu_s")


def main(argv: Sequence[str] | None = None) -> int:
    """Print what became of each test; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m open_r1.grading", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", type=Path, metavar="ROW.json", help="the row with its tests")
    parser.add_argument("program", type=Path, metavar="PROGRAM", help="the program, in the row's language")
    parser.add_argument("--provider", default="local", help="the sandbox, as `code_provider` (default: local)")
    parser.add_argument("--patch_code", action="store_true", help="as in a recipe")
    for name in _KEYS:
        default = getattr(CodeExecutionParameters, name)
        kind = str if default is None else type(default)
        parser.add_argument(f"--{name}", type=kind, default=default, help="as in a recipe (default: %(default)s)")
    args = parser.parse_args(argv)
    settings = SandboxSettings(
        args.provider,
        router_url=args.sandbox_router_url,
        router_token_env=args.sandbox_router_token_env,
        patience_s=args.sandbox_patience_s,
        python=args.sandbox_python,
    )
    limits = Limits(cpu_s=args.code_test_timeout_s, memory_mb=args.code_memory_mb)
    budget = Budget(args.code_max_timeouts or None, args.code_total_cpu_s or None)
    try:
        tests = read_row(dict(json.loads(args.row.read_text(encoding="utf-8"))))
        program = args.program.read_text(encoding="utf-8")
        program = patch_code(program, tests.language) if args.patch_code else program
        sandbox = settings.build()
        results = run_coroutine(lambda: judge_program(program, tests, sandbox, limits=limits, budget=budget))
    except (SandboxError, TypeError, ValueError, OSError) as error:
        print(f"{parser.prog}: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(sandbox.describe())
    for number, result in enumerate(results, 1):
        known = {"CPU": result.cpu_s, "on the clock": result.wall_s}  # NaN where the provider can't tell
        times = "".join(f", {value:.2f} s {what}" for what, value in known.items() if value == value)
        print(f"test {number}: {result.verdict}{times}")
        shown = result.stderr if result.feedback in result.stderr else f"{result.feedback}\n{result.stderr}"
        for line in shown.splitlines():
            print("    " + "".join(mark if mark.isprintable() or mark == "\t" else "?" for mark in line))
    num_passed = sum(result.score == 1 for result in results)
    print(f"{verdict_line(results)}: {num_passed} of {len(results)} passed, reward {num_passed / len(results):.4g}")
    return 0 if num_passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
