# SPDX-License-Identifier: Apache-2.0
"""Which completions are whole and readable, and how a reasoning is scored, on hostile texts."""

import pytest

from open_r1.curation.quality import ReadabilityFilter, close_prefilled_think, fault_of
from open_r1.curation.rule_score import HALF_LENGTH_WORDS, WEIGHTS, count_words, measure_care

GOOD = "<think>\n6 * 7 is 42, let me check.\n</think>\n\nIt is \\boxed{42}."
CHINESE = "\u6211\u4eec\u6765\u9a8c\u7b97\u4e00\u4e0b"


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
        (42, "stop", "no_text"),
        ({"content": "42"}, "stop", "no_text"),
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
    assert fault_of(text, finish_reason, needs_reasoning=True) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [("It is 42.", None), ("<think>\n\n</think>\n42", None), ("<think>open", "open_reasoning"), (GOOD, None)],
)
def test_reasoning_may_be_left_out_where_it_is_not_needed(text, fault):
    assert fault_of(text, "stop", needs_reasoning=False) == fault


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
    assert ReadabilityFilter(language="en").fault_of(text) == fault


def test_faults_that_are_not_named_are_allowed():
    text = "<think>\nWe run it:\n```python\nprint(6 * 7)\n```\nand see.\n</think>\n\n42"
    assert ReadabilityFilter(faults=("mixed_language",)).fault_of(text) is None
    assert ReadabilityFilter(faults=("code_block",)).fault_of(text) == "code_block"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"faults": ("ugly",)}, "no faults \\['ugly'\\]"),
        ({"language": "xx"}, "The language 'xx' is not known"),
        ({"max_paragraph_chars": 0}, "at least 1, got 0"),
        ({"min_language_share": 1.1}, "between 0 and 1, got 1.1"),
    ],
)
def test_settings_of_readability_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ReadabilityFilter(**settings)


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
    assert getattr(before, sign) == 0.0
    assert 0.0 < getattr(after, sign) <= 1.0
    assert after.score > before.score


def test_score_is_normalised_by_length():
    text = PLAIN * 20 + "Let me check. Wait, so it is."
    once, twice = measure_care(text), measure_care(text * 2)
    assert once.verification == pytest.approx(twice.verification)
    assert once.exploration == pytest.approx(twice.exploration)
    assert twice.elaboration > once.elaboration


def test_few_words_of_care_are_less_than_a_reasoning_with_some():
    reasoning = (PLAIN * 10 + "Wait, the other case was left out, so let me check it as well. ") * 6
    for text in ("wait", "So wait check", "So, wait: check, maybe. Thus hence then.", "Let me check: so it is 42."):
        assert measure_care(text).score < measure_care(reasoning).score


def test_phrases_beside_each_other_count_each():
    text = PLAIN * 20
    once, twice = (measure_care(f"{text} {phrase}").verification for phrase in ("make sure", "make sure make sure"))
    assert twice == pytest.approx(2 * once, rel=0.02)


def test_repeating_a_word_does_not_pay_without_end():
    assert measure_care("wait " * 10_000).exploration == 1.0
    assert measure_care("wait " * 10_000).score <= WEIGHTS["elaboration"] + WEIGHTS["exploration"]


@pytest.mark.parametrize("text", ["", " \n", "$x = 1$", "```\nwait, check\n```", "123 456", CHINESE * 0])
def test_texts_without_words_score_nothing(text):
    assert measure_care(text).score == 0.0


def test_words_inside_words_are_no_signs():
    assert measure_care("awaiting checkers soon sincerely thenceforth retry").score == pytest.approx(
        WEIGHTS["elaboration"] * 6 / (6 + HALF_LENGTH_WORDS)
    )


def test_count_of_words():
    assert count_words("Don't double-check 42 x_1: it's fine.") == 5
