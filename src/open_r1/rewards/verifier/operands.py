# SPDX-License-Identifier: Apache-2.0
"""What stands between the operators of a formula: numbers, letters, brackets, functions, collections."""

import re
from abc import ABC, abstractmethod
from fractions import Fraction

from open_r1.rewards.verifier.cursor import Cursor, Node
from open_r1.rewards.verifier.systems import read_rows
from open_r1.rewards.verifier.tokens import END, Token, UnreadableError
from open_r1.rewards.verifier.vocabulary import (
    ACCENTS,
    ALL_FUNCTIONS,
    CONSTANTS,
    DOTS,
    FENCES,
    FUNCTIONS,
    GREEK,
    LISTED_FUNCTIONS,
)

MAX_DEPTH = 40
_DIFFERENTIALS = (("symbol", "d"), ("symbol", "partial"))
_SIGN_OF_SET = re.compile(r"[\^_]\{?([+*-])\}?")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class Operands(Cursor, ABC):
    """Reads operands; the operators around them are left to `formula`."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.depth = 0
        self.open_bars = 0

    @abstractmethod
    def items(self) -> Node:
        """Read relations separated by commas, "and", "or"."""

    @abstractmethod
    def sum(self) -> Node:
        """Read a formula."""

    @abstractmethod
    def power(self) -> Node:
        """Read a factor with its exponent."""

    @abstractmethod
    def exponent(self, base: Node) -> Node:
        """Read what stands behind a caret."""

    @abstractmethod
    def starts_factor(self) -> bool:
        """Whether the next token multiplies what stands before it without a sign."""

    def go_deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError("nested too deeply")

    def atom(self) -> Node:
        """Read what has no operator in it, or brackets around what has."""
        self.go_deeper()
        tree = self.innermost()
        self.depth -= 1
        return tree

    def innermost(self) -> Node:
        token = self.here
        if token.kind == "number":
            return self.number()
        if token.kind == "letter":
            return self.letter()
        if token.kind == "word":
            return ("word", self.advance().text)
        if token.kind == "sign":
            return self.bracketed()
        if token.kind == "command":
            return self.command()
        raise UnreadableError("the formula ends early")

    def letter(self) -> Node:
        is_member = self.place > 0 and self.tokens[self.place - 1].text == "in"
        name = self.advance().text
        if is_member and name in ("N", "Z", "Q", "R"):
            return self.set_of_numbers(f"set:{name}")
        is_function = name in ("f", "g", "h")
        mark = self.mark_of_function() if is_function else ""
        if mark or (is_function and self.at("(")) or self.at_definition():
            return ("call", name + mark, _arguments(self.bracketed()))
        if self.at("_", "'"):
            return ("symbol", name + self.subscript())
        if name in ("e", "i"):
            return ("constant", name)
        return (name == "P" and self.probability(need_equation=True)) or ("symbol", name)

    def at_definition(self) -> bool:
        """Whether a letter names a function, as in "P(x) = x^2"."""
        following = self.tokens[self.place : self.place + 4]
        return (
            len(following) == 4 and [token.text for token in following[::2]] == ["(", ")"] and following[3].text == "="
        )

    def subscript(self) -> str:
        """Return the subscript and primes behind a letter as they are written."""
        written = ""
        while self.at("_", "'"):
            sign = self.advance().text
            if sign == "_":
                whole = self.here.kind == "number"
                tokens = [self.advance()] if whole else self.argument_tokens()
                sign += "".join(token.text for token in tokens)
            written += sign
        return written

    def argument(self) -> Node:
        """Read a LaTeX argument as a formula."""
        if self.at("{"):
            return self.bracketed()
        return self.parse_inner(self.argument_tokens())

    def bracketed(self) -> Node:
        """Read from an opening bracket, brace or bar to its end."""
        opening = self.advance().text
        if opening == "|":
            self.open_bars += 1
            tree = self.sum()
            self.expect("|")
            self.open_bars -= 1
            _refuse_matrix(tree)
            return ("call", "abs", (tree,))
        if opening not in ("(", "[", "{"):
            raise UnreadableError(f"unexpected {opening!r}")
        bars, self.open_bars = self.open_bars, 0
        tree = self.items()
        if opening == "{" and self.at("choose"):
            self.advance()
            tree = ("call", "binomial", (tree, self.items()))
        self.open_bars = bars
        closing = self.here.text if self.at(")", "]") and opening != "{" else "}" if opening == "{" else ")"
        self.expect(closing)
        if tree[0] == "list":
            return ("set", tree[1]) if opening == "{" else ("bracket", opening, closing, tree[1])
        if closing != _CLOSING[opening]:
            raise UnreadableError("brackets that don't match")
        return tree

    def command(self) -> Node:
        name = self.advance().text
        if name in CONSTANTS:
            return ("constant", CONSTANTS[name])
        if name in GREEK:
            return ("symbol", name + self.subscript())
        if name in ALL_FUNCTIONS:
            return self.function(name)
        if name == "frac":
            return self.fraction()
        if name == "cis":
            angle = self.function_argument()
            return ("add", ("call", "cos", (angle,)), ("mul", ("constant", "i"), ("call", "sin", (angle,))))
        if name == "binom":
            return ("call", "binomial", self.two_arguments())
        if name == "sqrt":
            return self.root()
        if name in ACCENTS:
            return ("symbol", f"{name} " + " ".join(token.text for token in self.argument_tokens()) + self.subscript())
        if name == "emptyset":
            return ("set", ())
        if name in FENCES:
            closing, function = FENCES[name]
            tree = self.sum()
            self.expect(closing)
            _refuse_matrix(tree)
            return ("call", function, (tree,))
        return self.collection(name)

    def fraction(self) -> Node:
        top, bottom = self.argument(), self.argument()
        parts = [part for part in (top, bottom) if part[0] == "mul" and part[1] in _DIFFERENTIALS]
        if len(parts) == 2 and all(part[2][0] == "symbol" for part in parts):
            return ("symbol", f"d{top[2][1]}/d{bottom[2][1]}")
        if top in _DIFFERENTIALS and bottom[0] == "mul" and bottom[1] in _DIFFERENTIALS:
            raise UnreadableError("a derivative")
        return ("div", top, bottom)

    def two_arguments(self) -> tuple[Node, ...]:
        if not self.at("("):
            return (self.argument(), self.argument())
        return _arguments(self.bracketed())

    def root(self) -> Node:
        degree: Node = ("number", Fraction(2))
        if self.at("["):
            self.advance()
            degree = self.sum()
            self.expect("]")
        radicand = self.argument() if self.at("{") else self.atom()
        return ("call", "root", (radicand, degree))

    def function(self, name: str) -> Node:
        r"""Read the power, the base and the argument of a function: `\sin^2 x`, `\log_2 8`, `\ln(x)`."""
        power: Node | None = None
        base: Node | None = None
        while self.at("^", "_"):
            if self.advance().text == "^":
                raised = self.exponent(("constant", "e"))
                if raised[0] != "pow":
                    raise UnreadableError("a function to the power of a degree sign")
                power = raised[2]
            else:
                base = self.number() if self.is_whole_base() else self.argument()
        if name == "log" and base is not None:
            tree: Node = ("call", "log", (self.function_argument(), base))
        elif name in LISTED_FUNCTIONS:
            if self.at("(", "[", "{"):
                tree = ("call", name, _arguments(self.bracketed()))
            elif self.at("set{"):
                tree = ("call", name, self.command()[1])
            else:
                tree = ("call", name, (self.function_argument(),))
        else:
            is_inverse = power == ("neg", ("number", Fraction(1))) and f"arc{name}" in FUNCTIONS
            if is_inverse:
                name, power = f"arc{name}", None
            tree = ("call", name, (self.function_argument(),))
        return tree if power is None else ("pow", tree, power)

    def is_whole_base(self) -> bool:
        r"""Whether a number is a base as a whole, as in `\log_10 x`; `\log_23` is the logarithm of 3 to the base 2."""
        following = self.tokens[self.place + 1] if self.place + 1 < len(self.tokens) else END
        is_argument = following.kind in ("number", "letter") or following.text in ("(", "{", "[", "|", "frac", "sqrt")
        return self.here.kind == "number" and (is_argument or len(self.here.text) == 1)

    def function_argument(self) -> Node:
        if self.at("(", "[", "{", "|"):
            return self.bracketed()
        tree = self.power()
        while self.starts_factor() and not self.at("(", "[", "{", "|") and self.here.text not in ALL_FUNCTIONS:
            tree = ("mul", tree, self.power())
        return tree

    def collection(self, name: str) -> Node:
        """Read a set in braces, a vector in angle brackets, a matrix, or a set of numbers."""
        if name in ("Pr", "set:P"):
            found = self.probability(need_equation=False)
            if found is not None:
                return found
        if name.startswith("set:"):
            return self.set_of_numbers(name)
        if name in ("angle", "triangle"):
            letters = ""
            while self.here.kind == "letter":
                letters += self.advance().text
            return ("symbol", f"{name} {letters}")
        if name in DOTS:
            return ("word", "...")
        if name == "langle":
            tree = self.items()
            self.expect("rangle")
            return ("tuple", _items(tree))
        if name == "set{":
            return self.set()
        if name.startswith("begin:"):
            return self.environment(name.removeprefix("begin:"))
        raise UnreadableError(f"unknown command {name!r}")

    def environment(self, name: str) -> Node:
        r"""Read from behind `\begin{...}` to its end."""
        if name == "array" and self.at("{"):
            self.argument_tokens()
        start, depth = self.place, 1
        while depth:
            token = self.advance()
            if token is END:
                raise UnreadableError("an environment that never ends")
            if token.kind == "command":
                depth += token.text.startswith("begin:") - token.text.startswith("end:")
        if self.tokens[self.place - 1].text != f"end:{name}":
            raise UnreadableError("environments that don't match")
        return read_rows(name.rstrip("*"), self.tokens[start : self.place - 1], self.parse_inner)

    def parse_inner(self, tokens: list[Token]) -> Node:
        """Return the tree of tokens that stand by themselves inside of these."""
        inner = type(self)(tokens)
        inner.depth = self.depth + 1
        tree = inner.items()
        inner.expect_end()
        return tree

    def set_of_numbers(self, name: str) -> Node:
        r"""Read the sign in `\mathbb{Z}^+`, `\mathbb{N}_+` or `\mathbb{R}^{*}`; N without 0 is Z^+."""
        written = "".join(token.text for token in self.tokens[self.place : self.place + 4])
        found = _SIGN_OF_SET.match(written)
        if found is None:
            return ("constant", name)
        self.back_to(self.place + found.end())
        sign = found.group(1)
        return ("constant", "set:Z+" if name == "set:N" and sign in "+*" else name + sign)

    def set(self) -> Node:
        if self.at("set}"):
            self.advance()
            return ("set", ())
        if self.here.text.startswith("begin:"):
            signs = [token.text for token in self.tokens if token.kind == "command"]
            if signs.count("set{") > signs.count("set}"):
                # The brace on the left of a system.
                return self.atom()
        bars, self.open_bars = self.open_bars, 1
        tree = self.items()
        if self.at("|", ":"):
            self.advance()
            tree = ("such_that", tree, self.items())
        self.open_bars = bars
        self.expect("set}")
        return tree if tree[0] == "such_that" else ("set", _items(tree))


def _refuse_matrix(tree: Node) -> None:
    if tree[0] == "matrix":
        raise UnreadableError("a determinant")


def _items(tree: Node) -> tuple[Node, ...]:
    return tree[1] if tree[0] == "list" else (tree,)


def _arguments(tree: Node) -> tuple[Node, ...]:
    return tree[3] if tree[0] == "bracket" else (tree,)
