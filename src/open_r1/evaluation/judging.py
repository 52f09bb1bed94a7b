# SPDX-License-Identifier: Apache-2.0
"""Answers and what a judge says of them, some problems at a time.

math      the verifier, as rewards ask it
choices   the verifier too: the gold is a letter
code      the tests of the row, in a sandbox (`program_judge`)

P problems, G answers of a problem.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.evaluation.judgement import LOST, Judge, Judgement, judgement_of, score_of
from open_r1.evaluation.problems import Problems
from open_r1.evaluation.program_judge import ProgramJudge
from open_r1.rewards.verifier import fingerprint_verifier, verify_all
from open_r1.rewards.verifier.extract import find_answer

__all__ = [
    "LOST",
    "Answer",
    "Judge",
    "Judgement",
    "RecordOf",
    "VerifierJudge",
    "judge_of",
    "judged_answers",
    "score_of",
]

logger = logging.getLogger(__name__)

_BATCH_ANSWERS = 1024
_TELL_S = 30.0
# By row and index; a record has `index`, `text` (None: the request failed), `error`, `finish_reason` and `usage`.
RecordOf = Callable[[int, int], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Answer:
    """One answer, or a request for one that failed.

    Attributes:
        row: Number of the problem's row.
        index: Which of its answers.
        text: None: the request failed.
        finish_reason: As the server gave it.
        num_tokens: Its length as the server counts; None: it doesn't.
        verdict: As of a `Judgement`; None where there is no text.
        error: Why there is no text.
        extracted: The final answer found in the text; None: there is none, or it is a program.
    """

    row: int
    index: int
    text: str | None
    finish_reason: str
    num_tokens: int | None
    verdict: str | None
    error: str | None
    extracted: str | None = None

    @property
    def score(self) -> float:
        """1.0 right, 0.0 not, NaN where nobody can say."""
        return score_of(self.verdict)


def judge_of(problems: Problems, folder: Path | None = None) -> Judge:
    """Return what judges answers to these problems.

    Args:
        problems: Rows and golds.
        folder: Where verdicts that are costly are kept; None: they aren't.
    """
    if problems.benchmark.kind == "code":
        return ProgramJudge(problems, folder)
    return VerifierJudge(problems)


class VerifierJudge:
    """Asks the verifier; gold answers are those of the rows."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def check(self) -> dict[str, Any]:
        """Return which verifier it is: after it has changed, answers are judged again."""
        return {"verifier": fingerprint_verifier()}

    def notes(self) -> list[str]:
        """Return nothing: verdicts of the verifier depend on no machine."""
        return []

    def judge(self, rows: Sequence[int], texts: Sequence[str]) -> list[Judgement]:
        """Return a judgement of each text."""
        asked = {row: self._problems.question_of(row)[1] for row in set(rows)}
        verdicts = verify_all([self._problems.golds[row] for row in rows], texts, [asked[row] for row in rows])
        return [judgement_of(verdict, find_answer(text).text) for verdict, text in zip(verdicts, texts, strict=True)]


def judged_answers(
    problems: Problems, record_of: RecordOf, num_samples: int, judge: Judge | None = None
) -> Iterator[list[list[Answer]]]:
    """Yield the answers of some problems at a time, in the order of the rows; a problem's in theirs.

    Args:
        problems: What was asked.
        record_of: What came.
        num_samples: Answers a problem at most.
        judge: None: `judge_of(problems)`.
    """
    judge, asked = judge or judge_of(problems), list(problems.golds)
    size = max(1, _BATCH_ANSWERS // num_samples)
    begun = told = time.monotonic()
    for start in range(0, len(asked), size):
        rows = asked[start : start + size]
        records_PG = [_records_of(record_of, row, num_samples) for row in rows]
        places = [
            (row, record["text"])
            for row, records in zip(rows, records_PG, strict=True)
            for record in records
            if record["text"] is not None
        ]
        judgements = iter(judge.judge([row for row, _ in places], [text for _, text in places]))
        yield [
            [_answer(row, record, judgements) for record in records]
            for row, records in zip(rows, records_PG, strict=True)
        ]
        if (now := time.monotonic()) - told > _TELL_S:
            logger.info(
                "%s: the answers to %d of %d problems are judged, in %.0f s.",
                problems.benchmark.name,
                start + len(rows),
                len(asked),
                now - begun,
            )
            told = now


def _records_of(record_of: RecordOf, row: int, num_samples: int) -> list[Mapping[str, Any]]:
    found = (record_of(row, index) for index in range(num_samples))
    return [record for record in found if record is not None]


def _answer(row: int, record: Mapping[str, Any], judgements: Iterator[Judgement]) -> Answer:
    found = None if record["text"] is None else next(judgements)
    return Answer(
        row=row,
        index=record["index"],
        text=record["text"],
        finish_reason=record["finish_reason"],
        num_tokens=record["usage"].get("completion_tokens"),
        verdict=None if found is None else found.verdict,
        error=record["error"],
        extracted=None if found is None else found.extracted,
    )
