# SPDX-License-Identifier: Apache-2.0
"""What the local sandbox costs beside a bare `subprocess`, which isolates nothing.

    python scripts/bench_sandbox.py --table assets/benchmarks/sandbox.md       # as `make bench_sandbox`
    python scripts/bench_sandbox.py --sections short --rounds 3

short    Python submissions of one line with one test, two at a time
tests    one Python submission with 50 tests
cpp      one C++ submission: compiled, then 100 tests
rows     256 rows asked for at once, as in a step of training, two at a time

bare       `subprocess.run([python, "-I", program])`
baseline   the same with the sandbox's rlimits, a session of its own, and that session killed afterwards; setting
           limits in the child costs `subprocess` its fast start by vfork
bwrap, landlock   the local sandbox by either mechanism

All take turns within a round, in an order that changes; ratios are of the same round. The outputs are compared: a run
that prints anything else stops the benchmark.
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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from open_r1.sandbox import Limits, ProgramInput, RunRequest, RunResult, run_all, run_coroutine
from open_r1.sandbox.local import LocalSandbox

NUM_WORKERS = 2
LIMITS = Limits(cpu_s=5.0, memory_mb=512)
ONE_LINE = "print(sum(map(int, input().split())))\n"
CPP = """#include <cstdio>
int main() {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) == 2) printf("%lld\\n", a + b);
}
"""

Seconds = dict[str, float]


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), help="default: all")
    parser.add_argument(
        "--mechanisms", nargs="+", choices=["bwrap", "landlock"], default=["bwrap", "landlock"], help="default: both"
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant (default: 7)")
    parser.add_argument("--submissions", type=int, default=60, help="short: submissions in a turn (default: 60)")
    parser.add_argument("--table", type=Path, help="also write the tables to this Markdown file")
    args = parser.parse_args()
    if args.rounds < 1 or args.submissions < 1:
        parser.error("--rounds and --submissions must be at least 1")
    return args


def pairs(count: int) -> list[tuple[str, str]]:
    """Return inputs of the programs and the outputs that they must give."""
    return [(f"{number} {3 * number + 1}\n", f"{4 * number + 1}\n") for number in range(count)]


class Subprocesses:
    """Programs run by `subprocess` alone, in one folder, with the interpreter of the sandbox."""

    def __init__(self, folder: Path, python: str, *, with_limits: bool) -> None:
        self._python, self._with_limits = python, with_limits
        self._program, self._binary = folder / "main.py", folder / "main"
        self._program.write_text(ONE_LINE, encoding="utf-8")
        self._source = folder / "main.cpp"
        self._source.write_text(CPP, encoding="utf-8")

    def run(self, command: Sequence[str], stdin: str) -> str:
        """Return what a command prints."""
        if not self._with_limits:
            return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout
        process = subprocess.Popen(
            command,
            text=True,
            start_new_session=True,
            preexec_fn=set_limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            return process.communicate(stdin, timeout=LIMITS.backstop_s)[0]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def submissions(self, count: int) -> None:
        """Run `count` submissions of one test, `NUM_WORKERS` at a time."""
        with ThreadPoolExecutor(NUM_WORKERS) as pool:
            outputs = pool.map(lambda pair: self.run(self._python_command(), pair[0]), pairs(count))
            check(list(outputs), [expected for _, expected in pairs(count)])

    def tests(self, count: int) -> None:
        """Run one Python program on `count` inputs, one after another."""
        check(
            [self.run(self._python_command(), given) for given, _ in pairs(count)], [want for _, want in pairs(count)]
        )

    def cpp(self, count: int) -> None:
        """Compile a C++ program and run it on `count` inputs."""
        self.run(["g++", "-std=gnu++17", "-O2", "-pipe", "-o", str(self._binary), str(self._source)], "")
        check([self.run([str(self._binary)], given) for given, _ in pairs(count)], [want for _, want in pairs(count)])

    def _python_command(self) -> list[str]:
        return [self._python, "-I", str(self._program)]


def set_limits() -> None:
    """Set the limits that the sandbox sets, in the child before it runs the program."""
    size = LIMITS.memory_mb << 20
    for limit, value in (
        (resource.RLIMIT_AS, 2 * size),
        (resource.RLIMIT_CPU, int(LIMITS.cpu_s) + 1),
        (resource.RLIMIT_FSIZE, 64 << 20),
        (resource.RLIMIT_NPROC, 4096),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(limit, (value, value))


class Sandboxed:
    """The same programs in the local sandbox."""

    def __init__(self, sandbox: LocalSandbox) -> None:
        self._sandbox = sandbox

    def submissions(self, count: int) -> None:
        """Run `count` submissions of one test, `NUM_WORKERS` at a time, each in a box of its own."""
        requests = [request("python", "main.py", ONE_LINE, [given]) for given, _ in pairs(count)]
        outputs = [stdout for result in run_all(requests, self._sandbox, NUM_WORKERS) for stdout in stdouts(result)]
        check(outputs, [expected for _, expected in pairs(count)])

    def tests(self, count: int) -> None:
        """Run one Python program on `count` inputs in one box."""
        self._run_one("python", "main.py", ONE_LINE, count)

    def cpp(self, count: int) -> None:
        """Compile a C++ program and run it on `count` inputs in one box."""
        self._run_one("cpp", "main.cpp", CPP, count)

    def _run_one(self, language: str, name: str, program: str, count: int) -> None:
        asked = request(language, name, program, [given for given, _ in pairs(count)])
        check(stdouts(run_all([asked], self._sandbox, 1)[0]), [want for _, want in pairs(count)])


def request(language: str, name: str, program: str, stdins: Sequence[str]) -> RunRequest:
    """Return a request for one program."""
    return RunRequest(language, {name: program}, tuple(map(ProgramInput, stdins)), limits=LIMITS)


def stdouts(result: RunResult | Exception) -> list[str]:
    """Return what the runs printed; a failure ends the benchmark."""
    if isinstance(result, Exception):
        raise result
    return ["<not run>" if run is None else run.stdout for run in result.tests]


def check(outputs: list[str], expected: list[str]) -> None:
    """End the benchmark when a program printed anything but what it must."""
    for number, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        if got != want:
            sys.exit(f"run {number} printed {got!r} instead of {want!r}")


Contestants = dict[str, Subprocesses | Sandboxed]
Task = Callable[[Subprocesses | Sandboxed], None]


def take_turns(contestants: Contestants, task: Task, num_rounds: int, label: str) -> list[Seconds]:
    """Return the wall seconds of every contestant in every round; a first round, which warms up, doesn't count."""
    rounds = []
    for number in range(-1, num_rounds):
        names = list(contestants)
        places = [(number + step) % len(names) for step in range(len(names))]
        seconds = {}
        for name in (names[place] for place in places):
            started = time.perf_counter()
            task(contestants[name])
            seconds[name] = time.perf_counter() - started
        if number >= 0:
            rounds.append(seconds)
            print(
                f"{label} {number}: " + ", ".join(f"{name} {seconds[name]:.2f} s" for name in names),
                file=sys.stderr,
                flush=True,
            )
    return rounds


def result_table(rounds: list[Seconds], count: int, unit: str) -> list[str]:
    """Return medians over the rounds, and speeds as ratios within a round, as a Markdown table."""
    lines = [
        "",
        f"| | {unit}/s | ms per {unit} | seconds in all | speed of bare | speed of baseline | its range |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in sorted(rounds[0], key=["bare", "baseline", "bwrap", "landlock"].index):
        wall_s = statistics.median(seconds[name] for seconds in rounds)
        of_bare = statistics.median(seconds["bare"] / seconds[name] for seconds in rounds)
        ratios = [seconds["baseline"] / seconds[name] for seconds in rounds]
        lines.append(
            f"| {name} | {count / wall_s:.1f} | {1000 * wall_s / count:.1f} | {wall_s:.2f} | {of_bare:.2f} | "
            f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
        )
    return lines


def short_section(args: argparse.Namespace, contestants: Contestants) -> list[str]:
    """Return the cost of a submission with one test as Markdown lines."""
    rounds = take_turns(contestants, lambda one: one.submissions(args.submissions), args.rounds, "short")
    return [
        f"{args.submissions} Python submissions of one line with one test, {NUM_WORKERS} at a time, a box each. "
        "Reach with bwrap: >= 0.30 of bare, >= 0.40 of the baseline.",
        *result_table(rounds, args.submissions, "submission"),
    ]


def tests_section(args: argparse.Namespace, contestants: Contestants) -> list[str]:
    """Return the cost of a submission with 50 tests as Markdown lines."""
    rounds = take_turns(contestants, lambda one: one.tests(50), args.rounds, "tests")
    return [
        "One Python submission with 50 tests, one after another; the box counts. "
        "Reach with bwrap: <= 2 s in all, >= 0.70 of the baseline.",
        *result_table(rounds, 50, "test"),
    ]


def cpp_section(args: argparse.Namespace, contestants: Contestants) -> list[str]:
    """Return the cost of compiling a C++ program and running it 100 times as Markdown lines."""
    rounds = take_turns(contestants, lambda one: one.cpp(100), max(args.rounds // 2, 1), "cpp")
    return ["One C++ submission: compiled, then 100 tests.", *result_table(rounds, 100, "test")]


def rows_section(args: argparse.Namespace, contestants: Contestants) -> list[str]:
    """Return the cost of 256 rows asked for at once as Markdown lines."""
    rounds = take_turns(contestants, lambda one: one.submissions(256), max(args.rounds // 3, 1), "rows")
    return [
        f"256 rows in one call, {NUM_WORKERS} at a time, one Python test each.",
        *result_table(rounds, 256, "row"),
    ]


SECTIONS = {"short": short_section, "tests": tests_section, "cpp": cpp_section, "rows": rows_section}


def main() -> None:
    """Run the chosen sections and print Markdown."""
    args = parse_command_line()
    # All run the same interpreter: one that Landlock's boxes can start, where these take part.
    interpreter = run_coroutine(LocalSandbox(mechanism=args.mechanisms[-1]).setup).interpreter
    sandboxes = {name: LocalSandbox(python=interpreter.path, mechanism=name) for name in args.mechanisms}
    for sandbox in sandboxes.values():
        run_coroutine(sandbox.setup)
        print(sandbox.describe(), file=sys.stderr)
    lines = [
        "# Sandbox benchmark",
        "",
        f"Made by `python {' '.join(sys.argv)}`; {os.cpu_count()} cores, as "
        f"{'root' if os.geteuid() == 0 else 'an ordinary user'}, Python {interpreter.version} everywhere; medians "
        "of the rounds, after one that doesn't count.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        contestants: Contestants = {}
        for name, with_limits in (("bare", False), ("baseline", True)):
            place = Path(folder) / name
            place.mkdir()
            contestants[name] = Subprocesses(place, interpreter.path, with_limits=with_limits)
        contestants |= {name: Sandboxed(sandbox) for name, sandbox in sandboxes.items()}
        for section in args.sections:
            lines += ["", f"## {section.capitalize()}", "", *SECTIONS[section](args, contestants)]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table is not None:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
