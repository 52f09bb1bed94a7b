# SPDX-License-Identifier: Apache-2.0
"""distilabel's client of OpenAI-compatible servers, with the failures of single requests kept apart.

1. A request that fails is an empty generation with a finish reason "error" and its reason in the statistics.
   distilabel lets one failure empty all rows of its batch.
2. Finish reason, HTTP status and seconds stand in the statistics beside the tokens; distilabel drops them.
3. Each generation is a request of its own (`n` is not understood everywhere, and its usage is only known in sum).
4. Nothing is sent that was not set: distilabel sends temperature 1 and top_p 1 over the model's own defaults.
5. Reasoning that a server gives apart from the content is put before it, in think tags.
"""

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from distilabel.models.llms import OpenAILLM
from distilabel.models.llms.base import merge_responses
from openai import APIStatusError

from open_r1.generation.replies import ServerFailure, read_answer, read_failure
from open_r1.generation.requests import ERROR


class ChatServerLLM(OpenAILLM):
    """`OpenAILLM` whose failures are results; see the head of this file."""

    async def _agenerate(self, inputs: list[Any], num_generations: int = 1, **kwargs: Any) -> list[Any]:
        asked = [self._ask(messages, **kwargs) for messages in inputs for _ in range(num_generations)]
        return merge_responses(await asyncio.gather(*asked), n=num_generations)

    async def _ask(
        self,
        messages: Any,
        max_new_tokens: int,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> Any:
        """Return one generation with its statistics; failures of this request are one as well."""
        settings: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
        settings = {name: value for name, value in settings.items() if value is not None}
        start = time.monotonic()
        try:
            create = self._aclient.chat.completions.with_raw_response.create
            reply = await create(model=self.model, messages=messages, **settings)
            answer = read_answer(reply.content, self._key())
        except Exception as error:  # noqa: BLE001 - whatever is raised here empties all rows of distilabel's batch
            return _generation("", ERROR, start, failure=_failure(error, self._key()))
        return _generation(answer.text, answer.finish_reason, start, usage=answer.usage)

    def _key(self) -> str | None:
        return self.api_key.get_secret_value() if self.api_key is not None else None


def _failure(error: Exception, key: str | None) -> ServerFailure:
    if isinstance(error, ServerFailure):
        return error
    if isinstance(error, APIStatusError):
        return read_failure(error.status_code, error.response.content, error.response.headers, key)
    causes = [str(part) for part in (error, error.__cause__) if part is not None]
    return ServerFailure(f"{type(error).__name__}: {', '.join(causes)}")


def _generation(
    text: str,
    finish_reason: str,
    start: float,
    *,
    usage: Mapping[str, int] = MappingProxyType({}),
    failure: ServerFailure | None = None,
) -> dict[str, Any]:
    """The form that distilabel wants; with the same types in every one, or its parquet files do not fit together."""
    statistics = {
        "input_tokens": [usage.get("prompt_tokens", 0)],
        "output_tokens": [usage.get("completion_tokens", 0)],
        "finish_reason": [finish_reason],
        "status": [200 if failure is None else failure.status or 0],
        "latency_s": [round(time.monotonic() - start, 3)],
        "error": ["" if failure is None else failure.reason],
        "is_final": [failure is None or (failure.is_final and not failure.is_refusal)],
        "is_refusal": [failure is not None and failure.is_refusal],
    }
    return {"generations": [text], "statistics": statistics}
