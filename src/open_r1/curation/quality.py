# SPDX-License-Identifier: Apache-2.0
"""Which completions are whole, and which are easy to read: the first filters of DeepSeek-R1's rejection sampling.

Source: DeepSeek-R1 (arXiv 2501.12948, section 2.3.3) drops chains in mixed languages, with long paragraphs or with
blocks of code; limits are ours (`rewards/language_rewards.py`).
"""

from dataclasses import dataclass

from open_r1.rewards.base import THINK_CLOSE, THINK_OPEN
from open_r1.rewards.language_rewards import MAX_PARAGRAPH_CHARS, MIN_LANGUAGE_SHARE, readability_faults
from open_r1.rewards.prose import SCRIPTS_OF_LANGUAGE, is_blank, prose_of, reasoning_of, share_of_language

# Reasons of servers for an answer that is whole; others ("length", "content_filter", "error", ...) say it is not.
WHOLE = ("stop", "eos", "tool_calls", "stop_sequence", "end_turn")
READABILITY_FAULTS = ("no_words", "mixed_language", "long_paragraph", "code_block", "other_language")


def close_prefilled_think(text: str) -> str:
    r"""Return a completion with the `<think>` tag that its prompt had already opened.

    >>> close_prefilled_think("6 * 7\n</think>\n\n42"), close_prefilled_think("<think>\n</think>\n\n42")
    ('<think>\n6 * 7\n</think>\n\n42', '<think>\n</think>\n\n42')
    """
    if THINK_CLOSE in text and THINK_OPEN not in text:
        return f"{THINK_OPEN}\n{text.lstrip()}"
    return text


def is_failed(text: object, finish_reason: object) -> bool:
    """Return whether no completion came, through no fault of the model's."""
    return finish_reason == "error" or (text is None and finish_reason is not None)


def fault_of(text: object, finish_reason: object, *, needs_reasoning: bool) -> str | None:
    r"""Return what keeps a completion from being a whole one, or None.

    Of: failed (no text came), no_text (not a string, or blank), truncated (by its finish reason), not_finished
    (another finish reason than those in `WHOLE`), open_reasoning (a `<think>` that is not closed), many_think_tags,
    text_before (something stands before `<think>`), no_answer (nothing behind the reasoning), and where reasoning is
    needed no_reasoning (no tags, or nothing between them). A finish reason that is null is not known, and not held
    against a completion.

    >>> fault_of("<think>\n6 * 7\n</think>\n\n42", "stop", needs_reasoning=True)
    >>> fault_of("<think>\n6 *", "length", needs_reasoning=True), fault_of(None, "error", needs_reasoning=True)
    ('truncated', 'failed')
    """
    if is_failed(text, finish_reason):
        return "failed"
    if not isinstance(text, str) or is_blank(text):
        return "no_text"
    if finish_reason == "length":
        return "truncated"
    if isinstance(finish_reason, str) and finish_reason not in WHOLE:
        return "not_finished"
    text = close_prefilled_think(text)
    num_opened, num_closed = text.count(THINK_OPEN), text.count(THINK_CLOSE)
    if not num_opened:
        return "no_reasoning" if needs_reasoning else None
    if num_opened > 1 or num_closed > 1:
        return "many_think_tags"
    if not num_closed or text.index(THINK_CLOSE) < text.index(THINK_OPEN):
        return "open_reasoning"
    if not is_blank(text.partition(THINK_OPEN)[0]):
        return "text_before"
    if is_blank(text.rpartition(THINK_CLOSE)[2]):
        return "no_answer"
    return "no_reasoning" if needs_reasoning and is_blank(reasoning_of(text)) else None


@dataclass(frozen=True)
class ReadabilityFilter:
    """What a reasoning must be like.

    Attributes:
        faults: Those of `READABILITY_FAULTS` that are not allowed.
        language: ISO 639-1; its words must have `min_language_share` of all (fault other_language). None: any.
        max_paragraph_chars: Most characters without a line break.
        min_language_share: Least share of the words in one script, and in the language. In [0, 1].

    Raises:
        ValueError: A fault or the language isn't known, or a limit is out of range.
    """

    faults: tuple[str, ...] = READABILITY_FAULTS
    language: str | None = None
    max_paragraph_chars: int = MAX_PARAGRAPH_CHARS
    min_language_share: float = MIN_LANGUAGE_SHARE

    def __post_init__(self) -> None:
        unknown = sorted(set(self.faults) - set(READABILITY_FAULTS))
        if unknown:
            raise ValueError(f"Readability has no faults {unknown}; choose of {', '.join(READABILITY_FAULTS)}.")
        if self.language is not None and self.language not in SCRIPTS_OF_LANGUAGE:
            known = ", ".join(sorted(SCRIPTS_OF_LANGUAGE))
            raise ValueError(f"The language {self.language!r} is not known; choose one of {known}.")
        if self.max_paragraph_chars < 1:
            raise ValueError(f"max_paragraph_chars must be at least 1, got {self.max_paragraph_chars}.")
        if not 0 <= self.min_language_share <= 1:
            raise ValueError(f"min_language_share must be between 0 and 1, got {self.min_language_share}.")

    def fault_of(self, text: str) -> str | None:
        r"""Return the first fault of a completion's reasoning, or None.

        >>> ReadabilityFilter(language="en").fault_of("<think>\n\u6211\u4eec\u9a8c\u7b97\n</think>\n\n42")
        'other_language'
        """
        reasoning = reasoning_of(text)
        found = readability_faults(
            reasoning, max_paragraph_chars=self.max_paragraph_chars, min_language_share=self.min_language_share
        )
        if (
            self.language is not None
            and "no_words" not in found
            and not (reasoning.isascii() and SCRIPTS_OF_LANGUAGE[self.language] == ("Latin",))
            and share_of_language(prose_of(reasoning), self.language) < self.min_language_share
        ):
            found.append("other_language")
        return next((fault for fault in found if fault in self.faults), None)
