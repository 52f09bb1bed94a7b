# SPDX-License-Identifier: Apache-2.0
"""What a program earns: `code` by its share of tests, `binary_code` all or nothing, `ioi_code`, `cf_code` in contests.

Different from upstream Open R1:
1. The row says the language of its program; a fence may have any name of it (`grading.fences`).
2. The shorter output never passes; a slow test costs that test alone, until the submission's budget is used up, where
   upstream's script ended with its first time-out; a row without usable tests gets None.
3. A sandbox that fails makes the row `UNSCORABLE`, which is no score; upstream mostly counts it as 0.
4. The default sandbox is on this machine and needs no key; a router's URL chooses the router.
5. Tests may stand in the columns of other data sets too (`TEST_COLUMNS`).
6. The functions take all but the completions by name, as TRL passes it.

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
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

from open_r1.configs.rewards import RewardArguments
from open_r1.grading.batch import (
    JudgeProgram,
    Judging,
    Limits,
    ReadRow,
    Sandbox,
    SandboxSettings,
    Score,
    judge_all,
    read_rows,
)
from open_r1.grading.cases import ProgramTests, draw_tests, is_empty_column, read_row, read_verification_info
from open_r1.grading.codeforces import NO_SUBMISSION_REWARD, SCORING_MODES, CodeforcesProblem, judge_submission
from open_r1.grading.fences import find_program
from open_r1.grading.ioi import judge_subtask
from open_r1.grading.ioi_rows import Subtask
from open_r1.grading.patches import add_includes
from open_r1.grading.patches import patch_code as patch_source
from open_r1.grading.programs import Budget, judge_program
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

# A row has its tests in one of these.
TEST_COLUMNS = ("verification_info", "test_cases", "input_output", "public_test_cases", "private_test_cases")
IOI_COLUMNS = ("id", "subtask", "test_names", "time_limit", "memory_limit", "grader_files")
CF_COLUMNS = ("id", "language", "official_tests", "time_limit", "memory_limit")
# Over these it's a slip of the unit (milliseconds, bytes), which would let one program hold up a step or a machine.
MOST_TIMEOUT_S, MOST_MEMORY_MB = 3600, 1 << 20
NO_PROGRAM, UNUSABLE, SANDBOX_ERROR = "no_program", "unusable", "sandbox_error"
_RATES = (*(verdict.value for verdict in TestVerdict if verdict is not TestVerdict.NOT_RUN), NO_PROGRAM, UNUSABLE)


def reward_rows(
    name: str,
    rows: Sequence[tuple[str | None, ReadRow[P] | None]],
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
        rows: Program (None: there is none) and problem (None: the row belongs to other rewards) of each.
        judge: Judges one program by one problem in a sandbox.
        settings: Which sandbox.
        without_program: The reward of a completion without a program, for which nothing is run.
        log_extra: As of TRL.
        log_metric: As of TRL.

    Raises:
        ValueError: The sandbox can't be built, or hasn't the language of a row.
    """
    submissions = [
        (program, problem) if program is not None and problem is not None and problem.error is None else None
        for program, problem in rows
    ]
    judged = judge_all([submission for submission in submissions if submission is not None], judge, settings)
    results = [submission and judged[submission] for submission in submissions]
    outcomes = [_outcome_of(*row, result) for row, result in zip(rows, results, strict=True)]
    if _is_outage(outcomes):
        outcomes = [SANDBOX_ERROR if outcome == NO_PROGRAM else outcome for outcome in outcomes]
    _log_causes(name, [problem for _, problem in rows], results)
    _log(name, outcomes, results, list(judged.values()), log_extra, log_metric)
    return [_reward_of(outcome, result, without_program) for outcome, result in zip(outcomes, results, strict=True)]


def _outcome_of(program: str | None, problem: ReadRow[P] | None, result: Judging | None) -> str | None:
    """Return the verdict of a row, or why it has none; None where the row belongs to other rewards."""
    if problem is None:
        return None
    if problem.error is not None:
        return UNUSABLE
    if program is None or result is None:
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


def _log_causes(name: str, problems: Sequence[ReadRow | None], results: Sequence[Judging | None]) -> None:
    """Say in one line a batch why rows weren't judged: TRL calls on every batch, a line a row would bury the log."""
    errors = [result.error for result in results if result is not None and result.error is not None]
    lost = [error for error in errors if not isinstance(error, ValueError)]
    unusable = [problem.error for problem in problems if problem is not None and problem.error is not None]
    unusable += [error for error in errors if isinstance(error, ValueError)]
    if lost:
        logger.warning(
            "%s: the sandbox failed for %d of %d rows; the first time: %s", name, len(lost), len(problems), lost[0]
        )
    if unusable:
        logger.warning(
            "%s: %d of %d rows can't be judged; the first: %s", name, len(unusable), len(problems), unusable[0]
        )


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
        rows = [(self._program_of(text, problem), problem) for text, problem in zip(texts, problems, strict=True)]
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


@dataclass(frozen=True, kw_only=True)
class CodeReward(ProgramReward[ProgramTests]):
    """Return the share of its tests that a completion's program passes; with `is_binary` 1.0 for all, else 0.0.

    Judged is the last closed block of the row's language behind the reasoning; a completion without one gets 0.0, and
    nothing is run. Range [0, 1]. None where the row has no `verification_info`, or an unusable one (a language that
    nobody knows is one); `UNSCORABLE` where the sandbox failed. Source: Open R1.

    Attributes:
        is_binary: Whether all tests must be passed; the first failure then ends the run.
        limits: Of each test.
        batch_size: Tests between two looks at whether to stop, for `is_binary`; None: all at once.
        enforce_same_language: Whether rows in several languages in one call are refused.
        max_tests: Of a row with more tests so many are drawn, the same ones each time; None: all are run.
        budget: Of all tests of a submission; those that it doesn't pay count as not passed.
    """

    is_binary: bool = False
    limits: Limits = field(default_factory=lambda: Limits(cpu_s=5.0))
    batch_size: int | None = 1
    enforce_same_language: bool = False
    max_tests: int | None = None
    budget: Budget = field(default_factory=Budget)

    NAME = "code_reward"
    COLUMNS = (*TEST_COLUMNS, "metadata", "language")
    NEEDED = TEST_COLUMNS

    @property
    def __name__(self) -> str:
        """Metric key."""
        return f"binary_{self.NAME}" if self.is_binary else self.NAME

    @staticmethod
    def read(row: Mapping[str, Any]) -> ProgramTests:
        return read_row({name: row.get(name) for name in CodeReward.COLUMNS})

    @classmethod
    def read_usable(cls, row: Mapping[str, Any]) -> None:
        cls.read(row).require_outputs()

    def check(self, problems: Sequence[ReadRow[ProgramTests] | None]) -> None:
        languages = sorted({found.content.language for found in problems if found and found.content})
        if self.enforce_same_language and len(languages) > 1:
            raise ValueError(
                f"The rows of one call are in {', '.join(languages)}, and `enforce_same_language` is set: unset it, "
                "or give each language a run of its own."
            )

    def language_of(self, problem: ProgramTests) -> str:
        return problem.language

    async def judge(self, program: str, problem: ProgramTests, sandbox: Sandbox) -> Score:
        results = await judge_program(
            program,
            replace(problem, tests=draw_tests(problem.tests, self.max_tests)),
            sandbox,
            limits=self.limits,
            batch_size=self.batch_size if self.is_binary else None,
            stops_early=self.is_binary,
            budget=self.budget,
        )
        passed = sum(result.score == 1.0 for result in results)
        reward = float(passed == len(results)) if self.is_binary else passed / len(results)
        return Score(reward, tuple(results))


@dataclass(frozen=True, kw_only=True)
class IoiCodeReward(ProgramReward[Subtask]):
    """Return the score of a completion's C++ program in the row's subtask: the lowest of its tests.

    Judged is the last closed block in C++ behind the reasoning, with the includes that the task needs; a completion
    without one gets 0.0. Range [0, 1]. None where the row has no `test_names`, or is unusable; `UNSCORABLE` where the
    sandbox failed. Source: Open R1; the scores are the rules of the IOI.

    Attributes:
        batch_size: Tests in a batch, of which one with a score of 0 is the last; below 1: all at once.
    """

    batch_size: int = 1

    NAME = "ioi_code_reward"
    COLUMNS = (*IOI_COLUMNS, "year", "test_cases")
    NEEDED = ("test_names",)

    read = staticmethod(Subtask.from_row)

    def language_of(self, problem: Subtask) -> str:
        return "cpp"

    async def judge(self, program: str, problem: Subtask, sandbox: Sandbox) -> Score:
        code = add_includes(program, problem.problem_id, has_header=problem.has_header)
        return await judge_subtask(problem, code, sandbox, batch_size=self.batch_size)


@dataclass(frozen=True, kw_only=True)
class CfCodeReward(ProgramReward[CodeforcesProblem]):
    """Return what a completion's program earns at a Codeforces problem, by its official and generated tests.

    Judged is the last closed block of the row's language behind the reasoning. Range: `pass_fail` {0, 1}, `partial`
    [0, 1], `weighted_sum` [0, 1.1]; -0.1 where the compiler refuses the program, -1 for a completion without one. None
    where the row is of other data, or has no usable tests; `UNSCORABLE` where the sandbox failed. Source: Open R1.

    Attributes:
        batch_size: Tests in a batch; `pass_fail` ends with one that has a failure. Below 1: all at once.
        scoring_mode: `pass_fail`: all tests; `partial`: the share of tests; `weighted_sum`: the first plus a tenth of
            the second.
        max_tests: Of a problem with more tests so many are drawn, the same ones each time; None: all are run.
        budget: Of all tests of a submission; those that it doesn't pay count as not passed.
    """

    batch_size: int = 1
    scoring_mode: str = "weighted_sum"
    max_tests: int | None = None
    budget: Budget = field(default_factory=Budget)

    NAME = "cf_code_reward"
    COLUMNS = (*CF_COLUMNS, "generated_checker", "input_mode", "official_tests_complete")
    NEEDED = ("official_tests", "input_mode")
    WITHOUT_PROGRAM = NO_SUBMISSION_REWARD

    def __post_init__(self) -> None:
        if self.scoring_mode not in SCORING_MODES:
            raise ValueError(f"scoring_mode is one of {', '.join(SCORING_MODES)}, got {self.scoring_mode!r}.")

    read = staticmethod(CodeforcesProblem.from_row)

    def language_of(self, problem: CodeforcesProblem) -> str:
        return problem.language

    async def judge(self, program: str, problem: CodeforcesProblem, sandbox: Sandbox) -> Score:
        return await judge_submission(
            problem,
            program,
            sandbox,
            scoring_mode=self.scoring_mode,
            batch_size=self.batch_size,
            max_tests=self.max_tests,
            budget=self.budget,
        )


def extract_code(completion: str, language: str | None = "python") -> str:
    r"""Return the program of a completion that `CodeReward` would run, or "" where there is none.

    >>> extract_code("```py\n1\n```\n```rust\n2\n```", "python")
    '1\n'
    """
    return (find_program(completion, language) if language else None) or ""


def code_reward(
    completions: Sequence[Completion],
    *,
    num_parallel: int | None = None,
    provider_type: str | None = None,
    e2b_router_url: str | None = None,
    morph_router_url: str | None = None,
    enforce_same_language: bool = False,
    is_binary: bool = False,
    **columns: Any,
) -> list[float | None]:
    """Return the share of its tests that each program passes, as `CodeReward` with its default limits and budget.

    Args:
        completions: What the model wrote.
        num_parallel: Programs that are judged at a time; None: as of `SandboxSettings`.
        provider_type: As of `sandbox.providers`. None: the router of a URL, else `local`.
        e2b_router_url: `host:port` of a router with E2B behind it.
        morph_router_url: The same with Morph.
        enforce_same_language: Refuse rows in several languages.
        is_binary: Return 1.0 for all tests, else 0.0.
        **columns: `verification_info`, of each row `{"language": ..., "test_cases": [{"input", "output", "type"}]}` or
            its JSON text; or other `TEST_COLUMNS`. `log_extra` and `log_metric` as of TRL. Others aren't read.

    Raises:
        ValueError: The provider can't be built, or hasn't the language of a row.
    """
    settings = settings_of(num_parallel, provider_type, e2b_router_url, morph_router_url)
    reward = CodeReward(is_binary=is_binary, settings=settings, enforce_same_language=enforce_same_language)
    return reward(completions, **columns)


def binary_code_reward(completions: Sequence[Completion], **settings_and_columns: Any) -> list[float | None]:
    """Return 1.0 for each program that passes all its tests, else 0.0; everything else as in `code_reward`."""
    return code_reward(completions, is_binary=True, **settings_and_columns)


def settings_of(
    num_parallel: int | None, provider_type: str | None, e2b_router_url: str | None, morph_router_url: str | None
) -> SandboxSettings:
    """Return the settings that the arguments of a function mean."""
    urls = {"e2b": e2b_router_url, "morph": morph_router_url}
    provider = provider_type or next((name for name, url in urls.items() if url is not None), "local")
    return SandboxSettings(provider, num_parallel, router_url=urls.get(provider))


def ioi_code_reward(
    completions: Sequence[Completion],
    *,
    test_batch_size: int = 1,
    num_parallel: int | None = None,
    provider_type: str = "local",
    **columns: Any,
) -> list[float | None]:
    """Return the score of each program in its subtask, as `IoiCodeReward`.

    Args:
        completions: What the model wrote.
        test_batch_size: Tests in a batch, of which one with a score of 0 is the last; below 1: all at once.
        num_parallel: Programs that are judged at a time; None: as of `SandboxSettings`.
        provider_type: As of `sandbox.providers`.
        **columns: Those of open-r1/ioi (`IOI_COLUMNS`, and `year` or `test_cases`), `log_extra` and `log_metric` as of
            TRL; others aren't read.

    Raises:
        ValueError: The provider can't be built, or lacks C++.
    """
    reward = IoiCodeReward(settings=SandboxSettings(provider_type, num_parallel), batch_size=test_batch_size)
    return reward(completions, **columns)


def cf_code_reward(
    completions: Sequence[Completion],
    *,
    test_batch_size: int = 1,
    patch_code: bool = False,
    scoring_mode: str = "weighted_sum",
    num_parallel: int | None = None,
    provider_type: str = "local",
    **columns: Any,
) -> list[float | None]:
    """Return what each program earns at its problem, as `CfCodeReward`.

    Args:
        completions: What the model wrote.
        test_batch_size: Tests in a batch; `pass_fail` ends with one that has a failure. Below 1: all at once.
        patch_code: Mend what today's Python and compilers no longer take.
        scoring_mode: `pass_fail`, `partial` or `weighted_sum`.
        num_parallel: Programs that are judged at a time; None: as of `SandboxSettings`.
        provider_type: As of `sandbox.providers`.
        **columns: Those of open-r1/codeforces (`CF_COLUMNS`, `generated_checker`, `input_mode`,
            `official_tests_complete`), `log_extra` and `log_metric` as of TRL; others aren't read.

    Raises:
        ValueError: The provider can't be built, or hasn't the language of a row; the scoring mode is unknown.
    """
    reward = CfCodeReward(
        settings=SandboxSettings(provider_type, num_parallel),
        batch_size=test_batch_size,
        scoring_mode=scoring_mode,
        patch_code=patch_code,
    )
    return reward(completions, **columns)


def code_sandbox(script_args: RewardArguments) -> SandboxSettings:
    """Return where `code` and `binary_code` run programs: at the provider, or at the one router whose URL is set.

    Raises:
        ValueError: There are several URLs, or one that isn't the provider's.
    """
    contests = (script_args.ioi_provider, script_args.cf_provider) if script_args.code_provider else ()
    urls = {owner: url for owner, url in _router_urls(script_args).items() if url and owner not in contests}
    provider = script_args.code_provider or next(iter(urls), "local")
    for owner, url in urls.items():
        if owner != provider:
            since = "" if script_args.code_provider else f", since there is {_URL_SETTINGS[provider]} too"
            raise ValueError(
                f"Programs can't run in two places: {_URL_SETTINGS[owner]} is {url!r}, and code_provider is "
                f"{provider!r}{since}. Leave one out, or set `code_provider: {owner}`."
            )
    return sandbox_of(script_args, provider)


_URL_SETTINGS = {"router": "sandbox_router_url", "e2b": "e2b_router_url", "morph": "morph_router_url"}


def _router_urls(script_args: RewardArguments) -> dict[str, str | None]:
    return {
        "router": script_args.sandbox_router_url,
        "e2b": script_args.e2b_router_url,
        "morph": script_args.morph_router_url,
    }


def sandbox_of(script_args: RewardArguments, provider: str) -> SandboxSettings:
    router_url = _router_urls(script_args).get(provider)
    num_parallel = _at_least_1("parallel_code_exec_per_proc", script_args.parallel_code_exec_per_proc)
    if not (math.isfinite(script_args.sandbox_patience_s) and script_args.sandbox_patience_s > 0):
        raise ValueError(f"sandbox_patience_s must be positive, got {script_args.sandbox_patience_s}.")
    if provider == "router" and not router_url:
        raise ValueError("The provider router needs `sandbox_router_url`: host:port or URL of the router.")
    return SandboxSettings(
        provider=provider,
        num_parallel=num_parallel,
        router_url=router_url or None,
        router_token_env=script_args.sandbox_router_token_env if router_url is not None else None,
        patience_s=script_args.sandbox_patience_s,
        python=script_args.sandbox_python if provider == "local" else None,
    )


def _at_least_1(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return value


def _budget(script_args: RewardArguments) -> Budget:
    max_timeouts, extra_s = script_args.code_max_timeouts, script_args.code_extra_time_s
    if not (max_timeouts >= 0 and extra_s >= 0):
        raise ValueError(
            f"code_max_timeouts and code_extra_time_s must be 0 (no limit) or more, got {max_timeouts} and {extra_s}."
        )
    return Budget(max_timeouts or None, extra_s or None)


def build_code(script_args: RewardArguments, context: RewardContext, *, is_binary: bool) -> ProgramReward:
    timeout_s, memory_mb = script_args.code_test_timeout_s, script_args.code_memory_mb
    if not 0 < timeout_s <= MOST_TIMEOUT_S:
        raise ValueError(f"code_test_timeout_s must be positive and at most {MOST_TIMEOUT_S} s, got {timeout_s}.")
    if not 1 <= memory_mb <= MOST_MEMORY_MB:
        raise ValueError(f"code_memory_mb must be at least 1 and at most {MOST_MEMORY_MB} MiB, got {memory_mb}.")
    return CodeReward(
        is_binary=is_binary,
        settings=code_sandbox(script_args),
        limits=Limits(cpu_s=timeout_s, memory_mb=memory_mb),
        batch_size=script_args.code_eval_test_batch_size,
        enforce_same_language=script_args.enforce_same_language,
        patch_code=script_args.patch_code,
        context=context,
        max_tests=_at_least_1("code_max_tests", script_args.code_max_tests),
        budget=_budget(script_args),
    )


def build_ioi_code(script_args: RewardArguments, context: RewardContext) -> ProgramReward:
    return IoiCodeReward(
        settings=sandbox_of(script_args, script_args.ioi_provider),
        batch_size=script_args.code_eval_test_batch_size,
        context=context,
    )


def build_cf_code(script_args: RewardArguments, context: RewardContext) -> ProgramReward:
    return CfCodeReward(
        settings=sandbox_of(script_args, script_args.cf_provider),
        batch_size=script_args.code_eval_test_batch_size,
        scoring_mode=script_args.code_eval_scoring_mode,
        patch_code=script_args.patch_code,
        context=context,
        max_tests=_at_least_1("code_max_tests", script_args.code_max_tests),
        budget=_budget(script_args),
    )


def language_of_row(row: Mapping[str, object]) -> str | None:
    """Return the language of a row's programs as its tests (also as text) or its column have it, or None."""
    info = row.get("verification_info")
    found = (info.get("language") if isinstance(info, Mapping) else _language_of_text(info), row.get("language"))
    return next((language for language in found if isinstance(language, str) and language), None)


def _language_of_text(info: object) -> str | None:
    if not isinstance(info, str):
        return None
    try:
        return read_verification_info(info, language="").language
    except ValueError:  # the row is unusable: no language is asked for it
        return None


def best_of_codeforces(script_args: RewardArguments) -> float:
    return 1.1 if script_args.code_eval_scoring_mode == "weighted_sum" else 1.0
