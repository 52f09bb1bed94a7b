# SPDX-License-Identifier: Apache-2.0
"""A backend behind an OpenAI-compatible server: POST /v1/completions with token ids, which must come back as ids too.

1. Text isn't tokenised again: a server that gives no token ids back (vLLM does, asked by `return_token_ids`) is
   refused.
2. Nothing of the model's generation_config.json is mixed in (`NEUTRAL`).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from open_r1.generation.client import Client, Patience, ServedModel
from open_r1.generation.messages import NEUTRAL, Request, Sampling
from open_r1.test_time.backends import Backend, Completion, Drawing, TokenRequest, completion_of
from open_r1.test_time.progress import Pulse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_WITH_IDS = {**NEUTRAL, "return_token_ids": True}


@dataclass
class OpenAIBackend(Backend):
    """Completions by servers of one model; see `backends.Backend`. `close` ends its connections.

    Attributes:
        addresses: Servers: host:port, or URLs.
        served_model: Name to ask for; None: the one that they serve.
        api_key: Bearer token.
        patience: How long to go on when requests fail.
        max_concurrent: Requests in flight.
        wait_s: Seconds to wait for the first server.
        max_context_tokens: Most tokens of prompt and completion together, at most what the servers say; None: that.
    """

    addresses: Sequence[str]
    served_model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)
    max_concurrent: int = 256
    wait_s: float = 0.0
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        self.dtype = None
        self._client = Client(self.addresses, model=self.served_model, api_key=self.api_key, patience=self.patience)
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._client.__aenter__())
            self.served: ServedModel = self._runner.run(self._client.find_model(wait_s=self.wait_s))
            self.max_model_len = self._context_tokens()
        except BaseException:
            self.close()
            raise

    def _context_tokens(self) -> int:
        wanted, own = self.max_context_tokens, self.served.max_model_len
        if wanted is None:
            if own is None:
                raise ValueError(
                    f"The servers don't say how many tokens the context of {self.served.name!r} has; name it by "
                    "--max_model_len."
                )
            return own
        if own is not None and wanted > own:
            raise ValueError(
                f"--max_model_len is {wanted}, but {self.served.name!r} is served with a context of "
                f"{own} tokens: lower it, or serve a longer one."
            )
        return wanted

    def use(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Take the model's tokenizer, and refuse servers that give no token ids back.

        Raises:
            ValueError: They don't.
        """
        self.tokenizer = tokenizer
        prompt = tokenizer.encode("1", add_special_tokens=False)
        sampling = Sampling(temperature=0, max_tokens=1, extra_body=_WITH_IDS)
        reply = self._runner.run(self._client.ask_one(Request("", 0, prompt_ids=prompt, sampling=sampling)))
        if reply.text is None:
            raise ValueError(f"{reply.server} doesn't complete token ids: {reply.error}.")
        if reply.token_ids is None:
            raise ValueError(
                f"{reply.server} gives back text alone, without token ids: what it goes on from would be tokenised "
                "anew, perhaps into other tokens. Ask a server that heeds return_token_ids (vllm serve does), or name "
                "the model by --model_id for a backend in this process."
            )

    def _complete(self, requests: Sequence[TokenRequest], drawing: Drawing) -> list[Completion]:
        """Return a completion of each request, in their order.

        Raises:
            BackendError: A request has failed for good.
            ServersDownError: No server answers any more.
        """
        shared = drawing.sampling(**_WITH_IDS)
        asked = [
            Request("", 0, prompt_ids=one.prompt, sampling=replace(shared, max_tokens=one.max_tokens, seed=one.seed))
            for one in requests
        ]
        return self._runner.run(self._ask_all(asked))

    async def _ask_all(self, requests: Sequence[Request]) -> list[Completion]:
        places, pulse = asyncio.Semaphore(self.max_concurrent), Pulse(len(requests))

        async def ask(request: Request) -> Completion:
            async with places:
                completion = completion_of(await self._client.ask_one(request))
            pulse.done(len(completion.token_ids))
            return completion

        tasks = [asyncio.create_task(ask(request)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        finally:  # the first failure ends the others
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._client.__aexit__(None, None, None))
        self._runner.close()
