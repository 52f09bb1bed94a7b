# SPDX-License-Identifier: Apache-2.0
r"""Whether an answer only repeats a formula of its question: "Simplify $\sqrt{242}$", `\boxed{\sqrt{242}}`.

Mathematics calls the two equal, a task doesn't. A formula is repeated where it has the same tree as a formula of the
question, as one side or step of it, or as an item of its lists, terms and factors in any order. What the gold itself
says is never an echo, nor is a plain number ("0.5" for 1/2) unless the question asks to rewrite numbers.
"""

import re
from collections.abc import Iterator
from functools import lru_cache, reduce

from open_r1.rewards.verifier.answer import read
from open_r1.rewards.verifier.budget import OverBudgetError, limited_to
from open_r1.rewards.verifier.tokens import UnreadableError
from open_r1.rewards.verifier.tree import (
    Add,
    Binary,
    Call,
    Div,
    Mul,
    Neg,
    Node,
    Number,
    Quantity,
    Relation,
    Several,
    is_name,
    parts_of,
    rebuild,
    walk,
)

_MAX_STEPS = 150_000
_MAX_PROMPT_CHARS = 20_000
_MAX_FORMULAS = 100
_MAX_FORMULA_CHARS = 500
_FORMULA = re.compile(
    r"\$\$(.+?)\$\$|\$((?:\\.|[^$\\])+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]"
    r"|(\\begin\{(?:align|equation|gather|cases|array)\*?\}.+?\\end\{(?:align|equation|gather|cases|array)\*?\})",
    re.DOTALL,
)
# Formulas in words: "What is 123 * 456?", "Solve 2x + 1 = 7 for x."
_FUNCTIONS = r"sqrt|sin|cos|tan|log|ln|exp|abs|pi"
_BARE_FORMULA = re.compile(
    rf"(?:(?:\\[a-zA-Z]+|\d[\d,]*(?:\.\d+)?|(?<![A-Za-z])(?:{_FUNCTIONS})(?![A-Za-z])|(?<![A-Za-z])[A-Za-z](?![A-Za-z])"
    r"|[-+*/^=<>()\[\]{}|!%_.\u00d7\u00f7\u00b7\u221a\u2212\u2264\u2265\u2260\u00b2\u00b3])[ ]?){2,200}"
)
# A single letter before or behind is a word: "a 3 + 4 grid".
_BARE_ENDS = re.compile(r"^(?:[aAI] |[,.)\s])+|(?:[\s,.?!(]| [aI])+$")
_REWRITES = re.compile(
    r"\b(?:write|rewrite|express|convert|simplif\w+|reduce|round|lowest terms|simplest)\b"
    r"|\u5316\u7b80|\u8868\u793a|\u5316\u4e3a|\u5316\u6210|\u5199\u6210|\u5199\u51fa",
    re.IGNORECASE,
)
# The answer is one of the formulas of the question.
_CHOOSES = re.compile(
    r"\bwhich (?:one|of|is|are|expression|equation|formula|function|number|statement)\b|\b(?:choose|compare)\b"
    r"|(?-i:\(A\).*\(B\))|\u54ea",
    re.IGNORECASE | re.DOTALL,
)


def is_echo(gold: str, answer: str, prompt: str) -> bool:
    r"""Return whether a right answer is only a formula of the prompt, in another spelling than the gold's.

    >>> is_echo(r"11\sqrt2", r"\sqrt {242}", r"Simplify $\sqrt{242}$."), is_echo("3", "2x + 1 = 7", "Solve 2x+1=7.")
    (True, True)
    >>> is_echo(r"\frac12", "0.5", "Is it 0.3 or 0.5?"), is_echo(r"\frac12", "0.5", "Write 0.5 as a fraction.")
    (False, True)
    """
    try:
        with limited_to(_MAX_STEPS):
            said, wanted = _shape(answer), _shape(gold)
            if said is None or said == wanted or said in _parts(wanted):
                return False
            asked, rewrites = _formulas_of(prompt[:_MAX_PROMPT_CHARS])
            items = said.items if isinstance(said, Several) else (said,)
            own = {part for part in _parts(wanted) if _is_worked(part)}
            return all(_is_asked(item, asked, rewrites=rewrites) and own.isdisjoint(_parts(item)) for item in items)
    except OverBudgetError:
        return False


def _is_asked(said: Node, asked: frozenset[Node], *, rewrites: bool) -> bool:
    """Whether a formula stands in the question and is no answer to it, or each side of it that isn't a name does."""
    sides = [side for side in said.sides if not is_name(side)] if isinstance(said, Relation) else [said]
    is_open = any(map(_is_worked, sides)) or (rewrites and all(map(_is_plain, sides)))
    is_step = isinstance(said, Relation) and set(said.signs) == {"="} and all(side in asked for side in sides)
    return bool(sides) and is_open and (said in asked or (is_step and all(map(_is_worked, sides))))


def _is_plain(node: Node) -> bool:
    """Whether the tree is a number as it is written: 0.5, -3, 1/2, 50%."""
    while isinstance(node, (Neg, Quantity)):
        node = node.part if isinstance(node, Neg) else node.node
    if isinstance(node, Div):
        return isinstance(node.left, Number) and isinstance(node.right, Number)
    return isinstance(node, Number)


def _is_worked(node: Node) -> bool:
    """Whether the tree has an operator, root or function: x + 1, but neither x, nor -3, nor 2/3."""
    return not _is_plain(node) and any(isinstance(part, (Binary, Call)) and not is_name(part) for part in walk(node))


@lru_cache(maxsize=512)
def _formulas_of(prompt: str) -> tuple[frozenset[Node], bool]:
    """Return the formulas of a question with their sides and items, and whether it asks to rewrite a number.

    There are none where the question offers its formulas to choose from.
    """
    if _CHOOSES.search(prompt):
        return frozenset(), False
    texts = [next(filter(None, found.groups())) for found in _FORMULA.finditer(prompt)]
    bare = _FORMULA.sub(" ; ", prompt)
    texts += [_BARE_ENDS.sub("", found.group()) for found in _BARE_FORMULA.finditer(bare)]
    shapes = map(_shape, texts[:_MAX_FORMULAS])
    return frozenset(part for shape in shapes for part in _parts(shape)), _REWRITES.search(prompt) is not None


def _parts(node: Node | None) -> Iterator[Node]:
    """Return a formula, its sides, and the items of lists and systems."""
    if node is not None:
        yield node
        if not isinstance(node, (Binary, Call, Neg)):
            for part in parts_of(node):
                yield from _parts(part)


@lru_cache(maxsize=4_096)
def _shape(text: str) -> Node | None:
    """Return the tree of a formula with terms, factors and sides in one order; None for what can't be read."""
    if len(text) > _MAX_FORMULA_CHARS:
        return None
    try:
        return _sorted(read(text.strip(" .,;?")).node)
    except UnreadableError:
        return None


def _sorted(node: Node) -> Node:
    node = rebuild(node, _sorted)
    if isinstance(node, (Add, Mul)):
        return reduce(type(node), sorted(_operands(node, type(node)), key=repr))
    if isinstance(node, Relation) and set(node.signs) == {"="}:
        return Relation(tuple(sorted(node.sides, key=repr)), node.signs)
    return node


def _operands(node: Node, kind: type[Add] | type[Mul]) -> Iterator[Node]:
    if isinstance(node, kind):
        yield from _operands(node.left, kind)
        yield from _operands(node.right, kind)
    else:
        yield node
