# SPDX-License-Identifier: Apache-2.0
r"""Prose of a completion, and its words counted by the script they are written in.

Code, formulas, LaTeX commands and tags are no prose: in any language they hold Latin letters. Every pattern reads on
from where it stands to the next place that could end it, and no further, so the work is linear in the text.
"""

import re
from collections import Counter
from functools import cache

import regex

from open_r1.rewards.base import ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

# As in Markdown, a fence stands at the start of a line, and one that is never closed runs to the end of the text.
_FENCED_CODE = re.compile(
    r"^[ \t]*+(`{3,}+|~{3,}+)[^`\n]*+(?:\n|\Z).*?(?:^[ \t]*+\1[`~]*+[ \t]*+$|\Z)", re.MULTILINE | re.DOTALL
)
# Braces are followed three deep, which is deeper than `\boxed{\frac{1}{\sqrt{2}}}` needs.
_BRACES = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*+\})*+\})*+\}"
_NO_PROSE = re.compile(
    "|".join(
        (
            r"`[^`\n]++`",
            r"\\\[(?:[^\\]|\\[^\[\]])*+\\\]",
            r"\\\((?:[^\\]|\\[^()])*+\\\)",
            r"\\begin\{(?:[^\\]|\\(?!begin\{|end\{))*+\\end\{[^{}\n]*+\}",
            r"\$\$(?:[^$\\]|\\.)++\$\$",
            # A dollar sign opens before and closes after something that is no blank; before a digit it is money.
            r"\$(?![\s$])(?:[^$\\\n]|\\.|\n(?![ \t]*\n))++(?<!\s)\$(?!\d)",
            rf"\\[a-zA-Z]++\*?(?:\[[^\[\]\n]*+\])?(?:{_BRACES})*+",
            r"\\[^a-zA-Z\s]",
            r"</?[a-zA-Z_]{1,20}>",
        )
    ),
    re.DOTALL,
)

# Scripts written without spaces, and the letters of an average word in them: roughly, but a factor of 1.5 moves the
# share of an even mixture no further than from 0.5 to 0.6. A run of Han is a clause, not a word, while a letter a word
# would make Chinese weigh twice as much as English.
LETTERS_PER_WORD = {"Han": 2, "Hiragana": 2, "Katakana": 2, "Thai": 5, "Lao": 5, "Khmer": 5, "Myanmar": 5}
JAPANESE_SCRIPTS = ("Han", "Hiragana", "Katakana")

_LANGUAGES_OF_SCRIPT = {
    "Latin": "en af az bs ca cs cy da de eo es et eu fi fr ga gl hr hu id is it la lt lv ms mt nb nl nn no pl pt ro "
    "sk sl so sq sv sw tl tr uz vi",
    "Cyrillic": "ru be bg kk ky mk mn sr tg uk",
    "Arabic": "ar fa ps ug ur",
    "Devanagari": "hi mr ne sa",
    "Hangul": "ko",
    "Han": "zh",
    "Greek": "el",
    "Hebrew": "he yi",
    "Armenian": "hy",
    "Georgian": "ka",
    "Ethiopic": "am ti",
    "Bengali": "bn as",
    "Gurmukhi": "pa",
    "Gujarati": "gu",
    "Oriya": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Thai": "th",
    "Lao": "lo",
    "Khmer": "km",
    "Myanmar": "my",
    "Tibetan": "bo dz",
}
SCRIPTS_OF_LANGUAGE: dict[str, tuple[str, ...]] = {
    "ja": JAPANESE_SCRIPTS,
    **{language: (script,) for script, languages in _LANGUAGES_OF_SCRIPT.items() for language in languages.split()},
}

# Their single letters, letters beside digits, short capitals (the triangle ABC) and function names are symbols.
_SYMBOL_SCRIPTS = ("Latin", "Greek")
_MAX_SYMBOL_LETTERS = 4
_FUNCTION_NAME = re.compile(
    r"(?:arc)?(?:sin|cos|tan)h?|cot|sec|csc|log|l[ng]|exp|mod|gcd|lcm|det|lim|max|min", re.IGNORECASE
)
# The braille pattern without dots is a symbol to Unicode, and empty to the eye.
_INVISIBLE = regex.compile(r"[\s\p{Cc}\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}\u2800]*+")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")


def reasoning_of(text: str) -> str:
    r"""Return the reasoning: up to the last `</think>`, or without one up to the answer block, or everything.

    >>> reasoning_of("<think>\n2 + 2\n</think>\nIt is 4."), reasoning_of("2 + 2 <answer>4</answer>")
    ('\n2 + 2\n', '2 + 2 ')
    """
    end = text.rfind(THINK_CLOSE)
    if end < 0:
        end = text.rfind(ANSWER_OPEN)
    reasoning = text[:end] if end >= 0 else text
    _, tag, inside = reasoning.partition(THINK_OPEN)
    return inside if tag else reasoning


def is_blank(text: str) -> bool:
    r"""Return whether a text shows nothing: white space, control characters and those that have no width.

    >>> is_blank(" \n\u200b\x00"), is_blank("0")
    (True, False)
    """
    return _INVISIBLE.fullmatch(text) is not None


def without_fenced_code(text: str) -> str:
    """Return the text without its fenced blocks of code."""
    return _FENCED_CODE.sub("\n", text)


def prose_of(text: str) -> str:
    r"""Return the text without code, formulas, LaTeX commands and tags.

    >>> prose_of(r"so `x` is $\frac{1}{2}$ and \boxed{\text{half}} costs $5").split()
    ['so', 'is', 'and', 'costs', '$5']
    """
    return _NO_PROSE.sub(" ", without_fenced_code(text))


def count_words(prose: str) -> dict[str, float]:
    """Return the number of words in every script; letters over `LETTERS_PER_WORD` where no spaces part the words.

    >>> count_words("Let ABC be a triangle, x2 = sin(x)."), count_words("\u6211\u4eec\u7528 induction")
    ({'Latin': 3.0}, {'Han': 1.5, 'Latin': 1.0})
    """
    counts: Counter[str] = Counter()
    for match in _word_pattern().finditer(prose):
        script, word = str(match.lastgroup), match.group()
        if script in LETTERS_PER_WORD:
            counts[script] += len(word)
        elif script not in _SYMBOL_SCRIPTS or not _is_symbol(word):
            counts[script] += 1
    return {script: count / LETTERS_PER_WORD.get(script, 1) for script, count in counts.items()}


def share_of_language(prose: str, language: str) -> float:
    """Return the share of words in the scripts of a language of `SCRIPTS_OF_LANGUAGE`; 0 where there are no words."""
    if _is_latin(prose):
        return float(_has_words(prose) and SCRIPTS_OF_LANGUAGE[language] == ("Latin",))
    words = count_words(prose)
    if not words:
        return 0.0
    if language == "ja":
        # Japanese has kana in nearly every line: a line of Han alone is Chinese.
        lines_in_language = [line for line in prose.split("\n") if _KANA.search(line)]
        words_in_language = count_words("\n".join(lines_in_language))
    else:
        words_in_language = words
    return sum(words_in_language.get(script, 0.0) for script in SCRIPTS_OF_LANGUAGE[language]) / sum(words.values())


def share_of_main_script(prose: str) -> float:
    """Return the share of words in the commonest script, Han and kana counting as one; 0 where there are no words."""
    if _is_latin(prose):
        return float(_has_words(prose))
    words = count_words(prose)
    if not words:
        return 0.0
    if any(script in words for script in JAPANESE_SCRIPTS[1:]):
        words["Japanese"] = sum(words.pop(script, 0.0) for script in JAPANESE_SCRIPTS)
    return max(words.values()) / sum(words.values())


def _is_latin(prose: str) -> bool:
    """Whether words can only be in Latin letters, as in most texts: nothing has to be counted then."""
    return prose.isascii() or _other_letters().search(prose) is None


def _has_words(prose: str) -> bool:
    """Whether there is a word at all, of a text in Latin letters."""
    return any(not _is_symbol(match.group()) for match in _word_pattern().finditer(prose))


@cache
def _other_letters() -> regex.Pattern:
    return regex.compile(r"(?![\p{Common}\p{Inherited}\p{Latin}\p{Greek}])\p{L}|\p{Greek}[\p{Greek}\p{M}]")


def _is_symbol(word: str) -> bool:
    return (len(word) <= _MAX_SYMBOL_LETTERS and word.isupper()) or bool(_FUNCTION_NAME.fullmatch(word))


@cache
def _word_pattern() -> regex.Pattern:
    """Return the pattern of a word, with a group for every script and the group `other` for those not listed."""
    groups = []
    for script in _LANGUAGES_OF_SCRIPT:
        letter = rf"\p{{{script}}}"
        if script in _SYMBOL_SCRIPTS:
            start, end = rf"(?<![{letter}\p{{M}}\p{{N}}_])", r"(?![\p{N}_])"
            groups.append(rf"{start}(?P<{script}>{letter}[{letter}\p{{M}}]++){end}")
        else:
            groups.append(rf"(?P<{script}>{letter}[{letter}\p{{M}}]*+)")
    groups += [rf"(?P<{script}>\p{{{script}}}++)" for script in ("Hiragana", "Katakana")]
    groups.append(r"(?P<other>(?![\p{Common}\p{Inherited}\p{Latin}\p{Greek}])\p{L}[\p{L}\p{M}]*+)")
    return regex.compile(rf"(?=\p{{L}})(?:{'|'.join(groups)})")
