# SPDX-License-Identifier: Apache-2.0
"""Names of settings that Open R1 and older TRL releases had, and what they are called today. Needs no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Translation:
    """What today's libraries call an old name.

    Args:
        name: The name of today; None when the setting has no effect any more and is left out.
        reason: What the warning says besides the two names.
        convert: Turns the old value into the new one; may raise ValueError with a message for the user.
    """

    name: str | None
    reason: str = ""
    convert: Callable[[Any], Any] = lambda value: value


def _is_true(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none", "null", ""):
        return False
    raise ValueError(f"is {value!r}, but it must be true or false")


def _warmup_ratio(value: Any) -> float:
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = -1.0
    if not 0 <= ratio < 1:
        raise ValueError(f"is {value}, but it is a share of the steps, in [0, 1)")
    return ratio


def _only_auto(value: Any) -> None:
    if str(value) != "auto":
        raise ValueError(
            f"is {value}, which has no equivalent: vLLM now runs on the training GPUs (`vllm_mode: colocate`) or "
            "as a server on other ones (`vllm_mode: server`)"
        )


def _only_true(value: Any) -> None:
    if not _is_true(value):
        raise ValueError("is false, which has no equivalent: weights are always saved as safetensors")


def _reentrant(value: Any) -> dict[str, bool]:
    return {"use_reentrant": _is_true(value)}


def _sampling_strategy(value: Any) -> str:
    return "group_by_length" if _is_true(value) else "random"


TRANSLATIONS: dict[str, Translation] = {
    "max_seq_length": Translation("max_length"),
    "torch_dtype": Translation("dtype"),
    "warmup_ratio": Translation("warmup_steps", "a value below 1 is a share of the steps", _warmup_ratio),
    "provider_type": Translation("code_provider"),
    "wandb_log_unique_prompts": Translation("log_unique_prompts"),
    "vllm_guided_decoding_regex": Translation("vllm_structured_outputs_regex"),
    "use_liger_loss": Translation("use_liger_kernel"),
    "evaluation_strategy": Translation("eval_strategy"),
    "no_cuda": Translation("use_cpu"),
    "group_by_length": Translation("train_sampling_strategy", "", _sampling_strategy),
    "gradient_checkpointing_use_reentrant": Translation("gradient_checkpointing_kwargs", "", _reentrant),
    "overwrite_output_dir": Translation(
        None, "a run goes on from the last complete checkpoint; `resume_from_checkpoint: false` starts afresh"
    ),
    "vllm_device": Translation(None, "use `vllm_mode` to choose where vLLM runs", _only_auto),
    "save_safetensors": Translation(None, "weights are always saved as safetensors", _only_true),
}

# Old flags that the command line may carry without a value.
FLAGS = {
    "overwrite_output_dir",
    "use_liger_loss",
    "no_cuda",
    "group_by_length",
    "wandb_log_unique_prompts",
    "save_safetensors",
    "gradient_checkpointing_use_reentrant",
}

REMOVED: dict[str, str] = {
    "logging_dir": "set the environment variable TENSORBOARD_LOGGING_DIR instead (also under `env:` in a recipe)",
    "fsdp_min_num_params": "set the wrapping policy in the accelerate config (recipes/accelerate_configs/fsdp.yaml)",
    "vllm_dtype": "vLLM takes the dtype of the model: set `dtype`",
    "vllm_enable_prefix_caching": "prefix caching is always on in vLLM: leave the setting out",
    "vllm_max_model_len": "set `vllm_max_model_length`",
    "include_tokens_per_second": "tokens per second are always logged (`tokens_per_second`)",
}
