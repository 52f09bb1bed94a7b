# SPDX-License-Identifier: Apache-2.0
"""What a formula is made of: its variables, functions and whole numbers."""

from open_r1.rewards.verifier.cursor import Node

_LARGEST_SIZE = 10**6


def symbols_in(node: Node) -> set[Node]:
    """Return the variables of a formula."""
    if node[0] == "symbol":
        return {node}
    parts = node[2] if node[0] == "call" else node[1:] if node[0] not in ("number", "constant") else ()
    return set().union(*(symbols_in(part) for part in parts)) if parts else set()


def has_call(node: Node, names: frozenset[str]) -> bool:
    """Return whether a formula calls one of the functions; "log" counts without a base only."""
    if node[0] == "call":
        is_found = node[1] in names and (node[1] != "log" or len(node[2]) == 1)
        return is_found or any(has_call(part, names) for part in node[2])
    return node[0] not in ("number", "symbol", "constant") and any(has_call(part, names) for part in node[1:])


def sizes_in(node: Node) -> set[int]:
    """Return the whole numbers in a formula, those of its fractions too, up to a million."""
    if node[0] == "number":
        return {size for size in (abs(node[1].numerator), node[1].denominator) if size <= _LARGEST_SIZE}
    if node[0] in ("symbol", "constant"):
        return set()
    return set().union(*map(sizes_in, node[2] if node[0] == "call" else node[1:]))
