# SPDX-License-Identifier: Apache-2.0
"""Addresses of servers as users write them, and what servers say of the models that they serve."""

import asyncio

import pytest

from open_r1.generation.balancing import server_url
from open_r1.generation.client import ChatClient, Patience
from open_r1.generation.engine import run
from open_r1.generation.messages import Sampling
from open_r1.generation.models import find_model
from tests.integration.fakes.chat_server import MODEL, ChatServer

QUICK = Patience(retries=3, first_delay_s=0.01, max_delay_s=0.02, outage_s=20.0)


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


@pytest.mark.parametrize(
    "address", ["", "http://", "ftp://a:1", "a:b", "a:99999", "a:0", "a:", "a b:1", "a:1/v1?key=x", "a..b:80"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match="no address"):
        server_url(address)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="holds a user or password") as caught:
        server_url("http://user:secret@host:1")
    assert "secret" not in str(caught.value)


def test_servers_named_twice_are_refused():
    with pytest.raises(ValueError, match="each named once"):
        ChatClient(["localhost:1", "http://localhost:1/v1"])


def look_for_model(addresses, sampling=None, model=None, wait_s=0.0, **options):
    async def main():
        async with ChatClient(addresses, sampling, model=model, patience=QUICK, **options) as client:
            return await find_model(client, wait_s=wait_s), client.model

    return run(main())


def test_the_model_is_asked_for():
    with ChatServer(models=["org/model"], max_model_len=4096) as server:
        found, asked = look_for_model([server.address])
    assert (found.name, found.max_model_len, asked) == ("org/model", 4096, "org/model")


@pytest.mark.parametrize(
    ("server", "options", "said"),
    [
        ({"models": ["a", "b"]}, {}, r"Which model\?.*\['a', 'b'\].*--model"),
        ({"models": []}, {}, "Which model"),
        ({"models": ["a"]}, {"model": "b"}, r"doesn't serve 'b' but \['a'\]"),
        ({"api_key": "k"}, {}, "HTTP 401.*--api-key-env"),
        ({"max_model_len": 4096}, {"sampling": Sampling(max_tokens=4096)}, "4096 tokens for prompt and answer"),
    ],
)
def test_a_model_that_cant_be_asked_is_refused(server, options, said):
    with ChatServer(**server) as stub, pytest.raises(ValueError, match=said):
        look_for_model([stub.address], **options)


def test_a_server_that_isnt_there_is_told_at_once():
    with pytest.raises(ValueError, match=r"No server answers: http://127.0.0.1:9/v1.*--wait-s"):
        look_for_model(["127.0.0.1:9"])


def test_one_server_of_two_is_enough_to_start():
    with ChatServer() as server:
        assert look_for_model([server.address, "127.0.0.1:9"])[1] == MODEL


def test_servers_that_serve_different_models_are_refused():
    with (
        ChatServer(models=["a"]) as one,
        ChatServer(models=["b"]) as other,
        pytest.raises(ValueError, match="Which model"),
    ):
        look_for_model([one.address, other.address])


def test_the_first_server_is_waited_for():
    server = ChatServer()
    server.start()
    server.stop()  # its port is known now

    async def main():
        async with ChatClient([server.address], patience=QUICK) as client:
            waiting = asyncio.create_task(find_model(client, wait_s=30.0))
            await asyncio.sleep(0)
            server.start()
            return await waiting

    assert run(main()).name == MODEL
    server.stop()
