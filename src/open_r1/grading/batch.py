# SPDX-License-Identifier: Apache-2.0
"""Judging many submissions at a time: rows to problems, synchronous code to judges, failures told apart.

A program that fails is a result. A sandbox that fails, and a row that no judge can use, are errors of their own kinds.
"""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from open_r1.grading.verdict import TestResult
from open_r1.sandbox import Limits, Sandbox, SandboxError, UnsupportedLanguageError, run_jobs
from open_r1.sandbox.providers import SandboxSettings

__all__ = [
    "JudgeProgram",
    "Judging",
    "Limits",
    "ReadRow",
    "Sandbox",
    "SandboxError",
    "SandboxSettings",
    "Score",
    "Submission",
    "judge_all",
    "read_rows",
]

logger = logging.getLogger(__name__)

P = TypeVar("P")
V = TypeVar("V")


@dataclass(frozen=True)
class Score:
    """What a judge makes of a submission.

    Attributes:
        reward: The reward; None where the row has no test to judge it by.
        results: Of its tests, in their order.
    """

    reward: float | None
    results: tuple[TestResult, ...]


@dataclass(frozen=True, eq=False)
class ReadRow(Generic[P]):
    """What the tests of a row are read into, once for all completions of a prompt; equal only to itself.

    Attributes:
        content: What the judge takes; None where the row is unusable.
        error: Why it's unusable.
    """

    content: P | None
    error: ValueError | None = None


@dataclass(frozen=True)
class Judging:
    """What came of judging a submission.

    Attributes:
        score: What its judge returned; None where it couldn't judge.
        error: Why it couldn't: the sandbox (`SandboxError`), or the row (ValueError).
        seconds: Time on the clock, waiting for its turn not counted.
    """

    score: Score | None
    error: SandboxError | ValueError | None = None
    seconds: float = 0.0

    @property
    def is_lost(self) -> bool:
        """Whether the sandbox failed, so that nothing is known of the submission."""
        return isinstance(self.error, SandboxError)


JudgeProgram = Callable[[str, P, Sandbox], Awaitable[Score]]
Submission = tuple[str, ReadRow[P]]


def read_rows(values: Sequence[V | None], read: Callable[[V], P]) -> list[ReadRow[P] | None]:
    """Read what the columns of each row say of its tests, once for neighbours that say the same; None stays None.

    What `read` can't read, and a language that nobody knows, make the row unusable and are no error of the call.
    """
    problems: list[ReadRow[P] | None] = []
    for number, value in enumerate(values):
        if number > 0 and value == values[number - 1]:
            problems.append(problems[-1])
        else:
            problems.append(None if value is None else _read_one(value, read))
    return problems


def _read_one(value: V, read: Callable[[V], P]) -> ReadRow[P]:
    try:
        return ReadRow(read(value))
    except ValueError as error:
        return ReadRow(None, error)


def judge_all(
    submissions: Sequence[Submission[P]], judge: JudgeProgram[P], settings: SandboxSettings
) -> dict[Submission[P], Judging]:
    """Judge every distinct submission (program, problem) once, `settings.num_places` at a time.

    Raises:
        ValueError: The sandbox can't be built, or hasn't a language (`UnsupportedLanguageError`).
    """
    distinct = list(dict.fromkeys(submissions))
    if not distinct:
        return {}
    sandbox = settings.build()

    def job(submission: Submission[P]) -> Callable[[], Awaitable[Judging]]:
        return lambda: _judge_one(submission, judge, sandbox)

    results = run_jobs([job(submission) for submission in distinct], settings.num_places)
    return {
        submission: Judging(None, result) if isinstance(result, SandboxError) else result
        for submission, result in zip(distinct, results, strict=True)
    }


async def _judge_one(submission: Submission[P], judge: JudgeProgram[P], sandbox: Sandbox) -> Judging:
    program, problem = submission
    if problem.content is None:
        return Judging(None, problem.error)
    start, score, failure = time.monotonic(), None, None
    try:
        score = await judge(program, problem.content, sandbox)
    except UnsupportedLanguageError:
        raise
    except (json.JSONDecodeError, UnicodeError) as error:  # ValueErrors, but of a reply: rows are read before
        logger.warning("A judge failed, and not by its row", exc_info=error)
        failure = SandboxError(f"The sandbox's reply can't be read: {type(error).__name__}: {error}")
    except (SandboxError, ValueError) as error:
        failure = error
    except OSError as error:  # the tests of a contest, on a disk or a hub
        failure = SandboxError(f"What the judge needs can't be read: {type(error).__name__}: {error}")
    return Judging(score, failure, time.monotonic() - start)
