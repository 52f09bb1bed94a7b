# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible server without a model: POST /v1/chat/completions and /v1/completions, GET /v1/models and
/health, as `vllm serve`.

In a test's own process, on a thread:

    with ChatServer() as server:                       # answers are `answer_of(messages, seed)`
        server.address, server.url                     # "127.0.0.1:40001", "http://127.0.0.1:40001"
    ChatServer(behave=lambda body, attempt: Reply("4") if attempt else Reply(status=503))

As a process of its own (for kills), which prints its address and then serves until it ends:

    python tests/integration/fakes/chat_server.py --latency-s 1 --jitter-s 0.3
    with chat_server_process("--latency-s", "0.01") as address: ...

A server that was stopped can be started again, on its port.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MODEL = "stub/model"
WORDS = "so we add seven and nine which gives sixteen then take eight away and check the sum again"


@dataclass
class Reply:
    """One answer of the server.

    Attributes:
        reasoning: As `message.reasoning` (vLLM) of a server with a reasoning parser.
        raw: The whole body, in place of a completion.
        message: Fields of `message`, in place of those made of `text` and `reasoning`.
        delay_s: Seconds before the answer.
        drop: Whether the connection is closed without an answer.
        trickle_s: Seconds between one byte of the body and the next.
        error: Message of the error where `status` isn't 200.
    """

    text: str = ""
    finish_reason: str | None = "stop"
    reasoning: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    message: dict[str, Any] | None = None
    delay_s: float = 0.0
    drop: bool = False
    trickle_s: float = 0.0
    error: str = "out of order"


Behave = Callable[[dict[str, Any], int], Reply]


def _asked(body: dict[str, Any]) -> Sequence[Any]:
    """Messages of a chat, or the token ids of a prompt."""
    return body["messages"] if "messages" in body else body["prompt"]


def answer_of(messages: Sequence[Any], seed: int | None = None, length: int = 60) -> str:
    """Return an answer of `length` characters that depends on the conversation and the seed alone."""
    digest = hashlib.sha256(json.dumps([list(messages), seed]).encode()).hexdigest()
    text = f"{digest[:16]}: {WORDS} "
    return (text * (length // len(text) + 1))[:length]


class ChatServer:
    """The server, on a thread of this process.

    Args:
        behave: Gives the reply to a request's body and the number of times that the same body came before.
        models: Names that it serves.
        max_model_len: As vLLM reports it.
        api_key: Asked of every request, if given.
        host: Address to listen on.
        owner: What it says that it is, as "vllm".
        root: What it says is behind the names of its models; None: it says nothing.

    Attributes:
        requests: Bodies of all requests for completions; `headers` theirs.
        most_in_flight: The most requests at a time.
    """

    def __init__(
        self,
        behave: Behave | None = None,
        *,
        models: Sequence[str] = (MODEL,),
        max_model_len: int | None = 32768,
        api_key: str | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        keep: bool = True,
        owner: str = "stub",
        root: str | None = None,
    ) -> None:
        self.behave = behave or (lambda body, attempt: Reply(answer_of(_asked(body), body.get("seed"))))
        self.models, self.max_model_len, self.api_key = list(models), max_model_len, api_key
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = self.most_in_flight = self.answered = 0
        self.port, self.host = port, host
        self._keep, self._owner, self._root = keep, owner, root
        self._seen: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __enter__(self) -> "ChatServer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the port of before if it was stopped."""
        is_up = threading.Event()
        failure: list[OSError] = []

        def run() -> None:
            self._loop = asyncio.new_event_loop()
            try:
                runner = self._loop.run_until_complete(self.listen())
            except OSError as error:
                failure.append(error)
                is_up.set()
                return
            is_up.set()
            self._loop.run_forever()
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        is_up.wait(30)
        if failure:
            raise failure[0]

    def stop(self) -> None:
        """Close the port and all connections."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def close_port(self) -> None:
        """Take no more connections; from within `behave`."""
        asyncio.get_running_loop().create_task(self._site.stop())

    async def listen(self) -> web.AppRunner:
        """Serve on the running loop."""
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/{path:.*}v1/chat/completions", self._complete)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/{path:.*}v1/models", self._list_models)
        app.router.add_get("/health", self._report)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.01, keepalive_timeout=5.0, handler_cancellation=True
        )
        await runner.setup()
        self._site = web.TCPSite(runner, self.host, self.port, backlog=2048, reuse_address=True)
        await self._site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _report(self, request: web.Request) -> web.Response:
        return web.json_response({"answered": self.answered, "most_in_flight": self.most_in_flight})

    async def _list_models(self, request: web.Request) -> web.Response:
        if not self._may_ask(request):
            return _error(401, "Unauthorized")
        data = [
            {"id": name, "object": "model", "owned_by": self._owner, "max_model_len": self.max_model_len}
            for name in self.models
        ]
        if self._root is not None:
            data = [{**entry, "root": self._root} for entry in data]
        return web.json_response({"object": "list", "data": data})

    def _may_ask(self, request: web.Request) -> bool:
        return self.api_key is None or request.headers.get("Authorization") == f"Bearer {self.api_key}"

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        if not self._may_ask(request):
            return _error(401, "Unauthorized")
        body = json.loads(content)
        attempt = 0
        if self._keep:
            self.requests.append(body)
            self.headers.append(dict(request.headers))
            attempt = self._seen[content.decode()]
            self._seen[content.decode()] += 1
        if body.get("model") not in self.models:
            return _error(404, f"The model `{body.get('model')}` does not exist.")
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(request, body, self.behave(body, attempt))
        finally:
            self.in_flight -= 1
            self.answered += 1

    async def _answer(self, request: web.Request, body: dict[str, Any], reply: Reply) -> web.StreamResponse:
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.drop:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if reply.raw is None and reply.status != 200:
            return _error(reply.status, reply.error, reply.headers)
        content = reply.raw if reply.raw is not None else json.dumps(_completion(body, reply)).encode()
        if not reply.trickle_s:
            return web.Response(
                body=content, status=reply.status, headers=reply.headers, content_type="application/json"
            )
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        await response.prepare(request)
        for byte in content:
            await response.write(bytes([byte]))
            await asyncio.sleep(reply.trickle_s)
        return response


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    value = {"error": {"message": message, "type": "error", "param": None, "code": status}}
    return web.json_response(value, status=status, headers=headers)


def _completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning is not None:
        message["reasoning"] = reply.reasoning
    if reply.message is not None:
        message = {"role": "assistant", **reply.message}
    is_chat = "messages" in body
    num_prompt = (
        sum(len(str(entry["content"]).split()) for entry in body["messages"]) if is_chat else len(body["prompt"])
    )
    num_completion = len(f"{reply.text} {reply.reasoning or ''}".split())
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": index,
                "logprobs": None,
                "finish_reason": reply.finish_reason,
                **({"message": message} if is_chat else {"text": reply.text}),
            }
            for index in range(body.get("n") or 1)
        ],
        "usage": {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_completion,
            "total_tokens": num_prompt + num_completion,
        },
    }


@contextlib.contextmanager
def chat_server_process(*flags: str) -> Iterator[str]:
    """Run the server in a process of its own; gives its address."""
    process = subprocess.Popen([sys.executable, __file__, *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the server didn't start"
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-s", type=float, default=0.0, help="mean seconds of an answer")
    parser.add_argument("--jitter-s", type=float, default=0.0, help="latency is uniform within +- this")
    args = parser.parse_args()
    draw = random.Random(0)

    def behave(body: dict[str, Any], attempt: int) -> Reply:
        delay_s = max(0.0, args.latency_s + draw.uniform(-args.jitter_s, args.jitter_s))
        return Reply(answer_of(_asked(body), body.get("seed")), delay_s=delay_s)

    async def serve() -> None:
        server = ChatServer(behave, keep=False)
        await server.listen()
        print(server.address, flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
