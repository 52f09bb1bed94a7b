# SPDX-License-Identifier: Apache-2.0
"""Rewards for the language of the reasoning: one language, in paragraphs, without blocks of code.

Different from DeepSeek-R1 (arXiv 2501.12948), which publishes neither code nor limits:
1. A word belongs to a language by its script (Unicode, through the module `regex`): exact, fast, and blind between
   languages that share a script.
2. `readability_reward` turns the filter for its fine-tuning data into a reward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from open_r1.rewards.base import DEFAULT_CONTEXT, Completion, LogMetric, RewardContext, completion_texts
from open_r1.rewards.prose import (
    SCRIPTS_OF_LANGUAGE,
    prose_of,
    reasoning_of,
    share_of_language,
    share_of_main_script,
    without_fenced_code,
)

MAX_PARAGRAPH_CHARS = 1500
MIN_LANGUAGE_SHARE = 0.9


@dataclass(frozen=True)
class LanguageConsistencyReward:
    r"""Return the share of words of the target language in the reasoning.

    The reasoning is what stands before the last `</think>`, else before the answer block, else everything. Code in
    fences or backticks, formulas, LaTeX commands and symbols are not counted. A column `target_language` gives the
    language per row, where it holds one: ISO 639-1, with or without a region ("zh-CN").
    Range [0, 1]; 0 where there is no word, so that saying nothing doesn't pay; None where the column names a language
    that isn't known (the rate goes to the metric `language_consistency_reward/unknown_language`).
    Words are told apart by script, two Han or kana letters making a word. So Chinese in an English run is seen and
    French is not: nothing tells languages of one script apart by single words reliably. The one exception: a line of
    Han without kana is not Japanese.
    Source: the language consistency reward of DeepSeek-R1 (arXiv 2501.12948, section 2.3.2).

    >>> chinese = "<think>\n\u6211\u4eec\u9a8c\u7b97 $x = 2$ again\n</think>\n2"
    >>> LanguageConsistencyReward("en")([chinese]), LanguageConsistencyReward("zh")([chinese])
    ([0.3333333333333333], [0.6666666666666666])
    """

    target_language: str = "en"
    context: RewardContext = DEFAULT_CONTEXT

    __name__ = "language_consistency_reward"

    def __post_init__(self) -> None:
        if _known_language(self.target_language) is None:
            known = ", ".join(sorted(SCRIPTS_OF_LANGUAGE))
            raise ValueError(f"target_language {self.target_language!r} is not known; choose one of {known}.")

    def __call__(
        self,
        completions: Sequence[Completion],
        *,
        target_language: Sequence[str | None] | None = None,
        log_metric: LogMetric | None = None,
        **kwargs: object,
    ) -> list[float | None]:
        texts = completion_texts(completions, self.context)
        targets = [None] * len(texts) if target_language is None else target_language
        languages = [_known_language(target or self.target_language) for target in targets]
        if target_language is not None and log_metric is not None and languages:
            log_metric(f"{self.__name__}/unknown_language", languages.count(None) / len(languages))
        return [
            None if language is None else share_of_language(prose_of(reasoning_of(text)), language)
            for text, language in zip(texts, languages, strict=True)
        ]


@dataclass(frozen=True)
class Readability:
    """What share of a text is easy to read, each in [0, 1].

    Attributes:
        language: Words in the commonest script; 0 without any word.
        paragraphs: Letters outside fenced code that stand within the allowed length of their paragraph.
        prose: Letters outside fenced code.
    """

    language: float
    paragraphs: float
    prose: float

    @property
    def score(self) -> float:
        """The product of the three."""
        return self.language * self.paragraphs * self.prose


def measure_readability(text: str, *, max_paragraph_chars: int = MAX_PARAGRAPH_CHARS) -> Readability:
    """Measure a text. A paragraph ends at a line break, since models don't wrap lines.

    >>> measure_readability("Two and two make four.\\nHence it is four.", max_paragraph_chars=10)
    Readability(language=1.0, paragraphs=0.5128205128205128, prose=1.0)
    """
    unfenced = without_fenced_code(text)
    lengths = [len(line.strip()) for line in unfenced.split("\n")]
    num_within_limit = sum(min(length, max_paragraph_chars) for length in lengths)
    return Readability(
        language=share_of_main_script(prose_of(text)),
        paragraphs=num_within_limit / sum(lengths) if any(lengths) else 1.0,
        prose=_num_letters(unfenced) / _num_letters(text) if text.strip() else 1.0,
    )


def readability_faults(
    text: str, *, max_paragraph_chars: int = MAX_PARAGRAPH_CHARS, min_language_share: float = MIN_LANGUAGE_SHARE
) -> list[str]:
    r"""Return what makes a reasoning hard to read, the filter of DeepSeek-R1 for its fine-tuning data; [] for nothing.

    Of: no_words (nothing but code and formulas), mixed_language (less than `min_language_share` of the words in one
    script), long_paragraph (more than `max_paragraph_chars` characters without a line break), code_block.

    >>> readability_faults("We test it:\n```python\nprint(2)\n```\n\u6211\u4eec\u9a8c\u7b97")
    ['mixed_language', 'code_block']
    """
    measured = measure_readability(text, max_paragraph_chars=max_paragraph_chars)
    faults = {
        "no_words": measured.language == 0.0,
        "mixed_language": 0.0 < measured.language < min_language_share,
        "long_paragraph": measured.paragraphs < 1.0,
        "code_block": measured.prose < 1.0,
    }
    return [name for name, is_found in faults.items() if is_found]


@dataclass(frozen=True)
class ReadabilityReward:
    r"""Return how readable the reasoning is: 1 for one language in short paragraphs without blocks of code.

    The product of three shares: words in the commonest script (Han and kana count as one); characters within the
    first `max_paragraph_chars` of their paragraph; characters outside fenced code. A paragraph ends at a line break.
    Range [0, 1]; never None; 0 for a reasoning without words. Not meant for tasks that are solved by programs.
    Source: the filter of DeepSeek-R1's stage 3 (arXiv 2501.12948, section 2.3.3: mixed languages, long paragraphs,
    code blocks); the formula and the limit, about 250 English words, are ours.

    >>> ReadabilityReward()(["<think>\nTwo and two make four.\n</think>\n4", "<think>\n$2 + 2$\n</think>\n4"])
    [1.0, 0.0]
    """

    max_paragraph_chars: int = MAX_PARAGRAPH_CHARS
    context: RewardContext = DEFAULT_CONTEXT

    __name__ = "readability_reward"

    def __post_init__(self) -> None:
        if self.max_paragraph_chars < 1:
            raise ValueError(f"max_paragraph_chars must be at least 1, got {self.max_paragraph_chars}")

    def __call__(self, completions: Sequence[Completion], **kwargs: object) -> list[float | None]:
        reasonings = [reasoning_of(text) for text in completion_texts(completions, self.context)]
        return [measure_readability(text, max_paragraph_chars=self.max_paragraph_chars).score for text in reasonings]


def _known_language(language: str) -> str | None:
    """Return the ISO 639-1 code of a language tag, or None."""
    code = language.strip().lower().replace("_", "-").partition("-")[0]
    return code if code in SCRIPTS_OF_LANGUAGE else None


def _num_letters(text: str) -> int:
    """Return the number of characters that are not blank."""
    return sum(map(len, text.split()))
