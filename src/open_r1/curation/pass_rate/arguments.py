# SPDX-License-Identifier: Apache-2.0
"""A GRPO recipe as the arguments of a pass-rate run.

Settings that only a training reads (precision, batches, vLLM's mode, trackers, pushes) have no effect here, so that a
recipe for eight GPUs can ask a server from a machine without any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.curation.pass_rate.parameters import PassRateParameters
from open_r1.generation.messages import Sampling
from open_r1.generation.vllm_here import VllmModel
from open_r1.models import find_model

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
_OF_BODY = (
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "stop_token_ids",
    "min_tokens",
    "ignore_eos",
    "bad_words",
    "include_stop_str_in_output",
    "logit_bias",
    "allowed_token_ids",
    "skip_special_tokens",
    "spaces_between_special_tokens",
)


@dataclass
class PassRateScriptArguments(PassRateParameters, GRPOScriptArguments):
    """Arguments of `scripts/compute_pass_rate.py` that may stand in a recipe."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()
        if self.dataset_split is None:
            self.dataset_split = self.dataset_train_split
        self.dataset_train_split = self.dataset_split
        if self.pass_rate_reward is not None and self.pass_rate_reward not in self.reward_funcs:
            raise ValueError(
                f"`pass_rate_reward` is {self.pass_rate_reward!r}: it must be one of `reward_funcs` "
                f"{self.reward_funcs}."
            )


@dataclass
class PassRateConfig(GRPOConfig):
    """A recipe's training settings, those put aside that a pass-rate run doesn't read."""

    def __post_init__(self) -> None:
        num_generations = self.num_generations or 1
        if num_generations < 1:
            raise ValueError(f"`num_generations` is {num_generations}: it must be at least 1.")
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


def sampling_of(training_args: PassRateConfig, end_ids: Sequence[int]) -> Sampling:
    """Return how completions are drawn, as the training would draw them: `generation_kwargs` come over the rest.

    Args:
        training_args: The recipe's.
        end_ids: Tokens that end a completion.

    Raises:
        ValueError: `generation_kwargs` holds what cannot be passed on.
    """
    given = cast(dict[str, Any], training_args.generation_kwargs or {})  # text was parsed with the arguments
    allowed = (*_OF_SAMPLING, *_OF_BODY)
    if not set(given) <= set(allowed):
        raise ValueError(
            f"`generation_kwargs` sets {sorted(set(given) - set(allowed))}, which pass rates cannot pass on to vLLM. "
            f"Allowed are {sorted(allowed)}; `max_completion_length` is a setting of its own."
        )
    if isinstance(given.get("stop"), str):
        given = {**given, "stop": [given["stop"]]}
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


def offline_model(
    script_args: PassRateScriptArguments, training_args: PassRateConfig, model_args: ModelConfig
) -> VllmModel:
    """Return the model as vLLM in this process loads it."""
    return VllmModel(
        name=find_model(model_args.model_name_or_path),
        revision=model_args.model_revision,
        dtype=model_args.dtype or "auto",
        trust_remote_code=training_args.trust_remote_code,
        tensor_parallel_size=script_args.tensor_parallel_size,
        gpu_memory_utilization=script_args.gpu_memory_utilization,
        max_model_len=script_args.max_model_len,
        enforce_eager=script_args.enforce_eager,
    )
