# SPDX-License-Identifier: Apache-2.0
"""The layout that holds a program, and a program found by its fence to the letter."""

from collections.abc import Sequence
from dataclasses import dataclass

from open_r1.rewards.base import DEFAULT_CONTEXT, Completion, RewardContext, completion_texts
from open_r1.rewards.format_rewards import split_strict_format

_FENCE = "```"


def extract_code(completion: str, language: str | None = "python") -> str:
    r"""Return the last fenced block of exactly this language, or "" without one.

    A block opens with three backticks, the language and a line break, and ends at the next three backticks.

    >>> extract_code("```r\n1\n```\n```rust\n2\n```", "r")
    '1\n'
    """
    if not language:
        return ""
    opening = f"{_FENCE}{language}\n"
    end = len(completion)
    while (start := completion.rfind(opening, 0, end)) >= 0:
        close = completion.find(_FENCE, start + len(opening), end)
        if close >= 0:
            return completion[start + len(opening) : close]
        end = start + len(_FENCE)
    return ""


@dataclass(frozen=True)
class CodeFormatReward:
    """Return 1.0 for a completion in the strict layout whose answer holds a fenced block of the language, else 0.0.

    The layout is that of `format_reward`, the block that of `extract_code`. A column `language` gives the language per
    row, where it holds one. Range {0, 1}; never None. Source: Open R1; the language is matched exactly here.
    """

    language: str = "python"
    context: RewardContext = DEFAULT_CONTEXT

    __name__ = "code_format_reward"

    def __call__(
        self, completions: Sequence[Completion], *, language: Sequence[str | None] | None = None, **kwargs: object
    ) -> list[float | None]:
        texts = completion_texts(completions, self.context)
        languages = [None] * len(texts) if language is None else language
        return [self._score(text, wanted or self.language) for text, wanted in zip(texts, languages, strict=True)]

    def _score(self, text: str, language: str) -> float:
        parts = split_strict_format(text)
        return 1.0 if parts is not None and extract_code(parts[1], language).strip() else 0.0


def get_code_format_reward(language: str = "python", context: RewardContext = DEFAULT_CONTEXT) -> CodeFormatReward:
    r"""Build the reward for the layout of a completion that holds a program.

    >>> text = "<think>\nadd\n</think>\n<answer>\n```python\nprint(4)\n```\n</answer>"
    >>> get_code_format_reward()([text]), get_code_format_reward("cpp")([text])
    ([1.0], [0.0])
    """
    return CodeFormatReward(language, context)
