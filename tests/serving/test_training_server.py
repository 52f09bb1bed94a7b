# SPDX-License-Identifier: Apache-2.0
"""What TRL's client gets from a vLLM server: completions with the token or text that has ended them."""

import pytest
from transformers import AutoTokenizer
from trl.generation.vllm_client import VLLMClient

from open_r1.generation.vllm_here import stopping_kwargs

pytestmark = pytest.mark.serving
PROMPT = "The capital of France is Paris. The capital of Italy is Rome. The capital of Spain is"


def test_completions_keep_what_has_ended_them(server, model_folder):
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    client = VLLMClient(base_url=server.url.removesuffix("/v1"), connection_timeout=60)

    def answer(**stopping) -> str:
        kwargs = stopping_kwargs(None, **stopping)
        prompt = tokenizer(PROMPT)["input_ids"]
        found = client.generate([prompt], temperature=0.0, max_tokens=16, generation_kwargs=kwargs)
        (ids,), (logprobs,) = found["completion_ids"], found["logprobs"]
        assert len(ids) == len(logprobs)
        return tokenizer.decode(ids)

    (full_stop,) = tokenizer(".")["input_ids"]
    assert answer(end_ids=[full_stop], stop_strings=None) == " Madrid."
    assert answer(end_ids=[tokenizer.eos_token_id], stop_strings=["adri"]) == " Madrid"
    assert len(answer(end_ids=[tokenizer.eos_token_id], stop_strings=None)) > len(" Madrid.")
