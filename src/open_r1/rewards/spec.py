# SPDX-License-Identifier: Apache-2.0
"""What the table knows of a reward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from open_r1.configs.rewards import RewardArguments
from open_r1.grading.batch import SandboxSettings
from open_r1.rewards.base import Reward, RewardContext


class Layout(StrEnum):
    """How the answer may stand behind the reasoning; rewards that accept none in common can't both be earned."""

    TAGS_ON_LINES = "answer tags on lines of their own"
    TAGS_IN_LINE = "answer tags on the line of the answer"
    NO_TAGS = "no answer tags"


ANY_LAYOUT = tuple(Layout)
ANY_TAGS = (Layout.TAGS_ON_LINES, Layout.TAGS_IN_LINE)


@dataclass(frozen=True)
class ProgramSpec:
    """What the table knows of a reward that runs programs; its answers stand in a fence.

    Attributes:
        sandbox: Where they run, from the script arguments.
        language: The language of a row's program, by any of its names; None where the row doesn't say.
        unusable: Says why no judge can use the tests of a row, "" where it has none, None where they're fine.
    """

    sandbox: Callable[[RewardArguments], SandboxSettings]
    language: Callable[[Mapping[str, object]], str | None]
    unusable: Callable[[Mapping[str, object]], str | None]


@dataclass(frozen=True)
class RewardSpec:
    """One row of the table.

    Attributes:
        build: Makes the reward from the script arguments and the context.
        ideal: The least it must give the ideal completion. None where that proves nothing: it compares completions of
            a group, depends on length or wording alone, which no template can put out of reach, or is external.
        ideal_reason: Why.
        columns: Dataset columns it can't do without.
        any_column: Dataset columns of which it needs one.
        skips_empty: Whether it gives None for a row in which these are empty, so that such rows may stay.
        needs_whole_group: Whether it compares the rows of a group, which must then be in one call.
        reads_tokens: Whether it judges `completion_ids`, which `summary_only` can't cut.
        layouts: What it accepts, from the script arguments.
        answer_columns: Columns of which the first one there holds a right answer, for a reward that judges answers.
        wants_plain_answer: Whether the answer must stand in its block without a box.
        programs: For a reward that runs programs.
        no_effect: Says which setting does nothing in this run and why, or None; the log warns of it.
        is_external: Whether its code or weights come from outside the table: nothing is known of its values.
    """

    build: Callable[[RewardArguments, RewardContext], Reward]
    ideal: Callable[[RewardArguments], float | None] = lambda script_args: None
    ideal_reason: str = "the ideal completion proves nothing"
    columns: tuple[str, ...] = ()
    any_column: tuple[str, ...] = ()
    skips_empty: bool = False
    needs_whole_group: bool = False
    reads_tokens: bool = False
    layouts: Callable[[RewardArguments], tuple[Layout, ...]] = lambda script_args: ANY_LAYOUT
    answer_columns: tuple[str, ...] = ()
    wants_plain_answer: bool = False
    programs: ProgramSpec | None = None
    no_effect: Callable[[RewardArguments, RewardContext], str | None] = lambda script_args, context: None
    is_external: bool = False
