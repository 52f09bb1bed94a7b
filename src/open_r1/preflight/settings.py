# SPDX-License-Identifier: Apache-2.0
"""Checks of settings: those that would train something else than they say, or fail only after hours. Reads no data."""

import os
from collections.abc import Sequence
from pathlib import Path

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
from open_r1.evaluation.jobs import is_slurm_available
from open_r1.models import context_length
from open_r1.preflight.eval_benchmarks import is_evaluated
from open_r1.rewards import REWARDS, Reward, get_reward_spec, reward_domains_of
from open_r1.training.hub import check_hub_revision_exists
from open_r1.training.losses import load_advantage, load_loss


def check_sft_settings(script_args: SFTScriptArguments, training_args: SFTConfig, model_args: ModelConfig) -> None:
    """Refuse an SFT run that cannot work.

    Raises:
        ValueError: See the message.
    """
    _check_common(script_args, training_args, model_args)
    for name in ("chat_template_path", "dataset_kwargs"):
        if vars(training_args)[name] is not None:
            raise ValueError(
                f"`{name}` has no effect here: rows are tokenized first, with `chat_template`. Leave it out."
            )
    context = context_length(training_args, model_args)
    if context is not None and (training_args.max_length or 0) > context:
        raise ValueError(
            f"`max_length` is {training_args.max_length} tokens, but {model_args.model_name_or_path} was made for "
            f"{context} by its config: lower it, or train a model with a longer context."
        )


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
    args, names = training_args, script_args.reward_funcs
    if not names and args.environment is None:
        raise ValueError(f"`reward_funcs` is empty. Known rewards: {sorted(REWARDS)}")
    if len(args.reward_weights or names) != len(names):
        raise ValueError(f"`reward_weights` {args.reward_weights} and `reward_funcs` {names} differ in number.")
    load_loss(args.loss)
    load_advantage(args.advantage)
    ignored = {
        "`max_tool_calling_iterations` without `tools` or `environment`": (
            args.max_tool_calling_iterations is not None and not (args.tools or args.environment)
        ),
        "`sync_ref_model: true` with checkpoints, which don't have the reference": args.sync_ref_model,
        "`off_policy_mask_threshold`, or with a `beta` `use_bias_correction_kl`, with a `loss` of one's own": (
            args.loss is not None
            and (args.off_policy_mask_threshold is not None or (args.beta != 0 and args.use_bias_correction_kl))
        ),
        "`multi_objective_aggregation` with an `advantage`, which sees the weighted sum of rewards": (
            args.advantage is not None and args.multi_objective_aggregation != "sum_then_normalize"
        ),
        "`dynamic_sampling_rounds`, which drops groups, with means over whole batches (`scale_rewards: batch`, "
        "`multi_objective_aggregation: normalize_then_sum`, `loss_type: bnpo`, `entropy_coef`, "
        "`use_adaptive_entropy`)": (
            args.dynamic_sampling_rounds > 0
            and (
                args.scale_rewards == "batch"
                or args.multi_objective_aggregation == "normalize_then_sum"
                or args.loss_type == "bnpo"
                or args.entropy_coef != 0
                or args.use_adaptive_entropy
            )
        ),
    }
    if found := [what for what, is_set in ignored.items() if is_set]:
        raise ValueError(f"These can't be combined, one of them would be ignored: {'; '.join(found)}.")
    _check_common(script_args, args, model_args)
    room = []
    for own, changed in (stage.apply(script_args, args) for stage in build_stages(args.stages)):
        _check_groups(own, changed)
        for name in own.reward_funcs:
            get_reward_spec(name)
        reward_domains_of(own)
        room.append(_max_prompt_tokens(own, changed, model_args))
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
    return _max_prompt_tokens(script_args, training_args, model_args)


def _check_common(
    script_args: TrainingScriptArguments, training_args: TrainingConfig, model_args: ModelConfig
) -> None:
    is_sft = isinstance(training_args, SFTConfig)
    generates = bool(training_args.eval_benchmarks) if is_sft else not training_args.use_vllm
    if generates and training_args.launch.is_fsdp:  # processes would stop at other lengths and wait for ever
        raise ValueError(
            "Under FSDP completions cannot be generated by transformers: use ZeRO (zero2.yaml, zero3.yaml), set "
            "`use_vllm: true`, or leave out `eval_benchmarks`."
        )
    _check_output_dir(training_args)
    _check_benchmarks(training_args, model_args)
    check_hub_revision_exists(training_args)
    for name in script_args.reward_funcs:  # they are built with the data
        get_reward_spec(name)
    reward_domains_of(script_args)


def _check_output_dir(training_args: TrainingConfig) -> None:
    """Refuse a folder that can't be made or written; transformers would say so once the model is loaded."""
    output_dir = Path(training_args.output_dir)
    there = next(place for place in (output_dir, *output_dir.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "isn't yours to write" if there.is_dir() else "is a file"
        training_args.refuse_here(f"`output_dir` is {output_dir}, but {there} {reason}: name another folder.")


def _check_benchmarks(training_args: TrainingConfig, model_args: ModelConfig) -> None:
    """Refuse benchmarks of saved checkpoints where no job could be submitted, or none would say anything."""
    names = training_args.benchmarks
    if not names:
        return
    if training_args.save_strategy == "no" or model_args.use_peft:
        raise ValueError(
            f"`benchmarks: {names}` serve saved checkpoints: there are none with `save_strategy: no`, and with "
            "`use_peft: true` adapters alone. Leave `benchmarks` out."
        )
    if training_args.process_index == 0:
        check_columns(find_benchmarks(names))
        if not is_slurm_available():
            training_args.refuse_here(f"`benchmarks: {names}` are run by Slurm jobs, and there is no `sbatch` here.")


def _check_groups(script_args: GRPOScriptArguments, training_args: GRPOConfig) -> None:
    """Refuse batches that tear groups apart."""
    group, group_eval = training_args.num_generations, training_args.num_generations_eval
    local = training_args.per_device_train_batch_size * training_args.steps_per_generation
    torn = [name for name in script_args.reward_funcs if get_reward_spec(name).needs_whole_group and local % group]
    if torn:
        raise ValueError(
            f"The rewards {torn} compare the completions of a group, but a process sees {local} completions at a time "
            "(per_device_train_batch_size x steps_per_generation), which is no multiple of num_generations "
            f"{group}. Make it one."
        )
    batch = training_args.per_device_eval_batch_size * training_args.world_size
    if is_evaluated(training_args) and batch % (group_eval or group):
        raise ValueError(
            f"Evaluation samples groups of {group_eval or group} (num_generations_eval), but a batch has {batch} "
            "completions (per_device_eval_batch_size x processes): make the batch a multiple of the group."
        )


def choose_dynamic_sampling_metric(
    script_args: GRPOScriptArguments, training_args: GRPOConfig, rewards: Sequence[Reward]
) -> None:
    """Choose the metric by which dynamic sampling drops groups: the first reward that judges answers or programs.

    Raises:
        ValueError: The recipe names one that no reward has.
    """
    names = [reward.__name__ for reward in rewards]
    if training_args.dynamic_sampling_rounds and training_args.dynamic_sampling_metric is None:
        specs = map(get_reward_spec, script_args.reward_funcs)
        weights = training_args.reward_weights or [1.0] * len(names)
        judges = [
            name
            for name, spec, weight in zip(names, specs, weights, strict=True)
            if weight and spec.answer_column and not spec.reads_tokens
        ]
        training_args.dynamic_sampling_metric = [*judges, "reward"][0]
    if training_args.dynamic_sampling_metric not in (None, "reward", *names):
        metric = training_args.dynamic_sampling_metric
        raise ValueError(f"`dynamic_sampling_metric` is {metric!r}: it must be one of {['reward', *names]}.")


def _max_prompt_tokens(
    script_args: GRPOScriptArguments,
    training_args: GRPOConfig | DistillConfig,
    model_args: ModelConfig,
) -> int | None:
    context, limit = context_length(training_args, model_args), script_args.max_prompt_length
    length = training_args.max_completion_length
    if context is None or length is None:
        return limit
    if training_args.use_vllm and training_args.vllm_max_model_length is not None:
        context = min(context, training_args.vllm_max_model_length)
    if (limit or 1) + length > context:
        raise ValueError(
            f"`max_prompt_length` {limit} + `max_completion_length` {length} exceed the model's context of {context} "
            "tokens: lower one of them."
        )
    return context - length if limit is None else limit
