# SPDX-License-Identifier: Apache-2.0
r"""What an answer says of its variables: "2k pi, k in Z", "x^2 where x > 0", "{2k | k in Z}"."""

from open_r1.rewards.verifier.cursor import Node
from open_r1.rewards.verifier.regions import is_name, names_in, replace_symbol
from open_r1.rewards.verifier.tokens import Token
from open_r1.rewards.verifier.vocabulary import RELATIONS

# N holds 0 for some and not for others.
_SAME_SETS = {"set:N": "set:Z+"}
_LISTS = ("list", "both")


def spell_out(tokens: list[Token]) -> list[Token]:
    """Return "2k (k in Z)" as "2k, k in Z"."""
    if len(tokens) < 6 or not (tokens[-1].kind == "sign" and tokens[-1].text == ")"):
        return tokens
    depth, has_relation = 0, False
    for place in range(len(tokens) - 1, 0, -1):
        token = tokens[place]
        if token.kind in ("sign", "command"):
            depth += (token.text in (")", "]", "}", "set}")) - (token.text in ("(", "[", "{", "set{"))
            has_relation |= depth == 1 and token.text in RELATIONS
        if depth == 0:
            # f(x = 2) holds no domain.
            if place == 1 or token.text != "(" or not has_relation:
                return tokens
            return [*tokens[:place], Token("sign", ",", False), *tokens[place + 1 : -1]]
    return tokens


def unfold(node: Node) -> Node:
    r"""Return "{x | x = 2k, k in Z}" and "{2k | k in Z}" as "2k, k in Z", "{x in Z | x > 1}" as "x > 1, x in Z"."""
    if node[0] != "such_that":
        return node
    element, conditions = node[1], node[2][1] if node[2][0] in _LISTS else (node[2],)
    name = element[1][0] if _is_chain(element, "in") else element
    first, *others = conditions
    if is_name(name) and _is_chain(first, "=") and len(first[1]) == 3 and first[1][0] == name and others:
        return ("list", (first[1][2], *others)) if all(_is_domain(part) for part in others) else node
    if _is_domain(element) and element[1][2] != ("constant", "set:R"):
        return ("list", (*conditions, element))
    if is_name(element) and len(conditions) > 1 and any(_is_domain(part) for part in conditions):
        return ("list", tuple(conditions))
    if not is_name(name) and element[0] != "chain" and all(_is_domain(part) for part in conditions):
        return ("list", (element, *conditions))
    return node


def without_domains(gold: Node, answer: Node) -> tuple[Node, Node] | None:
    r"""Return two trees without the sets of their integers, as in "2k, k in Z", and with one name for them.

    None where the sets or the roles of the variables differ.
    """
    (gold, gold_sets), (answer, answer_sets) = _split_domains(gold), _split_domains(answer)
    if not gold_sets or not answer_sets or len(gold_sets) != len(answer_sets):
        return gold, answer
    if sorted(gold_sets.values()) != sorted(answer_sets.values()):
        return None
    if len(gold_sets) == 1 and gold_sets.keys() != answer_sets.keys():
        (name,), (other,) = gold_sets, answer_sets
        if name in names_in(answer):
            return None
        answer = replace_symbol(answer, other, name)
    return gold, answer


def _split_domains(node: Node) -> tuple[Node, dict[Node, str]]:
    if node[0] not in _LISTS or len(node[1]) < 2:
        return node, {}
    # In "x > 0, x in Z" the set is said of the answer's own variable.
    bounded = [part for part in node[1] if part[0] == "chain" and part[1][1] not in ("=", "in", "ne")]
    own = set().union(*(names_in(part) for part in bounded))
    domains = [part for part in node[1] if _is_domain(part) and part[1][0] not in own]
    kept = [part for part in node[1] if part not in domains]
    if not domains or not kept:
        return node, {}
    sets = {part[1][0]: _SAME_SETS.get(part[1][2][1], part[1][2][1]) for part in domains}
    return (kept[0] if len(kept) == 1 else (node[0], tuple(kept))), sets


def without_condition(node: Node, *, only_holes: bool) -> Node:
    """Return "x^2, x > 0" without the condition, or without "x != 1" only; other trees as they are."""
    if node[0] not in _LISTS or len(node[1]) < 2:
        return node
    formula, *conditions = node[1]
    is_equation = _is_chain(formula, "=") and len(formula[1]) == 3
    if formula[0] in ("chain", "bracket", "tuple", "set", "word") and not is_equation:
        return node
    names = names_in(formula[1][2] if is_equation else formula)
    for condition in conditions:
        if condition[0] != "chain" or condition[1][1] not in ("ne", "<", ">", "le", "ge"):
            return node
        own = names_in(condition)
        if not own or not own <= names or (only_holes and condition[1][1] != "ne"):
            return node
        if is_equation and formula[1][0] in own:
            return node
    return formula


def _is_chain(node: Node, sign: str) -> bool:
    return node[0] == "chain" and node[1][1] == sign


def _is_domain(node: Node) -> bool:
    return _is_chain(node, "in") and len(node[1]) == 3 and node[1][2][0] == "constant"
