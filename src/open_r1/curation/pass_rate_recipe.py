# SPDX-License-Identifier: Apache-2.0
"""GRPO recipe as a pass-rate run: rows, prompts, template, sampling and rewards as the training would have them.

    script_args, training_args, model_args = parse_args(PassRateScriptArguments, PassRateConfig, ["--config", recipe])
    run = prepare_pass_rate(script_args, training_args, model_args, check_settings=..., check_rewards=...)

Settings that only a training reads (precision, batches, vLLM's mode, trackers, pushes) have no effect here, so that a
recipe for eight GPUs can ask a server from a machine without any.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from transformers import TrainerState

from open_r1.configs import DatasetConfig, GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.configs.rewards import RewardArguments
from open_r1.curation.parts import rows_of_part
from open_r1.curation.pass_rate import REVIEWED, PassRateArguments, PassRateRun
from open_r1.data.card import DataCard, Parent
from open_r1.data.sources import open_source
from open_r1.data.training_rows import get_dataset, require_split
from open_r1.generation import driver
from open_r1.generation.client import Client, refuse_another
from open_r1.generation.driver import Outcome
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Sampling
from open_r1.generation.servers import VllmServer
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
from open_r1.rewards import RewardContext, get_reward_funcs
from open_r1.rewards.rows import prepare_prompts
from open_r1.rewards.second_judge import SecondJudge

# Settings that only a training reads, as they do no harm on a machine without an accelerator.
_NOT_READ: dict[str, Any] = {
    "use_cpu": True, "bf16": False, "fp16": False, "tf32": None, "use_vllm": False, "use_liger_kernel": False,
    "torch_compile": False, "gradient_checkpointing": False, "deepspeed": None, "fsdp": None, "fsdp_config": None,
    "parallelism_config": None, "do_eval": False, "eval_strategy": "no", "eval_greedy": False, "save_strategy": "no",
    "load_best_model_at_end": False, "push_to_hub": False, "push_to_hub_revision": False, "report_to": "none",
    "benchmarks": [], "callbacks": [], "stages": None,
}  # fmt: skip
_SAMPLING_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "stop_strings",
                      "max_completion_length", "generation_kwargs")  # fmt: skip
# Where and how fast programs run; their verdicts don't depend on it.
_ELSEWHERE = {"sandbox_router_url", "e2b_router_url", "morph_router_url", "sandbox_router_token_env",
              "sandbox_patience_s", "parallel_code_exec_per_proc", "reward_timeout_s"}  # fmt: skip
_ROW = "pass_rate_row_number"


@dataclass
class PassRateScriptArguments(PassRateArguments, GRPOScriptArguments):
    """A recipe's data and rewards, with which rows are asked and kept."""

    @property
    def part(self) -> tuple[str | None, int | None, int | None]:
        """Shard, first row, and row behind the last one."""
        return self.dataset_shard, self.dataset_start_index, self.dataset_end_index

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pass_rate_min <= self.pass_rate_max:
            raise ValueError(f"`pass_rate_min` {self.pass_rate_min} is above `pass_rate_max` {self.pass_rate_max}.")
        self.dataset_train_split = self.dataset_split = self.dataset_split or self.dataset_train_split
        if self.second_judge is not None and REVIEWED not in self.reward_funcs:
            raise ValueError(f"`judge_url` reviews {REVIEWED}, and `reward_funcs` is {self.reward_funcs}.")


@dataclass
class PassRateConfig(GRPOConfig):
    """A recipe's training settings, those put aside that a pass-rate run doesn't read."""

    def __post_init__(self) -> None:
        num_generations = self.num_generations or 1
        if self.max_completion_length is None:
            raise ValueError("`max_completion_length` is null: set it, since servers would stop after 16 tokens.")
        for name, value in _NOT_READ.items():
            setattr(self, name, value)
        # One group a batch, whatever the batches of the training are; TRL wants two completions at least.
        self.num_generations = self.per_device_train_batch_size = max(2, num_generations)
        self.gradient_accumulation_steps, self.steps_per_generation = 1, None
        self.generation_batch_size = self.num_generations_eval = None
        super().__post_init__()
        self.num_generations = num_generations


def ask_model(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    model_args: ModelConfig,
    run: PassRateRun,
    journal: Journal,
) -> Outcome:
    """Ask servers, or a `vllm serve` that is started for it, for what the journal doesn't have.

    Raises:
        ServersDownError: No server starts or answers, or requests fail one after the other.
        ValueError: The servers serve another model.
    """
    name = find_model(model_args.model_name_or_path)

    async def ask(addresses: Sequence[str], served_name: str | None) -> Outcome:
        key = os.environ.get(script_args.server_api_key_env)
        async with Client(addresses, model=served_name, api_key=key) as client:
            served = await client.find_model(max_tokens=run.sampling.max_tokens)
            refuse_another(name, served, served_name)
            total, most = len(run.places) * run.num_generations, script_args.max_concurrent
            return await driver.ask(run.requests(), client.ask_one, journal, max_concurrent=most, total=total)

    if script_args.server is not None:
        return driver.run(ask(script_args.server, script_args.server_model))
    length = script_args.max_model_len
    words = {"revision": model_args.model_revision, "dtype": model_args.dtype or "auto",
             "tensor-parallel-size": script_args.tensor_parallel_size,
             **({} if length is None else {"max-model-len": length})}  # fmt: skip
    args = [f"--{flag}={value}" for flag, value in words.items()]
    args += ["--trust-remote-code"] * training_args.trust_remote_code + shlex.split(script_args.serve_args)
    with VllmServer(name, args=args, log_path=journal.path.with_name("vllm.log")) as server:
        return driver.run(ask([server.url], server.model))


def prepare_pass_rate(
    script_args: PassRateScriptArguments,
    training_args: PassRateConfig,
    model_args: ModelConfig,
    *,
    check_settings: Callable[..., int | None],
    check_rewards: Callable[..., object],
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
        limit = min(room, limit or room)
    tokenizer, template_kwargs = get_tokenizer(model_args, training_args), template_kwargs_of(training_args)
    render = partial(prompt_token_ids, tokenizer, template_kwargs=template_kwargs)
    split, num_generations = str(script_args.dataset_split), training_args.num_generations or 1
    rows = require_split(get_dataset(script_args), split, "the pass rates")
    part = range(*rows_of_part(*script_args.part, len(rows)))
    index = DatasetDict({split: rows.select(part).add_column(_ROW, list(part))})
    prompts = prepare_prompts(
        index,
        split,
        "the pass rates",
        tokenizer,
        script_args,
        training_args.system_prompt,
        limit,
        template_kwargs=template_kwargs,
    )
    places = {row: place for place, row in enumerate(prompts[_ROW])}
    prompts = prompts.remove_columns(_ROW)
    context = RewardContext(
        num_generations=num_generations,
        completion_prefix=completion_prefix(tokenizer, prompts[0]["prompt"], template_kwargs),
        eos_token_ids=end_token_ids(tokenizer, get_generation_config(model_args), training_args.generation_kwargs),
        max_completion_length=training_args.max_completion_length,
    )
    reward_models = RewardModels(training_args)
    rewards = get_reward_funcs(script_args, context, load_reward_model=reward_models)
    check_rewards(rewards, script_args, prompts, tokenizer, context, template_kwargs=template_kwargs)
    reward_models.load()
    names = [reward.__name__.removesuffix("_reward") for reward in rewards]
    weights = training_args.reward_weights or [1.0] * len(names)
    parents = _parents_of(script_args)
    settings = {
        "model": model_args.model_name_or_path,
        "model_revision": model_args.model_revision,
        "chat_template_sha256": _sha256(str(tokenizer.chat_template).encode()),
        "chat_template_kwargs": template_kwargs,
        "system_prompt": training_args.system_prompt,
        "layout": script_args.dataset_layout,
        "prompt_column": script_args.dataset_prompt_column,
        "source": [parent.fingerprint for parent in parents],
        # Weights and seed decide which rows are taken, and their order.
        "mixture": repr(script_args.dataset_mixture),
        **{name: vars(training_args)[name] for name in _SAMPLING_SETTINGS},
    }
    judged, second = _judged_settings(script_args, context), script_args.second_judge
    judged |= {} if second is None else SecondJudge(second).settings()
    bounds = (script_args.pass_rate_min, script_args.pass_rate_max)
    of_the_rows = {
        "reward_weights": weights,
        "bounds": list(bounds),
        "num_generations": num_generations,
        "max_prompt_length": limit,
        "num_rows": len(rows),
        "rows": [part.start, part.stop],
    }
    card = DataCard(
        f"Pass rates of {settings['model']}",
        {**settings, **judged, **of_the_rows},
        parents,
        teacher={"model": settings["model"], "asked": script_args.server or "vllm serve"},
        sampling={**{name: settings[name] for name in _SAMPLING_SETTINGS}, "num_generations": num_generations},
        notes=["All rows stand in the configuration `default`, those within the bounds in `pass_rate`."],
    )
    return PassRateRun(
        rows=rows,
        part=part,
        prompts=prompts,
        places=places,
        render=render,
        tokenizer=tokenizer,
        rewards=dict(zip(names, rewards, strict=True)),
        weights=dict(zip(names, weights, strict=True)),
        bounds=bounds,
        num_generations=num_generations,
        sampling=sampling_of(training_args, context.eos_token_ids),
        asked=settings,
        judged=judged,
        given={"trainer_state": TrainerState()},
        second_judge=second,
        card=card,
    )


def sampling_of(training_args: PassRateConfig, end_ids: Sequence[int]) -> Sampling:
    """Return how completions are drawn, as the training would draw them: `generation_kwargs` come over the rest.

    Args:
        training_args: The recipe's.
        end_ids: Tokens that end a completion.
    """
    given: Any = training_args.generation_kwargs or {}  # text was parsed with the arguments
    # All are said: servers would else take the defaults of the model's generation config.
    body: dict[str, Any] = {name: vars(training_args)[name] for name in ("temperature", "top_p", "seed")}
    body |= {"top_k": training_args.top_k or -1, "min_p": training_args.min_p or 0.0}
    body |= {"repetition_penalty": training_args.repetition_penalty, **given, "stop_token_ids": list(end_ids)}
    stop = body.pop("stop", [])
    stop = [*([stop] if isinstance(stop, str) else stop), *(training_args.stop_strings or ())]
    if training_args.stop_strings:  # rewards see the text that has ended a completion, as in the training
        body.setdefault("include_stop_str_in_output", True)
    drawn = {name: body.pop(name) for name in ("temperature", "top_p", "top_k", "min_p", "seed")}
    return Sampling(**drawn, stop=stop, max_tokens=training_args.max_completion_length, extra_body=body)


def _judged_settings(script_args: PassRateScriptArguments, context: RewardContext) -> dict[str, Any]:
    """Return what the rewards' values depend on, besides rows and completions."""
    parameters = {entry.name for entry in fields(RewardArguments)} - _ELSEWHERE
    files = [Path(name.removeprefix("summary_only(").rpartition(":")[0]) for name in script_args.reward_funcs]
    return {
        "reward_funcs": script_args.reward_funcs,
        "reward_files": [_sha256(path.read_bytes()) for path in files if path.suffix == ".py" and path.is_file()],
        "reward_parameters": {name: vars(script_args)[name] for name in sorted(parameters)},
        "solution_column": script_args.dataset_solution_column,
        "completion_prefix": context.completion_prefix,
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _parents_of(script_args: PassRateScriptArguments) -> list[Parent]:
    """Return the sources of the rows, with fingerprints of their present contents."""
    mixture: Any = script_args.dataset_mixture  # a dictionary, of which `__post_init__` has made a configuration
    name, revision = str(script_args.dataset_name), script_args.dataset_revision
    whole = DatasetConfig(name, script_args.dataset_config, script_args.dataset_train_split, revision=revision)
    seed = script_args.dataset_seed
    return [
        open_source(one.id, config=one.config, split=one.split, revision=one.revision, seed=seed).parent()
        for one in ([whole] if mixture is None else mixture.datasets)
    ]


def default_folder(script_args: PassRateScriptArguments, model_args: ModelConfig) -> str:
    """Return the folder of the data set when none is given."""
    data, model = Path(script_args.dataset_name or "mixture"), Path(model_args.model_name_or_path or "model")
    name = script_args.output_dataset_name or f"{data.stem if data.is_file() else data.name}-{model.name}-gen"
    return f"data/{Path(name).name}"
