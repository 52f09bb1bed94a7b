# SPDX-License-Identifier: Apache-2.0
"""A place in a list of tokens, and the numbers that can be read there."""

import re
from fractions import Fraction
from typing import Any

from open_r1.rewards.verifier.tokens import END, Token, UnreadableError

Node = tuple[Any, ...]

_MARK_OF_FUNCTION = re.compile(r"(?:'+|\^\{-1\})(?=\()")


def parse_number(digits: str) -> Fraction:
    """Return the exact value of a decimal without a sign, of more digits than `int` reads at once too."""
    whole, _, tail = digits.partition(".")
    return Fraction(_to_int(whole + tail), 10 ** len(tail)) if tail else Fraction(_to_int(whole))


def _to_int(digits: str) -> int:
    if len(digits) <= 4000:
        return int(digits or "0")
    half = len(digits) // 2
    return _to_int(digits[:-half]) * 10**half + _to_int(digits[-half:])


class Cursor:
    """A place in the tokens; `here` is the next one."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0
        self.here = tokens[0] if tokens else END

    def advance(self) -> Token:
        token = self.here
        self.place += 1
        self.here = self.tokens[self.place] if self.place < len(self.tokens) else END
        return token

    def at(self, *texts: str) -> bool:
        return self.here.kind in ("sign", "command") and self.here.text in texts

    def expect(self, text: str) -> None:
        if not self.at(text):
            raise UnreadableError(f"expected {text!r}, found {self.here.text!r}")
        self.advance()

    def expect_end(self) -> None:
        if self.here is not END:
            raise UnreadableError(f"unexpected {self.here.text!r}")

    def back_to(self, place: int) -> None:
        self.place = place - 1
        self.advance()

    def argument_tokens(self) -> list[Token]:
        r"""Return the tokens of a LaTeX argument: those in braces, one digit, or one token."""
        token = self.advance()
        if token.kind == "sign" and token.text == "{":
            start, depth = self.place, 1
            while depth:
                token = self.advance()
                if token is END:
                    raise UnreadableError("an argument that never ends")
                if token.kind == "sign":
                    depth += {"{": 1, "}": -1}.get(token.text, 0)
            return self.tokens[start : self.place - 1]
        if token.kind == "number" and len(token.text) > 1 and token.text[0].isdigit():
            self.tokens[self.place - 1 : self.place] = [
                Token("number", token.text[0], token.is_spaced),
                Token("number", token.text[1:], False),
            ]
            self.back_to(self.place)
            return [self.tokens[self.place - 1]]
        if token.kind in ("number", "letter", "command"):
            return [token]
        raise UnreadableError("an argument is missing")

    def number(self) -> Node:
        token = self.advance()
        value = parse_number(token.text)
        if self.at("_"):
            raise UnreadableError("a base inside a formula")
        if "." in token.text:
            return self.repeating(token.text, value)
        part = self.proper_fraction()
        return ("number", value if part is None else value + part)

    def repeating(self, digits: str, value: Fraction) -> Node:
        """Read the digits under a bar behind a decimal, as in `0.1\\overline{6}`."""
        if not self.at("overline", "bar", "dot"):
            return ("number", value)
        self.advance()
        period = self.argument_tokens()
        if len(period) != 1 or not period[0].text.isdigit():
            raise UnreadableError("a bar over something else than digits")
        places = len(digits.partition(".")[2])
        size = len(period[0].text)
        return ("number", value + Fraction(_to_int(period[0].text), 10**places * (10**size - 1)))

    def proper_fraction(self) -> Fraction | None:
        """Read the fraction of a mixed number: `1\\frac12`, "1 1/2"; None where none follows."""
        start = self.place
        if self.at("frac"):
            self.advance()
            top, bottom = self.argument_tokens(), self.argument_tokens()
            if len(top) == len(bottom) == 1 and top[0].text.isdigit() and bottom[0].text.isdigit():
                return self.mixed(top[0].text, bottom[0].text, start)
        elif self.here.kind == "number" and self.here.is_spaced:
            following = self.tokens[self.place : self.place + 3]
            if [token.kind for token in following] == ["number", "sign", "number"] and following[1].text == "/":
                self.place += 2
                self.advance()
                return self.mixed(following[0].text, following[2].text, start)
        self.back_to(start)
        return None

    def mixed(self, top: str, bottom: str, start: int) -> Fraction | None:
        if top.isdigit() and bottom.isdigit() and 0 < _to_int(top) < _to_int(bottom):
            return Fraction(_to_int(top), _to_int(bottom))
        self.back_to(start)
        return None

    def mark_of_function(self) -> str:
        r"""Read the primes in f'(x), or f^{-1}(x) as f^-1; nothing where no argument follows."""
        written = "".join(token.text for token in self.tokens[self.place : self.place + 6])
        found = _MARK_OF_FUNCTION.match(written)
        if found is None:
            return ""
        self.back_to(self.place + found.end())
        return "^-1" if found.group().startswith("^") else found.group()

    def probability(self, *, need_equation: bool) -> Node | None:
        """Read P(A|B) with what is in its brackets as a name; None where there are none."""
        if not self.at("(", "["):
            return None
        depth = 0
        for place in range(self.place, len(self.tokens)):
            text = self.tokens[place].text
            depth += (text in ("(", "[")) - (text in (")", "]"))
            if depth == 0:
                break
        following = self.tokens[place + 1 : place + 2]
        if depth or (need_equation and [token.text for token in following] != ["="]):
            return None
        event = " ".join(token.text for token in self.tokens[self.place + 1 : place])
        self.back_to(place + 1)
        return ("call", "P", (("symbol", event),))
