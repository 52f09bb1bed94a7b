# SPDX-License-Identifier: Apache-2.0
"""Trials of the configured rewards: each one scores perfect completions before a model loads.

The commonest trap of the field: a template that opens `<think>` itself, so that no completion ever holds the tag that
the format reward looks for.
"""

import logging
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
    LAYOUTS,
    Reward,
    RewardContext,
    get_reward_spec,
    is_unscorable,
    is_user_function,
    perfect_reply,
    run_reward,
)
from open_r1.rewards.rows import rows_judged_by
from open_r1.rewards.verifier import unjudgeable_kind

logger = logging.getLogger(__name__)

_NUM_COSTLY = 8  # rows on which programs, and rewards without a gold answer (models that judge), are tried
# TRL passes its own lists under these names, never the columns of the data.
_NAMES_OF_TRL = ("prompt", "prompts", "completion", "completions", "completion_ids")


@dataclass
class Trial:
    """What a reward makes of perfect replies to rows.

    Attributes:
        reward: Its name in `reward_funcs`.
        num_tried: Rows.
        golds: Of the rows that it can't judge, by kind.
        misses: What it gave others than it should, and with which row and layout.
        has_reached: Whether it gave one of them what it should.
    """

    reward: str
    num_tried: int
    golds: dict[str, list[str]] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)
    has_reached: bool = False

    @property
    def num_unjudged(self) -> int:
        """Number of rows that it can't judge."""
        return sum(map(len, self.golds.values()))

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {len(golds)}" for kind, golds in self.golds.items())
        shown = " | ".join(repr(gold) for golds in self.golds.values() for gold in [*dict.fromkeys(golds)][:3])
        num_judged = self.num_tried - self.num_unjudged
        judged = f"Reward {self.reward}: judges {num_judged:,} of {self.num_tried:,} rows tried"
        return f"{judged}; not {kinds}: {shown}" if kinds else judged

    def note_unjudged(self, row: dict[str, Any]) -> None:
        """Count a row that can't be judged."""
        spec = get_reward_spec(self.reward)
        gold = spec.answer_of(row) if spec.answer_column else None
        kind = unjudgeable_kind(gold) or "other"
        if spec.programs is not None:
            kind, gold = "tests", spec.programs.unusable(row)
        self.golds.setdefault(kind, []).append(" ".join(str(gold).split())[:100])


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

    Functions of the user's are called once, on a group of replies as the trainer will, since nothing is known of their
    values. Rewards that run programs are tried by the first process of a run.

    Args:
        rewards: Those of `script_args.reward_funcs`; of reward models only the names matter.
        script_args: Of the run.
        dataset: Its prompts.
        tokenizer: Renders them.
        context: What the rewards were built with.
        template_kwargs: What else the template is given.
        num_rows: Rows from all over the data that each reward is tried on, at most.

    Raises:
        ValueError: A reward gives the perfect reply less than it should, on every row that could be judged; or
            could judge none.
    """
    built = dict(zip(script_args.reward_funcs, rewards, strict=True))
    given = template_kwargs or {}
    rendered = tokenizer.apply_chat_template(dataset[0]["prompt"], add_generation_prompt=True, tokenize=False, **given)
    logger.info("The first prompt is rendered as:\n%s", rendered)
    rows = {name: spread(_rows_with_columns(name, dataset, script_args), num_rows) for name in built}
    check_sandboxes(script_args, dataset)
    trials = _try_rows(built, rows, script_args, dataset, context)
    if missed := [trial for trial in trials if trial.misses and not trial.has_reached]:
        lines = [line for trial in missed for line in trial.misses[:4]]
        raise ValueError(
            "Even an ideal completion cannot earn the configured rewards, so nothing could be learned from them:\n"
            + "\n".join(lines)
            + f"\nThe prompt ends with {rendered[-80:]!r}. Make chat template, system prompt, rewards and rows agree."
        )
    for trial in trials:
        spec = get_reward_spec(trial.reward)
        columns = [*spec.columns, *spec.any_column]
        if trial.num_tried and columns and trial.num_unjudged == trial.num_tried:
            raise ValueError(
                f"The reward {trial.reward!r} judges none of the rows tried ({trial}): it reads {columns}. Correct "
                "the columns, or take the reward out."
            )
        if trial.golds:
            logger.warning("%s. Such rows earn nothing from that reward.", trial)
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
        "prompts": [row["prompt"]] * size,
        "completions": [[dict(message)] for _ in range(size)],
        "completion_ids": [list(context.eos_token_ids[:1]) for _ in range(size)],
        "trainer_state": TrainerState(),
        "log_extra": lambda name, values: None,
        "log_metric": lambda name, value: None,
    }


def _try_rows(
    built: Mapping[str, Reward],
    rows: Mapping[str, Sequence[int]],
    script_args: TrainingScriptArguments,
    dataset: Dataset,
    context: RewardContext,
) -> list[Trial]:
    """Score replies to rows; one layout must do for all rewards of a row."""
    trials: dict[str, Trial] = {}
    left: dict[str, Sequence[int]] = {}  # rows for which no layout was found yet
    for name in built:
        spec = get_reward_spec(name)
        is_loaded = not spec.is_external or is_user_function(name)  # models that judge are loaded later
        if not is_loaded or (spec.programs is not None and not is_first_of_run()):
            continue
        is_cheap = spec.answer_column is not None and spec.programs is None
        left[name] = rows[name] if is_cheap else spread(rows[name], 1 if spec.is_external else _NUM_COSTLY)
        trials[name] = Trial(name, len(left[name]))
    places = row_numbers(dataset)
    for layout in LAYOUTS:
        found = {
            (name, number): _miss(name, built[name], script_args, dataset[number], context, layout)
            for name, numbers in left.items()
            for number in numbers
        }
        failing = {number for (_, number), miss in found.items() if miss}
        for (name, number), miss in found.items():
            if miss:
                trials[name].misses.append(f"  {name}: {miss} (row {places[number]} from 0, {layout})")
            elif number not in failing and miss is None:
                trials[name].note_unjudged(dataset[number])
            elif number not in failing:
                trials[name].has_reached = True
        left = {name: [number for number in numbers if number in failing] for name, numbers in left.items()}
    return [*trials.values()]


def _miss(
    name: str, reward: Reward, script_args: TrainingScriptArguments, row: dict, context: RewardContext, layout: str
) -> str | None:
    """Return how a reward falls short on the perfect reply; "" where it doesn't, None where it can't judge the row."""
    spec, extra = get_reward_spec(name), {}
    if spec.programs is not None and spec.programs.unusable(row) is not None:
        return None
    # At least two of a user's function, to tell lists of the wrong length.
    given = _arguments(script_args, row, context, layout, max(2, context.num_generations) if spec.is_external else 1)
    try:
        value = run_reward(reward, **given | {"log_extra": extra.__setitem__})[0]
    except Exception as error:  # whatever the user's code raises, which is kept as the cause
        raise ValueError(
            f"The reward {name!r} in reward_funcs fails in a trial call on a row of the data ({raised_at(error)})."
        ) from error
    if spec.is_external:
        return ""
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
