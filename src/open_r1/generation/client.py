# SPDX-License-Identifier: Apache-2.0
"""HTTP client of OpenAI-compatible servers (`vllm serve`, SGLang, ...) that serve one model: balanced, with retries.

    async with Client(["localhost:8000", "node2:8000"]) as client:
        await client.find_model()
        reply = await client.ask_one(Request("row", 0, [{"role": "user", "content": "Compute 7+9-8"}]))

A request goes to the server with the fewest in flight. One that is gone, or has failed three times in a row, gets none
until it answers GET /models. It stands on aiohttp alone: the openai client costs ten times the CPU time of a request.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from open_r1.generation.messages import (
    NOT_NOW,
    Reply,
    Request,
    ServerFailure,
    ServersDownError,
    quoted,
    read_failure,
    read_reply,
)
from open_r1.secret_names import hide_secrets, note_secrets

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S, _PROBE_TIMEOUT_S, _MOST_DELAY_S = 30.0, 10.0, 60.0
_FAILURES_IN_A_ROW = 3
# uvicorn, which vLLM serves with, closes a connection that was idle for 5 s: it's not to be used again just then.
_KEEP_ALIVE_S = 4.0
_REFUSALS = {301, 302, 307, 308, 401, 402, 404}  # address, key, account, model: the next request fares no better


@dataclass(frozen=True)
class Patience:
    """How long to go on when requests fail.

    Attributes:
        retries: How often a request that failed is sent again. Being told to come later (429, 503) and not reaching
            the server at all don't count.
        timeout_s: Seconds for one attempt, from sending to the last byte.
        deadline_s: Seconds after which a request that failed isn't sent again.
        outage_s: Seconds without any server after which all is given up; and the longest wait that a server can ask
            for (`Retry-After`).
        first_delay_s: Wait before the first retry; it doubles from there on, to a minute, and is drawn from the upper
            half.
    """

    retries: int = 9
    timeout_s: float = 3600.0
    deadline_s: float = 7200.0
    outage_s: float = 600.0
    first_delay_s: float = 1.0


@dataclass(frozen=True)
class ServedModel:
    """The model that all servers serve.

    Attributes:
        name: As the servers call it.
        max_model_len: Most tokens of prompt and answer together, of the server with the fewest; None: not told.
        roots: What is behind the name, by vLLM's word: a folder or a name on the hub.
        owners: What serves it, by the servers' word: "vllm", "transformers".
    """

    name: str
    max_model_len: int | None
    roots: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


@dataclass(eq=False)
class Server:
    """A server and how it does.

    Attributes:
        url: Base URL, such as http://localhost:8000/v1.
        name: The URL as it may be shown and kept: keys may stand in its path.
        in_flight: Requests that it is busy with.
        failures: Requests in a row that failed through its fault, or that it refused as if it would refuse all.
        has_answered: Whether it ever did its part.
        out_since: Moment of `time.monotonic` since when it gets no requests until it answers a probe.
        trouble: Its last failure.
    """

    url: str
    name: str = field(init=False)
    in_flight: int = 0
    failures: int = 0
    has_answered: bool = False
    out_since: float | None = None
    trouble: str = ""

    def __post_init__(self) -> None:
        self.name = hide_secrets(self.url)


def server_url(address: str) -> str:
    """Return the base URL of an address as users write it: host and port, or a URL with or without its path.

    Raises:
        ValueError: It is neither, or holds a password.

    >>> server_url("localhost:8000"), server_url("https://api.example.com/v1/chat/completions")
    ('http://localhost:8000/v1', 'https://api.example.com/v1')
    """
    text = address.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.username or parts.password:
        raise ValueError(f"The address at {parts.hostname} holds a user or password; name the key's variable instead.")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or " " in text:
        raise ValueError(f"{address!r} is not a server address; write host:port or http(s)://host:port/v1.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/chat/completions') or '/v1'}"


class Client:
    """Asks servers that serve the same model; lives on one event loop, within `async with`.

    Args:
        addresses: Servers: host:port, or URLs as of `server_url`.
        model: Name of the model; None: `find_model` asks for it.
        api_key: Sent as bearer token; servers without keys overlook it.
        patience: How long to go on when requests fail.

    Raises:
        ValueError: An address is none.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        model: str | None = None,
        api_key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        note_secrets(api_key)
        self.model, self.patience = model, patience or Patience()
        self.servers = [Server(url) for url in dict.fromkeys(map(server_url, addresses))]
        self._headers = {"Authorization": f"Bearer {api_key or 'EMPTY'}"}
        self._probes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=300),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            # The environment's proxy is for servers beyond the cluster; within it, one would only be in the way.
            trust_env=all(server.url.startswith("https://") for server in self.servers),
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self._session.close()

    async def ask_one(self, request: Request) -> Reply:
        """Return the reply to a request; a failure is a reply with `error`.

        Raises:
            ServersDownError: No server has answered for as long as the patience lasts, or one refuses the key, the
                model, the address or the account.
        """
        patience, started = self.patience, time.monotonic()
        path = "completions" if request.prompt_ids else "chat/completions"
        body = {"model": self.model, **request.body()}
        attempts = counted = 0
        server: Server | None = None
        while True:
            server = await self._take(server)
            attempts, sent = attempts + 1, time.monotonic()
            try:
                reply = read_reply(await self._call(server, "POST", path, patience.timeout_s, json=body))
            except ServerFailure as error:
                failure = error
            else:
                server.failures, server.has_answered = 0, True
                return replace(reply, attempts=attempts, latency_s=time.monotonic() - sent, server=server.name)
            finally:
                server.in_flight -= 1
            self._note(failure, server)
            counted += not (failure.is_gone or failure.status in NOT_NOW)
            delay_s = min(_MOST_DELAY_S, patience.first_delay_s * 2.0 ** min(attempts - 1, 30)) * random.uniform(
                0.5, 1
            )
            if failure.retry_after_s is not None:
                delay_s = max(delay_s, min(failure.retry_after_s, patience.outage_s))
            is_late = time.monotonic() + delay_s > started + patience.deadline_s
            if failure.is_final or counted > patience.retries or (is_late and not failure.is_gone):
                reason = failure.reason if attempts == 1 else f"failed {attempts} times, at last: {failure.reason}"
                return Reply.failed(reason, status=failure.status, attempts=attempts, server=server.name)
            await asyncio.sleep(0.0 if failure.is_gone else delay_s)

    async def _take(self, avoid: Server | None) -> Server:
        """Wait until there is a server to ask, and return it; others go before the one that has just failed."""
        while True:
            free = [server for server in self.servers if server.out_since is None]
            if free:
                server = min(free, key=lambda one: (one is avoid, one.in_flight, random.random()))
                server.in_flight += 1
                return server
            if time.monotonic() - max(server.out_since or 0.0 for server in self.servers) > self.patience.outage_s:
                troubles = "; ".join(f"{server.name}: {server.trouble}" for server in self.servers)
                raise ServersDownError(
                    f"No server has answered for {self.patience.outage_s:g} s ({troubles}). The journal keeps all "
                    "replies: start a server and repeat the command."
                )
            await asyncio.sleep(random.uniform(0.1, 0.4))

    def _note(self, failure: ServerFailure, server: Server) -> None:
        """Take out a server that fails, or raise a ServersDownError where it refuses all requests."""
        is_refusal = failure.status in _REFUSALS
        server.failures += is_refusal or failure.is_servers
        server.trouble = failure.reason
        is_enough = server.failures >= _FAILURES_IN_A_ROW
        if is_refusal and (is_enough or not server.has_answered):
            raise ServersDownError(
                f"{server.name} refuses all requests: {failure.reason}. The journal keeps all replies: mend the key, "
                "the model or the address, and repeat the command."
            )
        if server.out_since is None and failure.is_servers and (failure.is_gone or is_enough):
            server.out_since = time.monotonic()
            left = sum(other.out_since is None for other in self.servers)
            logger.warning(
                "Server %s is skipped (%s); %d of %d left.", server.name, failure.reason, left, len(self.servers)
            )
            self._probes.add(asyncio.create_task(self._probe_until_up(server)))

    async def _probe_until_up(self, server: Server) -> None:
        delay_s = 1.0
        while server.out_since is not None:
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, 30.0)
            try:
                await self._list_models(server)
            except ServerFailure as failure:
                if not failure.is_final:
                    continue  # else it answers, though it doesn't list its models
            server.out_since, server.failures = None, 0
            logger.warning("Server %s answers again.", server.name)

    async def _call(self, server: Server, method: str, path: str, timeout_s: float, **body: Any) -> bytes:
        """Return the body of an answer of status 200."""
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_TIMEOUT_S)
        try:
            async with self._session.request(
                method, f"{server.url}/{path}", timeout=timeout, allow_redirects=False, **body
            ) as response:
                content = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ServerFailure(str(error), is_gone=True) from error
        except TimeoutError as error:
            raise ServerFailure(f"no answer within {timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ServerFailure(hide_secrets(f"{type(error).__name__}: {error}")) from error
        if response.status != 200:
            raise read_failure(response.status, content, response.headers)
        return content

    async def _list_models(self, server: Server) -> list[dict[str, Any]]:
        """Return what a server tells of its models: `id`, and `max_model_len` if it is vLLM."""
        content = await self._call(server, "GET", "models", _PROBE_TIMEOUT_S)
        try:
            return [dict(entry) for entry in json.loads(content)["data"]]
        except (ValueError, KeyError, TypeError):
            raise ServerFailure(f"no list of models but {quoted(content)!r}", 404) from None

    async def find_model(self, *, wait_s: float = 0.0, max_tokens: int | None = None) -> ServedModel:
        """Return the model that the servers serve, and ask for it from now on.

        Args:
            wait_s: How long to wait until one server answers.
            max_tokens: Most tokens of an answer.

        Raises:
            ValueError: No server answers, the model isn't served, there are several and none is named, or `max_tokens`
                leaves no room for a prompt.
        """
        until = time.monotonic() + wait_s
        while True:
            found = await asyncio.gather(*map(self._list_models, self.servers), return_exceptions=True)
            failures = [one for one in found if isinstance(one, ServerFailure)]
            # A gateway may answer completions alone.
            lists = [one for one in found if isinstance(one, list)] or [[] for one in failures if one.status == 404]
            if lists:
                break
            reasons = "; ".join(f"{one.name}: {why.reason}" for one, why in zip(self.servers, failures, strict=True))
            if time.monotonic() >= until or any(one.status in {401, 403} for one in failures):
                raise ValueError(f"No server names its model ({reasons}): start one, wait longer, or set its key.")
            logger.warning("No server answers yet (%s); waiting up to %.0f s.", reasons, until - time.monotonic())
            await asyncio.sleep(2.0)
        names = sorted({entry["id"] for entries in lists for entry in entries})
        if self.model is None and len(names) != 1:
            raise ValueError(f"Which model? The servers list {names}: name one.")
        self.model = self.model or names[0]
        if names and not all(any(entry["id"] == self.model for entry in entries) for entries in lists):
            raise ValueError(f"A server doesn't serve {self.model!r}; the servers list {names}.")
        own = [entry for entries in lists for entry in entries if entry["id"] == self.model]
        context = min((entry["max_model_len"] for entry in own if entry.get("max_model_len")), default=None)
        if context is not None and max_tokens is not None and max_tokens >= context:
            raise ValueError(
                f"max_tokens is {max_tokens}, but {self.model!r} is served with a context of {context} tokens for "
                "prompt and answer together: all requests would be rejected. Lower it, or serve a longer context."
            )
        roots, owners = ({entry[name] for entry in own if entry.get(name)} for name in ("root", "owned_by"))
        return ServedModel(self.model, context, tuple(sorted(roots)), tuple(sorted(owners)))


def refuse_another(model: str | None, served: ServedModel, served_model: str | None) -> None:
    """Refuse to write down the answers of one model under the name of another, or by another's tokenizer.

    Args:
        model: The model that the command names, a folder or a name on the hub; None: whatever is served.
        served: What the servers say.
        served_model: The name that they are asked for by the user's word, who then knows; None: no word.

    Raises:
        ValueError: The servers serve another, or models that differ under one name.
    """
    if served_model is not None:
        return
    if len(served.roots) > 1:
        raise ValueError(
            f"The servers have different models behind the name {served.name!r}: {', '.join(served.roots)}. If they "
            f"are the same, give {served.name!r} as the name that the model is served under."
        )
    names = {served.name, *served.roots}
    if model is not None and not {model, str(Path(model).expanduser().resolve())} & names:
        raise ValueError(
            f"The servers serve {served.name!r} ({', '.join(served.roots)}), but the command names {model!r}. If that "
            f"is the same model, give {served.name!r} as the name that it is served under; otherwise name no model."
        )
