# SPDX-License-Identifier: Apache-2.0
r"""Reasoning and answer, in the spellings of public data sets, as one reply.

>>> tagged_reply("<|begin_of_thought|>\n\nTwo and two.\n\n<|end_of_thought|>\n\n"
...              "<|begin_of_solution|>\n\n4\n\n<|end_of_solution|>")
'<think>\nTwo and two.\n</think>\n\n4'
"""

import re

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
THOUGHT_OPEN, THOUGHT_CLOSE = "<|begin_of_thought|>", "<|end_of_thought|>"
SOLUTION_OPEN, SOLUTION_CLOSE = "<|begin_of_solution|>", "<|end_of_solution|>"
_MARKERS = (THOUGHT_OPEN, THOUGHT_CLOSE, SOLUTION_OPEN, SOLUTION_CLOSE)
_MARKS = (THINK_OPEN, THINK_CLOSE, *_MARKERS)
# What QwQ and its students write above the answer, or on the same line before it.
_FINAL_ANSWER = re.compile(
    r"^[ \t#]{0,8}\*{0,2}Final (?:Answer|Solution)(?::?\*{0,2}:?[ \t]{0,8}$|:\*{0,2}[ \t]|\*\*:?[ \t])", re.MULTILINE
)
_BOX = r"\boxed{"


class UnmappableError(ValueError):
    """A row that a layout can't map; its text is the reason, the same for all rows with the same trouble."""


def reply(reasoning: str, answer: str) -> str:
    """Return the turn that SFT learns: the reasoning in think tags, then the answer.

    Raises:
        UnmappableError: One of them is blank, or holds thought tags of its own.
    """
    reasoning, answer = reasoning.strip(), answer.strip()
    if reasoning.startswith(THINK_OPEN) and reasoning.endswith(THINK_CLOSE):  # a column that has its tags already
        reasoning = reasoning[len(THINK_OPEN) : -len(THINK_CLOSE)].strip()
    if not reasoning:
        raise UnmappableError("no reasoning")
    if not answer:
        raise UnmappableError("no answer after the reasoning")
    if any(mark in text for text in (reasoning, answer) for mark in _MARKS):
        raise UnmappableError("thought tags inside the reasoning or the answer")
    return f"{THINK_OPEN}\n{reasoning}\n{THINK_CLOSE}\n\n{answer}"


def is_tagged(text: str) -> bool:
    """Return whether a text has thought tags or markers, whole or not."""
    return any(mark in text for mark in _MARKS)


def tagged_reply(text: str) -> str:
    """Return the reply in a text with think tags or with thought markers.

    The opening think tag may be missing: templates that open it leave it out of the completion.

    Raises:
        UnmappableError: A tag is missing or stands twice, or a part is blank.
    """
    if any(marker in text for marker in _MARKERS):
        return _marked_reply(text)
    head, close, answer = text.partition(THINK_CLOSE)
    if not close:
        raise UnmappableError("the reasoning is not closed" if THINK_OPEN in text else "no thought tags")
    before, _, reasoning = head.rpartition(THINK_OPEN)
    if before.strip():
        raise UnmappableError("text before the reasoning")
    return reply(reasoning, answer)


def _marked_reply(text: str) -> str:
    before, _, rest = text.rpartition(THOUGHT_OPEN)
    reasoning, close, answer = rest.partition(THOUGHT_CLOSE)
    answer = answer.strip()
    has_open, has_close = answer.startswith(SOLUTION_OPEN), answer.endswith(SOLUTION_CLOSE)
    if before.strip() or THOUGHT_OPEN not in text or not close or has_open != has_close:
        raise UnmappableError("thought markers that do not match")
    return reply(reasoning, answer.removeprefix(SOLUTION_OPEN).removesuffix(SOLUTION_CLOSE))


def trace_reply(trace: str, gold: str | None = None) -> str:
    r"""Return the reply in a trace, with or without tags.

    Without tags the answer is what begins at the last heading "Final Answer" with text below it, else the last
    paragraph if it holds a whole box. Where nothing stands before that, or there is neither, all of it is reasoning,
    and the answer is the gold answer in a box, else the last box. Headings at the end with nothing below are left out.

    Args:
        trace: Reasoning that ends in an answer.
        gold: The row's gold answer, None where it has none.

    Raises:
        UnmappableError: There is no answer to find.
    """
    if is_tagged(trace):
        return tagged_reply(trace)
    trace, start = _without_bare_headings(trace.replace("\r\n", "\n"))
    start = _last_paragraph_with_box(trace) if start is None else start
    if start is not None and trace[:start].strip():
        return reply(trace[:start], trace[start:])
    answer = last_box(trace) if gold is None else gold
    if answer is None or not answer.strip():
        raise UnmappableError("a trace without a final answer")
    return reply(trace, answer if _BOX in answer else rf"\boxed{{{answer.strip()}}}")


def _without_bare_headings(trace: str) -> tuple[str, int | None]:
    """Return a trace without headings that end it, and where the last heading that is left begins."""
    end = len(trace)
    for heading in reversed(list(_FINAL_ANSWER.finditer(trace))):
        if trace[heading.end() : end].strip():
            return trace[:end], heading.start()
        end = heading.start()
    return trace[:end], None


def _last_paragraph_with_box(trace: str) -> int | None:
    text = trace.rstrip()
    start = text.rfind("\n\n")
    return start if start >= 0 and last_box(text[start:]) is not None else None


def last_box(text: str) -> str | None:
    r"""Return what the last `\boxed{...}` holds, its braces matched by counting; None where no box is whole.

    >>> last_box(r"so \boxed{1} and then $\boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    """
    end = len(text)
    while (start := text.rfind(_BOX, 0, end)) >= 0:
        depth, position = 1, start + len(_BOX)
        for match in re.finditer(r"\\.|[{}]", text[position:end], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0:
                return text[position : position + match.start()].strip() or None
        end = start
    return None
