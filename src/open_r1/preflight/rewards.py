# SPDX-License-Identifier: Apache-2.0
"""Can the configured rewards be earned? Each one scores a perfect completion before a model loads.

The commonest trap of the field: a template that opens `<think>` itself, so that no completion ever holds the tag that
the format reward looks for.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerState

from open_r1.configs.training import TrainingScriptArguments
from open_r1.preflight.programs import (
    check_sandboxes,
    check_tests_of_rows,
    is_first_of_run,
    is_unusable,
    is_wrong_program,
    spread,
)
from open_r1.rewards import (
    DOMAIN_COLUMN,
    IdealScore,
    RewardContext,
    RewardSpec,
    conflicting_layouts,
    get_reward_spec,
    ideal_of_row,
    is_unscorable,
    is_user_function,
    names_for_domain,
    run_reward,
    score_ideal,
)
from open_r1.rewards.rows import listed_domains, rows_judged_by
from open_r1.rewards.verifier import unjudgeable_kind

logger = logging.getLogger(__name__)

_NUM_ROWS_TRIED = 16
_NUM_ROWS_SEARCHED = 64
# Gold programs may take minutes: after so many seconds no further row is tried.
_MAX_SECONDS = 120.0
# `--check_only` counts the gold answers that the rewards can't judge.
_NUM_GOLDS = 1000
_MAX_COUNTING_SECONDS = 60.0
_NUM_GOLDS_AT_START = 256
_NUM_EXAMPLES, _MAX_EXAMPLE_CHARS = 3, 100
# TRL passes its own lists under these names, never the columns of the data.
_NAMES_OF_TRL = ("prompt", "completion", "completion_ids")


def check_ideal_completion(
    script_args: TrainingScriptArguments,
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    context: RewardContext,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Score a synthetic ideal completion of the first rows with every reward; log the first rendered prompt.

    Raises:
        ValueError: A reward gives the ideal completion less than it should, on every row that could be judged; or
            could judge none.
    """
    given = template_kwargs or {}
    rendered = tokenizer.apply_chat_template(dataset[0]["prompt"], add_generation_prompt=True, tokenize=False, **given)
    logger.info("The first prompt is rendered as:\n%s", rendered)
    if context.completion_prefix:
        logger.info("The template opens the completion with %r; rewards score with it.", context.completion_prefix)
    try_user_functions(script_args, dataset, context)
    if is_first_of_run():
        check_tests_of_rows(script_args, dataset)
    check_sandboxes(script_args, dataset)
    missed, unjudged = _score_rows(script_args, dataset, context)
    if missed:
        lines = [_explain(number, score) for number, score in missed.values()]
        if not all(is_unscorable(score.reward) or is_wrong_program(score) for _, score in missed.values()):
            lines += _explain_conflicts(script_args)
            lines.append(
                f"The prompt ends with {rendered[-80:]!r}. Make chat template, system prompt and rewards agree."
            )
        raise ValueError(
            "Even an ideal completion cannot earn the configured rewards, so nothing could be learned from them:\n"
            + "\n".join(lines)
        )
    for name in sorted(unjudged):
        _require_judgeable_row(name, script_args, dataset, context)
    if is_first_of_run():
        warn_of_unjudgeable(script_args, dataset)


def try_user_functions(script_args: TrainingScriptArguments, dataset: Dataset, context: RewardContext) -> None:
    """Call every function of the user's once, as the trainer will, on a group of ideal completions of one row.

    Raises:
        ValueError: One of them fails, or returns anything but a number or None for each completion.
    """
    for name in filter(is_user_function, script_args.reward_funcs):
        numbers = rows_judged_by(name, dataset, script_args)
        if not numbers:  # an evaluation may leave a domain out
            continue
        group = _group(script_args, dataset[numbers[0]], context)
        try:
            values = run_reward(get_reward_spec(name).build(script_args, context), **group)
        except Exception as error:  # whatever the user's code raises, which is kept as the cause
            raise ValueError(
                f"The reward {name!r} in reward_funcs fails in a trial call on a row of the data "
                f"({type(error).__name__}: {error})."
            ) from error
        logger.info("The reward %s gives a group of ideal completions %s.", name, values)


def _group(script_args: TrainingScriptArguments, row: dict, context: RewardContext) -> dict[str, object]:
    """Return the arguments that TRL passes for one group."""
    message = {"role": "assistant", "content": ideal_of_row(script_args, row, context)}
    size = max(2, context.num_generations)  # at least two, to tell lists of the wrong length
    group: dict[str, object] = {name: [value] * size for name, value in row.items() if name not in _NAMES_OF_TRL}
    return group | {
        "prompts": [row["prompt"]] * size,
        "completions": [[dict(message)] for _ in range(size)],
        "completion_ids": [list(context.eos_token_ids[:1]) for _ in range(size)],
        "trainer_state": TrainerState(),
        "log_extra": lambda name, values: None,
        "log_metric": lambda name, value: None,
    }


def _score_rows(
    script_args: TrainingScriptArguments, dataset: Dataset, context: RewardContext
) -> tuple[dict[str, tuple[int, IdealScore]], set[str]]:
    """Score rows until each reward has given one what it should.

    Returns:
        By name, the rewards that didn't, with the number of the row and its score; and the names of those that judged
        no row.
    """
    # Programs are run once for the whole run; the rest costs less than to ask whether it was done.
    names = {name for name in script_args.reward_funcs if is_first_of_run() or get_reward_spec(name).programs is None}
    ends_at = time.monotonic() + _MAX_SECONDS
    reached: set[str] = set()
    missed: dict[str, tuple[int, IdealScore]] = {}
    unjudged: set[str] = set()
    for number in _rows_to_try(script_args, dataset):
        row = dataset[number]
        unusable = {name for name in names - reached if is_unusable(get_reward_spec(name), row)}
        unjudged |= unusable
        for score in score_ideal(script_args, row, context, names=names - reached - unusable):
            if score.reward is None and not get_reward_spec(score.name).is_external:
                unjudged.add(score.name)
            elif score.is_reached:
                reached.add(score.name)
            elif score.name not in missed or is_unscorable(missed[score.name][1].reward):
                missed[score.name] = number, score
        if reached >= names or time.monotonic() > ends_at:
            break
    return {name: found for name, found in missed.items() if name not in reached}, unjudged - reached


def _rows_to_try(script_args: TrainingScriptArguments, dataset: Dataset) -> list[int]:
    """Return the numbers of the first rows, in turn of each of the domains and of all others."""
    domains = listed_domains(script_args)
    by_domain: dict[object, list[int]] = {}
    names = dataset[DOMAIN_COLUMN] if domains else [None] * len(dataset)
    for number, domain in enumerate(names):
        by_domain.setdefault(domain if domain in domains else None, []).append(number)
    # Mostly one row of each is enough.
    rounds = zip_longest(*(numbers[:_NUM_ROWS_TRIED] for numbers in by_domain.values()))
    return [number for numbers in rounds for number in numbers if number is not None]


def _explain(number: int, score: IdealScore) -> str:
    """Return a line of what a reward gave the ideal completion of a row, and why."""
    earned = f"  {score.name}: {score.reward} instead of {score.expected}"
    if is_unscorable(score.reward):
        return f"  {score.name}: what judges it failed on every row tried; the warnings above say why"
    if is_wrong_program(score):
        columns = " or ".join(get_reward_spec(score.name).answer_columns)
        return (
            f"{earned} for the program in {columns} of row {number} itself; verdicts: {score.verdicts}. Correct the "
            "programs of such rows or their tests, or the limits of a test."
        )
    return f"{earned} ({score.reason})"


def _explain_conflicts(script_args: TrainingScriptArguments) -> list[str]:
    """Return a line for every set of rewards that judge the same rows and accept no layout in common."""
    found = [
        conflicting_layouts(names_for_domain(script_args, domain), script_args)
        for domain in (None, *listed_domains(script_args))
    ]
    sides = ["; ".join(f"{name} wants {layouts}" for name, layouts in wanted.items()) for wanted in found if wanted]
    return [f"These rewards contradict each other, drop one side: {side}." for side in dict.fromkeys(sides)]


def _require_judgeable_row(
    name: str, script_args: TrainingScriptArguments, dataset: Dataset, context: RewardContext
) -> None:
    """Refuse a reward that gives None for the ideal completion of rows from all over the data.

    A reward that reads no columns of the data is only warned of: it may have a reason that other completions don't.
    """
    spec = get_reward_spec(name)
    columns = [column for column in (*spec.columns, *spec.any_column) if column in dataset.column_names]
    if not columns:
        logger.warning("The reward %s doesn't judge the ideal completion of any row tried.", name)
        return
    filled = {number for number, row in enumerate(dataset.select_columns(columns)) if _is_filled(row, spec)}
    numbers = [number for number in rows_judged_by(name, dataset, script_args) if number in filled]
    tried = [number for number in spread(numbers, _NUM_ROWS_SEARCHED) if not is_unusable(spec, dataset[number])]
    scores = (score for number in tried for score in score_ideal(script_args, dataset[number], context, names={name}))
    if any(score.reward is not None for score in scores):
        return
    raise ValueError(
        f"The reward {name!r} judges none of {len(tried)} rows tried: it reads {columns}, which {len(numbers)} of its "
        "rows have, and gives None where these can't be judged. Correct the columns, or take the reward out."
    )


def _is_filled(row: dict, spec: RewardSpec) -> bool:
    """Whether a row has what a reward reads, as far as the data has the columns at all."""
    of_these = [row[column] is not None for column in spec.any_column if column in row]
    return all(row[column] is not None for column in spec.columns if column in row) and (not of_these or any(of_these))


@dataclass
class UnjudgedGolds:
    """Golds, or tests, that a reward can't judge.

    Attributes:
        num_tried: Rows that it was asked about.
        by_kind: The golds, shortened, by kind (`unjudgeable_kind`); of tests why they can't be used.
    """

    num_tried: int = 0
    by_kind: dict[str, list[str]] = field(default_factory=dict)

    @property
    def num_unjudged(self) -> int:
        """Rows that it can't judge."""
        return sum(map(len, self.by_kind.values()))

    def counts(self) -> str:
        """Return how many there are of each kind, the commonest first."""
        kinds = sorted(self.by_kind.items(), key=lambda kind: -len(kind[1]))
        return ", ".join(f"{kind} {len(golds)}" for kind, golds in kinds)

    def examples(self) -> dict[str, list[str]]:
        """Return some golds of each kind, all different."""
        return {kind: list(dict.fromkeys(golds))[:_NUM_EXAMPLES] for kind, golds in self.by_kind.items()}


def count_unjudgeable(
    script_args: TrainingScriptArguments,
    dataset: Dataset,
    *,
    num_rows: int = _NUM_GOLDS,
    with_tests: bool = True,
) -> dict[str, UnjudgedGolds]:
    """Ask each reward that reads gold answers, or tests, which rows it can't judge; no program is run.

    Args:
        script_args: Names the rewards.
        dataset: Its rows.
        num_rows: Rows to look at, from all over the data; within a minute.
        with_tests: Whether rewards that run programs are asked too.
    """
    found: dict[str, UnjudgedGolds] = {}
    context, ends_at = RewardContext(eos_token_ids=(0,)), time.monotonic() + _MAX_COUNTING_SECONDS
    for number in spread(range(len(dataset)), num_rows):
        row = dataset[number]
        for name in names_for_domain(script_args, row.get(DOMAIN_COLUMN)):
            spec = get_reward_spec(name)
            if not (with_tests if spec.programs is not None else spec.answer_columns):
                continue
            unjudged = found.setdefault(name, UnjudgedGolds())
            unjudged.num_tried += 1
            if spec.programs is not None:
                reason = spec.programs.unusable(row)
                if reason is not None:
                    unjudged.by_kind.setdefault("tests", []).append(str(reason)[:_MAX_EXAMPLE_CHARS])
            elif any(score.reward is None for score in score_ideal(script_args, row, context, names={name})):
                gold = next((row[column] for column in spec.answer_columns if row.get(column) is not None), None)
                text = "" if gold is None else " ".join(str(gold).split())
                unjudged.by_kind.setdefault(unjudgeable_kind(gold) or "other", []).append(text[:_MAX_EXAMPLE_CHARS])
        if time.monotonic() > ends_at:
            break
    return found


def warn_of_unjudgeable(script_args: TrainingScriptArguments, dataset: Dataset) -> None:
    """Log how many golds can't be judged, of some from all over the data: their rows teach nothing."""
    if script_args.verifier != "open_r1":  # math-verify takes too long for that
        return
    for name, found in count_unjudgeable(script_args, dataset, num_rows=_NUM_GOLDS_AT_START, with_tests=False).items():
        if found.num_unjudged:
            text = "%s can't judge %d of %d golds looked at (%s): their rows earn nothing. `--check_only` shows some."
            logger.warning(text, name, found.num_unjudged, found.num_tried, found.counts())
