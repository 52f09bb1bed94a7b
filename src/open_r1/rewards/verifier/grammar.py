# SPDX-License-Identifier: Apache-2.0
r"""Reads the tokens of a formula in LaTeX or plain text as a tree (`tree`), in linear time.

A run of digits is one number (`x^12`, `\sqrt12`) except after `\frac` (`\frac12`); `1\frac{1}{2}` is a mixed number;
`1/2x` is (1/2)x; `\sin 2x \cos x` is sin(2x) cos(x).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count

from open_r1.rewards.verifier.tokens import (
    ACCENTS,
    ALL_FUNCTIONS,
    CONSTANTS,
    DOTS,
    END,
    FENCES,
    FUNCTIONS,
    GREEK,
    MATRICES,
    RELATIONS,
    SEPARATORS,
    Token,
    UnreadableError,
    split_tokens,
)
from open_r1.rewards.verifier.tree import (
    EMPTY_SET,
    EULER,
    HUNDRED,
    IMAGINARY,
    ONE,
    TWO,
    Add,
    Bracket,
    Call,
    Combined,
    Constant,
    Degrees,
    Div,
    Matrix,
    Mul,
    Neg,
    Node,
    Number,
    NumberSet,
    PlusMinus,
    Pow,
    Relation,
    Several,
    SuchThat,
    Symbol,
    Word,
    names_in,
)

MAX_DEPTH = 40
_MAX_POSTFIXES = 10
# Parts of a union, terms of a sum, factors of a product: trees that are as deep as these are many.
_MAX_CHAIN = 100
_OPENING, _CLOSING = ("(", "[", "{", "set{"), (")", "]", "}", "set}")
_CLOSING_OF = dict(zip(_OPENING, _CLOSING, strict=True))
_STARTS_OF_FACTORS = (
    ALL_FUNCTIONS | ACCENTS | GREEK | CONSTANTS.keys() | FENCES.keys() | {"frac", "sqrt", "binom", "cis", "emptyset"}
)
_MARK_OF_FUNCTION = re.compile(r"(?:'+|\^\{-1\})(?=\()")
_SIGN_OF_SET = re.compile(r"[\^_]\{?([+*-])\}?")
_SYSTEMS = frozenset(["cases", "rcases", "dcases", "array"]) | MATRICES
# In these "&" says only what stands below what.
_ALIGNED = frozenset(["aligned", "align", "gathered", "gather", "split", "eqnarray", "equation"])
_CONDITIONS = frozenset(["if", "for", "when", "where", "as"])
_OTHERWISE = frozenset(["otherwise", "else"])
# Around inner environments and arguments.
_INNER = ("begin:", "{"), ("end:", "}")
_DIFFERENTIALS = (Symbol("d"), Symbol("partial"))


def parse(tokens: list[Token]) -> Node:
    r"""Return the tree of the tokens.

    >>> from open_r1.rewards.verifier.tokens import tokenize
    >>> parse(tokenize(r"1, \pi"))
    Several(kind='list', items=(Number(value=Fraction(1, 1)), Constant(name='pi')))

    Raises:
        UnreadableError: The tokens are no formula of the grammar.
    """
    return _Parser(tokens).whole()


def parse_number(digits: str) -> Fraction:
    """Return the exact value of a decimal without a sign, of more digits than `int` reads at once too."""
    whole, _, tail = digits.partition(".")
    return Fraction(_to_int(whole + tail), 10 ** len(tail)) if tail else Fraction(_to_int(whole))


def _to_int(digits: str) -> int:
    if len(digits) <= 4000:
        return int(digits or "0")
    half = len(digits) // 2
    return _to_int(digits[:-half]) * 10**half + _to_int(digits[-half:])


class _Parser:
    """A recursive descent over the tokens, from the loosest to the tightest binding; `here` is the next token."""

    def __init__(self, tokens: list[Token], depth: int = 0) -> None:
        self.tokens = tokens
        self.place = 0
        self.here = tokens[0] if tokens else END
        self.depth = depth
        self.open_bars = 0

    # Tokens.

    def advance(self) -> Token:
        token = self.here
        self.place += 1
        self.here = self.tokens[self.place] if self.place < len(self.tokens) else END
        return token

    def move_to(self, place: int) -> None:
        self.place = place - 1
        self.advance()

    def at(self, *texts: str) -> bool:
        return self.here.kind in ("sign", "command") and self.here.text in texts

    def expect(self, text: str) -> None:
        if not self.skip(text):
            raise UnreadableError(f"expected {text!r}, found {self.here.text!r}")

    def skip(self, *texts: str) -> bool:
        """Move past the next token if it is one of these; return whether it was."""
        is_here = self.at(*texts)
        if is_here:
            self.advance()
        return is_here

    def negates(self) -> bool:
        """Move past plus and minus signs; return whether they make what follows negative."""
        is_negative = False
        while self.at("-", "+"):
            is_negative ^= self.advance().text == "-"
        return is_negative

    def inner_tokens(self, opening: str, closing: str) -> list[Token]:
        """Return the tokens up to the one that closes what was opened before, and move past it."""
        start, depth = self.place, 1
        while depth:
            token = self.advance()
            if token is END:
                raise UnreadableError("an argument or environment that never ends")
            if token.kind in ("sign", "command"):
                depth += token.text.startswith(opening) - token.text.startswith(closing)
        return self.tokens[start : self.place - 1]

    def texts(self, size: int) -> list[str]:
        """Return the next few tokens as they are written."""
        return [token.text for token in self.tokens[self.place : self.place + size]]

    def go_deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError("nested too deeply")

    def whole(self) -> Node:
        tree = self.items()
        if self.here is not END:
            raise UnreadableError(f"unexpected {self.here.text!r}")
        return tree

    def parse_inner(self, tokens: list[Token]) -> Node:
        """Return the tree of tokens that stand by themselves inside of these."""
        return _Parser(tokens, self.depth + 1).whole()

    def argument_tokens(self) -> list[Token]:
        r"""Return the tokens of a LaTeX argument: those in braces, one digit, or one token."""
        token = self.advance()
        if token.kind == "sign" and token.text == "{":
            return self.inner_tokens("{", "}")
        if token.kind == "number" and len(token.text) > 1 and token.text[0].isdigit():
            digits = [Token("number", token.text[0], token.is_spaced), Token("number", token.text[1:], False)]
            self.tokens[self.place - 1 : self.place] = digits
            self.move_to(self.place)
            return digits[:1]
        if token.kind in ("number", "letter", "command"):
            return [token]
        raise UnreadableError("an argument is missing")

    # Collections and relations.

    def items(self) -> Node:
        """Read relations separated by commas, "and", "or"."""
        items, joints = [self.relation()], set()
        while self.at(*SEPARATORS):
            joints.add(self.advance().text)
            if not self.at(*SEPARATORS):
                items.append(self.relation())
        if len(items) == 1:
            return items[0]
        return Several("set" if "lor" in joints else "both" if "land" in joints else "list", tuple(items))

    def relation(self) -> Node:
        sides, signs = [self.union()], []
        while self.at(*RELATIONS):
            signs.append(self.advance().text)
            sides.append(self.union())
        if self.skip("pmod"):
            signs.append("mod")
            sides.append(self.number() if self.here.kind == "number" else self.argument())
        if "mod" not in signs:
            signs = ["=" if sign == "equiv" else sign for sign in signs]
        return Relation(tuple(sides), tuple(signs)) if signs else sides[0]

    def union(self) -> Node:
        left, parts = self.sum(), count(1)
        while self.at("cup", "cap", "setminus"):
            operator = self.advance().text
            left = Combined(left, self.sum(), operator)
            _check_length(parts)
        return left

    # Operators.

    def sum(self) -> Node:
        left, terms = self.signed(), count(1)
        while self.at("+", "-", "pm", "mp"):
            sign = self.advance().text
            right = self.product()
            _check_length(terms)
            if sign in ("pm", "mp"):
                left = PlusMinus(left, right, sign)
            else:
                left = Add(left, right if sign == "+" else Neg(right))
        return left

    def signed(self) -> Node:
        is_negative, both = self.negates(), ""
        while self.at("pm", "mp"):
            both = self.advance().text
            is_negative ^= self.negates()
        tree = self.product()
        if is_negative:
            tree = _multiply(Mul, Number(Fraction(-1)), tree) if isinstance(tree, Matrix) else Neg(tree)
        return PlusMinus(None, tree, both) if both else tree

    def product(self) -> Node:
        left, factors = self.power(), count(1)
        while self.at("*", "/") or self.starts_factor():
            _check_length(factors)
            kind = Div if self.at("/") else Mul
            is_negative = self.skip("*", "/") and self.negates()
            right = self.power()
            left = _multiply(kind, left, Neg(right) if is_negative else right)
        return left

    def starts_factor(self) -> bool:
        """Whether the next token multiplies what stands before it without a sign."""
        token = self.here
        if token.kind == "number":
            # 5!5! and 2^{3}5^{2}, (n-2)2^n and n2^n are products, "1 2" isn't.
            before = self.tokens[self.place - 1] if self.place else END
            is_power = self.texts(2)[1:] == ["^"]
            return before.text in ("!", "}") or (is_power and (before.text == ")" or before.kind == "letter"))
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
            if self.skip("^"):
                base = self.exponent(base)
            elif self.skip("!"):
                base = Call("double_factorial" if self.skip("!") else "factorial", (base,))
            elif self.skip("%"):
                base = Div(base, HUNDRED)
            elif self.skip("degree"):
                base = Degrees(base)
            else:
                return base
        raise UnreadableError("too many signs behind a factor")

    def exponent(self, base: Node) -> Node:
        for degree in (["circ"], ["{", "circ", "}"]):
            if self.texts(len(degree)) == degree:
                self.move_to(self.place + len(degree))
                return Degrees(base)
        for mark in (["T"], ["top"], ["{", "T", "}"], ["{", "top", "}"]):
            if isinstance(base, Bracket) and self.texts(len(mark)) == mark:
                # A transposed row is a column.
                self.move_to(self.place + len(mark))
                return replace(base, opening="<", closing=">")
        is_negative = self.negates()
        power = self.atom() if self.at("{", "(") or self.here.kind != "command" else self.power()
        if self.skip("^"):
            self.go_deeper()
            power = self.exponent(power)
            self.depth -= 1
        return Pow(base, Neg(power) if is_negative else power)

    # Operands.

    def atom(self) -> Node:
        """Read what has no operator in it, or brackets around what has."""
        self.go_deeper()
        token = self.here
        if token.kind == "number":
            tree = self.number()
        elif token.kind == "letter":
            tree = self.letter()
        elif token.kind == "word":
            tree = Word(self.advance().text)
        elif token.kind == "sign":
            tree = self.bracketed()
        elif token.kind == "command":
            tree = self.command()
        else:
            raise UnreadableError("the formula ends early")
        self.depth -= 1
        return tree

    def number(self) -> Node:
        token = self.advance()
        value = parse_number(token.text)
        if self.at("_"):
            raise UnreadableError("a base inside a formula")
        if "." in token.text:
            return Number(value + self.period(token.text))
        return Number(value + self.proper_fraction())

    def period(self, digits: str) -> Fraction:
        """Read the digits under a bar behind a decimal, as in `0.1\\overline{6}`."""
        if not self.skip("overline", "bar", "dot"):
            return Fraction(0)
        period = self.argument_tokens()
        if len(period) != 1 or not period[0].text.isdigit():
            raise UnreadableError("a bar over something else than digits")
        places, size = len(digits.partition(".")[2]), len(period[0].text)
        return Fraction(_to_int(period[0].text), 10**places * (10**size - 1))

    def proper_fraction(self) -> Fraction:
        """Read the fraction of a mixed number: `1\\frac12`, "1 1/2"; 0 where none follows."""
        start, parts = self.place, self.texts(3)
        if self.skip("frac"):
            parts = ["".join(token.text for token in self.argument_tokens()) for _ in range(2)]
        elif self.here.kind == "number" and self.here.is_spaced and parts[1:2] == ["/"]:
            self.move_to(start + 3)
            del parts[1]
        if len(parts) == 2 and all(part.isdigit() for part in parts):
            top, bottom = map(_to_int, parts)
            if 0 < top < bottom:
                return Fraction(top, bottom)
        self.move_to(start)
        return Fraction(0)

    def letter(self) -> Node:
        is_member = self.place > 0 and self.tokens[self.place - 1].text == "in"
        name = self.advance().text
        if is_member and name in ("N", "Z", "Q", "R"):
            return self.number_set(name)
        is_function = name in ("f", "g", "h")
        mark = self.mark_of_function() if is_function else ""
        if mark or (is_function and self.at("(")) or self.at_definition() or self.at_value():
            return Call(name + mark, _arguments(self.bracketed()))
        if self.at("_", "'"):
            return Symbol(name + self.subscript())
        if name in ("e", "i"):
            return Constant(name)
        return Symbol(name)

    def at_definition(self) -> bool:
        """Whether a letter names a function, as in "P(x) = x^2"."""
        texts = self.texts(4)
        return texts[::2] == ["(", ")"] and texts[3:] == ["="]

    def at_value(self) -> bool:
        """Whether a letter names a function, as in I(0) e^{-t}: a product would be 0I."""
        texts = self.texts(3)
        return texts[::2] == ["(", ")"] and texts[1].isdigit()

    def mark_of_function(self) -> str:
        r"""Read the primes in f'(x), or f^{-1}(x) as f^-1; nothing where no argument follows."""
        found = _MARK_OF_FUNCTION.match("".join(self.texts(6)))
        if found is None:
            return ""
        self.move_to(self.place + found.end())
        return "^-1" if found.group().startswith("^") else found.group()

    def subscript(self) -> str:
        """Return the subscript and primes behind a letter as they are written."""
        written = ""
        while self.at("_", "'"):
            sign = self.advance().text
            if sign == "_":
                is_whole = self.here.kind == "number"
                tokens = [self.advance()] if is_whole else self.argument_tokens()
                sign += "".join(token.text for token in tokens)
            written += sign
        return written

    def argument(self) -> Node:
        """Read a LaTeX argument as a formula."""
        return self.bracketed() if self.at("{") else self.parse_inner(self.argument_tokens())

    def two_arguments(self) -> tuple[Node, ...]:
        return _arguments(self.bracketed()) if self.at("(") else (self.argument(), self.argument())

    def bracketed(self) -> Node:
        """Read from an opening bracket, brace or bar to its end."""
        opening = self.advance().text
        if opening == "|":
            self.open_bars += 1
            tree = self.sum()
            self.expect("|")
            self.open_bars -= 1
            return Call("abs", (tree,))
        if opening not in ("(", "[", "{"):
            raise UnreadableError(f"unexpected {opening!r}")
        bars, self.open_bars = self.open_bars, 0
        tree = self.items()
        if opening == "{" and self.skip("choose"):
            tree = Call("binomial", (tree, self.items()))
        self.open_bars = bars
        closing = self.here.text if self.at(")", "]") and opening != "{" else "}" if opening == "{" else ")"
        self.expect(closing)
        if isinstance(tree, Several) and tree.kind == "list":
            return tree if opening == "{" else Bracket(opening, closing, tree.items)
        if closing != _CLOSING_OF[opening]:
            raise UnreadableError("brackets that don't match")
        return tree

    # Commands.

    def command(self) -> Node:
        name = self.advance().text
        if name in CONSTANTS:
            return Constant(CONSTANTS[name])
        if name in GREEK:
            return Symbol(name + self.subscript())
        if name in ALL_FUNCTIONS:
            return self.function(name)
        if name in ACCENTS:
            under = " ".join(token.text for token in self.argument_tokens())
            axis = under.strip("{ }").removesuffix("math")
            if name in ("hat", "vec", "widehat") and axis in ("i", "j", "k"):
                return IMAGINARY if axis == "i" else Symbol(axis)
            return Symbol(f"{name} {under}{self.subscript()}")
        if name in FENCES:
            closing, function = FENCES[name]
            tree = self.sum()
            self.expect(closing)
            return Call(function, (tree,))
        match name:
            case "frac":
                return self.fraction()
            case "sqrt":
                return self.root()
            case "binom":
                return Call("binomial", self.two_arguments())
            case "cis":
                angle = self.function_argument()
                return Add(Call("cos", (angle,)), Mul(IMAGINARY, Call("sin", (angle,))))
            case "emptyset":
                return EMPTY_SET
        return self.collection(name)

    def fraction(self) -> Node:
        top, bottom = self.argument(), self.argument()
        match top, bottom:
            case Mul(d, Symbol(name)), Mul(other, Symbol(variable)) if d in _DIFFERENTIALS and other in _DIFFERENTIALS:
                return Symbol(f"{name}'" if variable == "x" else f"d{name}/d{variable}")
            case Symbol(), Mul(d, _) if top in _DIFFERENTIALS and d in _DIFFERENTIALS:
                raise UnreadableError("a derivative")
        return Div(top, bottom)

    def root(self) -> Node:
        degree: Node = TWO
        if self.skip("["):
            degree = self.sum()
            self.expect("]")
        return Call("root", (self.argument() if self.at("{") else self.atom(), degree))

    def function(self, name: str) -> Node:
        r"""Read the power, the base and the argument of a function: `\sin^2 x`, `\log_2 8`, `\ln(x)`."""
        power: Node | None = None
        base: Node | None = None
        while self.at("^", "_"):
            if self.advance().text == "^":
                raised = self.exponent(EULER)
                if not isinstance(raised, Pow):
                    raise UnreadableError("a function to the power of a degree sign")
                power = raised.right
            else:
                base = self.number() if self.is_whole_base() else self.argument()
        if power == Neg(ONE) and f"arc{name}" in FUNCTIONS:
            name, power = f"arc{name}", None
        argument = self.function_argument()
        tree = Call(name, (argument,) if base is None or name != "log" else (argument, base))
        return tree if power is None else Pow(tree, power)

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
            tree = Mul(tree, self.power())
        return tree

    def collection(self, name: str) -> Node:
        """Read a set in braces, a vector in angle brackets, a matrix, or a set of numbers."""
        if name.startswith("set:"):
            return self.number_set(name.removeprefix("set:"))
        if name in ("angle", "triangle"):
            letters = ""
            while self.here.kind == "letter":
                letters += self.advance().text
            return Symbol(f"{name} {letters}")
        if name in DOTS:
            return Word("...")
        if name == "langle":
            tree = self.items()
            self.expect("rangle")
            return Bracket("<", ">", _items(tree))
        if name == "set{":
            return self.set()
        if name.startswith("begin:"):
            return self.environment(name.removeprefix("begin:"))
        raise UnreadableError(f"unknown command {name!r}")

    def number_set(self, name: str) -> Node:
        r"""Read the sign in `\mathbb{Z}^+`, `\mathbb{N}_+` or `\mathbb{R}^{*}`; N without 0 is Z^+."""
        found = _SIGN_OF_SET.match("".join(self.texts(4)))
        if found is None:
            return NumberSet(name)
        self.move_to(self.place + found.end())
        sign = found.group(1)
        return NumberSet("Z+" if name == "N" and sign in "+*" else name + sign)

    def set(self) -> Node:
        if self.skip("set}"):
            return EMPTY_SET
        if self.here.text.startswith("begin:"):
            signs = [token.text for token in self.tokens if token.kind == "command"]
            if signs.count("set{") > signs.count("set}"):
                # The brace on the left of a system.
                return self.atom()
        bars, self.open_bars = self.open_bars, 1
        tree = self.items()
        condition = None
        if self.skip("|", ":", "lvert", "rvert"):
            condition = self.items()
        self.open_bars = bars
        self.expect("set}")
        return Several("set", _items(tree)) if condition is None else SuchThat(tree, condition)

    def environment(self, name: str) -> Node:
        r"""Read the rows from behind `\begin{...}` to its end.

        A system is all of its rows ("both"), a function by cases the set of its pairs (value, condition).
        """
        if name == "array" and self.at("{"):
            self.argument_tokens()
        tokens = self.inner_tokens("begin:", "end:")
        if self.tokens[self.place - 1].text != f"end:{name}":
            raise UnreadableError("environments that don't match")
        name = name.rstrip("*")
        if name not in _SYSTEMS | _ALIGNED:
            raise UnreadableError(f"unknown environment {name!r}")
        rows: list[list[list[Token]]] = []
        for part in split_tokens(tokens, "\\", *_INNER):
            row = _cells(part, is_aligned=name in _ALIGNED)
            if row and rows and len(row) == len(rows[-1]) == 1 and row[0][0].text in RELATIONS:
                # "= 7" goes on with the row before.
                rows[-1] = [rows[-1][0] + row[0]]
            elif row:
                rows.append(row)
        return _matrix(name, [tuple(map(self.parse_inner, row)) for row in rows])


def _check_length(parts: Iterator[int]) -> None:
    if next(parts) > _MAX_CHAIN:
        raise UnreadableError("a formula of too many parts")


def _cells(tokens: list[Token], *, is_aligned: bool) -> list[list[Token]]:
    """Return the cells of a row; "x & = & 1" is one, "x^2 if x > 0" two."""
    cells = [_trim(cell) for part in split_tokens(tokens, "&", *_INNER) for cell in _split_words(part)]
    cells = [cell for cell in cells if cell]
    is_one = is_aligned or any(cell[place].text in RELATIONS for cell in cells for place in (0, -1))
    return [[token for cell in cells for token in cell]] if is_one and cells else cells


def _split_words(tokens: list[Token]) -> list[list[Token]]:
    for place, token in enumerate(tokens):
        if token.kind == "word" and token.text.casefold() in _CONDITIONS:
            return [tokens[:place], tokens[place + 1 :]]
        if token.kind == "word" and token.text.casefold() in _OTHERWISE:
            return [tokens[:place], [token._replace(text="otherwise")]]
    return [tokens]


def _trim(cell: list[Token]) -> list[Token]:
    """Return a cell without the comma or period at its end."""
    cell = [token for token in cell if token.text not in ("hline", "quad")]
    while cell and cell[-1].text in (",", ";", "."):
        cell.pop()
    if cell and cell[-1].kind == "number":
        cell[-1] = cell[-1]._replace(text=cell[-1].text.removesuffix("."))
    return cell


def _matrix(name: str, rows: list[tuple[Node, ...]]) -> Node:
    """Return what an environment's rows are: a system, a function by cases, or a matrix."""
    parts = tuple(part for row in rows for part in row)
    if len(parts) == len(rows) > 0:
        if len(parts) == 1 and isinstance(parts[0], Relation):
            return parts[0]
        is_system = name not in MATRICES | {"array"} or all(isinstance(part, Relation) for part in parts)
        return Several("both", parts) if is_system else Matrix(tuple(rows))
    is_by_cases = (len(row) == 2 and isinstance(row[1], (Relation, Word)) for row in rows)
    if rows and all(is_by_cases) and not any(isinstance(row[0], Relation) for row in rows):
        return Several("set", tuple(Bracket("(", ")", row) for row in rows))
    if not rows or any(isinstance(part, (Relation, Several, Word)) for part in parts):
        raise UnreadableError("rows that are neither a matrix nor cases")
    return Matrix(tuple(rows))


def _items(tree: Node) -> tuple[Node, ...]:
    return tree.items if isinstance(tree, Several) and tree.kind == "list" else (tree,)


def _arguments(tree: Node) -> tuple[Node, ...]:
    return tree.items if isinstance(tree, Bracket) else (tree,)


def _multiply(kind: type[Mul] | type[Div], left: Node, right: Node) -> Node:
    """Return a product or quotient: of a number and a matrix entry by entry, of a point's name and place the place."""
    if kind is Mul and isinstance(right, Matrix) and not isinstance(left, Matrix):
        return Matrix(tuple(tuple(_scaled(left, entry) for entry in row) for row in right.rows))
    if kind is Mul and isinstance(right, Bracket) and right.opening != "[" and not names_in(left):
        return replace(right, items=tuple(_scaled(left, item) for item in right.items))
    # A(1, 2) is a point.
    is_label = kind is Mul and isinstance(left, Symbol) and left.name.isupper() and isinstance(right, Bracket)
    return right if is_label else kind(left, right)


def _scaled(factor: Node, entry: Node) -> Node:
    if isinstance(factor, Number) and isinstance(entry, Number):
        return Number(factor.value * entry.value)
    return Mul(factor, entry)
