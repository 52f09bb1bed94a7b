# SPDX-License-Identifier: Apache-2.0
"""The local provider by each mechanism: how programs end, what goes in and comes out, languages, communication."""

from dataclasses import replace

import pytest

from open_r1.sandbox import (
    Interactor,
    Limits,
    Outcome,
    ProgramInput,
    RunRequest,
    RunResult,
    SandboxError,
    run_all,
)
from open_r1.sandbox.local import LocalSandbox

LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_mb=128, output_bytes=10_000)
SHORT = replace(LIMITS, cpu_s=0.5)  # for programs that are to reach it: the first half a second of others may be busy


@pytest.fixture(scope="module", params=["bwrap", "landlock", "none"])
def sandbox(request):
    return LocalSandbox(mechanism=request.param)


def run(sandbox, request: RunRequest) -> RunResult:
    [result] = run_all([request], sandbox)
    if isinstance(result, SandboxError):
        raise result
    return result


def python(code: str, *stdins: str, limits: Limits = LIMITS, **options) -> RunRequest:
    return RunRequest("python", {"main.py": code}, tuple(map(ProgramInput, stdins or ("",))), limits=limits, **options)


ENDINGS = {
    "ends itself": ("import os; os.kill(os.getpid(), 9)", Outcome.RUNTIME_ERROR, None, 9),
    "ends all": ("import os; os.kill(-1, 9); print('here')", None, None, None),
    "loops and hears nothing": (
        "import signal\nfor n in range(1, 65):\n  try: signal.signal(n, signal.SIG_IGN)\n"
        "  except (OSError, ValueError): 0\nwhile True: pass",
        Outcome.TIME_LIMIT,
        None,
        None,
    ),
    "children loop": (
        "import os\nif os.fork() == 0 or os.fork() == 0:\n  while True: 0\nos.wait(); os.wait()",
        Outcome.TIME_LIMIT,
        None,
        None,
    ),
    "children loop unseen": (
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nif os.fork() == 0:\n"
        "  end = time.process_time() + 60\n  while time.process_time() < end: 0\n  os._exit(0)\n"
        "try: os.wait()\nexcept ChildProcessError: 0",
        Outcome.TIME_LIMIT,
        None,
        None,
    ),
    "children take too much": (
        "import os, time\nfor _ in range(4):\n  if os.fork() == 0:\n    x = bytearray(60 << 20)\n    time.sleep(20)\n"
        "    os._exit(0)\nfor _ in range(4): assert os.wait()[1] == 0",
        Outcome.MEMORY_LIMIT,
        None,
        None,
    ),
    "floods by one byte": ("print('x' * 10000)", Outcome.OUTPUT_LIMIT, None, None),
    "floods its errors": ("import sys; sys.stderr.write('x' * 1000000)", Outcome.OK, 0, None),
    "leaves a child": (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    while True: time.sleep(1)\n"
        "  os._exit(0)\nprint(1)",
        Outcome.OK,
        0,
        None,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_outcome_says_how_a_program_ended(sandbox, ending):
    code, outcome, exit_code, signal = ENDINGS[ending]
    [done] = run(sandbox, python(code, limits=SHORT if outcome is Outcome.TIME_LIMIT else LIMITS)).tests
    if outcome is None:
        assert done.outcome in (Outcome.OK, Outcome.RUNTIME_ERROR)
        return
    assert done.outcome is outcome, done
    if exit_code is not None or signal is not None:
        assert (done.exit_code, done.signal) == (exit_code, signal)
    assert len(done.stdout) <= LIMITS.output_bytes
    assert len(done.stderr) <= LIMITS.output_bytes


BURNS = "import time\nend = float(input())\nwhile time.process_time() < end: 0"


def test_all_runs_of_a_submission_share_its_cpu_seconds(sandbox):
    request = python(BURNS, *["0.5"] * 5, total_cpu_s=1.25)
    runs = run(sandbox, request).tests
    assert [done and done.outcome for done in runs] == [*[Outcome.OK] * 2, *[Outcome.TIME_LIMIT] * 3]
    assert sum(done.cpu_s for done in runs) < 2.5


def test_the_compiler_is_paid_from_the_cpu_seconds_of_its_submission(sandbox):
    source = '#include <regex>\nint main() { return std::regex_match("a", std::regex("a")) - 1; }'
    result = run(sandbox, RunRequest("cpp", {"main.cpp": source}, (ProgramInput(),) * 2, total_cpu_s=0.2))
    assert (result.compile.outcome, result.tests) == (Outcome.TIME_LIMIT, (None, None))


def test_a_program_may_recurse_deep(sandbox):
    function = "int f(int n) { volatile int x = n; return n ? x - n + 1 + f(n - 1) : 0; }"
    code = f"{function}\nint main() {{ return f(2000000) & 1; }}"
    [done] = run(sandbox, RunRequest("cpp", {"main.cpp": code}, (ProgramInput(),))).tests
    assert done.outcome is Outcome.OK, done


def test_cpu_time_and_memory_are_those_of_the_whole_tree(sandbox):
    code = (
        "import os, time\nends, held = os.pipe()\nif os.fork() == 0:\n  if os.fork() == 0:\n"
        "    x = bytearray(50 << 20)\n"
        "    end = time.process_time() + 0.2\n    while time.process_time() < end: 0\n    print(1, flush=True)\n"
        "  os._exit(0)\nos.close(held)\nos.read(ends, 1)"  # until its grandchild has ended
    )
    limits = Limits(cpu_s=10.0, wall_s=50.0, memory_mb=128)
    [done] = run(sandbox, python(code, limits=limits)).tests
    assert done.outcome is Outcome.OK
    assert 0.1 <= done.cpu_s < 5
    assert 50 <= done.peak_memory_mb < 80


@pytest.mark.parametrize(
    "trick",
    [
        "os.symlink('/proc/%d/environ' % os.getppid(), 'out.txt')",
        "os.mkfifo('out.txt')",
        "os.mkdir('out.txt')",
        "open('out.txt', 'w').write('x' * 20000)",
    ],
)
def test_an_output_file_is_no_way_around(sandbox, trick):
    request = RunRequest(
        "python", {"main.py": f"import os; {trick}"}, (ProgramInput(output_file="out.txt"),), limits=LIMITS
    )
    [done] = run(sandbox, request).tests
    if "write" in trick:
        assert done.outcome is Outcome.OUTPUT_LIMIT
    else:
        assert (done.outcome, done.stdout) == (Outcome.OK, "")


def test_a_file_that_is_no_binary_is_the_programs_fault(sandbox):
    [done] = run(sandbox, RunRequest("binary", {"main": b"\x7fELF nothing"}, (ProgramInput(),))).tests
    assert done.outcome is Outcome.RUNTIME_ERROR


MANAGER = """
import sys
given, (source, target) = int(input()), sys.argv[-2:]
with open(source) as reader, open(target, "w") as writer:
    low, high, count = 1, 100, 0
    while True:
        line = reader.readline()
        if not line:
            print("gone"); sys.exit(1)
        count += 1
        guess = int(line)
        print("<" if given < guess else ">" if given > guess else "=", file=writer, flush=True)
        if guess == given:
            break
print("found", count, sys.argv[1])
"""


@pytest.mark.parametrize(
    "code, outcome, told",
    [
        ("pass", Outcome.OK, "gone\n"),
        ("1 / 0", Outcome.RUNTIME_ERROR, "gone\n"),
        ("while True: pass", Outcome.TIME_LIMIT, "gone\n"),
        ("print(50)\nwhile True: print(50)", Outcome.RUNTIME_ERROR, ""),
    ],
)
def test_an_interactor_outlives_a_submission_that_fails(sandbox, code, outcome, told):
    partner = Interactor("python", {"manager.py": MANAGER})
    limits = SHORT if outcome is Outcome.TIME_LIMIT else LIMITS
    request = RunRequest(
        "python", {"main.py": code}, (ProgramInput("50", args=("z",)),), limits=limits, interactor=partner
    )
    [done] = run(sandbox, request).tests
    assert done.outcome is outcome
    assert done.interactor.stdout == (told or "found 1 z\n")
