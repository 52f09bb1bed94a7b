# SPDX-License-Identifier: Apache-2.0
"""Checks of rewards that run programs: do their sandboxes answer, and can the tests of the rows be used?"""

import logging
import os
from collections.abc import Collection, Sequence

from datasets import Dataset

from open_r1.configs.training import TrainingScriptArguments
from open_r1.grading.codeforces import require_tests_folder
from open_r1.grading.ioi import load_year
from open_r1.grading.programs import language_name
from open_r1.rewards import RewardSpec, get_reward_spec
from open_r1.rewards.rows import rows_judged_by
from open_r1.sandbox import SandboxError
from open_r1.sandbox.languages import LANGUAGES
from open_r1.sandbox.providers import SandboxSettings

logger = logging.getLogger(__name__)

# Reading the tests of one row may take a tenth of a second where they're packed.
_NUM_ROWS_READ = 64
_NUM_LANGUAGES_READ = 1024


def is_first_of_run() -> bool:
    """Whether this process asks for the whole run; the others, whose answers would be the same, don't."""
    return os.environ.get("RANK", "0") == "0"


def spread(numbers: Sequence[int], count: int) -> Sequence[int]:
    """Return at most so many of the numbers, from all over them."""
    return numbers[:: -(-len(numbers) // count) or 1]


def check_tests_of_rows(script_args: TrainingScriptArguments, dataset: Dataset) -> None:
    """Read the tests of rows from all over the data; warn in one line a reward of the share that can't be judged.

    Raises:
        ValueError: None of them can.
    """
    specs = {name: get_reward_spec(name) for name in script_args.reward_funcs}
    # Where some reward judges answers without running programs, rows without tests are for that one.
    has_other_judge = any(
        spec.is_external or (spec.answer_column and spec.programs is None) for spec in specs.values()
    )
    for name, spec in specs.items():
        if spec.programs is None:
            continue
        numbers = spread(rows_judged_by(name, dataset, script_args), _NUM_ROWS_READ)
        reasons = {number: spec.programs.unusable(dataset[number]) for number in numbers}
        empty = [number for number, reason in reasons.items() if reason == ""]
        broken = [number for number, reason in reasons.items() if reason]
        found = [f"{len(broken)} have unusable ones (row {broken[0]}: {reasons[broken[0]]})"] if broken else []
        found += [f"{len(empty)} have none (row {empty[0]})"] if empty else []
        columns = " or ".join(spec.any_column or spec.columns)
        message = f"{name}: of {len(reasons)} rows looked at for tests in {columns}, {' and '.join(found)}"
        if broken and len(broken) == len(reasons):
            raise ValueError(f"{message}. Nothing could be learned: correct the data, or take the reward out.")
        if found:
            is_meant = has_other_judge and not broken
            level = logging.INFO if is_meant else logging.WARNING
            logger.log(level, "%s: such rows get no value from it.", message)


def is_unusable(spec: RewardSpec, row: dict) -> bool:
    """Whether a reward that runs programs can't judge a row, of which `check_tests_of_rows` has warned."""
    return spec.programs is not None and spec.programs.unusable(row) is not None


def check_sandboxes(script_args: TrainingScriptArguments, dataset: Dataset) -> None:
    """Ask every sandbox that the rewards name whether it answers and has the languages of the rows; log which ones do.

    The first process of each machine asks.

    Raises:
        ValueError: One can't be built or reached, can't isolate programs here, or lacks a language; or tests that the
            judges read from elsewhere are missing.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    wanted: dict[SandboxSettings, tuple[list[str], set[str]]] = {}
    for name in script_args.reward_funcs:
        spec = get_reward_spec(name)
        if spec.programs is not None:
            _check_tests_elsewhere(spec, dataset)
            names, languages = wanted.setdefault(spec.programs.sandbox(script_args), ([], set()))
            names.append(name)
            languages |= _languages_of(spec, dataset, rows_judged_by(name, dataset, script_args))
    _warn_of_idle_settings(script_args, wanted)
    for settings, (names, languages) in wanted.items():
        try:
            line = settings.check(languages)
        except (SandboxError, ValueError, ImportError) as error:
            raise ValueError(f"The sandbox of {', '.join(names)} can't be used: {error}") from error
        logger.info("Programs of %s run in %s.", ", ".join(names), line)


def _warn_of_idle_settings(script_args: TrainingScriptArguments, wanted: Collection[SandboxSettings]) -> None:
    """Warn of settings that none of these sandboxes reads."""
    text = "`%s` has no effect, since no reward runs programs %s: leave it out, or set %s."
    if script_args.sandbox_python is not None and all(settings.provider != "local" for settings in wanted):
        logger.warning(text, "sandbox_python", "in local boxes", "`code_provider: local`")
    if script_args.sandbox_router_token_env is not None and all(settings.router_url is None for settings in wanted):
        logger.warning(text, "sandbox_router_token_env", "at a router", "`sandbox_router_url`")


def _languages_of(spec: RewardSpec, dataset: Dataset, numbers: Sequence[int]) -> set[str]:
    """Return the languages of these rows, sampled; a column that names nothing else is read whole.

    Rows in a language that nobody knows are unusable ones.
    """
    assert spec.programs is not None
    columns = [name for name in ("language", "verification_info") if name in dataset.column_names]
    rows = dataset.select(spread(numbers, _NUM_LANGUAGES_READ)).select_columns(columns) if columns else [{}]
    found = {spec.programs.language(row) for row in rows}
    if "language" in spec.columns and len(numbers) == len(dataset):
        found |= set(dataset.unique("language"))
    return {language for language in found if language and language_name(language) in LANGUAGES}


def _check_tests_elsewhere(spec: RewardSpec, dataset: Dataset) -> None:
    """Refuse rows whose tests are in files or data sets that can't be loaded."""
    names = dataset.column_names
    has_flags = "official_tests" in spec.columns and "official_tests_complete" in names
    if has_flags and not all(dataset.unique("official_tests_complete")):
        require_tests_folder()
    if "grader_files" in spec.columns and "test_cases" not in names and "year" in names:
        for year in filter(None, dataset.unique("year")):
            try:
                load_year(int(year))
            except OSError as error:
                raise ValueError(f"The tests of the IOI {year} can't be loaded: {error}") from error
