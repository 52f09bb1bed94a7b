# SPDX-License-Identifier: Apache-2.0
"""From a GRPO recipe to a pass-rate run: the same rows, prompts, template and rewards as the training would have."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from datasets import Dataset
from transformers import GenerationConfig, PreTrainedTokenizerBase, TrainerState
from trl import ModelConfig

from open_r1.curation.pass_rate import PassRateRun, Status
from open_r1.curation.pass_rate.publishing import added_columns
from open_r1.data.card import DataCard
from open_r1.data.loading import require_columns
from open_r1.data.training_rows import drop_null_rows, get_dataset, require_split, to_conversations
from open_r1.generation.offline import HERE
from open_r1.models import end_token_ids, find_model, get_tokenizer
from open_r1.preflight.domains import check_domains, drop_unjudgeable_rows
from open_r1.preflight.pass_rate_arguments import PassRateConfig, PassRateScriptArguments, sampling_of
from open_r1.preflight.pass_rate_settings import (
    ASKED_SETTINGS,
    JUDGED_SETTINGS,
    SAMPLING_SETTINGS,
    asked_settings,
    judged_settings,
    parents_of,
)
from open_r1.preflight.settings import check_grpo_settings
from open_r1.preflight.templates import check_ideal_completion, reward_context, template_kwargs_of
from open_r1.reward_models import load_reward_model
from open_r1.rewards import DOMAIN_COLUMN, RewardContext, get_reward_funcs, get_reward_spec, needed_columns

logger = logging.getLogger(__name__)

_ROW = "pass_rate_row_number"
_RESERVED_NAMES = {"rewards", "status", "generations", "finish_reasons", "num_tokens"}


def prepare_pass_rate(
    script_args: PassRateScriptArguments, training_args: PassRateConfig, model_args: ModelConfig
) -> PassRateRun:
    """Load rows and tokenizer, check that rewards can be earned, and return what is to be run.

    Raises:
        ValueError: Data, columns, rewards, template or lengths do not fit; the message says what to do.
    """
    model_args = replace(model_args, attn_implementation=None, load_in_4bit=False, load_in_8bit=False)
    max_prompt_tokens = _max_prompt_tokens(script_args, training_args, model_args)
    tokenizer = get_tokenizer(model_args, training_args)
    found = _load_rows(script_args, training_args, tokenizer, max_prompt_tokens)
    context = reward_context(tokenizer, found.tried, training_args)
    generation_config = _generation_config(model_args)
    end_ids = end_token_ids(tokenizer, generation_config, training_args.generation_kwargs)
    context = replace(context, eos_token_ids=end_ids)
    template_kwargs = template_kwargs_of(training_args)
    check_ideal_completion(script_args, found.tried, tokenizer, context, template_kwargs=template_kwargs)

    load_model = partial(load_reward_model, training_args=training_args)
    built = get_reward_funcs(script_args, context, load_reward_model=load_model)
    names = _column_names([reward.__name__ for reward in built])
    rows = found.rows
    _warn_of_replaced(rows, names)
    bounded = script_args.pass_rate_reward
    places = {row: place for place, row in enumerate(found.numbers)}
    plain = rows.with_format("arrow")
    start, end = script_args.rows(len(rows))
    card = _build_card(script_args, training_args, model_args, tokenizer, context, len(rows))
    asked = {name: card.settings[name] for name in ASKED_SETTINGS}
    judged = {name: card.settings[name] for name in JUDGED_SETTINGS}
    return PassRateRun(
        num_rows=len(rows),
        start=start,
        end=end,
        statuses={row: status for row, status in found.statuses.items() if start <= row < end},
        read_table=lambda first, last: plain[first:last],
        read_row=lambda row: found.prompts[places[row]],
        read_prompt_ids=lambda row: _render(tokenizer, found.prompts[places[row]]["prompt"], template_kwargs),
        encode=lambda texts: tokenizer(list(texts), add_special_tokens=False)["input_ids"],
        eos_token_id=tokenizer.eos_token_id,
        rewards=dict(zip(names, built, strict=True)),
        weights=dict(zip(names, training_args.reward_weights or [1.0] * len(names), strict=True)),
        bounded_reward=None if bounded is None else names[script_args.reward_funcs.index(bounded)],
        bounds=(script_args.pass_rate_min, script_args.pass_rate_max),
        num_generations=training_args.num_generations or 1,
        sampling=sampling_of(training_args, end_ids),
        asked=asked,
        judged=judged,
        card=card,
        given={"trainer_state": TrainerState()},
    )


@dataclass(frozen=True)
class _Rows:
    """Rows of a split.

    Attributes:
        rows: All.
        numbers: Those of this shard that are asked.
        prompts: The same, as conversations.
        tried: Some to try the rewards with; of other shards where this one has none.
        statuses: Why others can't be asked.
    """

    rows: Dataset
    numbers: list[int]
    prompts: Dataset
    tried: Dataset
    statuses: dict[int, Status]


def _load_rows(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int | None,
) -> _Rows:
    rows = require_split(get_dataset(script_args), str(script_args.dataset_split), "the pass rates")
    start, end = script_args.rows(len(rows))
    usable, statuses = _usable_rows(rows, script_args)
    numbers = [row for row in usable if start <= row < end]
    first = to_conversations(rows.select(usable[:1]), script_args, training_args.system_prompt)
    prompts = to_conversations(rows.select(numbers), script_args, training_args.system_prompt) if numbers else first
    numbers, prompts = _drop_long(
        numbers,
        prompts,
        lambda prompt: _render(tokenizer, prompt, template_kwargs_of(training_args)),
        max_prompt_tokens,
        statuses,
    )
    return _Rows(rows, numbers, prompts, prompts if numbers else first, statuses)


def _build_card(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    model_args: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    context: RewardContext,
    num_rows: int,
) -> DataCard:
    parents = parents_of(script_args)
    asked = asked_settings(script_args, training_args, model_args, tokenizer)
    settings = {
        **asked,
        "source": [parent.fingerprint for parent in parents],
        **judged_settings(script_args, context),
        "reward_weights": training_args.reward_weights,
        "pass_rate_reward": script_args.pass_rate_reward,
        "bounds": [script_args.pass_rate_min, script_args.pass_rate_max],
        "num_generations": training_args.num_generations,
        "max_prompt_length": script_args.max_prompt_length,
        "max_model_len": script_args.max_model_len,
        "num_rows": num_rows,
        "rows": list(script_args.rows(num_rows)),
    }
    return DataCard(
        name=f"Pass rates of {model_args.model_name_or_path}",
        settings=settings,
        parents=parents,
        sampling={name: asked[name] for name in (*SAMPLING_SETTINGS, "generation_kwargs")}
        | {"num_generations": training_args.num_generations},
        teacher={
            "model": model_args.model_name_or_path,
            "revision": model_args.model_revision,
            "asked": script_args.server or HERE,
        },
        notes=[
            "All rows stand in the configuration `default`, those within the bounds, without the texts of the "
            "completions, in `pass_rate`."
        ],
    )


def _max_prompt_tokens(
    script_args: PassRateScriptArguments, training_args: PassRateConfig, model_args: ModelConfig
) -> int | None:
    """Check the settings; return the number of tokens that a prompt may have, None: any."""
    limit = check_grpo_settings(script_args, training_args, model_args)
    if script_args.max_model_len is None:
        return limit
    room = script_args.max_model_len - (training_args.max_completion_length or 0)
    if room <= 0:
        raise ValueError(
            f"`max_model_len` {script_args.max_model_len} leaves no room for a prompt beside `max_completion_length` "
            f"{training_args.max_completion_length}: raise it, or lower the other."
        )
    return min(room, limit or room)


def _usable_rows(rows: Dataset, script_args: PassRateScriptArguments) -> tuple[list[int], dict[int, Status]]:
    """Return the rows that can be asked and judged, and why the others can't."""
    split, prompt_column = str(script_args.dataset_split), script_args.dataset_prompt_column
    names = script_args.reward_funcs
    solution = script_args.dataset_solution_column
    needed = [solution if column == "solution" else column for column in needed_columns(names)]
    require_columns(rows, [prompt_column], f"split {split!r} (set `dataset_prompt_column`)")
    require_columns(
        rows,
        needed,
        f"split {split!r}, needed by the rewards {names} (`dataset_solution_column` names the gold answers)",
    )
    wanted = {prompt_column, solution, DOMAIN_COLUMN, *needed}
    wanted |= {column for name in names for column in get_reward_spec(name).any_column}
    # Few columns, with numbers: the checks of the trainings drop rows, and here it is to be known which.
    index = rows.select_columns([column for column in rows.column_names if column in wanted])
    index = index.add_column(_ROW, list(range(len(rows))))
    with_prompt = drop_null_rows(index, [prompt_column], split)
    judgeable = with_prompt
    if solution != "solution" and solution in judgeable.column_names:
        if "solution" in judgeable.column_names:
            judgeable = judgeable.remove_columns("solution")
        judgeable = judgeable.rename_column(solution, "solution")
    judgeable = drop_unjudgeable_rows(judgeable, script_args, split)
    check_domains(judgeable, script_args, split, is_training=False)
    usable, asked = list(judgeable[_ROW]), set(with_prompt[_ROW])
    left = set(usable)
    statuses = {
        row: Status.NO_GOLD if row in asked else Status.NO_PROMPT for row in range(len(rows)) if row not in left
    }
    return usable, statuses


def _drop_long(
    numbers: list[int],
    prompts: Dataset,
    render: Callable[[list[dict[str, Any]]], list[int]],
    max_prompt_tokens: int | None,
    statuses: dict[int, Status],
) -> tuple[list[int], Dataset]:
    """Return numbers and rows of the prompts that fit; note the others."""
    if max_prompt_tokens is None or not numbers:
        return numbers, prompts
    lengths = [len(render(prompt)) for prompt in prompts["prompt"]]
    kept = [place for place, length in enumerate(lengths) if length <= max_prompt_tokens]
    if len(kept) == len(numbers):
        return numbers, prompts
    statuses.update((numbers[place], Status.TOO_LONG) for place in set(range(len(numbers))) - set(kept))
    logger.warning(
        "%d of %d prompts are longer than %d tokens and are not asked (the longest has %d).",
        len(numbers) - len(kept),
        len(numbers),
        max_prompt_tokens,
        max(lengths),
    )
    return [numbers[place] for place in kept], prompts.select(kept)


def _render(
    tokenizer: PreTrainedTokenizerBase, prompt: list[dict[str, Any]], template_kwargs: Mapping[str, Any]
) -> list[int]:
    return tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=False, **template_kwargs
    )


def _generation_config(model_args: ModelConfig) -> GenerationConfig | None:
    name = find_model(model_args.model_name_or_path)
    try:
        return GenerationConfig.from_pretrained(name, revision=model_args.model_revision)
    except OSError:  # a model needs to have none
        return None


def _column_names(keys: list[str]) -> list[str]:
    """Return short names of rewards for columns: `accuracy` of `accuracy_reward`."""
    short = [key.removesuffix("_reward") for key in keys]
    taken = Counter(short)
    return [
        name if taken[name] == 1 and name not in _RESERVED_NAMES and not name.startswith("rewards_") else key
        for name, key in zip(short, keys, strict=True)
    ]


def _warn_of_replaced(rows: Dataset, names: list[str]) -> None:
    replaced = [column for column in added_columns(names) if column in rows.column_names]
    if replaced:
        logger.warning("The rows have columns of an earlier pass-rate run, which this one replaces: %s.", replaced)
    left = [column for column in rows.column_names if column.startswith("pass_rate") and column not in replaced]
    if left:
        logger.warning("The rows keep columns of an earlier pass-rate run with other rewards: %s.", left)
