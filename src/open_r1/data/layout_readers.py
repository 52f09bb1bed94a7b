# SPDX-License-Identifier: Apache-2.0
"""What a layout is declared with: readers that take one value out of a row, and conditions on rows.

A reader has `needs`, columns of which it must find one each, and `may_read`, others that it looks at. `read(row)`
returns the value, or raises `UnmappableError` with a reason.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from open_r1.data.program_tests import has_tests
from open_r1.data.thoughts import UnmappableError, last_box
from open_r1.literals import value_of_text
from open_r1.tasks import countdown

Row = Mapping[str, Any]
# What stands in gold columns for "there is none" (NuminaMath-1.5 and its children).
NO_ANSWERS = {"", "proof", "notfound", "not found", "none", "null", "nan"}
# What JSON makes of LaTeX whose backslashes are not doubled: a form feed of \\frac, a tab of \\text.
_MISREAD_LATEX = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|\t(?=ext\{|frac\{|imes\b|heta\b)")


class Reader(Protocol):
    """Takes one value out of a row."""

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """Columns that must be there: one of each inner tuple."""
        ...

    @property
    def may_read(self) -> tuple[str, ...]:
        """Columns that are read where they are there."""
        ...

    def read(self, row: Row) -> Any:
        """Return the value of a row, or raise `UnmappableError`."""
        ...


def text_of(value: object, column: str) -> str:
    """Return the text in a value: text, a number, a list of one of them, or a conversation of one user turn.

    Raises:
        UnmappableError: It is null, blank, or something else.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
        if isinstance(value, Mapping) and value.get("role") == "user":
            value = value.get("content")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str | list) and not value):
        raise UnmappableError(f"{column!r} is null or empty")
    if not isinstance(value, str):
        raise UnmappableError(f"{column!r} is no text but a {type(value).__name__}")
    if not value.strip():
        raise UnmappableError(f"{column!r} is blank")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a pair, which JSON can escape and no file can hold
        raise UnmappableError(f"{column!r} is no valid Unicode") from error
    return value


@dataclass(frozen=True, init=False)
class Text:
    """The text of the first of these columns that is there."""

    columns: tuple[str, ...]

    def __init__(self, *columns: str) -> None:
        object.__setattr__(self, "columns", columns)

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return (self.columns,)

    @property
    def may_read(self) -> tuple[str, ...]:
        return ()

    def read(self, row: Row) -> str:
        name = next(column for column in self.columns if column in row)
        return text_of(row[name], name)


class Gold(Text):
    """A gold answer: text that is none of the words for "there is none"."""

    def read(self, row: Row) -> str:
        text = super().read(row)
        answer = text.strip()
        if is_no_answer(answer):
            raise UnmappableError(f"no gold answer but {answer!r}")
        if _MISREAD_LATEX.search(text):
            raise UnmappableError("a gold answer with control characters")
        return answer


def is_no_answer(text: str) -> bool:
    """Return whether a text in a gold column stands for "there is none"."""
    return text.strip().rstrip(".").lower() in NO_ANSWERS


class LastBox(Text):
    """The last box of a worked solution; none where a box in another spelling comes later."""

    _OTHER = re.compile(r"\\boxed(?!\s{0,9}\{)|\\fbox")

    def read(self, row: Row) -> str:
        text = super().read(row)
        answer = last_box(text)
        if answer is None or is_no_answer(answer):
            raise UnmappableError("no box in the solution")
        if self._OTHER.search(text, text.rindex(r"\boxed{")):
            raise UnmappableError("the last box of the solution is not written \\boxed{...}")
        return answer


@dataclass(frozen=True)
class GoldWithin:
    """A gold answer within a struct, or within a text of JSON or of a Python literal."""

    column: str
    key: str

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return ((self.column,),)

    @property
    def may_read(self) -> tuple[str, ...]:
        return ()

    def read(self, row: Row) -> str:
        return Gold(self.key).read({self.key: mapping_of(row[self.column], self.column).get(self.key)})


@dataclass(frozen=True)
class GoldUnlessTests:
    """A gold answer; None where the row has tests, by which a program is judged."""

    column: str
    tests: str

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        return ((self.column,),)

    @property
    def may_read(self) -> tuple[str, ...]:
        return (self.tests,)

    def read(self, row: Row) -> str | None:
        return None if has_tests(row.get(self.tests)) else Gold(self.column).read(row)


class Unwrapped(Text):
    """A DAPO problem without the two sentences around it that ask for an `Answer:` line."""

    _HEAD = re.compile(r"\s*Solve the following math problem step by step\.[^\n]{0,400}\n\s*")
    _TAIL = re.compile(r"\s*Remember to put your answer [^\n]{0,200}\s*")

    def read(self, row: Row) -> str:
        text = super().read(row)
        head = self._HEAD.match(text)
        text = text[head.end() :] if head else text
        position = text.rfind("Remember to put your answer ")
        if position >= 0 and self._TAIL.fullmatch(text, position):
            text = text[:position]
        if not text.strip():
            raise UnmappableError("a wrapper without a problem")
        return text.strip()


@dataclass(frozen=True)
class CountdownProblem:
    """The Countdown task in words, from `nums` and `target`."""

    needs: tuple[tuple[str, ...], ...] = (("nums",), ("target",))
    may_read: tuple[str, ...] = ()

    def read(self, row: Row) -> str:
        nums, target = row["nums"], row["target"]
        is_whole = isinstance(nums, list) and all(type(number) is int for number in [*nums, target])
        if not is_whole or len(nums) < 2:
            raise UnmappableError("'nums' and 'target' are no whole numbers")
        return countdown.TASK.format(nums=nums, target=target)


@dataclass(frozen=True)
class SyntheticGold:
    """The gold of a SYNTHETIC-1 row: an answer for mathematics, None for programs, which are judged by tests."""

    needs: tuple[tuple[str, ...], ...] = (("task_type",), ("verification_info",))
    may_read: tuple[str, ...] = ()

    def read(self, row: Row) -> str | None:
        kind = row["task_type"]
        if kind == "verifiable_code":
            if not has_tests(row["verification_info"]):
                raise UnmappableError("'verification_info' holds no tests")
            return None
        if kind == "verifiable_math":
            return GoldWithin("verification_info", "ground_truth").read(row)
        raise UnmappableError(f"task type {str(kind)[:50]!r} has no answer that a verifier could judge")


@dataclass(frozen=True)
class Only:
    """A condition: a row is mapped only where a column has this value.

    Attributes:
        column: The column. Data without it pass, so that early revisions of a data set do.
        value: What it must hold; text is compared without case, and a truth value may be text.
        reason: Why other rows are left out.
    """

    column: str
    value: object
    reason: str

    def check(self, row: Row) -> None:
        """Raise `UnmappableError` where the row does not pass."""
        found = row.get(self.column, self.value)
        if isinstance(found, str) and isinstance(self.value, str | bool):
            is_met = found.strip().lower() == str(self.value).lower()
        else:
            is_met = found == self.value
        if not is_met:
            raise UnmappableError(self.reason)


@dataclass(frozen=True)
class Without(Only):
    """A condition: a row is mapped unless a column has this value."""

    def check(self, row: Row) -> None:
        """Raise `UnmappableError` where the row does not pass."""
        if row.get(self.column) == self.value:
            raise UnmappableError(self.reason)


def columns_of(readers: Sequence[Reader], conditions: Sequence[Only]) -> set[str]:
    """Return all columns that these readers and conditions may look at."""
    names = {condition.column for condition in conditions}
    for reader in readers:
        names |= {name for options in reader.needs for name in options} | set(reader.may_read)
    return names


def mapping_of(value: object, column: str) -> Mapping[str, Any]:
    """Return the mapping that a value is, or that its text stands for.

    Raises:
        UnmappableError: It is no mapping, or can't be read.
    """
    if isinstance(value, str):
        try:
            value = value_of_text(value)
        except ValueError as error:
            raise UnmappableError(f"{column!r} is {error}") from error
    if not isinstance(value, Mapping):
        raise UnmappableError(f"{column!r} is no mapping")
    return value
