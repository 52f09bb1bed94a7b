# SPDX-License-Identifier: Apache-2.0
"""Which model do the servers serve, and does what is asked of it fit: found out before the first token is paid for."""

import asyncio
import logging
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.generation.client import ChatClient
from open_r1.generation.replies import ServerFailure

logger = logging.getLogger(__name__)

_ASK_AGAIN_S = 2.0


@dataclass(frozen=True)
class FlagNames:
    """How the command spells what messages advise; "": it has no such flag."""

    model: str = "--model"
    max_tokens: str = "--max-tokens"
    api_key: str = "--api-key-env"
    wait: str = "--wait-s"


_FLAGS = FlagNames()


@dataclass(frozen=True)
class ServedModel:
    """The model that all servers serve.

    Attributes:
        name: As the servers call it.
        max_model_len: Most tokens of prompt and answer together, of the server with the fewest; None: not told.
        roots: What is behind the name, by vLLM's word: a folder or a name on the hub.
        owners: What serves it, by the servers' word: "vllm", "transformers".
        contexts: `max_model_len` of the servers, each once; None of those that don't tell.
        are_roots_told: Whether each server tells what is behind the name.
    """

    name: str
    max_model_len: int | None
    roots: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    contexts: tuple[int | None, ...] = ()
    are_roots_told: bool = True


async def find_model(client: ChatClient, *, wait_s: float = 0.0, flags: FlagNames = _FLAGS) -> ServedModel:
    """Find the model to ask for, and have the client ask for it.

    Args:
        client: If its `model` is None, the servers must serve one model.
        wait_s: How long to wait until one server answers.
        flags: What messages name.

    Raises:
        ValueError: No server answers, the model isn't served, there are several, or `max_tokens` leaves no room for
            a prompt.
    """
    listed = await _wait_for_lists(client, wait_s, flags)
    names = sorted({entry["id"] for entries in listed.values() for entry in entries})
    name = client.model
    if name is None:
        if len(names) != 1:
            found = f"they serve {names}" if names else "they don't tell what they serve"
            raise ValueError(f"Which model? Servers {list(listed)}: {found}. Name one by {flags.model}.")
        name = names[0]
    contexts: set[int | None] = set()
    roots: set[str | None] = set()
    owners: set[str] = set()
    for url, entries in listed.items():
        own = [entry for entry in entries if entry["id"] == name]
        if entries and not own:
            raise ValueError(f"{url} doesn't serve {name!r} but {sorted(entry['id'] for entry in entries)}.")
        told = own or [{}]  # a server that doesn't tell its models
        contexts |= {value if type(value := entry.get("max_model_len")) is int else None for entry in told}
        roots |= {value if isinstance(value := entry.get("root"), str) else None for entry in told}
        owners |= {entry["owned_by"] for entry in own if isinstance(entry.get("owned_by"), str)}
    client.model = name
    lengths = sorted(value for value in contexts if value is not None)
    model = ServedModel(
        name,
        lengths[0] if lengths else None,
        tuple(sorted(root for root in roots if root is not None)),
        tuple(sorted(owners)),
        (*lengths, *([None] if None in contexts else [])),
        None not in roots,
    )
    wanted = client.sampling.max_tokens
    if model.max_model_len is not None and wanted is not None and wanted >= model.max_model_len:
        raise ValueError(
            f"max_tokens is {wanted}, but {name!r} is served with a context of {model.max_model_len} tokens for "
            f"prompt and answer together: all would be refused. Lower {flags.max_tokens}, or serve a longer context."
        )
    return model


def refuse_another(
    model: str | None,
    served: ServedModel,
    served_model: str | None,
    fingerprint: Callable[[str], str | None] = lambda folder: None,
) -> None:
    """Refuse to write down the answers of one model under the name of another, or by another's tokenizer.

    Args:
        model: The model that the command names, a folder or a name on the hub; None: whatever is served.
        served: What the servers say.
        served_model: The name that they are asked for by the user's word, who then knows; None: no word.
        fingerprint: Gives a hash of a folder's weights, or None where there is no such folder here.

    Raises:
        ValueError: The servers serve another, or models that differ under one name.
    """
    _refuse_several(model, served, served_model, fingerprint)
    if model is None or served_model is not None or model == served.name:
        return
    folder = str(Path(model).expanduser().resolve())
    if folder == served.name:
        return
    is_behind = bool({model, folder} & set(served.roots))
    if not is_behind and served.roots:  # a copy is as good
        own = fingerprint(model)
        is_behind = own is not None and own == fingerprint(served.roots[0])
    if not is_behind or not served.are_roots_told:
        also = "" if not is_behind else ", and not each of them tells what that is"
        raise ValueError(
            f"The servers serve {served.name!r}, but --model_id is {model!r}{also}. If that is the same model, say so "
            f"by --served_model {shlex.quote(served.name)}; otherwise leave --model_id out."
        )


def _refuse_several(
    model: str | None, served: ServedModel, served_model: str | None, fingerprint: Callable[[str], str | None]
) -> None:
    """Refuse servers that have different models behind the name; folders with the same weights are one model."""
    if len(served.roots) < 2:
        return
    prints = {root: fingerprint(root) for root in served.roots}
    known = set(prints.values()) - {None}
    if len(known) == 1 and None not in prints.values():
        return
    behind = f"The servers have different models behind the name {served.name!r}: {', '.join(served.roots)}"
    if len(known) > 1:
        raise ValueError(f"{behind}. Their weights differ: ask the servers of one alone.")
    if model is None or (served_model is None and model != served.name):
        raise ValueError(
            f"{behind}; not all of these can be read here to compare their weights. If they are the same model, say "
            f"so by --model_id <model> --served_model {shlex.quote(served.name)}; otherwise ask the servers of one "
            "alone."
        )


async def _wait_for_lists(client: ChatClient, wait_s: float, flags: FlagNames) -> dict[str, list[dict[str, Any]]]:
    """Models by server, of those that answer; those that don't are taken out."""
    until = time.monotonic() + wait_s
    servers = client.balancer.servers
    while True:
        found = await asyncio.gather(*(client.served_models(server) for server in servers), return_exceptions=True)
        lists: dict[str, list[dict[str, Any]]] = {}
        failures: list[str] = []
        for server, result in zip(servers, found, strict=True):
            if isinstance(result, ServerFailure):
                failures.append(f"{server.name}: {result.reason}")
                if result.status in {401, 403}:
                    raise ValueError(f"{failures[-1]}. Name the variable with the right key by {flags.api_key}.")
                if result.is_final and client.model is not None:
                    lists[server.url] = []  # a server that doesn't tell its models
                elif lists:
                    server.trouble = result.reason
            elif isinstance(result, BaseException):
                raise result
            else:
                lists[server.url] = result
        if lists:
            for server in servers:
                if server.url not in lists:
                    client.balancer.failed(server, server.trouble or "no answer at the start", is_gone=True)
            return lists
        if time.monotonic() >= until:
            wait = f", or wait for it by {flags.wait}" if flags.wait else ""
            raise ValueError(f"No server answers: {'; '.join(failures)}. Start one{wait}.")
        logger.warning("No server answers yet (%s); waiting up to %.0f s.", failures[0], until - time.monotonic())
        await asyncio.sleep(min(_ASK_AGAIN_S, max(0.0, until - time.monotonic())))
