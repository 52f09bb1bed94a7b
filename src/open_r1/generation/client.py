# SPDX-License-Identifier: Apache-2.0
"""HTTP client of OpenAI-compatible servers (`vllm serve`, SGLang, ...) that serve one model: balanced, with retries.

    async with Client(["localhost:8000", "node2:8000"]) as client:
        await client.find_model()
        reply = await client.ask_one(Request("row", 0, [{"role": "user", "content": "Compute 7+9-8"}]))

A request goes to the server with the fewest in flight. One that is gone, or has failed three times in a row, gets none
until it answers GET /models. It stands on aiohttp alone: the openai client costs ten times the CPU time of a request.
"""

import asyncio
import io
import json
import logging
import random
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from open_r1.generation.messages import (
    NOT_NOW,
    REFUSALS,
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

CONNECT_TIMEOUT_S, PROBE_TIMEOUT_S = 30.0, 10.0
FAILURES_TO_TAKE_OUT, REFUSALS_TO_STOP = 3, 3  # in a row
# uvicorn, which vLLM serves with, closes a connection that was idle for 5 s: it's not to be used again just then.
_KEEP_ALIVE_S = 4.0
_SHORTEST_S = 0.05  # with less time left no request is sent: no model answers within it
_MOST_PROBE_DELAY_S, _ASK_AGAIN_S = 30.0, 2.0
_LARGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How long to go on when requests fail.

    Attributes:
        retries: How often a request that failed is sent again. Being told to come later (429, 503) and not reaching
            the server at all don't count.
        timeout_s: Seconds for one attempt, from sending to the last byte.
        deadline_s: Seconds for a request with all its attempts and waits (of a conversation: for each turn). Time
            without any server, or in which they asked other requests to come later, isn't counted.
        outage_s: Seconds without any server after which all is given up; and the longest that a server is left alone
            because it asks for it (`Retry-After`).
        first_delay_s: Wait before the first retry; it doubles from there on, to `max_delay_s`, and is drawn from the
            upper half.
    """

    retries: int = 9
    timeout_s: float = 3600.0
    deadline_s: float = 7200.0
    outage_s: float = 600.0
    first_delay_s: float = 1.0
    max_delay_s: float = 60.0


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


@dataclass(eq=False)
class Server:
    """A server and how it does; moments are of `time.monotonic`.

    Attributes:
        url: Base URL, such as http://localhost:8000/v1.
        name: The URL as it may be shown and kept: keys may stand in its path.
        in_flight: Requests that it is busy with.
        failures: Requests that failed in a row through its fault.
        refusals: Requests in a row that it refused as if it would refuse all.
        has_answered: Whether it ever did its part.
        out_since: Since when it gets no requests until it answers a probe.
        not_before: Moment before which it asked to be left alone (`Retry-After`).
        trouble: Its last failure.
    """

    url: str
    name: str = field(init=False)
    proxy: str | None = field(init=False)
    in_flight: int = 0
    failures: int = 0
    refusals: int = 0
    has_answered: bool = False
    out_since: float | None = None
    not_before: float = 0.0
    probe_delay_s: float = 1.0
    trouble: str = ""

    def __post_init__(self) -> None:
        self.name = hide_secrets(self.url)
        # The environment's proxy is for servers beyond the cluster; within it, one would only be in the way.
        is_near = urlsplit(self.url).scheme == "http" or urllib.request.proxy_bypass(urlsplit(self.url).hostname or "")
        self.proxy = None if is_near else urllib.request.getproxies().get("https")

    def did_its_part(self) -> None:
        """Note that it answered."""
        self.failures = self.refusals = 0
        self.probe_delay_s, self.has_answered = 1.0, True


def server_url(address: str) -> str:
    """Return the base URL of an address as users write it: host and port, or a URL with or without its path.

    Raises:
        ValueError: It is neither, or holds a password.

    >>> server_url("localhost:8000"), server_url("https://api.example.com/v1/chat/completions")
    ('http://localhost:8000/v1', 'https://api.example.com/v1')
    """
    text = address.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.netloc.endswith(":") or parts.query or parts.fragment or any(map(str.isspace, text)):
        raise ValueError(f"{address!r} is no address of a server; write host:port or http(s)://host:port/v1.")
    if parts.username or parts.password:
        raise ValueError(f"The address at {parts.hostname} holds a user or password; name the key's variable instead.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/chat/completions') or '/v1'}"


class Client:
    """Asks servers that serve the same model; lives on one event loop, within `async with`.

    Args:
        addresses: Servers: host:port, or URLs as of `server_url`.
        model: Name of the model; None: `find_model` asks for it.
        api_key: Sent as bearer token; servers without keys overlook it.
        patience: How long to go on when requests fail.

    Raises:
        ValueError: An address is none, or is given twice.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        model: str | None = None,
        api_key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        urls = [server_url(address) for address in addresses]
        if not urls or len(set(urls)) < len(urls):
            raise ValueError(f"The servers must be one or more, each named once; got {urls}.")
        note_secrets(api_key)
        self.model, self.patience = model, patience or Patience()
        self.servers = [Server(url) for url in urls]
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {api_key or 'EMPTY'}"}
        self._probes: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=300)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self._session.close()

    async def ask_one(self, request: Request) -> Reply:
        """Return the reply to a request, without its turns; a failure is a reply with `error`.

        Raises:
            ServersDownError: No server has answered for as long as the patience lasts, or one refuses the key, the
                model, the address or the account.
        """
        patience = self.patience
        path = "completions" if request.prompt_ids else "chat/completions"
        content = json.dumps({"model": self.model, **request.body()}).encode()
        deadline = time.monotonic() + patience.deadline_s
        attempts = failures = counted = 0
        server: Server | None = None
        failure: ServerFailure | None = None
        while True:
            since = time.monotonic()
            server = await self._take(server)
            # An outage, or a pause that others were asked for: a request sleeps its own pause below.
            deadline += time.monotonic() - since
            attempts += 1
            started = time.monotonic()
            try:
                reply = await self._post(server, path, content, deadline - started)
            except ServerFailure as error:
                # What came before says more than that time ran out.
                is_late = not error.is_servers and error.status is None
                failure = replace(error, reason=failure.reason) if failure is not None and is_late else error
            else:
                server.did_its_part()
                seconds = time.monotonic() - started
                return replace(reply, attempts=attempts, latency_s=seconds, server=server.name)
            finally:
                server.in_flight -= 1
            self._refuse(server, failure)
            failures += 1
            counted += not (failure.is_gone or failure.status in NOT_NOW)
            delay_s = self._after(failure, server, failures)
            reason = failure.reason
            if not failure.is_final:
                if counted > patience.retries:
                    reason = f"failed {attempts} times, at last: {reason}"
                elif time.monotonic() + delay_s < deadline:
                    await asyncio.sleep(delay_s)
                    continue
                else:
                    reason = f"not done within {patience.deadline_s:g} s, at last: {reason}"
            return Reply.failed(reason, status=failure.status, attempts=attempts, server=server.name)

    async def _take(self, avoid: Server | None) -> Server:
        """Wait until there is a server to ask, and return it; others go before the one that has just failed."""
        while True:
            now = time.monotonic()
            free = [server for server in self.servers if server.out_since is None and server.not_before <= now]
            free = [server for server in free if server is not avoid] or free
            if free:
                fewest = min(server.in_flight for server in free)
                server = random.choice([server for server in free if server.in_flight == fewest])
                server.in_flight += 1
                return server
            outs = [server.out_since for server in self.servers]
            if None not in outs and now - max(filter(None, outs)) > self.patience.outage_s:
                troubles = "; ".join(f"{server.name}: {server.trouble}" for server in self.servers)
                raise ServersDownError(
                    f"No server has answered for {self.patience.outage_s:g} s ({troubles}). The journal keeps all "
                    "replies: start a server and repeat the command."
                )
            await asyncio.sleep(random.uniform(0.1, 0.4))

    def _refuse(self, server: Server, failure: ServerFailure) -> None:
        """Raise a ServersDownError if a server refuses all requests: it never answered one, or refuses several."""
        server.refusals += failure.status in REFUSALS
        if failure.status in REFUSALS and (server.refusals >= REFUSALS_TO_STOP or not server.has_answered):
            raise ServersDownError(
                f"{server.name} refuses all requests: {failure.reason}. The journal keeps all replies: mend the key, "
                "the model or the address, and repeat the command."
            )

    def _after(self, failure: ServerFailure, server: Server, failures: int) -> float:
        """Note a failure of a server; return how long to wait before the next attempt."""
        if failure.is_servers:
            server.failures += 1
            server.trouble = failure.reason
            if server.out_since is None and (failure.is_gone or server.failures >= FAILURES_TO_TAKE_OUT):
                server.out_since = time.monotonic()
                left = sum(other.out_since is None for other in self.servers)
                logger.warning(
                    "Server %s is taken out (%s); %d of %d left.", server.name, server.trouble, left, len(self.servers)
                )
                self._probes.append(asyncio.create_task(self._probe_until_up(server)))
        if failure.is_gone:
            return 0.0
        longest_s = min(self.patience.max_delay_s, self.patience.first_delay_s * 2.0 ** min(failures - 1, 30))
        delay_s = longest_s * random.uniform(0.5, 1.0)
        if failure.retry_after_s is None:
            return delay_s
        # The whole server is left alone for as long as it asks, within reason; others may be asked at once.
        now = time.monotonic()
        delay_s = min(max(delay_s, failure.retry_after_s), self.patience.outage_s)
        server.not_before = max(server.not_before, now + delay_s)
        pauses = [max(0.0, one.not_before - now) for one in self.servers if one.out_since is None]
        return min(pauses, default=delay_s)

    async def _probe_until_up(self, server: Server) -> None:
        while True:
            await asyncio.sleep(server.probe_delay_s * random.uniform(0.5, 1.0))
            server.probe_delay_s = min(2 * server.probe_delay_s, _MOST_PROBE_DELAY_S)
            try:
                await self._served_models(server)
            except ServerFailure as failure:
                server.trouble = failure.reason
                if not failure.is_final:
                    continue  # else it answers, though it doesn't list its models
            break
        server.out_since, server.failures = None, 0
        logger.warning("Server %s answers again.", server.name)

    async def _post(self, server: Server, path: str, content: bytes, left_s: float) -> Reply:
        timeout_s = min(left_s, self.patience.timeout_s)
        if left_s <= _SHORTEST_S:
            raise ServerFailure("no time left", is_servers=False)
        data = content if len(content) < _LARGE_BYTES else io.BytesIO(content)
        try:
            async with self._session.post(
                f"{server.url}/{path}",
                data=data,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                proxy=server.proxy,
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise ServerFailure(str(error), is_gone=True) from error
        except TimeoutError as error:
            is_gone = isinstance(error, aiohttp.ConnectionTimeoutError)
            # At the end of a request's time little of it may be left, for which no server is to blame.
            is_servers = is_gone or timeout_s < left_s
            what = "connection" if is_gone else "answer"
            raise ServerFailure(f"no {what} within {timeout_s:g} s", is_gone=is_gone, is_servers=is_servers) from error
        except aiohttp.ClientError as error:
            raise ServerFailure(hide_secrets(f"{type(error).__name__}: {error}")) from error
        if response.status == 200:
            return read_reply(body)
        raise read_failure(response.status, body, response.headers)

    async def _served_models(self, server: Server) -> list[dict[str, Any]]:
        """Return what a server tells of its models: `id`, and `max_model_len` if it is vLLM."""
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        try:
            async with self._session.get(f"{server.url}/models", timeout=timeout, proxy=server.proxy) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = hide_secrets(str(error)) or f"no answer within {PROBE_TIMEOUT_S:g} s"
            raise ServerFailure(reason, is_gone=True) from error
        if response.status != 200:
            raise read_failure(response.status, body, response.headers)
        try:
            return [dict(entry) for entry in json.loads(body)["data"] if isinstance(entry["id"], str)]
        except (ValueError, RecursionError, KeyError, TypeError):
            raise ServerFailure(f"no list of models but {quoted(body)}", 404) from None

    async def find_model(self, *, wait_s: float = 0.0, max_tokens: int | None = None) -> ServedModel:
        """Return the model that the servers serve, and ask for it from now on.

        Args:
            wait_s: How long to wait until one server answers; those that don't then are taken out.
            max_tokens: Most tokens of an answer.

        Raises:
            ValueError: No server answers, the model isn't served, there are several and none is named, or `max_tokens`
                leaves no room for a prompt.
        """
        listed = await self._wait_for_lists(wait_s)
        if self.model is None:
            names = sorted({entry["id"] for entries in listed.values() for entry in entries})
            if len(names) != 1:
                raise ValueError(f"Which model? The servers {sorted(listed)} list {names}: name one.")
            self.model = names[0]
        told: list[dict[str, Any]] = []
        for url, entries in listed.items():
            own = [entry for entry in entries if entry["id"] == self.model]
            if entries and not own:
                raise ValueError(f"{url} doesn't serve {self.model!r} but {sorted(entry['id'] for entry in entries)}.")
            told += own or [{}]  # a server that doesn't list its models
        contexts = {entry.get("max_model_len") for entry in told}
        lengths = sorted(filter(None, contexts))
        if lengths and max_tokens is not None and max_tokens >= lengths[0]:
            raise ValueError(
                f"max_tokens is {max_tokens}, but {self.model!r} is served with a context of {lengths[0]} tokens for "
                "prompt and answer together: all would be refused. Lower it, or serve a longer context."
            )
        roots = {entry.get("root") for entry in told}
        return ServedModel(
            self.model,
            lengths[0] if lengths else None,
            tuple(sorted(filter(None, roots))),
            tuple(sorted({entry["owned_by"] for entry in told if entry.get("owned_by")})),
            (*lengths, *([None] if None in contexts else [])),
            None not in roots,
        )

    async def _wait_for_lists(self, wait_s: float) -> dict[str, list[dict[str, Any]]]:
        """Return the models by server."""
        until = time.monotonic() + wait_s
        while True:
            found = await asyncio.gather(*map(self._served_models, self.servers), return_exceptions=True)
            lists: dict[str, list[dict[str, Any]]] = {}
            failures: dict[str, ServerFailure] = {}
            for server, result in zip(self.servers, found, strict=True):
                if isinstance(result, ServerFailure):
                    failures[server.url] = result
                    if result.status in {401, 403}:
                        raise ValueError(f"{server.name}: {result.reason}. Name the variable that holds its API key.")
                    if result.is_final and self.model is not None:
                        lists[server.url] = []
                elif isinstance(result, BaseException):
                    raise result
                else:
                    lists[server.url] = result
            if lists:
                for server in self.servers:
                    if server.url not in lists:
                        self._after(replace(failures[server.url], is_servers=True, is_gone=True), server, 1)
                return lists
            reasons = "; ".join(f"{server.name}: {failures[server.url].reason}" for server in self.servers)
            if time.monotonic() >= until:
                raise ValueError(f"No server answers: {reasons}. Start one, or wait longer.")
            logger.warning("No server answers yet (%s); waiting up to %.0f s.", reasons, until - time.monotonic())
            await asyncio.sleep(min(_ASK_AGAIN_S, max(0.0, until - time.monotonic())))


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
    prints = {fingerprint(root) for root in served.roots} if len(served.roots) > 1 else set()
    is_named = model is not None and (served_model is not None or model == served.name)
    if len(prints - {None}) > 1 or (None in prints and not is_named):
        raise ValueError(
            f"The servers have different models behind the name {served.name!r}: {', '.join(served.roots)}. Ask the "
            "servers of one alone, or, if they are the same, name it by --model_id and --served_model."
        )
    if model is None or is_named or served.name == (folder := str(Path(model).expanduser().resolve())):
        return
    is_behind = bool({model, folder} & set(served.roots))
    if not is_behind and served.roots:  # a copy is as good
        own = fingerprint(model)
        is_behind = own is not None and own == fingerprint(served.roots[0])
    if not is_behind or not served.are_roots_told:
        raise ValueError(
            f"The servers serve {served.name!r}, but --model_id is {model!r}. If that is the same model, say so by "
            f"--served_model {served.name}; otherwise leave --model_id out."
        )
