# SPDX-License-Identifier: Apache-2.0
"""Settings that cannot work together or on this machine; the training data are not read."""

import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from trl import ModelConfig

from open_r1.configs.stages import build_stages
from open_r1.configs.training import (
    DistillConfig,
    DistillScriptArguments,
    GRPOConfig,
    GRPOScriptArguments,
    SFTConfig,
    SFTScriptArguments,
    TrainingConfig,
    TrainingScriptArguments,
)
from open_r1.evaluation.benchmarks import check_columns, find_benchmarks
from open_r1.evaluation.jobs import find_script, is_slurm_available
from open_r1.models import context_length
from open_r1.preflight.eval_benchmarks import is_evaluated
from open_r1.preflight.losses import check_own_advantage, check_own_loss
from open_r1.rewards import REWARDS, Reward, get_reward_spec, reward_domains_of
from open_r1.training.hub import check_hub_revision_exists

logger = logging.getLogger(__name__)

# Settings that do something only beside another one.
_NEEDS = (
    ("use_peft", True, "lora_r lora_alpha lora_dropout lora_target_modules lora_target_parameters "
                       "lora_modules_to_save use_rslora use_dora"),
    ("load_in_4bit", True, "use_bnb_nested_quant"),
    ("packing", True, "packing_strategy"),
    ("use_vllm", True, "vllm_mode vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size "
                       "vllm_enable_sleep_mode vllm_server_base_url vllm_server_host vllm_server_port"),
    ("vllm_mode", "server", "vllm_server_base_url vllm_server_host vllm_server_port"),
    ("vllm_mode", "colocate", "vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size "
                              "vllm_enable_sleep_mode"),
    ("sync_ref_model", True, "ref_model_mixup_alpha ref_model_sync_steps"),
    ("use_adaptive_entropy", True, "entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target"),
    ("loss_type", "sapo", "sapo_temperature_neg sapo_temperature_pos"),
    ("loss_type", "vespo", "vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg"),
    ("log_completions", True, "num_completions_to_print log_unique_prompts log_completions_hub_repo"),
)  # fmt: skip


def check_sft_settings(
    script_args: SFTScriptArguments, training_args: SFTConfig, model_args: ModelConfig
) -> int | None:
    """Refuse an SFT run that cannot work.

    Returns:
        The number of tokens a prompt of the evaluation by sampling may have; None where there is none, or no limit.

    Raises:
        ValueError: See the message.
    """
    _check_common(script_args, training_args, model_args)
    for name in ("chat_template_path", "dataset_kwargs"):
        if vars(training_args)[name] is not None:
            raise ValueError(
                f"`{name}` has no effect here: rows are tokenized first, with `chat_template`. Leave it out."
            )
    is_sampled = bool(script_args.eval_reward_funcs) and is_evaluated(training_args)
    if script_args.eval_reward_funcs and not is_sampled:
        logger.warning("`eval_reward_funcs` has no effect without an evaluation: set `do_eval: true`.")
    if training_args.system_prompt is not None and not is_sampled and not training_args.eval_benchmarks:
        logger.warning(
            "`system_prompt` has no effect: it's for evaluations, and rows of SFT are trained on as they are."
        )
    if training_args.eval_greedy and not script_args.eval_reward_funcs:
        logger.warning("`eval_greedy: true` has no effect without rewards to measure: set `eval_reward_funcs`.")
    if is_sampled or training_args.eval_benchmarks:
        _refuse_generation_under_fsdp(training_args, "leave out `eval_reward_funcs` and `eval_benchmarks`")
    context = context_length(training_args, model_args)
    if context is not None and training_args.max_length is not None and training_args.max_length > context:
        raise ValueError(
            f"`max_length` is {training_args.max_length} tokens, but {model_args.model_name_or_path} was made for "
            f"{context} by its config: lower it, or train a model with a longer context."
        )
    if context is None or not is_sampled:
        return None
    return _room_for_prompts(context, "eval_max_completion_length", script_args.eval_max_completion_length)


def check_grpo_settings(
    script_args: GRPOScriptArguments, training_args: GRPOConfig, model_args: ModelConfig
) -> int | None:
    """Refuse a GRPO run that cannot work.

    Returns:
        The number of tokens a prompt may have: `max_prompt_length`, or what the model's context leaves beside the
        completion; None where neither is known.

    Raises:
        ValueError: See the message.
    """
    names, weights = script_args.reward_funcs, training_args.reward_weights
    if not names and training_args.environment is None:
        raise ValueError(f"`reward_funcs` is empty. Known rewards: {sorted(REWARDS)}")
    _check_common(script_args, training_args, model_args)
    if training_args.sync_ref_model and training_args.launch.is_fsdp:
        raise ValueError("Under FSDP a reference that moves isn't saved: use ZeRO, or set `sync_ref_model: false`.")
    _check_sampling(training_args)
    if weights is not None and len(weights) != len(names):
        raise ValueError(
            f"`reward_weights` has {len(weights)} numbers for {len(names)} rewards ({names}): give one weight each."
        )
    check_own_loss(training_args)
    check_own_advantage(training_args)
    _check_dynamic_sampling(training_args)
    stages = [stage.apply(script_args, training_args) for stage in build_stages(training_args.stages)]
    for own, args in stages:
        _check_groups(own, args)
        if own != script_args:
            _check_rewards(own)
    if training_args.eval_greedy and not is_evaluated(training_args):
        logger.warning("`eval_greedy: true` has no effect, since nothing is evaluated: set `do_eval: true`.")
    if training_args.stop_strings and training_args.use_transformers_continuous_batching:
        raise ValueError(
            "`stop_strings` would be ignored by `use_transformers_continuous_batching: true`: set one of them alone."
        )
    room = [_max_prompt_tokens(own, args, model_args) for own, args in stages]
    return min((num_tokens for num_tokens in room if num_tokens is not None), default=None)


def check_distill_settings(
    script_args: DistillScriptArguments, training_args: DistillConfig, model_args: ModelConfig
) -> int | None:
    """Refuse a distillation that cannot work.

    Returns:
        The number of tokens a prompt may have, as of `check_grpo_settings`.

    Raises:
        ValueError: See the message.
    """
    _check_common(script_args, training_args, model_args)
    _check_sampling(training_args)
    return _max_prompt_tokens(script_args, training_args, model_args)


def _check_sampling(training_args: GRPOConfig | DistillConfig) -> None:
    if not training_args.use_vllm:
        _refuse_generation_under_fsdp(training_args, "set `use_vllm: true`")
    else:
        way_out = "`make install EXTRAS=train,vllm` on a GPU machine, or `--use_vllm false`"
        _require_package(training_args, "vllm", "`use_vllm: true`", way_out)


def _check_common(
    script_args: TrainingScriptArguments,
    training_args: TrainingConfig,
    model_args: ModelConfig,
) -> None:
    _check_hardware(training_args, model_args)
    for name in training_args.report_to:
        if name in ("wandb", "trackio", "tensorboard"):
            _require_package(
                training_args, name, "`report_to`", "`make install EXTRAS=tracking`, or `report_to: none`"
            )
    _warn_of_unused(training_args, model_args)
    values = vars(training_args)
    has_tools = bool(values.get("tools") or values.get("environment"))
    if values.get("max_tool_calling_iterations") is not None and not has_tools:
        raise ValueError("`max_tool_calling_iterations` needs `tools` or `environment`, which GRPO has: leave it out.")
    _check_output_dir(training_args)
    check_benchmarks(training_args, model_args)
    check_hub_revision_exists(training_args)
    _check_rewards(script_args)


def _warn_of_unused(training_args: TrainingConfig, model_args: ModelConfig) -> None:
    """Warn of settings that were given and do nothing, since another one that they need is off."""
    values = vars(training_args) | vars(model_args)
    defaults = {entry.name: entry.default for args in (training_args, model_args) for entry in fields(args)}
    for needed, value, names in _NEEDS:
        has_own_loss = needed == "loss_type" and values.get("loss") is not None  # which reads what it wants to
        is_on = values.get(needed) == value
        if is_on or has_own_loss or (needed == "vllm_mode" and not values.get("use_vllm")):
            continue
        given = [name for name in names.split() if name in values and values[name] not in (defaults[name], None, [])]
        if given:
            what = f"`{needed}: {str(value).lower()}`" if needed in values else f"{needed}, which no setting gives,"
            logger.warning("Without %s these have no effect: %s.", what, ", ".join(given))


def _check_hardware(training_args: TrainingConfig, model_args: ModelConfig) -> None:
    """Refuse kernels and formats whose package or device is missing."""
    has_cuda = torch.cuda.is_available() and not training_args.use_cpu
    if training_args.use_liger_kernel:
        if not has_cuda:  # it would fail in the first forward pass and leave the model classes patched
            training_args.refuse_here(
                "`use_liger_kernel: true` needs a CUDA device (its kernels are Triton): set it to false."
            )
        _require_package(
            training_args,
            "liger_kernel",
            "`use_liger_kernel: true`",
            "`make install EXTRAS=train`, or set it to false",
        )
    attention = model_args.attn_implementation or ""
    if attention.startswith("flash_attention") and not has_cuda:
        training_args.refuse_here(
            f"`attn_implementation: {attention}` needs a CUDA device: use `sdpa` on this machine."
        )
    if attention == "flash_attention_2":
        way_out = "`pip install flash-attn --no-build-isolation` (needs the CUDA toolkit), or use `sdpa`"
        _require_package(training_args, "flash_attn", f"`attn_implementation: {attention}`", way_out)
    if model_args.load_in_4bit or model_args.load_in_8bit:
        _require_package(
            training_args, "bitsandbytes", "`load_in_4bit` or `load_in_8bit`", "`make install EXTRAS=train`"
        )


def _require_package(training_args: TrainingConfig, package: str, setting: str, way_out: str) -> None:
    if importlib.util.find_spec(package) is None:
        training_args.refuse_here(f"{setting} needs {package}, which is not installed: {way_out}.")


def _check_output_dir(training_args: TrainingConfig) -> None:
    """Refuse a folder that can't be made or written; transformers would say so once the model is loaded."""
    output_dir = Path(training_args.output_dir)
    there = next(place for place in (output_dir, *output_dir.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "isn't yours to write" if there.is_dir() else "is a file"
        training_args.refuse_here(f"`output_dir` is {output_dir}, but {there} {reason}: name another folder.")


def check_benchmarks(training_args: TrainingConfig, model_args: ModelConfig) -> None:
    """Refuse benchmarks of saved checkpoints where no job could be submitted, or none would say anything.

    Raises:
        ValueError: See the message.
    """
    names = training_args.benchmarks
    if not names:
        if "evaluate_checkpoint" in training_args.callbacks:
            raise ValueError("`callbacks: [evaluate_checkpoint]` needs to know what to run: set `benchmarks`.")
        return
    try:
        found = find_benchmarks(names)
        if training_args.process_index == 0:
            check_columns(found)
    except ValueError as error:
        raise ValueError(f"`benchmarks`: {error}") from None
    if training_args.save_strategy == "no":
        raise ValueError(f"`benchmarks: {names}` run on saved checkpoints, but `save_strategy: no` saves none.")
    if model_args.use_peft:
        raise ValueError(
            f"`benchmarks: {names}`, but checkpoints of `use_peft: true` are adapters, which aren't served by "
            "themselves: leave `benchmarks` out, merge by scripts/merge_lora.py and run scripts/run_benchmarks.py."
        )
    if training_args.process_index == 0:
        _check_slurm(names, training_args)


def _check_slurm(names: list[str], training_args: TrainingConfig) -> None:
    if not is_slurm_available():
        training_args.refuse_here(
            f"`benchmarks: {names}` are run by Slurm jobs, and there is no `sbatch` on the PATH: leave the setting "
            "out, and run scripts/run_benchmarks.py on the checkpoints; `do_eval: true` evaluates on the test split."
        )
    try:
        find_script()
    except FileNotFoundError as error:
        raise ValueError(f"`benchmarks: {names}`: {error}") from None


def _check_rewards(script_args: TrainingScriptArguments) -> None:
    """Refuse names and domains of rewards that mean nothing; they are built, once for the run, with the data."""
    for name in script_args.reward_funcs:
        get_reward_spec(name)
    reward_domains_of(script_args)


def _refuse_generation_under_fsdp(training_args: TrainingConfig, way_out: str) -> None:
    """Refuse transformers' generation under FSDP2: processes would stop at different lengths and wait for ever."""
    if training_args.launch.is_fsdp:
        raise ValueError(
            "Under FSDP completions cannot be generated by transformers: use ZeRO (zero2.yaml, zero3.yaml), or "
            f"{way_out}."
        )


def _check_groups(script_args: GRPOScriptArguments, training_args: GRPOConfig) -> None:
    """Refuse batches that tear groups apart."""
    group = training_args.num_generations
    local = training_args.per_device_train_batch_size * training_args.steps_per_generation
    for name in script_args.reward_funcs:
        if get_reward_spec(name).needs_whole_group and local % group:
            raise ValueError(
                f"The reward {name!r} compares the completions of a group, but a process sees {local} completions at "
                "a time (per_device_train_batch_size x steps_per_generation), which is no multiple of num_generations "
                f"{group}. Make it one."
            )
    if is_evaluated(training_args):
        group = training_args.num_generations_eval or group
        batch = training_args.per_device_eval_batch_size * training_args.world_size
        if batch % group:
            raise ValueError(
                f"Evaluation samples groups of {group} (num_generations_eval), but a batch has {batch} completions "
                "(per_device_eval_batch_size x processes): make the batch a multiple of the group."
            )


def _check_dynamic_sampling(training_args: GRPOConfig) -> None:
    """Refuse what would let dropped groups count in what is learned."""
    if training_args.dynamic_sampling_rounds < 0:
        raise ValueError(
            f"`dynamic_sampling_rounds` is {training_args.dynamic_sampling_rounds}: it must be 0 (off) or more."
        )
    if training_args.dynamic_sampling_rounds == 0:
        return
    inexact = {
        "scale_rewards: batch": training_args.scale_rewards == "batch",
        "multi_objective_aggregation: normalize_then_sum": (
            training_args.multi_objective_aggregation == "normalize_then_sum"
        ),
        "loss_type: bnpo": training_args.loss_type == "bnpo",
        "entropy_coef": training_args.entropy_coef != 0,
        "use_adaptive_entropy": training_args.use_adaptive_entropy,
    }
    if found := [name for name, is_set in inexact.items() if is_set]:
        raise ValueError(
            f"`dynamic_sampling_rounds` drops groups, but `{'`, `'.join(found)}` takes means over whole batches, in "
            "which they would count: leave that out, or set `dynamic_sampling_rounds: 0`."
        )


def choose_dynamic_sampling_metric(
    script_args: GRPOScriptArguments, training_args: GRPOConfig, rewards: Sequence[Reward]
) -> None:
    """Choose the metric by which dynamic sampling drops groups: the first reward that judges answers or programs.

    Raises:
        ValueError: The recipe names one that no reward has.
    """
    if training_args.dynamic_sampling_rounds == 0:
        return
    names = [reward.__name__ for reward in rewards]
    metric = training_args.dynamic_sampling_metric
    if metric is None:
        specs = [get_reward_spec(name) for name in script_args.reward_funcs]
        weights = training_args.reward_weights or [1.0] * len(names)
        judges = [
            name
            for name, spec, weight in zip(names, specs, weights, strict=True)
            if weight and not spec.reads_tokens and spec.answer_column
        ]
        metric = training_args.dynamic_sampling_metric = judges[0] if judges else "reward"
        logger.info("Dynamic sampling drops groups whose %s is equal (`dynamic_sampling_metric`).", metric)
    if metric not in ("reward", *names):
        raise ValueError(f"`dynamic_sampling_metric` is {metric!r}: it must be one of {['reward', *names]}.")


def _max_prompt_tokens(
    script_args: GRPOScriptArguments,
    training_args: GRPOConfig | DistillConfig,
    model_args: ModelConfig,
) -> int | None:
    context = context_length(training_args, model_args)
    limit = script_args.max_prompt_length
    if context is None or training_args.max_completion_length is None:
        return limit
    if training_args.use_vllm and training_args.vllm_max_model_length is not None:
        context = min(context, training_args.vllm_max_model_length)
    room = _room_for_prompts(context, "max_completion_length", training_args.max_completion_length)
    if limit is not None and limit > room:
        raise ValueError(
            f"max_prompt_length {limit} + max_completion_length {training_args.max_completion_length} exceed the "
            f"model's context of {context} tokens: lower one of them."
        )
    return room if limit is None else limit


def _room_for_prompts(context: int, setting: str, num_tokens: int) -> int:
    """Return the tokens that completions of this length leave to prompts."""
    if num_tokens >= context:
        raise ValueError(
            f"`{setting}` is {num_tokens}, but the context of the model has only {context} tokens for prompt and "
            "completion together: lower it."
        )
    return context - num_tokens
