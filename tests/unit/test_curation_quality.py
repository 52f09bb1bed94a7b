# SPDX-License-Identifier: Apache-2.0
"""Which completions are whole and readable, and how a reasoning is scored, on hostile texts."""

import pytest

from open_r1.curation.filters import close_prefilled_think, is_readable, is_whole, is_within
from open_r1.curation.selection import HALF_LENGTH_WORDS, WEIGHTS, count_words, measure_care, rule_score
from scripts.curate import READABILITY, build_parser

GOOD = "<think>\n6 * 7 is 42, let me check.\n</think>\n\nIt is \\boxed{42}."
CHINESE = "\u6211\u4eec\u6765\u9a8c\u7b97\u4e00\u4e0b"


def settings_of(*words: str):
    return build_parser().parse_args(["--input", "rows", *words])


@pytest.mark.parametrize(
    ("rate", "fault"),
    [
        (0.0, "too_hard"),
        (1 / 32, None),
        (0.09375, None),
        (0.3333333432674408, "too_easy"),
        (None, "no_pass_rate"),
        (float("nan"), "no_pass_rate"),
    ],
)
def test_bounds_of_pass_rates_are_included(rate, fault):
    settings = settings_of("--hard_max", "3/32")
    assert is_within(rate, settings.hard_min, settings.hard_max) == fault


@pytest.mark.parametrize(
    ("text", "finish_reason", "fault"),
    [
        (GOOD, "stop", None),
        (GOOD, None, None),  # nobody says why it ended
        (GOOD, "eos", None),
        (GOOD.removeprefix("<think>\n"), "stop", None),  # the prompt had opened the tag
        (f"\n {GOOD}", "stop", None),
        (None, "error", "failed"),
        ("half of it", "error", "failed"),
        (None, "stop", "failed"),
        (None, None, "no_text"),
        ("", "stop", "no_text"),
        (" \u200b\n", "stop", "no_text"),
        (GOOD, "length", "truncated"),
        (GOOD, "content_filter", "not_finished"),
        ("<think>\nit never ends", "stop", "open_reasoning"),
        ("</think>42<think>", "stop", "open_reasoning"),
        ("<think>a<think>b</think>c", "stop", "many_think_tags"),
        ("<think>a</think>b</think>c", "stop", "many_think_tags"),
        ("a</think>b</think>c", "stop", "many_think_tags"),
        (f"Sure! {GOOD}", "stop", "text_before"),
        ("<think>\na\n</think>\n \n", "stop", "no_answer"),
        ("<think>\n\n</think>\n42", "stop", "no_reasoning"),
        ("It is 42.", "stop", "no_reasoning"),
        ("x" * 2**20, "stop", "no_reasoning"),
    ],
)
def test_fault_of_a_completion(text, finish_reason, fault):
    assert is_whole({"completion": text, "finish_reason": finish_reason}, settings_of()) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [("It is 42.", None), ("<think>\n\n</think>\n42", None), ("<think>open", "open_reasoning"), (GOOD, None)],
)
def test_reasoning_may_be_left_out_where_it_is_not_needed(text, fault):
    assert is_whole({"completion": text, "finish_reason": "stop"}, settings_of("--reasoning", "any")) == fault


@pytest.mark.parametrize("text", ["It is 42.", GOOD, "<think>open", ""])
def test_only_prefilled_tags_are_completed(text):
    assert close_prefilled_think(text) == text


@pytest.mark.parametrize(
    ("reasoning", "fault"),
    [
        ("Six times seven is forty-two.", None),
        ("Six times $7$ is `42`.", None),
        ("$6 \\cdot 7 = 42$", "no_words"),
        (f"Six times seven {CHINESE} is it.", "mixed_language"),
        (CHINESE, "other_language"),
        ("word " * 400, "long_paragraph"),
        ("word word\n" * 400, None),
        ("We run it:\n```python\nprint(6 * 7)\n```\nand see.", "code_block"),
    ],
)
def test_readability(reasoning, fault):
    # The answer behind the reasoning may hold what it likes.
    text = f"<think>\n{reasoning}\n</think>\n\n```python\n42\n```\n{CHINESE}"
    settings = settings_of("--readability", *READABILITY, "--language", "en")
    assert is_readable({"completion": text}, settings) == fault


def test_faults_that_are_not_named_are_allowed():
    text = "<think>\nWe run it:\n```python\nprint(6 * 7)\n```\nand see.\n</think>\n\n42"
    assert is_readable({"completion": text}, settings_of("--readability", "mixed_language")) is None
    assert is_readable({"completion": text}, settings_of("--readability", "code_block")) == "code_block"


PLAIN = "We add the two numbers and get the sum of them. "


@pytest.mark.parametrize(
    ("sign", "phrase"),
    [
        ("verification", "Let me double-check that."),
        ("exploration", "Wait, maybe another way works."),
        ("connectives", "Therefore it follows."),
    ],
)
def test_each_sign_raises_its_part_of_the_score(sign, phrase):
    text = PLAIN * 10
    before, after = measure_care(text), measure_care(text + phrase)
    assert before[sign] == 0.0
    assert 0.0 < after[sign] <= 1.0
    assert rule_score(text + phrase) > rule_score(text)


def test_score_is_normalised_by_length():
    text = PLAIN * 20 + "Let me check. Wait, so it is."
    once, twice = measure_care(text), measure_care(text * 2)
    assert once["verification"] == pytest.approx(twice["verification"])
    assert once["exploration"] == pytest.approx(twice["exploration"])
    assert twice["elaboration"] > once["elaboration"]


def test_few_words_of_care_are_less_than_a_reasoning_with_some():
    reasoning = (PLAIN * 10 + "Wait, the other case was left out, so let me check it as well. ") * 6
    for text in ("wait", "So wait check", "So, wait: check, maybe. Thus hence then.", "Let me check: so it is 42."):
        assert rule_score(text) < rule_score(reasoning)


def test_phrases_beside_each_other_count_each():
    text = PLAIN * 20
    once, twice = (measure_care(f"{text} {phrase}")["verification"] for phrase in ("make sure", "make sure make sure"))
    assert twice == pytest.approx(2 * once, rel=0.02)


def test_repeating_a_word_does_not_pay_without_end():
    assert measure_care("wait " * 10_000)["exploration"] == 1.0
    assert rule_score("wait " * 10_000) <= WEIGHTS["elaboration"] + WEIGHTS["exploration"]


@pytest.mark.parametrize("text", ["", " \n", "$x = 1$", "```\nwait, check\n```", "123 456", CHINESE * 0])
def test_texts_without_words_score_nothing(text):
    assert rule_score(text) == 0.0


def test_words_inside_words_are_no_signs():
    assert rule_score("awaiting checkers soon sincerely thenceforth retry") == pytest.approx(
        WEIGHTS["elaboration"] * 6 / (6 + HALF_LENGTH_WORDS)
    )


def test_count_of_words():
    assert count_words("Don't double-check 42 x_1: it's fine.") == 5
