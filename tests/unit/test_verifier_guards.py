# SPDX-License-Identifier: Apache-2.0
r"""What guards the verifier: a budget for every pair, and approximations that can't be stacked.

Texts are lines of assets/benchmarks/verifier/hostile.jsonl, in pieces with their counts:
{"name": "sines", "text": [["\\sin(", 38], ["x", 1], [")", 38]]}
"""

import json
import time

import pytest

from open_r1.rewards.verifier import Verdict, verify, verify_all
from open_r1.rewards.verifier.judge import judge_texts
from open_r1.rewards.verifier.normalize import respell
from tests.unit.test_verifier_pairs import PAIRS_FILE

R, W, U = Verdict.RIGHT, Verdict.WRONG, Verdict.UNVERIFIABLE
ROWS = [json.loads(line) for line in (PAIRS_FILE.parent / "hostile.jsonl").read_text(encoding="utf-8").splitlines()]
TEXTS = {row["name"]: "".join(piece * count for piece, count in row["text"]) for row in ROWS}
# These shapes cost seconds to hours where their steps aren't counted. The machine may be busy, and collect garbage.
MAX_PAIR_S = 2.0
# No text says this number.
UNRELATED = "48151623"


@pytest.mark.parametrize("name", TEXTS, ids=ascii)
def test_hostile_text_is_judged_in_time_and_never_right(name):
    text = TEXTS[name]
    strangers = [(UNRELATED, text), (text, UNRELATED), (r"\sqrt{48151623}", text), (text, r"\{x, y, 48151623\}")]
    pairs = [(r"\frac{x}{2}", text), (text, text + "+1"), ("y=" + text, "2y=" + text), ("y=2x+1", "y=" + text)]
    pairs += [(f"({text},9]", f"({text}+0,9]"), (f"{text} cm", f"1+{text} mm"), (text, r"(0,1)\cup(2,\infty)")]
    for gold, answer in strangers + pairs:
        start = time.process_time()
        verdict = judge_texts(gold, answer).verdict
        assert time.process_time() - start < MAX_PAIR_S, (gold[:60], answer[:60])
        assert verdict in (W, U) or (gold, answer) in pairs
    assert verify(UNRELATED, f"<answer>{text}</answer>") is W


@pytest.mark.parametrize("sign", [r"\cup", r"\cap", r"\setminus", r"\pm"])
def test_long_chain_of_a_gold_costs_only_its_own_row(sign):
    gold = f"1{sign}" * 1_500 + "1"
    assert judge_texts("7", gold).verdict is W
    assert verify_all([gold, "4"], [r"\boxed{7}", r"\boxed{4}"]) == [U, R]


@pytest.mark.parametrize("gold", ["1", "7", "42", "59"])
def test_chain_of_approximations_is_wrong_for_every_value_in_it(gold):
    chain = r"\approx ".join(map(str, range(1, 60)))
    assert judge_texts(gold, chain).verdict is W


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2\\theta\u00e9", "solution>\\left9y"),
        (r"\ln^\circ x", "1"),
        (r"\{x | x > 0\}", r"A \cap B'"),
        (r"\infty", r"(-1,1)\cap(0B,2)"),
        (r"\binom(B)\pi", "m"),
        (r"\log_{1} 2", r"\pi"),
        ("(-1)!", r"\pi"),
        (r"(\frac{n}{7})!", r"\sqrt{2}"),
    ],
)
def test_what_fuzzing_found_is_judged(gold: str, answer: str):
    for pair in ((gold, answer), (answer, gold)):
        assert judge_texts(*pair).verdict in (W, U)


@pytest.mark.parametrize(
    "part",
    [
        r"{\bf ",
        r"{\over",
        r"\color{red}",
        "C_5^",
        "_5C_",
        r"\pmod",
        r"1^\circ1'",
        r"0.\dot",
        "3.",
        "{-}",
        r"^{\text{o}",
        "{ ",
    ],
)
def test_a_form_repeated_takes_linear_time(part: str):
    text = part * (9_900 // len(part))
    start = time.process_time()
    respell(text)
    respell(rf"x \equiv {text}")
    assert time.process_time() - start < 1  # a hundred times as long as it takes
