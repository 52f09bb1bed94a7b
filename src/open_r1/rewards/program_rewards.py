# SPDX-License-Identifier: Apache-2.0
"""Rewards for programs: `code` by its share of tests, `binary_code` all or nothing, `ioi_code`, `cf_code` in contests.

Different from upstream Open R1:
1. The row says the language of its program; a fence may have any name of it (`grading.programs`).
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
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from open_r1.configs.rewards import RewardArguments
from open_r1.grading.cases import ProgramTests, draw_tests, is_empty_column, read_row, value_of
from open_r1.grading.codeforces import NO_SUBMISSION_REWARD, SCORING_MODES, CodeforcesProblem, judge_submission
from open_r1.grading.ioi import Subtask, judge_subtask
from open_r1.grading.patches import add_includes
from open_r1.grading.patches import patch_code as patch_program
from open_r1.grading.programs import Budget, find_program, judge_all, judge_program
from open_r1.grading.verdict import Result, TestVerdict, verdict_line
from open_r1.rewards.base import (
    DEFAULT_CONTEXT,
    UNSCORABLE,
    Completion,
    LogExtra,
    LogMetric,
    Reward,
    RewardContext,
    bind,
    completion_texts,
    require_rows,
)
from open_r1.sandbox import Limits, Sandbox, SandboxError
from open_r1.sandbox.providers import SandboxSettings

logger = logging.getLogger(__name__)

# A row has its tests in one of these.
TEST_COLUMNS = ("verification_info", "test_cases", "input_output", "public_test_cases", "private_test_cases")
IOI_COLUMNS = ("id", "subtask", "test_names", "time_limit", "memory_limit", "grader_files")
CF_COLUMNS = ("id", "language", "official_tests", "time_limit", "memory_limit")
DEFAULT_LIMITS, DEFAULT_BUDGET = Limits(cpu_s=5.0), Budget()
NO_PROGRAM, UNUSABLE, SANDBOX_ERROR = "no_program", "unusable", "sandbox_error"
_RATES = (*(verdict.value for verdict in TestVerdict if verdict is not TestVerdict.NOT_RUN), NO_PROGRAM, UNUSABLE)

# Of a row: `ProgramTests` or that of a contest, why there's none (a ValueError), or None for a row of other data.
Problem = Any
Judge = Callable[[str, Problem, Sandbox], Any]


@dataclass(frozen=True)
class ProgramRows:
    """How a reward that runs programs reads rows.

    Attributes:
        columns: What it reads of a row.
        needed: Columns of which a row of other data has none.
        read: Returns the problem of a row, which has a `language`; a ValueError says why there's none.
        sandbox: Where the programs run, from the script arguments.
        language: The language of a row's program, by any of its names; None where the row doesn't say.
    """

    columns: tuple[str, ...]
    needed: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Problem]
    sandbox: Callable[[RewardArguments], SandboxSettings]
    language: Callable[[Mapping[str, Any]], str | None]

    def problem_of(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row; None for a row of other data, a ValueError for one that can't be used."""
        if all(is_empty_column(row.get(column)) for column in self.needed):
            return None
        try:
            return self.read({column: row.get(column) for column in self.columns})
        except ValueError as error:
            return error

    def unusable(self, row: Mapping[str, Any]) -> str | None:
        """Return why no judge can use the tests of a row, "" where it has none, None where they're fine."""
        problem = self.problem_of(row)
        try:
            if isinstance(problem, ProgramTests):
                problem.require_outputs()
        except ValueError as error:
            problem = error
        return "" if problem is None else repr(problem) if isinstance(problem, ValueError) else None

    def problems_of(self, name: str, num_rows: int, columns: Mapping[str, Any]) -> list[Problem]:
        """Return `problem_of` of the rows in columns, once for neighbours that say the same.

        Raises:
            ValueError: None of the needed columns is there, or one hasn't a value for each completion.
        """
        found = {column: columns[column] for column in self.columns if column in columns}
        if not found.keys() & set(self.needed):
            raise ValueError(
                f"{name} needs a column {' or '.join(self.needed)}; there are {', '.join(sorted(columns)) or 'none'}."
            )
        require_rows(name, num_rows, **found)
        problems: list[Problem] = []
        before = None
        for number in range(num_rows):
            row = {column: values[number] for column, values in found.items()}
            problems.append(problems[-1] if row == before else self.problem_of(row))
            before = row
        return problems


def reward_programs(
    name: str,
    kind: ProgramRows,
    judge: Judge,
    completions: Sequence[Completion],
    /,
    *,
    num_parallel: int | None = None,
    provider_type: str = "local",
    sandbox: SandboxSettings | None = None,
    patch_code: bool = False,
    without_program: float = 0.0,
    context: RewardContext = DEFAULT_CONTEXT,
    log_extra: LogExtra | None = None,
    log_metric: LogMetric | None = None,
    **columns: object,
) -> list[float | None]:
    """Return the rewards of B completions; a program and a problem that several rows share are judged once.

    Args:
        name: Metric key of the reward.
        kind: How rows are read.
        judge: Coroutine function (program, problem, sandbox) that returns a `Result`.
        completions: What the model wrote. The program is the last closed block of the row's language behind the
            reasoning.
        num_parallel: Programs that are judged at a time; None: as of `SandboxSettings`.
        provider_type: As of `sandbox.providers`.
        sandbox: Which sandbox, in place of the two settings above; a router's URL is one of its settings.
        patch_code: Whether what today's Python and compilers no longer take is mended in the program first.
        without_program: The reward of a completion without a program, for which nothing is run.
        context: What the template has opened.
        log_extra: As of TRL.
        log_metric: As of TRL.
        **columns: Those of the rows; others than `kind.columns` aren't read.

    Raises:
        ValueError: The sandbox can't be built, or hasn't the language of a row.
    """
    problems = kind.problems_of(name, len(completions), columns)
    programs: list[str | None] = []
    outcomes: list[str | None] = []
    for text, problem in zip(completion_texts(completions, context), problems, strict=True):
        is_usable = problem is not None and not isinstance(problem, ValueError)
        program = find_program(text, problem.language) if is_usable else None
        programs.append(patch_program(program, problem.language) if program and patch_code else program)
        # "" is a row to be judged.
        outcomes.append(None if problem is None else UNUSABLE if not is_usable else "" if program else NO_PROGRAM)
    settings = sandbox or SandboxSettings(provider_type, num_parallel)
    rows = zip(programs, problems, outcomes, strict=True)
    submissions = [(str(program), problem) for program, problem, outcome in rows if outcome == ""]
    judged = judge_all(submissions, judge, settings)
    each = iter(judged)
    results = [next(each) if outcome == "" else None for outcome in outcomes]
    outcomes = [_outcome_of(result) if result else outcome for outcome, result in zip(outcomes, results, strict=True)]
    counts = Counter(outcome for outcome in outcomes if outcome not in (None, UNUSABLE))
    num_lost = counts[SANDBOX_ERROR]
    if num_lost + counts[NO_PROGRAM] == counts.total() and 2 * num_lost >= counts.total() > 0:  # an outage
        outcomes = [SANDBOX_ERROR if outcome == NO_PROGRAM else outcome for outcome in outcomes]
    # In one line a batch: TRL calls on every batch, a line a row would bury the log.
    errors = [problem for problem in problems if isinstance(problem, ValueError)]
    errors += [result.error for result in results if result and result.error]
    for kind_of_error, what in ((ValueError, "can't be judged"), (SandboxError, "were lost by the sandbox")):
        if own := [error for error in errors if isinstance(error, kind_of_error)]:
            logger.warning("%s: %d of %d rows %s; the first: %s", name, len(own), len(results), what, own[0])
    pairs = list(zip(outcomes, results, strict=True))
    if log_extra is not None:
        log_extra(
            f"{name}/verdicts", [verdict_line(found.tests) if found and found.tests else o for o, found in pairs]
        )
    scored = {id(result): result for result in judged if result.error is None}
    _log_rates(name, outcomes, scored.values(), log_metric)
    fixed = {None: None, UNUSABLE: None, NO_PROGRAM: without_program, SANDBOX_ERROR: UNSCORABLE}
    return [fixed[outcome] if outcome in fixed or found is None else found.reward for outcome, found in pairs]


def _outcome_of(result: Result) -> str:
    if result.is_lost:
        return SANDBOX_ERROR
    return UNUSABLE if result.reward is None else result.verdict.value


def _log_rates(
    name: str, outcomes: Sequence[str | None], judged: Collection[Result], log_metric: LogMetric | None
) -> None:
    """Log the rate of every outcome, and what the sandbox did."""
    own = Counter(outcome for outcome in outcomes if outcome is not None)
    if log_metric is None or not own:
        return
    for outcome in _RATES:
        log_metric(f"{name}/{outcome}", own[outcome] / own.total())
    log_metric("sandbox/error_rate", own[SANDBOX_ERROR] / own.total())
    if not judged:
        return
    seconds = sorted(result.seconds for result in judged)
    num_cut = sum(any(test.verdict is TestVerdict.OVER_BUDGET for test in result.tests) for result in judged)
    log_metric("sandbox/seconds", sum(seconds) / len(seconds))
    log_metric("sandbox/seconds_p95", seconds[math.ceil(0.95 * len(seconds)) - 1])
    log_metric("sandbox/over_budget", num_cut / len(judged))


def extract_code(completion: str, language: str | None = "python") -> str:
    r"""Return the program of a completion that `code_reward` would run, or "" where there is none.

    >>> extract_code("```py\n1\n```\n```rust\n2\n```", "python")
    '1\n'
    """
    return (find_program(completion, language) if language else None) or ""


def code_reward(
    completions: Sequence[Completion],
    *,
    is_binary: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    batch_size: int | None = 1,
    max_tests: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
    **settings_and_columns: Any,
) -> list[float | None]:
    """Return the share of its tests that each program passes; with `is_binary` 1.0 for all, else 0.0.

    A completion without a program gets 0.0. Range [0, 1]. None where the row has no tests, or unusable ones (a
    language that nobody knows is one); `UNSCORABLE` where the sandbox failed. Source: Open R1.

    Args:
        completions: What the model wrote.
        is_binary: Whether all tests must be passed; the first failure then ends the run.
        limits: Of each test.
        batch_size: Tests between two looks at whether to stop, for `is_binary`; None: all at once.
        max_tests: Of a row with more tests so many are drawn, the same ones each time; None: all are run.
        budget: Of all tests of a submission; those that it doesn't pay count as not passed.
        **settings_and_columns: As of `reward_programs`. A row has `verification_info`, which is `{"language": ...,
            "test_cases": [{"input", "output", "type"}]}` or its JSON text; or other `TEST_COLUMNS`.

    Raises:
        ValueError: The provider can't be built, or hasn't the language of a row.
    """

    async def judge(program: str, problem: ProgramTests, sandbox: Sandbox) -> Result:
        tests = replace(problem, tests=draw_tests(problem.tests, max_tests))
        results = await judge_program(
            program, tests, sandbox, limits=limits, batch_size=batch_size, stops_early=is_binary, budget=budget
        )
        passed = sum(result.score == 1.0 for result in results)
        return Result(float(passed == len(results)) if is_binary else passed / len(results), tuple(results))

    name = "binary_code_reward" if is_binary else "code_reward"
    return reward_programs(name, CODE_ROWS, judge, completions, **settings_and_columns)


def binary_code_reward(completions: Sequence[Completion], **settings_and_columns: Any) -> list[float | None]:
    """Return 1.0 for each program that passes all its tests, else 0.0; everything else as in `code_reward`."""
    return code_reward(completions, is_binary=True, **settings_and_columns)


def ioi_code_reward(
    completions: Sequence[Completion], *, test_batch_size: int = 1, **settings_and_columns: Any
) -> list[float | None]:
    """Return the score of each C++ program in the row's subtask: the lowest of its tests.

    The program gets the includes that the task needs; a completion without one gets 0.0. Range [0, 1]. None where the
    row has no `test_names`, or is unusable; `UNSCORABLE` where the sandbox failed.
    Source: Open R1; the scores are the rules of the IOI.

    Args:
        completions: What the model wrote.
        test_batch_size: Tests in a batch, of which one with a score of 0 is the last; below 1: all at once.
        **settings_and_columns: As of `reward_programs`; columns of open-r1/ioi (`IOI_COLUMNS`, `year`).

    Raises:
        ValueError: The provider can't be built, or lacks C++.
    """

    async def judge(program: str, problem: Subtask, sandbox: Sandbox) -> Result:
        code = add_includes(program, problem.problem_id, has_header=problem.has_header)
        return await judge_subtask(code, problem, sandbox, batch_size=test_batch_size)

    return reward_programs("ioi_code_reward", IOI_ROWS, judge, completions, **settings_and_columns)


def cf_code_reward(
    completions: Sequence[Completion],
    *,
    test_batch_size: int = 1,
    scoring_mode: str = "weighted_sum",
    max_tests: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
    **settings_and_columns: Any,
) -> list[float | None]:
    """Return what each program earns at its Codeforces problem, by official and generated tests.

    Range: `pass_fail` {0, 1}, `partial` [0, 1], `weighted_sum` [0, 1.1]; -0.1 where the compiler refuses the program,
    -1 for a completion without one. None where the row is of other data, or has no usable tests; `UNSCORABLE` where
    the sandbox failed. Source: Open R1.

    Args:
        completions: What the model wrote.
        test_batch_size: Tests in a batch; `pass_fail` ends with one that has a failure. Below 1: all at once.
        scoring_mode: `pass_fail`: all tests; `partial`: the share of tests; `weighted_sum`: the first plus a tenth of
            the second.
        max_tests: Of a problem with more tests so many are drawn, the same ones each time; None: all are run.
        budget: Of all tests of a submission; those that it doesn't pay count as not passed.
        **settings_and_columns: As of `reward_programs`; columns of open-r1/codeforces (`CF_COLUMNS`,
            `generated_checker`, `input_mode`, `official_tests_complete`).

    Raises:
        ValueError: The provider can't be built, or hasn't the language of a row; the scoring mode is unknown.
    """
    if scoring_mode not in SCORING_MODES:
        raise ValueError(f"scoring_mode is one of {', '.join(SCORING_MODES)}, got {scoring_mode!r}.")
    judge = partial(
        judge_submission, scoring_mode=scoring_mode, batch_size=test_batch_size, max_tests=max_tests, budget=budget
    )
    nothing = NO_SUBMISSION_REWARD
    return reward_programs(
        "cf_code_reward", CF_ROWS, judge, completions, without_program=nothing, **settings_and_columns
    )


def sandbox_of(script_args: RewardArguments, provider: str) -> SandboxSettings:
    """Return the settings of a provider that the script arguments mean."""
    url = _router_urls(script_args).get(provider)
    return SandboxSettings(
        provider=provider,
        num_parallel=_at_least_1("parallel_code_exec_per_proc", script_args.parallel_code_exec_per_proc),
        router_url=url,
        router_token_env=script_args.sandbox_router_token_env if url is not None else None,
        patience_s=script_args.sandbox_patience_s,
        python=script_args.sandbox_python if provider == "local" else None,
    )


def code_sandbox(script_args: RewardArguments) -> SandboxSettings:
    """Return where `code` and `binary_code` run programs: at the provider, or at the one router whose URL is set.

    Raises:
        ValueError: There are several URLs, or one that isn't the provider's.
    """
    contests = (script_args.ioi_provider, script_args.cf_provider) if script_args.code_provider else ()
    urls = {owner: url for owner, url in _router_urls(script_args).items() if url and owner not in contests}
    provider = script_args.code_provider or next(iter(urls), "local")
    if others := urls.keys() - {provider}:
        names = [f"{'sandbox' if owner == 'router' else owner}_router_url" for owner in sorted(others)]
        raise ValueError(
            f"Programs can't run in two sandboxes: code_provider is {provider!r}, and {', '.join(names)} of another "
            "one is set, too. Leave one out."
        )
    return sandbox_of(script_args, provider)


def _router_urls(script_args: RewardArguments) -> dict[str, str | None]:
    names = {"router": "sandbox_router_url", "e2b": "e2b_router_url", "morph": "morph_router_url"}
    return {provider: getattr(script_args, name) or None for provider, name in names.items()}


def _at_least_1(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return value


def _budget(script_args: RewardArguments) -> Budget:
    max_timeouts, total_cpu_s = script_args.code_max_timeouts, script_args.code_total_cpu_s
    if not (max_timeouts >= 0 and 0 <= total_cpu_s < math.inf):
        raise ValueError(
            f"code_max_timeouts and code_total_cpu_s are 0 (no limit) or more, got {max_timeouts} and {total_cpu_s}."
        )
    return Budget(max_timeouts or None, total_cpu_s or None)


def build_code(script_args: RewardArguments, context: RewardContext, *, reward: Reward = code_reward) -> Reward:
    """Return `code_reward` or `binary_code_reward` with the settings in the script arguments.

    Raises:
        ValueError: One is out of range, or `code_sandbox` raises it.
    """
    timeout_s, memory_mb = script_args.code_test_timeout_s, script_args.code_memory_mb
    if not (timeout_s > 0 and memory_mb >= 1):
        raise ValueError(f"code_test_timeout_s is {timeout_s} and code_memory_mb {memory_mb}: they must be positive.")
    return bind(
        reward,
        sandbox=code_sandbox(script_args),
        limits=Limits(cpu_s=timeout_s, memory_mb=memory_mb),
        batch_size=script_args.code_eval_test_batch_size,
        max_tests=_at_least_1("code_max_tests", script_args.code_max_tests),
        budget=_budget(script_args),
        patch_code=script_args.patch_code,
        context=context,
    )


def build_ioi_code(script_args: RewardArguments, context: RewardContext) -> Reward:
    """Return `ioi_code_reward` with the settings in the script arguments."""
    sandbox = sandbox_of(script_args, script_args.ioi_provider)
    batch_size = script_args.code_eval_test_batch_size
    return bind(ioi_code_reward, sandbox=sandbox, test_batch_size=batch_size, context=context)


def build_cf_code(script_args: RewardArguments, context: RewardContext) -> Reward:
    """Return `cf_code_reward` with the settings in the script arguments."""
    return bind(
        cf_code_reward,
        sandbox=sandbox_of(script_args, script_args.cf_provider),
        test_batch_size=script_args.code_eval_test_batch_size,
        scoring_mode=script_args.code_eval_scoring_mode,
        max_tests=_at_least_1("code_max_tests", script_args.code_max_tests),
        budget=_budget(script_args),
        patch_code=script_args.patch_code,
        context=context,
    )


def language_of_row(row: Mapping[str, Any]) -> str | None:
    """Return the language of a row's programs as its tests (also as text) or its column have it, or None."""
    info = row.get("verification_info")
    with suppress(ValueError):
        info = value_of(info, "")
    found = info.get("language") if isinstance(info, Mapping) else None
    return found or row.get("language") or None


CODE_ROWS = ProgramRows(
    columns=(*TEST_COLUMNS, "metadata", "language"),
    needed=TEST_COLUMNS,
    read=read_row,
    sandbox=code_sandbox,
    language=language_of_row,
)
IOI_ROWS = ProgramRows(
    columns=(*IOI_COLUMNS, "year", "test_cases"),
    needed=("test_names",),
    read=Subtask.from_row,
    sandbox=lambda script_args: sandbox_of(script_args, script_args.ioi_provider),
    language=lambda row: "cpp",
)
CF_ROWS = ProgramRows(
    columns=(*CF_COLUMNS, "generated_checker", "input_mode", "official_tests_complete"),
    needed=("official_tests", "input_mode"),
    read=CodeforcesProblem.from_row,
    sandbox=lambda script_args: sandbox_of(script_args, script_args.cf_provider),
    language=language_of_row,
)
