# SPDX-License-Identifier: Apache-2.0
"""What was tried on each problem, what came of it, and the points of the curve that it makes.

journal.jsonl    a line for each problem, setting and repeat, as soon as it is there: kill -9, and it goes on
results.json     {"points": [{"method": "budget_forcing", "values": {"budget": 512, "num_waits": 0},
                  "accuracy": 0.31, "accuracy_low": 0.22, "accuracy_high": 0.41, "thinking_tokens": 498.2, ...}],
                  "forcing": [...], "counts": {...}, "settings": {...}, ...}
curve.png        accuracy against thinking tokens (`curves.py`)
"""

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from open_r1.evaluation.intervals import Interval, mean_interval
from open_r1.evaluation.metrics import avg_at_k
from open_r1.generation.messages import row_key

Value = int | float | str | bool | None
ORACLE = "oracle"  # the scorer that looks at the gold
UPPER_BOUND = "(upper bound)"
FINGERPRINT = "scorer_fingerprint"  # tells settings apart, and nothing to people


@dataclass(frozen=True)
class Setting:
    """One point of a curve.

    Attributes:
        method: Name of the method.
        values: All that decides its attempts, beside what the whole run shares (model, data, sampling).
    """

    method: str
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_upper_bound(self) -> bool:
        """Whether an oracle chooses, which looks at the gold: nobody could have such a setting."""
        return self.values.get("scorer") == ORACLE

    @property
    def keeps_text(self) -> bool:
        """Whether its records have the text that is judged, and another judge would not have chosen another.

        >>> [Setting("dvts", {"choice": choice}).keeps_text for choice in ("max", "vote")]
        [True, False]
        """
        return not (self.is_upper_bound or "pool" in self.values or self.values.get("choice") == "vote")

    @property
    def key(self) -> str:
        """The same in every run, and another for every other setting.

        >>> Setting("majority", {"n": 4}).key
        'majority {"n": 4}'
        """
        return f"{self.method} {json.dumps(dict(self.values), sort_keys=True)}"

    @property
    def label(self) -> str:
        """How people read it.

        >>> Setting("budget_forcing", {"budget": 512, "num_waits": 2}).label
        'budget_forcing budget=512 num_waits=2'
        >>> print(Setting("dvts", {"step_separator": "\\n\\n"}).label)
        dvts step_separator=\\n\\n
        >>> print(Setting("dvts", {"n": 4, "scorer": "oracle"}).label)
        dvts n=4 scorer=oracle (upper bound)
        """
        shown = {name: str(value).replace("\n", "\\n") for name, value in self.values.items() if name != FINGERPRINT}
        bound = [UPPER_BOUND] if self.is_upper_bound else []
        return " ".join([self.method, *(f"{name}={value}" for name, value in shown.items()), *bound])


@dataclass(frozen=True)
class Attempt:
    """What a method has made of one problem at one setting.

    Attributes:
        problem_row: Number of the problem's row.
        text: The answer that was chosen, as the judge reads it.
        thinking_tokens: Generated while thinking, of all candidates; without thinking delimiters, all tokens.
        total_tokens: Generated and paid for, of all candidates, discarded ones too.
        answer: Final answer found in the text; None: there is none.
        score: 1.0 right, 0.0 not; NaN: nobody has said, or can.
        setting: At which setting.
        scorer_tokens: Tokens that a scorer read or wrote for it.
        finish_reason: "length" where what was chosen was cut off.
        details: What else the method tells, as JSON can hold it.
        chances: Texts that would have been chosen in place of `text`, each with its chance, where these are
            estimated; the score is then their mean. Empty: `text` is what was chosen.
        repeat: Which of the attempts at its problem and setting; those of one repeat may share samples.
    """

    problem_row: int
    text: str
    thinking_tokens: int
    total_tokens: int
    answer: str | None = None
    score: float = math.nan
    setting: Setting = field(default_factory=lambda: Setting(""))
    scorer_tokens: int = 0
    finish_reason: str = "stop"
    details: Mapping[str, Any] = field(default_factory=dict)
    chances: Sequence[tuple[str, float]] = ()
    repeat: int = 0


@dataclass(frozen=True)
class Point:
    """What a setting has come to, over problems and repeats.

    Attributes:
        setting: The setting.
        accuracy: Mean score, with its 95 % interval clustered by problem.
        thinking_tokens: Mean of a problem, likewise.
        total_tokens: Mean tokens of a problem that were paid for.
        scorer_tokens: Mean tokens of a problem that a scorer read or wrote.
        num_problems: Different problems that were judged.
        num_attempts: Attempts, each repeat one.
        num_lost: Attempts of which nobody can say whether they are right; they are left out of the accuracy.
        truncated: Share of the attempts that were cut off.
        within_budget: Share of the attempts that think no longer than their budget; None: they have none.
    """

    setting: Setting
    accuracy: Interval
    thinking_tokens: Interval
    total_tokens: float
    scorer_tokens: float
    num_problems: int
    num_attempts: int
    num_lost: int
    truncated: float
    within_budget: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as the results hold it."""
        return {
            "method": self.setting.method,
            "values": dict(self.setting.values),
            **_with_ends("accuracy", self.accuracy),
            **_with_ends("thinking_tokens", self.thinking_tokens),
            "total_tokens": self.total_tokens,
            "scorer_tokens": self.scorer_tokens,
            "problems": self.num_problems,
            "attempts": self.num_attempts,
            "lost": self.num_lost,
            "truncated": self.truncated,
            "within_budget": self.within_budget,
        }


def _with_ends(name: str, interval: Interval) -> dict[str, float | None]:
    ends = {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: None if math.isnan(value) else value for key, value in ends.items()}


def attempt_key(setting: Setting, row: int) -> str:
    """Return the name of an attempt in the journal, the same for all repeats."""
    return row_key([setting.key, row])


def to_record(attempt: Attempt, repeat: int) -> dict[str, Any]:
    """Return the line of a journal."""
    return {
        "key": attempt_key(attempt.setting, attempt.problem_row),
        "index": repeat,
        "method": attempt.setting.method,
        "values": dict(attempt.setting.values),
        "row": attempt.problem_row,
        "text": attempt.text,
        "answer": attempt.answer,
        "score": None if math.isnan(attempt.score) else attempt.score,
        "thinking_tokens": attempt.thinking_tokens,
        "total_tokens": attempt.total_tokens,
        "scorer_tokens": attempt.scorer_tokens,
        "finish_reason": attempt.finish_reason,
        "details": dict(attempt.details),
        # Where nobody could judge them, they are judged again in the next run.
        "chances": [list(pair) for pair in attempt.chances] if math.isnan(attempt.score) else [],
    }


def from_record(record: Mapping[str, Any]) -> Attempt:
    """Return the attempt of a line; `chances` are kept of those that could not be judged."""
    return Attempt(
        problem_row=record["row"],
        text=record["text"],
        thinking_tokens=record["thinking_tokens"],
        total_tokens=record["total_tokens"],
        answer=record["answer"],
        score=math.nan if record["score"] is None else record["score"],
        setting=Setting(record["method"], record["values"]),
        scorer_tokens=record["scorer_tokens"],
        finish_reason=record["finish_reason"],
        details=record["details"],
        chances=tuple((text, chance) for text, chance in record["chances"]),
        repeat=record["index"],
    )


def points_of(attempts: Iterable[Attempt], problems: Mapping[int, Hashable] | None = None) -> list[Point]:
    """Return a point for each setting, in the order in which they come first.

    Args:
        attempts: Of all settings.
        problems: What tells the problem of each row from others; None: each row is one of its own. Rows of the same
            problem each count in the means, and are one in the intervals.

    Raises:
        ValueError: No attempt at a setting could be judged.
    """
    by_setting: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_setting.setdefault(attempt.setting.key, []).append(attempt)
    return [_point_of(group, problems) for group in by_setting.values()]


def _point_of(attempts: Sequence[Attempt], problems: Mapping[int, Hashable] | None) -> Point:
    by_row: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        by_row.setdefault(attempt.problem_row, []).append(attempt)
    setting = attempts[0].setting
    clusters = None if problems is None else [problems[row] for row in by_row]
    scores_PG = [[attempt.score for attempt in group] for group in by_row.values()]
    if np.isnan([attempt.score for attempt in attempts]).all():
        raise ValueError(
            f"{setting.label}: no attempt could be judged. They are kept: repeat the command, and they "
            "are judged again."
        )
    thinking_P = [float(np.mean([attempt.thinking_tokens for attempt in group])) for group in by_row.values()]
    budgets = [attempt.details.get("budget_tokens") for attempt in attempts]
    within = [
        attempt.thinking_tokens <= budget
        for attempt, budget in zip(attempts, budgets, strict=True)
        if budget is not None
    ]
    accuracy = avg_at_k(scores_PG, clusters)
    return Point(
        setting=setting,
        accuracy=accuracy,
        thinking_tokens=mean_interval(thinking_P, clusters, is_bounded=False),
        total_tokens=float(np.mean([attempt.total_tokens for attempt in attempts])),
        scorer_tokens=float(np.mean([attempt.scorer_tokens for attempt in attempts])),
        num_problems=accuracy.scores_P.size,
        num_attempts=len(attempts),
        num_lost=sum(math.isnan(attempt.score) for attempt in attempts),
        truncated=float(np.mean([attempt.finish_reason == "length" for attempt in attempts])),
        within_budget=float(np.mean(within)) if within else None,
    )
