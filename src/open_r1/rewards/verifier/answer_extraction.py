# SPDX-License-Identifier: Apache-2.0
r"""Finds the final answer in a completion, and in a gold that is a whole worked solution.

In this order:
1. only the text after the last `</think>` counts; reasoning that never ends holds no answer but in an answer block;
2. in the last `<answer>` block: its last box, else its last anchored phrase, else all of it;
3. the last box (of a sentence's boxes the last that isn't blank), `\boxed{...}` or `\fbox{...}`, its braces matched by
   counting, or `\boxed 5` up to the end of its formula; several boxes are never merged;
4. the last anchored phrase: "the final answer is ...", "answer: ...", in Chinese too; below a heading "Answer"; behind
   `####` at the start of a line where nothing but a value stands on it (else it is a heading).
A *hedge* is several boxes in one sentence, or joined by "or" or "and": it counts only if all of them say the same.
"""

import re
from dataclasses import dataclass

from open_r1.rewards.base import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

# A longer answer is no answer a verifier could compare, and the cap keeps the search for its end short.
MAX_ANSWER_CHARS = 200_000
_MAX_PHRASE_CHARS = 20_000
_MAX_BOXES_IN_A_HEDGE = 50
_MAX_BLANK_BOXES = 50
_MAX_BOXES_IN_A_BOX = 5
_WORDS_IN_A_BOX = re.compile(r"\\text\s{0,3}\{[^{}]*\}")

_BOX_OPENINGS = (r"\boxed", r"\fbox")
_BOX_OPENING = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")
# A box without braces ends with its formula; one that runs to the end of the text isn't known to be whole.
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)(?:[ \t]{1,3}|(?=\d))([^\s{$][^$\n]{0,200}?)\s{0,3}(?:\$|\\[)\]]|\n)")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_SENTENCE_END = re.compile(
    r"(?<!i\.e)(?<!e\.g)(?<!resp)[.!?](?=[\s$*)\\]|$)|[。！？]|\n\s*\n|\n(?=\s*(?:[-*#>A-Z]|\d+[.)]))"
)
_CONJUNCTION = re.compile(
    r"[\s$*\\()\[\].,;:]*(?:or|and|alternatively|或|或者|和)(?:\s+(?:maybe|else|perhaps))?[\s$*\\()\[\],:]*",
    re.IGNORECASE,
)
_MAX_JOINT_CHARS = 200
_HEADING = r"^[ \t]{0,3}(?:#{1,6}[ \t]{0,3}(?:\*\*)?|\*\*)(?:(?:the[ \t])?final[ \t])?answer:?(?:\*\*)?:?[ \t]{0,3}\n"
_VALUE = r"(?:\$[^$\n]{1,200}\$|(?!\d{1,9}[.)]\s)[-+$\\.\d]\S{0,200}(?<!:))"
_PHRASE = re.compile(
    r"\banswer(?:\*\*)?(?:\s{1,3}is(?:\s{0,3}[:：])?|\s{0,3}[:：=])(?=[\s*$\\(\[\d.+-])"
    r"|答案(?:\*\*)?(?:是|为|為|：|:)(?:：|:)?"
    r"|(?:故选|(?<![不任可])选)(?:[:：]|\s{0,3}(?=\$|(?-i:[A-J])(?![A-Za-z])))"
    r"|\bcorrect\s(?:option|choice)\sis:?(?=\s{1,3}[*(]{0,3}(?-i:[A-J])(?![A-Za-z]))"
    rf"|{_HEADING}|^####[ \t]{{1,3}}(?={_VALUE}[ \t]{{0,3}}$)",
    re.IGNORECASE | re.MULTILINE,
)
# What ends the answer of a phrase: the line, the sentence, or a word that starts the explanation.
_PHRASE_END = re.compile(
    r"\n|[.!?;](?=\s|$)|[。！？；]|．(?!\d)|,?\s+(?:because|since|as|so|which|where|when)\b|，", re.IGNORECASE
)
_FORMULA = r"(?:\$\$.+?\$\$|\$(?:\\.|[^$\\])+\$|\\\(.+?\\\)|\\\[.+?\\\])"
_FORMULAS = re.compile(rf"{_FORMULA}(?:\s{{0,3}}(?:,\s{{0,3}})?(?:,|and|or)\s{{0,3}}{_FORMULA})*", re.DOTALL)
_FILLER = re.compile(r"(?:therefore|thus|hence|simply|just|clearly|then)\b,?\s*", re.IGNORECASE)
# A column of lists that was written as text: ['5'].
_LISTED = re.compile(r"\s{0,3}\[\s{0,3}(['\"])([^'\"]{1,10000})\1\s{0,3}\]\s{0,3}")
_BOLD = re.compile(r"\*\*(?=\S)([^*\n]+)\*\*")


@dataclass(frozen=True)
class Answer:
    """What a completion answers.

    Attributes:
        text: The final answer without its box and tags, or None when there is none.
        others: What further boxes of the same sentence say; all must equal `text`, else it is a hedge.
    """

    text: str | None
    others: tuple[str, ...] = ()


def extract_answer(text: str) -> str | None:
    r"""Return the final answer of a completion, without its box and tags, or None when it gives none.

    >>> extract_answer(r"<think>\n\boxed{3}?\n</think>\n<answer>\nIt is \boxed{\frac{1}{2}}.\n</answer>")
    '\\frac{1}{2}'
    >>> extract_answer(r"Either \boxed{3} or, no, \boxed{4}.")
    '4'
    >>> extract_answer("<think>\nmaybe \\boxed{3}") is None
    True
    """
    return find_answer(text).text


def find_answer(text: str) -> Answer:
    r"""Return the final answer of a completion and what may make it a hedge.

    >>> find_answer(r"It is \boxed{3} or \boxed{4}."), find_answer(r"\boxed{3}. No, \boxed{4}.")
    (Answer(text='4', others=('3',)), Answer(text='4', others=()))
    """
    visible = _visible_text(text)
    block = _last_answer_block(visible)
    if block:
        return _answer_in(block) or Answer(_last_phrase(block) or block)
    if THINK_OPEN in visible:
        visible = visible[: visible.find(THINK_OPEN)]
    return _answer_in(visible) or Answer(_last_phrase(visible))


def extract_gold(gold: str) -> str:
    r"""Return the answer of a gold: of a worked solution its last box, `####` line, answer block or phrase, else all.

    >>> extract_gold("There are 6 + 6 eggs.\n#### 12"), extract_gold(r"so $x = \boxed{2}$."), extract_gold("1,234")
    ('12', '2', '1,234')
    """
    box = _answer_in(gold)
    if box:
        return box.text or ""
    listed = _LISTED.fullmatch(gold)
    if listed:
        return listed.group(2).strip()
    _, marker, after = gold.rpartition("####")
    if marker and after.strip():
        return after.strip()
    return (_last_answer_block(gold) or _last_phrase(gold) or gold).strip()


def _visible_text(text: str) -> str:
    """Return what follows the reasoning."""
    return text[text.rfind(THINK_CLOSE) + len(THINK_CLOSE) :] if THINK_CLOSE in text else text


def _last_answer_block(text: str) -> str | None:
    """Return what the last closed answer block holds, stripped; None without one or when it is blank."""
    end = text.rfind(ANSWER_CLOSE)
    start = text.rfind(ANSWER_OPEN, 0, max(end, 0))
    if end < 0 or start < 0:
        return None
    return text[start + len(ANSWER_OPEN) : end].strip() or None


def _answer_in(text: str) -> Answer | None:
    """Return what the last box holds and the boxes it hedges with; None without a box.

    The text is None where the last box is never closed, or blank like all boxes of its sentence.
    """
    start = _last_opening(text, len(text))
    if start < 0:
        return None
    start, box = _outer_box(text, start)
    for _ in range(_MAX_BLANK_BOXES):
        before = _last_opening(text, start)
        earlier = None if box is None or box[0] or before < 0 else _box_at(text, before)
        if earlier is None or earlier[1] > start or not _is_hedge(text[earlier[1] : start]):
            break
        start, box = before, earlier
    if box is None:
        # A bare \boxed at the very end was cut off as well.
        return Answer(None)
    others: list[str] = []
    for _ in range(_MAX_BOXES_IN_A_HEDGE):
        before = _last_opening(text, start)
        earlier = None if before < 0 else _box_at(text, before)
        if earlier is None or earlier[1] > start or not _is_hedge(text[earlier[1] : start]):
            break
        if earlier[0]:
            others.append(earlier[0])
        start = before
    return Answer(box[0] or None, tuple(others))


def _last_opening(text: str, end: int) -> int:
    return max(text.rfind(opening, 0, end) for opening in _BOX_OPENINGS)


def _box_at(text: str, start: int) -> tuple[str, int] | None:
    """Return what the box at a place holds and where it ends; None where it is never closed."""
    opening = _BOX_OPENING.match(text, start)
    if opening is None:
        bare = _BARE_BOX.match(text, start)
        return (bare.group(1), bare.end(1)) if bare else None
    depth = 1
    for brace in _BRACES.finditer(text, opening.end(), opening.end() + MAX_ANSWER_CHARS):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[opening.end() : brace.start()].strip(), brace.end()
    return None


def _outer_box(text: str, start: int) -> tuple[int, tuple[str, int] | None]:
    r"""Return the box at a place, or the one around it that adds more than words: `\boxed{-\boxed{5}}`."""
    box = _box_at(text, start)
    place = start
    for _ in range(_MAX_BOXES_IN_A_BOX):
        place = _last_opening(text, place)
        around = None if box is None or place < 0 else _box_at(text, place)
        if box is None or around is None or around[1] < box[1]:
            break
        if _WORDS_IN_A_BOX.sub("", around[0].replace(text[start : box[1]], "")).strip():
            start, box = place, around
    return start, box


def _is_hedge(between: str) -> bool:
    """Whether two boxes with this text between them stand in one sentence, or are joined."""
    if _SENTENCE_END.search(between) is None:
        return True
    return len(between) <= _MAX_JOINT_CHARS and _CONJUNCTION.fullmatch(between) is not None


def _last_phrase(text: str) -> str | None:
    """Return the answer behind the last anchored phrase, up to the end of its formula or sentence."""
    ends = [phrase.end() for phrase in _PHRASE.finditer(text)]
    if not ends:
        return None
    tail = text[ends[-1] : ends[-1] + _MAX_PHRASE_CHARS].lstrip(" \t\n:")
    bold = _BOLD.match(tail)
    if bold:
        return bold.group(1).strip(" .") or None
    tail = tail.lstrip(" \t\n*:")
    filler = _FILLER.match(tail)
    tail = tail[filler.end() :] if filler else tail
    formulas = _FORMULAS.match(tail)
    if formulas:
        return formulas.group()
    end = _PHRASE_END.search(tail)
    return tail[: end.start() if end else len(tail)].strip(" *") or None
