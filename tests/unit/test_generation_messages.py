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
    without_reasoning,
)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("temperature", {"temperature": -0.1}),
        ("temperature", {"temperature": float("nan")}),
        ("top_p", {"top_p": 1.01}),
        ("top_k", {"top_k": -2}),
        ("min_p", {"min_p": 2.0}),
        ("max_tokens", {"max_tokens": 0}),
        ("seed", {"seed": -1}),
        ("'n'", {"extra_body": {"n": 4}}),
        ("'top_p'", {"top_p": 0.9, "extra_body": {"top_p": 0.8}}),
    ],
)
def test_sampling_that_no_server_takes_is_refused(name, settings):
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [("<think>\nhm\n</think>\n\n8", "8"), ("hm</think>8", "8"), ("8", "8"), ("<think>on", "<think>on")],
)
def test_later_turns_show_answers_without_reasoning(text, shown):
    assert without_reasoning(text) == shown


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
        b"null",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": null, "finish_reason": "stop"}]}',
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
        ({"content": "8", "reasoning_content": "hm"}, "stop", "<think>\nhm\n</think>\n\n8"),
        ({"content": [{"type": "text", "text": "8"}, {"type": "text", "text": "!"}]}, "stop", "8!"),
        ({"content": "x\ud800y 👍"}, "stop", "x\ufffdy 👍"),
    ],
)
def test_text_of_an_answer(message, finish_reason, text):
    reply = read_reply(completion(message, finish_reason))
    assert (reply.text, reply.finish_reason) == (text, finish_reason)


@pytest.mark.parametrize("given", [None, ""])
def test_a_finish_reason_may_be_left_out(given):
    assert read_reply(completion(finish_reason=given)).finish_reason == "unknown"


@pytest.mark.parametrize(
    ("finish_reason", "message", "is_servers"),
    [
        ("abort", {"content": "7+"}, True),
        ("content_filter", {"content": "7+"}, False),
        ("tool_calls", {"content": None, "tool_calls": [{}]}, False),
        ("no_such", {"content": "8"}, False),
    ],
)
def test_another_end_than_the_models_own_is_a_failure_that_may_pass(finish_reason, message, is_servers):
    with pytest.raises(ServerFailure, match=finish_reason) as caught:
        read_reply(completion(message, finish_reason))
    assert (caught.value.is_final, caught.value.is_servers) == (False, is_servers)


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
        ({"prompt_tokens": -5, "completion_tokens": True, "total_tokens": 2**53 + 1}, {}),
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
        (b'{"detail": [{"loc": ["body"], "msg": "missing"}]}', 'HTTP 400: [{"loc": ["body"], "msg": "missing"}]'),
        (b"plain words", "HTTP 400: plain words"),
        (b"", "HTTP 400: no reason given"),
        (b"x" * 100_000, "HTTP 400: " + "x" * 500),
    ],
)
def test_reason_is_what_the_server_says(body, reason):
    assert read_failure(400, body, {}).reason == reason


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("-1", 0.0), ("nan", None), ("soon", None), (None, None), ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0)],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    headers = {} if value is None else {"Retry-After": value}
    assert read_failure(429, b"", headers).retry_after_s == seconds


@pytest.mark.parametrize(("code", "is_final"), [(400, True), (429, False), (502, False), (None, False), ("x", False)])
def test_an_error_in_an_answer_of_status_200_is_a_failure(code, is_final):
    with pytest.raises(ServerFailure, match="no room") as caught:
        read_reply(json.dumps({"error": {"message": "no room", "code": code}}).encode())
    assert caught.value.is_final == is_final
