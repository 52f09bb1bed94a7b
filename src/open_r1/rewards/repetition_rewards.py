# SPDX-License-Identifier: Apache-2.0
"""Penalties for saying the same thing again, counted in words or in token ids.

Different from arXiv 2502.03373: its penalty for every repeated token (the dense form) can't be had from a reward,
which gives a completion one number. This is its sparse form.
"""

import importlib.util
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from open_r1.rewards.base import DEFAULT_CONTEXT, Completion, RewardContext, completion_texts

REPETITION_LANGUAGES = ("en", "zh")


def repeated_share(units: Sequence[Hashable], ngram_size: int) -> float:
    """Return 1 - distinct / all n-grams of words or token ids; 0 where there are fewer units than n.

    >>> repeated_share([5, 5, 5, 5, 5], 2), repeated_share([1, 2, 3], 2), repeated_share([1], 2)
    (0.75, 0.0, 0.0)
    """
    num_ngrams = len(units) - ngram_size + 1
    if num_ngrams < 1:
        return 0.0
    distinct = {tuple(units[start : start + ngram_size]) for start in range(num_ngrams)}
    return 1 - len(distinct) / num_ngrams


def check_repetition_options(ngram_size: int, max_penalty: float, prefix: str) -> None:
    """Raise a ValueError for a penalty that rewards, or an n-gram of nothing.

    Args:
        ngram_size: Words or tokens of an n-gram.
        max_penalty: What a completion that only repeats itself gets.
        prefix: What the keys of the recipe have in front, such as "repetition_".
    """
    if max_penalty > 0:
        raise ValueError(
            f"{prefix}max_penalty is {max_penalty}, but a penalty is added to the reward: it must be 0 or negative."
        )
    if ngram_size < 1:
        raise ValueError(f"{prefix}n_grams must be at least 1, got {ngram_size}.")


@dataclass(frozen=True)
class RepetitionPenaltyReward:
    """Return (1 - distinct / all n-grams of words) * max_penalty for every completion.

    Range [max_penalty, 0]; never None; 0 for a text with fewer words than n. English is lower-cased and split at white
    space, Chinese is segmented by jieba (extra `zh`).
    Source: Demystifying Long Chain-of-Thought Reasoning (arXiv 2502.03373).

    >>> RepetitionPenaltyReward(ngram_size=2, max_penalty=-1.0)(["so so so so so", "this says it once"])
    [-0.75, 0.0]
    """

    ngram_size: int
    max_penalty: float
    language: str = "en"
    context: RewardContext = DEFAULT_CONTEXT

    __name__ = "repetition_penalty_reward"

    def __post_init__(self) -> None:
        check_repetition_options(self.ngram_size, self.max_penalty, "repetition_")
        if self.language not in REPETITION_LANGUAGES:
            raise ValueError(
                f"repetition_language is {self.language!r}: it must be {' or '.join(REPETITION_LANGUAGES)}."
            )
        if self.language == "zh" and importlib.util.find_spec("jieba") is None:
            raise ValueError("Chinese text is segmented by jieba: make install EXTRAS=zh.")

    def __call__(self, completions: Sequence[Completion], **kwargs: object) -> list[float | None]:
        texts = completion_texts(completions, self.context)
        return [repeated_share(_words_of(text, self.language), self.ngram_size) * self.max_penalty for text in texts]


@dataclass(frozen=True)
class TokenRepetitionReward:
    """Return (1 - distinct / all n-grams of token ids) * max_penalty for every completion.

    Needs no word splitting, so it serves any language. Range [max_penalty, 0]; never None; 0 for a completion of fewer
    tokens than n. Small n-grams recur in any long text: n = 40 sees loops alone, n = 3 sees length too.
    Source: Demystifying Long Chain-of-Thought Reasoning (arXiv 2502.03373, appendix C.2), which takes n = 40.

    >>> TokenRepetitionReward(ngram_size=2)(completion_ids=[[1, 2, 3, 4], [5, 5, 5, 5, 5]])
    [0.0, -0.75]
    """

    ngram_size: int = 40
    max_penalty: float = -1.0

    __name__ = "token_repetition_reward"

    def __post_init__(self) -> None:
        check_repetition_options(self.ngram_size, self.max_penalty, "token_repetition_")

    def __call__(self, completion_ids: Sequence[Sequence[int]], **kwargs: object) -> list[float | None]:
        return [repeated_share(ids, self.ngram_size) * self.max_penalty for ids in completion_ids]


def _words_of(text: str, language: str) -> list[str]:
    if language == "en":
        return text.lower().split()
    import jieba

    return [word for word in jieba.cut(text) if word.strip()]
