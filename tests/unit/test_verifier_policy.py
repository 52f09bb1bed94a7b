# SPDX-License-Identifier: Apache-2.0
"""The verifier's table of hard pairs, a test a line: where the answer stands, and when it equals the gold."""

import pytest

from open_r1.rewards.verifier import Verdict, verify

R, W, N, U = Verdict.RIGHT, Verdict.WRONG, Verdict.NO_ANSWER, Verdict.UNPARSABLE_GOLD

# Case, gold, completion, verdict.
PLACES = [
    ("box after the reasoning", "4", r"<think>2+2</think> It is $\boxed{4}$.", R),
    ("box only in the reasoning", "4", r"<think>\boxed{4}</think> See above.", N),
    ("box before an end tag alone", "4", r"so \boxed{4}.</think> See above.", N),
    ("reasoning never closed", "4", r"<think>\boxed{4} Let me check", N),
    ("block in reasoning never closed", "4", "<think>2+2\n<answer>4</answer>", R),
    ("last block", "4", "<answer>3</answer> Or rather <answer>4</answer>", R),
    ("first block", "3", "<answer>3</answer> Or rather <answer>4</answer>", W),
    ("block before box", "4", r"<answer>4</answer> \boxed{5}", R),
    ("box in block", "4", r"<answer>The sum of 1 and 3 is \boxed{4}, as said.</answer>", R),
    ("phrase in block", "4", "<answer>The final answer is 4.</answer>", R),
    ("whole block", "4", "<answer>\n4\n</answer>", R),
    ("last of two boxes", "4", r"It seems to be \boxed{3}. Checked again, it is \boxed{4}.", R),
    ("first of two boxes", "3", r"It seems to be \boxed{3}. Checked again, it is \boxed{4}.", W),
    ("boxes never merge into a set", r"\{3,4\}", r"One is \boxed{3}. The other is \boxed{4}.", W),
    ("boxes never merge into a tuple", "(3,4)", r"Then x is \boxed{3}. And y is \boxed{4}.", W),
    ("last box unclosed", "4", r"It is \boxed{4}. Once more, \boxed{4", N),
    ("box in a box", "4", r"\boxed{\boxed{4}}", R),
    ("empty box", "4", r"\boxed{}", N),
    ("fbox", "4", r"\fbox{4}", R),
    ("box before phrase", "4", r"It is \boxed{4}. Answer: 5", R),
    ("phrase", "4", "We add.\nThe final answer is $4$. I hope it is correct.", R),
    ("label", "4", "We add.\n**Answer:** 4", R),
    ("Chinese phrase", "4", "所以答案是 4。", R),
    ("Chinese phrase with wei", "4", "因此答案为 $4$。", R),
    ("Chinese label", "4", "答案：4", R),
    ("last phrase", "4", "The final answer is 3. No: the final answer is 4.", R),
    ("prose without anchor", "4", "Adding them up makes 4.", N),
    ("bare number", "4", "4", N),
    ("blank", "4", " \n", N),
    # A hedge is no answer to anything, not even to the set of its values.
    ("or between boxes", "4", r"It is \boxed{3} or \boxed{4}.", W),
    ("or between boxes, set as gold", r"\{3,4\}", r"It is \boxed{3} or \boxed{4}.", R),
    ("and between boxes", "4", r"It is \boxed{3} and \boxed{4}.", W),
    ("comma between boxes", "4", r"\boxed{3}, \boxed{4}", W),
    ("semicolon between boxes", "4", r"\boxed{3}; \boxed{4}", W),
    ("alternatively between boxes", "4", r"It is \boxed{3}. Alternatively, \boxed{4}.", W),
    ("two boxes in a sentence", "4", r"From \boxed{3} by adding one we get \boxed{4}.", W),
    ("equal boxes in a sentence", "0.5", r"It is \boxed{\frac{1}{2}}, that is, \boxed{0.5}.", R),
    ("two values in the block", "4", "<answer>3 or 4</answer>", W),
    ("two values in one box", "4", r"\boxed{3 \text{ or } 4}", W),
]

# Case, gold, answer (in a box), verdict.
NUMBERS = [
    ("trailing zeros", "0.5", "0.500", R),
    ("fraction of a decimal", "0.5", r"\frac{1}{2}", R),
    ("decimal of a fraction", r"\frac{1}{8}", "0.125", R),
    ("third is not rounded", r"\frac{1}{3}", "0.333", W),
    ("rounded gold, exact answer", "0.33", r"\frac{1}{3}", W),
    ("rounded gold, more digits", "0.33", "0.3333", W),
    ("pi is not rounded", r"\pi", "3.14", W),
    ("root is not rounded", r"\sqrt{2}", "1.414", W),
    ("comma as separator", "1234", "1,234", R),
    ("braced comma", "1234", "1{,}234", R),
    ("thin space", "1234", r"1\,234", R),
    ("powers of ten", "1200", r"1.2\times10^3", R),
    ("e notation", "1200", "1.2e3", R),
    ("mixed number", r"\frac{3}{2}", r"1\frac{1}{2}", R),
    ("not reduced", r"\frac{1}{2}", r"\frac{2}{4}", R),
    ("power", "1024", "2^{10}", R),
    ("binomial", "120", r"\binom{10}{3}", R),
    ("long integers", "1" + "0" * 100_000, "1" + "0" * 99_999 + "1", W),
    ("long integer itself", "7" * 100_000, "7" * 100_000, R),
    ("close factorials", r"\frac{1}{1500!}", r"\frac{1}{1501!}", W),
    ("unicode minus", "-3", "−3", R),
    ("approximately", "3.7", r"\approx 3.7", R),
    ("about", "3.7", r"\text{about } 3.7", R),
    ("number word", "7", r"\text{seven}", W),
]

PERCENT_AND_UNITS = [
    ("percent on both", r"50\%", r"50\%", R),
    ("other percent", r"50\%", r"5\%", W),
    ("percent as its value", r"50\%", "0.5", R),
    ("value as percent", "0.5", r"50\%", R),
    ("sign left out", r"50\%", "50", R),
    ("sign put on", "50", r"50\%", R),
    ("percent of a proportion", "0.5", r"0.5\%", W),
    ("percent of one", "1", r"1\%", W),
    ("hundred percent", "1", r"100\%", R),
    ("unit put on", "12", r"12\text{ cm}", R),
    ("unit left out", r"12\text{ cm}", "12", R),
    ("number decides", r"12\text{ cm}", "13", W),
    ("smaller unit", r"12\text{ cm}", r"120\text{ mm}", R),
    ("larger unit", r"12\text{ cm}", r"0.12\text{ m}", R),
    ("unit that changes the value", r"12\text{ cm}", r"12\text{ m}", W),
    ("length against area", r"12\text{ cm}", r"12\text{ cm}^2", W),
    ("hour in minutes", r"1\text{ hour}", r"60\text{ minutes}", R),
    ("dollars in cents", r"\$5", r"500\text{ cents}", R),
    ("dollars against cents", r"\$5", r"5\text{ cents}", W),
    ("currency left out", r"\$5", "5", R),
    ("noun", "12", r"12\text{ apples}", R),
    ("degrees left out", r"90^\circ", "90", R),
    ("degrees in radians", r"90^\circ", r"\frac{\pi}{2}", R),
    ("other angle", r"90^\circ", r"\pi", W),
]

BASES_AND_RATIOS = [
    ("base left out", "101_2", "101", R),
    ("base put on", "101", "101_2", R),
    ("bases differ", "101_2", "101_3", W),
    ("value in base ten", "101_2", "5", W),
    ("base ten as gold", "5", "101_2", W),
    ("ratio scaled", "3:4", "6:8", R),
    ("ratio as fraction", "3:4", r"\frac{3}{4}", R),
    ("ratio reversed", "3:4", "4:3", W),
    ("clock time", "12:30", "12:30", R),
    ("other clock time", "12:30", "12:31", W),
]

COLLECTIONS = [
    ("order of a set", r"\{1,2\}", r"\{2,1\}", R),
    ("list for a set", r"\{1,2\}", "2, 1", R),
    ("and for a set", r"\{1,2\}", r"2 \text{ and } 1", R),
    ("plus-minus", r"\pm 2", "-2, 2", R),
    ("plus-minus against one", r"\pm 2", "2", W),
    ("set with one more", r"\{1,2\}", r"\{1,2,3\}", W),
    ("order of a tuple", "(1,2)", "(2,1)", W),
    ("set for a tuple", "(1,2)", r"\{1,2\}", W),
    ("tuple for a set", r"\{1,2\}", "(1,2)", W),
    ("brackets left out", "(1,2)", "1, 2", R),
    ("brackets left out, other order", "(1,2)", "2, 1", W),
    ("half-open against closed", "[1,2)", "[1,2]", W),
    ("half-open against open", "[1,2)", "(1,2)", W),
    ("vector", "(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}", R),
    ("angle brackets", r"\langle 1,2\rangle", "(1,2)", R),
    ("interval as inequality", "[1,2)", r"1 \le x < 2", R),
    ("interval as membership", "[1,2)", r"x \in [1,2)", R),
    ("inequality made strict", r"1 \le x < 2", "1 < x < 2", W),
    ("order of a union", r"(0,1)\cup(2,3)", r"(2,3)\cup(0,1)", R),
    ("assignment", "3", "x = 3", R),
    ("other variable", "x = 3", "y = 3", W),
    ("two assignments", r"\{1,2\}", r"x=1 \text{ or } x=2", R),
]

EXPRESSIONS = [
    ("factored", "x^2-1", "(x-1)(x+1)", R),
    ("other polynomial", "x^2-1", "(x-1)^2", W),
    ("identity", "1", r"\sin^2 x+\cos^2 x", R),
    ("renamed variable", "x^2", "y^2", W),
    ("constant of integration", "x^2 + C", "x^2", W),
    ("rearranged equation", "y = 2x+1", "2x - y + 1 = 0", R),
    ("other equation", "y = 2x+1", "y = 2x-1", W),
    ("right side alone", "y = 2x+1", "2x+1", R),
    ("radical", r"2\sqrt{3}", r"\sqrt{12}", R),
]

WORDS = [
    ("case", "Tuesday", r"\text{tuesday}", R),
    ("final period", "Tuesday", r"\text{Tuesday.}", R),
    ("same letters", "listen", r"\text{silent}", W),
    ("yes is not true", "yes", r"\text{true}", W),
    ("yes is not no", "yes", r"\text{no}", W),
    ("letter in brackets", "B", "(B)", R),
    ("small letter", "B", "b)", R),
    ("bold letter", "B", r"\textbf{(B)}", R),
    ("letter with its value", "B", r"\text{B. 12}", R),
    ("other letter", "B", "C", W),
    ("value of the choice", "B", "12", W),
    ("infinity", r"\infty", r"\infty", R),
    ("minus infinity", r"\infty", r"-\infty", W),
    ("empty set", r"\emptyset", r"\text{no solution}", R),
    ("empty braces", r"\varnothing", r"\{\}", R),
    ("zero is not the empty set", r"\emptyset", "0", W),
    ("undefined", r"\text{undefined}", r"\text{undefined}", R),
    ("words as gold", "the mean value theorem", r"\text{the mean value theorem}", R),
]

BARE_GOLDS = [
    ("short fraction", r"\frac12", r"\frac{1}{2}", R),
    ("in dollars", r"$\frac{1}{2}$", "0.5", R),
    ("in math brackets", r"\(x^2\)", "x^2", R),
    ("in a box", r"\boxed{12}", "12", R),
    ("after hashes", "3 * 4 = 12\n#### 12", "12", R),
    ("worked solution", r"As $x=\boxed{3}$ fails, we take $x=\boxed{4}$.", "4", R),
    ("worked solution, earlier box", r"As $x=\boxed{3}$ fails, we take $x=\boxed{4}$.", "3", W),
]

ABSTAIN = [
    ("blank", " "),
    ("nothing in dollars", "$$"),
    ("broken fraction", r"\frac{1}{"),
    ("power tower", "9^{9^{9^{9}}}"),
    ("factorial tower", "(((9!)!)!)!"),
    ("nested deeply", "{" * 100_000 + "1" + "}" * 100_000),
    ("a million characters", "x+" * 500_000 + "1"),
]

HOSTILE = [
    ("power tower", "9^{9^{9^{9}}}"),
    ("factorial tower", "(((9!)!)!)!"),
    ("nested deeply", "{" * 100_000 + "1" + "}" * 100_000),
    ("a million characters", "x+" * 500_000 + "1"),
    ("null byte", "\x00"),
    ("lone surrogate", "\ud800"),
]

BOXED = [*NUMBERS, *PERCENT_AND_UNITS, *BASES_AND_RATIOS, *COLLECTIONS, *EXPRESSIONS, *WORDS, *BARE_GOLDS]


def table(rows):
    """Return the rows as parameters whose ids are their first column."""
    return [pytest.param(*row[1:], id=row[0].replace(" ", "-")) for row in rows]


@pytest.mark.parametrize("answer", table(HOSTILE))
@pytest.mark.parametrize("gold", ["1", r"\sqrt{2}", r"\{1,2\}"])
def test_hostile_answer_is_never_right(gold: str, answer: str):
    verdict = verify(gold, rf"\boxed{{{answer}}}")
    assert verdict in (W, N)


@pytest.mark.parametrize("completion", [r"\boxed{1}", "no answer", ""])
@pytest.mark.parametrize("gold", table(ABSTAIN))
def test_gold_that_cannot_be_judged(gold: str, completion: str):
    assert verify(gold, completion) is U


@pytest.mark.parametrize(("gold", "completion", "verdict"), table(PLACES))
def test_where_the_answer_stands(gold: str, completion: str, verdict: Verdict):
    assert verify(gold, completion) is verdict


@pytest.mark.parametrize(("gold", "answer", "verdict"), table(BOXED))
def test_when_the_answer_equals_the_gold(gold: str, answer: str, verdict: Verdict):
    assert verify(gold, rf"It is $\boxed{{{answer}}}$.") is verdict
