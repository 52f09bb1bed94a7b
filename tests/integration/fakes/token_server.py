# SPDX-License-Identifier: Apache-2.0
"""A server for tests with a real model behind it: it takes token ids and gives them back, as vLLM does."""

import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from open_r1.generation.messages import Request, Sampling
from open_r1.generation.transformers_here import Sampler
from tests.integration.fakes.chat_server import ChatServer, Reply

_NO_SAMPLING = ("model", "messages", "prompt")


class TokenServer(ChatServer):
    """Serves a model folder; it answers one request after the other."""

    def __init__(self, model: str, *, max_model_len: int | None = None) -> None:
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._sampler = Sampler(loaded.eval(), AutoTokenizer.from_pretrained(model), 1, max_model_len)
        super().__init__(
            self._sample, models=[model], max_model_len=self._sampler.max_model_len, owner="transformers", root=model
        )

    def _sample(self, body, attempt):
        is_chat = "messages" in body
        sampling = Sampling(extra_body={name: value for name, value in body.items() if name not in _NO_SAMPLING})
        request = Request("", 0, body.get("messages", ()), prompt_ids=body.get("prompt", ()), sampling=sampling)
        (answer,) = self._sampler.sample([request])
        choice = {"index": 0, "finish_reason": answer.finish_reason, "stop_reason": answer.stop_reason}
        choice |= {"message": {"content": answer.text}} if is_chat else {"text": answer.text}
        choice |= {"token_ids": answer.token_ids} if body.get("return_token_ids") else {}
        return Reply(raw=json.dumps({"choices": [choice], "usage": answer.usage}).encode())
