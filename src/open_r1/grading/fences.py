# SPDX-License-Identifier: Apache-2.0
r"""Find the program in a completion.

Different from `rewards.extract_code`, which wants the fence to the letter:
1. the word behind the backticks may be any name or alias of the language, in upper or lower case (`py`, `C++17`);
2. only what follows the reasoning counts, as for answers: a program that was only thought about is none.
"""

import re

from open_r1.sandbox.base import UnsupportedLanguageError
from open_r1.sandbox.languages import find_language

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_FENCE = "```"
_OPENING = re.compile(r"```[ \t]*([^\s`]{1,40})(?:[ \t][^\n`]{0,200})?\n")


def find_program(text: str, language: str) -> str | None:
    r"""Return the last closed block of this language behind the reasoning, or None where there's none or it's blank.

    A block ends at the next three backticks. Reasoning that never ends holds no program.

    Raises:
        UnsupportedLanguageError: There's no such language.

    >>> find_program("```py\n1\n```\n```rust\n2\n```", "python"), find_program("```C++\n1\n```", "cpp")
    ('1\n', '1\n')
    >>> find_program("<think>\n```python\n1\n```", "python") is None
    True
    """
    wanted = find_language(language).name
    _, closing, answer = text.rpartition(_THINK_CLOSE)
    answer = answer if closing else text.partition(_THINK_OPEN)[0]
    end = len(answer)
    for opening in reversed(list(_OPENING.finditer(answer))):
        close = answer.find(_FENCE, opening.end(), end)
        if close >= 0 and _name_of(opening[1]) == wanted:
            # Half a surrogate pair, which no file could hold, becomes a question mark.
            program = answer[opening.end() : close].encode(errors="replace").decode()
            return program if program.strip() else None
        end = opening.start() + len(_FENCE)
    return None


def _name_of(word: str) -> str | None:
    """Return the language that a word behind the backticks means, or None."""
    try:
        return find_language(word.strip("{}.")).name
    except UnsupportedLanguageError:
        return None
