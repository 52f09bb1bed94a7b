# SPDX-License-Identifier: Apache-2.0
"""What ends an answer: end tokens, stop texts across the borders of tokens, limits."""

import pytest

from open_r1.evaluation.sampling.open_answer import End, OpenAnswer

EOS, STOP = 256, 257


@pytest.fixture
def grow(make_tokenizer):
    """Feeds tokens, one a byte, to an answer until it is finished; returns it and how many it took."""
    tokenizer = make_tokenizer("<eos>", "<stop>")

    def grow(*words, **settings):
        tokens = [token for word in words for token in ([word] if type(word) is int else tokenizer(word)["input_ids"])]
        answer = OpenAnswer(tokenizer, End(**{"max_tokens": 99, "eos_ids": frozenset({EOS}), **settings}))
        for count, token in enumerate(tokens, 1):
            sampled = answer.add(token)
            if sampled is not None:
                assert sampled.token_ids == tokens[:count]
                return sampled.text, sampled.finish_reason, sampled.stop_reason, count
        return None

    return grow


@pytest.mark.parametrize(
    ("words", "settings", "expected"),
    [
        (["ab", EOS, "c"], {}, ("ab", "stop", None, 3)),
        (["abc"], {}, None),
        (["abc"], {"max_tokens": 2}, ("ab", "length", None, 2)),
        (["ab", EOS], {"max_tokens": 3}, ("ab", "stop", None, 3)),
        (
            ["ab", EOS, "c"],
            {"eos_ids": frozenset(), "max_tokens": 4, "skip_special_tokens": False},
            ("ab<eos>c", "length", None, 4),
        ),
        (["ab", STOP], {"stop_token_ids": frozenset({STOP})}, ("ab", "stop", STOP, 3)),
        (["abx"], {"stop_token_ids": frozenset({87})}, ("ab", "stop", 87, 3)),
        (["abx"], {"stop_token_ids": frozenset({87}), "include_stop": True}, ("abx", "stop", 87, 3)),
        (["one two"], {"stop": ["e t"]}, ("on", "stop", "e t", 5)),
        (["one two"], {"stop": ["e t"], "include_stop": True}, ("one t", "stop", "e t", 5)),
        (["one two"], {"stop": ["two", "wo", "o"]}, ("", "stop", "o", 1)),
        (["axy"], {"stop": ["y", "xy"]}, ("a", "stop", "xy", 3)),  # the one that starts first
        (["one"], {"stop": ["one"], "max_tokens": 3}, ("", "stop", "one", 3)),
        (["1 €uro"], {"stop": ["€"]}, ("1 ", "stop", "€", 5)),  # a character of three tokens
        (["1 €uro"], {"stop": ["u"]}, ("1 €", "stop", "u", 6)),
        (["a🙂b"], {"stop": ["🙂b"], "include_stop": True}, ("a🙂b", "stop", "🙂b", 6)),
        (["€"], {"stop": ["x"], "max_tokens": 2}, ("\ufffd", "length", None, 2)),
        (["a", EOS], {"stop": ["<eos>"], "eos_ids": frozenset(), "max_tokens": 2}, ("a", "length", None, 2)),
        (
            ["a", EOS],
            {"stop": ["<eos>"], "eos_ids": frozenset(), "skip_special_tokens": False},
            ("a", "stop", "<eos>", 2),
        ),
    ],
)
def test_answers_end_as_asked(grow, words, settings, expected):
    assert grow(*words, **settings) == expected


@pytest.mark.parametrize(
    ("min_tokens", "expected"),
    [
        (0, ("", "stop", ".", 1)),
        (1, (".a", "stop", ".", 3)),
        (3, (".a.b", "stop", ".", 5)),
        (4, (".a.b", "stop", ".", 5)),
    ],
)
def test_stop_texts_within_the_fewest_tokens_do_not_count(grow, min_tokens, expected):
    assert grow(".a.b.c", stop=["."], min_tokens=min_tokens) == expected


def test_a_stop_text_that_begins_within_the_fewest_tokens_does_not_count(grow):
    assert grow("abcbc", stop=["bc"], min_tokens=2) == ("abc", "stop", "bc", 5)


def test_end_tokens_are_forbidden_until_there_are_enough(make_tokenizer):
    end = End(9, frozenset({EOS}), stop_token_ids=frozenset({STOP}), min_tokens=2)
    answer = OpenAnswer(make_tokenizer("<eos>", "<stop>"), end)
    seen = []
    for _ in range(3):
        seen.append(sorted(answer.forbidden_ids))
        answer.add(65)
    assert seen == [[EOS, STOP], [EOS, STOP], []]


def test_long_answers_are_searched_to_the_end(grow):
    text = "".join(f"line {number} of é and 🙂\n" for number in range(50))
    assert grow(text + "END", stop=["END"], max_tokens=10_000)[0] == text
