# SPDX-License-Identifier: Apache-2.0
"""What all rewards that run programs share: rows to submissions, results to rewards, columns and metrics.

A failing program earns what its tests say. A failing sandbox makes the row `UNSCORABLE`, a row that no judge can use
gets None, and neither is ever a score. In an outage, when no program of a call could be judged and at least half of
its rows have one, the rows without a program are unscorable too: the batch then says nothing, and the trainer can tell
that the sandbox is gone. Logged are, for `code_reward` and the others by their names:

| name                                                     | what it is                                              |
|----------------------------------------------------------|---------------------------------------------------------|
| column `code_reward/verdicts`                            | the verdict of every test: `AC x3, WA, -`               |
| `code_reward/AC`, `/WA`, `/TLE`, `/MLE`, `/RE`, `/CE`, … | share of rows: all tests right, else the first that not |
| `code_reward/no_program`, `code_reward/unusable`         | share of rows without a program, without usable tests   |
| `sandbox/error_rate`                                     | share of rows that the sandbox failed to judge          |
| `sandbox/seconds`, `sandbox/seconds_p95`                 | for one submission with all its tests                   |
| `sandbox/over_budget`                                    | share of submissions whose budget left tests out        |
| `sandbox/missing_package`                                | share of submissions that ended since boxes lack a      |
|                                                          | package which this process has                          |
"""

import importlib.util
import logging
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

from open_r1.grading.batch import JudgeProgram, Judging, ReadRow, Sandbox, SandboxSettings, Score, judge_all, read_rows
from open_r1.grading.cases import is_empty_column
from open_r1.grading.fences import find_program
from open_r1.grading.patches import patch_code as patch_source
from open_r1.grading.verdict import TestVerdict, missing_module, verdict_line
from open_r1.rewards.base import (
    DEFAULT_CONTEXT,
    UNSCORABLE,
    Completion,
    LogExtra,
    LogMetric,
    RewardContext,
    completion_texts,
    require_rows,
)

logger = logging.getLogger(__name__)

P = TypeVar("P")

NO_PROGRAM, UNUSABLE, SANDBOX_ERROR = "no_program", "unusable", "sandbox_error"
_RATES = (*(verdict.value for verdict in TestVerdict if verdict is not TestVerdict.NOT_RUN), NO_PROGRAM, UNUSABLE)


@dataclass(frozen=True)
class ProgramRow(Generic[P]):
    """A completion and the problem that it's to solve.

    Attributes:
        program: Its program, or None where it has none.
        problem: Its problem, or None where the row belongs to other rewards.
    """

    program: str | None
    problem: ReadRow[P] | None


def reward_rows(
    name: str,
    rows: Sequence[ProgramRow[P]],
    judge: JudgeProgram[P],
    settings: SandboxSettings,
    *,
    without_program: float = 0.0,
    log_extra: LogExtra | None = None,
    log_metric: LogMetric | None = None,
) -> list[float | None]:
    """Return the reward of B rows; rows with the same problem and program are judged once.

    Args:
        name: Metric key of the reward.
        rows: The rows.
        judge: Judges one program by one problem in a sandbox.
        settings: Which sandbox.
        without_program: The reward of a completion without a program, for which nothing is run.
        log_extra: As of TRL.
        log_metric: As of TRL.

    Raises:
        ValueError: The sandbox can't be built, or hasn't the language of a row.
    """
    submissions = [_submission_of(row) for row in rows]
    judged = judge_all([submission for submission in submissions if submission is not None], judge, settings)
    results = [submission and judged[submission] for submission in submissions]
    outcomes = [_outcome_of(row, result) for row, result in zip(rows, results, strict=True)]
    if _is_outage(outcomes):
        outcomes = [SANDBOX_ERROR if outcome == NO_PROGRAM else outcome for outcome in outcomes]
    _log_causes(name, rows, results)
    _log(name, outcomes, results, list(judged.values()), log_extra, log_metric)
    return [_reward_of(outcome, result, without_program) for outcome, result in zip(outcomes, results, strict=True)]


def _submission_of(row: ProgramRow[P]) -> tuple[str, ReadRow[P]] | None:
    """Return what is to be judged of a row, or None where nothing is to be run."""
    if row.program is None or row.problem is None or row.problem.error is not None:
        return None
    return row.program, row.problem


def _outcome_of(row: ProgramRow, result: Judging | None) -> str | None:
    """Return the verdict of a row, or why it has none; None where the row belongs to other rewards."""
    if row.problem is None:
        return None
    if row.problem.error is not None:
        return UNUSABLE
    if result is None:
        return NO_PROGRAM
    if result.score is None:
        return SANDBOX_ERROR if result.is_lost else UNUSABLE
    if result.score.reward is None:
        return UNUSABLE
    failed = (test.verdict for test in result.score.results if test.verdict is not TestVerdict.ACCEPTED)
    return next(failed, TestVerdict.ACCEPTED).value


def _is_outage(outcomes: Sequence[str | None]) -> bool:
    """Whether no program could be judged, and these are at least half of the rows."""
    counts = Counter(outcome for outcome in outcomes if outcome not in (None, UNUSABLE))
    num_lost = counts[SANDBOX_ERROR]
    return num_lost + counts[NO_PROGRAM] == counts.total() and 2 * num_lost >= counts.total() > 0


def _reward_of(outcome: str | None, result: Judging | None, without_program: float) -> float | None:
    if outcome is None or outcome == UNUSABLE:
        return None
    if outcome == NO_PROGRAM:
        return without_program
    return UNSCORABLE if result is None or result.score is None else result.score.reward


def _log_causes(name: str, rows: Sequence[ProgramRow], results: Sequence[Judging | None]) -> None:
    """Say in one line a batch why rows weren't judged: TRL calls on every batch, a line a row would bury the log."""
    errors = [result.error for result in results if result is not None and result.error is not None]
    lost = [error for error in errors if not isinstance(error, ValueError)]
    unusable = [row.problem.error for row in rows if row.problem is not None and row.problem.error is not None]
    unusable += [error for error in errors if isinstance(error, ValueError)]
    if lost:
        logger.warning(
            "%s: the sandbox failed for %d of %d rows; the first time: %s", name, len(lost), len(rows), lost[0]
        )
    if unusable:
        logger.warning("%s: %d of %d rows can't be judged; the first: %s", name, len(unusable), len(rows), unusable[0])


def _log(
    name: str,
    outcomes: Sequence[str | None],
    results: Sequence[Judging | None],
    judged: Sequence[Judging],
    log_extra: LogExtra | None,
    log_metric: LogMetric | None,
) -> None:
    """Log the verdicts of every row, the rate of every outcome, and what the sandbox did."""
    if log_extra is not None:
        lines = [
            verdict_line(result.score.results) if result is not None and result.score is not None else outcome
            for outcome, result in zip(outcomes, results, strict=True)
        ]
        log_extra(f"{name}/verdicts", lines)
    scores = [result.score for result in judged if result.score is not None]
    num_lacking = sum(map(_lacks_our_package, scores))  # which warns, though nobody logs metrics
    own = Counter(outcome for outcome in outcomes if outcome is not None)
    if log_metric is None or not own:
        return
    for outcome in _RATES:
        log_metric(f"{name}/{outcome}", own[outcome] / own.total())
    log_metric("sandbox/error_rate", own[SANDBOX_ERROR] / own.total())
    if not scores:
        return
    seconds = sorted(result.seconds for result in judged if result.score is not None)
    log_metric("sandbox/seconds", sum(seconds) / len(seconds))
    log_metric("sandbox/seconds_p95", seconds[math.ceil(0.95 * len(seconds)) - 1])
    num_cut = sum(any(test.verdict is TestVerdict.OVER_BUDGET for test in score.results) for score in scores)
    log_metric("sandbox/over_budget", num_cut / len(scores))
    log_metric("sandbox/missing_package", num_lacking / len(scores))


def _lacks_our_package(score: Score) -> bool:
    """Whether a program ended since its box lacks a package that this process has; warns of each package once."""
    name = missing_module(score.results)
    return name is not None and _warn_of_package(name)


@lru_cache(maxsize=256)
def _warn_of_package(name: str) -> bool:
    is_ours = importlib.util.find_spec(name) is not None
    if is_ours:
        logger.warning(
            "Programs that import %s fail: the sandbox's Python lacks it, though this one has it. `sandbox_python` "
            "names another interpreter for local boxes; `sandbox/missing_package` is the share of such programs.",
            name,
        )
    return is_ours


def rows_of_columns(
    name: str, num_rows: int, columns: Mapping[str, object], wanted: Sequence[str], needed: Sequence[str]
) -> list[dict[str, object] | None]:
    """Return the values of the wanted columns of each row; None for a row in which all needed ones are empty.

    Raises:
        ValueError: None of the needed columns is there, or one isn't a list, or not one value for each completion.
    """
    for column in wanted:
        if isinstance(values := columns.get(column), Mapping | str):
            raise ValueError(
                f"{name}: the column {column!r} must be a list with a value for each completion, got "
                f"{'one mapping' if isinstance(values, Mapping) else 'one text'}."
            )
    found: dict[str, Sequence[object]] = {
        column: values for column in wanted if isinstance(values := columns.get(column), Sequence)
    }
    if not any(column in found for column in needed):
        raise ValueError(
            f"{name} needs a column {' or '.join(needed)}; there are {', '.join(sorted(columns)) or 'none'}."
        )
    require_rows(name, num_rows, **found)
    rows = [{column: values[row] for column, values in found.items()} for row in range(num_rows)]
    return [row if any(not is_empty_column(row.get(column)) for column in needed) else None for row in rows]


@dataclass(frozen=True, kw_only=True)
class ProgramReward(ABC, Generic[P]):
    """A reward that runs the program of a completion: the last closed block of its language behind the reasoning.

    A subclass says which columns it reads, of which a row of other data has none of the needed ones, and how it reads
    and judges a row.

    Attributes:
        settings: Which sandbox.
        patch_code: Whether what today's Python and compilers no longer take is mended in the program first.
        context: What the template has opened.
    """

    settings: SandboxSettings = field(default_factory=SandboxSettings)
    patch_code: bool = False
    context: RewardContext = DEFAULT_CONTEXT

    NAME: ClassVar[str]
    COLUMNS: ClassVar[tuple[str, ...]]
    NEEDED: ClassVar[tuple[str, ...]]
    WITHOUT_PROGRAM: ClassVar[float] = 0.0

    @property
    def __name__(self) -> str:
        """Metric key."""
        return self.NAME

    def __call__(
        self,
        completions: Sequence[Completion],
        *,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        texts = completion_texts(completions, self.context)
        values = rows_of_columns(self.__name__, len(texts), columns, self.COLUMNS, self.NEEDED)
        problems = read_rows(values, self.read)
        self.check(problems)
        rows = [
            ProgramRow(self._program_of(text, problem), problem) for text, problem in zip(texts, problems, strict=True)
        ]
        return reward_rows(
            self.__name__,
            rows,
            self.judge,
            self.settings,
            without_program=self.WITHOUT_PROGRAM,
            log_extra=log_extra,
            log_metric=log_metric,
        )

    def _program_of(self, text: str, problem: ReadRow[P] | None) -> str | None:
        if problem is None or problem.content is None:
            return None
        language = self.language_of(problem.content)
        program = find_program(text, language)
        return patch_source(program, language) if program is not None and self.patch_code else program

    @classmethod
    def unusable(cls, row: Mapping[str, Any]) -> str | None:
        """Return why it can't judge a row, "" for a row of other data, None where it can."""
        if all(is_empty_column(row.get(column)) for column in cls.NEEDED):
            return ""
        try:
            cls.read_usable(row)
        except ValueError as error:
            return str(error) or type(error).__name__
        return None

    @staticmethod
    @abstractmethod
    def read(row: Mapping[str, Any]) -> P:
        """Return the problem in the columns of a row; a ValueError says why there's none."""

    @classmethod
    def read_usable(cls, row: Mapping[str, Any]) -> None:
        """Read a row before a run; raises a ValueError for tests that prove nothing too."""
        cls.read(row)

    def check(self, problems: Sequence[ReadRow[P] | None]) -> None:
        """Raise a ValueError for rows that may not come in one call."""

    @abstractmethod
    def language_of(self, problem: P) -> str:
        """Return the language of the program."""

    @abstractmethod
    async def judge(self, program: str, problem: P, sandbox: Sandbox) -> Score:
        """Judge a program in a sandbox."""
