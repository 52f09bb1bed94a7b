# SPDX-License-Identifier: Apache-2.0
"""Submissions that attack the runner of function tests. At best they hand in another wrong value."""

import pytest

from open_r1.grading.cases import CallTest, ProgramTests
from open_r1.grading.functions import call_files, call_input
from open_r1.grading.programs import judge_program
from open_r1.grading.verdict import verdict_line
from open_r1.sandbox import Limits, ProgramInput, RunRequest, run_coroutine
from open_r1.sandbox.local import LocalSandbox

LIMITS = Limits(cpu_s=10.0)
# f(20) is 42, which no submission below computes: some print it, all want to be taken for right.
TESTS = ProgramTests("python", (CallTest("f", "[20]", ("42",)),))

FIND_WORD = """
import json, os, sys
frame = sys._getframe()
while frame:
    word = frame.f_locals.get("word")
    found = [name for name, value in frame.f_locals.items() if isinstance(value, str) and len(value) == 32]
    if word or found:
        word = word or frame.f_locals[found[0]]
        break
    frame = frame.f_back
private = [fd for fd in range(3, 64) if os.path.exists("/proc/self/fd/%d" % fd)]
"""

ATTACKS = {
    "prints_and_exits": ("print(42); import sys; sys.exit(0)\n", "WA"),
    "prints_and_exits_hard": ("import os; os.write(1, b'42\\n'); os._exit(0)\n", "WA"),
    "exits_in_the_call": ("def f(x):\n    print(42)\n    raise SystemExit\n", "WA"),
    "exits_with_the_answer": ("def f(x):\n    raise SystemExit(42)\n", "RE"),
    "exits_with_a_message": ("def f(x):\n    raise SystemExit('42')\n", "RE"),
    "quits_by_a_multiple_of_256": ("def f(x):\n    raise SystemExit(256)\n", "WA"),
    "prints_from_atexit": ("import atexit\natexit.register(print, 42)\ndef f(x):\n    return 0\n", "WA"),
    "swaps_stdout": ("import io, sys\nsys.stdout = io.StringIO('42')\ndef f(x):\n    return 0\n", "WA"),
    "reopens_stdout": ("import os\nos.dup2(2, 1)\ndef f(x):\n    os.write(1, b'42\\n')\n", "WA"),
    "writes_to_every_descriptor": (
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'42\\n')\n    except OSError: pass\n"
        "def f(x): os._exit(0)\n", "WA"),
    "overrides_json": ("import json\njson.dumps = lambda *a, **k: '{\"42\": 42}'\ndef f(x):\n    return 0\n", "WA"),
    "overrides_json_in_the_runner": (
        "import __main__\n__main__.json = None\n__main__.plain_value = lambda *a: 42.5\ndef f(x):\n    return 0\n",
        "RE"),
    "overrides_builtins": (
        "import builtins\nbuiltins.type = lambda *a: int\nbuiltins.isinstance = lambda *a: True\n"
        "def f(x):\n    return object()\n", "RE"),
    "is_equal_to_all": (
        "class E(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def f(x):\n    return E(7)\n", "WA"),
    "is_any_object": ("class E:\n    def __eq__(self, other): return True\ndef f(x):\n    return E()\n", "RE"),
    "is_text": ("class E(str):\n    def __str__(self): return '42'\ndef f(x):\n    return E('7')\n", "WA"),
    "is_text_of_the_answer": ("def f(x):\n    return '42'\n", "WA"),
    "breaks_the_line": ("def f(x):\n    return '\\n42\\n'\n", "WA"),
    "returns_itself": ("def f(x):\n    x = []\n    x.append(x)\n    return x\n", "RE"),
    "returns_a_loop": ("def f(x):\n    x = ListNode()\n    x.next = x\n    return x\n", ("TLE", "MLE")),
    "returns_without_end": ("def f(x):\n    while True:\n        yield 42\n", ("TLE", "MLE")),
    "returns_too_much": ("def f(x):\n    return '42' * 10**7\n", "OLE"),
    "reads_what_is_expected": (
        "import gc, os\ndef f(x):\n    found = [o for o in gc.get_objects() if isinstance(o, dict)]\n"
        "    return [42 in o.values() for o in found if len(o) < 9 and 'expected' in o] or os.listdir()\n",
        "WA"),
    "reads_more_input": ("import sys\ndef f(x):\n    return sys.stdin.read()\n", "WA"),
    "hands_in_a_value_itself": (
        FIND_WORD + "for fd in private:\n    try: os.write(fd, ('%s 43\\n' % word).encode())\n"
        "    except OSError: pass\nos._exit(0)\n", "WA"),
    "hands_in_two_values": (
        FIND_WORD + "for fd in private:\n    try: os.write(fd, ('%s 42\\n%s 42\\n' % (word, word)).encode())\n"
        "    except OSError: pass\nos._exit(0)\n", "WA"),
    "hands_in_what_is_always_equal": (
        FIND_WORD + "for fd in private:\n    try: os.write(fd, ('%s [NaN, Infinity]\\n' % word).encode())\n"
        "    except OSError: pass\nos._exit(0)\n", "WA"),
    "goes_on_twice": ("import os\ndef f(x):\n    if os.fork():\n        os.wait()\n    return 42\n", "WA"),
    "closes_everything": ("import os\nos.closerange(0, 64)\ndef f(x):\n    return 42\n", "RE"),
    "changes_the_request": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n    request = frame.f_locals.get('request')\n"
        "    if isinstance(request, dict):\n        request['function'] = 'g'\n    frame = frame.f_back\n"
        "def g(x):\n    return 41\n", "WA"),
    "leaves_threads": (
        "import threading, time\nfor _ in range(3):\n    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def f(x):\n    return 42\n", "AC"),
    "leaves_threads_and_crashes": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def f(x):\n    return 1 / 0\n", "RE"),
    "leaves_children": (
        "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\ndef f(x):\n    return 42\n", "AC"),
    "prints_a_lot": ("def f(x):\n    for _ in range(50):\n        print('42' * 10**6)\n    return 42\n", "AC"),
    "hides_behind_another_name": ("def g(x):\n    return 42\n", "RE"),
    "shadows_modules": ("import sys\nsys.modules['json'] = None\nsys.path = []\ndef f(x):\n    return 42\n", "AC"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    return LocalSandbox()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_on_the_runner(sandbox, name):
    code, expected = ATTACKS[name]
    results = run_coroutine(lambda: judge_program(code, TESTS, sandbox, limits=LIMITS))
    allowed = expected if isinstance(expected, tuple) else (expected,)
    assert verdict_line(results) in allowed, results


def test_word_can_be_found_and_helps_nobody(sandbox):
    """The attacks above that look for the word do find it, or they would prove nothing."""
    test = TESTS.tests[0]
    request = RunRequest(
        "python",
        call_files(FIND_WORD + "def f(x): return [word, private]\n"),
        (ProgramInput(stdin=call_input(test, "w" * 32).stdin),),
        limits=LIMITS,
    )
    result = run_coroutine(lambda: sandbox.run(request))
    assert result.tests[0].stdout.startswith(f'{"w" * 32} ["{"w" * 32}", [')


def test_nothing_of_a_call_is_there_for_the_next_one(sandbox):
    code = "import os\nseen = []\ndef f(x):\n    seen.append(x)\n    open('mark', 'a').close()\n    return seen\n"
    tests = ProgramTests("python", tuple(CallTest("f", f"[{x}]", (f"[{x}]",)) for x in range(3)))
    results = run_coroutine(lambda: judge_program(code, tests, sandbox, limits=LIMITS))
    assert verdict_line(results) == "AC x3"
