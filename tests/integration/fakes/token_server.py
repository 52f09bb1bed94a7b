# SPDX-License-Identifier: Apache-2.0
"""A server for tests with a real model behind it: it takes token ids and gives them back, as vLLM does."""

import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from open_r1.evaluation.sampling.batch_sampling import BatchSampler, SampleRequest
from tests.integration.fakes.chat_server import ChatServer, Reply

_FIELDS = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "min_tokens")


class TokenServer(ChatServer):
    """Serves a model folder; it answers one request after the other."""

    def __init__(self, model: str, *, max_model_len: int | None = None) -> None:
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._sampler = BatchSampler(loaded.eval(), AutoTokenizer.from_pretrained(model), 1, max_model_len)
        super().__init__(
            self._sample, models=[model], max_model_len=self._sampler.max_model_len, owner="transformers", root=model
        )

    def _sample(self, body, attempt):
        tokenizer = self._sampler.tokenizer
        is_chat = "messages" in body
        ids = (
            body.get("prompt")
            or tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=True)[
                "input_ids"
            ]
        )
        given = {name: body[name] for name in _FIELDS if body.get(name) is not None}
        wanted = SampleRequest(
            ids,
            stop=tuple(body.get("stop", ())),
            stop_token_ids=tuple(body.get("stop_token_ids", ())),
            include_stop=body.get("include_stop_str_in_output", False),
            **given,
        )
        (answer,) = self._sampler.sample([wanted])
        choice = {"index": 0, "finish_reason": answer.finish_reason, "stop_reason": answer.stop_reason}
        choice |= {"message": {"content": answer.text}} if is_chat else {"text": answer.text}
        choice |= {"token_ids": answer.token_ids} if body.get("return_token_ids") else {}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(answer.token_ids)}
        return Reply(raw=json.dumps({"choices": [choice], "usage": usage}).encode())
