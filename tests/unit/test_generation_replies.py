# SPDX-License-Identifier: Apache-2.0
"""Answers of servers as they come: right ones, odd ones, and which failures pass."""

import json

import pytest

from open_r1.generation.replies import ServerFailure, read_answer, read_failure


def completion(message=None, finish_reason="stop", usage=None, **choice):
    """A chat completion as bytes."""
    message = {"role": "assistant", "content": "8"} if message is None else message
    value = {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason, **choice}], "usage": usage}
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        completion(finish_reason={"type": "stop"}),
        completion(finish_reason=["stop"]),
        b"null",
        b"[]",
        b"{}",
        b'{"choices": null}',
        b'{"choices": []}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": null, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": 8}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": null}]}',
        completion({"content": "8", "reasoning": {"text": "hm"}}),
        completion()[:-1],
        b'{"choices": [{"message": {"content": ' + b"9" * 5000 + b'}, "finish_reason": "stop"}]}',
    ],
)
def test_what_is_no_completion_is_a_failure_that_may_pass(body):
    with pytest.raises(ServerFailure) as caught:
        read_answer(body)
    assert not caught.value.is_final
    assert caught.value.is_servers
    assert len(caught.value.reason) < 1000


@pytest.mark.parametrize(
    ("message", "finish_reason", "text"),
    [
        ({"content": "8"}, "stop", "8"),
        ({"content": ""}, "stop", ""),
        ({"content": None}, "stop", ""),
        ({"content": "8", "tool_calls": [{}]}, "tool_calls", "8"),
        ({"content": None, "reasoning": "hm"}, "length", "<think>\nhm"),
        ({"content": "8", "reasoning": "hm"}, "stop", "<think>\nhm\n</think>\n\n8"),
        ({"content": "8", "reasoning_content": "hm"}, "stop", "<think>\nhm\n</think>\n\n8"),
        ({"content": "8", "reasoning": None, "reasoning_content": None}, "stop", "8"),
        ({"content": [{"type": "text", "text": "8"}, {"type": "text", "text": "!"}]}, "stop", "8!"),
        ({"content": "x\ud800y 👍"}, "stop", "x\ufffdy 👍"),
    ],
)
def test_text_of_an_answer(message, finish_reason, text):
    answer = read_answer(completion(message, finish_reason))
    assert (answer.text, answer.finish_reason) == (text, finish_reason)


@pytest.mark.parametrize("given", [None, ""])
def test_a_finish_reason_may_be_left_out(given):
    assert read_answer(completion(finish_reason=given)).finish_reason == "unknown"


@pytest.mark.parametrize(
    ("finish_reason", "message", "is_servers"),
    [
        ("insufficient_system_resource", {"content": "<think>\n7+"}, True),
        ("abort", {"content": "7+"}, True),
        ("content_filter", {"content": "7+"}, False),
        ("tool_calls", {"content": None, "tool_calls": [{}]}, False),
        ("tool_calls", {"content": None, "reasoning": "hm", "tool_calls": [{}]}, False),
        ("no_such", {"content": "8"}, False),
    ],
)
def test_another_end_than_the_models_own_is_a_failure_that_may_pass(finish_reason, message, is_servers):
    with pytest.raises(ServerFailure, match=finish_reason) as caught:
        read_answer(completion(message, finish_reason))
    assert (caught.value.is_final, caught.value.is_servers, caught.value.counts) == (False, is_servers, True)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, {}),
        ("12", {}),
        (
            {"prompt_tokens": 3, "completion_tokens": None, "prompt_tokens_details": {"cached_tokens": 1}},
            {"prompt_tokens": 3},
        ),
        (
            {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 4}},
            {"completion_tokens": 5, "reasoning_tokens": 4},
        ),
        (
            {
                "prompt_tokens": -5,
                "completion_tokens": True,
                "total_tokens": 2**53 + 1,
                "completion_tokens_details": {"reasoning_tokens": 10**25},
            },
            {},
        ),
        ({"prompt_tokens": 2**53}, {"prompt_tokens": 2**53}),
    ],
)
def test_usage_is_what_the_server_counts(usage, expected):
    assert read_answer(completion(usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("status", "is_final", "is_servers", "counts"),
    [
        (400, True, False, True),
        (401, True, False, True),
        (403, True, False, True),
        (404, True, False, True),
        (413, True, False, True),
        (422, True, False, True),
        (307, True, False, True),
        (408, False, False, True),
        (429, False, False, False),
        (500, False, True, True),
        (502, False, True, True),
        (503, False, True, False),
        (599, False, True, True),
    ],
)
def test_status_tells_what_may_pass_and_whose_fault_it_is(status, is_final, is_servers, counts):
    failure = read_failure(status, b"", {})
    assert (failure.is_final, failure.is_servers, failure.counts) == (is_final, is_servers, counts)
    assert str(status) in failure.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"message": "context too long", "code": 400}}', "HTTP 400: context too long"),
        (b'{"message": "context too long"}', "HTTP 400: context too long"),
        (b'{"detail": [{"loc": ["body"], "msg": "missing"}]}', 'HTTP 400: [{"loc": ["body"], "msg": "missing"}]'),
        (b'{"error": "no"}', "HTTP 400: no"),
        (b"plain words", "HTTP 400: plain words"),
        (b"", "HTTP 400: no reason given"),
        (b"x" * 100_000, "HTTP 400: " + "x" * 500),
    ],
)
def test_reason_is_what_the_server_says(body, reason):
    assert read_failure(400, body, {}).reason == reason


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        (None, None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    headers = {} if value is None else {"Retry-After": value}
    assert read_failure(429, b"", headers).retry_after_s == seconds


@pytest.mark.parametrize(("code", "is_final"), [(400, True), (429, False), (502, False), (None, False), ("x", False)])
def test_an_error_in_an_answer_of_status_200_is_a_failure(code, is_final):
    with pytest.raises(ServerFailure, match="no room") as caught:
        read_answer(json.dumps({"error": {"message": "no room", "code": code}}).encode())
    assert caught.value.is_final == is_final
