# SPDX-License-Identifier: Apache-2.0
"""From a GRPO recipe to a pass-rate run: the same rows, prompts, template and rewards as the training would have."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import GenerationConfig, PreTrainedTokenizerBase, TrainerState

from open_r1.configs import DatasetConfig, ModelConfig
from open_r1.configs.rewards import CodeExecutionParameters, RewardParameters
from open_r1.curation.pass_rate.arguments import PassRateConfig, PassRateScriptArguments, sampling_of
from open_r1.curation.pass_rate.rates import Status
from open_r1.curation.pass_rate.run import PassRateRun
from open_r1.data.card import DataCard, Parent
from open_r1.data.sources import open_source, require_columns
from open_r1.data.training_rows import drop_null_rows, get_dataset, require_split, to_conversations
from open_r1.generation.vllm_here import VLLM_HERE
from open_r1.models import (
    completion_prefix,
    end_token_ids,
    find_model,
    get_tokenizer,
    prompt_token_ids,
    template_kwargs_of,
)
from open_r1.reward_models import load_reward_model
from open_r1.rewards import DOMAIN_COLUMN, RewardContext, get_reward_funcs, get_reward_spec, needed_columns
from open_r1.rewards.rows import check_domains, drop_unjudgeable_rows

logger = logging.getLogger(__name__)

SAMPLING_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_completion_length", "seed")
# Where and how fast programs run; their verdicts don't depend on it.
_ELSEWHERE = {
    "sandbox_router_url",
    "e2b_router_url",
    "morph_router_url",
    "sandbox_router_token_env",
    "sandbox_patience_s",
    "parallel_code_exec_per_proc",
}
_ROW = "pass_rate_row_number"
_RESERVED_NAMES = {"rewards", "status", "generations", "finish_reasons", "num_tokens"}

Render = Callable[[list[dict[str, Any]]], list[int]]


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


def prepare_pass_rate(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    model_args: ModelConfig,
    *,
    check_settings: Callable[..., int | None],
    check_rewards: Callable[..., None],
) -> PassRateRun:
    """Load rows and tokenizer and return what is to be run.

    Args:
        script_args: Data, rewards, and which rows are asked and kept.
        training_args: How completions are drawn.
        model_args: The model.
        check_settings: `preflight.check_grpo_settings`.
        check_rewards: `preflight.check_ideal_completion`; runs before a reward model loads.

    Raises:
        ValueError: Data, columns, rewards, template or lengths do not fit; the message says what to do.
    """
    model_args = replace(model_args, attn_implementation=None, load_in_4bit=False, load_in_8bit=False)
    limit = check_settings(script_args, training_args, model_args)
    tokenizer = get_tokenizer(model_args, training_args)
    template_kwargs = template_kwargs_of(training_args)
    render = partial(prompt_token_ids, tokenizer, template_kwargs=template_kwargs)
    max_prompt_tokens = _max_prompt_tokens(script_args, training_args, limit)
    found = _load_rows(script_args, training_args, render, max_prompt_tokens)
    context = RewardContext(
        num_generations=training_args.num_generations or 1,
        completion_prefix=completion_prefix(tokenizer, found.tried[0]["prompt"], template_kwargs),
        eos_token_ids=end_token_ids(tokenizer, _generation_config(model_args), training_args.generation_kwargs),
        max_completion_length=training_args.max_completion_length,
    )
    check_rewards(script_args, found.tried, tokenizer, context, template_kwargs=template_kwargs)
    return _build_run(script_args, training_args, model_args, tokenizer, found, context, render)


def _build_run(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    model_args: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    found: _Rows,
    context: RewardContext,
    render: Render,
) -> PassRateRun:
    load_model = partial(load_reward_model, training_args=training_args)
    rewards = get_reward_funcs(script_args, context, load_reward_model=load_model)
    names = _column_names([reward.__name__ for reward in rewards])
    bounded = script_args.pass_rate_reward
    places = {row: place for place, row in enumerate(found.numbers)}
    plain = found.rows.with_format("arrow")
    start, end = script_args.rows(len(plain))
    parents = _parents_of(script_args)
    asked = _asked_settings(script_args, training_args, model_args, tokenizer, parents)
    judged = _judged_settings(script_args, context)
    return PassRateRun(
        num_rows=len(plain),
        start=start,
        end=end,
        statuses={row: status for row, status in found.statuses.items() if start <= row < end},
        read_table=lambda first, last: plain[first:last],
        read_row=lambda row: found.prompts[places[row]],
        read_prompt_ids=lambda row: render(found.prompts[places[row]]["prompt"]),
        encode=lambda texts: tokenizer(list(texts), add_special_tokens=False)["input_ids"],
        eos_token_id=tokenizer.eos_token_id,
        rewards=dict(zip(names, rewards, strict=True)),
        weights=dict(zip(names, training_args.reward_weights or [1.0] * len(names), strict=True)),
        bounded_reward=None if bounded is None else names[script_args.reward_funcs.index(bounded)],
        bounds=(script_args.pass_rate_min, script_args.pass_rate_max),
        num_generations=training_args.num_generations or 1,
        sampling=sampling_of(training_args, context.eos_token_ids),
        asked=asked,
        judged=judged,
        card=_build_card(script_args, training_args, parents, asked, judged, len(plain)),
        given={"trainer_state": TrainerState()},
    )


def _max_prompt_tokens(
    script_args: PassRateScriptArguments, training_args: PassRateConfig, limit: int | None
) -> int | None:
    """Return the number of tokens that a prompt may have, None: any."""
    if script_args.max_model_len is None:
        return limit
    room = script_args.max_model_len - (training_args.max_completion_length or 0)
    if room <= 0:
        raise ValueError(
            f"`max_model_len` {script_args.max_model_len} leaves no room for a prompt beside `max_completion_length` "
            f"{training_args.max_completion_length}: raise it, or lower the other."
        )
    return min(room, limit or room)


def _load_rows(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    render: Render,
    max_prompt_tokens: int | None,
) -> _Rows:
    rows = require_split(get_dataset(script_args), str(script_args.dataset_split), "the pass rates")
    earlier = [column for column in rows.column_names if column.startswith("pass_rate")]
    if earlier:
        logger.warning("The rows have columns of an earlier run; those of the same names are replaced: %s.", earlier)
    start, end = script_args.rows(len(rows))
    usable, statuses = _usable_rows(rows, script_args)
    numbers = [row for row in usable if start <= row < end]
    tried = to_conversations(rows.select(numbers or usable[:1]), script_args, training_args.system_prompt)
    if max_prompt_tokens is None or not numbers:
        return _Rows(rows, numbers, tried, tried, statuses)
    lengths = [len(render(prompt)) for prompt in tried["prompt"]]
    kept = [place for place, length in enumerate(lengths) if length <= max_prompt_tokens]
    if len(kept) < len(numbers):
        logger.warning(
            "%d of %d prompts are longer than %d tokens and are not asked (the longest has %d).",
            len(numbers) - len(kept),
            len(numbers),
            max_prompt_tokens,
            max(lengths),
        )
    fitting = [numbers[place] for place in kept]
    statuses |= dict.fromkeys(set(numbers) - set(fitting), Status.TOO_LONG)
    prompts = tried.select(kept)
    return _Rows(rows, fitting, prompts, prompts if kept else tried, statuses)


def _usable_rows(rows: Dataset, script_args: PassRateScriptArguments) -> tuple[list[int], dict[int, Status]]:
    """Return the rows that can be asked and judged, and why the others can't."""
    split, prompt_column = str(script_args.dataset_split), script_args.dataset_prompt_column
    names, solution = script_args.reward_funcs, script_args.dataset_solution_column
    needed = [solution if column == "solution" else column for column in needed_columns(names)]
    where = f"split {split!r} (see `dataset_prompt_column`, `dataset_solution_column`; the rewards are {names})"
    require_columns(rows, [prompt_column, *needed], where)
    wanted = {prompt_column, DOMAIN_COLUMN, *needed}
    wanted |= {column for name in names for column in get_reward_spec(name).any_column}
    # Few columns, with numbers: the checks of the trainings drop rows, and here it is to be known which.
    index = rows.select_columns([column for column in rows.column_names if column in wanted])
    index = index.add_column(_ROW, list(range(len(rows))))
    with_prompt = drop_null_rows(index, [prompt_column], split)
    judgeable = with_prompt
    if solution != "solution" and solution in needed:
        judgeable = judgeable.rename_column(solution, "solution")
    judgeable = drop_unjudgeable_rows(judgeable, script_args, split)
    check_domains(judgeable, script_args, split, is_training=False)
    usable, asked = list(judgeable[_ROW]), set(with_prompt[_ROW])
    unusable = set(range(len(rows))) - set(usable)
    return usable, {row: Status.NO_GOLD if row in asked else Status.NO_PROMPT for row in sorted(unusable)}


def _generation_config(model_args: ModelConfig) -> GenerationConfig | None:
    name = find_model(model_args.model_name_or_path)
    try:
        return GenerationConfig.from_pretrained(name, revision=model_args.model_revision)
    except OSError:  # a model needs to have none
        return None


def _asked_settings(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    model_args: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    parents: list[Parent],
) -> dict[str, Any]:
    """Return what completions depend on, as a card has it."""
    return {
        "model": model_args.model_name_or_path,
        "model_revision": model_args.model_revision,
        "chat_template_sha256": _sha256(str(tokenizer.chat_template).encode()),
        "system_prompt": training_args.system_prompt,
        "dataset_layout": script_args.dataset_layout,
        "prompt_column": script_args.dataset_prompt_column,
        **{name: vars(training_args)[name] for name in SAMPLING_SETTINGS},
        "generation_kwargs": training_args.generation_kwargs or None,
        "chat_template_kwargs": training_args.chat_template_kwargs or None,
        "source": [parent.fingerprint for parent in parents],
    }


def _judged_settings(script_args: PassRateScriptArguments, context: RewardContext) -> dict[str, Any]:
    """Return what the rewards' values depend on, besides rows and completions."""
    parameters = (*fields(RewardParameters), *fields(CodeExecutionParameters))
    files = {name: Path(name.removeprefix("summary_only(").rpartition(":")[0]) for name in script_args.reward_funcs}
    return {
        "reward_funcs": script_args.reward_funcs,
        "reward_files": {
            name: _sha256(path.read_bytes()) for name, path in files.items() if path.suffix == ".py" and path.is_file()
        },
        "reward_parameters": {
            entry.name: vars(script_args)[entry.name] for entry in parameters if entry.name not in _ELSEWHERE
        },
        "solution_column": script_args.dataset_solution_column,
        "completion_prefix": context.completion_prefix,
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _parents_of(script_args: PassRateScriptArguments) -> list[Parent]:
    """Return the sources of the rows, with fingerprints of their present contents."""
    mixture: Any = script_args.dataset_mixture  # a dictionary, of which `__post_init__` has made a configuration
    whole = DatasetConfig(
        id=str(script_args.dataset_name),
        config=script_args.dataset_config,
        split=script_args.dataset_train_split,
        revision=script_args.dataset_revision,
    )
    parents = [
        open_source(
            entry.id, config=entry.config, split=entry.split, revision=entry.revision, seed=script_args.dataset_seed
        ).parent()
        for entry in ([whole] if mixture is None else mixture.datasets)
    ]
    if mixture is None:
        return parents
    # Weights and seed decide which rows are taken, and their order.
    text = _sha256(repr(asdict(mixture)).encode())
    return [replace(parent, fingerprint=f"{parent.fingerprint}-{text}") for parent in parents]


def _build_card(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    parents: list[Parent],
    asked: dict[str, Any],
    judged: dict[str, Any],
    num_rows: int,
) -> DataCard:
    return DataCard(
        name=f"Pass rates of {asked['model']}",
        settings={
            **asked,
            **judged,
            "reward_weights": training_args.reward_weights,
            "pass_rate_reward": script_args.pass_rate_reward,
            "bounds": [script_args.pass_rate_min, script_args.pass_rate_max],
            "num_generations": training_args.num_generations,
            "max_prompt_length": script_args.max_prompt_length,
            "max_model_len": script_args.max_model_len,
            "num_rows": num_rows,
            "rows": list(script_args.rows(num_rows)),
        },
        parents=parents,
        sampling={name: asked[name] for name in (*SAMPLING_SETTINGS, "generation_kwargs")}
        | {"num_generations": training_args.num_generations},
        teacher={
            "model": asked["model"],
            "revision": asked["model_revision"],
            "asked": script_args.server or VLLM_HERE,
        },
        notes=[
            "All rows stand in the configuration `default`, those within the bounds, without the texts of the "
            "completions, in `pass_rate`."
        ],
    )


def _column_names(keys: list[str]) -> list[str]:
    """Return short names of rewards for columns: `accuracy` of `accuracy_reward`."""
    short = [key.removesuffix("_reward") for key in keys]
    taken = Counter(short)
    return [
        name if taken[name] == 1 and name not in _RESERVED_NAMES and not name.startswith("rewards_") else key
        for name, key in zip(short, keys, strict=True)
    ]
