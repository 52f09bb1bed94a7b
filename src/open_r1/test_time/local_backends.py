# SPDX-License-Identifier: Apache-2.0
"""Backends in this process: transformers in batches, or vLLM. Weights are loaded with the first completion."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from open_r1.evaluation.fingerprint import check_model_name, resolve_commit
from open_r1.generation.messages import Request
from open_r1.generation.transformers_here import Sampler
from open_r1.generation.vllm_here import VllmModel
from open_r1.models import context_tokens
from open_r1.test_time.backends import Backend, BackendError, Completion, Drawing, Model, TokenRequest, completion_of
from open_r1.test_time.progress import Pulse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm import LLM

logger = logging.getLogger(__name__)


def load_tokenizer(model: Model, *, is_served: bool = False) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a model.

    Args:
        model: The model.
        is_served: Servers have its weights: a folder with the tokenizer alone does.

    Raises:
        ValueError: There is no such model, or it has no tokenizer.
    """
    check_model_name(model.name, is_tokenizer_enough=is_served)
    if not Path(model.name).expanduser().is_dir():
        resolve_commit(model.name, model.revision or "main", is_required=True)
    try:
        return AutoTokenizer.from_pretrained(
            model.name, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"The tokenizer of {model.name!r} can't be loaded: {error}") from error


def context_of(model: Model) -> int:
    """Return the most tokens of prompt and completion together: as asked for, or as the model's configuration has it.

    Raises:
        ValueError: Neither says, or more is asked for than the model has.
    """
    try:
        config = AutoConfig.from_pretrained(
            model.name, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"The configuration of {model.name!r} can't be loaded: {error}") from error
    wanted, own = model.max_model_len, context_tokens(config)
    if wanted is None:
        if own is None:
            raise ValueError(
                f"The configuration of {model.name!r} doesn't tell its context; name it by --max_model_len."
            )
        return own
    if own is not None and wanted > own:
        raise ValueError(
            f"--max_model_len is {wanted}, but {model.name!r} has a context of {own} tokens: lower it, "
            "or stretch the model's by YaRN in its config.json."
        )
    return wanted


@dataclass
class TransformersBackend(Backend):
    """Completions by transformers, on the GPU if there is one; see `backends.Backend`.

    Attributes:
        model: What is loaded.
        max_batch_size: Sequences at a time.
    """

    model: Model
    max_batch_size: int = 16

    def __post_init__(self) -> None:
        self.tokenizer = load_tokenizer(self.model)
        self.max_model_len = context_of(self.model)
        self.dtype: str | None = self.model.dtype or ("bfloat16" if torch.cuda.is_available() else "float32")
        self._sampler: Sampler | None = None

    def _load(self) -> Sampler:
        if self._sampler is None:
            model, device = self.model, "cuda" if torch.cuda.is_available() else "cpu"
            logger.info("Loading %s by transformers, to %s as %s.", model.name, device, self.dtype)
            loaded = AutoModelForCausalLM.from_pretrained(
                model.name, revision=model.revision, dtype=self.dtype, trust_remote_code=model.trust_remote_code
            )
            sampled_by = loaded.to(device).eval()
            self._sampler = Sampler(sampled_by, self.tokenizer, self.max_batch_size, self.max_model_len)
        return self._sampler

    def _complete(self, requests: Sequence[TokenRequest], drawing: Drawing) -> list[Completion]:
        """Return a completion of each request, in their order."""
        shared = drawing.sampling()
        wanted = [
            Request("", 0, prompt_ids=one.prompt, sampling=replace(shared, max_tokens=one.max_tokens, seed=one.seed))
            for one in requests
        ]
        pulse = Pulse(len(wanted))
        replies = self._load().sample(wanted, on_done=lambda _, one: pulse.done(len(one.token_ids or ())))
        return [completion_of(reply) for reply in replies]

    def close(self) -> None:
        """Let go of the model."""
        self._sampler = None


@dataclass
class VllmBackend(Backend):
    """Completions by vLLM in this process; see `backends.Backend`.

    Attributes:
        model: What is loaded.
        tensor_parallel_size: GPUs for one model.
        gpu_memory_utilization: Share of the GPU's memory, in (0, 1].
        enforce_eager: Start sooner, without compiling.
    """

    model: Model
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = False

    def __post_init__(self) -> None:
        self.tokenizer = load_tokenizer(self.model)
        self.max_model_len = context_of(self.model)
        self.dtype = self.model.dtype
        self._llm: LLM | None = None
        self._calls = 0

    def _load(self) -> "LLM":
        if self._llm is None:
            model = self.model
            self._llm = VllmModel(
                name=model.name,
                revision=model.revision,
                dtype=model.dtype or "auto",
                trust_remote_code=model.trust_remote_code,
                tensor_parallel_size=self.tensor_parallel_size,
                gpu_memory_utilization=self.gpu_memory_utilization,
                max_model_len=self.max_model_len,
                enforce_eager=self.enforce_eager,
            ).load()
        return self._llm

    def _complete(self, requests: Sequence[TokenRequest], drawing: Drawing) -> list[Completion]:
        """Return a completion of each request, in their order."""
        engine = self._load().llm_engine
        from vllm import SamplingParams

        shared = drawing.sampling().body()
        params = [SamplingParams(**{**shared, "max_tokens": one.max_tokens, "seed": one.seed}) for one in requests]
        found: dict[str, Completion] = {}
        pulse, names = Pulse(len(requests)), [f"{self._calls}/{place}" for place in range(len(requests))]
        wanted = set(names)
        self._calls += 1
        for name, request, one in zip(names, requests, params, strict=True):
            asked: Any = {"prompt_token_ids": list(request.prompt)}
            engine.add_request(name, asked, one)
        while len(found) < len(requests):  # fed and stepped as `generation.vllm_here` does: LLM.generate tells nothing
            for output in engine.step():
                if output.finished and output.request_id in wanted:  # others are of a call that an error has ended
                    found[output.request_id] = _completion(output)
                    pulse.done(len(found[output.request_id].token_ids))
        return [found[name] for name in names]

    def close(self) -> None:
        """Let go of the model; its GPU's memory is free when the process ends."""
        self._llm = None


def _completion(output: Any) -> Completion:
    one = output.outputs[0]
    if one.finish_reason not in ("stop", "length"):
        raise BackendError(f"vLLM ended a completion: {one.finish_reason}. The same command goes on.")
    return Completion(tuple(one.token_ids), one.text, one.finish_reason, one.stop_reason)
