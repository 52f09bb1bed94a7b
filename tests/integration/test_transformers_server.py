# SPDX-License-Identifier: Apache-2.0
"""The server of transformers: its protocol, bad input, batches, clients that hang up, failing models."""

import asyncio
import json
import shutil
import threading
import urllib.request
from urllib.error import HTTPError, URLError

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from open_r1.evaluation.completion_app import MOST_BYTES
from open_r1.evaluation.transformers_server import TransformersServer
from open_r1.generation.client import ChatClient
from open_r1.generation.completions import CompletionClient
from open_r1.generation.models import find_model
from open_r1.generation.requests import ChatRequest, Sampling
from open_r1.generation.servers import ServerError
from tests.integration.tiny import CONTEXT_TOKENS, build_tiny, build_tokenizer
from tests.waiting import wait_until

QUESTION = [{"role": "user", "content": "1+1"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny")).model


@pytest.fixture(scope="module")
def server(folder):
    torch.set_num_threads(1)
    with TransformersServer(str(folder), max_batch_size=8) as server:
        yield server


def ask(server, path, body, method="POST"):
    """Return the status and the body of a reply."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, content if method == "POST" else None, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


def chat(server, **fields):
    status, reply = ask(server, "/chat/completions", {"messages": QUESTION, "max_tokens": 8, "seed": 0, **fields})
    assert status == 200, reply
    return reply


def test_a_chat_completion_has_all_that_clients_read(server):
    reply = chat(server, n=3, return_token_ids=True)
    assert reply["object"] == "chat.completion" and reply["model"] == server.model
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    tokens = [choice["token_ids"] for choice in reply["choices"]]
    num_prompt, num_answers = len(reply["prompt_token_ids"]), sum(map(len, tokens))
    assert reply["usage"] == {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_answers,
        "total_tokens": num_prompt + num_answers,
    }
    for choice in reply["choices"]:
        assert choice["message"]["role"] == "assistant"
        assert choice["finish_reason"] == ("length" if len(choice["token_ids"]) == 8 else "stop")


def test_answer_i_has_the_seed_plus_i(server):
    together = [choice["message"]["content"] for choice in chat(server, n=3, seed=5)["choices"]]
    alone = [chat(server, seed=5 + index)["choices"][0]["message"]["content"] for index in range(3)]
    assert together == alone and len(set(together)) == 3


def test_prompts_are_texts_or_token_ids_and_several_of_them(server, folder):
    ids = AutoTokenizer.from_pretrained(folder)("1+1")["input_ids"]
    common = {"max_tokens": 6, "temperature": 0, "return_token_ids": True}
    replies = [
        ask(server, "/completions", {"prompt": prompt, **common})[1]
        for prompt in ("1+1", ids, ["1+1", "x"], [ids, ids])
    ]
    first = replies[0]["choices"][0]
    assert first["prompt_token_ids"] == ids and replies[0]["object"] == "text_completion"
    assert all(reply["choices"][0]["text"] == first["text"] for reply in replies)
    assert [len(reply["choices"]) for reply in replies] == [1, 1, 2, 2]
    assert replies[3]["choices"][1]["token_ids"] == first["token_ids"]


def test_greedy_text_is_that_of_generate(server, folder):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    config = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=tokenizer.eos_token_id)
    output = model.generate(**inputs, generation_config=config)[0, inputs["input_ids"].shape[1] :]
    expected = tokenizer.decode(output, skip_special_tokens=True)
    assert chat(server, temperature=0, max_tokens=20)["choices"][0]["message"]["content"] == expected


def test_tags_of_reasoning_stay_and_special_tokens_go(server, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tag, special = tokenizer.convert_tokens_to_ids(["<think>", "<|im_start|>"])
    for token, kept in ((tag, "<think>"), (special, "")):
        body = {"prompt": "1", "temperature": 0, "stop_token_ids": [token], "include_stop_str_in_output": True}
        reply = server_reply_ending_with(server, body, token)
        assert reply["stop_reason"] == token and reply["text"].endswith(kept)


def server_reply_ending_with(server, body, token):
    """Ask with other seeds until an answer ends with this token."""
    for seed in range(50):
        _, reply = ask(server, "/completions", {**body, "temperature": 2, "seed": seed, "max_tokens": 100})
        if reply["choices"][0]["finish_reason"] == "stop" and reply["choices"][0]["stop_reason"] == token:
            return reply["choices"][0]
    raise AssertionError("no answer ended with the token")


def test_fields_of_sampling_have_effect(server):
    free = chat(server, max_tokens=40, ignore_eos=True)["choices"][0]
    text = free["message"]["content"]
    stopped = chat(server, max_tokens=40, ignore_eos=True, stop=text[10:13])["choices"][0]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", text[10:13])
    assert text.startswith(stopped["message"]["content"])
    kept = chat(server, max_tokens=40, ignore_eos=True, stop=[text[10:13]], include_stop_str_in_output=True)
    assert kept["choices"][0]["message"]["content"] == stopped["message"]["content"] + text[10:13]
    greedy = chat(server, temperature=0, max_completion_tokens=9)["choices"][0]["message"]["content"]
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert chat(server, max_completion_tokens=9, **narrow)["choices"][0]["message"]["content"] == greedy


@pytest.mark.parametrize("top_k", [-1, 0])
@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
def test_sampling_fields_of_vllm_that_change_nothing_are_taken(server, path, top_k):
    prompt = {"messages": QUESTION, "add_special_tokens": False} if "chat" in path else {"prompt": "1+1"}
    body = {**prompt, "max_tokens": 8, "seed": 0}
    neutral = {"top_k": top_k, "min_p": 0, "repetition_penalty": 1.0, "presence_penalty": 0, "frequency_penalty": 0.0}
    replies = [ask(server, path, {**body, **fields}) for fields in ({}, neutral)]
    assert [status for status, _ in replies] == [200, 200]
    (first,), (second,) = (reply["choices"] for _, reply in replies)
    assert first == second


def test_parts_of_a_message_are_lines(server):
    parts = [{"type": "text", "text": "1"}, {"type": "text", "text": "+1"}]
    replies = [chat(server, messages=[{"role": "user", "content": content}]) for content in (parts, "1\n+1")]
    assert replies[0]["choices"] == replies[1]["choices"]


def test_special_tokens_are_added_to_prompts_of_completions_as_asked(server, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for is_added in (True, False):
        body = {"prompt": "1+1", "max_tokens": 1, "return_token_ids": True, "add_special_tokens": is_added}
        _, reply = ask(server, "/completions", body)
        assert reply["choices"][0]["prompt_token_ids"] == tokenizer("1+1", add_special_tokens=is_added)["input_ids"]


def test_without_a_limit_a_chat_fills_the_context_and_a_completion_has_16_tokens(server):
    reply = chat(server, max_tokens=None, ignore_eos=True)
    assert reply["usage"]["total_tokens"] == CONTEXT_TOKENS
    _, reply = ask(server, "/completions", {"prompt": "1+1", "ignore_eos": True})
    assert reply["usage"]["completion_tokens"] == 16
    _, reply = ask(server, "/completions", {"prompt": "1+1", "ignore_eos": True, "max_tokens": None})
    assert reply["usage"]["total_tokens"] == CONTEXT_TOKENS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokenz": 5}, "no field 'max_tokenz'"),
        ({"prompt": "x"}, "no field 'prompt'"),
        ({"messages": []}, "at least one message"),
        ({"messages": None}, "at least one message"),
        ({"messages": [{"content": "x"}]}, "with a role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "must be text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "must be text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "1+1"}, {"type": "text"}]}]}, "be text"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "surrogate"),
        ({"messages": [{"role": "user", "content": "x" * CONTEXT_TOKENS}]}, "nothing is left for an answer"),
        ({"max_tokens": CONTEXT_TOKENS}, "max_tokens is 256, but the context of 256"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_tokens": "5"}, "max_tokens is '5'; it must be an integer"),
        ({"min_tokens": 9}, "min_tokens is 9"),
        ({"n": 0}, "n is 0"),
        ({"n": 10**9}, "at most 4096"),
        ({"n": True}, "n is True; it must be an integer"),
        ({"top_k": 2**70}, "it must be an integer of 64 bits"),
        ({"temperature": 10**400}, "it must be a finite number"),
        ({"stop_token_ids": [10**6], "min_tokens": 2}, "token id 1000000 isn't one of the model"),
        ({"stop_token_ids": [-1], "min_tokens": 2}, "token id -1 isn't one of the model"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 2}, "top_p is 2"),
        ({"stop": [1]}, "stop is [1]"),
        ({"stop": ""}, "empty text"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids"),
        ({"stream": True}, "stream True isn't supported"),
        ({"logprobs": True}, "logprobs True isn't supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty 0.5 isn't supported"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"add_special_tokens": True}, "add_special_tokens True isn't supported"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs is []"),
        ({"chat_template_kwargs": {"return_tensors": "pt"}}, "chat_template_kwargs has return_tensors"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_can_not_be_answered_is_refused_with_the_reason(server, fields, message):
    body = {"messages": QUESTION, "max_tokens": 8, "stream": False, "frequency_penalty": 0, **fields}
    status, reply = ask(server, "/chat/completions", body)
    assert (status, reply["error"]["code"]) == (400, 400)
    assert message in reply["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/chat/completions", b"{", 400, "no JSON"),
        ("/chat/completions", b"[" * 100_000, 400, "no JSON"),
        ("/chat/completions", [], 400, "must be a JSON object"),
        ("/completions", {"prompt": []}, 400, "prompt must be"),
        ("/completions", {"prompt": ""}, 400, "no token"),
        ("/completions", {"prompt": [1.5]}, 400, "prompt must be"),
        ("/completions", {"prompt": [[1], [True]]}, 400, "prompt must be"),
        ("/completions", {"prompt": [5000]}, 400, "token id 5000"),
        ("/completions", {"prompt": [-1]}, 400, "token id -1"),
        ("/completions", {"prompt": "x", "messages": []}, 400, "no field 'messages'"),
        ("/completions", {"prompt": "x", "model": "another"}, 404, "'another' isn't served"),
        ("/embeddings", {}, 404, "Not Found"),
        ("/completions", b" " * (MOST_BYTES + 1), 413, ""),
    ],
    ids=["half", "deep", "list", "no prompt", "empty", "floats", "bools", "outside", "negative", "chat", "model",
         "path", "long"],
)  # fmt: skip
def test_bad_bodies_are_refused(server, path, body, status, message):
    found, reply = ask(server, path, body)
    assert found == status
    assert message in reply["error"]["message"]


def test_it_tells_what_it_serves(server):
    _, models = ask(server, "/models", None, "GET")
    assert [(card["id"], card["root"], card["max_model_len"], card["owned_by"]) for card in models["data"]] == [
        (server.model, server.model, CONTEXT_TOKENS, "transformers")
    ]
    with urllib.request.urlopen(server.url.removesuffix("/v1") + "/version") as reply:
        told = json.load(reply)
    assert (told["engine"], told["dtype"], told["device"]) == ("transformers", "float32", "cpu")
    with urllib.request.urlopen(server.url.removesuffix("/v1") + "/health") as reply:
        assert reply.status == 200


def complete(client, requests):
    async def complete():
        async with client:
            model = await find_model(client)
            return model, await asyncio.gather(*(client.complete(request) for request in requests))

    return asyncio.run(complete())


def test_many_requests_at_a_time_get_the_answers_of_single_ones(server):
    requests = [
        ChatRequest(str(number), number % 4, [{"role": "user", "content": f"{number // 4}+1"}]) for number in range(60)
    ]
    model, replies = complete(ChatClient([server.url], Sampling(max_tokens=10, seed=3)), requests)
    assert model.max_model_len == CONTEXT_TOKENS
    assert all(reply.error is None for reply in replies)
    for request, reply in list(zip(requests, replies, strict=True))[::13]:
        alone = chat(server, messages=request.messages, max_tokens=10, seed=3 + request.index)
        assert reply.text == alone["choices"][0]["message"]["content"]
        assert reply.usage["completion_tokens"] == alone["usage"]["completion_tokens"]


def test_prompts_of_token_ids_are_answered_and_refusals_are_final(server, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True)["input_ids"]
    requests = [ChatRequest("a", 0, prompt_ids=ids), ChatRequest("b", 0, prompt_ids=ids * 20)]
    _, (answered, refused) = complete(CompletionClient([server.url], Sampling(max_tokens=8, seed=0)), requests)
    assert answered.text == chat(server)["choices"][0]["message"]["content"]
    assert (refused.status, refused.attempts) == (400, 1)
    assert "nothing is left for an answer" in refused.error


class Gate:
    """Holds a model's forward passes back, and counts them."""

    def __init__(self, model, monkeypatch, fail=lambda batch_size: None):
        self.open, self.reached = threading.Event(), threading.Event()
        self.sizes = []
        forward = model.forward

        def gated(*args, **settings):
            self.sizes.append(len(settings["input_ids"]))
            self.reached.set()
            assert self.open.wait(180)  # longer than others wait for what opens it
            fail(len(settings["input_ids"]))
            return forward(*args, **settings)

        monkeypatch.setattr(model, "forward", gated)


@pytest.fixture
def own_server(folder):
    """A server of one test."""
    with TransformersServer(str(folder), max_batch_size=8) as server:
        yield server


def hang_up_when(client, body, is_reached):
    """Send a request, and close the connection once something has happened."""

    async def hang_up():
        async with client:
            asking = asyncio.create_task(client.complete(body))
            await asyncio.to_thread(is_reached.wait, 60)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(hang_up())


def test_who_hangs_up_leaves_the_batch(own_server, monkeypatch):
    gate, sample, is_wanted = Gate(own_server.sampler.model, monkeypatch), own_server.sampler.sample, []

    def noted(requests, **calls):
        is_wanted.append(calls["is_wanted"])
        return sample(requests, **calls)

    monkeypatch.setattr(own_server.sampler, "sample", noted)
    client = ChatClient(
        [own_server.url], Sampling(max_tokens=200, extra_body={"ignore_eos": True}), model=own_server.model
    )
    hang_up_when(client, ChatRequest("a", 0, QUESTION), gate.reached)
    wait_until(lambda: not is_wanted[0](0))  # the server's other thread has heard of it
    gate.open.set()
    chat(own_server, max_tokens=4, ignore_eos=True)
    assert len(gate.sizes) < 100


def test_requests_that_wait_are_sampled_together(own_server, monkeypatch):
    gate = Gate(own_server.sampler.model, monkeypatch)
    first = threading.Thread(target=chat, args=[own_server])
    first.start()
    assert gate.reached.wait(60)
    requests = [ChatRequest(str(number), 0, [{"role": "user", "content": f"{number}+1"}]) for number in range(8)]

    async def ask_all():
        async with ChatClient(
            [own_server.url], Sampling(max_tokens=5, temperature=0), model=own_server.model
        ) as client:
            asking = [asyncio.create_task(client.complete(request)) for request in requests]
            while own_server.num_waiting < 8:
                await asyncio.sleep(0.01)
            gate.open.set()
            return await asyncio.gather(*asking)

    replies = asyncio.run(ask_all())
    first.join()
    assert all(reply.text is not None for reply in replies)
    assert gate.sizes.count(8) >= 1


def test_a_batch_that_fails_is_500_and_the_next_one_is_answered(own_server, monkeypatch):
    failures = iter([True])

    def fail(batch_size):
        if next(failures, False):
            raise RuntimeError("a broken kernel")

    Gate(own_server.sampler.model, monkeypatch, fail).open.set()
    status, reply = ask(own_server, "/chat/completions", {"messages": QUESTION, "max_tokens": 4})
    assert (status, reply["error"]["message"]) == (500, "RuntimeError: a broken kernel")
    chat(own_server)
    own_server.check()


def test_answers_whose_batch_fails_are_tried_one_by_one(own_server, monkeypatch):
    body = {"prompt": "1+1", "max_tokens": 4, "n": 4, "seed": 3, "ignore_eos": True}
    _, expected = ask(own_server, "/completions", body)

    def fail(batch_size):
        if batch_size > 1:
            raise RuntimeError("one of them breaks the kernel")

    Gate(own_server.sampler.model, monkeypatch, fail).open.set()
    status, reply = ask(own_server, "/completions", body)
    assert (status, reply["choices"]) == (200, expected["choices"])
    own_server.check()


def test_a_model_that_fails_for_good_is_given_up_with_the_reason(own_server, monkeypatch):
    def fail(batch_size):
        raise torch.AcceleratorError("device-side assert triggered")

    Gate(own_server.sampler.model, monkeypatch, fail).open.set()
    status, _ = ask(own_server, "/chat/completions", {"messages": QUESTION, "max_tokens": 4})
    assert status == 500
    assert ask(own_server, "/models", None, "GET")[0] == 503
    with pytest.raises(ServerError, match=r"device-side assert.*the same command goes on"):
        own_server.check()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0; it must be at least 1"),
        ({"max_model_len": 0}, "max_model_len is 0; it must be at least 1"),
        ({"max_model_len": CONTEXT_TOKENS + 1}, f"has a context of {CONTEXT_TOKENS} tokens"),
    ],
)
def test_settings_that_no_model_can_have_are_refused_before_the_weights_load(folder, tmp_path, settings, said):
    shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ValueError, match=said):
        TransformersServer(str(tmp_path / "model"), **settings).__enter__()


def test_an_adapter_has_the_context_of_its_base(folder, tmp_path):
    get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(target_modules=["q_proj"])
    ).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"has a context of {CONTEXT_TOKENS} tokens"):
        TransformersServer(str(tmp_path), max_model_len=CONTEXT_TOKENS + 1).__enter__()
    with TransformersServer(str(tmp_path), max_model_len=CONTEXT_TOKENS - 1) as server:
        assert server.sampler.max_model_len == CONTEXT_TOKENS - 1


def test_an_adapter_is_loaded_on_the_revision_of_its_base(folder, tmp_path, monkeypatch):
    shutil.copytree(
        folder, tmp_path, ignore=shutil.ignore_patterns("config.json", "*.safetensors"), dirs_exist_ok=True
    )
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "me/base", "revision": "v1"}')
    asked = []

    def load(name, revision, **settings):
        asked.append(revision)
        raise OSError("no network")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", load)
    with pytest.raises(OSError, match="no network"):
        TransformersServer(str(tmp_path)).__enter__()
    assert asked == ["v1"]


def test_a_model_without_a_template_answers_completions_alone(folder, tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = None
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with TransformersServer(str(tmp_path), dtype="bfloat16") as server:
        status, reply = ask(server, "/chat/completions", {"messages": QUESTION})
        assert status == 400 and "has no chat template" in reply["error"]["message"]
        assert ask(server, "/completions", {"prompt": "1+1"})[0] == 200


def test_a_server_that_stops_refuses_what_it_has_not_answered_and_leaves_nothing(folder, monkeypatch):
    before = set(threading.enumerate())
    replies = []
    with TransformersServer(str(folder)) as server:
        gate = Gate(server.sampler.model, monkeypatch)
        asking = threading.Thread(
            target=lambda: replies.append(ask(server, "/chat/completions", {"messages": QUESTION}))
        )
        asking.start()
        assert gate.reached.wait(60)
        gate.open.set()
    asking.join()
    assert [status for status, _ in replies] in ([500], [200])  # the answer may have been finished a moment before
    assert set(threading.enumerate()) <= before
    with pytest.raises(URLError, match="refused"):
        urllib.request.urlopen(server.url + "/models", timeout=10)
