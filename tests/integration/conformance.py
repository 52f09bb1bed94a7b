# SPDX-License-Identifier: Apache-2.0
"""What every sandbox does: the table of checks, and the table of what a provider can't do by its nature.

A check is one run of a program with what is expected of it, field by field. All are inputs of one request, but those
under a limit of time that is to be reached; the program runs what its first argument says: so they also show that one
run doesn't disturb the next. What differs by provider stands in `DIFFERENCES` with its reason, and is asserted like
everything else.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from open_r1.sandbox import Limits, Outcome, ProgramInput, ProgramRun

RUN_ARGUMENT = {"main.py": "import sys\nexec(sys.argv[1])\n", "helper.py": "def double(x):\n    return 2 * x\n"}
# For providers that pass no arguments: the code comes as a file of the run.
RUN_FILE = RUN_ARGUMENT | {"main.py": "import sys\nexec(open('code.txt', encoding='utf-8', newline='').read())\n"}
LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_mb=128, output_bytes=1 << 16)
SHORT = replace(LIMITS, cpu_s=1.0, wall_s=9.0)

OK, RUNTIME_ERROR = Outcome.OK, Outcome.RUNTIME_ERROR
TEXT = "a\r\nb\tc\n\n é漢字🎉 \x00\x01\x7f end"
ARGUMENTS = ("two words", "é", "", "-x", "$HOME;`id` 'q' \"", "a\nb")


def has(part: str) -> Callable[[Any], bool]:
    return lambda text: part in text


def between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda number: low <= number <= high


is_unknown: Callable[[Any], bool] = math.isnan


@dataclass(frozen=True)
class Check:
    """One run.

    Attributes:
        code: What the program runs.
        expected: Fields of its `ProgramRun`: values, or functions that say whether a value is right.
        stdin: Its standard input.
        args: Its arguments behind the code.
        files: Its files.
        limits: One of the two above.
    """

    code: str
    expected: dict[str, Any]
    stdin: str = ""
    args: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    limits: Limits = LIMITS

    def given(self, *, has_arguments: bool = True) -> ProgramInput:
        """The input of the run."""
        if not has_arguments:
            return ProgramInput(self.stdin, files=dict(self.files) | {"code.txt": self.code})
        return ProgramInput(self.stdin, files=dict(self.files), args=(self.code, *self.args))


def prints(stdout: str) -> dict[str, Any]:
    return {"outcome": OK, "stdout": stdout, "exit_code": 0, "signal": None}


READ_ALL = "print(ascii(sys.stdin.buffer.read().decode()))"
LARGE = "0123456789abcdef" * 65536

# In this order: a check may look for what the one before it has left.
CHECKS = {
    "prints": Check("print('hi')", prints("hi\n")),
    "silent": Check("pass", prints("") | {"stderr": ""}),
    "errors only": Check("sys.stderr.write('oops')", prints("") | {"stderr": "oops"}),
    "output to the byte": Check(f"sys.stdout.buffer.write({TEXT.encode()!r})", prints(TEXT)),
    "output without an end of line": Check("print('a', end='')", prints("a")),
    "output that isn't UTF-8": Check(r"sys.stdout.buffer.write(b'a\xff\xc3b')", prints("a\ufffd\ufffdb")),
    "unicode by print": Check("print('é漢字🎉')", prints("é漢字🎉\n")),
    "input to the byte": Check(READ_ALL, prints(ascii(TEXT) + "\n"), stdin=TEXT),
    "input with an end of line": Check(READ_ALL, prints(ascii("x\n") + "\n"), stdin="x\n"),
    "no input": Check(READ_ALL, prints("''\n")),
    "large input": Check("print(sys.stdin.read().count('f'))", prints("65536\n"), stdin=LARGE),
    "large input left unread": Check("print('done')", prints("done\n"), stdin=LARGE),
    "input by lines": Check("print(int(input()) + int(input()))", prints("3\n"), stdin="1\n2\n"),
    "arguments": Check("print(ascii(sys.argv[2:]))", prints(ascii([*ARGUMENTS]) + "\n"), args=ARGUMENTS),
    "files of the run": Check(
        "print(ascii([open(name, encoding='utf-8', newline='').read() for name in ('in.txt', 'data/deep.txt')]))",
        prints(ascii(["é\r\n", "x"]) + "\n"),
        files=(("in.txt", "é\r\n"), ("data/deep.txt", "x")),
    ),
    "files of the run before are gone": Check(
        "import os; print(os.path.exists('in.txt'), os.path.exists('data'))", prints("False False\n")
    ),
    "module of the submission": Check("import helper; print(helper.double(21))", prints("42\n")),
    "exit code": Check("sys.exit(3)", {"outcome": RUNTIME_ERROR, "exit_code": 3, "signal": None}),
    "exception": Check(
        "print(1)\n1 / 0",
        {"outcome": RUNTIME_ERROR, "stdout": "1\n", "exit_code": 1, "stderr": has("ZeroDivisionError")},
    ),
    "exits well early": Check("print(1); sys.exit(0)\nprint(2)", prints("1\n")),
    "aborts": Check("import os; os.abort()", {"outcome": RUNTIME_ERROR, "exit_code": None, "signal": 6}),
    "kills itself": Check(
        "import os; os.kill(os.getpid(), 9)", {"outcome": RUNTIME_ERROR, "exit_code": None, "signal": 9}
    ),
    "closes its output": Check("import os; os.close(1); os.close(2)", {"outcome": OK, "stdout": ""}),
    "computes too long": Check("while True: pass", {"outcome": Outcome.TIME_LIMIT}, limits=SHORT),
    "its child computes too long": Check(
        "import subprocess; subprocess.run([sys.executable, '-c', 'while True: pass'])",
        {"outcome": Outcome.TIME_LIMIT},
        limits=SHORT,
    ),
    "waits longer than it may compute": Check(
        "import time; time.sleep(1.2); print('awake')", prints("awake\n"), limits=SHORT
    ),
    "measures computing": Check(
        "import time\nwhile time.process_time() < 0.3: pass", prints("") | {"cpu_s": between(0.25, 3.0)}
    ),
    "measures the clock": Check("import time; time.sleep(0.3)", prints("") | {"wall_s": between(0.3, 60.0)}),
    "measures memory": Check(
        "x = b'1' * (64 << 20)\nimport time; time.sleep(2)", prints("") | {"peak_memory_mb": between(64, 128)}
    ),
    "takes too much memory": Check(
        "x = b'1' * (400 << 20)\nimport time; time.sleep(10)", {"outcome": Outcome.MEMORY_LIMIT}
    ),
    "takes memory bit by bit": Check(
        "x = []\nwhile True: x.append(b'1' * (8 << 20))", {"outcome": Outcome.MEMORY_LIMIT}
    ),
    "prints too much": Check(
        "while True: print('x' * 99)",
        {"outcome": Outcome.OUTPUT_LIMIT, "stdout": lambda text: len(text) <= 1 << 16},
    ),
    "prints as much as it may": Check("sys.stdout.write('x' * (1 << 16))", prints("x" * (1 << 16))),
    "errors too long are cut": Check(
        "sys.stderr.write('x' * (1 << 17)); print('ok')", prints("ok\n") | {"stderr": lambda text: len(text) > 1000}
    ),
    "threads": Check(
        "import threading as t\nts = [t.Thread(target=print, args=(i,)) for i in range(4)]\n"
        "for x in ts: x.start(); x.join()",
        prints("0\n1\n2\n3\n"),
    ),
    "starts processes": Check(
        "import subprocess; print(subprocess.check_output([sys.executable, '-c', 'print(5)'], text=True))",
        prints("5\n\n"),
    ),
    "process left running": Check(
        "import subprocess; subprocess.Popen(['sleep', '600']); print('left')",
        prints("left\n") | {"wall_s": between(0.0, 60.0)},
    ),
    "temporary files": Check("import tempfile; print(tempfile.TemporaryFile().write(b'abc'))", prints("3\n")),
    "leaves traces": Check(
        "import os\n"
        "for name in ('trace', 'json.py'): open(name, 'w').write('trace = 1')\n"
        "try: open('helper.py', 'w').write('def double(x): return 0')\n"
        "except OSError: pass\n",
        {"outcome": OK},
    ),
    "no traces of the run before": Check(
        "import os, json, helper\nprint(hasattr(json, 'trace'), os.path.exists('trace'), helper.double(1))",
        prints("False False 2\n"),
    ),
    "environment without secrets": Check(
        "import os; print([x for x in os.environ if 'CONFORMANCE' in x or 'KEY' in x])", prints("[]\n")
    ),
}

NEWLINE = "Piston puts an end of line behind an input that has none"
OLD = "Piston before isolate measures nothing: memory and clock are the endpoint's own limits"

# (Provider, check) -> what is expected instead, and why.
DIFFERENCES: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("piston", "measures computing"): ({"cpu_s": is_unknown}, OLD),
    ("piston", "measures memory"): ({"peak_memory_mb": is_unknown}, OLD),
    ("piston", "measures the clock"): ({"wall_s": is_unknown}, OLD),
    ("piston", "process left running"): ({"wall_s": is_unknown}, OLD),
}
for name in ("piston", "piston-head"):
    DIFFERENCES |= {
        (name, "input to the byte"): ({"stdout": ascii(TEXT + "\n") + "\n"}, NEWLINE),
        (name, "no input"): ({"stdout": ascii("\n") + "\n"}, NEWLINE),
    }

CLOCK = "SandboxFusion measures the clock alone"
DIFFERENCES |= {
    ("fusion", "measures computing"): ({"cpu_s": is_unknown}, CLOCK),
    ("fusion", "measures memory"): ({"peak_memory_mb": is_unknown}, CLOCK),
    ("fusion", "arguments"): ({"stdout": "[]\n"}, "SandboxFusion passes no arguments"),
}

# (Provider, what it can't do by its nature) -> what its error says, and why.
KNOWS_CLOCK_ALONE = ("piston", "fusion")  # of a compiler: one that is late may have met a busy machine
REFUSALS: dict[tuple[str, str], tuple[str, str]] = {}
for name in ("piston", "piston-head"):
    REFUSALS |= {
        (name, "binary"): ("binary", "Piston runs sources, and gives no compiled program back"),
        (name, "interactor"): ("interactor", "one job is one process"),
        (name, "output file"): ("file", "a job's output is what it prints"),
    }
REFUSALS |= {
    ("fusion", "binary"): ("binary", "SandboxFusion runs sources, and gives no compiled program back"),
    ("fusion", "interactor"): ("interactor", "one request is one process"),
    ("fusion", "output file"): ("file", "the server returns what a program prints"),
    ("fusion", "arguments"): ("arguments", "the contract has no field for them"),
}
for name in ("e2b", "morph"):
    REFUSALS[name, "interactor"] = (
        "local",
        "it would share the machine with the submission, which could forge its verdict",
    )


def expected_of(provider: str, check: str) -> dict[str, Any]:
    """What a provider's run must look like."""
    return CHECKS[check].expected | DIFFERENCES.get((provider, check), ({}, ""))[0]


def faults(run: ProgramRun, expected: dict[str, Any]) -> list[str]:
    """What isn't as expected, in words."""
    found = []
    for name, value in expected.items():
        actual = getattr(run, name)
        if not (value(actual) if callable(value) else actual == value):
            wanted = "something else" if callable(value) else repr(value)[:300]
            found.append(f"{name} is {str(actual)[:300]!r}, expected {wanted} (stderr: {run.stderr[-300:]!r})")
    return found
