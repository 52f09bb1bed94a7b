# SPDX-License-Identifier: Apache-2.0
"""What a program earns in a contest: `ioi_code` a subtask of an IOI problem, `cf_code` a problem of Codeforces.

Different from upstream Open R1: as `program_rewards` says. Rows are read from the columns alone, whatever else the
trainer passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from open_r1.grading.batch import Sandbox, SandboxSettings, Score
from open_r1.grading.codeforces import NO_SUBMISSION_REWARD, SCORING_MODES, CodeforcesProblem, judge_submission
from open_r1.grading.ioi import judge_subtask
from open_r1.grading.ioi_rows import Subtask
from open_r1.grading.patches import add_includes
from open_r1.grading.programs import Budget
from open_r1.rewards.base import Completion
from open_r1.rewards.code_execution import ProgramReward

IOI_COLUMNS = ("id", "subtask", "test_names", "time_limit", "memory_limit", "grader_files")
CF_COLUMNS = ("id", "language", "official_tests", "time_limit", "memory_limit")


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
