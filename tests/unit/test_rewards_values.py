# SPDX-License-Identifier: Apache-2.0
"""Rewards with a formula: accuracy, length, cosine, soft overlong punishment, repetition of words and tokens."""

import importlib.util

import pytest

from open_r1.rewards import (
    RewardContext,
    accuracy_reward,
    format_reward,
    get_cosine_scaled_reward,
    get_repetition_penalty_reward,
    get_soft_overlong_punishment,
    len_reward,
)
from open_r1.rewards.repetition_rewards import TokenRepetitionReward
from open_r1.rewards.verifier import Verdict


def message(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def padded(text: str, length: int) -> list[dict]:
    return message(text + " " * (length - len(text)))


RIGHT, WRONG = r"\boxed{\frac{63}{400}}", r"\boxed{\frac{64}{400}}"
GOLD = r"\frac{63}{400}"
UNPARSABLE = r"\frac{1}{"


def test_accuracy_is_one_zero_or_none():
    completions = [message(RIGHT), message(WRONG), message("no answer"), message(RIGHT)]
    assert accuracy_reward(completions, [GOLD, GOLD, GOLD, UNPARSABLE]) == [1.0, 0.0, 0.0, None]


def test_accuracy_logs_every_row_and_ignores_what_else_the_trainer_passes():
    columns, metrics = {}, {}
    rewards = accuracy_reward(
        prompts=["p", "p"],
        completions=[message(RIGHT), message("hm")],
        completion_ids=[[1], [2]],
        solution=[GOLD, GOLD],
        source=["a", "b"],
        trainer_state=object(),
        log_extra=columns.__setitem__,
        log_metric=metrics.__setitem__,
    )
    assert rewards == [1.0, 0.0]
    assert columns == {
        "accuracy_reward/verdict": ["right", "no_answer"],
        "accuracy_reward/gold_read": ["63/400", "63/400"],
        "accuracy_reward/answer_read": ["63/400", ""],
    }
    assert metrics["accuracy_reward/right"] == metrics["accuracy_reward/no_answer"] == 0.5
    assert list(metrics) == [f"accuracy_reward/{verdict}" for verdict in Verdict]


def test_accuracy_takes_no_box_from_reasoning_that_the_template_opened():
    cut_off = [message(r"maybe \boxed{42}")]
    assert accuracy_reward(cut_off, ["42"]) == [1.0]
    assert accuracy_reward(cut_off, ["42"], context=RewardContext(completion_prefix="<think>\n")) == [0.0]


def test_accuracy_of_an_empty_batch():
    assert accuracy_reward([], []) == []


@pytest.mark.parametrize("reward", [accuracy_reward, len_reward, get_cosine_scaled_reward()])
def test_a_missing_solution_is_an_error(reward):
    with pytest.raises(TypeError, match="solution"):
        reward([message(RIGHT)])


def test_length_prefers_short_right_answers_within_the_group():
    completions = [padded(RIGHT, 30), padded(RIGHT, 50), padded(WRONG, 30), padded(WRONG, 50), padded(RIGHT, 40)]
    assert len_reward(completions, [GOLD] * 5) == [0.5, -0.5, 0.0, -0.5, 0.0]


def test_length_of_equal_lengths_is_zero():
    assert len_reward([message(RIGHT), message(WRONG)], [GOLD, GOLD]) == [0.0, 0.0]


def test_length_never_compares_two_prompts():
    completions = [padded(RIGHT, length) for length in (30, 40, 300, 400)]
    assert len_reward(completions, [GOLD] * 4, prompts=["a", "a", "b", "b"]) == [0.5, -0.5, 0.5, -0.5]
    context = RewardContext(num_generations=2)
    assert len_reward(completions, [GOLD] * 4, prompts=["a"] * 4, context=context) == [0.5, -0.5, 0.5, -0.5]


def test_length_is_in_tokens_where_ids_are_given():
    completions = [padded(RIGHT, 30), padded(RIGHT, 90)]
    assert len_reward(completions, [GOLD] * 2, completion_ids=[[0] * 9, [0] * 3]) == [-0.5, 0.5]


def test_length_is_none_for_an_unparsable_solution():
    assert len_reward([padded(RIGHT, 30), padded(RIGHT, 50)], [UNPARSABLE] * 2) == [None, None]


@pytest.mark.parametrize(
    ("text", "length", "reward"),
    [
        (RIGHT, 20, 0.943),
        (RIGHT, 80, 0.547),
        (WRONG, 20, -0.942),
        (WRONG, 80, -0.547),
        (RIGHT, 100, 0.5),
        (RIGHT, 150, 0.5),
        (RIGHT, 200, 0.5),
        (WRONG, 200, -0.5),
    ],
)
def test_cosine_in_characters(text: str, length: int, reward: float):
    function = get_cosine_scaled_reward(-1.0, -0.5, 0.5, 1.0, 100)
    assert function([padded(text, length)], [GOLD])[0] == pytest.approx(reward, abs=0.01)


def test_cosine_in_tokens():
    function = get_cosine_scaled_reward(max_len=100)
    rewards = function([message(RIGHT), message(WRONG)], [GOLD] * 2, completion_ids=[[0] * 50, [0] * 50])
    assert rewards == pytest.approx([0.75, -0.75])


def test_cosine_is_none_for_an_unparsable_solution():
    assert get_cosine_scaled_reward()([message(RIGHT)], [UNPARSABLE]) == [None]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_value_wrong": 0.0, "max_value_wrong": -0.5}, "swap them"),
        ({"min_value_correct": 1.0, "max_value_correct": 0.5}, "swap them"),
    ],
)
def test_cosine_refuses_inverted_values(options: dict, words: str):
    with pytest.raises(ValueError, match=words):
        get_cosine_scaled_reward(**options)


@pytest.mark.parametrize("cache", [0, -1, 101])
def test_soft_overlong_punishment_refuses_a_cache_that_does_not_fit(cache: int):
    with pytest.raises(ValueError, match="soft_punish_cache"):
        get_soft_overlong_punishment(max_completion_len=100, soft_punish_cache=cache)


@pytest.mark.parametrize(
    ("text", "ngram_size", "reward"),
    [
        ("this is a test sentence", 3, 0.0),
        ("this this this this this", 2, -0.75),
        ("this is a this is a test", 2, -(1 - 4 / 6)),
        ("This is A tEst this IS a test", 2, -(1 - 4 / 7)),
        ("", 2, 0.0),
        ("  \n ", 1, 0.0),
        ("one", 2, 0.0),
        ("a b", 2, 0.0),
        ("again again", 1, -0.5),
    ],
)
def test_repetition_penalty(text: str, ngram_size: int, reward: float):
    assert get_repetition_penalty_reward(ngram_size, -1.0)([message(text)]) == [pytest.approx(reward)]


def test_repetition_penalty_scales():
    assert get_repetition_penalty_reward(2, -0.5)([message("so so so so so")]) == [-0.375]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_penalty": 1.5}, "^repetition_max_penalty"),
        ({"ngram_size": 0}, "^repetition_n_grams must"),
        ({"language": "fr"}, "repetition_language"),
    ],
)
def test_repetition_penalty_refuses(options: dict, words: str):
    with pytest.raises(ValueError, match=words):
        get_repetition_penalty_reward(**{"ngram_size": 2, "max_penalty": -1.0, **options})


@pytest.mark.skipif(importlib.util.find_spec("jieba") is None, reason="the extra zh is not installed")
@pytest.mark.parametrize(
    ("text", "reward"), [("\u6211\u559c\u6b22\u5b66\u4e60\u6570\u5b66", 0.0), ("\u8fd9\u4e2a" * 5, -0.75), ("", 0.0)]
)
@pytest.mark.filterwarnings("ignore")
def test_repetition_penalty_of_chinese(text: str, reward: float):
    assert get_repetition_penalty_reward(2, -1.0, "zh")([message(text)]) == [pytest.approx(reward)]


@pytest.mark.skipif(importlib.util.find_spec("jieba") is not None, reason="the extra zh is installed")
def test_repetition_penalty_of_chinese_names_the_extra():
    with pytest.raises(ValueError, match="make install EXTRAS=zh"):
        get_repetition_penalty_reward(2, -1.0, "zh")


@pytest.mark.parametrize(("options", "key"), [({"ngram_size": 0}, "n_grams"), ({"max_penalty": 0.1}, "max_penalty")])
def test_token_repetition_refuses(options: dict, key: str):
    with pytest.raises(ValueError, match=f"^token_repetition_{key} "):
        TokenRepetitionReward(**options)


@pytest.mark.parametrize("completion", [None, 3, {"role": "assistant", "content": "x"}])
@pytest.mark.parametrize("reward", [format_reward, accuracy_reward])
def test_what_is_no_completion_is_named(reward, completion):
    with pytest.raises(ValueError, match="A completion must be"):
        reward([completion], solution=["1"])


@pytest.mark.parametrize("reward", [accuracy_reward, len_reward])
def test_columns_of_another_length_are_named_with_both_counts(reward):
    with pytest.raises(ValueError, match="2 values in the column"):
        reward(["x"], solution=["1", "2"])
