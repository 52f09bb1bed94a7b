# SPDX-License-Identifier: Apache-2.0
"""`disagreements.jsonl`: answers of which an engine's own scorer says something else than our judge, and why.

{"row": 3, "index": 0, "problem": "...", "solution": "1/2", "extracted": "0.5", "verdict": "right",
 "engine_score": 0.0, "finish_reason": "stop", "reason": "...", "answer": "..."}
"""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from open_r1.evaluation.judging import Answer
from open_r1.rewards.verifier import Verdict

DISAGREEMENTS_NAME = "disagreements.jsonl"
_REASONS = {
    Verdict.NO_ANSWER: "our verifier finds no final answer in the text",
    Verdict.UNPARSABLE_GOLD: "our verifier can't read the gold answer, and abstains",
}


class Disagreements:
    """The file, under another name until it is whole; a folder without an engine's scores has none.

    Attributes:
        num_scored: Answers with an engine's score.
        num_different: Of these, those that our judge takes for something else.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._part = folder / DISAGREEMENTS_NAME, folder / f".{DISAGREEMENTS_NAME}.part"
        self.num_scored = self.num_different = 0

    def __enter__(self) -> Self:
        self._file = self._part.open("w", encoding="utf-8", errors="replace")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None and self.num_scored:
            self._part.replace(self._path)
            return
        self._part.unlink()
        if error is None:
            self._path.unlink(missing_ok=True)

    def add(self, answer: Answer, problem: str, solution: str) -> None:
        """Look at an answer; write it down where the two differ."""
        if answer.text is None or answer.engine_score is None:
            return
        self.num_scored += 1
        if not differ(answer):
            return
        self.num_different += 1
        row: dict[str, Any] = {
            "row": answer.row,
            "index": answer.index,
            "problem": problem,
            "solution": solution,
            "extracted": answer.extracted,
            "verdict": answer.verdict,
            "engine_score": answer.engine_score,
            "finish_reason": answer.finish_reason,
            "reason": reason_of(answer, solution),
            "answer": answer.text,
        }
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def as_json(self) -> dict[str, Any] | None:
        """Return the counts for `results.json`; None: the engine has no scorer."""
        return {"scored": self.num_scored, "different": self.num_different} if self.num_scored else None


def differ(answer: Answer) -> bool:
    """Whether our score isn't the engine's, from 0.5 on right; where nobody of ours can say, it isn't."""
    return math.isnan(answer.score) or (answer.score == 1.0) != ((answer.engine_score or 0.0) >= 0.5)


def reason_of(answer: Answer, solution: str) -> str:
    """Return in a sentence why the two differ, as far as we know."""
    engine = "right" if (answer.engine_score or 0.0) >= 0.5 else "not right"
    where = ", which was cut off" if answer.finish_reason == "length" else ""
    if answer.verdict == Verdict.RIGHT:
        ours = (
            "our judge: right"
            if answer.extracted is None
            else f"our verifier finds {_short(answer.extracted)}, equal to {_short(solution)}"
        )
    elif answer.verdict == Verdict.WRONG:
        ours = (
            "our judge: wrong"
            if answer.extracted is None
            else f"our verifier finds {_short(answer.extracted)}, not equal to {_short(solution)}"
        )
    else:
        known = {verdict.value: reason for verdict, reason in _REASONS.items()}
        ours = known.get(answer.verdict or "", "nobody could judge it")
    theirs = f"{answer.engine_note}, and says: {engine}" if answer.engine_note else f"says: {engine}"
    return f"{ours}{where}; the engine's scorer {theirs}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}")
