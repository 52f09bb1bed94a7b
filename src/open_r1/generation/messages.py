# SPDX-License-Identifier: Apache-2.0
"""Requests to a model and its replies: one request is one generation of one row.

Request(key="5f1c...", index=0, messages=[{"role": "user", "content": "Compute 7+9-8"}], sampling=Sampling(seed=0))
Reply(text="<think>\\n7+9=16 ...\\n</think>\\n\\n\\\\boxed{8}", finish_reason="stop", status=200, attempts=1, ...)
"""

import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from open_r1.secret_names import hide_secrets, note_secrets

THINK_START, THINK_END = "<think>", "</think>"
ERROR = "error"  # the finish reason of a generation that failed
# Fields that `vllm serve` takes from the model's generation_config.json where a request lacks them (Qwen2.5: top_k 20
# and a repetition penalty of 1.05, by which greedy isn't greedy), at the values that change nothing.
NEUTRAL: Mapping[str, float] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
NOT_NOW = {429, 503}  # of HTTP: come again later, which is no fault of the request
_MAY_PASS = {408, 409, 425, *NOT_NOW}
_RESERVED = {"model", "messages", "prompt", "n", "stream", "stream_options"}
_NAMES = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "seed")
_RANGES = {"temperature": (0, 2), "top_p": (0, 1), "min_p": (0, 1), "max_tokens": (1, math.inf)}
_QUOTED_CHARACTERS = 500
# Finish reasons of vLLM, SGLang and DeepSeek for trouble of their own: the text isn't whole.
_BROKEN_OFF = {"abort", "error", "insufficient_system_resource"}

Message = Mapping[str, str]


class ServersDownError(RuntimeError):
    """Asking ended early: no server answers or starts, one refuses all, or too many requests failed in a row."""


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; None is left to the server.

    Attributes:
        temperature: 0 to 2.
        top_p: 0 to 1.
        top_k: -1 or 0: all tokens.
        min_p: 0 to 1.
        max_tokens: Most tokens of one answer, reasoning included; at least 1.
        seed: Of generation 0; generation i has `seed + i`.
        stop: Texts that end an answer.
        extra_body: More fields of the request's body, such as `repetition_penalty` or `chat_template_kwargs`.

    Raises:
        ValueError: A value is out of its range, or stands in `extra_body` too.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        note_secrets(self.extra_body)  # servers may repeat them
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} is {value}: {low} to {high} is allowed.")
        taken = sorted(set(self.extra_body) & (_RESERVED | self._given().keys()))
        if taken:
            raise ValueError(f"extra_body sets {taken}, which have settings of their own; leave them out of it.")

    def _given(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _NAMES} | {"stop": list(self.stop) or None}
        return {name: value for name, value in values.items() if value is not None}

    def body(self, index: int = 0) -> dict[str, Any]:
        """Return the fields of a request's body, with the seed of generation `index`."""
        body = {**self._given(), **self.extra_body}
        return body if self.seed is None else {**body, "seed": self.seed + index}


@dataclass(frozen=True, slots=True)
class Request:
    """One generation of one row.

    Attributes:
        key: Name of the row, the same in every run: see `row_key`.
        index: Which of the row's generations, from 0.
        messages: The conversation so far; its last message is for the model to answer.
        prompt_ids: Token ids of a prompt that is already rendered, in place of messages: the template of a recipe is
            in effect, whatever the server would use, and a BOS stands there once.
        sampling: How the answer is drawn.
    """

    key: str
    index: int
    messages: Sequence[Message] = ()
    prompt_ids: Sequence[int] = ()
    sampling: Sampling = field(default_factory=Sampling)

    def body(self) -> dict[str, Any]:
        """Return the body of an HTTP request, without the model."""
        prompt = {"prompt": list(self.prompt_ids)} if self.prompt_ids else {"messages": list(self.messages)}
        return {**prompt, **self.sampling.body(self.index)}


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to one request; a failure is a reply too.

    Attributes:
        text: The answer, its reasoning in think tags; None if the request failed.
        finish_reason: As the server gave it ("stop", "length", ...); "error" if the request failed.
        usage: Tokens: `prompt_tokens`, `completion_tokens`, ... as far as the server counts.
        status: Of HTTP, of the last attempt; None if no answer came.
        attempts: How often a server was asked.
        latency_s: Seconds of the attempt that succeeded.
        server: The last one that was asked.
        error: Why there is no text.
        token_ids: Those of the answer, where the server was asked for them (`return_token_ids`) and gives them.
        stop_reason: Which stop text or stop token ended the answer, where the server says so.
    """

    text: str | None
    finish_reason: str
    usage: Mapping[str, int] = field(default_factory=dict)
    status: int | None = None
    attempts: int = 1
    latency_s: float = 0.0
    server: str | None = None
    error: str | None = None
    token_ids: Sequence[int] | None = None
    stop_reason: int | str | None = None

    @classmethod
    def failed(cls, reason: str, **known: Any) -> Self:
        """Return the reply of a request that failed."""
        return cls(None, ERROR, error=reason, **known)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the reply in a line of a journal."""
        return cls(**{name: value for name, value in record.items() if name in _FIELDS})

    def record(self, request: Request) -> dict[str, Any]:
        """Return the line of a journal; with token ids where the request asks for them (`return_token_ids`)."""
        record = {"key": request.key, "index": request.index, **asdict(self)}
        record["latency_s"] = round(self.latency_s, 3)
        if not request.sampling.extra_body.get("return_token_ids"):
            del record["token_ids"], record["stop_reason"]
        return record


_FIELDS = {entry.name for entry in fields(Reply)}
AskOne = Callable[[Request], Awaitable[Reply]]


@dataclass
class ServerFailure(Exception):
    """An attempt that got no answer.

    Attributes:
        reason: For people.
        status: Of HTTP, if there was an answer at all.
        is_gone: Whether nothing listens at the server.
        retry_after_s: How long the server asked to be left alone.
    """

    reason: str
    status: int | None = None
    is_gone: bool = False
    retry_after_s: float | None = None

    @property
    def is_servers(self) -> bool:
        """Whether it is the server's fault, and not the request's."""
        return self.status in {None, 200} or self.status >= 500

    @property
    def is_final(self) -> bool:
        """Whether the same request would fail again."""
        return not self.is_servers and self.status not in _MAY_PASS


def read_reply(body: bytes) -> Reply:
    """Return the first choice of a chat completion, or of a plain one.

    Raises:
        ServerFailure: The body is no completion.
    """
    try:
        value = json.loads(body)
        # Some gateways answer 200 and put the error of the server behind them into the body.
        if "choices" not in value and isinstance(error := value.get("error"), dict):
            code = error.get("code")
            raise read_failure(code if type(code) is int and code >= 400 else 500, body, {})
        choice = value["choices"][0]
        finish_reason = choice.get("finish_reason") or "unknown"
        message = choice["message"] if "message" in choice else {"content": choice["text"]}
        content, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        text = join_reasoning(reasoning, content, is_cut=finish_reason == "length")
        if finish_reason in _BROKEN_OFF or (not text and finish_reason == "unknown"):
            raise ServerFailure(f"finish reason {finish_reason!r}", 200)
        if finish_reason == "content_filter" or (not text and finish_reason == "tool_calls"):
            return Reply.failed(f"finish reason {finish_reason!r}", status=200)
        # Half surrogate pairs, which JSON can spell and files can't hold, become �.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        known = {"token_ids": choice.get("token_ids"), "stop_reason": choice.get("stop_reason")}
        return Reply(text, finish_reason, _usage(value.get("usage") or {}), 200, **known)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise ServerFailure(f"no completion but {quoted(body)!r}", 200) from None


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """The counts of tokens; `reasoning_tokens` of the details beside the others."""
    known = {**usage, **(usage.get("completion_tokens_details") or {})}
    return {name: count for name, count in known.items() if type(count) is int}


def read_failure(status: int, body: bytes, headers: Mapping[str, str]) -> ServerFailure:
    """Return what a status other than 200 says; without the API key, which some servers repeat."""
    text = quoted(body)
    with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        value = json.loads(body)
        text = quoted(value.get("error", value)["message"].encode())
    later = None
    with suppress(ValueError):  # a date, which nobody sends
        later = float(headers.get("Retry-After", ""))
    return ServerFailure(f"HTTP {status}: {text or 'no reason given'}", status, retry_after_s=later)


def quoted(body: bytes) -> str:
    """Return the beginning of a body, without keys, of which none is cut in two."""
    return hide_secrets(body[: 8 * _QUOTED_CHARACTERS].decode("utf-8", "replace"))[:_QUOTED_CHARACTERS]


def row_key(value: Any, occurrence: int = 0) -> str:
    """Return the name of a row in a journal, which doesn't depend on the order of rows.

    Args:
        value: What tells rows apart: the value of an id column, or else the prompt; anything that JSON can hold.
        occurrence: How many rows before this one have the same value.

    >>> row_key("aime-2024-1")[:16], row_key("aime-2024-1", 1)[:16]
    ('c38878455c98b9b6', '80c7230744a3d48a')
    """
    text = json.dumps([value, occurrence] if occurrence else value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def join_reasoning(reasoning: str | None, content: str | None, *, is_cut: bool = False) -> str:
    """Return one text of what a server with a reasoning parser gives as two.

    Args:
        reasoning: Without its tags.
        content: The answer behind it.
        is_cut: Whether the answer reached its limit of tokens: reasoning without content is then left open.

    >>> join_reasoning("7+9=16, 16-8=8", "It is 8.")
    '<think>\\n7+9=16, 16-8=8\\n</think>\\n\\nIt is 8.'
    """
    if not reasoning:
        return content or ""
    start = f"{THINK_START}\n{reasoning.strip()}"
    return start if is_cut and not content else f"{start}\n{THINK_END}\n\n{(content or '').lstrip()}"
