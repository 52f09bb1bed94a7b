# SPDX-License-Identifier: Apache-2.0
"""Answers to chat requests by a transformers model in this process, for machines without vLLM.

1. What the model's own generation_config.json proposes for sampling isn't mixed in; its end tokens are.
2. Requests that come while others are sampled wait for these: one call of the sampler takes all that wait.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from open_r1.evaluation.identity import adapter_base
from open_r1.evaluation.sampling.batch_sampling import BatchSampler, SampleRequest
from open_r1.evaluation.sampling.open_answer import Sampled
from open_r1.generation.client import ServedModel
from open_r1.generation.messages import Reply, Request

HERE = "transformers in this process"
_BATCH_SIZE, _BATCH_SIZE_OF_CPU = 64, 16


@dataclass
class TransformersModel:
    """A model that is loaded here.

    Attributes:
        name: As it was named: folder, or name on the hub.
        path: What was loaded.
        sampler: Draws its answers.
    """

    name: str
    path: str
    sampler: BatchSampler

    @classmethod
    def load(
        cls,
        name: str,
        *,
        revision: str = "main",
        trust_remote_code: bool = False,
        max_batch_size: int | None = None,
    ) -> "TransformersModel":
        """Load a model in bfloat16 to a GPU, or in float32 to the CPU; it draws 64 or 16 answers at a time by default.

        Raises:
            OSError: It can't be loaded.
        """
        folder = Path(name).expanduser()
        path, base = str(folder) if folder.exists() else name, adapter_base(folder)
        # A folder has no revision, but the model that an adapter in it changes may have one.
        where = {"revision": revision if base is None else base[1], "trust_remote_code": trust_remote_code}
        is_gpu = torch.cuda.is_available()
        tokenizer = AutoTokenizer.from_pretrained(path, **where)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            path, dtype="bfloat16" if is_gpu else "float32", **where
        )
        model = model.to("cuda" if is_gpu else "cpu").eval()
        size = max_batch_size or (_BATCH_SIZE if is_gpu else _BATCH_SIZE_OF_CPU)
        return cls(name, path, BatchSampler(model, tokenizer, size))

    def served(self) -> ServedModel:
        """Return it as servers tell of theirs."""
        context = self.sampler.max_model_len
        return ServedModel(self.name, context, (self.path,), ("transformers",), (context,))

    def describe(self) -> dict[str, str]:
        """Return what answers."""
        model = self.sampler.model
        return {
            "engine": "transformers",
            "version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
        }


@dataclass
class TransformersClient:
    """Completes requests as a `Client` does; lives on one event loop, within `async with`.

    Attributes:
        here: The model.
    """

    here: TransformersModel
    _waiting: list[tuple[SampleRequest, asyncio.Future[Reply]]] = field(default_factory=list)
    _work: asyncio.Task[None] | None = None

    @property
    def model(self) -> str:
        """Its name."""
        return self.here.name

    async def __aenter__(self) -> "TransformersClient":
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._work is not None:  # those who waited are gone: it ends with the next token
            await asyncio.gather(self._work, return_exceptions=True)

    async def ask_one(self, request: Request) -> Reply:
        """Return what comes of a request; one that the model has no room for is a reply with `error`.

        Raises:
            RuntimeError: The model fails.
        """
        try:
            wanted = self._read(request)
        except (ValueError, TypeError, TemplateError) as error:
            return Reply.failed(str(error), server=HERE)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._sample_all())
        return await future

    def _read(self, request: Request) -> SampleRequest:
        sampler, sampling = self.here.sampler, request.sampling
        ids = sampler.tokenizer.apply_chat_template(
            [dict(message) for message in request.messages], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        wanted = SampleRequest(
            ids,
            sampling.max_tokens,
            temperature=1.0 if sampling.temperature is None else sampling.temperature,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            top_k=-1 if sampling.top_k is None else sampling.top_k,
            min_p=sampling.min_p or 0.0,
            seed=None if sampling.seed is None else sampling.seed + request.index,
            stop=tuple(sampling.stop),
        )
        sampler.end_of(wanted)  # refuses what the context has no room for
        return wanted

    async def _sample_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # others that are ready now come along
            batch, self._waiting = self._waiting, []
            await self._sample([wanted for wanted, _ in batch], [future for _, future in batch])

    async def _sample(self, wanted: Sequence[SampleRequest], futures: Sequence[asyncio.Future[Reply]]) -> None:
        loop, started = asyncio.get_running_loop(), time.monotonic()

        def keep(place: int, answer: Sampled) -> None:
            if not futures[place].done():
                usage = {"completion_tokens": len(answer.token_ids)}
                seconds = time.monotonic() - started
                futures[place].set_result(
                    Reply(answer.text, answer.finish_reason, usage, latency_s=seconds, server=HERE)
                )

        def on_done(place: int, answer: Sampled) -> None:  # in the sampler's thread
            loop.call_soon_threadsafe(keep, place, answer)

        def is_wanted(place: int) -> bool:
            return not futures[place].done()

        sampling = asyncio.to_thread(self.here.sampler.sample, wanted, on_done=on_done, is_wanted=is_wanted)
        (ended,) = await asyncio.gather(sampling, return_exceptions=True)
        if isinstance(ended, BaseException):  # whoever asked raises it
            for future in futures:
                if not future.done():
                    future.set_exception(ended)
