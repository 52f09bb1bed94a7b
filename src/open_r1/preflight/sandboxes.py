# SPDX-License-Identifier: Apache-2.0
"""Are the sandboxes there that the rewards need, and what else the judges read? Asked before a model loads."""

import logging
import os
from collections.abc import Collection, Sequence

from datasets import Dataset

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.grading.batch import SandboxError, SandboxSettings
from open_r1.grading.fences import is_known_language
from open_r1.grading.generated_tests import require_tests_folder
from open_r1.grading.ioi_tests import load_year
from open_r1.rewards import DOMAIN_COLUMN, RewardSpec, get_reward_spec, reward_domains_of

logger = logging.getLogger(__name__)

_NUM_ROWS_SAMPLED = 512


def is_first_of_machine() -> bool:
    """Whether this process asks for its machine; the others, whose answers would be the same, don't."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def is_first_of_run() -> bool:
    """Whether this process asks for the whole run."""
    return os.environ.get("RANK", "0") == "0"


def check_sandboxes(script_args: GRPOScriptArguments | SFTScriptArguments, dataset: Dataset) -> None:
    """Ask every sandbox that the rewards name whether it's there and has the languages of the rows; log who answers.

    Raises:
        ValueError: One can't be built or reached, can't isolate programs here, or lacks a language; or tests that the
            judges read from elsewhere aren't there.
    """
    if not is_first_of_machine():
        return
    wanted: dict[SandboxSettings, tuple[list[str], set[str]]] = {}
    for name in script_args.reward_funcs:
        spec = get_reward_spec(name)
        if spec.sandbox is None:
            continue
        _check_tests_elsewhere(spec, dataset)
        names, languages = wanted.setdefault(spec.sandbox(script_args), ([], set()))
        names.append(name)
        languages |= _languages_of(spec, dataset, reward_domains_of(script_args).get(name))
    _warn_of_idle_settings(script_args, wanted)
    for settings, (names, languages) in wanted.items():
        try:
            line = settings.check(languages)
        except (SandboxError, ValueError, ImportError) as error:
            raise ValueError(f"The sandbox of {', '.join(names)} can't be used: {error}") from error
        logger.info("Programs of %s run in %s.", ", ".join(names), line)


def _warn_of_idle_settings(
    script_args: GRPOScriptArguments | SFTScriptArguments, wanted: Collection[SandboxSettings]
) -> None:
    """Warn of settings that none of these sandboxes reads."""
    text = "`%s` has no effect, since no reward runs programs %s: leave it out, or set %s."
    if script_args.sandbox_python is not None and all(settings.provider != "local" for settings in wanted):
        logger.warning(text, "sandbox_python", "in local boxes", "`code_provider: local`")
    if script_args.sandbox_router_token_env is not None and all(settings.router_url is None for settings in wanted):
        logger.warning(text, "sandbox_router_token_env", "at a router", "`sandbox_router_url`")


def _languages_of(spec: RewardSpec, dataset: Dataset, domains: Sequence[str] | None) -> set[str]:
    """Return the languages of a reward's rows, sampled from all over the data; a plain column is read whole.

    Rows in a language that nobody knows are unusable ones (`preflight.programs`).
    """
    assert spec.program_language is not None
    columns = [name for name in ("language", "verification_info", DOMAIN_COLUMN) if name in dataset.column_names]
    rows = dataset.select(range(0, len(dataset), max(1, len(dataset) // _NUM_ROWS_SAMPLED))).select_columns(columns)
    if domains is not None:
        rows = rows.filter(lambda row: row[DOMAIN_COLUMN] in domains)
    found = {spec.program_language(row) for row in rows} if columns else {spec.program_language({})}
    if "language" in spec.columns and domains is None:
        found |= set(dataset.unique("language"))
    return {language for language in found if language and is_known_language(language)}


def _check_tests_elsewhere(spec: RewardSpec, dataset: Dataset) -> None:
    """Refuse rows whose tests stand in files or data sets that aren't there."""
    names = dataset.column_names
    has_flags = "official_tests" in spec.columns and "official_tests_complete" in names
    if has_flags and not all(dataset.unique("official_tests_complete")):
        require_tests_folder()
    if "grader_files" in spec.columns and "test_cases" not in names and "year" in names:
        for year in dataset.unique("year"):
            try:
                if year is not None:
                    load_year(int(year))
            except OSError as error:
                raise ValueError(f"The tests of the IOI {year} can't be loaded: {error}") from error
