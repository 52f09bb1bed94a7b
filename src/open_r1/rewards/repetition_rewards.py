# SPDX-License-Identifier: Apache-2.0
"""The penalty for saying the same thing again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from open_r1.rewards.base import DEFAULT_CONTEXT, Completion, RewardContext, completion_texts

REPETITION_LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class RepetitionPenaltyReward:
    """Return (1 - distinct / all n-grams of words) * max_penalty for every completion.

    Range [max_penalty, 0]; never None; 0 for a text with fewer words than n. English is lower-cased and split at white
    space, Chinese is segmented by jieba (extra `zh`).
    Source: Demystifying Long Chain-of-Thought Reasoning (arXiv 2502.03373).
    """

    ngram_size: int
    max_penalty: float
    language: str = "en"
    context: RewardContext = DEFAULT_CONTEXT

    __name__ = "repetition_penalty_reward"

    def __post_init__(self) -> None:
        if self.max_penalty > 0:
            raise ValueError(f"max_penalty {self.max_penalty} should not be positive")
        if self.ngram_size < 1:
            raise ValueError(f"ngram_size must be at least 1, got {self.ngram_size}")
        _word_splitter(self.language)

    def __call__(self, completions: Sequence[Completion], **kwargs: object) -> list[float | None]:
        split = _word_splitter(self.language)
        return [self._penalty(split(text)) for text in completion_texts(completions, self.context)]

    def _penalty(self, words: list[str]) -> float:
        num_ngrams = len(words) - self.ngram_size + 1
        if num_ngrams < 1:
            return 0.0
        distinct = {tuple(words[start : start + self.ngram_size]) for start in range(num_ngrams)}
        repeated = num_ngrams - len(distinct)
        return repeated / num_ngrams * self.max_penalty if repeated else 0.0


def get_repetition_penalty_reward(
    ngram_size: int, max_penalty: float, language: str = "en", context: RewardContext = DEFAULT_CONTEXT
) -> RepetitionPenaltyReward:
    """Build the reward that penalises repeated n-grams of words.

    >>> get_repetition_penalty_reward(ngram_size=2, max_penalty=-1.0)(["so so so so so", "this says it once"])
    [-0.75, 0.0]
    """
    return RepetitionPenaltyReward(ngram_size, max_penalty, language, context)


def _word_splitter(language: str) -> Callable[[str], list[str]]:
    if language == "en":
        return _split_english
    if language != "zh":
        raise ValueError(
            f"The language {language!r} is not supported; choose one of {', '.join(REPETITION_LANGUAGES)}."
        )
    try:
        import jieba  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "Chinese text is segmented by jieba: install the extra `zh` (pip install -e '.[zh]')."
        ) from error
    return _split_chinese


def _split_english(text: str) -> list[str]:
    return text.lower().split()


def _split_chinese(text: str) -> list[str]:
    import jieba

    return [word for word in jieba.cut(text) if word.strip()]
