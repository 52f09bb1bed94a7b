# SPDX-License-Identifier: Apache-2.0
"""Sandboxes of rewards that run programs: do they answer, and have they the languages of the rows?"""

import logging
import os
from collections.abc import Sequence

from datasets import Dataset

from open_r1.configs.training import TrainingScriptArguments
from open_r1.grading.programs import language_name
from open_r1.rewards import RewardSpec, get_reward_spec
from open_r1.rewards.rows import rows_judged_by
from open_r1.sandbox import SandboxError
from open_r1.sandbox.languages import LANGUAGES
from open_r1.sandbox.providers import SandboxSettings

logger = logging.getLogger(__name__)

_NUM_LANGUAGES_READ = 1024


def is_first_of_run() -> bool:
    """Whether this process asks for the whole run; the others, whose answers would be the same, don't."""
    return os.environ.get("RANK", "0") == "0"


def spread(numbers: Sequence[int], count: int) -> Sequence[int]:
    """Return at most so many of the numbers, from all over them."""
    return numbers[:: -(-len(numbers) // count) or 1]


def check_sandboxes(script_args: TrainingScriptArguments, dataset: Dataset) -> None:
    """Ask every sandbox that the rewards name whether it answers and has the languages of the rows; log which ones do.

    The first process of each machine asks.

    Raises:
        ValueError: One can't be built or reached, can't isolate programs here, or lacks a language.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    wanted: dict[SandboxSettings, tuple[list[str], set[str]]] = {}
    for name in script_args.reward_funcs:
        spec = get_reward_spec(name)
        if spec.programs is not None:
            names, languages = wanted.setdefault(spec.programs.sandbox(script_args), ([], set()))
            names.append(name)
            languages |= _languages_of(spec, dataset, rows_judged_by(name, dataset, script_args))
    for settings, (names, languages) in wanted.items():
        try:
            line = settings.check(languages)
        except (SandboxError, ValueError, ImportError) as error:
            raise ValueError(f"The sandbox of {', '.join(names)} can't be used: {error}") from error
        logger.info("Programs of %s run in %s.", ", ".join(names), line)


def _languages_of(spec: RewardSpec, dataset: Dataset, numbers: Sequence[int]) -> set[str]:
    """Return the languages of some of these rows; rows in a language that nobody knows are unusable ones."""
    assert spec.programs is not None
    columns = [name for name in ("language", "verification_info") if name in dataset.column_names]
    rows = dataset.select(spread(numbers, _NUM_LANGUAGES_READ)).select_columns(columns) if columns else [{}]
    found = {spec.programs.language(row) for row in rows}
    return {language for language in found if language and language_name(language) in LANGUAGES}
