# SPDX-License-Identifier: Apache-2.0
"""The model that inspect-ai asks in our runs: each request goes out as the direct engine would send it."""

from collections.abc import Mapping
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from tenacity import wait_none
from tenacity.wait import WaitBaseT

from open_r1.evaluation.inspect_asking import Asking
from open_r1.generation.requests import THINK_END, THINK_START

_STOP_REASONS: dict[str, StopReason] = {"stop": "stop", "length": "max_tokens", "content_filter": "content_filter"}


class RequestFailedError(RuntimeError):
    """A request failed for good: its sample has an error, and no score."""


@modelapi(name="open_r1")
class AskedModel(ModelAPI):
    """Hands samples on to an `Asking`.

    Attributes:
        asking: What sends the requests; set before the evaluation.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  as the base class has it; it isn't changed
        asking: Asking | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.asking = asking
        self._texts: dict[tuple[int, int], str] = {}

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Return the answer to the sample that the last message names.

        Raises:
            RequestFailedError: There is none.
        """
        if self.asking is None:
            raise RequestFailedError(
                "This log goes on by the command that began it, scripts/run_benchmarks.py --engine inspect."
            )
        place = input[-1].metadata or {}
        row, index = int(place["row"]), int(place["index"])
        record = await self.asking.answer(row, index)
        if record["text"] is None:
            raise RequestFailedError(record["error"])
        self._texts[row, index] = record["text"]
        return _output_of(record, self.model_name)

    def retry_wait(self) -> WaitBaseT:
        """Return no wait: what is asked again, and when, is our client's to say."""
        return wait_none()

    def take_text(self, row: int, index: int) -> str:
        """Return the text of an answer that was given, once: it is judged as it came."""
        return self._texts.pop((row, index))


def _output_of(record: Mapping[str, Any], model: str) -> ModelOutput:
    message = ChatMessageAssistant(content=_parts_of(record["text"]), source="generate", model=model)
    stop_reason = _STOP_REASONS.get(record["finish_reason"], "unknown")
    return ModelOutput(
        model=model,
        choices=[ChatCompletionChoice(message=message, stop_reason=stop_reason)],
        usage=_usage_of(record["usage"]),
        time=record["latency_s"],
        metadata={"finish_reason": record["finish_reason"], "server": record["server"]},
    )


def _usage_of(usage: Mapping[str, int]) -> ModelUsage | None:
    if "completion_tokens" not in usage:  # the server doesn't count
        return None
    num_prompt, num_completion = usage.get("prompt_tokens", 0), usage["completion_tokens"]
    return ModelUsage(
        input_tokens=num_prompt,
        output_tokens=num_completion,
        total_tokens=num_prompt + num_completion,
        reasoning_tokens=usage.get("reasoning_tokens"),
    )


def _parts_of(text: str) -> str | list[Content]:
    """Return a text with its reasoning apart, which the viewer folds."""
    if THINK_END in text:
        reasoning, _, answer = text.rpartition(THINK_END)
    elif text.startswith(THINK_START):  # cut off while thinking
        reasoning, answer = text, ""
    else:
        return text
    return [ContentReasoning(reasoning=reasoning.removeprefix(THINK_START).strip()), ContentText(text=answer.strip())]
