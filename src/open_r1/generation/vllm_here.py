# SPDX-License-Identifier: Apache-2.0
"""vLLM that GRPO trains with: where it stops, and samples by other settings than those of the rollouts.

TRL gives its `VLLMGeneration` the settings once. The weights follow the policy as they do for rollouts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trl
    from trl.generation.vllm_generation import VLLMGeneration


def stopping_kwargs(
    generation_kwargs: Mapping[str, Any] | None, end_ids: Sequence[int], stop_strings: Sequence[str] | None
) -> dict[str, Any]:
    """Return vLLM's `generation_kwargs` with the tokens and texts at which the trainer says a completion ends.

    vLLM knows the EOS of the model's files by itself, but not the one that the chat template ends a turn with, and TRL
    doesn't tell it. It keeps what has ended a completion among its tokens.
    """
    stopping: dict[str, Any] = {**(generation_kwargs or {}), "stop_token_ids": list(end_ids)}
    if stop_strings:
        own = stopping.get("stop") or []
        stopping["stop"] = [*([own] if isinstance(own, str) else own), *stop_strings]
        stopping["skip_special_tokens"] = False  # or special tokens within a stop text would never be seen
    return stopping


@contextmanager
def vllm_settings(generation: "VLLMGeneration", **settings: Any) -> Iterator[None]:
    """Let TRL's vLLM sample by other settings: attributes of `VLLMGeneration`."""
    before = {name: vars(generation)[name] for name in settings}
    vars(generation).update(settings)
    try:
        yield
    finally:
        vars(generation).update(before)


def sample_by_vllm(
    trainer: "trl.GRPOTrainer", prompts: Sequence[list[int]], num_samples: int, **settings: Any
) -> list[list[int]]:
    """Return the token ids of completions by the policy as it is now.

    Args:
        trainer: Trains with vLLM.
        prompts: Token ids; every process of the training gives as many, and all call this together.
        num_samples: Completions of each prompt; those of one stand behind each other.
        **settings: What differs from the rollouts: see `vllm_settings`.
    """
    repeated = [ids for ids in prompts for _ in range(num_samples)]
    with vllm_settings(trainer.vllm_generation, **settings):
        completion_ids, _ = trainer._generate_single_turn(repeated, None, {}, num_samples)
    return completion_ids
