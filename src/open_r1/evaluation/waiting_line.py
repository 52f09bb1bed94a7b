# SPDX-License-Identifier: Apache-2.0
"""Requests that wait for a sampler, which takes those that are there in one batch whenever it is free.

The requests of a batch that fails are tried again one by one, so that none fails for another's sake; behind one that
fails alone the next is tried as if nothing had happened.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import psutil
import torch

from open_r1.evaluation.sampling.batch_sampling import BatchSampler, SampleRequest
from open_r1.evaluation.sampling.open_answer import Sampled

logger = logging.getLogger(__name__)

FAILURES_TO_GIVE_UP = 10
STOPPING = "the server is stopping"
_GATHER_S = 0.02  # requests of one client arrive one after the other: a batch starts when none has for so long
_SHARE_OF_MEMORY = 0.4  # for the cache, which is copied when it grows


class SamplerFailedError(RuntimeError):
    """The batch of a request failed, or nothing is sampled any more."""


@dataclass(frozen=True)
class _Job:
    request: SampleRequest
    num_tokens: int
    future: asyncio.Future[Sampled]

    def finish(self, answer: Sampled) -> None:
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, reason: str) -> None:
        if not self.future.done():
            self.future.set_exception(SamplerFailedError(reason))


class WaitingLine:
    """Lives on one event loop, samples in a thread of its own.

    A batch has no more tokens, prompts and longest answers together, than the memory holds; one request alone may.

    Args:
        sampler: Used by nobody else.

    Attributes:
        trouble: Why nothing is sampled any more; None while all is well.
    """

    def __init__(self, sampler: BatchSampler) -> None:
        self.trouble: str | None = None
        self._sampler = sampler
        self._max_tokens = tokens_in_memory(sampler)
        self._jobs: deque[_Job] = deque()
        self._has_jobs = asyncio.Event()
        self._is_abandoned = False
        self._failures = 0

    @property
    def num_waiting(self) -> int:
        """Requests that aren't in a batch yet."""
        return len(self._jobs)

    async def ask(self, requests: Sequence[SampleRequest]) -> list[Sampled]:
        """Return the answers; cancelled, the requests leave the line, or the batch that they are in.

        Raises:
            SamplerFailedError: There are none.
        """
        if self.trouble is not None:
            raise SamplerFailedError(self.trouble)
        loop = asyncio.get_running_loop()
        jobs = [_Job(request, self._tokens_of(request), loop.create_future()) for request in requests]
        self._jobs.extend(jobs)
        self._has_jobs.set()
        try:
            return list(await asyncio.gather(*(job.future for job in jobs)))
        finally:
            for job in jobs:
                job.future.cancel()

    def _tokens_of(self, request: SampleRequest) -> int:
        return len(request.prompt_ids) + self._sampler.end_of(request).max_tokens

    async def run(self) -> None:
        """Sample what comes, until the task is cancelled."""
        with ThreadPoolExecutor(1, "sampler") as executor:
            loop = asyncio.get_running_loop()
            while not self._is_abandoned:
                await self._gather()
                jobs = self._take()
                if not jobs:
                    continue
                sampling = loop.run_in_executor(executor, self._sample, loop, jobs)
                await asyncio.wait([sampling])
                self._note(jobs, sampling.exception())

    async def _gather(self) -> None:
        await self._has_jobs.wait()
        before = 0
        while before < len(self._jobs) < self._sampler.max_batch_size:
            before = len(self._jobs)
            await asyncio.sleep(_GATHER_S)

    def _take(self) -> list[_Job]:
        jobs: list[_Job] = []
        num_tokens = 0
        while self._jobs and len(jobs) < self._sampler.max_batch_size:
            if self._jobs[0].future.done():
                self._jobs.popleft()
                continue
            num_tokens += self._jobs[0].num_tokens
            if jobs and num_tokens > self._max_tokens:
                break
            jobs.append(self._jobs.popleft())
        if not self._jobs:
            self._has_jobs.clear()
        return jobs

    def _sample(self, loop: asyncio.AbstractEventLoop, jobs: Sequence[_Job]) -> None:
        def finish(place: int, answer: Sampled) -> None:
            if answer.finish_reason == "abort":  # nobody waits for it, or the server stops
                loop.call_soon_threadsafe(jobs[place].fail, STOPPING)
            else:
                loop.call_soon_threadsafe(jobs[place].finish, answer)

        def is_wanted(place: int) -> bool:
            return not (self._is_abandoned or jobs[place].future.done())

        self._sampler.sample([job.request for job in jobs], on_done=finish, is_wanted=is_wanted)

    def _note(self, jobs: Sequence[_Job], error: BaseException | None) -> None:
        if error is None:
            self._failures = 0
            return
        self._failures += 1
        reason = f"{type(error).__name__}: {error}"
        logger.error("A batch of %d answers failed: %s", len(jobs), reason, exc_info=error)
        # After an error of the device nothing works any more in this process.
        if self._failures >= FAILURES_TO_GIVE_UP or isinstance(error, torch.AcceleratorError):
            self.trouble = reason
        if self.trouble is None and len(jobs) > 1:
            self._try_alone(jobs)
            return
        for job in jobs:
            job.fail(reason)
        if self.trouble is not None:
            self._fail_all(reason)

    def _try_alone(self, jobs: Sequence[_Job]) -> None:
        """Put jobs back to the front, each too large to share a batch; those that are finished will be passed over."""
        self._jobs.extendleft(replace(job, num_tokens=self._max_tokens + 1) for job in reversed(jobs))
        self._has_jobs.set()

    def abandon(self) -> None:
        """Let what is sampled end with its next token; called by any thread."""
        self._is_abandoned = True

    def close(self) -> None:
        """Refuse what waits, and all that comes."""
        self.trouble = self.trouble or STOPPING
        self._is_abandoned = True
        self._fail_all(self.trouble)
        self._has_jobs.set()

    def _fail_all(self, reason: str) -> None:
        while self._jobs:
            self._jobs.popleft().fail(reason)


def tokens_in_memory(sampler: BatchSampler) -> int:
    """Return for how many tokens of a batch the free memory has room, by the model's cache of keys and values."""
    model = sampler.model
    config = model.config.get_text_config(decoder=True)
    if model.device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(model.device)
    else:
        free_bytes = psutil.virtual_memory().available
    known = config.to_dict()
    heads = known.get("num_key_value_heads") or config.num_attention_heads
    head_dim = known.get("head_dim") or config.hidden_size // config.num_attention_heads
    bytes_of_a_token = 2 * config.num_hidden_layers * heads * head_dim * model.dtype.itemsize
    return int(_SHARE_OF_MEMORY * free_bytes / bytes_of_a_token)
