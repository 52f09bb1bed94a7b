# SPDX-License-Identifier: Apache-2.0
"""What is asked: sampling that is refused early, names of rows, reasoning in think tags."""

import pytest

from open_r1.generation.messages import Sampling, join_reasoning, row_key, without_reasoning


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -0.1}, "temperature is -0.1; allowed is 0 to 2"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0; allowed is above 0"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_k": -2}, "top_k is -2"),
        ({"min_p": 2.0}, "min_p is 2.0"),
        ({"max_tokens": 0}, "max_tokens is 0; allowed is at least 1"),
        ({"seed": -1}, "seed is -1; allowed is at least 0"),
        ({"extra_body": {"n": 4}}, "extra_body sets \\['n'\\]"),
        ({"extra_body": {"stream": True}}, "extra_body sets \\['stream'\\]"),
        ({"top_p": 0.9, "extra_body": {"top_p": 0.8}}, "\\['top_p'\\] are set twice"),
    ],
)
def test_sampling_that_no_server_takes_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Sampling(**settings)


def test_body_holds_what_is_given_and_nothing_else():
    assert Sampling().body() == {}
    assert Sampling(temperature=0.0, seed=0, stop=["</answer>"], extra_body={"repetition_penalty": 1.1}).body() == {
        "temperature": 0.0,
        "seed": 0,
        "stop": ["</answer>"],
        "repetition_penalty": 1.1,
    }


def test_key_is_of_the_value_not_of_the_order_of_its_fields():
    assert row_key({"a": 1, "b": "é"}) == row_key({"b": "é", "a": 1})


@pytest.mark.parametrize("other", ["1", 1.5, None, "", [1], "1 ", True, "\ud800"])
def test_values_that_differ_have_keys_that_differ(other):
    assert row_key(1) != row_key(other)


def test_occurrences_of_a_value_have_keys_of_their_own():
    assert len({row_key("a"), row_key("a", 1), row_key("a", 2)}) == 3
    assert row_key("a", 0) == row_key("a")


@pytest.mark.parametrize(
    ("reasoning", "content", "is_cut", "expected"),
    [
        (None, "It is 8.", False, "It is 8."),
        ("", "It is 8.", False, "It is 8."),
        (None, None, True, ""),
        ("\nhm\n", "\n\nIt is 8.", False, "<think>\nhm\n</think>\n\nIt is 8."),
        ("hm", None, True, "<think>\nhm"),
        ("hm", "It", True, "<think>\nhm\n</think>\n\nIt"),
        ("hm", None, False, "<think>\nhm\n</think>\n\n"),
    ],
)
def test_reasoning_stands_in_think_tags(reasoning, content, is_cut, expected):
    assert join_reasoning(reasoning, content, is_cut=is_cut) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>\nhm\n</think>\n\n8", "8"),
        ("hm</think>8", "8"),  # the template has opened the tag
        ("8", "8"),
        ("<think>never ends", "<think>never ends"),
    ],
)
def test_later_turns_show_answers_without_reasoning(text, shown):
    assert without_reasoning(text) == shown
