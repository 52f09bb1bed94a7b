# SPDX-License-Identifier: Apache-2.0
r"""The filters of `scripts/curate.py`: one table, each a function of one completion.

A filter returns why a completion is dropped, or None. One of the user's own (`--filter file.py:function`) is a
function of the row, and returns whether it stays, or why it doesn't:

    def function(row):  # {"problem": "6 * 7?", "completion": "<think>\n...", "solution": "42", "uuid": ..., ...}
        return row["completion"].count("Wait") < 50
"""

from argparse import Namespace
from collections.abc import Callable
from functools import cache
from pathlib import Path

from open_r1.curation.completions import Row
from open_r1.data.user_code import load_function
from open_r1.rewards.base import THINK_CLOSE, THINK_OPEN
from open_r1.rewards.language_rewards import readability_faults
from open_r1.rewards.prose import SCRIPTS_OF_LANGUAGE, is_blank, prose_of, reasoning_of, share_of_language
from open_r1.rewards.verifier import Verdict

Filter = Callable[[Row, Namespace], str | None]

# Reasons of servers for an answer that is whole; others ("length", "content_filter", "error", ...) say it is not.
WHOLE = ("stop", "eos", "tool_calls", "stop_sequence", "end_turn")
OWN_GENERATIONS = "generations"
_TOLERANCE = 1e-6  # pass rates come as floats, of 32 bits in some files


def close_prefilled_think(text: str) -> str:
    r"""Return a completion with the `<think>` tag that its prompt had already opened.

    >>> close_prefilled_think("6 * 7\n</think>\n\n42")
    '<think>\n6 * 7\n</think>\n\n42'
    """
    return f"{THINK_OPEN}\n{text.lstrip()}" if THINK_CLOSE in text and THINK_OPEN not in text else text


def is_failed(row: Row) -> bool:
    """Return whether no completion came, through no fault of the model's."""
    return row["finish_reason"] == "error" or (row["completion"] is None and row["finish_reason"] is not None)


def is_whole(row: Row, settings: Namespace) -> str | None:
    """Return failed, no_text, truncated, not_finished, open_reasoning, many_think_tags, text_before, no_answer or
    no_reasoning; a finish reason that is null is not held against a completion."""
    text, reason, needs_reasoning = row["completion"], row["finish_reason"], settings.reasoning == "require"
    if is_failed(row):
        return "failed"
    if text is None or is_blank(text):
        return "no_text"
    if reason is not None and reason not in WHOLE:
        return "truncated" if reason == "length" else "not_finished"
    text = close_prefilled_think(text)
    if THINK_OPEN not in text:
        return "no_reasoning" if needs_reasoning else None
    before, _, inside = text.partition(THINK_OPEN)
    if THINK_OPEN in inside or text.count(THINK_CLOSE) > 1:
        return "many_think_tags"
    if THINK_CLOSE not in inside:
        return "open_reasoning"
    if not is_blank(before):
        return "text_before"
    if is_blank(inside.partition(THINK_CLOSE)[2]):
        return "no_answer"
    return "no_reasoning" if needs_reasoning and is_blank(reasoning_of(text)) else None


def is_within(rate: float | None, low: float, high: float) -> str | None:
    """Return too_hard, too_easy, no_pass_rate (None or NaN), or None for a rate within; the bounds belong to it."""
    if rate is None or rate != rate:
        return "no_pass_rate"
    return "too_hard" if rate < low - _TOLERANCE else "too_easy" if rate > high + _TOLERANCE else None


def is_correct(row: Row, settings: Namespace) -> str | None:
    """Return the verdict that isn't right, or for a column of verdicts wrong or no_verdict."""
    if settings.correct_by == "column":
        flag = row["flag"]
        return "no_verdict" if flag is None or flag != flag else "wrong" if flag < settings.correct_min else None
    is_kept = settings.keep_unverifiable and row["verdict"] == Verdict.UNVERIFIABLE
    return None if row["verdict"] == Verdict.RIGHT or is_kept else row["verdict"]


def is_readable(row: Row, settings: Namespace) -> str | None:
    """Return the first of the faults of a reasoning that were named, or other_language.

    DeepSeek-R1 (arXiv 2501.12948, section 2.3.3) drops chains in mixed languages, with long paragraphs or with blocks
    of code; the paper names no limits.
    """
    reasoning, language = reasoning_of(close_prefilled_think(row["completion"])), settings.language
    limits = {"max_paragraph_chars": settings.max_paragraph_chars, "min_language_share": settings.min_language_share}
    found = readability_faults(reasoning, **limits)
    fault = next((fault for fault in found if fault in (settings.readability or ())), None)
    if fault is not None or language is None or "no_words" in found:
        return fault
    if reasoning.isascii() and SCRIPTS_OF_LANGUAGE[language] == ("Latin",):
        return None
    return "other_language" if share_of_language(prose_of(reasoning), language) < settings.min_language_share else None


def is_short(row: Row, settings: Namespace) -> str | None:
    """Return too_long for a completion of more than `max_tokens`."""
    num_tokens = count_tokens(row, settings)
    if num_tokens is None:
        raise ValueError(f"--max_tokens: row {row['input_row']} has no token count: name a --tokenizer")
    return "too_long" if num_tokens > settings.max_tokens else None


def count_tokens(row: Row, settings: Namespace) -> int | None:
    """Return the tokens of a completion by the tokenizer that is named, else by the server; None: nobody counted."""
    return row["num_tokens"] if settings.tokenizer is None else _tokenizer(settings.tokenizer)(row["completion"])


@cache
def _tokenizer(name: str) -> Callable[[str], int]:
    from tokenizers import Tokenizer

    path = Path(name).expanduser()
    try:
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path))
    except Exception as error:  # `tokenizers` raises bare Exceptions for files it can't read
        raise ValueError(f"--tokenizer {name}: {error}") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


# Step of the card -> flags that ask for it (none: it is always taken), and why a completion is dropped.
FILTERS: dict[str, tuple[tuple[str, ...], Filter]] = {
    "not too easy (small model)": (
        ("easy_pass_rate",),
        lambda row, settings: is_within(row["easy_rate"], 0, settings.easy_max),
    ),
    "pass rate (strong model)": (
        ("hard_pass_rate",),
        lambda row, settings: is_within(row["hard_rate"], settings.hard_min, settings.hard_max),
    ),
    "whole": ((), is_whole),
    "correct": (("correct_by",), is_correct),
    "readable": (("readability", "language"), is_readable),
    "short enough": (("max_tokens",), is_short),
}


def asked_filters(settings: Namespace) -> dict[str, Filter]:
    """Return the steps that the flags ask for, the user's own behind the others.

    Raises:
        ValueError: The language isn't known, or a function of the user's can't be loaded.
    """
    if settings.language not in (None, *SCRIPTS_OF_LANGUAGE):
        raise ValueError(f"--language {settings.language!r}: known are {', '.join(sorted(SCRIPTS_OF_LANGUAGE))}")
    asked = {
        step: function
        for step, (flags, function) in FILTERS.items()
        if not flags or any(getattr(settings, flag) not in (None, [], "none", OWN_GENERATIONS) for flag in flags)
    }
    for place in settings.filter or []:
        function = load_function(place, role="filter", setting="--filter")[0]
        asked[f"filter {place}"] = lambda row, settings, function=function: _fault(function(row))
    return asked


def _fault(found: bool | str | None) -> str | None:
    return found if isinstance(found, str) else None if found else "dropped"
