# SPDX-License-Identifier: Apache-2.0
"""Completions by vLLM in this process: no server, no HTTP; every one in the journal as soon as it is finished.

1. Prompts come as token ids. Upstream gives rendered text, to which vLLM's tokenizer may add a second BOS.
2. Nothing is left of it after kill -9, on the GPU neither.
3. The engine is fed one by one and never drained in between, while `LLM.generate` gives nothing before all is done.
"""

import importlib.util
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from open_r1.generation.engine import Totals
from open_r1.generation.journal import Journal
from open_r1.generation.messages import ERROR, Reply, Request, Sampling
from open_r1.generation.progress import Pace, describe

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams

logger = logging.getLogger(__name__)

_SAY_EVERY_S = 30.0
HERE = "vllm in this process"


@dataclass(frozen=True)
class OfflineModel:
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

        return LLM(
            model=self.name,
            revision=self.revision,
            tokenizer_revision=self.revision,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            tensor_parallel_size=self.tensor_parallel_size,
            gpu_memory_utilization=self.gpu_memory_utilization,
            max_model_len=self.max_model_len,
            enforce_eager=self.enforce_eager,
        )


def require_vllm(ways_out: str) -> None:
    """Refuse to go on where vLLM can't be imported.

    Args:
        ways_out: What else the command could be told, by its own flags.

    Raises:
        ValueError: It can't; the message says the ways out.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ValueError(
            f"vLLM is not installed in this environment: {ways_out}, or run in an environment that has it (`make "
            "install_serving` makes .venv-serving; for jobs: its bin on the PATH of slurm/cluster.sh)."
        )


def complete_offline(
    requests: Iterable[Request],
    num_requests: int,
    journal: Journal,
    model: OfflineModel,
    sampling: Sampling,
    *,
    max_concurrent: int = 256,
) -> Totals:
    """Complete all requests that the journal doesn't have.

    Args:
        requests: What to complete, with `prompt_ids`.
        num_requests: Their number, for the log.
        journal: Takes a record of each: `Reply.record`.
        model: The model.
        sampling: How completions are drawn.
        max_concurrent: Requests in the engine at a time; it takes as many of them as memory allows.

    Returns:
        What was done.
    """
    left = _Left(requests, journal)
    engine = model.load().llm_engine
    pace = Pace(left.totals)
    said = time.monotonic()
    waiting: dict[str, Request] = {}
    started: dict[str, float] = {}
    while True:
        while len(waiting) < max_concurrent and (request := next(left, None)) is not None:
            name = f"{request.key}/{request.index}"
            prompt: Any = {"prompt_token_ids": list(request.prompt_ids)}
            try:
                engine.add_request(name, prompt, _params(sampling, request.index))
            except ValueError as error:  # a prompt that is too long, or of tokens that the model doesn't have
                _keep(journal, left.totals, request, _failed(str(error), status=400))  # as a server says it
                continue
            waiting[name], started[name] = request, time.monotonic()
        if not waiting:
            return left.totals
        for output in engine.step():
            if output.finished:
                request = waiting.pop(output.request_id)
                seconds = time.monotonic() - started.pop(output.request_id)
                _keep(journal, left.totals, request, _reply(output, seconds))
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            logger.info("%s", describe(left.totals, num_requests, pace))
            journal.sync()


class _Left(Iterator[Request]):
    """Requests that the journal doesn't have."""

    def __init__(self, requests: Iterable[Request], journal: Journal) -> None:
        self.totals = Totals()
        self._requests, self._journal = iter(requests), journal

    def __next__(self) -> Request:
        for request in self._requests:
            if (request.key, request.index) not in self._journal.finished:
                return request
            self.totals.skipped += 1
        raise StopIteration


def _params(sampling: Sampling, index: int) -> "SamplingParams":
    from vllm import SamplingParams

    settings = sampling.body()
    if sampling.seed is not None:
        settings["seed"] = sampling.seed + index
    return SamplingParams(**settings)


def _reply(output: Any, seconds: float) -> Reply:
    completion = output.outputs[0]
    usage = {"prompt_tokens": len(output.prompt_token_ids or ()), "completion_tokens": len(completion.token_ids)}
    if completion.finish_reason not in ("stop", "length"):
        return _failed(f"vLLM ended it: {completion.finish_reason}")
    return Reply(completion.text, completion.finish_reason, usage, None, 1, seconds, HERE)


def _failed(reason: str, *, status: int | None = None) -> Reply:
    return Reply(None, ERROR, {}, status, 1, 0.0, HERE, reason)


def _keep(journal: Journal, totals: Totals, request: Request, reply: Reply) -> None:
    journal.append(reply.record(request))
    totals.add(reply, 1)
