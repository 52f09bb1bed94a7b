# SPDX-License-Identifier: Apache-2.0
"""Settings that cannot work together or on this machine; nothing but the arguments is looked at."""

import importlib.util
import logging
import os
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.data.places import refuse_file
from open_r1.models import context_length, dtype_asked_for, load_config, refuse_lost_steps
from open_r1.preflight.benchmarks import check_benchmarks
from open_r1.preflight.eval_benchmarks import check_eval_benchmarks, is_evaluated
from open_r1.reward_models import check_reward_model, metric_key
from open_r1.rewards import REWARDS, Reward, RewardContext, get_reward_funcs, get_reward_spec
from open_r1.training.hub import check_hub_revision_exists

logger = logging.getLogger(__name__)


def check_sft_settings(
    script_args: SFTScriptArguments, training_args: SFTConfig, model_args: ModelConfig
) -> int | None:
    """Refuse an SFT run that cannot work.

    Returns:
        The number of tokens a prompt of the evaluation by sampling may have; None where there is none, or no limit.

    Raises:
        ValueError: See the message.
    """
    _check_common(training_args, model_args)
    check_eval_benchmarks(script_args, training_args, _check_rewards(script_args, training_args))
    if script_args.eval_reward_funcs and not is_evaluated(training_args):
        logger.warning("`eval_reward_funcs` has no effect without an evaluation: set `do_eval: true`.")
    if training_args.eval_greedy and not script_args.eval_reward_funcs:
        logger.warning("`eval_greedy: true` has no effect without rewards to measure: set `eval_reward_funcs`.")
    samples = (bool(script_args.eval_reward_funcs) and is_evaluated(training_args)) or training_args.eval_benchmarks
    _refuse_generation_under_fsdp(bool(samples), "leave out `eval_reward_funcs` and `eval_benchmarks`")
    context = context_length(training_args, model_args)
    if context is not None and training_args.max_length is not None and training_args.max_length > context:
        raise ValueError(
            f"`max_length` is {training_args.max_length} tokens, but {model_args.model_name_or_path} was made for "
            f"{context} by its config: lower it, or train a model with a longer context."
        )
    if context is None or not (script_args.eval_reward_funcs and is_evaluated(training_args)):
        return None
    room = context - script_args.eval_max_completion_length
    if room <= 0:
        raise ValueError(
            f"`eval_max_completion_length` is {script_args.eval_max_completion_length}, but the context of the model "
            f"has only {context} tokens for prompt and completion together: lower it."
        )
    return room


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
    _check_common(training_args, model_args)
    _refuse_generation_under_fsdp(not training_args.use_vllm, "set `use_vllm: true`")
    if training_args.sync_ref_model and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise ValueError("Under FSDP a reference that moves isn't saved: use ZeRO, or set `sync_ref_model: false`.")
    names = script_args.reward_funcs
    if not names:
        raise ValueError(f"`reward_funcs` is empty. Known rewards: {sorted(REWARDS)}")
    check_eval_benchmarks(script_args, training_args, _check_rewards(script_args, training_args))
    weights = training_args.reward_weights
    if weights is not None and len(weights) != len(names):
        raise ValueError(
            f"`reward_weights` has {len(weights)} numbers for {len(names)} rewards ({names}): give one weight each."
        )
    _check_groups(script_args, training_args)
    if training_args.eval_greedy and not is_evaluated(training_args):
        logger.warning("`eval_greedy: true` has no effect, since nothing is evaluated: set `do_eval: true`.")
    if training_args.use_vllm and importlib.util.find_spec("vllm") is None:
        raise ValueError(
            "`use_vllm: true`, but vLLM is not installed: `make install EXTRAS=train,vllm` on a GPU machine, or "
            "`--use_vllm false` to generate with transformers."
        )
    if training_args.stop_strings and training_args.use_transformers_continuous_batching:
        raise ValueError(
            "`stop_strings` would be ignored by `use_transformers_continuous_batching: true`: set one of them alone."
        )
    return _max_prompt_tokens(script_args, training_args, model_args)


def _check_common(training_args: SFTConfig | GRPOConfig, model_args: ModelConfig) -> None:
    has_cuda = torch.cuda.is_available() and not training_args.use_cpu
    if training_args.use_liger_kernel and not has_cuda:
        # Without this it fails in the first forward pass and leaves the model classes patched.
        raise ValueError("`use_liger_kernel: true` needs a CUDA device (its kernels are Triton): set it to false.")
    if training_args.use_liger_kernel and importlib.util.find_spec("liger_kernel") is None:
        raise ValueError(
            "`use_liger_kernel: true`, but Liger is not installed: `make install EXTRAS=train`, or set it to false."
        )
    attention = model_args.attn_implementation or ""
    if attention.startswith("flash_attention"):
        if not has_cuda:
            raise ValueError(f"`attn_implementation: {attention}` needs a CUDA device: use `sdpa` on this machine.")
        if attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
            raise ValueError(
                "`attn_implementation: flash_attention_2`, but flash-attn is not installed. It is a step of its own: "
                "`pip install flash-attn --no-build-isolation` (needs the CUDA toolkit), or use `sdpa`."
            )
    if (model_args.load_in_4bit or model_args.load_in_8bit) and importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("`load_in_4bit`/`load_in_8bit` need bitsandbytes: `make install EXTRAS=train`.")
    ours = [name for name in training_args.report_to if name in ("wandb", "trackio", "tensorboard")]
    missing = [name for name in ours if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"`report_to` names {missing}, which are not installed: `make install EXTRAS=tracking`, or set "
            "`report_to: none`."
        )
    _check_output_dir(Path(training_args.output_dir))
    check_benchmarks(training_args, model_args)
    check_hub_revision_exists(training_args)


def _check_output_dir(output_dir: Path) -> None:
    """Refuse a folder that can't be made or written; transformers would say so once the model is loaded."""
    try:
        refuse_file(output_dir)
    except (ValueError, OSError) as error:
        raise ValueError(f"`output_dir` is {output_dir}: {error}") from error
    there = next(place for place in (output_dir, *output_dir.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"`output_dir` is {output_dir}, but {there} isn't yours to write: name another folder.")


def _check_rewards(
    script_args: SFTScriptArguments | GRPOScriptArguments, training_args: SFTConfig | GRPOConfig
) -> list[str]:
    """Refuse rewards that can't be built: names, parameters, domains, functions and models; return metric keys."""

    def check_model(name: str) -> Reward:
        check_reward_model(name, training_args)

        def not_loaded_yet(**columns: object) -> list[float | None]:
            raise RuntimeError(f"The reward model {name!r} was checked, not loaded.")

        not_loaded_yet.__name__ = metric_key(name)
        return not_loaded_yet

    # The tokenizer, which knows the real end token, comes later.
    rewards = get_reward_funcs(script_args, RewardContext(eos_token_ids=(0,)), load_reward_model=check_model)
    return [reward.__name__ for reward in rewards]


def _refuse_generation_under_fsdp(uses_transformers: bool, way_out: str) -> None:
    """Refuse transformers' generation under FSDP2: processes would stop at different lengths and wait for ever."""
    if uses_transformers and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise ValueError(
            "Under FSDP completions cannot be generated by transformers: use ZeRO (zero2.yaml, zero3.yaml), or "
            f"{way_out}."
        )


def _check_groups(script_args: GRPOScriptArguments, training_args: GRPOConfig) -> None:
    group = training_args.num_generations
    local = training_args.per_device_train_batch_size * training_args.steps_per_generation
    for name in script_args.reward_funcs:
        if get_reward_spec(name).needs_whole_group and local % group:
            raise ValueError(
                f"The reward {name!r} compares the completions of a group, but a process sees {local} completions at "
                f"a time (per_device_train_batch_size {training_args.per_device_train_batch_size} x "
                f"steps_per_generation {training_args.steps_per_generation}), which is no multiple of "
                f"num_generations {group}. Make it one."
            )
    if is_evaluated(training_args):
        group = training_args.num_generations_eval or group
        batch = training_args.per_device_eval_batch_size * training_args.world_size
        if batch % group:
            raise ValueError(
                f"Evaluation samples groups of {group} (num_generations_eval), but a batch has {batch} completions "
                f"(per_device_eval_batch_size {training_args.per_device_eval_batch_size} x {training_args.world_size} "
                "processes): make the batch a multiple of the group."
            )


def _max_prompt_tokens(
    script_args: GRPOScriptArguments, training_args: GRPOConfig, model_args: ModelConfig
) -> int | None:
    context = context_length(training_args, model_args)
    limit = script_args.max_prompt_length
    if context is None or training_args.max_completion_length is None:
        return limit
    if training_args.use_vllm and training_args.vllm_max_model_length is not None:
        context = min(context, training_args.vllm_max_model_length)
    room = context - training_args.max_completion_length
    if room <= 0:
        raise ValueError(
            f"`max_completion_length` is {training_args.max_completion_length}, but the context of the model has only "
            f"{context} tokens for prompt and completion together: lower it."
        )
    if limit is not None and limit > room:
        raise ValueError(
            f"max_prompt_length {limit} + max_completion_length {training_args.max_completion_length} exceed the "
            f"model's context of {context} tokens: lower one of them."
        )
    return room if limit is None else limit


def check_weight_dtype(training_args: SFTConfig | GRPOConfig, model_args: ModelConfig) -> None:
    """Refuse a training that would lose most of its steps (`refuse_lost_steps`).

    Where neither the arguments nor the model's config say the dtype, `get_model` looks at the weights.

    Raises:
        ValueError: See above.
    """
    dtype = dtype_asked_for(training_args, model_args) or load_config(training_args, model_args).dtype
    if dtype is not None:
        refuse_lost_steps(dtype, training_args, model_args)


def check_vocabulary(
    tokenizer: PreTrainedTokenizerBase, training_args: SFTConfig | GRPOConfig, model_args: ModelConfig
) -> None:
    """Refuse tokens that are new to the model where they could not be learned, or not be compared.

    The policy's embedding grows with the tokenizer (`fit_embeddings`). LoRA freezes it, and TRL loads the reference
    of a KL penalty as it was, as vLLM does the model that generates.

    Raises:
        ValueError: See above.
    """
    rows = load_config(training_args, model_args).get_text_config().to_dict().get("vocab_size")
    if rows is None or len(tokenizer) <= rows:
        return
    found = f"The chat template brings tokens that the model does not know yet ({len(tokenizer)} tokens, {rows} rows)"
    if isinstance(training_args, GRPOConfig) and training_args.use_vllm:
        raise ValueError(
            f"{found}, and neither does vLLM, whose embedding doesn't grow. Take a chat template whose tokens the "
            "model knows, run SFT with this template first and train what it saves, or set `use_vllm: false`."
        )
    if model_args.use_peft and not {"embed_tokens", "lm_head"} <= set(model_args.lora_modules_to_save or []):
        raise ValueError(
            f"{found}, and LoRA would leave them untrained. Set `lora_modules_to_save: [embed_tokens, lm_head]`, or "
            "take a chat template whose tokens the model knows."
        )
    if isinstance(training_args, GRPOConfig) and training_args.beta != 0 and not model_args.use_peft:
        raise ValueError(
            f"{found}, and `beta: {training_args.beta}` compares with a reference model that does not know them "
            "either. Run SFT with this template first, or set `beta: 0`."
        )


def check_num_prompts(dataset: Dataset, training_args: GRPOConfig) -> None:
    """Refuse fewer prompts than one generation takes: TRL drops incomplete batches, so nothing would be trained.

    Raises:
        ValueError: There are fewer.
    """
    needed = (training_args.generation_batch_size or 0) // (training_args.num_generations or 1)
    if len(dataset) < needed:
        raise ValueError(
            f"The training split has {len(dataset)} prompts, but one generation takes {needed} (generation_batch_size "
            f"{training_args.generation_batch_size} / num_generations {training_args.num_generations}), so nothing "
            "would be trained. Lower `per_device_train_batch_size` or `gradient_accumulation_steps`, or give more."
        )
