# SPDX-License-Identifier: Apache-2.0
"""Rows as generate_reasoning.py leaves them, made so that it is known what curation keeps."""

import json
from pathlib import Path

import pyarrow.parquet as pq

CHINESE = "\u6211\u4eec\u6765\u9a8c\u7b97\u4e00\u4e0b"


def completion(reasoning: str, answer: object) -> str:
    return f"<think>\n{reasoning}\n</think>\n\n\\boxed{{{answer}}}"


def made_row(name: str, problem: str, gold: object, *texts: str | None, reasons: list[str] | None = None) -> dict:
    reasons = reasons or ["error" if text is None else "stop" for text in texts]
    usage = [{"completion_tokens": None if text is None else len(text.split())} for text in texts]
    return {
        "uuid": name,
        "problem": problem,
        "answer": None if gold is None else str(gold),
        "generations": list(texts),
        "finish_reasons": reasons,
        "api_metadata": usage,
    }


# What becomes of each row stands in its name; the numbers of the completions that are kept behind it.
CORPUS = [
    made_row(
        "kept:1,2",
        "Find six times seven.",
        42,
        completion("wrong way", 41),
        completion("six sevens", 42),
        completion("seven sixes", 42),
    ),
    made_row("wrong", "Find six times eight.", 48, completion("hm", 47), completion("hm again", 46)),
    made_row("failed", "Find six times nine.", 54, None, None),
    made_row("truncated", "Find six times ten.", 60, completion("so", 60), reasons=["length"]),
    made_row("unclosed", "Find six times two.", 12, "<think>\nthis never ends \\boxed{12}"),
    made_row("kept:0", "Find three times two.", 6, completion("three twos", 6).removeprefix("<think>\n")),
    made_row("no_gold", "Prove that this is so.", None, completion("it is", 1)),
    made_row("mixed", "Find two times two.", 4, completion(f"two twos {CHINESE}", 4)),
    made_row("long", "Find four times two.", 8, completion("word " * 500, 8)),
    made_row("code", "Find five times two.", 10, completion("run it:\n```python\nprint(10)\n```\nso", 10)),
    made_row("kept:0", "Find nine times two.", 18, completion("nine twos", 18), completion("nine  twos", 18)),
    made_row("blank", " ", 1, completion("one", 1)),
    made_row("empty", "Find one times two.", 2),
    made_row("again", "Find nine times  two.", 18, completion("twice nine", 18)),
]


PROBLEMS = [f"Problem number {name} asks for something else entirely" for name in ("one", "two", "three", "four")]


def attempts(num_right: int, total: int = 32) -> list[str]:
    return [completion(f"way {n}", 42 if n < num_right else 41) for n in range(total)]


def pool_rows() -> list[dict]:
    """Four problems that the strong model solves 0, 1, 3 and 4 of 32 times."""
    return [made_row(f"p{n}", PROBLEMS[place], 42, *attempts(n)) for place, n in enumerate((0, 1, 3, 4))]


def write_rows(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_rates(path: Path, *rates: float | None, names: tuple[str, ...] = ("p4", "p3", "p1", "p0")) -> str:
    rows = [{"uuid": name, "pass_rate": rate} for name, rate in zip(names, rates, strict=True)]
    return write_rows(path, rows)


def rows_of(folder: Path) -> list[dict]:
    return [row for file in sorted((folder / "data").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
