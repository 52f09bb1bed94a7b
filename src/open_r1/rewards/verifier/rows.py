# SPDX-License-Identifier: Apache-2.0
r"""Reads what stands in rows: matrices, systems of equations, functions by cases, aligned steps.

A system is all of its rows ("both"), a function by cases the set of its pairs (value, condition), in any order.
"""

from collections.abc import Callable

from open_r1.rewards.verifier.tokens import MATRICES, RELATIONS, Token, UnreadableError, split_tokens
from open_r1.rewards.verifier.tree import Bracket, Matrix, Node, Relation, Several, Word

_SYSTEMS = frozenset(["cases", "rcases", "dcases", "array"]) | MATRICES
# In these "&" says only what stands below what.
_ALIGNED = frozenset(["aligned", "align", "gathered", "gather", "split", "eqnarray", "equation"])
_CONDITIONS = frozenset(["if", "for", "when", "where", "as"])
_OTHERWISE = frozenset(["otherwise", "else"])

# Around inner environments and arguments.
_INNER = ("begin:", "{"), ("end:", "}")

Row = list[list[Token]]


def read_rows(name: str, tokens: list[Token], parse: Callable[[list[Token]], Node]) -> Node:
    r"""Return the tree of an environment, such as `x=1 \\ y=2` between `\begin{cases}` and `\end{cases}`.

    `parse` reads the tokens of one cell.

    Raises:
        UnreadableError: The environment isn't known, or a cell is no formula.
    """
    if name not in _SYSTEMS and name not in _ALIGNED:
        raise UnreadableError(f"unknown environment {name!r}")
    rows = _join_steps([_read_row(row, is_aligned=name in _ALIGNED) for row in split_tokens(tokens, "\\", *_INNER)])
    if not rows:
        raise UnreadableError("an environment without rows")
    trees = [_split_condition(tuple(parse(cell) for cell in row)) for row in rows]
    if all(len(row) == 1 for row in trees):
        parts = tuple(row[0] for row in trees)
        if len(parts) == 1 and isinstance(parts[0], Relation):
            return parts[0]
        is_system = name not in MATRICES | {"array"} or all(isinstance(part, Relation) for part in parts)
        return Several("both", parts) if is_system else Matrix(tuple(trees))
    if all(
        len(row) == 2 and isinstance(row[1], (Relation, Word)) and not isinstance(row[0], Relation) for row in trees
    ):
        return Several("set", tuple(Bracket("(", ")", row) for row in trees))
    if any(isinstance(part, (Relation, Several, Word)) for row in trees for part in row):
        raise UnreadableError("rows that are neither a matrix nor cases")
    return Matrix(tuple(trees))


def _read_row(tokens: list[Token], *, is_aligned: bool) -> Row:
    """Return the cells of a row; "x & = & 1" is one."""
    cells = [_trim(cell) for part in split_tokens(tokens, "&", *_INNER) for cell in _split_words(part)]
    cells = [cell for cell in cells if cell]
    is_one = is_aligned or any(cell[place].text in RELATIONS for cell in cells for place in (0, -1))
    return [[token for cell in cells for token in cell]] if is_one and cells else cells


def _split_words(tokens: list[Token]) -> Row:
    """Split "x^2 if x > 0" before its condition; "otherwise" is a condition."""
    for place, token in enumerate(tokens):
        if token.kind == "word" and token.text.casefold() in _CONDITIONS:
            return [tokens[:place], tokens[place + 1 :]]
        if token.kind == "word" and token.text.casefold() in _OTHERWISE:
            return [tokens[:place], [token._replace(text="otherwise")]]
    return [tokens]


def _trim(cell: list[Token]) -> list[Token]:
    """Return a cell without the comma or period at its end."""
    cell = [token for token in cell if token.text not in ("hline", "quad")]
    while cell and cell[-1].kind == "sign" and cell[-1].text in (",", ";", "."):
        cell = cell[:-1]
    if cell and cell[-1].kind == "number" and cell[-1].text.endswith("."):
        cell = [*cell[:-1], cell[-1]._replace(text=cell[-1].text[:-1])]
    return cell


def _join_steps(rows: list[Row]) -> list[Row]:
    """Return the rows without empty ones, and "= 7" at the end of the row that it goes on."""
    joined: list[Row] = []
    for row in rows:
        if row and joined and len(row) == len(joined[-1]) == 1 and row[0][0].text in RELATIONS:
            joined[-1] = [[*joined[-1][0], *row[0]]]
        elif row:
            joined.append(row)
    return joined


def _split_condition(row: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return "x^2, x > 0" in one cell as a value and its condition."""
    if len(row) == 1 and isinstance(row[0], Several) and row[0].kind == "list" and len(row[0].items) == 2:
        value, condition = row[0].items
        return (value, condition) if isinstance(condition, Relation) and not isinstance(value, Relation) else row
    return row
