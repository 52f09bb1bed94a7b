# SPDX-License-Identifier: Apache-2.0
"""The client against servers that fail in every way that servers do."""

import asyncio
import gzip
import time

import pytest

from open_r1.generation.balancing import RefusedError
from open_r1.generation.client import ChatClient, Patience
from open_r1.generation.engine import run
from open_r1.generation.messages import Request, Sampling
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply

QUICK = Patience(retries=3, first_delay_s=0.01, max_delay_s=0.02, outage_s=20.0)


def question(number=0, index=0, turns=()):
    return Request(f"key-{number}", index, [{"role": "user", "content": f"Compute {number}+1"}], turns)


def ask(addresses, *requests, sampling=None, patience=QUICK, **options):
    """The replies to requests that are sent at once."""

    async def main():
        async with ChatClient(addresses, sampling, model=MODEL, patience=patience, **options) as client:
            return await asyncio.gather(*(client.complete(request) for request in requests))

    return run(main())


@pytest.mark.parametrize(
    "failure",
    [
        Reply(status=500),
        Reply(status=502, raw=b"<html>Bad Gateway</html>"),
        Reply(status=503),
        Reply(status=429),
        Reply(status=408),
        Reply(drop=True),
        Reply(raw=b""),
        Reply(raw=b"{"),
        Reply(raw=b'{"choices": []}'),
        Reply(message={"content": None}, finish_reason=None),
        Reply("x" * 200_000),
        Reply(raw=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}),
        Reply("half", finish_reason="abort"),
        Reply("half", finish_reason="insufficient_system_resource"),
        Reply(message={"content": None, "tool_calls": [{}]}, finish_reason="tool_calls"),
        Reply(raw=b'{"error": {"message": "upstream", "code": 502}}'),
    ],
)
def test_a_failure_that_passes_is_retried(failure):
    with ChatServer(lambda body, attempt: failure if attempt == 0 else Reply("8")) as server:
        patience = Patience(first_delay_s=0.01, max_reply_bytes=100_000)
        (reply,) = ask([server.address], question(), patience=patience)
    assert (reply.text, reply.finish_reason, reply.status, reply.attempts, reply.error) == ("8", "stop", 200, 2, None)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_is_not_retried_and_says_why(status):
    with ChatServer(lambda body, attempt: Reply(status=status, error="context too long")) as server:
        (reply,) = ask([server.address], question())
        assert len(server.requests) == 1
    assert (reply.text, reply.finish_reason, reply.status) == (None, "error", status)
    assert reply.error == f"HTTP {status}: context too long"


@pytest.mark.parametrize("status", [307, 401, 402, 404])
def test_what_would_be_refused_of_all_requests_ends_the_run(status):
    with ChatServer(lambda body, attempt: Reply(status=status, error="no such key or model")) as server:
        with pytest.raises(RefusedError, match=rf"127.0.0.1.* refuses all requests: HTTP {status}.*What was done"):
            ask([server.address], question())
        assert len(server.requests) == 1


def test_a_prompt_that_a_gateway_moderates_is_refused_by_itself():
    with ChatServer(lambda body, attempt: Reply(status=403, error="Your input was flagged")) as server:
        (reply,) = ask([server.address], question())
    assert (reply.status, reply.error) == (403, "HTTP 403: Your input was flagged")


def asked_one_by_one(server, numbers):
    """The replies to requests sent one after the other by one client."""

    async def main():
        async with ChatClient([server.address], model=MODEL, patience=QUICK) as client:
            return [await client.complete(question(number)) for number in numbers]

    return run(main())


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_answered_refuses_all_when_it_refuses_three_prompts_in_a_row(status):
    with ChatServer(lambda body, attempt: Reply(status=status) if len(server.requests) > 1 else Reply("8")) as server:
        replies = asked_one_by_one(server, range(3))
        assert [reply.text for reply in replies] == ["8", None, None]
        assert replies[1].error == f"HTTP {status}: out of order"
        server.requests.clear()
        with pytest.raises(RefusedError, match="refuses all requests"):
            asked_one_by_one(server, range(10))
        assert len(server.requests) == 4


@pytest.mark.parametrize("numbers", [[1, 1, 1, 1, 0], [0, 1, 3, 0, 5, 7, 0]])
def test_prompts_that_a_gateway_refuses_are_failures_of_their_own(numbers):
    """Generations of one prompt count once, and answers between them tell that the server is well."""

    def behave(body, attempt):
        is_poison = "Compute 0" not in body["messages"][0]["content"]
        return Reply(status=403, raw=b"<html>blocked</html>") if is_poison else Reply("8")

    with ChatServer(behave) as server:
        replies = asked_one_by_one(server, numbers)
    assert [reply.error for reply in replies] == [
        "HTTP 403: <html>blocked</html>" if number else None for number in numbers
    ]


@pytest.mark.parametrize(("drops", "text"), [(1, "8"), (2, None)])
def test_the_first_lost_connection_costs_no_retry(drops, text):
    with ChatServer(lambda body, attempt: Reply("8", drop=attempt < drops)) as server:
        (reply,) = ask([server.address], question(), patience=Patience(retries=0, first_delay_s=0.01))
    assert (reply.text, reply.attempts) == (text, 2)


def test_being_told_to_come_later_costs_no_retries():
    later = Reply(status=429, headers={"Retry-After": "0.05"})
    with ChatServer(lambda body, attempt: later if attempt < 8 else Reply("8")) as server:
        started = time.monotonic()
        (reply,) = ask([server.address], question())
    assert (reply.text, reply.attempts) == ("8", 9)
    assert time.monotonic() - started >= 8 * 0.05


def test_retry_after_beyond_the_deadline_ends_the_request():
    with ChatServer(lambda body, attempt: Reply(status=429, headers={"Retry-After": "3600"})) as server:
        (reply,) = ask([server.address], question(), patience=Patience(deadline_s=600.0))
    assert "not done within 600 s, at last: HTTP 429" in reply.error


@pytest.mark.parametrize("slow", [Reply("8", delay_s=600.0), Reply("8" * 1000, trickle_s=0.5)])
def test_an_attempt_ends_at_its_timeout(slow):
    with ChatServer(lambda body, attempt: slow if attempt == 0 else Reply("8")) as server:
        (reply,) = ask([server.address], question(), patience=Patience(timeout_s=3.0, first_delay_s=0.01))
    assert (reply.text, reply.attempts) == ("8", 2)


def test_a_request_ends_at_its_deadline_whatever_the_timeout():
    with ChatServer(lambda body, attempt: Reply("8", delay_s=600.0)) as server:
        started = time.monotonic()
        (reply,) = ask([server.address], question(), patience=Patience(deadline_s=0.4))
    assert "not done within 0.4 s" in reply.error
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("value", ["0", "-1", "0.0001", "Mon, 01 Jan 2001 00:00:00 GMT"])
@pytest.mark.parametrize("count", [1, 2])
def test_come_later_at_once_is_waited_for_as_long_as_any_failure(value, count):
    later = Reply(status=429, headers={"Retry-After": value})
    with ChatServer(lambda body, attempt: later) as one, ChatServer(lambda body, attempt: later) as two:
        addresses = [one.address, two.address][:count]
        patience = Patience(deadline_s=3.0, first_delay_s=0.3, max_delay_s=0.6)
        (reply,) = ask(addresses, question(), patience=patience)
        assert len(one.requests) + len(two.requests) <= 1 + 20 * count
    assert "not done within 3 s, at last: HTTP 429" in reply.error


def test_a_long_pause_that_others_were_asked_for_costs_a_request_nothing():
    """One of two is told to come in an hour: the other waits as long as the patience goes, beyond its own deadline."""

    async def main(address):
        patience = Patience(deadline_s=5.0, outage_s=8.0)
        async with ChatClient([address], model=MODEL, patience=patience) as client:
            refused = await client.complete(question(0))
            return refused, await client.complete(question(1))

    def behave(body, attempt):
        is_first = "Compute 0" in body["messages"][0]["content"]
        return Reply(status=429, headers={"Retry-After": "3600"}) if is_first else Reply("8")

    with ChatServer(behave) as server:
        refused, other = run(main(server.address))
    assert "not done within 5 s" in refused.error
    assert (other.text, other.attempts) == ("8", 1)


def test_the_end_of_a_requests_time_is_no_fault_of_the_server():
    async def main(address):
        async with ChatClient([address], model=MODEL, patience=Patience(deadline_s=0.2)) as client:
            replies = await asyncio.gather(*(client.complete(question(number)) for number in range(5)))
            return replies, client.balancer.is_down

    with ChatServer(lambda body, attempt: Reply("8", delay_s=600.0)) as server:
        replies, is_down = run(main(server.address))
    assert all("not done within 0.2 s" in reply.error for reply in replies)
    assert not is_down


def test_redirects_are_not_followed():
    with ChatServer(lambda body, attempt: Reply(status=307, headers={"Location": "http://elsewhere/v1"})) as server:
        with pytest.raises(RefusedError, match="sends us to 'http://elsewhere/v1'"):
            ask([server.address], question())
        assert len(server.requests) == 1


def test_the_key_is_sent_and_never_told():
    with ChatServer(api_key="secret") as server:
        (right,) = ask([server.address], question(), api_key="secret")
        with pytest.raises(RefusedError, match="401") as caught:
            ask([server.address], question(), api_key="guessed!")
    assert right.error is None
    assert "guessed!" not in str(caught.value)


@pytest.mark.parametrize(
    "echo",
    [
        Reply(status=400, error="Incorrect API key provided: sk-0123456789"),
        Reply(status=400, error="x" * 490 + "sk-0123456789"),
        Reply(status=500, raw=b"<html>sk-0123456789</html>"),
        Reply(raw=b"key sk-0123456789"),
        Reply(raw=b'{"choices": ["' + b"x" * 175 + b'sk-0123456789"]}'),
        Reply(raw=b'{"error": {"message": "key sk-0123456789", "code": 400}}'),
    ],
)
def test_a_key_that_a_server_repeats_is_left_out_of_reasons(echo):
    with ChatServer(lambda body, attempt: echo) as server:
        patience = Patience(retries=0, first_delay_s=0.01)
        (reply,) = ask([server.address], question(), api_key="sk-0123456789", patience=patience)
    assert reply.text is None
    assert "sk-0" not in reply.error


def test_a_key_in_an_address_to_which_a_server_sends_us_is_not_told():
    reply = Reply(status=302, headers={"Location": "/?k=sk-0123456789"})
    with ChatServer(lambda body, attempt: reply) as server, pytest.raises(RefusedError, match=r"/\?k=\*\*\*"):
        ask([server.address], question(), api_key="sk-0123456789")


def test_a_body_holds_model_messages_and_sampling_with_the_seed_of_the_generation():
    sampling = Sampling(0.6, 0.95, max_tokens=100, seed=7, stop=["</s>"], extra_body={"top_k": 20})
    with ChatServer() as server:
        ask([server.address], question(0, 2), sampling=sampling)
        assert server.requests == [
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": "Compute 0+1"}],
                "temperature": 0.6,
                "top_p": 0.95,
                "max_tokens": 100,
                "seed": 9,
                "stop": ["</s>"],
                "top_k": 20,
            }
        ]


def test_turns_are_answered_one_after_the_other_without_earlier_reasoning():
    def behave(body, attempt):
        return Reply(f"answer {len(body['messages'])}", reasoning="hm")

    with ChatServer(behave) as server:
        (reply,) = ask([server.address], question(turns=["and 2?", "and 3?"]))
        assert [message["content"] for message in server.requests[-1]["messages"]] == [
            "Compute 0+1",
            "answer 1",
            "and 2?",
            "answer 3",
            "and 3?",
        ]
    assert reply.text == "<think>\nhm\n</think>\n\nanswer 5"
    assert reply.conversation[-1] == {"role": "assistant", "content": reply.text}
    assert (reply.attempts, len(reply.conversation)) == (3, 6)
    assert reply.usage["completion_tokens"] == 3 * 3


def test_a_conversation_ends_at_an_answer_that_was_cut_off():
    with ChatServer(lambda body, attempt: Reply("and so", finish_reason="length")) as server:
        (reply,) = ask([server.address], question(turns=["and 2?"]))
        assert len(server.requests) == 1
    assert (reply.text, reply.finish_reason, len(reply.conversation)) == ("and so", "length", 2)


def test_a_conversation_whose_later_turn_fails_has_failed():
    def behave(body, attempt):
        return Reply("2") if len(body["messages"]) == 1 else Reply(status=400, error="context too long")

    with ChatServer(behave) as server:
        (reply,) = ask([server.address], question(turns=["and 2?"]))
    assert (reply.text, reply.finish_reason, reply.error) == (None, "error", "HTTP 400: context too long")


def test_an_outage_of_all_servers_is_waited_for():
    server = ChatServer(lambda body, attempt: Reply("8"))
    server.start()

    async def main():
        async with ChatClient([server.address], model=MODEL, patience=Patience(retries=0, outage_s=30.0)) as client:
            assert (await client.complete(question(0))).text == "8"
            server.stop()
            waiting = [asyncio.create_task(client.complete(question(number))) for number in range(1, 20)]
            while not client.balancer.is_down:
                await asyncio.sleep(0.01)
            server.start()
            return await asyncio.gather(*waiting)

    replies = run(main())
    server.stop()
    assert [reply.text for reply in replies] == ["8"] * 19
