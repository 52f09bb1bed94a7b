# SPDX-License-Identifier: Apache-2.0
"""The gold of every data set's layout, as the answer of an ideal completion, is right; a perturbed one is wrong."""

import pytest

from open_r1.rewards.verifier import Verdict, verify
from tests.unit.gold_layouts import LAYOUTS, NO_GOLDS, GoldRow

IDEAL = "<think>\nWe work through the givens.\n</think>\n\n"
ROWS = [
    pytest.param(row, id=f"{layout.name}-{number}".replace(" ", "-"))
    for layout in LAYOUTS
    for number, row in enumerate(layout.rows)
]


@pytest.mark.parametrize("gold", NO_GOLDS, ids=repr)
def test_missing_gold_is_not_judged(gold: str):
    assert verify(gold, IDEAL + r"\boxed{5}") is Verdict.UNVERIFIABLE


@pytest.mark.parametrize("row", ROWS)
def test_gold_and_its_other_form_are_right_and_a_perturbed_one_is_wrong(row: GoldRow):
    # A worked solution is an ideal completion as it stands; other golds need a box around them.
    answer = row.gold if r"\boxed" in row.gold else rf"\boxed{{{row.gold.rpartition('#### ')[2]}}}"
    assert verify(row.gold, IDEAL + answer) is Verdict.RIGHT
    assert verify(row.gold, rf"{IDEAL}Hence the result is $\boxed{{{row.right}}}$.") is Verdict.RIGHT
    assert verify(row.gold, rf"{IDEAL}Hence the result is $\boxed{{{row.wrong}}}$.") is Verdict.WRONG


def test_gold_that_is_an_integer_column():
    assert verify(70, IDEAL + r"\boxed{70}") is Verdict.RIGHT  # MathArena's sets
    assert verify(70, IDEAL + r"\boxed{71}") is Verdict.WRONG
