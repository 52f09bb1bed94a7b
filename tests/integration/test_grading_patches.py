# SPDX-License-Identifier: Apache-2.0
"""Programs run in boxes: old Python fails mostly as it is, patched it prints what it printed then; C++ is compiled."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from open_r1.grading.cases import ProgramTests, StdioTest
from open_r1.grading.patches import BRINGING, patch_code
from open_r1.grading.programs import judge_program
from open_r1.grading.verdict import verdict_line
from open_r1.sandbox import Limits, run_coroutine
from open_r1.sandbox.local import LocalSandbox


@pytest.fixture(scope="module")
def sandbox():
    return LocalSandbox()


def verdict_of(program: str, sandbox, language: str = "python") -> str:
    tests = ProgramTests(language, (StdioTest("", "ok"),))
    return verdict_line(run_coroutine(lambda: judge_program(program, tests, sandbox, limits=Limits(cpu_s=10.0))))


OLD = {
    "a name from collections": "from collections import Mapping, deque\nprint('ok' * isinstance({}, Mapping))\n",
    "under another name": "from collections import (\n    Mapping as M,\n    deque,\n)\n"
    "print('ok' * issubclass(dict, M))\n",
    "within a block": "if 1:\n    from collections import Iterable; x = Iterable\nprint('ok' * isinstance([], x))\n",
    "of the module": "import collections\nprint('ok' * isinstance({}, collections.Mapping))\n",
    "of the module by another name": "import collections as c\nprint('ok' * isinstance([], c.Sequence))\n",
    "in a function": "def f():\n    import collections\n    return collections.Callable\n"
    "print('ok' * callable(f()))\n",
    "behind a future import": '"""Doc."""\nfrom __future__ import division\nfrom fractions import gcd\n'
    'print("ok" * gcd(3, 4))\n',
    "gcd of fractions": "import fractions\nprint('ok' * fractions.gcd(3, 4))\n",
    "gcd beside Fraction": "from fractions import Fraction, gcd as g\nprint('ok' * int(Fraction(g(4, 6), 2)))\n",
    "time.clock": "import time\nprint('ok' * (time.clock() > 0))\n",
    "inspect.getargspec": "import inspect\nargs, more, words, values = inspect.getargspec(lambda a, b=1: 0)\n"
    "print('ok' * (args == ['a', 'b'] and values == (1,)))\n",
    "imp": "import imp, sys\nimp.reload(sys)\nprint('ok')\n",
    "a name from imp": "from imp import reload\nimport json\nreload(json)\nprint('ok')\n",
    "asyncio.async": "import asyncio\nasync def f():\n    return await asyncio.async(g())\n"
    "async def g():\n    return 'ok'\nprint(asyncio.run(f()))\n",
    "an array of characters": "from array import array\na = array('c', b'ok')\nprint(a.tobytes().decode())\n",
    "os.getlogin": "import os\nif os.getlogin() == 'me': raise SystemExit(1)\nprint('ok')\n",
    "long integers": "print('ok' * (len(str(10 ** 5000)) == 5001))\n",
}
# Programs that mean something else by these names, and print the same with or without the patch.
OTHERS = {
    "its own module-like object": "class collections:\n    Mapping = 'ok'\nprint(collections.Mapping)\n",
    "a name set by the program": "import collections\ncollections.Mapping = 'ok'\nprint(collections.Mapping)\n",
    "everything of collections": "from collections import *\nprint('ok' * ('Mapping' not in globals()))\n",
    "a text": "s = 'from fractions import gcd'\nprint('ok' * len(s[:1]))\n",
    "an argument called time": "import time\ndef f(time): return time.clock()\n"
    "class T:\n    def clock(self): return 'ok'\nprint(f(T()))\n",
    "its own names": "print('ok' * (not {'imported', 'add_names', 'sys'} & set(globals())))\n",
    "another array": "from array import array\nprint('ok' * (type(array('i', [1])) is array))\n",
}


@pytest.mark.parametrize("name", OLD)
def test_old_program_runs_when_patched(name, sandbox):
    assert verdict_of(patch_code(OLD[name], "python"), sandbox) == "AC"


@pytest.mark.parametrize("name", OTHERS)
def test_program_of_today_prints_the_same_when_patched(name, sandbox):
    assert verdict_of(OTHERS[name], sandbox) == "AC"
    assert verdict_of(patch_code(OTHERS[name], "python"), sandbox) == "AC"


def test_old_names_of_numpy_are_plain_types(sandbox):
    program = (
        "import types\ntry:\n    import numpy as np\nexcept ImportError:\n    np = types.SimpleNamespace(int=int)\n"
        "print('ok' * (np.int is int))\n"
    )
    assert verdict_of(patch_code(program, "python"), sandbox) == "AC"


def test_some_of_the_old_programs_fail_today(sandbox):
    failing = [name for name in OLD if verdict_of(OLD[name], sandbox) != "AC"]
    assert len(failing) > len(OLD) / 2, sys.version


# C++ programs with names of their own that a header too much would make ambiguous.
OWN_NAMES = {
    "max beside an own count": "#include <iostream>\nusing namespace std;\nint count = 0;\n"
    'int main() { count = max(1, min(2, 3)); if (count == 2) cout << "ok"; }\n',
    "fill beside an own find": "#include <vector>\n#include <cstdio>\nusing namespace std;\nvector<int> find;\n"
    'int main() { int a[1]; fill(a, a + 1, 2); find.push_back(a[0]); if (find[0] == 2) puts("ok"); }\n',
    "a heap beside an own search": "#include <iostream>\n#include <queue>\nusing namespace std;\nint search[3];\n"
    "int main() { priority_queue<int, vector<int>, greater<int>> heap; heap.push(2); heap.push(1);\n"
    '  search[0] = heap.top(); pair<int, int> p = make_pair(search[0], 1); if (p.first == 1) cout << "ok"; }\n',
    "max of a list": "#include <iostream>\nusing namespace std;\n"
    'int main() { if (max({1, 3, 2}) == 3 && min<long>( {2, 1}) == 1) cout << "ok"; }\n',
    "lower_bound by an order": "#include <vector>\n#include <iostream>\nusing namespace std;\n"
    "int main() { vector<int> a = {3, 1}; auto at = lower_bound(a.begin(), a.end(), 2, greater<int>());\n"
    '  if (at - a.begin() == 1) cout << "ok"; }\n',
    "a missing header": "#include <iostream>\nint main() { vector<int> v = {2, 1}; sort(v.begin(), v.end());\n"
    '  if (max(v[0], 0) == 1) cout << "ok"; }\n',
}


@pytest.mark.parametrize("name", OWN_NAMES)
def test_cpp_program_compiles_when_patched(name, sandbox):
    assert verdict_of(patch_code(OWN_NAMES[name], "cpp"), sandbox, "cpp") == "AC"


USES = """
int main() {
    int a[3] = {1, 2, 3};
    std::fill(a, a + 1, std::min(a[0], std::max(a[1], a[2])));
    std::swap(a[0], a[1]);
    std::pair<int, bool> p = std::make_pair(a[2], std::greater<int>()(a[0], a[1]));
    return p.first;
}
"""


def test_headers_bring_along_what_is_not_included_for_them():
    def has_compiled(header):
        program = patch_code(f"#include <{header}>{USES}", "cpp")
        assert program.count("#include") == 1
        command = ["g++", "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
        return subprocess.run(command, input=program, text=True, check=False, timeout=120).returncode == 0

    with ThreadPoolExecutor(2) as threads:
        headers = sorted(BRINGING)
        assert dict(zip(headers, threads.map(has_compiled, headers), strict=True)) == dict.fromkeys(headers, True)
