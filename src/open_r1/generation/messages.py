# SPDX-License-Identifier: Apache-2.0
"""Requests to a model and its replies: one request is one generation of one row.

Request(key="5f1c...", index=0, messages=[{"role": "user", "content": "Compute 7+9-8"}], sampling=Sampling(seed=0))
Reply(text="<think>\\n7+9=16 ...\\n</think>\\n\\n\\\\boxed{8}", finish_reason="stop", status=200, attempts=1, ...)
"""

import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

from open_r1.secret_names import hide_secrets, note_secrets

THINK_START, THINK_END = "<think>", "</think>"
ERROR = "error"  # the finish reason of a generation that failed
# Fields that `vllm serve` takes from the model's generation_config.json where a request lacks them (Qwen2.5: top_k 20
# and a repetition penalty of 1.05, by which greedy isn't greedy), at the values that change nothing.
NEUTRAL: Mapping[str, float] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
NOT_NOW = {429, 503}  # of HTTP: come again later, which is no fault of the request
MAY_PASS = {408, 409, 425, 429, *range(500, 600)}
REFUSALS = {*range(300, 400), 401, 402, 404}  # address, key, account, model: the next request fares no better
_RESERVED = {"model", "messages", "prompt", "n", "stream", "stream_options"}
_ALLOWED = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (-1, math.inf),  # -1, 0: all tokens
    "min_p": (0, 1),
    "max_tokens": (1, math.inf),
    "seed": (0, math.inf),  # vLLM reads -1 as none
}
_QUOTED_CHARACTERS = 500
_MOST_TOKENS = 1 << 53  # more isn't a count of tokens, and sums of it don't fit into the columns of integers
# Ends of an answer, as servers spell them; "" and null: they don't say. Behind any other (content_filter, ...) the
# text isn't the model's answer.
_ENDS = {"stop", "length", "eos", "eos_token", "stop_sequence", "end_turn", "", None}
_CALLS = {"tool_calls", "function_call"}  # an answer where there is text too
_BROKEN_OFF = {"abort", "error", "insufficient_system_resource"}  # vLLM, SGLang, DeepSeek: the server's own trouble

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
        max_tokens: Most tokens of one answer, reasoning included.
        seed: Of generation 0; generation i has `seed + i`.
        stop: Texts that end an answer.
        extra_body: More fields of the request's body, such as `repetition_penalty` or `chat_template_kwargs`.
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
        for name, (least, most) in _ALLOWED.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} is {value}; allowed is {least} to {most}.")
        taken = sorted(set(self.extra_body) & (_RESERVED | self._given().keys()))
        if taken:
            raise ValueError(f"extra_body sets {taken}, which have settings of their own; leave them out of it.")

    def _given(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _ALLOWED} | {"stop": list(self.stop) or None}
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
        turns: What the user says next, each when the model has answered what came before (`driver.ask` sends them).
        prompt_ids: Token ids of a prompt that is already rendered, in place of messages: the template of a recipe is
            in effect, whatever the server would use, and a BOS stands there once.
        sampling: How the answer is drawn.
    """

    key: str
    index: int
    messages: Sequence[Message] = ()
    turns: Sequence[str] = ()
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
        text: The (last) answer, its reasoning in think tags; None if the request failed.
        finish_reason: As the server gave it ("stop", "length", ...); "error" if the request failed.
        usage: Tokens, summed over the turns: `prompt_tokens`, `completion_tokens`, ... as far as the server counts.
        status: Of HTTP, of the last attempt; None if no answer came.
        attempts: How often a server was asked, over all turns.
        latency_s: Seconds that the successful attempts took, summed over the turns.
        server: The last one that was asked.
        error: Why there is no text.
        conversation: Messages and answers of a request with several turns, as they were sent: answers of earlier turns
            without their reasoning.
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
    conversation: Sequence[Message] = ()
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
        if not self.conversation:
            del record["conversation"]
        return record


_FIELDS = {entry.name for entry in fields(Reply)}
AskOne = Callable[[Request], Awaitable[Reply]]


@dataclass
class ServerFailure(Exception):
    """An attempt that got no answer.

    Attributes:
        reason: For people.
        status: Of HTTP, if there was an answer at all.
        is_servers: Whether it is the server's fault, and not the request's.
        is_gone: Whether nothing listens at the server.
        retry_after_s: How long the server asked to be left alone.
    """

    reason: str
    status: int | None = None
    is_servers: bool = True
    is_gone: bool = False
    retry_after_s: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether the same request would fail again."""
        return self.status not in {None, 200, *MAY_PASS}


def read_reply(body: bytes) -> Reply:
    """Return the first choice of a chat completion, or of a plain one.

    Raises:
        ServerFailure: The body is no completion.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise ServerFailure(f"no JSON but {quoted(body)}", 200) from None
    if isinstance(value, dict) and value.get("error") and not value.get("choices"):
        # Some gateways answer 200 and put the error of the server behind them into the body.
        code = value["error"].get("code") if isinstance(value["error"], dict) else None
        raise read_failure(code if type(code) is int and 400 <= code < 600 else 500, body, {})
    try:
        choice = value["choices"][0]
        finish_reason = choice.get("finish_reason")
        message = {"content": choice["text"]} if "text" in choice else choice["message"]
        content, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        if isinstance(content, list):  # parts, as some servers give them
            content = "".join(part.get("text", "") for part in content)
        text = join_reasoning(reasoning, content, is_cut=finish_reason == "length")
        if not text and content is None and finish_reason is None:
            raise KeyError("content")
        # Half surrogate pairs, which JSON can spell and files can't hold, become �.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        is_end = finish_reason in (_ENDS | _CALLS if content else _ENDS)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ServerFailure(f"no completion but {quoted(body)}", 200) from None
    if not is_end:
        is_servers = finish_reason in _BROKEN_OFF
        raise ServerFailure(f"finish reason {hide_secrets(finish_reason)!r}", 200, is_servers=is_servers)
    reply = Reply(text, finish_reason or "unknown", _usage(value.get("usage")), 200)
    return replace(reply, token_ids=choice.get("token_ids"), stop_reason=choice.get("stop_reason"))


def _usage(value: Any) -> dict[str, int]:
    """The counts of tokens; `reasoning_tokens` of the details beside the others."""
    usage = value if isinstance(value, dict) else {}
    details = usage.get("completion_tokens_details")
    if isinstance(details, dict):
        usage = {**usage, "reasoning_tokens": details.get("reasoning_tokens")}
    return {name: count for name, count in usage.items() if type(count) is int and 0 <= count <= _MOST_TOKENS}


def read_failure(status: int, body: bytes, headers: Mapping[str, str]) -> ServerFailure:
    """Return what a status other than 200 says; without the API key, which some servers repeat."""
    reason = f"HTTP {status}: {_error_message(body) or 'no reason given'}"
    if 300 <= status < 400:
        reason += f" (redirected to {hide_secrets(headers.get('Location'))!r}: give the address itself)"
    later = _retry_after_s(headers.get("Retry-After")) if status in MAY_PASS else None
    return ServerFailure(reason, status, is_servers=status >= 500, retry_after_s=later)


def quoted(body: bytes) -> str:
    """The beginning of a body, without keys, of which none is cut in two."""
    return repr(hide_secrets(body[: 8 * _QUOTED_CHARACTERS].decode("utf-8", "replace"))[: _QUOTED_CHARACTERS // 4])


def _error_message(body: bytes) -> str:
    text = body[: 8 * _QUOTED_CHARACTERS].decode("utf-8", "replace").strip()
    try:
        value = json.loads(body)
        value = next((value[name] for name in ("error", "message", "detail") if value.get(name)), value)
        value = value.get("message", value) if isinstance(value, dict) else value
        text = value if isinstance(value, str) else json.dumps(value)
    except (ValueError, RecursionError, AttributeError):
        pass
    return hide_secrets(text[: 8 * _QUOTED_CHARACTERS])[:_QUOTED_CHARACTERS]


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, or a date of HTTP; None if it is neither."""
    try:
        seconds = float(value or "")
    except ValueError:
        try:
            moment = parsedate_to_datetime(value or "")
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


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


def without_reasoning(text: str) -> str:
    """Return an answer as it is shown to the model in later turns: the part behind its reasoning.

    >>> without_reasoning("<think>\\nhm\\n</think>\\n\\nIt is 8.")
    'It is 8.'
    """
    return text.rpartition(THINK_END)[2].lstrip() if THINK_END in text else text
