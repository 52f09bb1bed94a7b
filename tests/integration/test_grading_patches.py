# SPDX-License-Identifier: Apache-2.0
"""C++ programs that were patched are compiled and run in boxes."""

import subprocess
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


def verdict_of(program: str, sandbox, language: str) -> str:
    tests = ProgramTests(language, (StdioTest("", "ok"),))
    return verdict_line(run_coroutine(lambda: judge_program(program, tests, sandbox, limits=Limits(cpu_s=10.0))))


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
