# SPDX-License-Identifier: Apache-2.0
"""Sampling in batches: exact frequencies, answers that don't depend on their company, ends, limits, memory."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, MambaConfig, MambaForCausalLM

from open_r1.evaluation.sampling.batch_sampling import BatchSampler, SampleRequest
from open_r1.evaluation.sampling.token_choice import Drawing, TokenChoice
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
    return BatchSampler(model, tokenizer, max_batch_size=8)


@pytest.fixture
def ask(tokenizer):
    def ask(text="1+1", **settings):
        return SampleRequest(tokenizer(text)["input_ids"], **{"max_tokens": 12, **settings})

    return ask


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
    answers = BatchSampler(model, tokenizer, NUM_DRAWS).sample([replace(request, seed=s) for s in range(NUM_DRAWS)])
    counts = np.zeros(len(probs))
    for token, count in Counter(answer.token_ids[0] for answer in answers).items():
        counts[token] = count
    assert not counts[probs == 0].any()
    expected = probs[probs > 0] * NUM_DRAWS
    chi_square = ((counts[probs > 0] - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert freedom > 0
    assert freedom - 4 * (2 * freedom) ** 0.5 < chi_square < freedom + 4 * (2 * freedom) ** 0.5


def test_later_tokens_follow_the_earlier_ones(model, tokenizer, ask):
    request = ask(max_tokens=2, temperature=0.4, ignore_eos=True)
    answers = BatchSampler(model, tokenizer, 1000).sample([replace(request, seed=seed) for seed in range(NUM_DRAWS)])
    pairs = Counter(tuple(answer.token_ids) for answer in answers)
    (first, _), _ = pairs.most_common(1)[0]
    with torch.no_grad():
        logits = model(torch.tensor([[*request.prompt_ids, first]])).logits[0, -1]
    probs = torch.softmax(logits / 0.4, -1)
    of_first = {second: count for (token, second), count in pairs.items() if token == first}
    total = sum(of_first.values())
    second = max(of_first, key=of_first.__getitem__)
    spread = (probs[second] * (1 - probs[second]) / total).sqrt()
    assert total > 100
    assert abs(of_first[second] / total - probs[second]) < 4 * spread


def test_large_vocabularies_are_filtered_as_small_ones():
    logits = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0))
    settings = [{"top_p": 0.9}, {"top_k": 1000, "top_p": 0.99}, {}, {"top_p": 0.1}]
    drawings = [Drawing(seed=0, **each) for each in settings]
    choice = TokenChoice(drawings, [drawing.numbers([1]) for drawing in drawings], torch.device("cpu"))
    weights = choice.weights(logits).double().numpy()
    for row, each in enumerate(settings):
        expected = filtered(torch.softmax(logits[row].double(), -1).numpy(), **each)
        assert abs(int((weights[row] > 0).sum()) - int((expected > 0).sum())) <= 1  # rounding at the border
        np.testing.assert_allclose(weights[row] / weights[row].sum(), expected, atol=1e-5)


def test_an_answer_does_not_depend_on_who_shares_its_batch(model, tokenizer, sampler, ask):
    settings = [{"temperature": 0.0}, {"seed": 1}, {"seed": 1, "top_p": 0.5}, {"seed": 2, "temperature": 0.3}]
    requests = [ask(text, **each) for text in PROMPTS for each in settings]
    together = sampler.sample(requests)
    alone = [BatchSampler(model, tokenizer, 1).sample([request])[0] for request in requests]
    assert together == alone
    assert sampler.sample(requests[::-1]) == together[::-1]


def test_padded_greedy_answers_are_those_of_generate(model, sampler, ask):
    requests = [ask(text, temperature=0.0) for text in PROMPTS]
    config = GenerationConfig(max_new_tokens=12, eos_token_id=sorted(sampler.eos_ids), pad_token_id=0, do_sample=False)
    for request, answer in zip(requests, sampler.sample(requests), strict=True):
        output = model.generate(torch.tensor([request.prompt_ids]), generation_config=config)
        assert answer.token_ids == output[0, len(request.prompt_ids) :].tolist()


def test_seeds_prompts_and_no_seed_draw_differently(sampler, ask):
    same, other_seed, other_prompt = sampler.sample([ask(seed=0), ask(seed=1), ask("2+2", seed=0)])
    assert sampler.sample([ask(seed=0)])[0] == same
    assert len({tuple(answer.token_ids) for answer in (same, other_seed, other_prompt)}) == 3
    first, second = sampler.sample([ask(), ask()])
    assert first.token_ids != second.token_ids


def test_every_request_has_limits_of_its_own(sampler, ask, tokenizer):
    lengths = [1, 5, 30, 2]
    free = [ask(max_tokens=n, seed=0, ignore_eos=True) for n in lengths]
    answers = sampler.sample(free)
    assert [len(answer.token_ids) for answer in answers] == lengths
    assert {answer.finish_reason for answer in answers} == {"length"}
    long = answers[2]
    stopped = sampler.sample(
        [
            ask(max_tokens=30, seed=0, ignore_eos=True, stop_token_ids=(long.token_ids[7],)),
            ask(max_tokens=30, seed=0, ignore_eos=True, stop=(long.text[5:8],)),
        ]
    )
    assert [answer.finish_reason for answer in stopped] == ["stop", "stop"]
    assert stopped[0].stop_reason == long.token_ids[7]
    assert long.text.startswith(stopped[1].text) and stopped[1].stop_reason == long.text[5:8]


def test_no_end_comes_before_the_fewest_tokens(sampler, ask):
    every_token = tuple(range(3, 60))
    requests = [ask(seed=seed, max_tokens=40, min_tokens=10, stop_token_ids=every_token) for seed in range(20)]
    answers = sampler.sample(requests)
    assert all(len(answer.token_ids) > 10 for answer in answers if answer.finish_reason == "stop")
    assert any(answer.finish_reason == "stop" for answer in answers)
    ended = {*every_token, *sampler.eos_ids}
    assert not any(ended & set(answer.token_ids[:10]) for answer in answers)


def test_without_a_limit_an_answer_may_fill_the_context(sampler, ask):
    request = ask(max_tokens=None, seed=0, ignore_eos=True)
    assert len(sampler.sample([request])[0].token_ids) == CONTEXT_TOKENS - len(request.prompt_ids)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("x" * CONTEXT_TOKENS, {}, "Request 1: The prompt has 256 tokens.* nothing is left"),
        ("x" * 250, {"max_tokens": 7}, "Request 1: max_tokens is 7.* leaves 6 behind a prompt of 250"),
        ("x" * 250, {"max_tokens": None, "min_tokens": 9}, "min_tokens is 9, but at most 6"),
    ],
)
def test_what_the_context_does_not_hold_is_refused(sampler, ask, text, settings, message):
    with pytest.raises(ValueError, match=message):
        sampler.sample([ask(), ask(text, **settings)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0; allowed is above 0"),
        ({"top_k": -2}, "top_k is -2"),
        ({"min_p": 1.5}, "min_p is 1.5"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"min_tokens": 13}, "min_tokens is 13"),
        ({"stop": ("",)}, "an empty text"),
        ({"prompt_ids": []}, "no token"),
    ],
)
def test_settings_that_can_not_work_are_refused(ask, settings, message):
    with pytest.raises(ValueError, match=message):
        replace(ask(), **settings)


def test_answers_are_told_of_as_they_finish_and_unwanted_ones_leave(sampler, ask):
    told = []
    requests = [ask(max_tokens=n, seed=0, ignore_eos=True) for n in (9, 3, 6, 9)]
    answers = sampler.sample(
        requests, on_done=lambda place, answer: told.append(place), is_wanted=lambda place: place != 3
    )
    assert told == [3, 1, 2, 0]
    assert (answers[3].finish_reason, len(answers[3].token_ids)) == ("abort", 1)


def test_both_kinds_of_end_tokens_count(model, tokenizer, monkeypatch):
    monkeypatch.setattr(model, "generation_config", GenerationConfig(eos_token_id=[0, 7]))
    assert BatchSampler(model, tokenizer, 1).eos_ids == {0, 7, tokenizer.eos_token_id}


def test_too_little_memory_halves_the_batch_and_changes_no_answer(sampler, ask, model, monkeypatch, caplog):
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
    assert "isn't enough for 5 answers at once; going on with 2" in caplog.text


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
    drawings = [Drawing(0.0), Drawing(temperature, seed=0)]
    choice = TokenChoice(drawings, [drawing.numbers([1]) for drawing in drawings], torch.device("cpu"))
    logits = torch.zeros(2, 8)
    logits[1] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        choice.choose(logits)


def test_more_tokens_than_any_vocabulary_are_all_tokens():
    choice = TokenChoice([Drawing(top_k=2**70), Drawing(top_k=2)], [], torch.device("cpu"))
    assert (choice.weights(torch.zeros(2, 8)) > 0).sum(dim=-1).tolist() == [8, 2]


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("keeps", [True, False])
def test_end_tokens_are_left_out_of_the_text_unless_they_are_wanted(model, tokenizer, ask, skips, keeps):
    sampler = BatchSampler(model, tokenizer, 1)
    free = sampler.sample([ask(seed=0, ignore_eos=True)])[0]
    sampler.eos_ids = frozenset({free.token_ids[3]})  # a token like others, which generation_config may name
    place = free.token_ids.index(free.token_ids[3])
    answer = sampler.sample([ask(seed=0, skip_special_tokens=skips, include_stop=keeps)])[0]
    assert answer.token_ids == free.token_ids[: place + 1]
    assert answer.text == tokenizer.decode(answer.token_ids[: place + keeps], skip_special_tokens=skips)


def test_models_that_keep_their_past_in_another_way_are_refused(tokenizer):
    model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=8, num_hidden_layers=1, state_size=4))
    with pytest.raises(ValueError, match="MambaForCausalLM"):
        BatchSampler(model, tokenizer, 1)


def test_negative_stop_tokens_are_refused(ask):
    with pytest.raises(ValueError, match="stop_token_ids holds -1"):
        ask(stop_token_ids=(-1,))
