# SPDX-License-Identifier: Apache-2.0
"""The HTTP client against servers that fail in every way that servers do, and the model that they serve."""

import asyncio
import time
from contextlib import nullcontext

import pytest

from open_r1.generation.client import Client, Patience, ServedModel, refuse_another, server_url
from open_r1.generation.driver import run
from open_r1.generation.messages import Request, Sampling, ServersDownError
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply

QUICK = Patience(retries=3, first_delay_s=0.01, outage_s=20.0)


def question(number=0, index=0, **known):
    return Request(f"key-{number}", index, [{"role": "user", "content": f"Compute {number}+1"}], **known)


def ask(addresses, *requests, patience=QUICK, **options):
    """The replies to requests that are sent at once."""

    async def main():
        async with Client(addresses, model=MODEL, patience=patience, **options) as client:
            return await asyncio.gather(*map(client.ask_one, requests))

    return run(main())


@pytest.mark.parametrize(
    "failure",
    [
        Reply(status=500),
        Reply(status=429),
        Reply(drop=True),
        Reply(raw=b"{"),
        Reply(message={"content": None}, finish_reason=None),
        Reply("half", finish_reason="abort"),
        Reply(raw=b'{"error": {"message": "upstream", "code": 502}}'),
    ],
)
def test_a_failure_that_passes_is_retried(failure):
    with ChatServer(lambda body, attempt: failure if attempt == 0 else Reply("8")) as server:
        (reply,) = ask([server.address], question())
    assert (reply.text, reply.finish_reason, reply.status, reply.attempts, reply.error) == ("8", "stop", 200, 2, None)


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_request_that_is_refused_is_not_sent_again_and_says_why(status):
    with ChatServer(lambda body, attempt: Reply(status=status, error="context too long")) as server:
        (reply,) = ask([server.address], question())
        assert len(server.requests) == 1
    assert (reply.text, reply.finish_reason, reply.status) == (None, "error", status)
    assert reply.error == f"HTTP {status}: context too long"


@pytest.mark.parametrize("status", [307, 401, 402, 404])
@pytest.mark.parametrize("num_answered", [0, 1])
def test_a_server_that_refuses_all_requests_ends_the_run(status, num_answered):
    """At once if it never answered, else at the third refusal in a row."""

    async def main(address):
        async with Client([address], model=MODEL, patience=QUICK) as client:
            for number in range(10):
                await client.ask_one(question(number))

    refusal = Reply(status=status, error="no such key or model", headers={"Location": "http://elsewhere/v1"})
    with ChatServer(lambda body, attempt: Reply("8") if len(server.requests) <= num_answered else refusal) as server:
        with pytest.raises(ServersDownError, match=f"HTTP {status}"):
            run(main(server.address))
        assert len(server.requests) == (4 if num_answered else 1)


def test_being_told_to_come_later_costs_no_retries():
    later = Reply(status=429, headers={"Retry-After": "0.05"})
    with ChatServer(lambda body, attempt: later if attempt < 8 else Reply("8")) as server:
        started = time.monotonic()
        (reply,) = ask([server.address], question())
    assert (reply.text, reply.attempts) == ("8", 9)
    assert time.monotonic() - started >= 8 * 0.05


def test_retry_after_beyond_the_deadline_ends_the_request():
    with ChatServer(lambda body, attempt: Reply(status=429, headers={"Retry-After": "3600"})) as server:
        (reply,) = ask([server.address], question(), patience=Patience(deadline_s=500.0))
    assert "HTTP 429" in reply.error
    assert reply.attempts == 1


@pytest.mark.parametrize("slow", [Reply("8", delay_s=600.0), Reply("8" * 1000, trickle_s=0.5)])
def test_an_attempt_ends_at_its_timeout(slow):
    with ChatServer(lambda body, attempt: slow if attempt == 0 else Reply("8")) as server:
        (reply,) = ask([server.address], question(), patience=Patience(timeout_s=3.0, first_delay_s=0.01))
    assert (reply.text, reply.attempts) == ("8", 2)


def test_the_key_is_sent_and_never_told():
    with ChatServer(api_key="secret") as server:
        (right,) = ask([server.address], question(), api_key="secret")
        with pytest.raises(ServersDownError, match="401") as caught:
            ask([server.address], question(), api_key="guessed!")
    assert right.error is None
    assert "guessed!" not in str(caught.value)


@pytest.mark.parametrize(
    "echo",
    [
        Reply(status=400, error="Incorrect API key provided: sk-0123456789"),
        Reply(raw=b'{"choices": ["' + b"x" * 100 + b'sk-0123456789"]}'),
        Reply(raw=b'{"error": {"message": "key sk-0123456789", "code": 400}}'),
    ],
)
def test_a_key_that_a_server_repeats_is_left_out_of_reasons(echo):
    with ChatServer(lambda body, attempt: echo) as server:
        patience = Patience(retries=0, first_delay_s=0.01)
        (reply,) = ask([server.address], question(), api_key="sk-0123456789", patience=patience)
    assert reply.text is None
    assert "sk-0" not in reply.error


def test_messages_and_token_ids_are_sent_with_model_and_sampling():
    sampling = Sampling(0.6, seed=7, extra_body={"top_k": 20})
    with ChatServer() as server:
        asked = [question(0, 2, sampling=sampling), Request("a", 0, prompt_ids=[1, 2], sampling=sampling)]
        ask([server.address], *asked)
        assert sorted(server.requests, key=len) == sorted(
            [{"model": MODEL, **request.body()} for request in asked], key=len
        )


def test_an_outage_of_all_servers_is_waited_for():
    server = ChatServer(lambda body, attempt: Reply("8"))
    server.start()

    async def main():
        async with Client([server.address], model=MODEL, patience=Patience(retries=0, outage_s=30.0)) as client:
            assert (await client.ask_one(question(0))).text == "8"
            server.stop()
            waiting = [asyncio.create_task(client.ask_one(question(number))) for number in range(1, 20)]
            while client.servers[0].out_since is None:
                await asyncio.sleep(0.01)
            server.start()
            return await asyncio.gather(*waiting)

    replies = run(main())
    server.stop()
    assert [reply.text for reply in replies] == ["8"] * 19


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost:8000", "http://localhost:8000/v1"),
        ("http://node1:8000/", "http://node1:8000/v1"),
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1"),
        ("https://api.example.com/openai/deployments/x", "https://api.example.com/openai/deployments/x"),
        ("[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_addresses_are_read_as_users_write_them(address, url):
    assert server_url(address) == url


@pytest.mark.parametrize("address", ["", "ftp://a:1", "a b:1", "a:1/v1?key=x", "http://user:secret@host:1"])
def test_what_is_no_address_is_refused_without_its_password(address):
    with pytest.raises(ValueError, match="address") as caught:
        server_url(address)
    assert "secret" not in str(caught.value)


def look_for_model(addresses, model=None, max_tokens=None, **options):
    async def main():
        async with Client(addresses, model=model, patience=QUICK, **options) as client:
            return await client.find_model(max_tokens=max_tokens), client.model

    return run(main())


def test_the_model_is_asked_for_and_one_server_of_two_is_enough_to_start():
    with ChatServer(models=["org/model"], max_model_len=4096) as server:
        found, asked = look_for_model([server.address, "127.0.0.1:9"])
    assert (found.name, found.max_model_len, asked) == ("org/model", 4096, "org/model")


@pytest.mark.parametrize(
    ("server", "options", "said"),
    [
        ({"models": ["a", "b"]}, {}, r"\['a', 'b'\]"),
        ({"models": []}, {}, "Which model"),
        ({"models": ["a"]}, {"model": "b"}, "'b'"),
        ({"api_key": "k"}, {}, "HTTP 401"),
        ({"max_model_len": 4096}, {"max_tokens": 4096}, "max_tokens"),
    ],
)
def test_a_model_that_cant_be_asked_is_refused(server, options, said):
    with ChatServer(**server) as stub, pytest.raises(ValueError, match=said):
        look_for_model([stub.address], **options)


def test_the_first_server_is_waited_for():
    server = ChatServer()
    server.start()
    server.stop()  # its port is known now

    async def main():
        async with Client([server.address], patience=QUICK) as client:
            waiting = asyncio.create_task(client.find_model(wait_s=30.0))
            await asyncio.sleep(0)
            server.start()
            return await waiting

    assert run(main()).name == MODEL
    server.stop()


@pytest.mark.parametrize(
    ("model", "served_model", "is_refused"),
    [
        (None, None, False),
        ("org/a", None, False),
        ("/data/a", None, False),
        ("org/b", None, True),
        ("org/b", "a", False),
    ],
)
def test_another_model_than_the_named_one_is_refused_unless_the_user_vouches_for_it(model, served_model, is_refused):
    with pytest.raises(ValueError, match="'org/b'") if is_refused else nullcontext():
        refuse_another(model, ServedModel("org/a", None, ("/data/a",)), served_model)
    with nullcontext() if served_model else pytest.raises(ValueError, match="/data/b"):
        refuse_another(model, ServedModel("org/a", None, ("/data/a", "/data/b")), served_model)
