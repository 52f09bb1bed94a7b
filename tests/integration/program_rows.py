# SPDX-License-Identifier: Apache-2.0
"""A row for each reward that runs programs, with the columns of its data set and a right program."""

from typing import Any

_ADD = "a, b = map(int, input().split())\nprint(a + b)\n"
_TESTS = [("1 2\n", "3\n"), ("10 -4\n", "6\n"), ("0 0\n", "0\n")]
_GRADER = """#include <cstdio>
long long add(long long a, long long b);
int main() { long long a, b; std::scanf("%lld %lld", &a, &b); std::printf("%lld\\n", add(a, b)); }
"""

CODE: dict[str, Any] = {
    "problem_statement": "Read two integers and print their sum.",
    "gold_standard_solution": f"```python\n{_ADD}```",
    "verification_info": {
        "language": "python",
        "test_cases": [
            {"type": "stdin_stdout", "fn_name": None, "input": given, "output": wanted} for given, wanted in _TESTS
        ],
    },
}
IOI: dict[str, Any] = {
    "problem": "Write the function add(a, b), which returns the sum of two integers.",
    "gold_standard_solution": "long long add(long long a, long long b) { return a + b; }\n",
    "year": 2020,
    "id": "sums",
    "subtask": "01-all",
    "score": 10,
    "score_precision": 2,
    "time_limit": 2.0,
    "memory_limit": 256 << 20,
    "test_names": ["01", "02", "03"],
    "test_cases": [list(test) for test in _TESTS],
    "grader_files": [["graders/grader.cpp", _GRADER], ["graders/sums.h", "long long add(long long, long long);\n"]],
}
CODEFORCES: dict[str, Any] = {
    "prompt": "Read two integers and print their sum. Answer in Python.",
    "gold_standard_solution": _ADD,
    "id": "1/A",
    "language": "python",
    "time_limit": 2.0,
    "memory_limit": 256.0,
    "input_mode": "stdio",
    "official_tests": [{"input": given, "output": wanted} for given, wanted in _TESTS],
    "official_tests_complete": True,
    "generated_checker": None,
}
ROW_OF = {"code": CODE, "binary_code": CODE, "ioi_code": IOI, "cf_code": CODEFORCES}


def fenced(program: str, language: str = "python") -> str:
    """Return a completion in the strict layout that holds a program."""
    return f"<think>\nso\n</think>\n<answer>\n```{language}\n{program}\n```\n</answer>"
