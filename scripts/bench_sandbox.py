# SPDX-License-Identifier: Apache-2.0
"""What the local sandbox costs beside a bare `subprocess`, which isolates nothing.

    python scripts/bench_sandbox.py --table assets/benchmarks/sandbox.md       # as `make bench_sandbox`
    python scripts/bench_sandbox.py --rounds 3

short    Python submissions of one line with one test, a box each, two at a time
tests    one Python submission with 50 tests, one after another; the box counts

bare       `subprocess.run([python, "-I", program])`
baseline   the same with the sandbox's rlimits, a session of its own, and that session killed afterwards; setting
           limits in the child costs `subprocess` its fast start by vfork
bwrap, landlock   `LocalSandbox` by either mechanism

All run the same interpreter and take turns, who begins changes from round to round; a first round doesn't count.
"""

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from open_r1.sandbox import Limits, ProgramInput, RunRequest, run_all, run_coroutine
from open_r1.sandbox.local import LocalSandbox

NUM_WORKERS, NUM_TESTS = 2, 50
LIMITS = Limits(cpu_s=5.0, memory_mb=512)
ONE_LINE = "print(sum(map(int, input().split())))\n"
RLIMITS = {
    resource.RLIMIT_AS: 2 * LIMITS.memory_mb << 20,
    resource.RLIMIT_CPU: int(LIMITS.cpu_s) + 1,
    resource.RLIMIT_FSIZE: 64 << 20,
    resource.RLIMIT_NPROC: 4096,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 256,
}
# Returns what a submission prints for each of its inputs.
Contestant = Callable[[list[str]], list[str]]


def run_bare(command: list[str], stdins: list[str]) -> list[str]:
    """Run a submission by `subprocess` alone."""
    return [
        subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout for stdin in stdins
    ]


def run_baseline(command: list[str], stdins: list[str]) -> list[str]:
    """Run a submission with limits and a session of its own."""

    def set_limits() -> None:
        for limit, value in RLIMITS.items():
            resource.setrlimit(limit, (value, value))

    outputs = []
    for stdin in stdins:
        process = subprocess.Popen(
            command,
            text=True,
            start_new_session=True,
            preexec_fn=set_limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        outputs.append(process.communicate(stdin, timeout=LIMITS.backstop_s)[0])
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return outputs


def as_request(stdins: list[str]) -> RunRequest:
    """Return a submission for a sandbox."""
    return RunRequest("python", {"main.py": ONE_LINE}, tuple(map(ProgramInput, stdins)), limits=LIMITS)


def run_turn(contestant: Contestant | LocalSandbox, stdins: list[list[str]]) -> float:
    """Return the seconds that submissions take, each with its inputs."""
    started = time.perf_counter()
    if isinstance(contestant, LocalSandbox):
        results = run_all([as_request(one) for one in stdins], contestant, NUM_WORKERS)
        outputs = [[run.stdout for run in result.tests] for result in results]  # type: ignore[union-attr]
    else:
        with ThreadPoolExecutor(NUM_WORKERS) as pool:
            outputs = list(pool.map(contestant, stdins))
    seconds = time.perf_counter() - started
    assert outputs == [[f"{sum(map(int, stdin.split()))}\n" for stdin in one] for one in stdins]
    return seconds


def section_lines(
    contestants: dict[str, Contestant | LocalSandbox], stdins: list[list[str]], num_rounds: int
) -> list[str]:
    """Return medians over the rounds, and speeds as ratios within a round, as a Markdown table."""
    names, rounds = list(contestants), []
    for number in range(num_rounds + 1):
        order = names[number % len(names) :] + names[: number % len(names)]
        rounds.append({name: run_turn(contestants[name], stdins) for name in order})
        print(rounds[-1], file=sys.stderr, flush=True)
    lines = [
        "| | runs/s | ms a run | seconds in all | speed of bare | speed of baseline | its range |",
        "|---|---|---|---|---|---|---|",
    ]
    num_runs = sum(map(len, stdins))
    for name in names:
        wall_s = statistics.median(seconds[name] for seconds in rounds[1:])
        of_bare = statistics.median(seconds["bare"] / seconds[name] for seconds in rounds[1:])
        ratios = [seconds["baseline"] / seconds[name] for seconds in rounds[1:]]
        lines.append(
            f"| {name} | {num_runs / wall_s:.1f} | {1000 * wall_s / num_runs:.1f} | {wall_s:.2f} | {of_bare:.2f} | "
            f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
        )
    return lines


def main() -> None:
    """Print both sections as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant (default: 7)")
    parser.add_argument("--submissions", type=int, default=60, help="short: submissions in a turn (default: 60)")
    parser.add_argument("--table", type=Path, help="also write the tables to this Markdown file")
    args = parser.parse_args()
    # One interpreter for all: one that Landlock's boxes can start.
    interpreter = run_coroutine(LocalSandbox(mechanism="landlock").setup).interpreter
    stdins = [f"{number} {3 * number + 1}\n" for number in range(max(args.submissions, NUM_TESTS))]
    user = "root" if os.geteuid() == 0 else "an ordinary user"
    lines = [
        "# Sandbox benchmark",
        "",
        f"Made by `python {' '.join(sys.argv)}`; {os.cpu_count()} cores, as {user}, Python {interpreter.version} "
        "everywhere; medians of the rounds, after one that doesn't count.",
        "",
        f"## Short\n\n{args.submissions} Python submissions of one line with one test, {NUM_WORKERS} at a time, a box "
        "each. Reach with bwrap: >= 0.30 of bare, >= 0.40 of the baseline.\n",
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
        print(ONE_LINE, file=program, flush=True)
        command = [interpreter.path, "-I", program.name]
        contestants = {"bare": partial(run_bare, command), "baseline": partial(run_baseline, command)}
        contestants |= {name: LocalSandbox(python=interpreter.path, mechanism=name) for name in ("bwrap", "landlock")}
        lines += section_lines(contestants, [[stdin] for stdin in stdins[: args.submissions]], args.rounds)
        lines.append(
            f"\n## Tests\n\nOne Python submission with {NUM_TESTS} tests, one after another; the box counts. Reach "
            "with bwrap: <= 2 s in all, >= 0.70 of the baseline.\n"
        )
        lines += section_lines(contestants, [stdins[:NUM_TESTS]], args.rounds)
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table is not None:
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
