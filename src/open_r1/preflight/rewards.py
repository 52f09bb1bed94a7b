# SPDX-License-Identifier: Apache-2.0
"""Trials of the configured rewards: each one scores perfect completions before a model loads.

The commonest trap of the field: a template that opens `<think>` itself, so that no completion ever holds the tag that
the format reward looks for.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerState

from open_r1.configs.training import TrainingScriptArguments
from open_r1.data.sources import row_numbers
from open_r1.data.user_code import raised_at
from open_r1.preflight.programs import check_sandboxes, is_first_of_run, spread
from open_r1.rewards import (
    DOMAIN_COLUMN,
    LAYOUTS,
    Reward,
    RewardContext,
    get_reward_spec,
    is_unscorable,
    is_user_function,
    names_for_domain,
    perfect_reply,
    run_reward,
)
from open_r1.rewards.rows import rows_judged_by
from open_r1.rewards.verifier import unjudgeable_kind

logger = logging.getLogger(__name__)

# Gold programs may take minutes: after so many seconds no further row is tried.
_MAX_SECONDS = 120.0
_NUM_EXAMPLES, _MAX_EXAMPLE_CHARS = 3, 100
# TRL passes its own lists under these names, never the columns of the data.
_NAMES_OF_TRL = ("prompt", "prompts", "completion", "completions", "completion_ids")

Rewards = Mapping[str, Reward]  # by their names in `reward_funcs`


@dataclass
class Trial:
    """What a reward gave perfect replies to rows.

    Attributes:
        reward: Its name in `reward_funcs`.
        num_tried: Rows.
        has_reached: Whether it gave one of them what it should.
        misses: What it gave others, and why.
        unjudged: Rows that it can't judge, by the kind of their gold; `tests` that can't be used.
        examples: Some golds of each kind, shortened.
    """

    reward: str
    num_tried: int = 0
    has_reached: bool = False
    misses: list[str] = field(default_factory=list)
    unjudged: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.unjudged.most_common())
        shown = " | ".join(repr(gold) for golds in self.examples.values() for gold in golds)
        return (
            f"Reward {self.reward}: judges {self.num_tried - self.unjudged.total():,} of {self.num_tried:,} rows "
            + (f"tried; not {kinds}: {shown}" if kinds else "tried")
        )

    def note_unjudged(self, kind: str, gold: object) -> None:
        """Count a row that can't be judged."""
        self.unjudged[kind] += 1
        golds, text = self.examples.setdefault(kind, []), " ".join(str(gold).split())[:_MAX_EXAMPLE_CHARS]
        if len(golds) < _NUM_EXAMPLES and text not in golds:
            golds.append(text)


def check_ideal_completion(
    rewards: Sequence[Reward],
    script_args: TrainingScriptArguments,
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    context: RewardContext,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
    num_rows: int = 64,
) -> list[Trial]:
    """Score perfect replies to rows with every reward; log the first rendered prompt.

    Args:
        rewards: Those of `script_args.reward_funcs`; of reward models only the names matter.
        script_args: Of the run.
        dataset: Its prompts.
        tokenizer: Renders them.
        context: What the rewards were built with.
        template_kwargs: What else the template is given.
        num_rows: Rows from all over the data that each reward is tried on.

    Raises:
        ValueError: A reward gives the perfect reply less than it should, on every row that could be judged; or
            could judge none.
    """
    built = dict(zip(script_args.reward_funcs, rewards, strict=True))
    given = template_kwargs or {}
    rendered = tokenizer.apply_chat_template(dataset[0]["prompt"], add_generation_prompt=True, tokenize=False, **given)
    logger.info("The first prompt is rendered as:\n%s", rendered)
    if context.completion_prefix:
        logger.info("The template opens the completion with %r; rewards score with it.", context.completion_prefix)
    rows = {name: spread(_rows_with_columns(name, dataset, script_args), num_rows) for name in built}
    for name in filter(is_user_function, built):
        if rows[name]:  # an evaluation may leave a domain out
            _try_user_function(name, built[name], script_args, dataset[rows[name][0]], context)
    check_sandboxes(script_args, dataset)
    trials = _try_rows(built, rows, script_args, dataset, context)
    missed = [trial for trial in trials if trial.misses and not trial.has_reached]
    if missed:
        lines = [line for trial in missed for line in dict.fromkeys(trial.misses[:4])]
        raise ValueError(
            "Even an ideal completion cannot earn the configured rewards, so nothing could be learned from them:\n"
            + "\n".join(lines)
            + f"\nThe prompt ends with {rendered[-80:]!r}. Make chat template, system prompt, rewards and rows agree."
        )
    for trial in trials:
        columns = [*get_reward_spec(trial.reward).columns, *get_reward_spec(trial.reward).any_column]
        if trial.num_tried and columns and trial.unjudged.total() == trial.num_tried:
            raise ValueError(
                f"The reward {trial.reward!r} judges none of the rows tried ({trial}): it reads {columns}. Correct "
                "the columns, or take the reward out."
            )
        if trial.unjudged:
            logger.warning("%s. Such rows earn nothing from it.", trial)
    return trials


def _rows_with_columns(name: str, dataset: Dataset, script_args: TrainingScriptArguments) -> Sequence[int]:
    """Return the rows that a reward judges and that have what it reads; all that it judges where none has."""
    numbers = rows_judged_by(name, dataset, script_args)
    columns = [column for column in get_reward_spec(name).columns if column in dataset.column_names]
    if not columns:
        return numbers
    table = dataset.select_columns(columns).with_format("arrow")[:]
    is_filled = np.all([column.is_valid().to_numpy() for column in table.columns], axis=0)
    return [number for number in numbers if is_filled[number]] or numbers


def _arguments(
    script_args: TrainingScriptArguments, row: dict, context: RewardContext, layout: str, size: int
) -> dict[str, Any]:
    """Return the arguments that TRL passes for one group of perfect replies."""
    message = {"role": "assistant", "content": perfect_reply(script_args, row, context, LAYOUTS[layout])}
    return {name: [value] * size for name, value in row.items() if name not in _NAMES_OF_TRL} | {
        "completions": [[dict(message)] for _ in range(size)],
        "completion_ids": [list(context.eos_token_ids[:1]) for _ in range(size)],
        "trainer_state": TrainerState(),
        "log_extra": lambda name, values: None,
        "log_metric": lambda name, value: None,
    }


def _try_user_function(
    name: str, reward: Reward, script_args: TrainingScriptArguments, row: dict, context: RewardContext
) -> None:
    """Call a function of the user's once, as the trainer will, on a group of perfect replies to one row.

    Raises:
        ValueError: It fails, or returns anything but a number or None for each completion.
    """
    size = max(2, context.num_generations)  # at least two, to tell lists of the wrong length
    group = _arguments(script_args, row, context, next(iter(LAYOUTS)), size)
    try:
        values = run_reward(reward, prompts=[row["prompt"]] * size, **group)
    except Exception as error:  # whatever the user's code raises, which is kept as the cause
        raise ValueError(
            f"The reward {name!r} in reward_funcs fails in a trial call on a row of the data ({raised_at(error)})."
        ) from error
    logger.info("The reward %s gives a group of ideal completions %s.", name, values)


def _try_rows(
    built: Rewards,
    rows: Mapping[str, Sequence[int]],
    script_args: TrainingScriptArguments,
    dataset: Dataset,
    context: RewardContext,
) -> list[Trial]:
    """Score replies to rows; one layout must do for all rewards of a row.

    Rewards from outside the table are not tried, since nothing is known of their values. Those that run programs are
    tried by the first process of a run. They, and those without gold answers, such as models that judge, are tried
    until they have given a reply what they should.
    """
    specs = {name: spec for name in built if not (spec := get_reward_spec(name)).is_external}
    trials = {name: Trial(name) for name, spec in specs.items() if spec.programs is None or is_first_of_run()}
    ends_at, numbers = time.monotonic() + _MAX_SECONDS, row_numbers(dataset)
    for number in sorted({number for name in trials for number in rows[name]}):
        row, runnable = dataset[number], []
        for name in names_for_domain(script_args, row.get(DOMAIN_COLUMN)):
            if name not in trials:
                continue
            programs, has_gold = specs[name].programs, specs[name].answer_column is not None
            reason = None if programs is None else programs.unusable(row)
            is_due = not trials[name].has_reached or (programs is None and has_gold)
            trials[name].num_tried += is_due or programs is not None
            if reason is not None:
                trials[name].note_unjudged("tests", reason)
            elif is_due:
                runnable.append(name)
        _try_row({name: trials[name] for name in runnable}, built, script_args, row, numbers[number], context)
        if time.monotonic() > ends_at:
            break
    return [*trials.values()]


def _try_row(
    trials: Mapping[str, Trial],
    built: Rewards,
    script_args: TrainingScriptArguments,
    row: dict,
    number: int,
    context: RewardContext,
) -> None:
    """Note what rewards give the perfect reply to a row, in the first layout that all of them can be earned with."""
    misses: dict[str, list[str]] = {name: [] for name in trials}
    found: dict[str, str | None] = {}
    for layout in LAYOUTS:
        given = _arguments(script_args, row, context, layout, 1)
        found = {name: _miss(name, built[name], script_args, row, given) for name in trials}
        for name, miss in found.items():
            misses[name] += [f"  {name}: {miss} (row {number} from 0, {layout})"] if miss else []
        if not any(found.values()):
            misses = {name: [] for name in trials}
            break
    for name, trial in trials.items():
        trial.misses += misses[name]
        if found[name] is None:
            spec = get_reward_spec(name)
            gold = spec.answer_of(row) if spec.answer_column else None
            trial.note_unjudged(unjudgeable_kind(gold) or "other", gold)
        elif not misses[name]:
            trial.has_reached = True


def _miss(
    name: str, reward: Reward, script_args: TrainingScriptArguments, row: dict, given: dict[str, Any]
) -> str | None:
    """Return how a reward falls short on the perfect reply; "" where it doesn't, None where it can't judge the row."""
    spec, extra = get_reward_spec(name), {}
    value = run_reward(reward, **given | {"log_extra": extra.__setitem__})[0]
    if is_unscorable(value):
        return "what judges it failed; the warnings above say why"
    if value is None:
        return None
    least = spec.least(script_args)
    is_proof = spec.answer_column is None or spec.answer_of(row) is not None
    if not is_proof or least is None or value >= least - 1e-6:
        return ""
    verdicts = "" if spec.programs is None else next((f"; verdicts: {values[0]}" for values in extra.values()), "")
    return f"{value} instead of {least}{verdicts}"
