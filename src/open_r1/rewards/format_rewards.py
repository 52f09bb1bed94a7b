# SPDX-License-Identifier: Apache-2.0
"""Rewards for the layout of a completion: a think block, an answer block, a program in it, visible steps.

Different from upstream Open R1:
1. `format_reward` takes exactly one think and one answer block, nothing after them, and neither may be blank;
   characters that nobody sees don't fill a block.
2. `reasoning_steps_reward` counts numbered lines anywhere and every distinct marker once.
All search takes time linear in the text, whatever it holds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from open_r1.grading.programs import find_program
from open_r1.rewards.base import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    DEFAULT_CONTEXT,
    THINK_CLOSE,
    THINK_OPEN,
    Completion,
    RewardContext,
    completion_texts,
)
from open_r1.rewards.prose import is_blank

TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
_TAGS_WITH_NEWLINES = (f"{THINK_OPEN}\n", f"\n{THINK_CLOSE}\n", f"\n{ANSWER_OPEN}\n", f"\n{ANSWER_CLOSE}")
# With each tag once they take linear time; both groups must show something.
STRICT_LAYOUT = re.compile(r"<think>\n(.*)\n</think>\n<answer>\n(.*)\n</answer>\n*", re.DOTALL)
SOFT_LAYOUT = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)
_THINK_LAYOUT = re.compile(r"\s*<think>(.*)</think>(.*)", re.DOTALL)

# The value of every marker is what makes it distinct, so that a marker said ten times counts once.
_STEP_MARKERS = (
    re.compile(r"\b(Step \d{1,4}):"),
    re.compile(r"^(\d{1,4}\.)(?=\s)", re.MULTILINE),
    re.compile(r"^([-*][ \t]+\S[^\n]*)", re.MULTILINE),
    re.compile(r"\b(First|Second|Next|Finally),"),
)
NUM_STEPS_FOR_FULL_REWARD = 3


def split_layout(text: str, layout: re.Pattern[str], tags: Sequence[str] = TAGS) -> tuple[str, str] | None:
    r"""Return (reasoning, answer) of a text in the layout with each of the tags once, or None.

    >>> split_layout("<think>\n2 + 2\n</think>\n<answer>\n4\n</answer>", STRICT_LAYOUT)
    ('2 + 2', '4')
    >>> split_layout("<think>2 + 2</think>\n\n<answer> 4 </answer>\n", STRICT_LAYOUT) is None
    True
    >>> split_layout("\n<think>2 + 2</think>\n\n<answer> 4 </answer>\n", SOFT_LAYOUT)
    ('2 + 2', ' 4 ')
    """
    found = layout.fullmatch(text) if all(text.count(tag) == 1 for tag in tags) else None
    return None if found is None or any(map(is_blank, found.groups())) else (found.group(1), found.group(2))


def format_reward(
    completions: Sequence[Completion], *, context: RewardContext = DEFAULT_CONTEXT, **kwargs: object
) -> list[float | None]:
    r"""Return 1.0 for a completion in the strict layout, else 0.0.

    The layout: `<think>`, reasoning, `</think>`, `<answer>`, answer, `</answer>`, each tag once and on a line of its
    own, nothing before or after, neither part blank. A think tag that the template opens is counted in (`context`), so
    that a completion that opens it again has two.
    Range {0, 1}; never None. Source: the format reward of DeepSeek-R1 (arXiv 2501.12948, section 2.2.2).

    >>> format_reward(["<think>\n2 + 2\n</think>\n<answer>\n4\n</answer>", "<think>Only thinking</think>"])
    [1.0, 0.0]
    """
    return [
        0.0 if split_layout(text, STRICT_LAYOUT) is None else 1.0 for text in completion_texts(completions, context)
    ]


@dataclass(frozen=True)
class CodeFormatReward:
    r"""Return 1.0 for a completion in the strict layout whose answer holds a fenced program of the language, else 0.0.

    The layout is that of `format_reward`, the program that of the rewards that run it (`grading.programs`). A column
    `language` gives the language per row, where it holds one. Range {0, 1}; never None. Source: Open R1.

    >>> text = "<think>\nadd\n</think>\n<answer>\n```py\nprint(4)\n```\n</answer>"
    >>> CodeFormatReward()([text]), CodeFormatReward("cpp")([text])
    ([1.0], [0.0])
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
        parts = split_layout(text, STRICT_LAYOUT)
        return 0.0 if parts is None or find_program(parts[1], language) is None else 1.0


def soft_format_reward(
    completions: Sequence[Completion], *, context: RewardContext = DEFAULT_CONTEXT, **kwargs: object
) -> list[float | None]:
    r"""Return 1.0 for a think block and then an answer block, with white space as one likes, else 0.0.

    Each tag once, nothing but white space outside the blocks, neither blank: `format_reward` without its line breaks.
    A think tag that the template opens is counted in, and what stands before it there isn't held against the model.
    Range {0, 1}; never None. Source: the format reward of DeepSeek-R1 (arXiv 2501.12948, section 2.2.2).

    >>> soft_format_reward(["<think>2 + 2</think> <answer>4</answer>", "<think>2 + 2</think> So <answer>4</answer>"])
    [1.0, 0.0]
    """
    return [
        0.0 if split_layout(text, SOFT_LAYOUT) is None else 1.0 for text in texts_from_think_tag(completions, context)
    ]


def think_format_reward(
    completions: Sequence[Completion], *, context: RewardContext = DEFAULT_CONTEXT, **kwargs: object
) -> list[float | None]:
    r"""Return 1.0 for one think block and then an answer without answer tags, else 0.0.

    The layout of DeepSeek-R1 and its distilled models: `<think>`, reasoning, `</think>`, answer, neither part blank,
    nothing but white space before. A think tag that the template opens is counted in (`context`).
    Range {0, 1}; never None. Source: the output format of DeepSeek-R1 (arXiv 2501.12948, section 2.3.1).

    >>> think_format_reward(["<think>\n2 + 2\n</think>\n\nIt is 4.", "<think>\n2 + 2\n</think>", "It is 4."])
    [1.0, 0.0, 0.0]
    """
    return [1.0 if _is_think_format(text) else 0.0 for text in texts_from_think_tag(completions, context)]


def _is_think_format(text: str) -> bool:
    parts = split_layout(text, _THINK_LAYOUT, (THINK_OPEN, THINK_CLOSE))
    return parts is not None and ANSWER_OPEN not in parts[1] and ANSWER_CLOSE not in parts[1]


def texts_from_think_tag(completions: Sequence[Completion], context: RewardContext = DEFAULT_CONTEXT) -> list[str]:
    r"""Return `completion_texts` without what the prompt says before the think tag it opens.

    >>> texts_from_think_tag(["2 + 2"], RewardContext(completion_prefix="Let me think.\n<think>\n"))
    ['<think>\n2 + 2']
    """
    prefix = context.completion_prefix
    said_before = prefix[: max(prefix.rfind(THINK_OPEN), 0)]
    return [text.removeprefix(said_before) for text in completion_texts(completions, context)]


def tag_count_reward(
    completions: Sequence[Completion], *, context: RewardContext = DEFAULT_CONTEXT, **kwargs: object
) -> list[float | None]:
    r"""Return 0.25 for each of the four tags that occurs exactly once with its line breaks.

    Counted are `<think>\n`, `\n</think>\n`, `\n<answer>\n` and `\n</answer>`: partial credit on the way to
    `format_reward`. Range {0, 0.25, 0.5, 0.75, 1}; never None. Source: Open R1.

    >>> tag_count_reward(["<think>\n2 + 2\n</think>\n<answer>\n4\n</answer>", "<think>\n2 + 2"])
    [1.0, 0.25]
    """
    return [
        0.25 * sum(text.count(tag) == 1 for tag in _TAGS_WITH_NEWLINES)
        for text in completion_texts(completions, context)
    ]


def count_reasoning_steps(text: str) -> int:
    """Return the number of distinct step markers: "Step 1:", "1." or "- x" on a line, "First,", "Next,", ...

    >>> count_reasoning_steps("First, First, First, we repeat ourselves")
    1
    """
    return len({match for pattern in _STEP_MARKERS for match in pattern.findall(text)})


def reasoning_steps_reward(
    completions: Sequence[Completion], *, context: RewardContext = DEFAULT_CONTEXT, **kwargs: object
) -> list[float | None]:
    r"""Return min(1, steps / 3), steps being the distinct step markers of the text.

    Range [0, 1]; never None. Source: Open R1; the number 3 is its choice.

    >>> reasoning_steps_reward(["Step 1: add.\nStep 2: halve.\nStep 3: done.", "It is 4."])
    [1.0, 0.0]
    """
    return [
        min(1.0, count_reasoning_steps(text) / NUM_STEPS_FOR_FULL_REWARD)
        for text in completion_texts(completions, context)
    ]
