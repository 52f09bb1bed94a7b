# SPDX-License-Identifier: Apache-2.0
"""GRPO recipe as a pass-rate run: rows, prompts, template, sampling and rewards as the training would have them.

    script_args, training_args, model_args = parse_args(PassRateScriptArguments, PassRateConfig, ["--config", recipe])
    run = prepare_pass_rate(script_args, training_args, model_args, check_settings=..., check_rewards=...)

Settings that only a training reads (precision, batches, vLLM's mode, trackers, pushes) have no effect here, so that a
recipe for eight GPUs can ask a server from a machine without any.
"""

import hashlib
import logging
import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerState

from open_r1.configs import DatasetConfig, GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.configs.fields import setting
from open_r1.configs.rewards import CodeExecutionParameters, RewardParameters
from open_r1.curation.parts import rows_of_part
from open_r1.curation.pass_rate import PassRateRun, Status
from open_r1.data.card import DataCard, Parent
from open_r1.data.sources import open_source, require_columns
from open_r1.data.training_rows import drop_null_rows, get_dataset, require_split, to_conversations
from open_r1.generation import driver
from open_r1.generation.client import Client, Patience, ServedModel
from open_r1.generation.driver import Outcome
from open_r1.generation.journal import Journal
from open_r1.generation.messages import AskOne, Sampling
from open_r1.generation.servers import VllmServer
from open_r1.generation.vllm_here import VLLM_HERE, VllmHere, VllmModel
from open_r1.models import (
    completion_prefix,
    end_token_ids,
    find_model,
    get_generation_config,
    get_tokenizer,
    prompt_token_ids,
    template_kwargs_of,
)
from open_r1.reward_models import RewardModels
from open_r1.rewards import DOMAIN_COLUMN, RewardContext, get_reward_funcs, get_reward_spec, needed_columns
from open_r1.rewards.rows import check_domains, drop_unjudgeable_rows

logger = logging.getLogger(__name__)

# Settings that only a training reads, as they do no harm on a machine without an accelerator.
_NOT_READ: dict[str, Any] = {
    "use_cpu": True, "bf16": False, "fp16": False, "tf32": None, "use_vllm": False, "use_liger_kernel": False,
    "torch_compile": False, "gradient_checkpointing": False, "deepspeed": None, "fsdp": None, "fsdp_config": None,
    "parallelism_config": None, "do_eval": False, "eval_strategy": "no", "eval_greedy": False, "save_strategy": "no",
    "load_best_model_at_end": False, "push_to_hub": False, "push_to_hub_revision": False, "report_to": "none",
    "benchmarks": [], "callbacks": [], "stages": None,
}  # fmt: skip
# What `generation_kwargs` may hold: names that vLLM's SamplingParams and its server share; fields of `Sampling` first.
_OF_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "stop")
_OF_BODY = ("repetition_penalty", "presence_penalty", "frequency_penalty", "stop_token_ids", "min_tokens",
            "ignore_eos", "bad_words", "include_stop_str_in_output", "logit_bias", "allowed_token_ids",
            "skip_special_tokens", "spaces_between_special_tokens")  # fmt: skip
_SAMPLING_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_completion_length", "seed")
# Where and how fast programs run; their verdicts don't depend on it.
_ELSEWHERE = {"sandbox_router_url", "e2b_router_url", "morph_router_url", "sandbox_router_token_env",
              "sandbox_patience_s", "parallel_code_exec_per_proc"}  # fmt: skip
_ROW = "pass_rate_row_number"
_RESERVED_NAMES = {"rewards", "status", "generations", "finish_reasons", "num_tokens"}


@dataclass
class PassRateScriptArguments(GRPOScriptArguments):
    """Which rows are asked, by whom, and which are kept; all may stand in the recipe."""

    output_dataset_name: str | None = setting(
        None,
        "Name of the data set on the hub (for --push_to_hub); without --output_dir its last part names "
        "the folder below data/. Default: <dataset>-<model>-<revision>-gen.",
    )
    pass_rate_min: float = setting(0.1, "Keep rows with at least this pass rate.")
    pass_rate_max: float = setting(0.9, "Keep rows with at most this pass rate.")
    pass_rate_reward: str | None = setting(
        None,
        "The reward that the bounds act on, as `reward_funcs` names it; default: all, combined by "
        "`reward_weights` as in training.",
    )
    dataset_start_index: int | None = setting(None, "First row of this part, from 0.", aliases=["--start"])
    dataset_end_index: int | None = setting(None, "Row behind the last one of this part.", aliases=["--end"])
    dataset_shard: str | None = setting(
        None,
        "I/N: one of N equal parts, in place of --start and --end: 0/8 is the first of eight.",
        aliases=["--shard"],
    )
    dataset_split: str | None = setting(
        None, "Split, or slice of one, to ask; default: the recipe's `dataset_train_split` (train)."
    )
    server: list[str] | None = setting(
        None,
        "OpenAI-compatible servers that complete token ids (vllm serve), host:port or URL, several are "
        "balanced. Default: vLLM in this process.",
    )
    serve: bool = setting(False, "Start `vllm serve` here (from .venv-serving, if need be), and stop it.")
    serve_args: str = setting("", "With `serve`: more arguments for vLLM, as one text: '--max-num-seqs 512'.")
    server_model: str | None = setting(
        None, "Name under which the servers serve the model; default: the one they serve."
    )
    server_api_key_env: str = setting("OPENAI_API_KEY", "Environment variable with the key of the servers, if any.")
    max_concurrent: int = setting(256, "Requests in flight, to all servers or within vLLM in this process.")
    retries: int = setting(9, "How often a failed request is sent to the servers again.")
    gpu_memory_utilization: float = setting(
        0.9, "vLLM here, served or in this process: share of the GPU's memory, in (0, 1]."
    )
    tensor_parallel_size: int = setting(1, "vLLM here: GPUs for one model.")
    max_model_len: int | None = setting(
        None, "Tokens of prompt and completion together; longer prompts aren't asked. Default: the model's."
    )
    enforce_eager: bool = setting(False, "vLLM here: start sooner, without compiling.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pass_rate_min <= self.pass_rate_max:
            raise ValueError(
                f"`pass_rate_min` {self.pass_rate_min} is above `pass_rate_max` {self.pass_rate_max}: no row could be "
                "kept."
            )
        if self.serve and self.server is not None:
            raise ValueError("`serve` starts a server here, and `server` names others: leave one of them out.")
        self.dataset_train_split = self.dataset_split = self.dataset_split or self.dataset_train_split
        if self.pass_rate_reward is not None and self.pass_rate_reward not in self.reward_funcs:
            raise ValueError(
                f"`pass_rate_reward` is {self.pass_rate_reward!r}: it must be one of `reward_funcs` "
                f"{self.reward_funcs}."
            )

    def part_of(self, num_rows: int) -> tuple[int, int]:
        """Return the first row to ask, and the row behind the last one."""
        return rows_of_part(self.dataset_shard, self.dataset_start_index, self.dataset_end_index, num_rows)


@dataclass
class PassRateConfig(GRPOConfig):
    """A recipe's training settings, those put aside that a pass-rate run doesn't read."""

    def __post_init__(self) -> None:
        num_generations = self.num_generations or 1
        if self.max_completion_length is None:
            raise ValueError("`max_completion_length` is null: set it, since servers would stop after 16 tokens.")
        if self.check_only:
            raise ValueError("`check_only` checks a training: give it to grpo.py.")
        for name, value in _NOT_READ.items():
            setattr(self, name, value)
        # One group a batch, whatever the batches of the training are; TRL wants two completions at least.
        self.num_generations = self.per_device_train_batch_size = max(2, num_generations)
        self.gradient_accumulation_steps, self.steps_per_generation = 1, None
        self.generation_batch_size = self.num_generations_eval = None
        super().__post_init__()
        self.num_generations = num_generations
        if self.stop_strings:
            given: Any = self.generation_kwargs or {}
            own = given.get("stop") or []
            stop = [*([own] if isinstance(own, str) else own), *self.stop_strings]
            # Rewards see the text that has ended a completion, as in the training.
            self.generation_kwargs = {"include_stop_str_in_output": True, **given, "stop": stop}


def ask_model(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    model_args: ModelConfig,
    run: PassRateRun,
    journal: Journal,
) -> Outcome:
    """Ask servers, a `vllm serve` that is started for it, or vLLM in this process for what the journal doesn't have.

    Raises:
        ServersDownError: No server starts or answers, or requests fail one after the other.
    """
    model = VllmModel(
        find_model(model_args.model_name_or_path),
        model_args.model_revision,
        model_args.dtype or "auto",
        training_args.trust_remote_code,
        script_args.tensor_parallel_size,
        script_args.gpu_memory_utilization,
        script_args.max_model_len,
        script_args.enforce_eager,
    )

    async def ask(ask_one: AskOne) -> Outcome:
        total = sum(1 for _ in run.names())
        return await driver.ask(
            run.requests(), ask_one, journal, max_concurrent=script_args.max_concurrent, total=total
        )

    async def ask_servers(addresses: Sequence[str], name: str | None, *, is_ours: bool) -> Outcome:
        key = os.environ.get(script_args.server_api_key_env)
        async with Client(addresses, model=name, api_key=key, patience=Patience(script_args.retries)) as client:
            served = await client.find_model(max_tokens=run.sampling.max_tokens)
            if run.card.teacher is not None:
                run.card.teacher["served_as"] = [served.name]
            if not is_ours and name is None:
                _warn_of_another(str(model_args.model_name_or_path), served)
            return await ask(client.ask_one)

    if script_args.server is not None:
        outcome = driver.run(ask_servers(script_args.server, script_args.server_model, is_ours=False))
    elif script_args.serve:
        args = [*model.serve_args(), *shlex.split(script_args.serve_args)]
        with VllmServer(model.name, args=args, log_path=journal.path.with_name("vllm.log")) as server:
            outcome = driver.run(ask_servers([server.url], server.model, is_ours=True))
    else:
        outcome = driver.run(ask(VllmHere(model).ask_one))
    logger.info(
        "%d completions, %d tokens; %d reached their limit.",
        outcome.done,
        outcome.completion_tokens,
        outcome.truncated,
    )
    if outcome.failed:
        logger.warning("%d requests failed, the last with: %s.", outcome.failed, outcome.last_error)
    return outcome


def _warn_of_another(model: str, served: ServedModel) -> None:
    """Warn when a server serves under a name that isn't the model's: it may be another one."""
    if not {model, str(Path(model).expanduser().resolve())} & {served.name, *served.roots}:
        logger.warning(
            "The servers serve %r (%s), but `model_name_or_path` is %r, whose tokens and template are sent: make sure "
            "that it is the same model, and say so by --server_model %s.",
            served.name,
            ", ".join(served.roots),
            model,
            served.name,
        )


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
    if script_args.max_model_len is not None:
        room = script_args.max_model_len - (training_args.max_completion_length or 0)
        if room <= 0:
            raise ValueError(
                f"`max_model_len` {script_args.max_model_len} leaves no room for a prompt beside "
                f"`max_completion_length` {training_args.max_completion_length}: raise it, or lower the other."
            )
        limit = min(room, limit or room)
    tokenizer = get_tokenizer(model_args, training_args)
    template_kwargs = template_kwargs_of(training_args)
    render = partial(prompt_token_ids, tokenizer, template_kwargs=template_kwargs)
    rows = require_split(get_dataset(script_args), str(script_args.dataset_split), "the pass rates")
    if earlier := [column for column in rows.column_names if column.startswith("pass_rate")]:
        logger.warning("The rows have columns of an earlier run; those of the same names are replaced: %s.", earlier)
    start, end = script_args.part_of(len(rows))
    usable, statuses = _usable_rows(rows, script_args)
    numbers = [row for row in usable if start <= row < end]
    # Where this part has none, a row of another tries the rewards.
    prompts = to_conversations(rows.select(numbers or usable[:1]), script_args, training_args.system_prompt)
    if limit is not None and numbers:
        lengths = [len(render(prompt)) for prompt in prompts["prompt"]]
        if max(lengths) > limit:
            logger.warning("Prompts longer than %d tokens are not asked (the longest has %d).", limit, max(lengths))
        statuses |= {row: Status.TOO_LONG for row, length in zip(numbers, lengths, strict=True) if length > limit}
    context = RewardContext(
        num_generations=training_args.num_generations or 1,
        completion_prefix=completion_prefix(tokenizer, prompts[0]["prompt"], template_kwargs),
        eos_token_ids=end_token_ids(tokenizer, get_generation_config(model_args), training_args.generation_kwargs),
        max_completion_length=training_args.max_completion_length,
    )
    tried = [place for place, row in enumerate(numbers) if row not in statuses] or [0]
    reward_models = RewardModels(training_args)
    rewards = get_reward_funcs(script_args, context, load_reward_model=reward_models)
    check_rewards(rewards, script_args, prompts.select(tried), tokenizer, context, template_kwargs=template_kwargs)
    reward_models.load()
    names = _column_names([reward.__name__ for reward in rewards])
    bounded = script_args.pass_rate_reward
    places = {row: place for place, row in enumerate(numbers)}
    parents = _parents_of(script_args)
    asked = _asked_settings(script_args, training_args, model_args, tokenizer, parents)
    judged = _judged_settings(script_args, context)
    return PassRateRun(
        rows=rows,
        start=start,
        end=end,
        statuses={row: status for row, status in statuses.items() if start <= row < end},
        read_row=lambda row: prompts[places[row]],
        render=render,
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
        given={"trainer_state": TrainerState()},
        card=_card(script_args, training_args, parents, asked, judged, len(rows)),
    )


def sampling_of(training_args: PassRateConfig, end_ids: Sequence[int]) -> Sampling:
    """Return how completions are drawn, as the training would draw them: `generation_kwargs` come over the rest.

    Args:
        training_args: The recipe's.
        end_ids: Tokens that end a completion.

    Raises:
        ValueError: `generation_kwargs` holds what cannot be passed on.
    """
    given = dict(cast(dict[str, Any], training_args.generation_kwargs or {}))  # text was parsed with the arguments
    odd = set(given) - {*_OF_SAMPLING, *_OF_BODY}
    if odd:
        raise ValueError(
            f"`generation_kwargs` sets {sorted(odd)}, which pass rates cannot pass on to vLLM. Allowed are "
            f"{sorted((*_OF_SAMPLING, *_OF_BODY))}; `max_completion_length` is a setting of its own."
        )
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    # All are said: servers would else take the defaults of the model's generation config.
    drawn: dict[str, Any] = {
        "temperature": training_args.temperature,
        "top_p": training_args.top_p,
        "top_k": training_args.top_k or -1,
        "min_p": training_args.min_p or 0.0,
        "seed": training_args.seed,
        **{name: value for name, value in given.items() if name in _OF_SAMPLING},
    }
    body = {
        "repetition_penalty": training_args.repetition_penalty,
        **{name: value for name, value in given.items() if name in _OF_BODY},
        "stop_token_ids": list(end_ids),
    }
    return Sampling(**drawn, max_tokens=training_args.max_completion_length, extra_body=body)


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
        **{name: vars(training_args)[name] for name in _SAMPLING_SETTINGS},
        "generation_kwargs": training_args.generation_kwargs or None,
        "chat_template_kwargs": training_args.chat_template_kwargs or None,
        "source": [parent.fingerprint for parent in parents],
    }


def _judged_settings(script_args: PassRateScriptArguments, context: RewardContext) -> dict[str, Any]:
    """Return what the rewards' values depend on, besides rows and completions."""
    parameters = {entry.name for entry in (*fields(RewardParameters), *fields(CodeExecutionParameters))}
    files = {name: Path(name.removeprefix("summary_only(").rpartition(":")[0]) for name in script_args.reward_funcs}
    return {
        "reward_funcs": script_args.reward_funcs,
        "reward_files": {
            name: _sha256(path.read_bytes()) for name, path in files.items() if path.suffix == ".py" and path.is_file()
        },
        "reward_parameters": {name: vars(script_args)[name] for name in sorted(parameters - _ELSEWHERE)},
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


def _card(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    parents: list[Parent],
    asked: dict[str, Any],
    judged: dict[str, Any],
    num_rows: int,
) -> DataCard:
    num_generations = training_args.num_generations
    settings = {
        **asked,
        **judged,
        "reward_weights": training_args.reward_weights,
        "pass_rate_reward": script_args.pass_rate_reward,
        "bounds": [script_args.pass_rate_min, script_args.pass_rate_max],
        "num_generations": num_generations,
        "max_prompt_length": script_args.max_prompt_length,
        "max_model_len": script_args.max_model_len,
        "num_rows": num_rows,
        "rows": list(script_args.part_of(num_rows)),
    }
    teacher = {"model": asked["model"], "revision": asked["model_revision"], "asked": script_args.server or VLLM_HERE}
    sampling = {name: asked[name] for name in (*_SAMPLING_SETTINGS, "generation_kwargs")}
    sampling["num_generations"] = num_generations
    note = (
        "All rows stand in the configuration `default`, those within the bounds, without the texts of the "
        "completions, in `pass_rate`."
    )
    name = f"Pass rates of {asked['model']}"
    return DataCard(name, settings, parents, teacher=teacher, sampling=sampling, notes=[note])


def _column_names(keys: list[str]) -> list[str]:
    """Return short names of rewards for columns: `accuracy` of `accuracy_reward`."""
    short = [key.removesuffix("_reward") for key in keys]
    taken = Counter(short)
    return [
        name if taken[name] == 1 and name not in _RESERVED_NAMES and not name.startswith("rewards_") else key
        for name, key in zip(short, keys, strict=True)
    ]
