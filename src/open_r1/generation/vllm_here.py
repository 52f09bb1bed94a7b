# SPDX-License-Identifier: Apache-2.0
"""vLLM in this process, without a server or HTTP: the same `ask_one` as that of the HTTP client.

    here = VllmHere(VllmModel("Qwen/Qwen3-8B"))
    reply = await here.ask_one(Request("row", 0, prompt_ids=[...], sampling=Sampling(seed=0)))

1. Nothing is left of it after kill -9, on the GPU neither.
2. The engine gets each request as it comes and is never drained in between, while `LLM.generate` gives nothing before
   all is done.
3. Of the vLLM that GRPO trains with: where it stops (`stopping_kwargs`), and other settings for the time of a block,
   since TRL gives them to its `VLLMGeneration` once. The weights follow the policy as they do for rollouts.
"""

import asyncio
import importlib.util
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from open_r1.generation.messages import Reply, Request

if TYPE_CHECKING:
    import trl
    from trl.generation.vllm_generation import VLLMGeneration
    from vllm import LLM

VLLM_HERE = "vllm in this process"


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

    def serve_args(self) -> list[str]:
        """Return the settings as `vllm serve` takes them, behind the model's name."""
        args: list[str] = []
        for name, value in vars(self).items():
            flag = f"--{name.replace('_', '-')}"
            if name != "name" and value not in (None, False):
                args += [flag] if value is True else [flag, str(value)]
        return args

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


class VllmHere:
    """Answers requests with `prompt_ids` by a model that is loaded with this object; lives on one event loop."""

    def __init__(self, model: VllmModel) -> None:
        self._engine = model.load().llm_engine
        self._asked: dict[str, tuple[float, asyncio.Future[Reply]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask_one(self, request: Request) -> Reply:
        """Return the reply to a request; one that the model has no room for is a reply with `error`."""
        from vllm import SamplingParams

        name, prompt = f"{request.key}/{request.index}", {"prompt_token_ids": list(request.prompt_ids)}
        try:
            self._engine.add_request(name, prompt, SamplingParams(**request.sampling.body(request.index)))
        except ValueError as error:  # a prompt that is too long, or of tokens that the model doesn't have
            return Reply.failed(str(error), status=400, server=VLLM_HERE)  # as a server says it
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[name] = time.monotonic(), future
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._step_all())
        return await future

    async def _step_all(self) -> None:
        try:
            while self._asked:
                # On the loop's own thread, to which CUDA's device and OpenMP's threads are bound.
                for output in self._engine.step():
                    if output.finished:
                        started, future = self._asked.pop(output.request_id)
                        if not future.done():
                            future.set_result(_reply_of(output, time.monotonic() - started))
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            for _, future in self._asked.values():
                if not future.done():
                    future.set_exception(error)


def _reply_of(output: Any, seconds: float) -> Reply:
    one = output.outputs[0]
    if one.finish_reason not in ("stop", "length"):
        return Reply.failed(f"vLLM ended it: {one.finish_reason}", server=VLLM_HERE)
    usage = {"prompt_tokens": len(output.prompt_token_ids or ()), "completion_tokens": len(one.token_ids)}
    known = {"token_ids": list(one.token_ids), "stop_reason": one.stop_reason}
    return Reply(one.text, one.finish_reason, usage, latency_s=seconds, server=VLLM_HERE, **known)


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
