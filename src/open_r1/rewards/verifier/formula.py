# SPDX-License-Identifier: Apache-2.0
r"""Reads an answer in LaTeX or plain text as a tree of tuples `(kind, ...)`, in linear time.

    number value | symbol name | constant pi, e, i, oo | neg x | add x y | mul x y | div x y | pow x y | call name args
    pm x y sign (x may be None) | chain (x, relation, y, ...) | set items | both items ("and") | list items
    bracket opening closing items | cup x y | cap x y | setminus x y | matrix rows | word name | such_that x condition

A run of digits is one number (`x^12`, `\sqrt12`) except after `\frac` (`\frac12`); `1\frac{1}{2}` is a mixed number;
`1/2x` is (1/2)x; `\sin 2x \cos x` is sin(2x) cos(x).
"""

from fractions import Fraction
from typing import Any

from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.operands import Operands
from open_r1.rewards.verifier.tokens import Token, UnreadableError
from open_r1.rewards.verifier.vocabulary import ACCENTS, ALL_FUNCTIONS, CONSTANTS, FENCES, GREEK, RELATIONS, SEPARATORS

_LONG_CHAIN = 12
_MAX_POSTFIXES = 10
# Parts of a union, plus-minus signs of a sum: both nest as deep as they are long.
_MAX_CHAIN = 100
# A column written as a row: (1, 2)^T.
_TRANSPOSED = (("symbol", "T"), ("symbol", "top"))
_STARTS_OF_FACTORS = (
    ALL_FUNCTIONS | ACCENTS | GREEK | CONSTANTS.keys() | FENCES.keys() | {"frac", "sqrt", "binom", "cis", "emptyset"}
)


def parse(tokens: list[Token]) -> Node:
    r"""Return the tree of the tokens.

    >>> from open_r1.rewards.verifier.tokens import tokenize
    >>> parse(tokenize(r"\frac12 + x"))
    ('add', ('div', ('number', Fraction(1, 1)), ('number', Fraction(2, 1))), ('symbol', 'x'))
    >>> parse(tokenize("1, 2"))
    ('list', (('number', Fraction(1, 1)), ('number', Fraction(2, 1))))

    Raises:
        UnreadableError: The tokens are no formula of the grammar.
    """
    parser = _Parser(tokens)
    tree = parser.items()
    parser.expect_end()
    return tree


class _Parser(Operands):
    """A recursive descent over the tokens, from the loosest to the tightest binding."""

    def items(self) -> Node:
        """Read relations separated by commas, "and", "or"."""
        items, joints = [self.relation()], set()
        while self.here.text in SEPARATORS and self.here.kind != "word":
            while self.here.text in SEPARATORS and self.here.kind != "word":
                joints.add(self.advance().text)
            items.append(self.relation())
        if len(items) == 1:
            return items[0]
        if "lor" in joints:
            return ("set", tuple(items))
        return ("both", tuple(items)) if "land" in joints else ("list", tuple(items))

    def relation(self) -> Node:
        parts: list[Any] = [self.union()]
        while self.here.kind in ("sign", "command") and self.here.text in RELATIONS:
            parts += [self.advance().text, self.union()]
        if self.at("pmod"):
            self.advance()
            parts += ["mod", self.argument()]
        return parts[0] if len(parts) == 1 else ("chain", tuple(parts))

    def union(self) -> Node:
        left, num_parts = self.sum(), 1
        while self.at("cup", "cap", "setminus"):
            left = (self.advance().text, left, self.sum())
            num_parts += 1
            if num_parts > _MAX_CHAIN:
                raise UnreadableError("a union of too many parts")
        return left

    def sum(self) -> Node:
        left, terms, num_both = self.signed(), 1, 0
        while self.at("+", "-", "pm", "mp"):
            sign = self.advance().text
            terms += 1
            num_both += sign in ("pm", "mp")
            if num_both > _MAX_CHAIN:
                raise UnreadableError("too many plus-minus signs")
            right = self.product()
            left = {"+": ("add", left, right), "-": ("add", left, ("neg", right))}.get(sign, ("pm", left, right, sign))
        return _balance(left, "add") if terms > _LONG_CHAIN else left

    def signed(self) -> Node:
        if not self.at("+", "-", "pm", "mp"):
            return self.product()
        is_negative, both = False, ""
        while self.at("+", "-", "pm", "mp"):
            sign = self.advance().text
            is_negative ^= sign == "-"
            both = sign if sign in ("pm", "mp") else both
        tree = self.product()
        tree = _multiply("mul", _MINUS_ONE, tree) if is_negative and tree[0] == "matrix" else tree
        tree = ("neg", tree) if is_negative and tree[0] != "matrix" else tree
        return ("pm", None, tree, both) if both else tree

    def product(self) -> Node:
        left, factors = self.power(), 1
        while True:
            factors += 1
            if self.at("*", "/"):
                sign = self.advance().text
                negative = False
                while self.at("-", "+"):
                    negative ^= self.advance().text == "-"
                right = self.power()
                left = _multiply("div" if sign == "/" else "mul", left, ("neg", right) if negative else right)
            elif self.starts_factor():
                left = _multiply("mul", left, self.power())
            else:
                return _balance(left, "mul") if factors > _LONG_CHAIN else left

    def starts_factor(self) -> bool:
        """Whether the next token multiplies what stands before it without a sign."""
        token = self.here
        if token.kind == "number":
            # 5!5! and 2^{3}5^{2} are products, "1 2" isn't.
            return self.place > 0 and self.tokens[self.place - 1].text in ("!", "}")
        if token.kind == "letter":
            return True
        if token.kind == "sign":
            return token.text in ("(", "[", "{") or (token.text == "|" and not self.open_bars)
        if token.kind == "command":
            return token.text in _STARTS_OF_FACTORS or token.text.startswith(("begin:", "set:", "set{", "langle"))
        return False

    def power(self) -> Node:
        """Read a factor with its exponent, factorials, percent and degree signs."""
        base = self.atom()
        for _ in range(_MAX_POSTFIXES):
            if self.at("^"):
                self.advance()
                base = self.exponent(base)
            elif self.at("!"):
                self.advance()
                is_double = self.at("!")
                if is_double:
                    self.advance()
                base = ("call", "double_factorial" if is_double else "factorial", (base,))
            elif self.at("%"):
                self.advance()
                base = ("div", base, ("number", Fraction(100)))
            elif self.at("degree"):
                self.advance()
                base = ("degrees", base)
            else:
                return base
        raise UnreadableError("too many signs behind a factor")

    def exponent(self, base: Node) -> Node:
        if self.at("circ"):
            self.advance()
            return ("degrees", base)
        if self.at("{"):
            following = self.tokens[self.place + 1 : self.place + 3]
            if [token.text for token in following] == ["circ", "}"]:
                self.place += 2
                self.advance()
                return ("degrees", base)
        signs = 0
        while self.at("-", "+"):
            signs += self.advance().text == "-"
        power = self.atom() if self.at("{", "(") or self.here.kind != "command" else self.power()
        if self.at("^"):
            self.advance()
            self.go_deeper()
            power = self.exponent(power)
            self.depth -= 1
        if base[0] in ("bracket", "matrix") and power in _TRANSPOSED:
            return _transpose(base) if base[0] == "matrix" else base
        return ("pow", base, ("neg", power) if signs % 2 else power)


def _multiply(kind: str, left: Node, right: Node) -> Node:
    """Return a product or quotient: of a number and a matrix entry by entry, of a point's name and place the place."""
    if kind == "mul" and right[0] == "matrix" and left[0] != "matrix":
        return ("matrix", tuple(tuple(("mul", left, entry) for entry in row) for row in right[1]))
    # A(1, 2) is a point.
    is_label = kind == "mul" and left[0] == "symbol" and left[1].isupper() and right[0] == "bracket"
    return right if is_label else (kind, left, right)


def _transpose(matrix: Node) -> Node:
    if len({len(row) for row in matrix[1]}) != 1:
        raise UnreadableError("rows of different lengths")
    return ("matrix", tuple(zip(*matrix[1], strict=True)))


def _balance(tree: Node, kind: str) -> Node:
    """Return a long sum or product as a tree of little depth."""
    parts: list[Node] = []
    while tree[0] == kind or (kind == "mul" and tree[0] == "div"):
        parts.append(("div", _ONE, tree[2]) if tree[0] == "div" else tree[2])
        tree = tree[1]
    parts.append(tree)
    parts.reverse()
    while len(parts) > 1:
        pairs = [(kind, *parts[place : place + 2]) for place in range(0, len(parts) - 1, 2)]
        parts = pairs + (parts[-1:] if len(parts) % 2 else [])
    return parts[0]


_ONE: Node = ("number", Fraction(1))
_MINUS_ONE: Node = ("number", Fraction(-1))
