# SPDX-License-Identifier: Apache-2.0
"""Source patches: every way in which Open R1's broke programs, then what they are for."""

import argparse
import ast
import dataclasses
import inspect
import json.decoder
import time
import tokenize
import typing

import pytest

from open_r1.grading.source_patches import is_patchable, patch_code

LIFT = 'getattr(__import__("sys"), "set_int_max_str_digits", int)(0)\n'

# Texts that aren't programs come back as they are.
UNREADABLE = (
    "",
    "  \n",
    "def f(:\n",
    "print 'hi'\n",
    "x = 'a\0b'\n",
    "(" * 5000,
    "from __future__ import braces_\n\x00",
)


@pytest.mark.parametrize("text", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_does_not_parse_stays_as_it_is(text):
    assert patch_code(text, "python") == text


# Before, after without the line that lifts the limit on digits: the program must stand in one of both forms.
PYTHON = [
    # Lines that were duplicated, or cut, or put in wrong places.
    ("print('hi')\n", "@print('hi')\n"),
    ("import math\nprint(1)\n", "@import math\nprint(1)\n"),
    ("def f():\n    import os\n    return 1\n", "@def f():\n    import os\n    return 1\n"),
    ("from __future__ import annotations\nx = 1\n", "from __future__ import annotations\n@x = 1\n"),
    ('"""Doc."""\nfrom __future__ import division\nimport os\n',
     '"""Doc."""\nfrom __future__ import division\n@import os\n'),
    ("x = '''a\\\nb\nfrom collections import Mapping\n'''\n",
     "@x = '''a\\\nb\nfrom collections import Mapping\n'''\n"),
    ("import important\n", "@import important\n"),
    ("x = 1 + \\\n    2\n", "@x = 1 + \\\n    2\n"),
    ("#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nx = 1\n",
     "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n@x = 1\n"),
    ("@staticmethod\ndef f(): pass\n", "!@staticmethod\ndef f(): pass\n"),
    ("\n\n  # only a remark\n", "\n\n  # only a remark\n"),
    # Names that have moved.
    ("from collections import Mapping, deque\n",
     "@from collections import deque; from collections.abc import Mapping\n"),
    ("from collections import (\n    Mapping as M,\n    deque,\n)\n",
     "@from collections import deque; from collections.abc import Mapping as M\n"),
    ("if 1:\n    from collections import Iterable; x = 1\n",
     "@if 1:\n    from collections.abc import Iterable; x = 1\n"),
    ("import collections as c\nisinstance([], c.Sequence)\n",
     "@import collections as c\nisinstance([], c.abc.Sequence)\n"),
    ("from fractions import gcd\n", "@from math import gcd\n"),
    ("from fractions import Fraction, gcd as g\n", "@from fractions import Fraction; from math import gcd as g\n"),
    ("import fractions\nprint(fractions.gcd(4, 6))\n", "@import math\nimport fractions\nprint(math.gcd(4, 6))\n"),
    ("import fractions, math\nprint('é', fractions.gcd(4, 6))\n",
     "@import fractions, math\nprint('é', math.gcd(4, 6))\n"),
    ("import imp, os\n", "@import importlib as imp, os\n"),
    ("from imp import reload\n", "@from importlib import reload\n"),
    ("import inspect\ninspect.getargspec(f)\n", "@import inspect\ninspect.getfullargspec(f)\n"),
    ("from inspect import getargspec\n", "@from inspect import getfullargspec as getargspec\n"),
    ("import time\nt = time.clock()\n", "@import time\nt = time.perf_counter()\n"),
    ("import asyncio\nasyncio.async(f())\nx = 'asyncio.async('\n",
     "@import asyncio\nasyncio.ensure_future(f())\nx = 'asyncio.async('\n"),
    ("from array import array\na = array('c', b'x')\n", "@from array import array\na = array(\"b\", b'x')\n"),
    ("import os\nif os.getlogin() == 'me': pass\n", "@import os\nif False == 'me': pass\n"),
    ("import numpy as np\na = np.zeros(3, np.int)\n", "@import numpy as np\na = np.zeros(3, int)\n"),
    # Names that mean something else in this program.
    ("from .collections import Mapping\n", "@from .collections import Mapping\n"),
    ("from collections import *\n", "@from collections import *\n"),
    ("import collections\ncollections = f()\ncollections.Set\n",
     "@import collections\ncollections = f()\ncollections.Set\n"),
    ("import collections\ncollections.Mapping = dict\n", "@import collections\ncollections.Mapping = dict\n"),
    ("def f(time): return time.clock()\nimport time\n", "@def f(time): return time.clock()\nimport time\n"),
    ("s = 'fractions.gcd(1, 2)'\n", "@s = 'fractions.gcd(1, 2)'\n"),
    ("def array(c): pass\narray('c')\n", "@def array(c): pass\narray('c')\n"),
    ("from numpy import array\narray('c')\n", "@from numpy import array\narray('c')\n"),
    ("import array as a\na.array('c')\n", "@import array as a\na.array(\"b\")\n"),
    ("f" + "()" * 500 + "\n", "@f" + "()" * 500 + "\n"),
    ("x = '\u2028\x0c'; import collections\ncollections.Set\n",
     "@x = '\u2028\x0c'; import collections\ncollections.abc.Set\n"),
]  # fmt: skip


def with_lift(text):
    mark = "!" if text.startswith("!") else "@"
    return text.replace(mark, LIFT, 1)


@pytest.mark.parametrize(("before", "after"), PYTHON, ids=[before[:40] for before, _ in PYTHON])
def test_python_program_is_mended_where_it_needs_it(before, after):
    patched = patch_code(before, "python")
    assert patched == with_lift(after)
    assert ast.parse(patched) is not None
    assert patch_code(patched, "python") == patched  # a second time changes nothing more


def test_lines_are_put_inline_behind_an_import_from_the_future():
    text = "from __future__ import annotations; x = 1\n"
    assert patch_code(text, "py") == f"from __future__ import annotations; {LIFT.strip()}; x = 1\n"


def test_windows_line_breaks_do_not_move_the_edits():
    patched = patch_code("import collections\r\nx = collections.Mapping\r\n", "python")
    assert patched == f"{LIFT}import collections\r\nx = collections.abc.Mapping\r\n"


def test_long_integers_become_text_after_patching():
    names: dict = {}
    exec(patch_code("x = len(str(10 ** 5000))\n", "python"), names)
    assert names["x"] == 5001


@pytest.mark.parametrize("module", [argparse, dataclasses, inspect, json.decoder, tokenize, typing])
def test_programs_of_today_get_one_line_and_nothing_else(module):
    text = inspect.getsource(module)
    kept = [line for line in patch_code(text, "python").splitlines(keepends=True) if line != LIFT]
    assert "".join(kept) == text


CPP = [
    ("int main() {}\n", []),
    ("#include <bits/stdc++.h>\nusing namespace std;\nint main() { cout << 1; }\n", []),
    ("#include <bits/stdc++.h>\nint main() { std::cout << 1; }\n", []),
    ("#include <bits/stdc++.h>\nint main() { cout << 1; }\n", ["namespace std {} using namespace std;"]),
    (
        "#include <iostream>\nint main() { std::vector<int> v; std::sort(v.begin(), v.end()); }\n",
        ["#include <algorithm>", "#include <vector>"],
    ),
    ('#include <stdio.h>\nint main() { printf("std::cout %d", 1); }\n', []),
    ("#include <math.h>\ndouble f() { return sqrt(2); }\n", []),
    ("// using namespace std;\n#include <iostream>\nint main() { cin; }\n", ["namespace std {} using namespace std;"]),
    ("int gcd(int a, int b) { return b ? gcd(b, a % b) : a; }\n", []),
    ("int list[5], n; bool f() { return list[0] < 3 && n<list; }\n", []),
    ("struct pair { int a; }; pair f();\n", []),
    ("int f(T x) { return x.count_if(1) + y->max(2) + mine::min(3); }\n", []),
    ('using namespace std; const char* s = R"(vector<int> )";\n', []),
    ("#include <map>\nusing namespace std; map<int, int> m; long long x = LLONG_MAX;\n", ["#include <climits>"]),
]


@pytest.mark.parametrize(("text", "added"), CPP, ids=range(len(CPP)))
def test_cpp_program_gets_only_what_it_lacks(text, added):
    patched = patch_code(text, "c++17")
    assert patched == "".join(f"{line}\n" for line in added) + text
    assert patch_code(patched, "cpp") == patched  # a second time changes nothing more


@pytest.mark.parametrize("text", ["/* ", 'R"x(', '"', "'", "# include <", "std ::", "struct ", "min (("])
def test_endless_repetition_is_read_in_time(text):
    assert patch_code(text * 30_000, "cpp").endswith(text * 30_000)


@pytest.mark.parametrize("text", ['"' + '\\"' * 40_000, "'" + "\\'" * 40_000, '"' + "\\'" * 40_000])
def test_escapes_without_end_are_read_in_time(text):
    start = time.thread_time()
    assert patch_code(text, "cpp") == text
    assert time.thread_time() - start < 5


def test_many_edits_are_made_in_time():
    text = "from collections import Mapping\n" * 2000 + f"x = '{'a' * 20_000_000}'\n"
    start = time.thread_time()
    assert patch_code(text, "python").count("collections.abc") == 2000
    assert time.thread_time() - start < 5


def test_string_without_end_hides_its_line_alone():
    text = "const char* s = \"vector<int> v;\nint n = 1'000; map<int, int> m;\n"
    assert patch_code(text, "cpp").splitlines()[:2] == ["#include <map>", "namespace std {} using namespace std;"]


@pytest.mark.parametrize("language", ["rust", "javascript", "bash", "Python 2", ""])
def test_other_languages_stay_as_they_are(language):
    assert not is_patchable(language)
    assert patch_code("from fractions import gcd\n", language) == "from fractions import gcd\n"
