# SPDX-License-Identifier: Apache-2.0
"""The reward for a reasoning in one language, and what makes a reasoning hard to read.

Different from DeepSeek-R1 (arXiv 2501.12948), which publishes neither code nor limits:
a word belongs to a language by its script (Unicode, through the module `regex`): exact, fast, and blind between
languages that share a script.
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


def readability_faults(
    text: str, *, max_paragraph_chars: int = MAX_PARAGRAPH_CHARS, min_language_share: float = MIN_LANGUAGE_SHARE
) -> list[str]:
    r"""Return what makes a reasoning hard to read, the filter of DeepSeek-R1 for its fine-tuning data; [] for nothing.

    Of: no_words (nothing but code and formulas), mixed_language (less than `min_language_share` of the words in one
    script), long_paragraph (more than `max_paragraph_chars` characters without a line break), code_block.

    >>> readability_faults("We test it:\n```python\nprint(2)\n```\n\u6211\u4eec\u9a8c\u7b97")
    ['mixed_language', 'code_block']
    """
    share, unfenced = share_of_main_script(prose_of(text)), without_fenced_code(text)
    faults = {
        "no_words": share == 0.0,
        "mixed_language": 0.0 < share < min_language_share,
        "long_paragraph": any(len(line.strip()) > max_paragraph_chars for line in unfenced.split("\n")),
        "code_block": unfenced.split() != text.split(),
    }
    return [name for name, is_found in faults.items() if is_found]


def _known_language(language: str) -> str | None:
    """Return the ISO 639-1 code of a language tag, or None."""
    code = language.strip().lower().replace("_", "-").partition("-")[0]
    return code if code in SCRIPTS_OF_LANGUAGE else None
