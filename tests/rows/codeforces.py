# SPDX-License-Identifier: Apache-2.0
"""Rows of our own in the layout of open-r1/codeforces (`verifiable-prompts`), each with a gold solution.

The problems are nobody's. Generated tests go to parquet files of the published layout by `write_generated_tests`.
"""

from pathlib import Path
from typing import Any

Test = tuple[str, str]

DIGITS_PY = "n = int(input())\nprint('EVEN' if sum(map(int, str(n))) % 2 == 0 else 'ODD')\n"
DIGITS_CPP = """#include <cstdio>
int main() {
    int sum = 0;
    for (int byte; (byte = std::getchar()) >= '0';) sum += byte - '0';
    std::puts(sum % 2 ? "ODD" : "EVEN");
}
"""
TWO_PY = """n, total = map(int, input().split())
numbers = list(map(int, input().split()))
places = {}
for place, number in enumerate(numbers, 1):
    if total - number in places:
        print(place, places[total - number])
        break
    places[number] = place
else:
    print(-1)
"""
TWO_CPP = """#include <cstdio>
int numbers[1000];
int main() {
    int n, total;
    std::scanf("%d %d", &n, &total);
    for (int i = 0; i < n; i++) std::scanf("%d", numbers + i);
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (numbers[i] + numbers[j] == total) return std::printf("%d %d\\n", i + 1, j + 1), 0;
    std::puts("-1");
}
"""
TWO_CHECKER = '''"""Prints 1 if the output names two places with the wanted sum, or is -1 like the right one."""
import sys


def words(name):
    with open(name) as file:
        return [int(word) for word in file.read().split()]


given, right, output = (words(name) for name in sys.argv[1:4])
total, numbers = given[1], given[2:]
if right == [-1] or output == [-1]:
    print(int(right == output))
else:
    first, second = output
    is_right = first != second and min(first, second) >= 1 and numbers[first - 1] + numbers[second - 1] == total
    print(int(is_right))
'''
LARGEST_PY = """import sys
sys.stdin = open('input.txt')
n = int(input())
with open('output.txt', 'w') as file:
    print(max(map(int, input().split())), file=file)
"""
LARGEST_CPP = """#include <cstdio>
int main() {
    std::freopen("input.txt", "r", stdin);
    std::freopen("output.txt", "w", stdout);
    int n, best = -2000000000, number;
    std::scanf("%d", &n);
    while (n--) {
        std::scanf("%d", &number);
        if (number > best) best = number;
    }
    std::printf("%d", best);
}
"""
SQUARES_PY = "n = int(input())\nfor k in range(1, n + 1):\n    print(k, k * k)\n"
REVERSED_PY = "print(input()[::-1])\n"
POWER_PY = "a, b, m = map(int, input().split())\nprint(pow(a, b, m))\n"

# Generated tests by contest: (problem_id, input, output).
GENERATED: dict[int, list[tuple[str, str, str]]] = {
    9002: [
        *(("9002/A", f"{n}\n", "".join(f"{k} {k * k}\n" for k in range(1, n + 1))) for n in (1, 4, 30)),
        *(("9002/B", f"{text}\n", f"{text[::-1]}\n") for text in ("a", "abc", "xyzzy", "level", "q" * 500)),
    ],
    9003: [
        *(("9003/A", f"{a} {b} {m}\n", f"{pow(a, b, m)}\n") for a, b, m in ((2, 10, 1000), (3, 200, 13), (7, 9, 10))),
        ("9003/Z", "1\n", "1\n"),
        ("9003/Z", "2\n", "2\n"),
    ],
}


def row(problem_id: str, language: str, official: list[Test] | None, gold: str, **columns: Any) -> dict[str, Any]:
    """A row with the columns that every problem here has alike; `gold` isn't a column of the data set."""
    tests = None if official is None else [{"input": given, "output": expected} for given, expected in official]
    return {
        "id": problem_id,
        "aliases": None,
        "contest_id": problem_id.partition("/")[0],
        "index": problem_id.partition("/")[2],
        "time_limit": 1.0,
        "memory_limit": 64.0,
        "official_tests": tests,
        "official_tests_complete": True,
        "input_mode": "stdio",
        "generated_checker": None,
        "executable": True,
        "generated_tests": 0,
        "language": language,
        "prompt": f"Solve {problem_id} in {language}.",
        "gold": gold,
    } | columns


DIGITS = [("10\n", "ODD\n"), ("22\n", "EVEN\n"), ("999\n", "ODD\n"), ("1000000001\n", "EVEN\n")]
TWO = [
    ("4 5\n1 4 2 3\n", "1 2\n"),
    ("3 10\n5 5 5\n", "1 2\n"),
    ("3 100\n1 2 3\n", "-1\n"),
    ("5 0\n-1 3 1 -3 9\n", "1 3\n"),
]
LARGEST = [("3\n4 9 2\n", "9\n"), ("1\n-5\n", "-5\n")]
CUT_SQUARES = "".join(f"{k} {k * k}\n" for k in range(1, 501))[:252] + "..."
SQUARES = [("2\n", "1 1\n2 4\n"), ("500\n", CUT_SQUARES), ("3\n", "1 1\n2 4\n3 9\n")]
CUT_TESTS = [("a" * 252 + "...", "a" * 252 + "..."), ("b" * 252 + "...", "b" * 252)]
PARTIAL = {"official_tests_complete": False, "generated_tests": 3}


def codeforces_rows() -> list[dict[str, Any]]:
    """All rows."""
    return [
        row("9001/A", "python", DIGITS, DIGITS_PY),
        row("9001/A", "cpp", DIGITS, DIGITS_CPP),
        row("9001/B", "python", TWO, TWO_PY, generated_checker=TWO_CHECKER),
        row("9001/B", "cpp", TWO, TWO_CPP, generated_checker=TWO_CHECKER),
        row("9001/C", "python", LARGEST, LARGEST_PY, input_mode="file"),
        row("9001/C", "cpp", LARGEST, LARGEST_CPP, input_mode="file"),
        row("9002/A", "python", SQUARES, SQUARES_PY, **PARTIAL),
        row("9002/B", "python", CUT_TESTS, REVERSED_PY, **PARTIAL),
        row("9003/A", "python", None, POWER_PY, **PARTIAL),
        row("9003/B", "python", [("3 4 5\n", "1\n")], POWER_PY, memory_limit=256.0, time_limit=2.5),
        row("9004/A", "python", [("abc\n", "cba\n")], REVERSED_PY, input_mode=None),
    ]


def problem_row(problem_id: str, language: str = "python") -> dict[str, Any]:
    """The row of a problem in a language."""
    return next(row for row in codeforces_rows() if (row["id"], row["language"]) == (problem_id, language))


def write_generated_tests(folder: Path) -> None:
    """Write the generated tests as the data set publishes them, a file a contest."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    for contest, tests in GENERATED.items():
        rows = [{"problem_id": name, "input": given, "output": expected} for name, given, expected in tests]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"test_cases_{contest:04d}.parquet")
