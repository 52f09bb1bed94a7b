# SPDX-License-Identifier: Apache-2.0
"""Completions of prompts that are already rendered, as token ids: POST /v1/completions of `vllm serve` and its like.

The template of the recipe is in effect, whatever the server would use, a `<think>` that it opens is part of the
prompt as it is in training, and a BOS stands there once.
"""

import json
from collections.abc import Callable, Iterable, Sequence

from open_r1.generation.client import ChatClient
from open_r1.generation.engine import Outcome, Totals, run_requests
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Message, Reply, Request
from open_r1.generation.models import FlagNames, ServedModel, find_model
from open_r1.generation.progress import progress

# Of `scripts/compute_pass_rate.py`.
_FLAGS = FlagNames("--server_model", "--max_completion_length", "--server_api_key_env", "")


class CompletionClient(ChatClient):
    """A `ChatClient` for requests with `prompt_ids`."""

    path = "completions"

    async def complete(self, request: Request) -> Reply:
        """Return what comes of a request; a failure is a reply with `error`.

        Raises:
            ValueError: The request has no `prompt_ids`.
            ServersDownError: No server has answered for as long as the patience lasts.
        """
        if not request.prompt_ids:
            raise ValueError(f"The request {request.key} has no prompt_ids.")
        return await self._ask(request.prompt_ids, request.index)

    def _encode(self, messages: Sequence[Message] | Sequence[int], index: int) -> bytes:
        body = {"model": self.model, "prompt": list(messages), **self._body}
        if self.sampling.seed is not None:
            body["seed"] = self.sampling.seed + index
        return json.dumps(body).encode()


async def complete_all(
    requests: Iterable[Request],
    num_requests: int,
    journal: Journal,
    client: CompletionClient,
    *,
    max_concurrent: int = 256,
    on_model: Callable[[ServedModel], None] = lambda _: None,
) -> Outcome:
    """Ask for all requests that the journal doesn't have, and show how far it is.

    Args:
        requests: What to ask for.
        num_requests: Their number, for the display.
        journal: Takes the replies.
        client: Not opened yet.
        max_concurrent: Requests in flight.
        on_model: Told what is served, before the first request.

    Raises:
        ValueError: No server answers, or serves the model, or has room for `max_tokens`.
        ServersDownError: No server has answered for as long as the client's patience lasts.
        TooManyErrorsError: Too many requests failed in a row.
        JournalError: The disk is full.
    """
    totals = Totals()
    async with client:
        on_model(await find_model(client, flags=_FLAGS))
        async with progress(totals, num_requests):
            return await run_requests(
                requests, client, journal, max_concurrent=max_concurrent, totals=totals, retry_flag="the same command"
            )
