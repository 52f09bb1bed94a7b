# SPDX-License-Identifier: Apache-2.0
"""Does the chat template let a perfect completion earn the maximum of every reward?

The commonest trap of the field: a template that opens `<think>` itself, so that no completion ever holds the tag that
the format reward looks for.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTScriptArguments
from open_r1.preflight.functions import try_user_functions
from open_r1.preflight.programs import check_tests_of_rows, explain_wrong_programs, is_unusable, is_wrong_program
from open_r1.preflight.sandboxes import check_sandboxes, is_first_of_run
from open_r1.rewards import (
    DOMAIN_COLUMN,
    IdealScore,
    RewardContext,
    RewardSpec,
    conflicting_layouts,
    get_reward_spec,
    is_unscorable,
    names_for_domain,
    reward_domains_of,
    score_ideal,
)

logger = logging.getLogger(__name__)

_NUM_ROWS_TRIED = 16
_NUM_ROWS_SEARCHED = 64
# Gold programs may take minutes: after so many seconds no further row is tried.
_MAX_SECONDS = 120.0


def completion_prefix(
    tokenizer: PreTrainedTokenizerBase, prompt: list[dict], template_kwargs: Mapping[str, Any] | None = None
) -> str:
    """Return the text that the generation prompt opens for the assistant, from `<think>` on; "" without one.

    Args:
        tokenizer: Has the template.
        prompt: A conversation.
        template_kwargs: What else the template is given: `chat_template_kwargs` of a training.
    """
    given = template_kwargs or {}
    rendered = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **given)
    last = prompt[-1]["content"]
    after_prompt = rendered[rendered.rfind(last) + len(last) :] if isinstance(last, str) else rendered
    start = after_prompt.rfind("<think>")
    return after_prompt[start:] if start >= 0 else ""


def template_kwargs_of(training_args: GRPOConfig) -> dict[str, Any]:
    """Return what a training gives the chat template beside a conversation."""
    given: Any = training_args.chat_template_kwargs  # typed as text too, of which TRL has made a dictionary
    return given or {}


def reward_context(tokenizer: PreTrainedTokenizerBase, dataset: Dataset, training_args: GRPOConfig) -> RewardContext:
    """Return what rewards need to know of the run and TRL does not pass."""
    return RewardContext(
        num_generations=training_args.num_generations or 1,
        completion_prefix=completion_prefix(tokenizer, dataset[0]["prompt"], template_kwargs_of(training_args)),
        eos_token_ids=(tokenizer.eos_token_id,),
        max_completion_length=training_args.max_completion_length,
    )


def check_ideal_completion(
    script_args: GRPOScriptArguments | SFTScriptArguments,
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
    row = dataset[0]
    given = template_kwargs or {}
    rendered = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False, **given)
    logger.info("The first prompt is rendered as:\n%s", rendered)
    if context.completion_prefix:
        logger.info("The template opens the completion with %r; rewards score with it.", context.completion_prefix)
    try_user_functions(script_args, dataset, context)
    if is_first_of_run():
        check_tests_of_rows(script_args, dataset)
    check_sandboxes(script_args, dataset)
    domains = {domain for listed in reward_domains_of(script_args).values() for domain in listed}
    missed, unjudged = _score_rows(script_args, dataset, context, _rows_to_try(dataset, domains))
    lost = sorted(name for name, (_, score) in missed.items() if is_unscorable(score.reward))
    if lost:
        raise ValueError(
            f"Right answers of the data could not be judged by {', '.join(lost)}, because what judges them failed "
            "every time: the warnings above say why. Nothing could be learned before that is mended."
        )
    if missed and all(is_wrong_program(score) for _, score in missed.values()):
        raise ValueError(
            "On every row tried, the row's own program doesn't earn the full reward:\n"
            + "\n".join(explain_wrong_programs(missed.values()))
            + "\nCorrect the programs of such rows or their tests, or the limits of a test."
        )
    if missed:
        lines = explain_wrong_programs(missed.values())
        others = [score for _, score in missed.values() if not is_wrong_program(score)]
        lines += [f"  {s.name}: {s.reward} instead of {s.expected} ({s.reason})" for s in others]
        lines += _explain_conflicts(script_args, domains)
        raise ValueError(
            "Even an ideal completion cannot earn the configured rewards, so nothing could be learned from them:\n"
            + "\n".join(lines)
            + f"\nThe prompt ends with {rendered[-80:]!r}. Make chat template, system prompt and rewards agree."
        )
    for name in sorted(unjudged):
        _require_judgeable_row(name, script_args, dataset, context)


def _score_rows(
    script_args: GRPOScriptArguments | SFTScriptArguments, dataset: Dataset, context: RewardContext, numbers: list[int]
) -> tuple[dict[str, tuple[int, IdealScore]], set[str]]:
    """Score rows until each reward has given one what it should; return the scores missed, the rewards not tried.

    The scores missed come with the number of their row.
    """
    # Programs are run once for the whole run; the rest costs less than to ask whether it was done.
    names = {name for name in script_args.reward_funcs if is_first_of_run() or get_reward_spec(name).sandbox is None}
    ends_at = time.monotonic() + _MAX_SECONDS
    reached: set[str] = set()
    missed: dict[str, tuple[int, IdealScore]] = {}
    unjudged: set[str] = set()
    for number in numbers:
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
        if reached >= names:
            return {}, set()
        if time.monotonic() > ends_at:
            break
    return {name: score for name, score in missed.items() if name not in reached}, unjudged - reached


def _require_judgeable_row(
    name: str, script_args: GRPOScriptArguments | SFTScriptArguments, dataset: Dataset, context: RewardContext
) -> None:
    """Refuse a reward that gives None for the ideal completion of rows from all over the data.

    A reward that reads no columns of the data is only warned of: it may have a reason that other completions don't.
    """
    spec = get_reward_spec(name)
    columns = [column for column in (*spec.columns, *spec.any_column) if column in dataset.column_names]
    if not columns:
        logger.warning("The reward %s doesn't judge the ideal completion of any row tried.", name)
        return
    domains = reward_domains_of(script_args).get(name)
    read = dataset.select_columns([*columns, DOMAIN_COLUMN] if domains and DOMAIN_COLUMN not in columns else columns)
    numbers = [
        number
        for number, row in enumerate(read)
        if (domains is None or row[DOMAIN_COLUMN] in domains) and _is_filled(row, spec)
    ]
    spread = numbers[:: max(1, len(numbers) // _NUM_ROWS_SEARCHED)]
    spread = [number for number in spread if not is_unusable(spec, dataset[number])]
    scores = (score for number in spread for score in score_ideal(script_args, dataset[number], context, names={name}))
    if any(score.reward is not None for score in scores):
        return
    tried = f"none of {len(spread)} rows tried of {len(numbers)}" if numbers else "no row"
    present = Counter(dataset[DOMAIN_COLUMN]) if DOMAIN_COLUMN in dataset.column_names else {}
    raise ValueError(
        f"The reward {name!r} judges {tried}: it reads {columns} and gives None where these are empty or can't be "
        f"judged. Rows by domain: {dict(present) or 'there is no such column'}. Correct the columns, or take the "
        "reward out."
    )


def _is_filled(row: dict, spec: RewardSpec) -> bool:
    """Whether a row has what a reward reads, as far as the data has the columns at all."""
    of_these = [row[column] is not None for column in spec.any_column if column in row]
    return all(row[column] is not None for column in spec.columns if column in row) and (not of_these or any(of_these))


def _rows_to_try(dataset: Dataset, domains: set[str]) -> list[int]:
    """Return the numbers of the first rows, in turn of each of the domains and of all others."""
    by_domain: dict[object, list[int]] = {}
    names = dataset[DOMAIN_COLUMN] if domains else [None] * len(dataset)
    for number, domain in enumerate(names):
        by_domain.setdefault(domain if domain in domains else None, []).append(number)
    # Mostly one row of each is enough.
    rounds = zip_longest(*(numbers[:_NUM_ROWS_TRIED] for numbers in by_domain.values()))
    return [number for numbers in rounds for number in numbers if number is not None]


def _explain_conflicts(script_args: GRPOScriptArguments | SFTScriptArguments, domains: set[str]) -> list[str]:
    """Return a line for every set of rewards that judge the same rows and accept no layout in common."""
    lines = {}
    for domain in (None, *sorted(domains)):
        wanted = conflicting_layouts(names_for_domain(script_args, domain), script_args)
        sides = "; ".join(f"{name} wants {layouts}" for name, layouts in wanted.items())
        if sides:
            lines[f"These rewards contradict each other, drop one side: {sides}."] = None
    return list(lines)
