# SPDX-License-Identifier: Apache-2.0
"""Patches as texts: what they leave alone, and what they change."""

import time

import pytest

from open_r1.grading.patches import patch_code

PYTHON = [
    ("from fractions import gcd\nprint(gcd(4, 6))\n", "from math import gcd\nprint(gcd(4, 6))\n"),
    ("if 1:\n    from fractions import gcd as g\n", "if 1:\n    from math import gcd as g\n"),
    ("import fractions\nx = fractions.gcd(4, 6)\n", 'import fractions\nx = __import__("math").gcd(4, 6)\n'),
    ("from fractions import Fraction\n", "from fractions import Fraction\n"),
    ("print 'hi'\n", "print 'hi'\n"),
]


@pytest.mark.parametrize(("text", "patched"), PYTHON, ids=range(len(PYTHON)))
def test_python_program_takes_gcd_from_where_it_is(text, patched):
    assert patch_code(text, "python") == patched


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


def test_string_without_end_hides_its_line_alone():
    text = "const char* s = \"vector<int> v;\nint n = 1'000; map<int, int> m;\n"
    assert patch_code(text, "cpp").splitlines()[:2] == ["#include <map>", "namespace std {} using namespace std;"]


@pytest.mark.parametrize("language", ["rust", "javascript", "bash", "Python 2", ""])
def test_other_languages_stay_as_they_are(language):
    assert patch_code("from fractions import gcd\n", language) == "from fractions import gcd\n"
