# SPDX-License-Identifier: Apache-2.0
"""Sampling that is refused early, names of rows, reasoning in think tags, and answers of servers as they come."""

import json

import pytest

from open_r1.generation.messages import (
    Request,
    Sampling,
    ServerFailure,
    join_reasoning,
    read_failure,
    read_reply,
    row_key,
)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("'n'", {"extra_body": {"n": 4}}),
        ("'top_p'", {"top_p": 0.9, "extra_body": {"top_p": 0.8}}),
        ("temperature is -0.1", {"temperature": -0.1}),
        ("temperature is 2.5", {"temperature": 2.5}),
        ("top_p is 95", {"top_p": 95}),
        ("min_p is -0.1", {"min_p": -0.1}),
        ("max_tokens is 0", {"max_tokens": 0}),
    ],
)
def test_sampling_that_cannot_be_meant_is_refused(name, settings):
    with pytest.raises(ValueError, match=name):
        Sampling(**settings)


def test_body_holds_what_is_given_with_the_seed_of_the_generation():
    assert Request("a", 1, [{"role": "user", "content": "hi"}]).body() == {
        "messages": [{"role": "user", "content": "hi"}]
    }
    sampling = Sampling(temperature=0.0, seed=7, stop=["</answer>"], extra_body={"repetition_penalty": 1.1})
    assert Request("a", 2, prompt_ids=[1, 2], sampling=sampling).body() == {
        "prompt": [1, 2],
        "temperature": 0.0,
        "seed": 9,
        "stop": ["</answer>"],
        "repetition_penalty": 1.1,
    }


@pytest.mark.parametrize("other", ["1", 1.5, None, "", [1], "1 ", True, "\ud800"])
def test_keys_tell_values_and_occurrences_apart(other):
    assert len({row_key(1), row_key(other), row_key(other, 1)}) == 3
    assert row_key({"a": 1, "b": "é"}) == row_key({"b": "é", "a": 1})


@pytest.mark.parametrize(
    ("reasoning", "content", "is_cut", "expected"),
    [
        (None, "It is 8.", False, "It is 8."),
        (None, None, True, ""),
        ("\nhm\n", "\n\nIt is 8.", False, "<think>\nhm\n</think>\n\nIt is 8."),
        ("hm", None, True, "<think>\nhm"),
        ("hm", None, False, "<think>\nhm\n</think>\n\n"),
    ],
)
def test_reasoning_stands_in_think_tags(reasoning, content, is_cut, expected):
    assert join_reasoning(reasoning, content, is_cut=is_cut) == expected


def completion(message=None, finish_reason="stop", usage=None):
    """A chat completion as bytes."""
    message = {"role": "assistant", "content": "8"} if message is None else message
    value = {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage}
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        completion(finish_reason=["stop"]),
        b'{"choices": [null]}',
        b'{"choices": [{"message": {"content": 8}, "finish_reason": "stop"}]}',
        completion({"content": None}, None),
        completion({"content": "8", "reasoning": {"text": "hm"}}),
    ],
)
def test_what_is_no_completion_is_a_failure_that_may_pass(body):
    with pytest.raises(ServerFailure) as caught:
        read_reply(body)
    assert (caught.value.is_final, caught.value.is_servers) == (False, True)
    assert len(caught.value.reason) < 1000


@pytest.mark.parametrize(
    ("message", "finish_reason", "text"),
    [
        ({"content": ""}, "stop", ""),
        ({"content": None}, "stop", ""),
        ({"content": "8", "tool_calls": [{}]}, "tool_calls", "8"),
        ({"content": None, "reasoning": "hm"}, "length", "<think>\nhm"),
        ({"content": "8", "reasoning": "hm"}, "stop", "<think>\nhm\n</think>\n\n8"),
        ({"content": "8", "reasoning_content": "hm"}, "end_turn", "<think>\nhm\n</think>\n\n8"),
        ({"content": "x\ud800y 👍"}, "stop", "x\ufffdy 👍"),
    ],
)
def test_text_of_an_answer(message, finish_reason, text):
    reply = read_reply(completion(message, finish_reason))
    assert (reply.text, reply.finish_reason) == (text, finish_reason)


@pytest.mark.parametrize("given", [None, ""])
def test_a_finish_reason_may_be_left_out(given):
    assert read_reply(completion(finish_reason=given)).finish_reason == "unknown"


def test_an_answer_that_the_server_has_broken_off_is_a_failure_that_may_pass():
    with pytest.raises(ServerFailure, match="abort") as caught:
        read_reply(completion({"content": "7+"}, "abort"))
    assert not caught.value.is_final


@pytest.mark.parametrize(
    ("finish_reason", "message"),
    [("content_filter", {"content": "7+"}), ("tool_calls", {"content": None, "tool_calls": [{}]})],
)
def test_an_end_without_an_answer_is_a_failed_request(finish_reason, message):
    reply = read_reply(completion(message, finish_reason))
    assert reply.text is None
    assert finish_reason in reply.error


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, {}),
        (
            {"prompt_tokens": 3, "completion_tokens": None, "prompt_tokens_details": {"cached_tokens": 1}},
            {"prompt_tokens": 3},
        ),
        (
            {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 4}},
            {"completion_tokens": 5, "reasoning_tokens": 4},
        ),
        ({"completion_tokens": True}, {}),
    ],
)
def test_usage_is_what_the_server_counts(usage, expected):
    assert read_reply(completion(usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("status", "is_final", "is_servers"),
    [(400, True, False), (404, True, False), (307, True, False), (408, False, False), (429, False, False)]
    + [(500, False, True), (503, False, True), (599, False, True)],
)
def test_status_tells_what_may_pass_and_whose_fault_it_is(status, is_final, is_servers):
    failure = read_failure(status, b"", {})
    assert (failure.is_final, failure.is_servers) == (is_final, is_servers)
    assert str(status) in failure.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"message": "context too long", "code": 400}}', "HTTP 400: context too long"),
        (b'{"message": "context too long"}', "HTTP 400: context too long"),
        (b'{"detail": "missing"}', 'HTTP 400: {"detail": "missing"}'),
        (b"plain words", "HTTP 400: plain words"),
        (b"", "HTTP 400: no reason given"),
        (b"x" * 100_000, "HTTP 400: " + "x" * 500),
    ],
)
def test_reason_is_what_the_server_says(body, reason):
    assert read_failure(400, body, {}).reason == reason


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "3"}, 3.0), ({"Retry-After": "soon"}, None), ({}, None)]
)
def test_retry_after_is_seconds(headers, seconds):
    assert read_failure(429, b"", headers).retry_after_s == seconds


@pytest.mark.parametrize(("code", "is_final"), [(400, True), (429, False), (502, False), (None, False), ("x", False)])
def test_an_error_in_an_answer_of_status_200_is_a_failure(code, is_final):
    with pytest.raises(ServerFailure, match="no room") as caught:
        read_reply(json.dumps({"error": {"message": "no room", "code": code}}).encode())
    assert caught.value.is_final == is_final
