# SPDX-License-Identifier: Apache-2.0
"""The server that `generate.py` asks: one that is there, or a `vllm serve` of its own; either is looked at first."""

import argparse
import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from open_r1.generation.balancing import server_url
from open_r1.generation.client import ChatClient
from open_r1.generation.distil_arguments import build_sampling
from open_r1.generation.models import FlagNames, find_model
from open_r1.generation.servers import VllmServer


@contextlib.contextmanager
def serving(args: argparse.Namespace, vllm_log: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Give a server that answers, the model's name there, and a check that raises when it no longer does."""
    with contextlib.ExitStack() as stack:
        url, model, check_alive = server_url(args.vllm_server_url), args.model, None
        if args.serve:
            server = VllmServer(
                model, args=args.serve_args, log_path=vllm_log, deadline_s=args.serve_deadline_s, vllm=args.vllm
            )
            stack.enter_context(server)
            url, model, check_alive = server.url, server.model, server.check

        def check() -> None:
            if check_alive is not None:
                check_alive()
            asyncio.run(check_server(args, url, model))

        check()
        yield url, model, check


async def check_server(args: argparse.Namespace, base_url: str, model: str) -> None:
    """Ask the server what it serves.

    Raises:
        ValueError: No server answers, it refuses the key, or it does not serve the model with so long a context.
    """
    key = os.environ.get(args.api_key_env)
    async with ChatClient([base_url], build_sampling(args), model=model, api_key=key) as client:
        await find_model(client, wait_s=args.wait_s, flags=FlagNames(max_tokens="--max-new-tokens"))
