# SPDX-License-Identifier: Apache-2.0
"""What a program earns by its tests: `code`, the share that it passes, and `binary_code`, all or nothing.

Different from upstream Open R1:
1. The row says the language of its program; a fence may have any name of it (`grading.fences`).
2. The shorter output never passes; a slow test costs that test alone, until the submission's budget is used up, where
   upstream's script ended with its first time-out; a row without usable tests gets None.
3. A sandbox that fails makes the row `UNSCORABLE`, which is no score; upstream mostly counts it as 0.
4. The default sandbox is on this machine and needs no key; a router's URL chooses the router.
5. Tests may stand in the columns of other data sets too (`TEST_COLUMNS`).
6. The functions take all but the completions by name, as TRL passes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from open_r1.grading.batch import Limits, ReadRow, Sandbox, SandboxSettings, Score
from open_r1.grading.cases import ProgramTests, draw_tests, read_row
from open_r1.grading.fences import find_program
from open_r1.grading.programs import Budget, judge_program
from open_r1.rewards.base import Completion
from open_r1.rewards.code_execution import ProgramReward

# A row has its tests in one of these.
TEST_COLUMNS = ("verification_info", "test_cases", "input_output", "public_test_cases", "private_test_cases")


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
