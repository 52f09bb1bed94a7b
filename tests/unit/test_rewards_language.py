# SPDX-License-Identifier: Apache-2.0
"""Language consistency and readability: what counts as a word, in which language, in which part of the text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_r1.rewards import RewardContext
from open_r1.rewards.language_rewards import (
    LanguageConsistencyReward,
    readability_faults,
)
from open_r1.rewards.prose import SCRIPTS_OF_LANGUAGE, count_words, prose_of, reasoning_of

ENGLISH = "We check the sum again"
CHINESE = "\u6211\u4eec\u5148\u9a8c\u7b97"
JAPANESE = "\u307e\u305a\u8a08\u7b97\u3059\u308b"
RUSSIAN = "\u0435\u0449\u0451 \u0440\u0430\u0437 \u0441\u0443\u043c\u043c\u0443 \u043d\u043e"
SAMPLES = {
    "en": ENGLISH,
    "fr": "nous v\u00e9rifions la somme",
    "vi": "ch\u00fang ta ki\u1ec3m tra l\u1ea1i",
    "zh": CHINESE,
    "ja": JAPANESE,
    "ko": "\ud569\uacc4\ub97c \ub2e4\uc2dc \ud655\uc778",
    "ru": RUSSIAN,
    "ar": "\u0646\u062a\u062d\u0642\u0642 \u0645\u0646 \u0627\u0644\u0645\u062c\u0645\u0648\u0639",
    "hi": "\u0939\u092e \u091c\u094b\u0921\u093c \u0915\u0940 \u091c\u093e\u0901\u091a",
    "el": "\u03c4\u03bf \u03ac\u03b8\u03c1\u03bf\u03b9\u03c3\u03bc\u03b1",
    "he": "\u05e0\u05d1\u05d3\u05d5\u05e7 \u05d0\u05ea \u05d4\u05e1\u05db\u05d5\u05dd",
    "th": "\u0e40\u0e23\u0e32\u0e15\u0e23\u0e27\u0e08\u0e2a\u0e2d\u0e1a",
    "ta": "\u0ba8\u0bbe\u0bae\u0bcd \u0b9a\u0bb0\u0bbf",
}
HOSTILE = [
    "```", "```\n", "~~~\n", "`a", "$", "$a ", "$$", "\\(", "\\[", "\\begin{", "\\begin{a}", "\\a{", "\\a{{ ", "\\",
    "{", "<", "<think>", "</think>", "<answer>", "\x00", "\ud800", "a", "a1 ", "e\u0301", "\u0301", "\u4e2d",
    "\u4e2da", "\u3042\u4e2d\n", "\u0e01", "\U0001f600", " ", "\n", "\t\n", "hello world and ",
]  # fmt: skip


def consistency(text: str, language: str = "en", **options: object) -> float | None:
    return LanguageConsistencyReward(language, **options)([text])[0]


@pytest.mark.parametrize(
    "text",
    [*(unit * (100_000 // len(unit)) for unit in HOSTILE), "".join(unit * (30_000 // len(unit)) for unit in HOSTILE)],
    ids=lambda text: ascii(text[:10]),
)
def test_hostile_texts_take_linear_time_and_stay_in_range(text: str):
    start = time.process_time()
    rewards = [consistency(text), consistency(text, "ja"), float(bool(readability_faults(text)))]
    assert time.process_time() - start < 5
    assert all(0 <= reward <= 1 for reward in rewards)


@given(st.text(alphabet=st.one_of(st.sampled_from("`$\\{}[]()<>~ \na1\u4e2d\u3042\u0301\ud800"), st.characters())))
def test_any_text_gets_a_share(text: str):
    for language in ("en", "zh", "ja", "ru"):
        assert 0 <= consistency(text, language) <= 1
    assert set(readability_faults(text)) <= {"no_words", "mixed_language", "long_paragraph", "code_block"}


@pytest.mark.parametrize(
    "text", ["", " \n", "42", "<think>\n</think>\nIt is 4.", "$x+y$", "```python\nprint(sum)\n```", "x = 3", "\u2026!"]
)
def test_no_word_of_reasoning_is_no_word_in_the_language(text: str):
    assert consistency(text) == consistency(text, "zh") == 0.0
    assert "no_words" in readability_faults(reasoning_of(text))


@pytest.mark.parametrize("language", SAMPLES)
def test_a_language_is_told_from_those_of_other_scripts(language: str):
    for other, sample in SAMPLES.items():
        is_same_script = SCRIPTS_OF_LANGUAGE[language] == SCRIPTS_OF_LANGUAGE[other]
        # Japanese is written in Han too, so that some of it is taken for Chinese.
        if (language, other) != ("zh", "ja"):
            assert consistency(sample, language) == (1.0 if is_same_script else 0.0), other


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        (f"{ENGLISH} {CHINESE}", "en", 5 / 7.5),
        (f"{ENGLISH} {CHINESE}", "zh", 2.5 / 7.5),
        (f"{JAPANESE}\n{CHINESE}", "ja", 3 / 5.5),
        (f"{JAPANESE}\n{CHINESE}", "zh", 3.5 / 5.5),
        (f"{RUSSIAN} {ENGLISH}", "ru", 4 / 9),
        ("\u13e3\u13b3\u13a9 tsalagi", "en", 1 / 2),
    ],
)
def test_a_mixture_is_counted_in_words(text: str, language: str, share: float):
    assert consistency(text, language) == pytest.approx(share)


@pytest.mark.parametrize(
    "foreign",
    [
        "```python\nfor item in items:\n    print(item)\n```",
        "~~~\nprint item\n~~~",
        "````\n```\nprint item\n```\n````",
        "```python\nprint item",
        "`print item`",
        r"$speed \times time$",
        r"$$speed = time$$",
        "$speed\n= time$",
        r"\(speed \times \text{per hour}\)",
        r"\[speed \\[2pt] = time\]",
        r"\begin{align} speed &= time \\ total \end{align}",
        r"\boxed{\text{Tuesday morning}}",
        r"\frac{speed}{\sqrt{time}}",
        r"\alpha \cdot \mathrm{speed}",
        "x, y, ABC, CD, f(x), a_max, x2, 10cm, sin(x), LCM, arctan, \u03c0r, \u0394",
        "<b></b>",
    ],
)
def test_code_formulas_and_symbols_are_not_counted(foreign: str):
    text = f"{CHINESE}\n{foreign}\n"
    assert consistency(text, "zh") == 1.0
    assert consistency(text, "en") == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it costs $5 and then $6", "it costs $5 and then $6"),
        (r"it costs \$5 and then \$6", "it costs 5 and then 6"),
        ("an open $x and text\n\nand another$", "an open $x and text and another$"),
        ("an open ` tick\nand `code`", "an open ` tick and"),
        (r"an open \( and text", "an open and text"),
        (r"\textbf{bold} is a command", "is a command"),
        ("say ``` within a line", "say ``` within a line"),
    ],
)
def test_what_is_never_closed_is_prose(text: str, words: str):
    assert prose_of(text).split() == words.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't co-operate", {"Latin": 3}),
        ("cafe\u0301 d\u00e9j\u00e0", {"Latin": 2}),
        ("THE WHOLE THING", {"Latin": 2}),
        ("GCD", {}),
        ("\u7528GCD\u6c42", {"Han": 1}),
        ("\u5171\u670910\u4e2a", {"Han": 1.5}),
        ("\u0967\u0968\u0969", {}),
        ("\U0001d465\U0001d466", {}),
    ],
)
def test_count_words(text: str, words: dict):
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>a</think>b", "a"),
        ("a</think>b", "a"),
        ("<think>a</think>b<think>c</think>d", "a</think>b<think>c"),
        ("<think>a", "a"),
        ("<think>a<answer>b</answer>", "a"),
        ("a<answer>b</answer>", "a"),
        ("a \\boxed{b}", "a \\boxed{b}"),
        ("", ""),
    ],
)
def test_reasoning_of(text: str, reasoning: str):
    assert reasoning_of(text) == reasoning


def test_the_language_of_the_answer_does_not_count():
    assert consistency(f"<think>{CHINESE}</think>{ENGLISH}", "zh") == 1.0
    assert consistency(f"{CHINESE}</think>{ENGLISH}", "zh", context=RewardContext(completion_prefix="<think>")) == 1.0
    moved = [{"role": "assistant", "reasoning_content": CHINESE, "content": ENGLISH}]
    assert LanguageConsistencyReward("zh")([moved]) == [1.0]


def test_language_consistency_takes_the_language_of_the_row():
    metrics = {}
    languages = ["zh", "zh-CN", "ZH_tw", None, "", "tlh"]
    rewards = LanguageConsistencyReward("en")(
        completions=[CHINESE] * 6, completion_ids=[[1]] * 6, target_language=languages, log_metric=metrics.__setitem__
    )
    assert rewards == [1.0, 1.0, 1.0, 0.0, 0.0, None]
    assert metrics == {"language_consistency_reward/unknown_language": 1 / 6}


def test_language_consistency_leaves_the_column_of_programs_alone():
    assert LanguageConsistencyReward()(completions=[ENGLISH], language=["python"]) == [1.0]


@pytest.mark.parametrize("language", ["", "english", "tlh", "e"])
def test_language_consistency_refuses_an_unknown_language(language: str):
    with pytest.raises(ValueError, match="choose one of"):
        LanguageConsistencyReward(language)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["no_words"]),
        ("$x+y$", ["no_words"]),
        (f"{ENGLISH}\n\n{ENGLISH}", []),
        (f"{ENGLISH} $x$ `y`", []),
        (JAPANESE, []),
        (f"{ENGLISH} {CHINESE}", ["mixed_language"]),
        (f"{ENGLISH} " * 40, ["long_paragraph"]),
        (f"{ENGLISH}\n" * 40, []),
        (f"{ENGLISH}\n```\n{ENGLISH}\n```\n", ["code_block"]),
        (f"{ENGLISH} {CHINESE} " * 40 + "\n```\nx", ["mixed_language", "long_paragraph", "code_block"]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_readability_faults(text: str, faults: list[str]):
    assert readability_faults(text, max_paragraph_chars=500) == faults
