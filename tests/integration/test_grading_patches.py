# SPDX-License-Identifier: Apache-2.0
"""C++ programs that were patched are compiled and run in boxes."""

import pytest

from open_r1.grading.cases import ProgramTests, StdioTest
from open_r1.grading.patches import patch_code
from open_r1.grading.programs import judge_program
from open_r1.grading.verdict import verdict_line
from open_r1.sandbox import Limits, run_coroutine
from open_r1.sandbox.local import LocalSandbox


@pytest.fixture(scope="module")
def sandbox():
    return LocalSandbox()


def verdict_of(program: str, sandbox, language: str) -> str:
    tests = ProgramTests(language, (StdioTest("", "ok"),))
    return verdict_line(run_coroutine(lambda: judge_program(program, tests, sandbox, limits=Limits(cpu_s=10.0))))


# C++ programs with names of their own that a header too much would make ambiguous.
OWN_NAMES = {
    "max beside an own count": "#include <iostream>\nusing namespace std;\nint count = 0;\n"
    'int main() { count = max(1, min(2, 3)); if (count == 2) cout << "ok"; }\n',
    "a heap beside an own search": "#include <iostream>\n#include <queue>\nusing namespace std;\nint search[3];\n"
    "int main() { priority_queue<int, vector<int>, greater<int>> heap; heap.push(2); heap.push(1);\n"
    '  search[0] = heap.top(); pair<int, int> p = make_pair(search[0], 1); if (p.first == 1) cout << "ok"; }\n',
    "lower_bound by an order": "#include <vector>\n#include <iostream>\nusing namespace std;\n"
    "int main() { vector<int> a = {3, 1}; auto at = lower_bound(a.begin(), a.end(), 2, greater<int>());\n"
    '  if (at - a.begin() == 1) cout << "ok"; }\n',
    "a missing header": "#include <iostream>\nint main() { vector<int> v = {2, 1}; sort(v.begin(), v.end());\n"
    '  if (v[0] == 1) cout << "ok"; }\n',
    "a header of old compilers": "#include <iostream>\nusing namespace std;\nint main() { char a[9];\n"
    '  memset(a, 0, sizeof a); if (strlen(a) == 0 && INT_MAX > 0) cout << "ok"; }\n',
}


@pytest.mark.parametrize("name", OWN_NAMES)
def test_cpp_program_compiles_when_patched(name, sandbox):
    assert verdict_of(patch_code(OWN_NAMES[name], "cpp"), sandbox, "cpp") == "AC"
