# SPDX-License-Identifier: Apache-2.0
"""Sampling by transformers: exact frequencies, answers independent of their batch mates, ends, limits, memory."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from aiohttp.test_utils import TestClient, TestServer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from open_r1.generation.messages import NEUTRAL, Request, Sampling
from open_r1.generation.transformers_here import Sampler, TransformersHere, choose_tokens, filter_probs
from scripts.serve_transformers import build_app
from tests.integration.tiny import CONTEXT_TOKENS, build_tiny

NUM_DRAWS = 4000
PROMPTS = ["1+1", "a longer prompt than that", "?", "1+1", "x" * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny")).model


@pytest.fixture(scope="module")
def model(folder):
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def sampler(model, tokenizer):
    return Sampler(model, tokenizer, max_batch_size=8)


@pytest.fixture
def ask(tokenizer):
    """Return a request; names that `Sampling` doesn't have go into the body."""

    def ask(text="1+1", **settings):
        known = {name: settings.pop(name) for name in list(settings) if hasattr(Sampling(), name)}
        ids = tokenizer(text)["input_ids"]
        return Request("a", 0, prompt_ids=ids, sampling=Sampling(extra_body=settings, **{"max_tokens": 12, **known}))

    return ask


def seeded(request, count):
    return [replace(request, index=index, sampling=replace(request.sampling, seed=0)) for index in range(count)]


def filtered(probs, top_k=-1, top_p=1.0, min_p=0.0):
    """The distribution after the filters, written out for one row."""
    probs = np.where(probs < min_p * probs.max(), 0.0, probs)
    order = np.argsort(-probs)
    if top_k > 0:
        probs[order[top_k:]] = 0.0
    before = np.cumsum(probs[order]) - probs[order]
    if top_p < 1:
        probs[order[before >= top_p * probs.sum()]] = 0.0
    return probs / probs.sum()


@pytest.mark.parametrize(
    "filters",
    [{}, {"top_k": 5}, {"top_p": 0.6}, {"min_p": 0.32}, {"top_k": 20, "top_p": 0.7, "min_p": 0.25}],
    ids=lambda filters: "-".join(filters) or "none",
)
def test_tokens_are_drawn_as_often_as_they_are_probable(model, tokenizer, ask, filters):
    request = ask(max_tokens=1, temperature=0.4, **filters)
    with torch.no_grad():
        logits = model(torch.tensor([request.prompt_ids])).logits[0, -1].double()
    probs = filtered(torch.softmax(logits / 0.4, -1).numpy(), **filters)
    replies = Sampler(model, tokenizer, NUM_DRAWS).sample(seeded(request, NUM_DRAWS))
    counts = np.zeros(len(probs))
    for token, count in Counter(reply.token_ids[0] for reply in replies).items():
        counts[token] = count
    assert not counts[probs == 0].any()
    expected = probs[probs > 0] * NUM_DRAWS
    chi_square = ((counts[probs > 0] - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert freedom > 0
    assert freedom - 4 * (2 * freedom) ** 0.5 < chi_square < freedom + 4 * (2 * freedom) ** 0.5


def test_large_vocabularies_are_filtered_as_small_ones():
    probs = torch.softmax(torch.randn(5, 5000, generator=torch.Generator().manual_seed(0)), -1)
    for filters in ({"top_p": 0.9}, {"top_k": 1000, "top_p": 0.99}, {}, {"top_p": 0.1}, {"top_k": 2**70}):
        weights = filter_probs(probs, **filters).double().numpy()
        for row in range(5):
            expected = filtered(probs[row].double().numpy(), **filters)
            assert abs(int((weights[row] > 0).sum()) - int((expected > 0).sum())) <= 1  # rounding at the border
            np.testing.assert_allclose(weights[row] / weights[row].sum(), expected, atol=1e-5)


def test_an_answer_does_not_depend_on_its_batch_mates(model, tokenizer, sampler, ask):
    settings = [{"temperature": 0.0}, {"seed": 1}, {"seed": 1, "top_p": 0.5}, {"seed": 2, "temperature": 0.3}]
    requests = [ask(text, **each) for text in PROMPTS for each in settings]
    together = sampler.sample(requests)
    assert together == [Sampler(model, tokenizer, 1).sample([request])[0] for request in requests]
    assert sampler.sample(requests[::-1]) == together[::-1]


def test_padded_greedy_answers_are_those_of_generate_whatever_the_model_proposes(model, sampler, ask, monkeypatch):
    config = GenerationConfig(max_new_tokens=12, eos_token_id=sorted(sampler.end_ids), pad_token_id=0, do_sample=False)
    requests = [ask(text, temperature=0.0, **NEUTRAL) for text in PROMPTS]
    outputs = [model.generate(torch.tensor([request.prompt_ids]), generation_config=config) for request in requests]
    monkeypatch.setattr(model, "generation_config", GenerationConfig(repetition_penalty=3.0, do_sample=True))
    for request, output, reply in zip(requests, outputs, sampler.sample(requests), strict=True):
        assert reply.token_ids == output[0, len(request.prompt_ids) :].tolist()
    assert model.generation_config.repetition_penalty == 3.0


def test_seeds_prompts_and_no_seed_draw_differently(sampler, ask):
    same, other_seed, other_prompt = sampler.sample([ask(seed=0), ask(seed=1), ask("2+2", seed=0)])
    assert sampler.sample([ask(seed=0)])[0] == same
    assert len({tuple(reply.token_ids) for reply in (same, other_seed, other_prompt)}) == 3
    first, second = sampler.sample([ask(), ask()])
    assert first.token_ids != second.token_ids


def test_every_request_has_ends_of_its_own(sampler, ask):
    lengths = [1, 5, 30, 2]
    replies = sampler.sample([ask(max_tokens=n, seed=0, ignore_eos=True) for n in lengths])
    assert [(len(reply.token_ids), reply.finish_reason) for reply in replies] == [(n, "length") for n in lengths]
    long, word = replies[2], replies[2].text[5:8]
    ends = [{"stop_token_ids": [long.token_ids[7]]}, {"stop": [word]}]
    ends += [{"stop": [word], "include_stop_str_in_output": True}, {"stop": [word], "min_tokens": 20}]
    stopped = sampler.sample([ask(max_tokens=30, seed=0, ignore_eos=True, **each) for each in ends])
    assert [reply.stop_reason for reply in stopped[:3]] == [long.token_ids[7], word, word]
    start = long.text.index(word)
    assert [reply.text for reply in stopped[1:3]] == [long.text[:start], long.text[: start + 3]]
    assert len(stopped[3].token_ids) > 20


def test_no_end_comes_before_the_fewest_tokens(sampler, ask):
    every_token = list(range(3, 60))
    replies = sampler.sample(seeded(ask(max_tokens=40, min_tokens=10, stop_token_ids=every_token), 20))
    assert any(reply.finish_reason == "stop" for reply in replies)
    assert not any({*every_token, *sampler.end_ids} & set(reply.token_ids[:10]) for reply in replies)


@pytest.mark.parametrize(
    ("text", "settings", "name"),
    [
        ("x" * CONTEXT_TOKENS, {}, "max_tokens"),
        ("x" * 250, {"max_tokens": 7}, "max_tokens"),
        ("1", {"repetition_penalty": 1.1}, "repetition_penalty"),
    ],
)
def test_what_the_context_does_not_hold_or_has_no_effect_is_refused(sampler, ask, text, settings, name):
    with pytest.raises(ValueError, match=name):
        sampler.sample([ask(), ask(text, **settings)])


def test_answers_are_told_of_as_they_finish_and_cancelled_ones_leave(sampler, ask):
    told = []
    requests = [ask(max_tokens=n, seed=0, ignore_eos=True) for n in (9, 3, 6)]
    sampler.sample(requests, on_done=lambda place, reply: told.append(place))
    assert told == [1, 2, 0]

    async def cancel_one():
        here = TransformersHere("tiny", "tiny", sampler)
        long = asyncio.create_task(here.ask_one(ask(max_tokens=200, ignore_eos=True)))
        await asyncio.sleep(0)
        await here.ask_one(requests[1])
        long.cancel()
        await asyncio.wait([here._work])
        return len(row.ids)

    row = sampler.row(ask(max_tokens=200, ignore_eos=True))
    with mock.patch.object(sampler, "row", side_effect=[row, sampler.row(requests[1])]):
        assert asyncio.run(cancel_one()) <= 4


def test_too_little_memory_halves_the_batch_and_changes_no_answer(sampler, ask, model, monkeypatch):
    requests = [ask(text, seed=0) for text in PROMPTS]
    expected = sampler.sample(requests)
    forward = model.forward

    def forward_of_few(*args, **settings):
        if len(settings["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        return forward(*args, **settings)

    monkeypatch.setattr(model, "forward", forward_of_few)
    assert sampler.sample(requests) == expected
    assert sampler.max_batch_size == 2


def test_a_model_in_training_is_left_in_training(sampler, ask, model):
    model.train()
    try:
        sampler.sample([ask()])
        assert model.training
    finally:
        model.eval()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_of_broken_weights_give_no_token(temperature, value):
    logits = torch.zeros(2, 8)
    logits[1] = value
    with pytest.raises(ValueError, match="NaN"):
        choose_tokens(logits, [random.Random(0)] * 2, temperature)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("keeps", [True, False])
def test_end_tokens_are_left_out_of_the_text_unless_they_are_wanted(model, tokenizer, ask, skips, keeps):
    sampler = Sampler(model, tokenizer, 1)
    free = sampler.sample([ask(seed=0, ignore_eos=True)])[0]
    sampler.end_ids = frozenset({free.token_ids[3]})  # a token like others, which generation_config may name
    place = free.token_ids.index(free.token_ids[3])
    (reply,) = sampler.sample([ask(seed=0, skip_special_tokens=skips, include_stop_str_in_output=keeps)])
    assert reply.token_ids == free.token_ids[: place + 1]
    assert reply.text == tokenizer.decode(reply.token_ids[: place + keeps], skip_special_tokens=skips)


def test_server_answers_400_to_what_it_cannot_sample(sampler):
    asked = {"messages": [{"role": "user", "content": "1+1"}], "max_tokens": 4}
    odd = [{"temperature": 3}, {"top_p": "high"}, {"max_tokens": 10**6}, {"messages": None}]

    async def statuses():
        async with TestClient(TestServer(build_app("tiny", TransformersHere("tiny", "", sampler)))) as client:
            replies = [await client.post("/v1/chat/completions", json=asked | change) for change in [{}, *odd]]
            replies += [await client.post("/v1/chat/completions", data=b"{")]
            return [reply.status for reply in replies]

    assert asyncio.run(statuses()) == [200, *[400] * 5]
