# SPDX-License-Identifier: Apache-2.0
"""How long the reward `code` takes for a step of training in which some programs never end.

    python scripts/bench_grading.py --table assets/benchmarks/grading.md       # as `make bench_grading`
    python scripts/bench_grading.py --parts loop --max_timeouts 5

loop     a fifth of the programs never ends and computes all the while
sleep    a fifth of the programs never ends and waits
none     every program ends

The completions are of rows with equal tests; no two programs are the same. A reward that isn't right stops the
benchmark. The defaults are those of recipes, also of the budget, which `--max_timeouts 0` lifts.
"""

import argparse
import os
import resource
import sys
import time
from dataclasses import fields
from pathlib import Path

from open_r1.configs.rewards import RewardArguments
from open_r1.grading.batch import SandboxSettings
from open_r1.rewards import get_reward_funcs

RIGHT = "a, b = map(int, input().split())\nprint(a + b)"
WRONG = "a, b = map(int, input().split())\nprint(a - b if a % 2 else a + b)"
ENDLESS = {"loop": "while True:\n    pass", "sleep": "import time\ntime.sleep(10**6)", "none": None}
DEFAULTS = {entry.name: entry.default for entry in fields(RewardArguments)}


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--parts", nargs="+", choices=list(ENDLESS), default=list(ENDLESS), help="default: all")
    parser.add_argument("--completions", type=int, default=64, help="programs of a step (default: 64)")
    parser.add_argument("--tests", type=int, default=50, help="tests of a row (default: 50)")
    parser.add_argument("--max_timeouts", type=int, default=DEFAULTS["code_max_timeouts"], help="code_max_timeouts")
    parser.add_argument("--timeout_s", type=float, default=DEFAULTS["code_test_timeout_s"], help="code_test_timeout_s")
    parser.add_argument("--table", type=Path, help="also write the table to this Markdown file")
    args = parser.parse_args()
    if args.completions < 5 or args.tests < 2:
        parser.error("--completions must be at least 5, --tests at least 2")
    return args


def programs_of(part: str, count: int) -> tuple[list[str], list[float]]:
    """Return programs and their rewards: every fifth is endless, every fifth right in half of its tests."""
    chosen = []
    for number in range(count):
        if number % 5 == 0 and (endless := ENDLESS[part]) is not None:
            chosen.append((f"{endless}  # {number}", 0.0))
        else:
            program, reward = (WRONG, 0.5) if number % 5 == 1 else (RIGHT, 1.0)
            chosen.append((f"{program}  # {number}", reward))
    return [program for program, _ in chosen], [reward for _, reward in chosen]


def seconds_of(part: str, args: argparse.Namespace) -> tuple[float, float]:
    """Return the wall seconds and the CPU seconds of one step, whose rewards must be right."""
    (reward,) = get_reward_funcs(
        RewardArguments(reward_funcs=["code"], code_max_timeouts=args.max_timeouts, code_test_timeout_s=args.timeout_s)
    )
    num_tests = 2 * (args.tests // 2)
    cases = [{"input": f"{number} 1", "output": str(number + 1)} for number in range(num_tests)]
    info = {"language": "python", "test_cases": cases}
    programs, expected = programs_of(part, args.completions)
    started, started_cpu = time.perf_counter(), cpu_seconds()
    values = reward(
        completions=[f"```python\n{program}\n```" for program in programs], verification_info=[info] * len(programs)
    )
    seconds = time.perf_counter() - started, cpu_seconds() - started_cpu
    if values != expected:
        sys.exit(f"{part}: the rewards are {values}, expected {expected}")
    return seconds


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the boxes that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Run the chosen parts and print Markdown."""
    args = parse_command_line()
    settings, rows = SandboxSettings(), []
    said = {"loop": "computes without end", "sleep": "waits without end", "none": "ends, as all others"}
    for part in args.parts:
        wall_s, cpu_s = seconds_of(part, args)
        rows.append(f"| {said[part]} | {wall_s:.1f} | {cpu_s:.1f} |")
        print(rows[-1], file=sys.stderr, flush=True)
    lines = [
        "# A step with programs that never end",
        "",
        f"Made by `python {' '.join(sys.argv)}`; {os.cpu_count()} cores, {settings.num_places} programs at a time. "
        f"{args.completions} programs on rows of {args.tests} tests, {args.timeout_s:g} CPU seconds a test, "
        f"`code_max_timeouts: {args.max_timeouts}`, in local boxes.",
        "",
        "| every fifth program | seconds | CPU seconds |",
        "|---|---|---|",
        *rows,
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table is not None:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
