# SPDX-License-Identifier: Apache-2.0
"""Problems of our own with a right program and a wrong one each, and rows that hold their tests as data sets do."""

import base64
import json
import pickle
import zlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CodeProblem:
    """A problem.

    Attributes:
        name: What the tests call it.
        tests: Input and output, or arguments and result, of each test.
        gold: A program that passes them.
        wrong: One that doesn't.
        verdicts: Of the wrong program, test by test.
        function: The function that the tests call, None for standard input.
    """

    name: str
    tests: tuple[tuple[Any, Any], ...]
    gold: str
    wrong: str
    verdicts: str
    function: str | None = None


STDIO = (
    CodeProblem("add", (("1 2\n", "3\n"), ("-5 3\n", "-2\n"), ("0 0\n", "0\n")),
                "print(sum(map(int, input().split())))\n",
                "print(sum(abs(int(word)) for word in input().split()))\n", "AC, WA, AC"),
    CodeProblem("squares", (("1\n", "1\n"), ("3\n", "1\n4\n9\n"), ("0\n", "")),
                "for i in range(int(input())):\n    print((i + 1) ** 2)\n",
                "n = int(input())\nfor i in range(1, max(n, 2)):\n    print(i * i)\n", "AC, WA x2"),
    CodeProblem("reverse_words", (("a bc d\n", "d bc a\n"), ("x\n", "x\n"), ("\n", "\n")),
                "print(*reversed(input().split()))\n",
                "print(input()[::-1])\n", "WA, AC x2"),
    CodeProblem("vowels", (("banana\n", "3"), ("xyz\n", "0"), ("AEIOU\n", "5")),
                "print(sum(letter in 'aeiou' for letter in input().lower()))\n",
                "print(sum(letter in 'aeiou' for letter in input()))\n", "AC x2, WA"),
    CodeProblem("primes", (("10\n", "2 3 5 7"), ("3\n", "2"), ("100000\n", None)),
                "n = int(input())\nsieve = [True] * n\nfor i in range(2, n):\n    if sieve[i]:\n"
                "        sieve[i * i :: i] = [False] * len(sieve[i * i :: i])\n"
                "print(*[i for i in range(2, n) if sieve[i]])\n",
                "n = int(input())\nprint(*[i for i in range(2, n) if all(i % j for j in range(2, i))])\n",
                "AC x2, TLE"),
    CodeProblem("transpose",
                (("2 3\n1 2 3\n4 5 6\n", "1 4 \n2 5 \n3 6 \n"), ("1 1\n7\n", "7\n"), ("1 2\n1 2\n", "1\n2\n")),
                "import sys\nrows = [line.split() for line in sys.stdin.readlines()[1:]]\n"
                "for column in zip(*rows):\n    print(*column)\n",
                "n, m = map(int, input().split())\nrows = [input().split() for _ in range(m)]\n"
                "for column in zip(*rows):\n    print(*column)\n", "RE, AC, RE"),
    CodeProblem("brackets", (("(())\n", "YES"), (")(\n", "NO"), ("(()\n", "NO")),
                "depth = lowest = 0\nfor c in input():\n    depth += 1 if c == '(' else -1\n"
                "    lowest = min(lowest, depth)\nprint('YES' if depth == lowest == 0 else 'NO')\n",
                "line = input()\nprint('YES' if line.count('(') == line.count(')') else 'NO')\n", "AC, WA, AC"),
    CodeProblem("coins", (("6\n1 3 4\n", "2\n"), ("7\n1 5\n", "3\n"), ("3\n2\n", "-1\n")),
                "goal = int(input())\ncoins = list(map(int, input().split()))\nbest = [0] + [10**9] * goal\n"
                "for i in range(1, goal + 1):\n    paid = [best[i - c] + 1 for c in coins if c <= i]\n"
                "    best[i] = min(paid, default=10**9)\n"
                "print(best[goal] if best[goal] < 10**9 else -1)\n",
                "goal = int(input())\ncount = 0\nfor c in sorted(map(int, input().split()), reverse=True):\n"
                "    count += goal // c\n    goal %= c\nprint(count if goal == 0 else -1)\n", "WA, AC x2"),
    CodeProblem("power", (("10\n", "1024\n"), ("64\n", "18446744073709551616\n"), ("5000\n", f"{2**5000}\n")),
                "print(2 ** int(input()))\n",
                "print(int(2.0 ** int(input())))\n", "AC x2, RE"),
    CodeProblem("mean", (("1 2\n", "1.50\n"), ("1 1 2\n", "1.33\n"), ("5\n", "5.00\n")),
                "values = list(map(int, input().split()))\nprint(f'{sum(values) / len(values):.2f}')\n",
                "values = list(map(int, input().split()))\nprint(sum(values) / len(values))\n", "WA x3"),
    CodeProblem("greeting",
                (("Jürgen\n", "Grüß dich, JÜRGEN!\n"), ("李\n", "Grüß dich, 李!\n"), ("a\n", "Grüß dich, A!\n")),
                "print(f'Grüß dich, {input().upper()}!')\n",
                "print(f'Grüß dich, {input().upper()}!'.encode('ascii', 'ignore').decode())\n", "WA x3"),
    CodeProblem("sort", (("3\n2\n1\n3\n", "1\n2\n3\n"), ("1\n5\n", "5\n"), ("2\n10\n9\n", "9\n10\n")),
                "import sys\nprint(*sorted(map(int, sys.stdin.read().split()[1:])), sep='\\n')\n",
                "import sys\nprint(*sorted(sys.stdin.read().split()[1:]), sep='\\n')\n", "AC x2, WA"),
)  # fmt: skip

FUNCTIONS = (
    CodeProblem("two_sum", (([[2, 7, 11], 9], [0, 1]), ([[3, 3], 6], [0, 1]), ([[1, 2, 4], 6], [1, 2])),
                "class Solution:\n    def two_sum(self, nums: List[int], target: int) -> List[int]:\n"
                "        seen = {}\n        for i, n in enumerate(nums):\n            if target - n in seen:\n"
                "                return [seen[target - n], i]\n            seen[n] = i\n",
                "class Solution:\n    def two_sum(self, nums, target):\n"
                "        return [nums.index(n) for n in nums if target - n in nums][:2]\n", "AC, WA, AC", "two_sum"),
    CodeProblem("palindrome", ((["abba"], True), (["ab"], False), ([""], True)),
                "def palindrome(text):\n    return text == text[::-1]\n",
                "def palindrome(text):\n    return str(text == text[::-1])\n", "WA x3", "palindrome"),
    CodeProblem("flatten", (([[1, [2, [3]]]], [1, 2, 3]), ([[]], []), ([[[["a"]]]], ["a"])),
                "def flatten(items):\n    for item in items:\n        if isinstance(item, list):\n"
                "            yield from flatten(item)\n        else:\n            yield item\n",
                "def flatten(items):\n    return sum((i if isinstance(i, list) else [i] for i in items), [])\n",
                "WA, AC, WA", "flatten"),
    CodeProblem("gcd_of", (([[4, 6]], 2), ([[7]], 7), ([[12, 18, 27]], 3)),
                "def gcd_of(values):\n    return reduce(gcd, values)\n",
                "def gcd_of(values):\n    return gcd(values[0], values[1])\n", "AC, RE, WA", "gcd_of"),
    CodeProblem("counts", ((["aab"], {"a": 2, "b": 1}), ([""], {}), (["b"], {"b": 1})),
                "def counts(text):\n    return Counter(text)\n",
                "def counts(text):\n    return {c: text.count(c) for c in 'ab'}\n", "AC, WA x2", "counts"),
    CodeProblem("merge", (([[[1, 3], [2, 4]]], [[1, 4]]), ([[[1, 2], [3, 4]]], [[1, 2], [3, 4]]), ([[]], [])),
                "def merge(pairs):\n    done = []\n    for a, b in sorted(pairs):\n"
                "        if done and a <= done[-1][1]:\n            done[-1] = (done[-1][0], max(b, done[-1][1]))\n"
                "        else:\n            done.append((a, b))\n    return done\n",
                "def merge(pairs):\n    return [[pairs[0][0], pairs[-1][1]]]\n", "AC, WA, RE", "merge"),
    CodeProblem("average", (([[1, 2]], 1.5), ([[0.1, 0.2]], 0.15), ([[2, 2]], 2)),
                "def average(values):\n    return mean(values)\n",
                "def average(values):\n    return round(mean(values), 1)\n", "AC, WA, AC", "average"),
    CodeProblem("distinct", (([[3, 1, 3]], [1, 3]), ([[]], []), ([["b", "a"]], ["a", "b"])),
                "def distinct(values):\n    return set(values)\n",
                "def distinct(values):\n    return values\n", "WA, AC, WA", "distinct"),
    CodeProblem("triangle", (([3], 6), ([0], 0), ([5000], 12502500)),
                "def triangle(n):\n    return n and n + triangle(n - 1)\n",
                "import sys\nsys.setrecursionlimit(900)\ndef triangle(n):\n    return n and n + triangle(n - 1)\n",
                "AC x2, RE", "triangle"),
    CodeProblem("rotate", (([[1, 2, 3], 1], [3, 1, 2]), ([[1], 5], [1]), ([[1, 2, 3], -1], [2, 3, 1])),
                "class Solution:\n    def rotate(self, values, steps):\n        turned = deque(values)\n"
                "        turned.rotate(steps)\n        return turned\n",
                "def rotate(values, steps):\n    while steps:\n        values = values[-1:] + values[:-1]\n"
                "        steps -= 1\n    return values\n", "AC x2, TLE", "rotate"),
    CodeProblem("columns", (([[[1, 2], [3, 4]]], [[1, 3], [2, 4]]), ([[[5]]], [[5]]), ([[]], [])),
                "def columns(rows):\n    return zip(*rows)\n",
                "def columns(rows):\n    print([list(column) for column in zip(*rows)])\n", "WA x3", "columns"),
    CodeProblem("first_repeat", ((["abca"], "a"), (["abc"], None), (["xyyx"], "y")),
                "def first_repeat(text):\n    return next((c for i, c in enumerate(text) if c in text[:i]), None)\n",
                "def first_repeat(text):\n    return next(c for c in text if text.count(c) > 1)\n", "AC, RE, WA",
                "first_repeat"),
)  # fmt: skip


def _primes_below(n: int) -> str:
    return " ".join(str(i) for i in range(2, n) if all(i % j for j in range(2, int(i**0.5) + 1)))


def pairs_of(problem: CodeProblem) -> list[tuple[Any, Any]]:
    """The tests of a problem, with the output that is too long to be written here."""
    return [
        (given, _primes_below(100_000) if problem.name == "primes" and wanted is None else wanted)
        for given, wanted in problem.tests
    ]


def prime_intellect_row(problem: CodeProblem, index: int) -> dict:
    """As PrimeIntellect and Open R1 have it: a mapping, its JSON text, or the text of a Python literal, in turn."""
    cases = [
        {
            "fn_name": problem.function,
            "input": given,
            "output": wanted,
            "type": "function_call" if problem.function else "stdin_stdout",
        }
        for given, wanted in pairs_of(problem)
    ]
    if problem.function and index % 2:  # arguments and results as text, as the copy with one type for all has them
        for row in cases:
            row |= {"input": json.dumps(row["input"]), "output": json.dumps(row["output"])}
    value = {"language": "python", "test_cases": cases}
    return {
        "source": "own",
        "task_type": "verifiable_code",
        "problem_id": f"own_{problem.name}",
        "gold_standard_solution": f"```python\n{problem.gold}```",
        "verification_info": (value, json.dumps(value), repr(value))[index % 3],
        "metadata": None,
    }


def taco_row(problem: CodeProblem, index: int) -> dict:
    """As TACO, APPS and OpenThoughts have it; results are wrapped in every other row."""
    inputs, outputs = (list(column) for column in zip(*pairs_of(problem), strict=True))
    if problem.function and index % 2:
        outputs = [[output] for output in outputs]
    value = {"inputs": inputs, "outputs": outputs}
    if problem.function:
        value["fn_name"] = problem.function
    column = "test_cases" if index % 3 == 0 else "input_output"
    return {"problem": problem.name, column: json.dumps(value), "starter_code": ""}


def livecodebench_row(problem: CodeProblem, index: int) -> dict:
    """As LiveCodeBench has it: the first test public, the others packed."""
    rows = [
        {
            "input": "\n".join(json.dumps(argument) for argument in given),
            "output": json.dumps(wanted),
            "testtype": "functional",
        }
        if problem.function
        else {"input": given, "output": wanted, "testtype": "stdin"}
        for given, wanted in pairs_of(problem)
    ]
    private = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(rows[1:])))).decode()
    return {
        "question_content": problem.name,
        "starter_code": "",
        "public_test_cases": json.dumps(rows[:1]),
        "private_test_cases": private,
        "metadata": json.dumps({"func_name": problem.function} if problem.function else {}),
        "question_id": str(index),
    }


SCHEMAS = {
    "prime_intellect_stdio": (prime_intellect_row, STDIO),
    "prime_intellect_function": (prime_intellect_row, FUNCTIONS),
    "taco": (taco_row, STDIO[:6] + FUNCTIONS[:6]),
    "livecodebench": (livecodebench_row, STDIO[6:] + FUNCTIONS[6:]),
}
ROWS = {
    schema: [(problem, write(problem, index)) for index, problem in enumerate(problems)]
    for schema, (write, problems) in SCHEMAS.items()
}
