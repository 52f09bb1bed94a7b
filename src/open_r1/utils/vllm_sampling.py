# SPDX-License-Identifier: Apache-2.0
"""Completions of other settings than the rollouts' by the vLLM that GRPO trains with, in its process or as a server.

TRL gives the settings of sampling to its `VLLMGeneration` once, when the training starts; here they are others for the
time of a block. The weights follow the policy as they do for rollouts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import trl
from trl.generation.vllm_generation import VLLMGeneration


@contextmanager
def vllm_settings(generation: VLLMGeneration, **settings: Any) -> Iterator[None]:
    """Let TRL's vLLM sample by other settings: attributes of `VLLMGeneration`."""
    before = {name: vars(generation)[name] for name in settings}
    vars(generation).update(settings)
    try:
        yield
    finally:
        vars(generation).update(before)


def sample_by_vllm(
    trainer: trl.GRPOTrainer, prompts: Sequence[list[int]], num_samples: int, **settings: Any
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
