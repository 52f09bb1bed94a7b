# SPDX-License-Identifier: Apache-2.0
"""What the table knows of a reward, and the script arguments that rewards read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from open_r1.grading.batch import SandboxSettings
from open_r1.rewards.base import Reward, RewardContext


class RewardArguments(Protocol):
    """The fields of the script arguments that rewards read; each reward reads only its own."""

    @property
    def reward_funcs(self) -> list[str]: ...

    @property
    def reward_domains(self) -> Mapping[str, Sequence[str]] | None: ...

    @property
    def verifier_timeout_s(self) -> float: ...

    @property
    def cosine_min_value_wrong(self) -> float: ...

    @property
    def cosine_max_value_wrong(self) -> float: ...

    @property
    def cosine_min_value_correct(self) -> float: ...

    @property
    def cosine_max_value_correct(self) -> float: ...

    @property
    def cosine_max_len(self) -> int: ...

    @property
    def repetition_n_grams(self) -> int: ...

    @property
    def repetition_max_penalty(self) -> float: ...

    @property
    def repetition_language(self) -> str: ...

    @property
    def token_repetition_n_grams(self) -> int: ...

    @property
    def token_repetition_max_penalty(self) -> float: ...

    @property
    def target_language(self) -> str: ...

    @property
    def max_paragraph_chars(self) -> int: ...

    @property
    def truncated_penalty(self) -> float: ...

    @property
    def demystify_correct_at_zero(self) -> float: ...

    @property
    def demystify_correct_at_max_len(self) -> float: ...

    @property
    def demystify_wrong_at_zero(self) -> float: ...

    @property
    def demystify_wrong_at_max_len(self) -> float: ...

    @property
    def demystify_exceed_length(self) -> float: ...

    @property
    def demystify_max_len(self) -> int: ...

    @property
    def demystify_n_grams(self) -> int: ...

    @property
    def demystify_max_penalty(self) -> float: ...

    @property
    def countdown_mode(self) -> str: ...

    @property
    def countdown_strict(self) -> bool: ...

    @property
    def code_language(self) -> str: ...

    @property
    def max_completion_len(self) -> int: ...

    @property
    def soft_punish_cache(self) -> int: ...

    @property
    def code_provider(self) -> str | None: ...

    @property
    def ioi_provider(self) -> str: ...

    @property
    def cf_provider(self) -> str: ...

    @property
    def sandbox_router_url(self) -> str | None: ...

    @property
    def e2b_router_url(self) -> str | None: ...

    @property
    def morph_router_url(self) -> str | None: ...

    @property
    def sandbox_router_token_env(self) -> str | None: ...

    @property
    def sandbox_patience_s(self) -> float: ...

    @property
    def sandbox_python(self) -> str | None: ...

    @property
    def parallel_code_exec_per_proc(self) -> int: ...

    @property
    def code_eval_test_batch_size(self) -> int: ...

    @property
    def code_eval_scoring_mode(self) -> str: ...

    @property
    def code_test_timeout_s(self) -> float: ...

    @property
    def code_memory_mb(self) -> int: ...

    @property
    def enforce_same_language(self) -> bool: ...

    @property
    def patch_code(self) -> bool: ...


class Layout(StrEnum):
    """How the answer may stand behind the reasoning; rewards that accept none in common can't both be earned."""

    TAGS_ON_LINES = "answer tags on lines of their own"
    TAGS_IN_LINE = "answer tags on the line of the answer"
    NO_TAGS = "no answer tags"


ANY_LAYOUT = tuple(Layout)
ANY_TAGS = (Layout.TAGS_ON_LINES, Layout.TAGS_IN_LINE)


@dataclass(frozen=True)
class RewardSpec:
    """One row of the table.

    Attributes:
        build: Makes the reward from the script arguments and the context.
        ideal: The least it must give the ideal completion, or None where that proves nothing.
        ideal_reason: Why.
        columns: Dataset columns it can't do without.
        any_column: Dataset columns of which it needs one.
        skips_empty: Whether it gives None for a row in which these are empty, so that such rows may stay.
        needs_whole_group: Whether it compares the rows of a group, which must then be in one call.
        reads_tokens: Whether it judges `completion_ids`, which `summary_only` can't cut.
        layouts: What it accepts, from the script arguments.
        answer_columns: Columns of which the first one there holds a right answer, for a reward that judges answers.
        wants_plain_answer: Whether the answer must stand in its block without a box.
        sandbox: Where it runs programs, from the script arguments; None: it runs none.
        program_language: The language of a row's program, by any of its names; None where the row doesn't say. Such an
            answer stands in a fence.
        unusable: Says why no judge can use the tests of a row, "" where it has none, None where they're fine; for
            rewards that run programs.
        no_effect: Says which setting does nothing in this run and why, or None; the log warns of it.
        is_external: Whether its code or weights come from outside the table: nothing is known of its values.
    """

    build: Callable[[RewardArguments, RewardContext], Reward]
    ideal: Callable[[RewardArguments], float | None]
    ideal_reason: str
    columns: tuple[str, ...] = ()
    any_column: tuple[str, ...] = ()
    skips_empty: bool = False
    needs_whole_group: bool = False
    reads_tokens: bool = False
    layouts: Callable[[RewardArguments], tuple[Layout, ...]] = lambda script_args: ANY_LAYOUT
    answer_columns: tuple[str, ...] = ()
    wants_plain_answer: bool = False
    sandbox: Callable[[RewardArguments], SandboxSettings] | None = None
    program_language: Callable[[Mapping[str, object]], str | None] | None = None
    unusable: Callable[[Mapping[str, object]], str | None] | None = None
    no_effect: Callable[[RewardArguments, RewardContext], str | None] = lambda script_args, context: None
    is_external: bool = False
