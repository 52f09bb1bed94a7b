# SPDX-License-Identifier: Apache-2.0
"""Reading what servers answer, and telling failures that pass from those that stay."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from open_r1.generation.messages import join_reasoning
from open_r1.secret_names import hide_secrets

NOT_NOW = {429, 503}  # come again later: no fault of the request
MAY_PASS = {408, 409, 425, *range(500, 600)}
REFUSALS = {401, 402, 403, 404}  # key, account, permission, model: the next request fares no better
_MODERATED = re.compile(
    "moderat|flagged|safety|content.{0,3}polic", re.IGNORECASE
)  # a 403 of some gateways, for this one prompt
_MESSAGE_CHARACTERS = 500
_MOST_BYTES_READ = 4096  # of a body, to quote from
_MOST_TOKENS = 1 << 53  # more isn't a count of tokens, and sums of it don't fit into the columns of integers
# Ends of an answer, as servers spell them; "" and null: they don't tell. Of any other (content_filter, ...) what came
# of the text isn't the model's answer.
_ENDS = {"stop", "length", "eos", "eos_token", "stop_sequence", "end_turn", "", None}
_CALLS = {"tool_calls", "function_call"}  # an answer where there is text too
_BROKEN_OFF = {"abort", "error", "insufficient_system_resource"}  # vLLM, SGLang, DeepSeek: the server's own trouble


@dataclass
class ServerFailure(Exception):
    """A request that got no answer.

    Attributes:
        reason: What happened, for people.
        status: Of HTTP, if there was an answer at all.
        is_final: Whether asking again can't help.
        is_gone: Whether nothing listens at the server.
        is_servers: Whether it is the server's fault, and not the request's.
        is_lost: Whether the connection broke, which may be one that the server had closed before it was used again:
            the first such failure of a request doesn't count.
        counts: Whether it counts as one of the request's retries.
        is_refusal: Whether all requests will be refused alike: the key, the model, the address or the account isn't
            right.
        retry_after_s: How long the server asked to be left alone.
    """

    reason: str
    status: int | None = None
    is_final: bool = False
    is_gone: bool = False
    is_lost: bool = False
    is_servers: bool = True
    counts: bool = True
    is_refusal: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion: its text with reasoning in think tags, why it ended, and its tokens.

    `token_ids` and `stop_reason` are what vLLM tells beside, the former where it is asked to (`return_token_ids`).
    """

    text: str
    finish_reason: str
    usage: dict[str, int]
    token_ids: tuple[int, ...] | None = None
    stop_reason: int | str | None = None


def read_answer(body: bytes) -> Answer:
    """Return the first choice of a chat completion, or of a plain one.

    Raises:
        ServerFailure: The body is no chat completion.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise ServerFailure(f"no JSON but {quoted(body, 80)}", 200) from None
    if isinstance(value, dict) and value.get("error") and not value.get("choices"):
        raise _error_in_answer(value)
    try:
        choice = value["choices"][0]
        finish_reason = choice.get("finish_reason")
        message = {"content": choice["text"]} if "text" in choice else choice["message"]
        content, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ServerFailure(f"no completion but {quoted(body, 200)}", 200) from None
    if isinstance(content, list):  # parts, as some servers give them
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content or "", str) or not isinstance(reasoning or "", str):
        raise ServerFailure(f"content that is no text: {quoted(body, 200)}", 200)
    if content is None and not reasoning and finish_reason is None:
        raise ServerFailure(f"a completion without content: {quoted(body, 200)}", 200)
    if not isinstance(finish_reason, str | None):
        raise ServerFailure(f"a finish reason that is no text: {quoted(body, 200)}", 200)
    if finish_reason not in (_ENDS | _CALLS if content else _ENDS):
        raise ServerFailure(
            f"finish reason {hide_secrets(finish_reason)!r}",
            200,
            is_servers=finish_reason in _BROKEN_OFF,
        )
    text = join_reasoning(reasoning, content, is_cut=finish_reason == "length")
    token_ids, stop_reason = choice.get("token_ids"), choice.get("stop_reason")
    is_whole = isinstance(token_ids, list) and all(map(is_count, token_ids))
    return Answer(
        text=_well_formed(text),
        finish_reason=_well_formed(finish_reason or "unknown"),
        usage=_usage(value.get("usage")),
        token_ids=tuple(token_ids) if is_whole else None,
        stop_reason=stop_reason if isinstance(stop_reason, int | str) else None,
    )


def _well_formed(text: str) -> str:
    """Put � for half surrogate pairs, which JSON can spell and files can't hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _usage(value: Any) -> dict[str, int]:
    """The counts of tokens; those within `completion_tokens_details` beside the others."""
    if not isinstance(value, dict):
        return {}
    usage = {name: count for name, count in value.items() if is_count(count)}
    details = value.get("completion_tokens_details")
    if isinstance(details, dict) and is_count(details.get("reasoning_tokens")):
        usage["reasoning_tokens"] = details["reasoning_tokens"]
    return usage


def is_count(value: Any) -> bool:
    """Whether a value can be a number of tokens: an integer of 0 to 2^53."""
    return type(value) is int and 0 <= value <= _MOST_TOKENS


def _error_in_answer(value: Mapping[str, Any]) -> ServerFailure:
    """Some gateways answer 200 and put the error of the server behind them into the body."""
    error = value["error"]
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if type(code) is int and 400 <= code < 600 else 500
    return read_failure(status, json.dumps(value).encode(), {})


def read_failure(status: int, body: bytes, headers: Mapping[str, str]) -> ServerFailure:
    """Return what a status other than 200 says; without the API key, which some servers repeat."""
    reason = f"HTTP {status}: {_error_message(body) or 'no reason given'}"
    if status in NOT_NOW:
        return ServerFailure(
            reason,
            status,
            is_servers=status == 503,
            counts=False,
            retry_after_s=_retry_after_s(headers.get("Retry-After")),
        )
    if status in MAY_PASS:
        return ServerFailure(
            reason, status, is_servers=status >= 500, retry_after_s=_retry_after_s(headers.get("Retry-After"))
        )
    if 300 <= status < 400:
        reason += f" (it sends us to {hide_secrets(headers.get('Location'))!r}: give the address itself)"
    is_refusal = 300 <= status < 400 or (status in REFUSALS and not (status == 403 and _MODERATED.search(reason)))
    return ServerFailure(reason, status, is_final=True, is_servers=False, is_refusal=is_refusal)


def quoted(body: bytes, num_characters: int) -> str:
    """The beginning of a body, without keys, of which none is cut in two."""
    return repr(hide_secrets(body[:_MOST_BYTES_READ].decode("utf-8", "replace"))[:num_characters])


def _error_message(body: bytes) -> str:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return hide_secrets(body[:_MOST_BYTES_READ].decode("utf-8", "replace")).strip()[:_MESSAGE_CHARACTERS]
    for name in ("error", "message", "detail"):
        if isinstance(value, Mapping) and value.get(name):
            value = value[name]
            if isinstance(value, Mapping) and value.get("message"):
                value = value["message"]
            break
    text = value if isinstance(value, str) else json.dumps(value)
    return hide_secrets(text[:_MOST_BYTES_READ])[:_MESSAGE_CHARACTERS]


def _retry_after_s(value: str | None) -> float | None:
    """Seconds, or a date of HTTP; None if it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
