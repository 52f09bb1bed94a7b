# SPDX-License-Identifier: Apache-2.0
"""What is asked of a model, and what comes of it: one request is one generation of one row.

Request(key="5f1c...", index=0, messages=[{"role": "user", "content": "Compute 7+9-8"}])
Reply(text="<think>\\n7+9=16 ...\\n</think>\\n\\n\\\\boxed{8}", finish_reason="stop", status=200, attempts=1, ...)
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

THINK_START, THINK_END = "<think>", "</think>"
ERROR = "error"  # the finish reason of a generation that failed
# Fields that `vllm serve` takes from the model's generation_config.json where a request lacks them (Qwen2.5: top_k 20
# and a repetition penalty of 1.05, by which greedy isn't greedy), at the values that change nothing.
NEUTRAL: Mapping[str, float] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
_OWN_FIELDS = {"model", "messages", "n", "stream", "stream_options"}

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """One generation of one row.

    Attributes:
        key: Name of the row, the same in every run: see `row_key`.
        index: Which of the row's generations, from 0.
        messages: The conversation so far; its last message is for the model to answer.
        turns: What the user says next, one after the other: each when the model has answered what came before.
        prompt_ids: Tokens of a prompt that is already rendered, in place of messages (`CompletionClient`, `offline`).
    """

    key: str
    index: int
    messages: Sequence[Message] = ()
    turns: Sequence[str] = ()
    prompt_ids: Sequence[int] = ()


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; None is left to the server.

    Attributes:
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
        checks = {
            "temperature": self.temperature is None or 0 <= self.temperature <= 2,
            "top_p": self.top_p is None or 0 < self.top_p <= 1,
            "top_k": self.top_k is None or self.top_k >= -1,
            "min_p": self.min_p is None or 0 <= self.min_p <= 1,
            "max_tokens": self.max_tokens is None or self.max_tokens >= 1,
            "seed": self.seed is None or self.seed >= 0,  # vLLM reads -1 as none
        }
        allowed = {
            "temperature": "0 to 2",
            "top_p": "above 0, at most 1",
            "top_k": "at least -1 (-1 or 0: all tokens)",
            "min_p": "0 to 1",
            "max_tokens": "at least 1",
            "seed": "at least 0",
        }
        for name, is_right in checks.items():
            if not is_right:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is {allowed[name]}.")
        try:
            json.dumps(dict(self.extra_body), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"extra_body can't be sent as JSON: {error}.") from None
        own = sorted(_OWN_FIELDS & set(self.extra_body))
        if own:
            raise ValueError(f"extra_body sets {own}, which are set here; leave them out of it.")
        twice = sorted(set(self.extra_body) & {name for name, _ in self._given()})
        if twice:
            raise ValueError(f"{twice} are set twice, by extra_body and by settings of their own; leave one out.")

    def _given(self) -> list[tuple[str, Any]]:
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "stop": list(self.stop) or None,
        }
        return [(name, value) for name, value in values.items() if value is not None]

    def body(self) -> dict[str, Any]:
        """Return the fields of a request's body; `seed` is that of generation 0."""
        return {**dict(self._given()), **self.extra_body}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request; a failure is a reply too.

    Attributes:
        text: The (last) answer, its reasoning in think tags; None if the request failed.
        finish_reason: As the server gave it ("stop", "length", ...); "error" if the request failed.
        usage: Tokens, summed over the turns: `prompt_tokens`, `completion_tokens`, ... as far as the server counts.
        status: Of HTTP, of the last attempt; None if no answer came.
        attempts: How often a server was asked, over all turns.
        latency_s: Seconds that the successful attempts took, summed over the turns.
        server: The last one that was asked.
        error: Why there is no text.
        conversation: The messages of request and answers, where the request has several turns; as they were sent:
            answers of earlier turns without their reasoning.
        token_ids: Those of the answer, where the server was asked for them and gives them.
        stop_reason: Which stop text or stop token ended the answer, where the server tells.
    """

    text: str | None
    finish_reason: str
    usage: Mapping[str, int]
    status: int | None
    attempts: int
    latency_s: float
    server: str
    error: str | None = None
    conversation: Sequence[Message] = ()
    token_ids: Sequence[int] | None = None
    stop_reason: int | str | None = None

    def record(self, request: Request) -> dict[str, Any]:
        """Return the line of a journal."""
        record = {
            "key": request.key,
            "index": request.index,
            "text": self.text,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "status": self.status,
            "attempts": self.attempts,
            "latency_s": round(self.latency_s, 3),
            "server": self.server,
            "error": self.error,
        }
        return {**record, "conversation": self.conversation} if self.conversation else record


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
        is_cut: Whether the answer reached its limit of tokens: reasoning without content is then left open.

    >>> join_reasoning("7+9=16, 16-8=8", "It is 8.")
    '<think>\\n7+9=16, 16-8=8\\n</think>\\n\\nIt is 8.'
    """
    if not reasoning:
        return content or ""
    start = f"{THINK_START}\n{reasoning.strip()}"
    if is_cut and not content:
        return start
    return f"{start}\n{THINK_END}\n\n{(content or '').lstrip()}"


def without_reasoning(text: str) -> str:
    """Return an answer as it is shown to the model in later turns: what follows its reasoning.

    >>> without_reasoning("<think>\\nhm\\n</think>\\n\\nIt is 8.")
    'It is 8.'
    """
    return text.rpartition(THINK_END)[2].lstrip() if THINK_END in text else text
