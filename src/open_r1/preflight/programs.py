# SPDX-License-Identifier: Apache-2.0
"""Have rows tests that a judge can use, and are the data's right programs right? For rewards that run programs."""

import logging
from collections.abc import Iterable, Sequence

from datasets import Dataset

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.rewards import DOMAIN_COLUMN, IdealScore, RewardSpec, get_reward_spec, reward_domains_of

logger = logging.getLogger(__name__)

# Reading the tests of one row may take a tenth of a second where they're packed.
_NUM_ROWS_READ = 64


def check_tests_of_rows(script_args: GRPOScriptArguments | SFTScriptArguments, dataset: Dataset) -> None:
    """Read the tests of rows from all over the data; warn in one line a reward of the share that can't be judged.

    Raises:
        ValueError: None of them can.
    """
    domains = reward_domains_of(script_args)
    for name in script_args.reward_funcs:
        spec = get_reward_spec(name)
        if spec.unusable is not None:
            _check_tests(name, spec, _sample(dataset, domains.get(name)), _has_other_judge(script_args))


def _sample(dataset: Dataset, domains: Sequence[str] | None) -> list[tuple[int, dict]]:
    """Return rows of these domains with their numbers, spread over the data."""
    numbers: Sequence[int] = range(len(dataset))
    if domains is not None:
        numbers = [number for number, domain in enumerate(dataset[DOMAIN_COLUMN]) if domain in domains]
    step = -(-len(numbers) // _NUM_ROWS_READ) or 1
    return [(number, dataset[number]) for number in numbers[::step]]


def _has_other_judge(script_args: GRPOScriptArguments | SFTScriptArguments) -> bool:
    """Whether some reward judges answers without running programs: rows without tests are for that one."""
    specs = [get_reward_spec(name) for name in script_args.reward_funcs]
    return any(spec.is_external or (spec.answer_columns and spec.unusable is None) for spec in specs)


def _check_tests(name: str, spec: RewardSpec, rows: Iterable[tuple[int, dict]], has_other_judge: bool) -> None:
    assert spec.unusable is not None
    reasons = {number: spec.unusable(row) for number, row in rows}
    empty = [number for number, reason in reasons.items() if reason == ""]
    broken = {number: reason for number, reason in reasons.items() if reason}
    found = []
    if broken:
        number, reason = next(iter(broken.items()))
        found.append(f"{len(broken)} have unusable ones (row {number}: {reason})")
    if empty:
        found.append(f"{len(empty)} have none (row {empty[0]})")
    if not found:
        return
    columns = " or ".join(spec.any_column or spec.columns)
    message = f"{name}: of {len(reasons)} rows looked at for tests in {columns}, {' and '.join(found)}"
    if len(broken) == len(reasons):
        raise ValueError(f"{message}. Nothing could be learned: correct the data, or take the reward out.")
    is_meant = has_other_judge and not broken
    level = logging.INFO if is_meant else logging.WARNING
    logger.log(level, "%s: such rows get no value from it.%s", message, "" if is_meant else " Correct or drop them.")


def is_unusable(spec: RewardSpec, row: dict) -> bool:
    """Whether a reward that runs programs can't judge a row, which was told before."""
    return spec.unusable is not None and spec.unusable(row) is not None


def explain_wrong_programs(missed: Iterable[tuple[int, IdealScore]]) -> list[str]:
    """Return a line for each reward whose judge ran the row's own program and didn't find it right."""
    return [
        f"  {score.name}: the program in {' or '.join(get_reward_spec(score.name).answer_columns)} of row {number} "
        f"earns {score.reward} instead of {score.expected}; verdicts: {score.verdicts}"
        for number, score in missed
        if is_wrong_program(score)
    ]


def is_wrong_program(score: IdealScore) -> bool:
    """Whether a row's own program was run and failed, so that template and layout aren't to blame."""
    return score.verdicts not in ("", "no_program")
