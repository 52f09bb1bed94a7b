# SPDX-License-Identifier: Apache-2.0
"""Judging many submissions at a time: rows to problems, synchronous code to judges, failures told apart.

A program that fails is a result. A sandbox that fails, and a row that no judge can use, are errors of their own kinds.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from open_r1.grading.verdict import TestResult
from open_r1.sandbox import Limits, Sandbox, SandboxError, UnsupportedLanguageError, run_coroutine, run_jobs
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.providers import build_sandbox

__all__ = [
    "Judge",
    "Judged",
    "Limits",
    "Problem",
    "Sandbox",
    "SandboxError",
    "SandboxSettings",
    "Score",
    "Submission",
    "judge_all",
    "read_problems",
]

logger = logging.getLogger(__name__)
_OWN_WORDS_S = 10.0  # over a provider's own patience, so that its own words are heard

P = TypeVar("P")
V = TypeVar("V")


@dataclass(frozen=True)
class SandboxSettings:
    """Which sandbox judges; the sandbox itself is built at first use, in the process that uses it.

    Attributes:
        provider: As of `build_sandbox`; so are the others.
        num_parallel: Submissions that are judged at a time.
    """

    provider: str = "local"
    num_parallel: int = 2
    router_url: str | None = None
    router_token_env: str | None = None
    patience_s: float = 120.0
    python: str | None = None

    def build(self) -> Sandbox:
        """Return the sandbox, the same one for equal settings.

        Raises:
            ValueError: See `build_sandbox`.
        """
        return build_sandbox(
            self.provider,
            router_url=self.router_url,
            router_token_env=self.router_token_env,
            patience_s=self.patience_s,
            sandbox_python=self.python,
        )

    def check(self, languages: Iterable[str]) -> str:
        """Ask the sandbox whether it's there and has these languages; return its line for the log.

        It's given as long as it may take (`Sandbox.ask_patience_s`: minutes where a machine has to be made first).

        Raises:
            ValueError: See `build_sandbox`.
            UnsupportedLanguageError: It hasn't one of them, or nobody knows it.
            SandboxError: It can't be reached, can't isolate programs, or says nothing for longer than that.
        """
        sandbox = self.build()
        timeout_s = sandbox.ask_patience_s + _OWN_WORDS_S

        async def ask() -> tuple[str, ...]:
            try:
                async with asyncio.timeout(timeout_s):
                    return await sandbox.languages()
            except TimeoutError as error:
                raise SandboxError(f"{sandbox.describe()}: no answer within {timeout_s:g} s.") from error

        there = run_coroutine(ask)
        missing = sorted({name for name in languages if find_language(name).name not in there})
        if missing:
            raise UnsupportedLanguageError(
                f"{sandbox.describe()} can't run {', '.join(missing)}; it has {', '.join(there)}."
            )
        return f"{sandbox.describe()}; languages: {', '.join(there)}"


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
class Problem(Generic[P]):
    """What the tests of a row are read into, once for all completions of a prompt; equal only to itself.

    Attributes:
        content: What the judge takes; None where the row is unusable.
        error: Why it's unusable.
    """

    content: P | None
    error: ValueError | None = None


@dataclass(frozen=True)
class Judged:
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


Judge = Callable[[str, P, Sandbox], Awaitable[Score]]
Submission = tuple[str, Problem[P]]


def read_problems(values: Sequence[V | None], read: Callable[[V], P]) -> list[Problem[P] | None]:
    """Read what the columns of each row say of its tests, once for neighbours that say the same; None stays None.

    What `read` can't read, and a language that nobody knows, make the row unusable and are no error of the call.
    """
    problems: list[Problem[P] | None] = []
    for number, value in enumerate(values):
        if number > 0 and value == values[number - 1]:
            problems.append(problems[-1])
        else:
            problems.append(None if value is None else _read_one(value, read))
    return problems


def _read_one(value: V, read: Callable[[V], P]) -> Problem[P]:
    try:
        return Problem(read(value))
    except ValueError as error:
        return Problem(None, error)


def judge_all(
    submissions: Sequence[Submission[P]], judge: Judge[P], settings: SandboxSettings
) -> dict[Submission[P], Judged]:
    """Judge every distinct submission (program, problem) once, `settings.num_parallel` at a time.

    Raises:
        ValueError: The sandbox can't be built (`build_sandbox`), or hasn't a language (`UnsupportedLanguageError`).
    """
    distinct = list(dict.fromkeys(submissions))
    if not distinct:
        return {}
    sandbox = settings.build()

    def job(submission: Submission[P]) -> Callable[[], Awaitable[Judged]]:
        return lambda: _judge_one(submission, judge, sandbox)

    results = run_jobs([job(submission) for submission in distinct], settings.num_parallel)
    return {
        submission: Judged(None, result) if isinstance(result, SandboxError) else result
        for submission, result in zip(distinct, results, strict=True)
    }


async def _judge_one(submission: Submission[P], judge: Judge[P], sandbox: Sandbox) -> Judged:
    program, problem = submission
    if problem.content is None:
        return Judged(None, problem.error)
    start = time.monotonic()
    try:
        return Judged(await judge(program, problem.content, sandbox), None, time.monotonic() - start)
    except UnsupportedLanguageError:
        raise
    except (json.JSONDecodeError, UnicodeError) as error:  # ValueErrors, but of a reply: rows are read before
        logger.warning("A judge failed, and not by its row", exc_info=error)
        lost = SandboxError(f"The sandbox's reply can't be read: {type(error).__name__}: {error}")
        return Judged(None, lost, time.monotonic() - start)
    except (SandboxError, ValueError) as error:
        return Judged(None, error, time.monotonic() - start)
    except OSError as error:  # the tests of a contest, on a disk or a hub
        lost = SandboxError(f"What the judge needs can't be read: {type(error).__name__}: {error}")
        return Judged(None, lost, time.monotonic() - start)
