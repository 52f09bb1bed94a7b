# SPDX-License-Identifier: Apache-2.0
"""Chat completions over HTTP from any OpenAI-compatible servers, several at a time, with retries and a deadline.

    async with ChatClient(["localhost:8000"], Sampling(temperature=0.6, max_tokens=4096)) as client:
        await find_model(client)
        reply = await client.complete(Request("row", 0, [{"role": "user", "content": "Compute 7+9-8"}]))

It stands on aiohttp alone: the openai client costs ten times the CPU time of a request.
"""

import asyncio
import io
import json
import math
import random
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from open_r1.generation.balancing import Balancer, RefusedError, Server, server_url
from open_r1.generation.messages import ERROR, Message, Reply, Request, Sampling, without_reasoning
from open_r1.generation.replies import Answer, ServerFailure, quoted, read_answer, read_failure
from open_r1.secret_names import hide_secrets, note_secrets

CONNECT_TIMEOUT_S, PROBE_TIMEOUT_S = 30.0, 10.0
# uvicorn, which vLLM serves with, closes a connection that was idle for 5 s: it's not to be used again just then.
KEEP_ALIVE_S = 4.0
_NO_TIME = "no time left"
_SHORTEST_S = 0.05  # with less time left no request is sent: no model answers within it
_LARGE_BYTES = 1 << 20
_MOST_BYTES_OF_MODELS = 1 << 24


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
        max_reply_bytes: A longer answer is a failure.
    """

    retries: int = 9
    timeout_s: float = 3600.0
    deadline_s: float = 7200.0
    outage_s: float = 600.0
    first_delay_s: float = 1.0
    max_delay_s: float = 60.0
    max_reply_bytes: int = 1 << 26

    def __post_init__(self) -> None:
        times = (self.timeout_s, self.deadline_s, self.outage_s, self.first_delay_s, self.max_delay_s)
        if not all(0 < time_s < math.inf for time_s in times) or self.max_reply_bytes < 1 or self.retries < 0:
            raise ValueError(f"retries must be at least 0, all else positive and finite; got {self}.")


class ChatClient:
    """Asks servers that serve the same model; lives on one event loop, within `async with`.

    Args:
        addresses: Servers: host:port, or URLs as of `server_url`.
        sampling: How completions are drawn.
        model: Name of the model; None: `models.find_model` asks for it.
        api_key: Sent as bearer token; servers without keys overlook it.
        patience: How long to go on when requests fail.

    Raises:
        ValueError: An address is none, or is given twice.
    """

    path = "chat/completions"

    def __init__(
        self,
        addresses: Sequence[str],
        sampling: Sampling | None = None,
        *,
        model: str | None = None,
        api_key: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.model = model
        self.sampling = sampling or Sampling()
        note_secrets(api_key)
        note_secrets(self.sampling.extra_body)
        self.patience = patience or Patience()
        self._body = self.sampling.body()
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {api_key or 'EMPTY'}",
        }
        self._timeout = aiohttp.ClientTimeout(total=self.patience.timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        self.balancer = Balancer(
            [server_url(address) for address in addresses], self._answers, patience_s=self.patience.outage_s
        )
        self._endpoints = {server.url: URL(f"{server.url}/{self.path}") for server in self.balancer.servers}
        self._proxies = {server.url: _proxy(server.url) for server in self.balancer.servers}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=300)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.balancer.close()
        await self._open_session().close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("A ChatClient is used within `async with`.")
        return self._session

    async def complete(self, request: Request) -> Reply:
        """Return what comes of a request; a failure is a reply with `error`.

        Raises:
            ServersDownError: No server has answered for as long as the patience lasts.
            RefusedError: A server refuses the key, the model, the address or the account.
        """
        reply = await self._ask(request.messages, request.index)
        if not request.turns:
            return reply
        conversation: list[Message] = [*request.messages]
        for turn in request.turns:
            # An answer that was cut off is no answer: what the user says next wouldn't follow from it.
            if reply.text is None or reply.finish_reason == "length":
                break
            conversation += [_assistant(without_reasoning(reply.text)), {"role": "user", "content": turn}]
            reply = _sum(reply, await self._ask(conversation, request.index))
        if reply.text is not None:
            conversation.append(_assistant(reply.text))
        return Reply(
            reply.text,
            reply.finish_reason,
            reply.usage,
            reply.status,
            reply.attempts,
            reply.latency_s,
            reply.server,
            reply.error,
            conversation,
        )

    async def _ask(self, messages: Sequence[Message] | Sequence[int], index: int) -> Reply:
        return await self._send(self._encode(messages, index), hash(str(messages)))

    async def _send(self, content: bytes, row: int) -> Reply:
        """Return what comes of a request's body; those about the same row share a number."""
        deadline = time.monotonic() + self.patience.deadline_s
        attempts = failures = counted = 0
        server: Server | None = None
        failure: ServerFailure | None = None
        while True:
            taken = self.balancer.take_now(server)
            if taken is None:
                since = time.monotonic()
                taken = await self.balancer.take(server)
                # An outage, or a pause that others were asked for: its own delay is slept before.
                deadline += time.monotonic() - since
            server = taken
            attempts += 1
            started = time.monotonic()
            try:
                answer = await self._post(server, content, deadline - started)
            except ServerFailure as error:
                failure = error if failure is None else _after_failure(failure, error)
            else:
                self.balancer.succeeded(server)
                seconds = time.monotonic() - started
                return Reply(
                    answer.text,
                    answer.finish_reason,
                    answer.usage,
                    200,
                    attempts,
                    seconds,
                    server.name,
                    token_ids=answer.token_ids,
                    stop_reason=answer.stop_reason,
                )
            finally:
                self.balancer.give_back(server)
            if failure.is_refusal and self.balancer.refuses_all(server, failure.status, row):
                raise RefusedError(
                    f"{server.name} refuses all requests: {failure.reason}. What was done is kept: mend the key, the "
                    "model or the address, and the same command goes on."
                )
            failures += 1
            counted += failure.counts and not (failure.is_lost and failures == 1)
            delay_s = self._after(failure, server, failures)
            reason = failure.reason
            if not failure.is_final:
                if counted > self.patience.retries:
                    reason = f"failed {attempts} times, at last: {reason}"
                elif time.monotonic() + delay_s < deadline:
                    await asyncio.sleep(delay_s)
                    continue
                else:
                    reason = f"not done within {self.patience.deadline_s:g} s, at last: {reason}"
            return Reply(None, ERROR, {}, failure.status, attempts, 0.0, server.name, reason)

    def _encode(self, messages: Sequence[Message] | Sequence[int], index: int) -> bytes:
        body = {"model": self.model, "messages": messages, **self._body}
        if self.sampling.seed is not None:
            body["seed"] = self.sampling.seed + index
        return json.dumps(body).encode()

    def _after(self, failure: ServerFailure, server: Server, failures: int) -> float:
        """Tell the balancer of a failure; return how long to wait before the next attempt."""
        if failure.is_servers:
            self.balancer.failed(server, failure.reason, is_gone=failure.is_gone)
        if failure.is_gone:
            return 0.0
        longest_s = min(self.patience.max_delay_s, self.patience.first_delay_s * 2.0 ** min(failures - 1, 30))
        delay_s = longest_s * random.uniform(0.5, 1.0)
        if failure.retry_after_s is None:
            return delay_s
        # The whole server is left alone for as long as it asks, within reason; others may be asked at once.
        delay_s = min(max(delay_s, failure.retry_after_s), self.patience.outage_s)
        self.balancer.pause(server, delay_s)
        left_s = self.balancer.pause_left_s()
        return delay_s if left_s is None else left_s

    async def _post(self, server: Server, content: bytes, left_s: float) -> Answer:
        patience = self.patience
        if left_s <= _SHORTEST_S:
            raise ServerFailure(_NO_TIME, is_servers=False)
        timeout = self._timeout
        if left_s < patience.timeout_s:
            timeout = aiohttp.ClientTimeout(total=left_s, sock_connect=CONNECT_TIMEOUT_S)
        data = content if len(content) < _LARGE_BYTES else io.BytesIO(content)
        try:
            async with self._open_session().post(
                self._endpoints[server.url],
                data=data,
                timeout=timeout,
                proxy=self._proxies[server.url],
                allow_redirects=False,
            ) as response:
                body = await _read(response, patience.max_reply_bytes)
        except aiohttp.ClientConnectorError as error:
            raise ServerFailure(str(error), is_gone=True, counts=False) from error
        except TimeoutError as error:
            is_connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            reason = f"no {'connection' if is_connecting else 'answer'} within {min(left_s, patience.timeout_s):g} s"
            # At the end of a request's time little of it may be left, for which no server is to blame.
            is_servers = is_connecting or left_s >= patience.timeout_s
            raise ServerFailure(reason, is_gone=is_connecting, is_servers=is_servers) from error
        except aiohttp.ClientError as error:
            is_lost = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
            raise ServerFailure(hide_secrets(f"{type(error).__name__}: {error}"), is_lost=is_lost) from error
        if response.status == 200:
            return read_answer(body)
        raise read_failure(response.status, body, response.headers)

    async def _answers(self, server: Server) -> bool:
        try:
            await self.served_models(server)
        except ServerFailure as error:
            server.trouble = error.reason
            return error.is_final  # it answers, though it doesn't tell its models
        return True

    async def served_models(self, server: Server) -> list[dict[str, Any]]:
        """Return what a server tells of its models: `id`, and `max_model_len` if it is vLLM.

        Raises:
            ServerFailure: It doesn't.
        """
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        try:
            async with self._open_session().get(
                f"{server.url}/models", timeout=timeout, proxy=self._proxies[server.url]
            ) as response:
                body = await _read(response, _MOST_BYTES_OF_MODELS)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerFailure(
                hide_secrets(str(error)) or f"no answer within {PROBE_TIMEOUT_S:g} s", is_gone=True
            ) from error
        if response.status != 200:
            raise read_failure(response.status, body, response.headers)
        try:
            return [dict(entry) for entry in json.loads(body)["data"] if isinstance(entry["id"], str)]
        except (ValueError, RecursionError, KeyError, TypeError):
            raise ServerFailure(f"no list of models but {quoted(body, 80)}", 200, is_final=True) from None


def _after_failure(before: ServerFailure, failure: ServerFailure) -> ServerFailure:
    """Return what a failure comes to: one for want of time hides no reason that came before."""
    if failure.is_servers or failure.status is not None:
        return failure
    then = "" if failure.reason == _NO_TIME else f"; then {failure.reason}"
    return ServerFailure(f"{before.reason}{then}", before.status, is_servers=False)


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body, unless it is longer than allowed."""
    length = response.content_length
    if length is not None and length <= max_bytes and "Content-Encoding" not in response.headers:
        return await response.read()
    content = bytearray()
    while chunk := await response.content.readany():
        content += chunk
        if len(content) > max_bytes:
            response.close()
            raise ServerFailure(f"an answer of more than {max_bytes >> 20} MiB", response.status)
    return bytes(content)


def _proxy(url: str) -> str | None:
    """The proxy of the environment for a server beyond the cluster; within it, one would only be in the way."""
    target = URL(url)
    if target.scheme != "https" or urllib.request.proxy_bypass(target.host or ""):
        return None
    return urllib.request.getproxies().get("https")


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _sum(before: Reply, reply: Reply) -> Reply:
    """Return the reply to a later turn with the costs of both."""
    usage: Mapping[str, int] = {
        name: before.usage.get(name, 0) + reply.usage.get(name, 0) for name in {**before.usage, **reply.usage}
    }
    return Reply(
        reply.text,
        reply.finish_reason,
        usage,
        reply.status,
        before.attempts + reply.attempts,
        before.latency_s + reply.latency_s,
        reply.server,
        reply.error,
    )
