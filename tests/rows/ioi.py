# SPDX-License-Identifier: Apache-2.0
"""Rows of our own in the layout of open-r1/ioi: four problems with their grader files, solutions beside them.

`pairs` has a grader, `splits` a checker that gives partial scores, `guess` a manager (a communication task), `weights`
nothing but tests. The problems are nobody's; sources are the files in `ioi_tasks/<id>/`.
"""

from functools import cache
from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "ioi_tasks"
MEBIBYTE = 1 << 20

Test = tuple[str, str]


def solution(problem_id: str, name: str = "gold") -> str:
    """The source of a submission in `ioi_tasks`."""
    return (TASKS / problem_id / f"{name}.cpp").read_text(encoding="utf-8")


def grader_files(problem_id: str) -> list[list[str]]:
    """The files in the folders of a problem, as `[name, content]`."""
    folder = TASKS / problem_id
    return [
        [str(path.relative_to(folder)), path.read_text(encoding="utf-8")]
        for path in sorted(folder.glob("*/*"))
        if path.is_file()
    ]


def row(problem_id: str, subtask: str, names: tuple[str, ...], **columns: Any) -> dict[str, Any]:
    """A row with the columns that every problem here has alike."""
    tests = all_tests()[problem_id]
    return {
        "id": problem_id,
        "name": problem_id.title(),
        "year": 2021,
        "day": "1",
        "subtask": subtask,
        "score": 0,
        "score_precision": 2,
        "task_type": "Batch",
        "test_names": list(names),
        "time_limit": 1.0,
        "memory_limit": 256 * MEBIBYTE,
        "grader_files": grader_files(problem_id),
        "test_cases": {name: list(tests[name]) for name in names},
        "problem": f"Solve {problem_id}.",
    } | columns


@cache
def all_tests() -> dict[str, dict[str, Test]]:
    """Tests by problem and name."""
    return {"pairs": _pairs(), "splits": _splits(), "guess": _guess(), "weights": _weights()}


def _pairs() -> dict[str, Test]:
    lists = {
        "sample-1": (7, [3, 4, 3, 7]),
        "small-1": (2, [1, 1, 1]),
        "small-2": (0, [-5, 5, 0, 9]),
        "large-1": (100, [(i * 37) % 101 for i in range(2000)]),
        "large-2": (10, [5] * 400),
    }
    return {
        name: (
            f"{len(numbers)} {total}\n{' '.join(map(str, numbers))}\n",
            f"pairs\n{_count_pairs(total, numbers)}\n",
        )
        for name, (total, numbers) in lists.items()
    }


def _count_pairs(total: int, numbers: list[int]) -> int:
    seen: dict[int, int] = {}
    count = 0
    for number in numbers:
        count += seen.get(total - number, 0)
        seen[number] = seen.get(number, 0) + 1
    return count


def _splits() -> dict[str, Test]:
    lists = {
        "sample-1": ([1, 2, 3], "2\n0 1\n"),
        "few-1": ([4, 1, 6, 1], "1\n0\n"),
        "far-1": ([1, 2, 2, 2, 3], "2\n0 4\n"),
        "far-2": ([5, 1, 1, 1, 1, 1], "2\n0 1\n"),
    }
    return {
        name: (f"{len(numbers)}\n{' '.join(map(str, numbers))}\n", right) for name, (numbers, right) in lists.items()
    }


def _guess() -> dict[str, Test]:
    games = {"sample-1": (1, 1, 1), "ten-1": (10, 7, 4), "ten-2": (10, 1, 4), "many-1": (1000, 999, 10)}
    return {name: (f"{n} {secret} {limit}\n", "") for name, (n, secret, limit) in games.items()}


def _weights() -> dict[str, Test]:
    lists = {"01": [1], "02": [3, 4, 5], "03": [2 * 10**9, 2 * 10**9]}
    return {
        name: (f"{len(weights)}\n{' '.join(map(str, weights))}\n", f"{len(weights)}  {sum(weights)} \n\n")
        for name, weights in lists.items()
    }


def ioi_rows() -> list[dict[str, Any]]:
    """All rows."""
    guess = {"year": 2023, "task_type": "Communication", "time_limit": 0.5}
    weights = {"year": 2020, "score_precision": 0, "time_limit": 1.0, "memory_limit": 64 * MEBIBYTE}
    listed = {"test_cases": [list(all_tests()["weights"][name]) for name in ("01", "02")]}
    return [
        row("pairs", "00-samples", ("sample-1",)),
        row("pairs", "01-small", ("sample-1", "small-1", "small-2"), score=40),
        row("pairs", "02-large", ("sample-1", "small-1", "small-2", "large-1", "large-2"), score=60),
        row("splits", "00-samples", ("sample-1",), year=2022, score_precision=3),
        row("splits", "01-few", ("sample-1", "few-1"), year=2022, score_precision=3, score=30),
        row("splits", "02-all", ("sample-1", "few-1", "far-1", "far-2"), year=2022, score_precision=1, score=70),
        row("guess", "00-samples", ("sample-1",), **guess),
        row("guess", "01-ten", ("sample-1", "ten-1", "ten-2"), score=45, **guess),
        row("guess", "02-many", ("many-1", "ten-1"), score=55, **guess),
        row("weights", "01-few", ("01", "02"), score=50, **weights | listed),
        row("weights", "02-all", ("01", "02", "03"), score=50, **weights),
        row("pairs", "02-large", ("small-1", "large-1"), score=60, year=2024, test_cases=None),
    ]


def subtask_row(problem_id: str, subtask: str) -> dict[str, Any]:
    """The first row of a subtask."""
    return next(row for row in ioi_rows() if (row["id"], row["subtask"]) == (problem_id, subtask))


def write_year(folder: Path, year: int = 2024) -> None:
    """Write the tests of all problems as a local copy of open-r1/ioi-test-cases holds those of a year."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "year": year,
            "day": "1",
            "problem_name": problem.title(),
            "problem_id": problem,
            "test_name": name,
            "test_input": given,
            "test_output": expected,
        }
        for problem, tests in all_tests().items()
        for name, (given, expected) in tests.items()
    ]
    (folder / str(year)).mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / str(year) / "train-00000-of-00001.parquet")
