# SPDX-License-Identifier: Apache-2.0
r"""Find the program in a completion.

Different from upstream Open R1, which wants the fence to the letter:
1. the word behind the backticks may be any name or alias of the language, in upper or lower case (`py`, `C++17`);
2. only what follows the reasoning counts, as for answers: a program that was only thought about is none. The last
   closing tag ends it; one inside a block behind an earlier one is a program's text.
"""

import re

from open_r1.sandbox.base import UnsupportedLanguageError
from open_r1.sandbox.languages import find_language

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_FENCE = "```"
_MARK = re.compile(f"{_FENCE}|{_THINK_CLOSE}")
_OPENING = re.compile(r"```[ \t]*([^\s`]{1,40})(?:[ \t][^\n`]{0,200})?\n")


def language_name(word: str) -> str:
    """Return our name of the language that a word means, by any name or alias; of one unknown to us the word.

    >>> language_name("{.py}"), language_name("GNU C++17 (64)"), language_name("Rust")
    ('python', 'cpp', 'rust')
    """
    word = word.strip("{}.").lower()
    try:
        return find_language(word).name
    except UnsupportedLanguageError:
        return word


def find_program(text: str, language: str) -> str | None:
    r"""Return the last closed block of this language behind the reasoning, or None where there's none or it's blank.

    A block ends at the next three backticks. Reasoning that never ends holds no program. A language that no sandbox
    knows has the one name.

    >>> find_program("```py\n1\n```\n```rust\n2\n```", "python"), find_program("```C++\n1\n```", "cpp")
    ('1\n', '1\n')
    >>> find_program("<think>\n```python\n1\n```", "python") is None
    True
    """
    wanted = language_name(language)
    answer = _behind_reasoning(text)
    end = len(answer)
    for opening in reversed(list(_OPENING.finditer(answer))):
        close = answer.find(_FENCE, opening.end(), end)
        if close >= 0 and language_name(opening[1]) == wanted:
            # Half a surrogate pair, which no file could hold, becomes a question mark.
            program = answer[opening.end() : close].encode(errors="replace").decode()
            return program if program.strip() else None
        end = opening.start() + len(_FENCE)
    return None


def _behind_reasoning(text: str) -> str:
    """Return what follows the closing tag that ends the reasoning; without one what precedes the opening tag."""
    first = text.find(_THINK_CLOSE)
    if first < 0:
        return text.partition(_THINK_OPEN)[0]
    start = first + len(_THINK_CLOSE)
    last_fence = text.rfind(_FENCE)
    is_inside = False
    for mark in _MARK.finditer(text, start):
        if mark[0] == _FENCE:
            is_inside = not is_inside
        elif not (is_inside and mark.start() < last_fence):
            start, is_inside = mark.end(), False
    return text[start:]
