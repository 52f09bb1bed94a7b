# SPDX-License-Identifier: Apache-2.0
"""vLLM in this process: of a model that is loaded here, or that GRPO trains with.

1. Nothing is left of it after kill -9, on the GPU neither.
2. Of the vLLM that GRPO trains with: where it stops (`stopping_kwargs`), and other settings for the time of a block,
   since TRL gives them to its `VLLMGeneration` once. The weights follow the policy as they do for rollouts.
"""

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trl
    from trl.generation.vllm_generation import VLLMGeneration
    from vllm import LLM


@dataclass(frozen=True)
class VllmModel:
    """What vLLM loads.

    Attributes:
        name: Model folder or name on the hub.
        revision: Branch, tag or commit on the hub.
        dtype: Of the weights; "auto": as they are.
        trust_remote_code: Run code that comes with the model.
        tensor_parallel_size: GPUs for one model.
        gpu_memory_utilization: Share of the GPU's memory, in (0, 1].
        max_model_len: Tokens of prompt and completion together; None: the model's.
        enforce_eager: Start sooner, without compiling.
    """

    name: str
    revision: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    enforce_eager: bool = False

    def load(self) -> "LLM":
        """Load the model; takes minutes for a large one."""
        # vLLM would put its engine into a process that outlives ours after kill -9, with all of the GPU's memory. In
        # ours, it is gone with it; its workers, on several GPUs, watch their parent themselves.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        from vllm import LLM

        settings = {**vars(self), "model": self.name, "tokenizer_revision": self.revision}
        return LLM(**{name: value for name, value in settings.items() if name != "name"})


def require_vllm(ways_out: str) -> None:
    """Raise a ValueError where vLLM can't be imported; `ways_out` says what else the command could be told."""
    if importlib.util.find_spec("vllm") is None:
        raise ValueError(
            f"vLLM is not installed in this environment: {ways_out}, or run in an environment that has it (`make "
            "install_serving` makes .venv-serving; for jobs: its bin on the PATH of slurm/cluster.sh)."
        )


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
