# SPDX-License-Identifier: Apache-2.0
"""Can the configured rewards be earned? Each one scores a perfect completion before a model loads.

The commonest trap of the field: a template that opens `<think>` itself, so that no completion ever holds the tag that
the format reward looks for.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerState

from open_r1.configs.training import TrainingScriptArguments
from open_r1.preflight.programs import check_sandboxes, check_tests_of_rows, is_first_of_run, is_unusable, spread
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
_NAMES_OF_TRL = ("prompt", "prompts", "completion", "completions", "completion_ids")

# Rewards by their names in `reward_funcs`.
Rewards = Mapping[str, Reward]


@dataclass(frozen=True)
class Score:
    """What a reward gave the perfect reply to a row.

    Attributes:
        name: In `reward_funcs`.
        number: Of the row.
        layout: A key of `LAYOUTS`.
        reward: None where it couldn't judge the row.
        least: What it had to give; None where the reply proves nothing.
        verdicts: Of the tests, where it ran a program: `AC, WA x2`, `no_program`.
    """

    name: str
    number: int
    layout: str
    reward: float | None
    least: float | None
    verdicts: str = ""

    @property
    def is_reached(self) -> bool:
        """Whether the reward can be reached, or nothing was to be proven."""
        return self.least is None or (self.reward is not None and self.reward >= self.least - 1e-6)

    @property
    def is_wrong_program(self) -> bool:
        """Whether the row's own program was run and failed, so that template and layout aren't to blame."""
        return self.verdicts not in ("", "no_program")


def check_ideal_completion(
    rewards: Sequence[Reward],
    script_args: TrainingScriptArguments,
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    context: RewardContext,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Score a perfect reply to the first rows with every reward; log the first rendered prompt.

    Args:
        rewards: Those of `script_args.reward_funcs`; of reward models only the names matter.
        script_args: Of the run.
        dataset: Its prompts.
        tokenizer: Renders them.
        context: What the rewards were built with.
        template_kwargs: What else the template is given.

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
    _try_user_functions(built, script_args, dataset, context)
    if is_first_of_run():
        check_tests_of_rows(script_args, dataset)
    check_sandboxes(script_args, dataset)
    missed, unjudged = _score_rows(built, script_args, dataset, context)
    if missed:
        lines = list(dict.fromkeys(map(_explain, missed)))
        if not all(is_unscorable(score.reward) or score.is_wrong_program for score in missed):
            lines.append(
                f"The prompt ends with {rendered[-80:]!r}. Make chat template, system prompt and rewards agree; of "
                "rewards that want different layouts drop one side."
            )
        raise ValueError(
            "Even an ideal completion cannot earn the configured rewards, so nothing could be learned from them:\n"
            + "\n".join(lines)
        )
    for name in sorted(unjudged):
        _require_judgeable_row(name, built, script_args, dataset, context)
    if is_first_of_run():
        warn_of_unjudgeable(script_args, dataset)


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


def _try_user_functions(
    built: Rewards, script_args: TrainingScriptArguments, dataset: Dataset, context: RewardContext
) -> None:
    """Call every function of the user's once, as the trainer will, on a group of perfect replies to one row.

    Raises:
        ValueError: One of them fails, or returns anything but a number or None for each completion.
    """
    for name in filter(is_user_function, built):
        numbers = rows_judged_by(name, dataset, script_args)
        if not numbers:  # an evaluation may leave a domain out
            continue
        row = dataset[numbers[0]]
        size = max(2, context.num_generations)  # at least two, to tell lists of the wrong length
        group = _arguments(script_args, row, context, next(iter(LAYOUTS)), size)
        try:
            values = run_reward(built[name], prompts=[row["prompt"]] * size, **group)
        except Exception as error:  # whatever the user's code raises, which is kept as the cause
            raise ValueError(
                f"The reward {name!r} in reward_funcs fails in a trial call on a row of the data "
                f"({type(error).__name__}: {error})."
            ) from error
        logger.info("The reward %s gives a group of ideal completions %s.", name, values)


def _score_reply(
    built: Rewards,
    names: Collection[str],
    script_args: TrainingScriptArguments,
    dataset: Dataset,
    number: int,
    context: RewardContext,
    layout: str = next(iter(LAYOUTS)),
) -> list[Score]:
    """Score the perfect reply to a row with the rewards of these names that judge its domain.

    Rewards from outside the table are not tried, since nothing is known of their values.
    """
    row, scores = dataset[number], []
    given = _arguments(script_args, row, context, layout, 1)
    for name in names_for_domain(script_args, row.get(DOMAIN_COLUMN)):
        spec, extra = get_reward_spec(name), {}
        if name not in names or spec.is_external:
            continue
        reward = run_reward(built[name], **given | {"log_extra": extra.__setitem__})[0]
        # A gold that can't be judged, and a row without one, prove nothing.
        is_proof = reward is not None and (spec.answer_column is None or spec.answer_of(row) is not None)
        verdicts = "" if spec.programs is None else next((str(values[0]) for values in extra.values()), "")
        least = spec.least(script_args) if is_proof or is_unscorable(reward) else None
        scores.append(Score(name, number, layout, reward, least, verdicts))
    return scores


def _score_rows(
    built: Rewards, script_args: TrainingScriptArguments, dataset: Dataset, context: RewardContext
) -> tuple[list[Score], set[str]]:
    """Score replies to rows until each reward has given one what it should; one layout must do for all of a row.

    Returns:
        The scores of the rewards that didn't, in every layout; and the names of those that judged no row.
    """
    specs = {name: spec for name in built if not (spec := get_reward_spec(name)).is_external}
    # Programs are run once for the whole run; the rest costs less than to ask whether it was done.
    programs = {name for name, spec in specs.items() if spec.programs is not None}
    others = specs.keys() - programs
    programs = programs if is_first_of_run() else set()
    ends_at = time.monotonic() + _MAX_SECONDS
    reached: set[str] = set()
    unjudged: set[str] = set()
    missed: dict[str, list[Score]] = {}
    for number in _rows_to_try(script_args, dataset):
        unusable = {name for name in programs if is_unusable(specs[name], dataset[number])}
        scores = _score_reply(built, programs - reached - unusable, script_args, dataset, number, context)
        tries: list[list[Score]] = []
        for layout in LAYOUTS:
            tries.append(_score_reply(built, others, script_args, dataset, number, context, layout))
            if all(score.is_reached for score in tries[-1]):
                tries = tries[-1:]
                break
        scores += [score for found in tries for score in found]
        misses: dict[str, list[Score]] = {}
        for score in scores:
            if not score.is_reached:
                misses.setdefault(score.name, []).append(score)
        reached |= {score.name for score in scores if score.reward is not None} - misses.keys()
        unjudged |= unusable | {score.name for score in scores if score.reward is None}
        for name, found in misses.items():
            if name not in missed or is_unscorable(missed[name][0].reward):
                missed[name] = found
        if reached >= programs | others or time.monotonic() > ends_at:
            break
    return [score for name, found in missed.items() if name not in reached for score in found], unjudged - reached


def _rows_to_try(script_args: TrainingScriptArguments, dataset: Dataset) -> list[int]:
    """Return the numbers of the first rows, in turn of each of the domains and of all others."""
    domains = listed_domains(script_args)
    by_domain: dict[object, list[int]] = {}
    for number, domain in enumerate(dataset[DOMAIN_COLUMN] if domains else [None] * len(dataset)):
        by_domain.setdefault(domain if domain in domains else None, []).append(number)
    # Mostly one row of each is enough.
    rounds = zip_longest(*(numbers[:_NUM_ROWS_TRIED] for numbers in by_domain.values()))
    return [number for numbers in rounds for number in numbers if number is not None]


def _explain(score: Score) -> str:
    """Return a line of what a reward gave the perfect reply to a row, and why."""
    earned = f"  {score.name}: {score.reward} instead of {score.least}"
    if is_unscorable(score.reward):
        return f"  {score.name}: what judges it failed on every row tried; the warnings above say why"
    if score.is_wrong_program:
        column = get_reward_spec(score.name).answer_column
        return (
            f"{earned} for the program in {column} of row {score.number} itself; verdicts: {score.verdicts}. Correct "
            "the programs of such rows or their tests, or the limits of a test."
        )
    return f"{earned}, with {score.layout}"


def _require_judgeable_row(
    name: str, built: Rewards, script_args: TrainingScriptArguments, dataset: Dataset, context: RewardContext
) -> None:
    """Refuse a reward that gives None for the perfect reply to rows from all over the data.

    A reward that reads no columns of the data is only warned of: it may have a reason that other completions don't.
    """
    spec = get_reward_spec(name)
    columns = [column for column in (*spec.columns, *spec.any_column) if column in dataset.column_names]
    if not columns:
        logger.warning("The reward %s doesn't judge the ideal completion of any row tried.", name)
        return
    rows = dataset.select_columns(columns)
    filled = {
        number
        for number, row in enumerate(rows)
        if all(row[column] is not None for column in spec.columns if column in row)
        and (not spec.any_column or any(row.get(column) is not None for column in spec.any_column))
    }
    numbers = [number for number in rows_judged_by(name, dataset, script_args) if number in filled]
    tried = [number for number in spread(numbers, _NUM_ROWS_SEARCHED) if not is_unusable(spec, dataset[number])]
    scores = (
        score for number in tried for score in _score_reply(built, {name}, script_args, dataset, number, context)
    )
    if any(score.reward is not None for score in scores):
        return
    raise ValueError(
        f"The reward {name!r} judges none of {len(tried)} rows tried: it reads {columns}, which {len(numbers)} of its "
        "rows have, and gives None where these can't be judged. Correct the columns, or take the reward out."
    )


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
    specs = {name: get_reward_spec(name) for name in script_args.reward_funcs}
    built = {name: spec.build(script_args, context) for name, spec in specs.items() if not spec.is_external}
    for number in spread(range(len(dataset)), num_rows):
        row = dataset[number]
        for name in names_for_domain(script_args, row.get(DOMAIN_COLUMN)):
            spec = get_reward_spec(name)
            if not (with_tests if spec.programs is not None else spec.answer_column):
                continue
            unjudged = found.setdefault(name, UnjudgedGolds())
            unjudged.num_tried += 1
            if spec.programs is not None:
                reason = spec.programs.unusable(row)
                if reason is not None:
                    unjudged.by_kind.setdefault("tests", []).append(str(reason)[:_MAX_EXAMPLE_CHARS])
            elif any(
                score.reward is None for score in _score_reply(built, {name}, script_args, dataset, number, context)
            ):
                gold = spec.answer_of(row)
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
