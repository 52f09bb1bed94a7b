# SPDX-License-Identifier: Apache-2.0
r"""Finds the final answer in a completion, and in a gold that is a whole worked solution.

In this order:
1. what a base model adds as the next problem of its prompt (`Question:` at the start of a line) doesn't count;
2. only the text after the last `</think>` counts; reasoning that never ends holds no answer but in an answer block;
3. in the last `<answer>` block: its last box, else its last anchored phrase, else the value of its one sentence, else
   all of it; blocks in one sentence that say different things are a hedge;
4. the last box (of a sentence's boxes the last that isn't blank), `\boxed{...}` or `\fbox{...}`, its braces matched by
   counting, or `\boxed 5` up to the end of its formula, with the sign, percent sign or unit that stands around it;
5. the last anchored phrase: "the final answer is ...", "answer: ...", in Chinese too; below a heading "Answer"; behind
   `####` at the start of a line where nothing but a value stands on it (else it is a heading);
6. the last line, if it is one formula, or bold, or a sentence that states one value ("She has 12 apples.", "Yes.").
Boxes in comments (HTML, TeX, Markdown) and boxes that are denied ("not \boxed{7}") don't count.
A *hedge* is several boxes in one sentence, or joined by "or" or "and": it counts only if all of them say the same, or
if the gold has as many values: boxes that follow one another, or stand in the parts (1), (2), are *joined* to a list.
A gold with such boxes is all of them.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace

from open_r1.rewards.base import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, last_answer_block
from open_r1.rewards.verifier.units import is_unit

# A longer answer is no answer a verifier could compare, and the cap keeps the search for its end short.
_MAX_ANSWER_CHARS = 200_000
_MAX_PHRASE_CHARS = 20_000
_MAX_BOXES_IN_A_SENTENCE = 50
_MAX_BOXES_IN_A_BOX = 5
_WORDS_IN_A_BOX = re.compile(r"\\text\s{0,3}\{[^{}]*\}")

_BOX_OPENINGS = (r"\boxed", r"\fbox")
_BOX_OPENING = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")
# A box without braces ends with its formula; one that runs to the end of the text isn't known to be whole.
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)(?:[ \t]{1,3}|(?=\d))([^\s{$][^$\n]{0,200}?)\s{0,3}(?:\$|\\[)\]]|\n)")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_SENTENCE_END = re.compile(
    r"(?<!i\.e)(?<!e\.g)(?<!resp)[.!?](?=[\s$*)\\]|$)|[。！？]|\n\s*\n"
    r"|\n(?=\s*(?:[-*#>A-Z]|\d+[.)]|[（(](?:[1-9a-h]|[ivIV]{1,4})[)）]))"
)
_CONJUNCTION = re.compile(
    r"[\s$*\\()\[\].,;:]*(?:or|and|alternatively|或|或者|和)(?:\s+(?:maybe|else|perhaps))?[\s$*\\()\[\],:]*",
    re.IGNORECASE,
)
_MAX_JOINT_CHARS = 200
# Nothing but the ends of formulas, lines and items of a list.
_BARE_JOINT = re.compile(r"(?:[\s$*()\[\].,;:&-]|\\(?:[()\[\]\\,;:! ]|q?quad))*")
_OR = re.compile(r"\bor\b|或", re.IGNORECASE)
_AND = re.compile(r"\band\b|[和及]", re.IGNORECASE)
_OPERATOR = re.compile(r"\s*(?::|\\cup(?![a-z]))\s*")
# Between these two the second box follows from the first, repeats it or replaces it.
_STEP = re.compile(
    r"^\s*(?:=|≈)|\\(?:Rightarrow|Longrightarrow|implies|therefore|approx|iff|to)(?![A-Za-z])|[⇒→∴]"
    r"|\b(?:so|thus|hence|therefore|then|which|because|since|gives?|giving|yields?|means?|implies|after|that\sis|i\.e"
    r"|namely|equivalently|approximately|simplif\w{1,6}|maybe|perhaps|alternatively|instead|rather|not|but|correct\w{0,3}"
    r"|wrong|invalid|extraneous|impossible|(?:fail|reject|discard|exclud)\w{0,3})\b"
    r"|所以|因此|故|即|从而|则|于是",
    re.IGNORECASE,
)
_PART_ROWS = (tuple("123456789"), tuple("abcdefgh"), ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii"))
_LABEL = r"([1-9a-h]|[ivIV]{1,4}|[Ⅰ-Ⅷ])"
_LINE_START = r"^[ \t>*#-]{0,8}"
_PART = re.compile(
    rf"(?:{_LINE_START}|[;；。，,.]\s{{0,3}})(?:Part\s{{1,2}})?[（(]{_LABEL}[)）]"
    rf"|{_LINE_START}(?:Part\s{_LABEL}\b|([①-⑨]))",
    re.MULTILINE,
)

_SPACE = r"(?:\s|~|\\[,;:! ]){0,3}"
_MATH_MARK = re.compile(
    r"(?P<dollar>\$\$?)|(?P<open>\\(?:[(\[]|begin\{(?:align|equation|gather)\*?\}))"
    r"|(?P<close>\\(?:[)\]]|end\{(?:align|equation|gather)\*?\}))|\\.",
    re.DOTALL,
)
_MAX_FORMULA_CHARS = 2_000
_MAX_CHARS_BEFORE = 80
_CURRENCY = re.compile(rf"(\\\$|[€£¥₹]){_SPACE}$")
_SIGN = r"([-−–]|\\pm)"
_SIGN_IN_FORMULA = re.compile(
    r"(?:^|[=<>≤≥≈,;&]|\\(?:le|ge|leq|geq|approx|to|implies|Rightarrow|q?quad|\\)"
    rf"|\\text\{{[^{{}}]{{0,40}}(?:[:=]|is|and|or)\s?\}}){_SPACE}{_SIGN}{_SPACE}$"
)
_SIGN_IN_PROSE = re.compile(rf"(?:^|[=\n]|\*\*|[=,:]\s{{1,3}}|(?<![\\A-Za-z])[A-Za-z]{{2,30}}\s{{1,3}}){_SIGN}$")
_OPERAND = re.compile(rf"{_SPACE}(?:[-+*/^_(\dA-Za-z]|\\(?:cdot|times|div|sqrt|[dt]?frac|pi|left)(?![A-Za-z]))")
# A value that a sign or unit can stand at: no list, equation or words.
_SINGLE_VALUE = re.compile(r"(?![A-J]$)(?![A-Za-z\s]{3,}$)(?:[^=<>,;%$]|,(?=\d{3}))+")
_HAS_SIGN_OR_UNIT = re.compile(r"\\(?:text|mathrm|circ|degree|in|cup|pm)(?![a-z])|^[-+−]")
_IS_SUM = re.compile(r"[-+−]")
# What can stand behind it: a percent sign, degrees, or (in a formula) a unit of measurement that ends there.
_UNIT = re.compile(
    rf"{_SPACE}(?:(?P<percent>(?:\$|\\\))?\\?%)"
    rf"|(?P<degrees>\^\s?\{{?\s?\\circ\s?\}}?|\\degree(?![a-z])|°)"
    rf"(?:{_SPACE}(?P<scale>\\(?:text|mathrm)\{{~?\s?[CF]\s?\}}|[CF](?![A-Za-z])))?"
    rf"|(?P<unit>\\(?:text|mathrm|mbox|textrm)\s?\{{(?P<words>[^{{}}]{{1,20}})\}}(?:\s?\^\s?\{{?[23]\}}?)?))"
    rf"(?!{_SPACE}(?:[/^_]|\\(?:cdot|times|text|mathrm|frac)(?![a-z])))"
)
_UNIT_IN_PROSE = re.compile(r"(?:\$|\\\))? ([A-Za-z]{3,12}|[ckm]m|kg)(?![\w^/-]| per)")
_LETTERS = re.compile(r"[^\W\d_]+")
# The x of "x = ": alone on its side, behind the start of a formula, a comma, a word and the like.
_NAME_BEFORE = re.compile(
    r"(?:^|[,;:$(&\n]|\.\s|\\(?:q?quad|\\|text\{[^{}]{0,40}\}|begin\{[a-z]{1,10}\*?\})"
    r"|(?<![\\A-Za-z])[A-Za-z]{2,30}\s|[和且或])"
    rf"{_SPACE}((?:[A-Za-z]|[A-Z]{{2,4}}|\\(?!q?quad)[a-z]{{2,8}})(?:_\{{?\w{{1,5}}\}}?)?'{{0,2}}(?:\(\w{{1,5}}\))?)"
    rf"{_SPACE}&?={_SPACE}$"
)

_HEADING = r"^[ \t]{0,3}(?:#{1,6}[ \t]{0,3}(?:\*\*)?|\*\*)(?:(?:the[ \t])?final[ \t])?answer:?(?:\*\*)?:?[ \t]{0,3}\n"
_LINE_VALUE = r"(?:\$[^$\n]{1,200}\$|(?!\d{1,9}[.)]\s)[-+$\\.\d]\S{0,200}(?<!:))"
_PHRASE = re.compile(
    r"\bans(?:wer)?(?:\*\*|\")?(?:(?=\s\$[^$\n]{1,200}\$\.?$)|\s{1,3}is(?:\s{0,3}[:：])?|\s{0,3}[:：=])(?=[\s*$\\(\[\d.+-])"
    r"|^(?:\*\*)?ans(?:wer)?\.(?:\*\*)?[ \t]|答案(?:\*\*)?(?:是|为|為|：|:|】)(?:：|:)?"
    r"|(?:故选|(?<![不任可])选)(?:[:：]|\s{0,3}(?=\$|(?-i:[A-J])(?![A-Za-z])))"
    r"|\bcorrect\s(?:option|choice)\sis:?(?=\s{1,3}[*(]{0,3}(?-i:[A-J])(?![A-Za-z]))"
    rf"|^(?:\*\*)?(?:result|solution)(?:\*\*)?:(?:\*\*)?[ \t](?={_LINE_VALUE}[ \t]{{0,3}}$)"
    rf"|{_HEADING}|^\*\*final:?\*\*:?[ \t]|^####[ \t]{{1,3}}(?={_LINE_VALUE}[ \t]{{0,3}}$)",
    re.IGNORECASE | re.MULTILINE,
)
# {"answer": 42} or {"answer": "x+1"}, in a code block too.
_JSON_ANSWER = re.compile(
    r"[{,]\s{0,9}\"(?:final_?)?answer\"\s{0,3}:\s{0,3}(\"(?:[^\"\\\n]|\\.){1,500}\"|[^,{}\[\]\"\s]{1,100})\s{0,9}[,}]",
    re.IGNORECASE,
)
# Says as often what an answer has to be like: it counts only before a value, and where nothing else is the answer.
_WEAK_PHRASE = re.compile(
    r"\banswers?(?:\s(?:to|of|for)\s[^.:\n]{1,60}?)?\s(?:is|are|equals|(?:must|should|would|will|has\sto)\sbe)"
    r"(?=[\s*:：]{0,6}(?:[\d$\\([]|[-+−]?\.?\d|(?-i:[A-J])(?![A-Za-z])))",
    re.IGNORECASE,
)
_ANSWERED = re.compile(
    rf"{ANSWER_CLOSE}|{_BOX_OPENING.pattern}\s{{0,3}}[^\s}}]|{_PHRASE.pattern}|{_WEAK_PHRASE.pattern}",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_PROBLEM = re.compile(r"^(?:Problem|Question|Q):", re.MULTILINE)
# What ends the answer of a phrase: the line, the sentence, or a word that starts the explanation.
_PHRASE_END = re.compile(
    r"\n|(?<!\bRs)(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bsq)(?<!\bapprox)\.(?=\s|$)|[!?;](?=\s|$)|[。！？；]|．(?!\d)"
    r"|,?\s+(?:because|since|as|so|which|where|when)\b|，",
    re.IGNORECASE,
)
_NEXT_PART = re.compile(rf"\s{{0,3}}[（(]{_LABEL}[)）]")
# "$18. He has $5" is no formula: nothing but money stands before words, and no formula goes past a blank line.
_MONEY = r"\d[\d,.]{0,30}\s{1,3}[A-Za-z]{2}"
_FORMULA = rf"(?:\$\$.+?\$\$|\$(?!{_MONEY})(?:\\.|[^$\\\n]|\n(?!\s*\n))+\$|\\\(.+?\\\)|\\\[.+?\\\])"
_FORMULAS = re.compile(rf"{_FORMULA}(?:\s{{0,3}}(?:,\s{{0,3}})?(?:,|and|or)\s{{0,3}}{_FORMULA})*", re.DOTALL)
# A column of lists that was written as text: ['5'].
_LISTED = re.compile(r"\s{0,3}\[\s{0,3}(['\"])([^'\"]{1,10000})\1\s{0,3}\]\s{0,3}")
_BOLD = re.compile(r"\*\*(?=\S)([^*\n]+)\*\*")


# A comment that never ends goes to the end.
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|^[ \t]*(?:%|\[(?://|comment)\]:)[^\n]*", re.DOTALL | re.MULTILINE)
_DENIAL = re.compile(
    r"(?:\bnot|n't|\bnever|\brather than|\binstead of)\s{1,3}(?:be\s|equal(?:\sto)?\s)?[\s$*(]{0,4}(?:\\[(\[]\s?)?$",
    re.IGNORECASE,
)
_BLOCK = re.compile(rf"{ANSWER_OPEN}((?:(?!{ANSWER_OPEN}).)*?){ANSWER_CLOSE}", re.DOTALL)
_MAX_BLOCKS = 8

_MAX_LINE_CHARS = 300
_ONE_FORMULA = re.compile(
    r"\$\$\s*[^$\s][^$]*\$\$|\$[^$]+\$|\\\((?:(?!\\\)).)+\\\)|\\\[(?:(?!\\\]).)+\\\]|\*\*[^*\n]*[^*\n:]\*\*"
    r"|\\begin\{((?:align|equation|gather)\*?)\}.+\\end\{\1\}",
    re.DOTALL,
)
# Where the formula of the last lines begins: $$, \[ or an environment, on a line of its own.
_DISPLAY = re.compile(r"\n(?=\$\$\s*[^$\s]|\\\[|\\begin\{(?:align|equation|gather))")
_STATED_VALUE = (
    r"\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)"
    r"|[-+\u2212]?(?:\\?\$|[\u20ac\u00a3\u00a5])?\d[\d,]*(?:[./:]\d+)?(?:\s?[%\u00b0])?"
)
# A verb in the third person or in the past, or behind "to" and the like.
_VERB = (
    r"are|were|have|had|get|got|need|take|took|cost|weigh|pay|paid|earn|sell|sold|made|left|meet|contain|remain|read|eat"
    r"|ate|buy|bought|spend|spent|save|run|ran|win|won|lost|give|gave|drove|walk|(?:to|will|must|can)\s[a-z]{2,12}"
    r"|(?!(?:this|as|plus|minus|times|less|pages|parts|numbers|equations|questions|exercises)\s|makes\s\d)[a-z]{0,12}(?:s|ed)"
)
# No digit, comma or clause before the value, which is the only one; or only arithmetic.
_SENTENCE = re.compile(
    rf"(?:(?:so|thus|hence|therefore|finally)\b,?\s)?"
    rf"(?:[^.,;:!?=<>\d]{{1,120}}?\s(?:{_VERB})\s"
    rf"(?:(?:him|her|them|us)\s)?(?:(?:at|in|on|to|by|a|(?:up\s)?with|equal\sto|exactly|only|(?:an?|the)\s(?:[a-z]+\s){{1,2}}of)\s)?|[A-Za-z]+\s[a-z]{{2,}}\s[^,.;!?<>$\\=]{{0,120}}\d\)?\s?=\s?)"
    rf"((?:[a-zA-Z]\s?[=<>\u2264\u2265]\s?)?(?:{_STATED_VALUE}))((?:\s[A-Za-z\u00b0'-]+(?:\^[23])?){{0,8}})[.!]?"
    rf"|(?:答|故|所以|因此|综上)[^\d$\\。；;不或约=<>]{{0,60}}({_STATED_VALUE})([\u4e00-\u9fff]{{0,12}})[。.!]?",
    re.IGNORECASE,
)
_SO = r"(?:(?:and\s)?(?:so|thus|hence|therefore|finally|consequently)\b,?\s)"
# "Therefore $x \geq 5$ is the solution", "It follows that x is 5" as a formula.
_CONCLUSION = re.compile(
    rf"{_SO}?({_STATED_VALUE})\sis\s(?:the|our)\s(?:\w+\s)?(?:solution|answer|result)[.!]?"
    rf"|(?:{_SO}|{_SO}?(?:it\sfollows|we\s(?:conclude|find|get|obtain)|this\s(?:gives|yields|means))(?:\sthat)?\s)"
    r"(\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\))[.!]?"
    rf"|{_SO}?the\s(?:(?!not|never|first|second|before|after|next|other)[a-z]+\s){{1,4}}is\s((?-i:[A-Z])[a-z]{{2,20}})[.!]?",
    re.IGNORECASE,
)
# The one bold value of the last line, which may close a longer sentence.
_ONE_BOLD = re.compile(
    r"(?!.*\b(?:not|n't|never|or|maybe)\W{0,3}\*\*)[^*\n]*\*\*([^*\n]{1,100}(?<!:))\*\*[^*\d\n]{0,40}"
)
_BEHIND_NOUN = re.compile(
    r"\s(?:in|of|to|for|on|at|from|left|remaining|altogether|now|each|long|high|wide|old|tall)\b.*"
)
_UNSURE = re.compile(
    r"\b(?:not|never|no|if|unless|or|maybe|perhaps|might|may|could|would|should|about|approximately|least|most|than|which"
    r"|because|since|suppose|assume|case|step|when|where|wrong|first|then)\b|n't",
    re.IGNORECASE,
)
_PARTS_LINE = re.compile(r"\(?[1ai]\)\s?\**[^\s*(].{0,200}?[\s;,]\(?(?:[2b]|ii)\)\s?\**[^\s*(]")
_ENDS = (".", "!", "。", "**")
_SPOKEN = re.compile(
    rf"(?:yes|no|true|false)(?:[,;] [^.?!\n]{{1,60}})?[.!]?"
    rf"|{_SO}?(?:the\s)?(?:correct\s)?(?:option\s|choice\s|answer\s)?"
    r"\(?((?-i:[A-J]))\)?(?:\sis\s(?:the\s)?(?:correct|right)(?:\s(?:answer|choice|option))?)?[.!]?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """What a completion answers.

    Attributes:
        text: The final answer without its box and tags, or None when there is none.
        others: What further boxes of the same sentence say; all must equal `text`, else it is a hedge.
        joined: All boxes of an answer that has several, as one list: `1, -2` or `(1) 2; (2) 3`.
    """

    text: str | None
    others: tuple[str, ...] = ()
    joined: str | None = None


@dataclass(frozen=True)
class _Box:
    """What a box says, and the characters that it and its sign and unit take."""

    start: int
    end: int
    text: str


def extract_answer(text: str) -> str | None:
    r"""Return the final answer of a completion, without its box and tags, or None when it gives none.

    >>> extract_answer(r"<think>\n\boxed{3}?\n</think>\n<answer>\nIt is $-\boxed{\frac{1}{2}}$.\n</answer>")
    '-\\frac{1}{2}'
    >>> extract_answer(r"Either \boxed{3} or, no, \boxed{4}.")
    '4'
    >>> extract_answer("<think>\nmaybe \\boxed{3}") is None
    True
    """
    return find_answer(text).text


def find_answer(text: str) -> Answer:
    r"""Return the final answer of a completion and what may make it a hedge or a list.

    >>> find_answer(r"It is $\boxed{3}$ and $\boxed{4}$.")
    Answer(text='4', others=('3',), joined='3, 4')
    >>> find_answer(r"\boxed{3}. No, \boxed{4}.")
    Answer(text='4', others=(), joined=None)
    """
    # What follows the reasoning.
    visible = _without_next_problem(text).rpartition(THINK_CLOSE)[2]
    if any(mark in visible for mark in ("%", "<!--", "[//]:", "[comment]:")):
        visible = _COMMENT.sub("", visible)
    visible = _without_denied_boxes(visible)
    block = last_answer_block(visible)
    if block:
        answer = _answer_of_block(block)
        unequal = [other for other in map(_answer_of_block, _blocks_before(visible)) if other.text != answer.text]
        others = (*answer.others, *(other.text for other in unequal if other.text))
        return replace(answer, others=others, joined=None if unequal else answer.joined)
    visible = visible.partition(THINK_OPEN)[0]
    return _boxed_answer(visible) or Answer(_last_phrase(visible) or _last_line(visible))


def _without_denied_boxes(text: str) -> str:
    r"""Return the text without the `\boxed` of "not \boxed{7}"."""
    for box in [*_BOX_OPENING.finditer(text)][-_MAX_BOXES_IN_A_SENTENCE:][::-1]:
        if _DENIAL.search(text[max(0, box.start() - _MAX_CHARS_BEFORE) : box.start()]):
            text = text[: box.start()] + text[box.end() - 1 :]
    return text


def _blocks_before(text: str) -> list[str]:
    """Return the blocks that stand in one sentence with the last one, or right before it."""
    blocks = list(_BLOCK.finditer(text))[-_MAX_BLOCKS:] if text.count(ANSWER_OPEN) > 1 else []
    places = range(len(blocks) - 1, 0, -1)
    is_joined = (_is_hedge(text[blocks[place - 1].end() : blocks[place].start()]) for place in places)
    return [
        blocks[place - 1].group(1).strip()
        for place in itertools.compress(places, itertools.takewhile(bool, is_joined))
    ]


def _answer_of_block(block: str) -> Answer:
    return _boxed_answer(block) or Answer(_last_phrase(block) or _value_of_sentence(block) or block)


def _last_line(text: str) -> str | None:
    """Return the last line if it is one formula or bold, or the one value that its sentence states."""
    tail = text.rstrip()[-_MAX_PHRASE_CHARS:]
    line = tail.rpartition("\n")[2].strip()
    starts = [found.end() for found in _DISPLAY.finditer(f"\n{tail}")]
    for part in (tail[starts[-1] - 1 :] if starts else "", line):
        if _ONE_FORMULA.fullmatch(part.strip(" .")):
            return part.strip(" .")
    if _PARTS_LINE.match(line):
        return line.replace("**", "")
    spoken = _SPOKEN.fullmatch(line)
    if spoken:
        return spoken[1] or line
    return _value_of_sentence(line) if line.endswith(_ENDS) else None


def _value_of_sentence(text: str) -> str | None:
    """Return the value in "She has 12 apples.", with its noun or unit; None for other texts."""
    if len(text) > _MAX_LINE_CHARS or "\n" in text:
        return None
    marked = _ONE_BOLD.fullmatch(text) or _CONCLUSION.fullmatch(text)
    if marked:
        return None if _UNSURE.search(text, marked.end(marked.lastindex or 1)) else marked[marked.lastindex or 1]
    found = _SENTENCE.fullmatch(text)
    if found is None or _UNSURE.search(text):
        return None
    value, noun = filter(lambda group: group is not None, found.groups())
    return value + _BEHIND_NOUN.sub("", noun)


def extract_gold(gold: str) -> str:
    r"""Return the answer of a gold: of a worked solution its boxes, `####` line, answer block or phrase, else all.

    >>> extract_gold("There are 6 + 6 eggs.\n#### 12"), extract_gold(r"so $x = \boxed{2}$."), extract_gold("1,234")
    ('12', '2', '1,234')
    >>> extract_gold(r"$x = \boxed{1}$ and $x = -\boxed{2}$."), extract_gold(r"$k = \boxed{45}, n = \boxed{2}$")
    ('1, -2', 'k=45, n=2')
    """
    boxed = _boxed_answer(gold)
    if boxed:
        return boxed.joined or boxed.text or ""
    listed = _LISTED.fullmatch(gold)
    if listed:
        return listed.group(2).strip()
    _, marker, after = gold.rpartition("####")
    if marker and after.strip():
        return after.strip()
    return (last_answer_block(gold) or _last_phrase(gold) or gold).strip()


def _without_next_problem(text: str) -> str:
    """Return the text up to the problem that a base model makes up once it has answered."""
    if _NEXT_PROBLEM.search(text) is None or (THINK_OPEN in text and THINK_CLOSE not in text):
        return text
    answered = _ANSWERED.search(text, text.find(THINK_CLOSE) + 1)
    following = _NEXT_PROBLEM.search(text, answered.end()) if answered else None
    return text[: following.start()] if following else text


def _boxed_answer(text: str) -> Answer | None:
    """Return what the last box and those that belong to it hold; None without a box.

    The text is None where the last box is never closed, or blank like all boxes of its sentence.
    """
    start = _last_opening(text, len(text))
    if start < 0:
        return None
    last = _outer_box(text, start)
    last = last and _with_sign_and_unit(text, last)
    row = [box for box in [last, *_boxes_before(text, last, _is_hedge)] if box.text] if last else []
    if not row:
        return Answer(None)
    joined = _join_parts(text, row[0]) or _join_list(text, row[0])
    return Answer(row[0].text, tuple(box.text for box in row[1:]), joined)


def _last_opening(text: str, end: int) -> int:
    return max(text.rfind(opening, 0, end) for opening in _BOX_OPENINGS)


def _box_at(text: str, start: int) -> _Box | None:
    """Return the box at a place; None where it is never closed."""
    opening = _BOX_OPENING.match(text, start)
    if opening is None:
        # NOTE: a bare \boxed at the very end was cut off as well.
        bare = _BARE_BOX.match(text, start)
        return _Box(start, bare.end(1), bare.group(1)) if bare else None
    depth = 1
    for brace in _BRACES.finditer(text, opening.end(), opening.end() + _MAX_ANSWER_CHARS):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return _Box(start, brace.end(), text[opening.end() : brace.start()].strip())
    return None


def _outer_box(text: str, start: int) -> _Box | None:
    r"""Return the box at a place, or the one around it that adds more than words: `\boxed{-\boxed{5}}`."""
    box = _box_at(text, start)
    for _ in range(_MAX_BOXES_IN_A_BOX):
        start = _last_opening(text, start)
        around = None if box is None or start < 0 else _box_at(text, start)
        if box is None or around is None or around.end < box.end:
            break
        if _WORDS_IN_A_BOX.sub("", around.text.replace(text[box.start : box.end], "")).strip():
            box = around
    return box


def _boxes_before(text: str, box: _Box, belongs: Callable[[str], bool]) -> list[_Box]:
    """Return the boxes before one, the nearest first, as long as the text between two says that they belong to it."""
    boxes: list[_Box] = []
    for _ in range(_MAX_BOXES_IN_A_SENTENCE):
        start = _last_opening(text, box.start)
        earlier = None if start < 0 else _box_at(text, start)
        earlier = earlier and _with_sign_and_unit(text, earlier)
        if earlier is None or earlier.end > box.start or not belongs(text[earlier.end : box.start]):
            break
        boxes.append(earlier)
        box = earlier
    return boxes


def _is_hedge(between: str) -> bool:
    """Whether two boxes with this text between them stand in one sentence, or are joined."""
    if _SENTENCE_END.search(between) is None:
        return True
    return len(between) <= _MAX_JOINT_CHARS and _CONJUNCTION.fullmatch(between) is not None


def _is_list(between: str) -> bool:
    """Whether two boxes with this text between them may be items of one list."""
    if len(between) > _MAX_JOINT_CHARS or _STEP.search(between):
        return False
    return _is_hedge(between) or _BARE_JOINT.fullmatch(between) is not None


def _join_list(text: str, last: _Box) -> str | None:
    """Return the boxes of a list as its text, with the names that stand before them where those differ."""
    boxes = [last, *_boxes_before(text, last, lambda between: _is_list(_without_name(between)))][::-1]
    joints = [_without_name(text[box.end : following.start]) for box, following in itertools.pairwise(boxes)]
    boxes = [box for box in boxes if box.text]
    names = [_name_before(text, box) for box in boxes]
    has_names = None not in names and len(set(names)) == len(names)
    items = [f"{name}={box.text}" if has_names else box.text for name, box in zip(names, boxes, strict=True)]
    separator = _separator(joints)
    return separator.join(items) if separator and len(set(items)) > 1 else None


def _separator(joints: list[str]) -> str | None:
    """Return what stands between the items of a list, or None where nothing says that it is one."""
    operator = _OPERATOR.fullmatch(joints[0]) if joints else None
    if operator:
        return operator.group()
    if any(map(_OR.search, joints)):
        return r" \text{ or } "
    return ", " if any(_AND.search(joint) or _BARE_JOINT.fullmatch(joint) for joint in joints) else None


def _name_before(text: str, box: _Box) -> str | None:
    """Return the `x` of `x = ` before a box."""
    found = _NAME_BEFORE.search(text[max(0, box.start - _MAX_CHARS_BEFORE) : box.start])
    return found.group(1) if found else None


def _without_name(between: str) -> str:
    """Return the text between two boxes without the `x = ` of the second."""
    found = _NAME_BEFORE.search(between[-_MAX_CHARS_BEFORE:])
    return between[: found.start(1) - len(found.string)] if found else between


def _join_parts(text: str, last: _Box) -> str | None:
    """Return the boxes of the parts (1), (2), ... as `(1) 2; (2) 3`; None where a part has none."""
    if _last_opening(text, last.start) < 0:
        return None
    marks = [(mark, _label_of(mark)) for mark in _PART.finditer(text, 0, last.start)]
    row = next((row for row in _PART_ROWS if marks and marks[-1][1] in row), ())
    marks = [(mark, label) for mark, label in marks if label in row]
    wanted = row[: row.index(marks[-1][1]) + 1] if marks else ()
    marks = marks[-len(wanted) :]
    if len(wanted) < 2 or tuple(label for _, label in marks) != wanted:
        return None
    ends = [*(mark.start() for mark, _ in marks[1:]), len(text)]
    values = [_value_of_part(text[mark.end() : end]) for (mark, _), end in zip(marks, ends, strict=True)]
    if None in values:
        return None
    return "; ".join(f"({label}) {value}" for label, value in zip(wanted, values, strict=True))


def _value_of_part(text: str) -> str | None:
    """Return what the boxes of a part say, or None where it has none, or several that are no list."""
    part = _boxed_answer(text)
    if part is None or (part.joined is None and _BOX_OPENING.search(text, 0, _last_opening(text, len(text)))):
        return None
    return part.joined or part.text


def _label_of(mark: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", next(filter(None, mark.groups()))).lower()


def _with_sign_and_unit(text: str, box: _Box) -> _Box:
    r"""Return the box with the sign, currency and unit that stand around it: `$-\boxed{12}$`, `\boxed{12}\%`."""
    if not _SINGLE_VALUE.fullmatch(box.text) or _HAS_SIGN_OR_UNIT.search(box.text):
        return box
    formula = _formula_before(text, box.start)
    has_digit = any(map(str.isdigit, box.text))
    unit = _unit_behind(text, box.end, takes_unit=formula is not None and has_digit)
    word = _UNIT_IN_PROSE.match(text, box.end) if has_digit and not unit.text else None
    if word and is_unit(word[1], is_behind_number=True):
        unit = _Box(word.start(), word.end(), f" {word[1]}")
    before = text[max(0, box.start - _MAX_CHARS_BEFORE) : box.start] if formula is None else formula
    currency = _CURRENCY.search(before)
    end = currency.start() if currency else len(before)
    sign = (_SIGN_IN_PROSE if formula is None else _SIGN_IN_FORMULA).search(before, 0, end)
    value = f"{currency.group(1) if currency else ''}{box.text}{unit.text}"
    if sign is not None and (formula is None or not _OPERAND.match(text, unit.end)):
        end = sign.start(1)
        value = f"({value})" if _IS_SUM.search(value) else value
        value = (r"\pm " if sign.group(1) == r"\pm" else "-") + value
    return _Box(box.start - len(before) + end, unit.end, value)


def _formula_before(text: str, start: int) -> str | None:
    """Return what stands before a place in the formula around it, or None where it stands in no formula."""
    head = text[max(0, start - _MAX_FORMULA_CHARS) : start]
    head = head[head.rfind("\n\n") + 1 :]
    is_inside, begin = False, 0
    for mark in _MATH_MARK.finditer(head):
        if mark["dollar"] or mark["open"] or mark["close"]:
            is_inside = not is_inside if mark["dollar"] else bool(mark["open"])
            begin = mark.end()
    return head[begin:][-_MAX_CHARS_BEFORE:] if is_inside else None


def _unit_behind(text: str, start: int, *, takes_unit: bool) -> _Box:
    """Return the percent sign, degrees or unit (if it takes one) that begins at a place; else a blank."""
    found = _UNIT.match(text, start)
    words = _LETTERS.findall(found["words"] or "") if found else []
    if found is None or (
        found["unit"] and not (takes_unit and words and all(is_unit(word, is_behind_number=True) for word in words))
    ):
        return _Box(start, start, "")
    unit = r"\%" if found["percent"] else found["unit"] or rf"^\circ{found['scale'] or ''}"
    return _Box(start, found.end(), unit)


def _last_phrase(text: str) -> str | None:
    """Return the answer behind the last anchored phrase, up to the end of its formula or sentence."""
    *_, found = [None, *_JSON_ANSWER.finditer(text)]
    if found is not None and _PHRASE.search(text, found.end()) is None:
        return found[1].strip('"').replace("\\\\", "\\")
    ends = [phrase.end() for phrase in _PHRASE.finditer(text)] or [end.end() for end in _WEAK_PHRASE.finditer(text)]
    if not ends:
        return None
    tail = text[ends[-1] : ends[-1] + _MAX_PHRASE_CHARS].lstrip(" \t\n:")
    bold = _BOLD.match(tail)
    if bold:
        return bold.group(1).strip(" .") or None
    tail = tail.lstrip(" \t\n*:")
    formulas = _FORMULAS.match(tail)
    if formulas:
        return formulas.group()
    has_parts = _NEXT_PART.match(tail) is not None
    ends = (end for end in _PHRASE_END.finditer(tail) if not (has_parts and _NEXT_PART.match(tail, end.end())))
    end = next(ends, None)
    found = tail[: end.start() if end else len(tail)].strip(" *")
    return _value_of_sentence(found) or found or None
