# SPDX-License-Identifier: Apache-2.0
"""The bodies of OpenAI's completions and chat completions, with vLLM's fields: read, checked, and answered.

{"model": "m", "messages": [{"role": "user", "content": "1+1"}], "max_tokens": 64, "temperature": 0.6, "seed": 0}

A field that would change the answers of vLLM and has no effect here is refused, unless its value is the one that
changes nothing. None stands for no value.
"""

import inspect
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from open_r1.evaluation.sampling.batch_sampling import BatchSampler, SampleRequest
from open_r1.evaluation.sampling.open_answer import Sampled

MOST_ANSWERS = 4096  # of one body
_COMPLETION_TOKENS = 16  # of a body of /v1/completions that doesn't say: OpenAI's default, and vLLM's
# Fields that mean what their names say, with the types that JSON gives them.
_NUMBERS = ("temperature", "top_p", "min_p")
_INTEGERS = ("n", "top_k", "max_tokens", "max_completion_tokens", "seed", "min_tokens")
_TRUTHS = ("include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "return_token_ids")
_OTHERS = ("model", "stop", "stop_token_ids", "user", "request_id")
_TRUTHS_OF_CHAT = ("add_generation_prompt", "continue_final_message")
_TRUTHS_OF_COMPLETIONS = ("add_special_tokens",)
_OF_CHAT = ("messages", "chat_template_kwargs", "max_completion_tokens", *_TRUTHS_OF_CHAT)
_OF_COMPLETIONS = ("prompt", *_TRUTHS_OF_COMPLETIONS)
# Settings of rendering that would change what it returns.
_NO_VARIABLES = frozenset(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters) - {"kwargs"}
# Fields that clients send with values that change nothing.
_NEUTRAL: dict[str, Sequence[Any]] = {
    "stream": (False,), "stream_options": (), "echo": (False,), "suffix": ("",), "best_of": (1,),
    "frequency_penalty": (0,), "presence_penalty": (0,), "repetition_penalty": (1,), "length_penalty": (1,),
    "logprobs": (False,), "top_logprobs": (0,), "prompt_logprobs": (), "logit_bias": ({},),
    "use_beam_search": (False,),
    "response_format": ({"type": "text"},), "tools": ([],), "tool_choice": ("none", "auto"), "functions": ([],),
    "parallel_tool_calls": (True, False), "spaces_between_special_tokens": (True,), "priority": (0,),
    "store": (False,), "metadata": ({},), "service_tier": ("auto", "default"), "modalities": (["text"],),
}  # fmt: skip
_NEUTRAL_OF_CHAT = {**_NEUTRAL, "add_special_tokens": (False,)}  # the template writes all of them


class BadRequestError(ValueError):
    """A body that can't be answered; the message says why.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Asked:
    """A body that was read.

    Attributes:
        requests: An answer each: of the first prompt all `n`, then of the next.
        is_chat: Whether it was a conversation.
        returns_ids: Whether the answer holds token ids.
    """

    requests: list[SampleRequest]
    is_chat: bool
    returns_ids: bool

    def reply(self, model: str, answers: Sequence[Sampled]) -> dict[str, Any]:
        """Return the body of the answer."""
        choices = [self._choice(place, answer) for place, answer in enumerate(answers)]
        prompts = {id(request.prompt_ids): len(request.prompt_ids) for request in self.requests}
        prompt_tokens, completion_tokens = sum(prompts.values()), sum(len(answer.token_ids) for answer in answers)
        reply: dict[str, Any] = {
            "id": f"{'chatcmpl' if self.is_chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": "chat.completion" if self.is_chat else "text_completion",
            "created": int(time.time()),
            "model": model,
            "choices": choices,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }
        if self.is_chat and self.returns_ids:
            reply["prompt_token_ids"] = list(self.requests[0].prompt_ids)
        return reply

    def _choice(self, place: int, answer: Sampled) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": place,
            "finish_reason": answer.finish_reason,
            "logprobs": None,
            "stop_reason": answer.stop_reason,
        }
        if self.is_chat:
            choice["message"] = {"role": "assistant", "content": answer.text}
        else:
            choice["text"] = answer.text
        if self.returns_ids:
            choice["token_ids"] = answer.token_ids
            if not self.is_chat:
                choice["prompt_token_ids"] = list(self.requests[place].prompt_ids)
        return choice


class Reader:
    """Reads bodies for a model.

    Args:
        sampler: What will answer; tells the context.
        tokenizer: One that no other thread uses.
        model: The name that bodies must give, if they give one.
    """

    def __init__(self, sampler: BatchSampler, tokenizer: PreTrainedTokenizerBase, model: str) -> None:
        self._sampler, self._tokenizer, self._model = sampler, tokenizer, model
        self._num_tokens: int = sampler.model.get_input_embeddings().weight.shape[0]

    @property
    def max_model_len(self) -> int | None:
        """Most tokens of prompt and answer together."""
        return self._sampler.max_model_len

    def read(self, body: Any, *, is_chat: bool) -> Asked:
        """Return what a body asks for.

        Raises:
            BadRequestError: It can't be answered.
        """
        if not isinstance(body, dict):
            raise BadRequestError("The body must be a JSON object.")
        fields = {name: value for name, value in body.items() if value is not None}
        self._check(fields, is_chat)
        prompts = [self._chat_ids(fields)] if is_chat else self._prompts(fields)
        count = fields.get("n", 1)
        if count < 1 or count * len(prompts) > MOST_ANSWERS:
            raise BadRequestError(
                f"n is {count} for {len(prompts)} prompts; at least 1, at most {MOST_ANSWERS} "
                "answers in all are allowed."
            )
        common = _common(fields, is_chat, has_limit="max_tokens" in body)
        seed = fields.get("seed")
        try:
            requests = [
                SampleRequest(prompt, seed=None if seed is None else seed + index, **common)
                for prompt in prompts
                for index in range(count)
            ]
            for request in requests[::count]:
                self._sampler.end_of(request)
        except ValueError as error:
            raise BadRequestError(str(error)) from error
        return Asked(requests, is_chat, fields.get("return_token_ids", False))

    def _check(self, fields: Mapping[str, Any], is_chat: bool) -> None:
        own, others = (_OF_CHAT, _OF_COMPLETIONS) if is_chat else (_OF_COMPLETIONS, _OF_CHAT)
        known = {*_NUMBERS, *_INTEGERS, *_TRUTHS, *_OTHERS, *own} - set(others)
        neutral = _NEUTRAL_OF_CHAT if is_chat else _NEUTRAL
        for name, value in fields.items():
            if name in neutral:
                if value not in neutral[name]:
                    raise BadRequestError(f"{name} {value!r} isn't supported here: leave it out, or serve by vLLM.")
            elif name not in known:
                raise BadRequestError(f"There is no field {name!r} here; there are {', '.join(sorted(known))}.")
        _check_types(fields)
        stop_ids = fields.get("stop_token_ids", [])
        self._check_ids(stop_ids)
        if fields.get("min_tokens") and len({*stop_ids, *self._sampler.eos_ids}) >= self._num_tokens:
            raise BadRequestError("stop_token_ids leaves no token that may come within min_tokens.")
        model = fields.get("model", self._model)
        if model != self._model:
            raise BadRequestError(f"The model {model!r} isn't served here, but {self._model!r}.", 404)

    def _prompts(self, fields: Mapping[str, Any]) -> list[list[int]]:
        prompt = fields.get("prompt")
        if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and type(prompt[0]) is int):
            prompt = [prompt]
        if not isinstance(prompt, list) or not prompt:
            raise BadRequestError("prompt must be a text, a list of token ids, or a list of these.")
        return [self._prompt_ids(entry, fields.get("add_special_tokens", True)) for entry in prompt]

    def _prompt_ids(self, entry: Any, adds_special_tokens: bool) -> list[int]:
        if isinstance(entry, str):
            return self._tokenizer(_encodable(entry), add_special_tokens=adds_special_tokens)["input_ids"]
        if not isinstance(entry, list) or not all(type(token) is int for token in entry):
            raise BadRequestError("prompt must be a text, a list of token ids, or a list of these.")
        self._check_ids(entry)
        return entry

    def _check_ids(self, ids: Sequence[int]) -> None:
        outside = [token for token in ids if not 0 <= token < self._num_tokens]
        if outside:
            raise BadRequestError(
                f"The token id {outside[0]} isn't one of the model, which has 0 to {self._num_tokens - 1}."
            )

    def _chat_ids(self, fields: Mapping[str, Any]) -> list[int]:
        messages = _messages(fields.get("messages"))
        if self._tokenizer.chat_template is None:
            raise BadRequestError(
                "The model's tokenizer has no chat template, which a conversation needs: give the "
                "folder one (chat_template.jinja), or ask /v1/completions."
            )
        continues = fields.get("continue_final_message", False)
        variables = fields.get("chat_template_kwargs", {})
        taken = sorted(_NO_VARIABLES & set(variables))
        if taken:
            raise BadRequestError(f"chat_template_kwargs has {', '.join(taken)}, which isn't the template's to read.")
        try:
            return self._tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=fields.get("add_generation_prompt", not continues),
                continue_final_message=continues,
                tokenize=True,
                return_dict=True,
                **variables,
            )["input_ids"]
        except (TemplateError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise BadRequestError(f"The chat template refuses these messages: {error}") from error


def _common(fields: Mapping[str, Any], is_chat: bool, *, has_limit: bool) -> dict[str, Any]:
    """Return what all answers of a body share."""
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if limit is None and not is_chat and not has_limit:
        limit = _COMPLETION_TOKENS
    stop = fields.get("stop", [])
    names = {"include_stop": "include_stop_str_in_output"}
    names |= {
        name: name
        for name in ("top_p", "top_k", "min_p", "min_tokens", "ignore_eos", "skip_special_tokens", "temperature")
    }
    given = {own: fields[name] for own, name in names.items() if name in fields}
    return {
        **given,
        "max_tokens": limit,
        "stop": (stop,) if isinstance(stop, str) else tuple(stop),
        "stop_token_ids": tuple(fields.get("stop_token_ids", ())),
    }


def _check_types(fields: Mapping[str, Any]) -> None:
    stop = fields.get("stop", [])
    checks: list[tuple[Sequence[str], Callable[[Any], bool], str]] = [
        (_NUMBERS, _is_number, "a finite number"),
        (_INTEGERS, lambda value: type(value) is int and abs(value) < 2**63, "an integer of 64 bits"),
        ((*_TRUTHS, *_TRUTHS_OF_CHAT, *_TRUTHS_OF_COMPLETIONS), lambda value: type(value) is bool, "true or false"),
        (("stop",), lambda _: isinstance(stop, str) or _is_list_of(stop, str), "a text or a list of texts"),
        (("stop_token_ids",), lambda value: _is_list_of(value, int), "a list of token ids"),
        (("chat_template_kwargs",), lambda value: isinstance(value, dict), "an object"),
    ]
    for names, is_right, wanted in checks:
        for name in names:
            if name in fields and not is_right(fields[name]):
                raise BadRequestError(f"{name} is {fields[name]!r:.200}; it must be {wanted}.")


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # JSON has integers that no float is
        return False


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


def _messages(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise BadRequestError("messages must be a list of at least one message.")
    messages = []
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequestError("Each of messages must be an object with a role and content.")
        messages.append({**message, "content": _content(message.get("content"))})
    return messages


def _content(value: Any) -> str:
    """A text, or parts that are all text."""
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        texts = [part.get("text") for part in value]
        value = "\n".join(texts) if _is_list_of(texts, str) else None
    if not isinstance(value, str):
        raise BadRequestError("The content of a message must be text; pictures, sounds and calls aren't served here.")
    return _encodable(value)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequestError(f"A text holds half a surrogate pair: {error}.") from error
    return text
