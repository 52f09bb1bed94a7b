# SPDX-License-Identifier: Apache-2.0
"""What lighteval's metrics say of answers, whoever has asked for them.

1. Gold answers of local rows go to lighteval as mathematics: of bare text it reads only the number in `50\\%`, and
   nothing of `3, 5`.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.data.benchmarks import Benchmark
from open_r1.evaluation.engines import Records
from open_r1.evaluation.lighteval_environment import Lighteval
from open_r1.evaluation.lighteval_tasks import task_of
from open_r1.generation.requests import Message, Sampling

_MATH_MARKS = ("$", "\\boxed", "\\(", "\\[", "####", "\n")


@dataclass(frozen=True)
class Answered:
    """A problem with answers, at least one.

    Attributes:
        row: Its number.
        messages: What was asked.
        gold: Gold answer, or letter.
        texts: Answers by their index.
    """

    row: int
    messages: Sequence[Message]
    gold: str
    texts: Mapping[int, str]


@dataclass(frozen=True)
class Scored:
    """What lighteval says of one answer.

    Attributes:
        score: 0 to 1.
        note: What it found in the text, in words.
    """

    score: float
    note: str


@dataclass(frozen=True)
class Scores:
    """What lighteval says of all answers.

    Attributes:
        found: Of each, by row and index.
        metrics: Its figures, as it names them, with the samples that there are.
    """

    found: Mapping[tuple[int, int], Scored]
    metrics: Mapping[str, float]


def score_answers(
    lighteval: Lighteval,
    benchmark: Benchmark,
    answered: Sequence[Answered],
    *,
    model: str,
    sampling: Mapping[str, Any],
    system_prompt: str | None,
    folder: Path,
    log_path: Path,
) -> Scores:
    """Run lighteval's pipeline on answers that are there.

    Args:
        lighteval: Runs it.
        benchmark: Its task decides the metric; of a local one the kind.
        answered: Problems and answers.
        model: Name in lighteval's files.
        sampling: How answers were drawn, in lighteval's words (`in_its_words`), for its files.
        system_prompt: First message of every conversation.
        folder: Gets `results/` and `details/` of lighteval.
        log_path: Gets what it says.

    Raises:
        LightevalError: It has failed.
    """
    names = {problem.row: str(place if benchmark.is_local else problem.row) for place, problem in enumerate(answered)}
    with tempfile.TemporaryDirectory(prefix="lighteval-") as work:
        path = Path(work) / "questions.jsonl"
        with path.open("w", encoding="utf-8", errors="replace") as file:  # half surrogate pairs fit into no table
            for problem in answered:
                gold = gold_of(problem.gold) if benchmark.is_local and benchmark.kind == "math" else problem.gold
                question = {
                    "id": names[problem.row],
                    "messages": list(problem.messages),
                    "gold": gold,
                    "texts": list(problem.texts.values()),
                }
                file.write(json.dumps(question, ensure_ascii=False) + "\n")
        job = {
            "task": None if benchmark.is_local else task_of(benchmark),
            "kind": benchmark.kind,
            "model": model,
            "sampling": dict(sampling),
            "system_prompt": system_prompt,
            "folder": str(folder),
            "questions": str(path),
        }
        done = lighteval.run("score", job, log_path)
    entries = {line["id"]: line["answers"] for line in done.lines}
    found = {
        (problem.row, index): Scored(entry["score"], note_of(entry))
        for problem in answered
        for index, entry in zip(problem.texts, entries[names[problem.row]], strict=True)
    }
    return Scores(found, done.about["metrics"])


def gold_of(gold: str) -> str:
    """Return a gold answer of a local row as lighteval reads it.

    >>> gold_of("3, 5"), gold_of("So it is $3$.")
    ('$3, 5$', 'So it is $3$.')
    """
    return gold if any(mark in gold for mark in _MATH_MARKS) else f"${gold}$"


class ScoredRecords:
    """Records with lighteval's score, and what it found."""

    def __init__(self, records: Records, scores: Scores) -> None:
        self._records, self._found = records, scores.found

    def get(self, row: int, index: int) -> dict[str, Any] | None:
        """Return an answer, or None."""
        record, scored = self._records.get(row, index), self._found.get((row, index))
        if record is None or scored is None:
            return None if record is None else dict(record)
        return {**record, "engine_score": scored.score, "engine_note": scored.note}


def note_of(entry: Mapping[str, Any]) -> str:
    """Return in words what lighteval's scorer has found in an answer.

    >>> note_of({"score": 1.0, "extracted": ["2", "2"]})
    "finds '2'"
    """
    if entry.get("error"):
        return f"fails ({entry['error']})"
    found = list(dict.fromkeys(entry.get("extracted") or ()))
    return f"finds {', '.join(map(repr, found))}" if found else "finds no answer"


def in_its_words(sampling: Sampling) -> dict[str, Any]:
    """Return sampling in lighteval's words, for its files; negative values (top_k -1, for all tokens) are left out."""
    given = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "max_new_tokens": sampling.max_tokens,
        "seed": sampling.seed,
    }
    return {name: value for name, value in given.items() if value is not None and value >= 0}
