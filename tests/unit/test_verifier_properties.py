# SPDX-License-Identifier: Apache-2.0
"""What holds for the verifier whatever the pair: hostile text first, then wrappings, batches, order and symmetry."""

from hypothesis import given, settings
from hypothesis import strategies as st

from open_r1.rewards.verifier import Verdict, verify, verify_all

quick = settings(max_examples=40)

# No text below says this number by chance.
UNRELATED = "48151623"
NOT_RIGHT = (Verdict.WRONG, Verdict.NO_ANSWER)

WRAPPINGS = [
    r"\boxed{%s}",
    r"It is $\boxed{%s}$.",
    r"It is \[\boxed{ %s }\] as claimed.",
    r"\boxed{$%s$}",
    "<answer>%s</answer>",
    "<answer>\n$%s$\n</answer>",
    r"<answer>So it is \boxed{%s}.</answer>",
    "The final answer is $%s$.",
    "**Answer:** %s",
    "答案是 $%s$。",
    r"<think>Perhaps \boxed{0}?</think> It is \boxed{%s}.",
    "<think>\nPerhaps <answer>0</answer>?\n</think>\n<answer>\n%s\n</answer>",
    r"At first I had \boxed{0}. I forgot a term. It is \boxed{%s}.",
]
GOLD_WRAPPINGS = ["%s", "$%s$", r"\(%s\)", r"\boxed{%s}", r"Adding up gives $\boxed{%s}$.", "Adding up.\n#### %s"]

integers = st.integers(-(10**30), 10**30).map(str)
decimals = st.decimals(-1000, 1000, places=3).map(str)
fractions = st.builds(r"\frac{{{}}}{{{}}}".format, st.integers(-99, 99), st.integers(1, 99))
numbers = st.one_of(integers, decimals, fractions)
entries = st.lists(st.integers(-20, 20), min_size=2, max_size=4, unique=True)
tuples = entries.map(lambda values: f"({', '.join(map(str, values))})")
sets = entries.map(lambda values: rf"\{{{', '.join(map(str, values))}\}}")
words = st.sampled_from(["Tuesday", "yes", "no", "listen", "silent", "isosceles", "Alice"]).map(r"\text{{{}}}".format)
letters = st.sampled_from("ABCDE")
formulas = st.sampled_from(["x^2-1", r"2\sqrt{3}", r"\frac{\pi}{4}", "y=2x+1", r"x \le 5", "[1,2)", r"\infty", "n!"])
golds = st.one_of(numbers, tuples, sets, words, letters, formulas)

TAGS = ["<think>", "</think>", "<answer>", "</answer>", r"\boxed", r"\fbox"]
PHRASES = ["The final answer is ", "Answer: ", "答案是", " or ", " and ", ", ", ". "]
COMMANDS = [r"\frac", r"\sqrt", r"\text{", r"\left("]
SIGNS = r"{}()[]$\^_!&%#7−½" + "\n\x00\ud800\u200b"
any_text = st.text(st.characters(exclude_categories=()), max_size=8)
fragments = st.lists(st.one_of(st.sampled_from([*TAGS, *PHRASES, *COMMANDS, *SIGNS]), any_text), max_size=12)
texts = fragments.map("".join)


@quick
@given(texts)
def test_arbitrary_text_never_raises_and_is_never_right(text: str):
    assert verify(UNRELATED, text) in NOT_RIGHT
    assert verify(r"\sqrt{48151623}", text) in NOT_RIGHT
    assert verify(UNRELATED, rf"\boxed{{{text}}}") in NOT_RIGHT


@quick
@given(texts)
def test_arbitrary_gold_never_raises_and_is_never_met(text: str):
    assert verify(text, rf"\boxed{{{UNRELATED}}}") is not Verdict.RIGHT


@quick
@given(golds, st.sampled_from(WRAPPINGS), st.sampled_from(GOLD_WRAPPINGS))
def test_gold_equals_itself_in_any_wrapping(gold: str, wrapping: str, gold_wrapping: str):
    assert verify(gold_wrapping % gold, wrapping % gold) is Verdict.RIGHT


@quick
@given(st.data())
def test_batch_is_judged_as_its_rows_in_any_order(data: st.DataObject):
    completions = st.one_of(golds.map(r"\boxed{{{}}}".format), texts)
    pairs = data.draw(st.lists(st.tuples(golds, completions), min_size=1, max_size=6))
    pairs += [(gold, rf"\boxed{{{gold}}}") for gold, _ in pairs]
    shuffled = data.draw(st.permutations(pairs))
    verdicts = dict(zip(shuffled, verify_all(*zip(*shuffled, strict=True)), strict=True))
    assert verify_all(*zip(*pairs, strict=True)) == [verdicts[pair] for pair in pairs]
    assert [verify(*pair) for pair in pairs] == [verdicts[pair] for pair in pairs]


@quick
@given(entries, entries, st.randoms(use_true_random=False))
def test_order_of_a_set_does_not_matter(gold: list[int], answer: list[int], random):
    def written(values: list[int]) -> str:
        return rf"\{{{', '.join(map(str, random.sample(values, len(values))))}\}}"

    expected = Verdict.RIGHT if set(gold) == set(answer) else Verdict.WRONG
    assert verify(written(gold), rf"\boxed{{{written(gold)}}}") is Verdict.RIGHT
    assert verify(written(gold), rf"\boxed{{{written(answer)}}}") is expected


@quick
@given(entries, st.randoms(use_true_random=False))
def test_order_of_a_tuple_matters(gold: list[int], random):
    answer = random.sample(gold, len(gold))
    expected = Verdict.RIGHT if gold == answer else Verdict.WRONG
    assert verify(f"({', '.join(map(str, gold))})", rf"\boxed{{({', '.join(map(str, answer))})}}") is expected


@quick
@given(st.one_of(*(st.tuples(kind, kind) for kind in (numbers, tuples, sets, words, letters))))
def test_gold_and_answer_may_be_swapped(pair: tuple[str, str]):
    one, other = pair
    assert verify(one, rf"\boxed{{{other}}}") is verify(other, rf"\boxed{{{one}}}")


@quick
@given(st.integers(-99, 99), st.integers(1, 99), st.integers(-99, 99), st.integers(1, 99))
def test_fractions_are_compared_by_cross_multiplication(top: int, bottom: int, other_top: int, other_bottom: int):
    expected = Verdict.RIGHT if top * other_bottom == other_top * bottom else Verdict.WRONG
    assert verify(rf"\frac{{{top}}}{{{bottom}}}", rf"\boxed{{{other_top}/{other_bottom}}}") is expected
    assert verify(rf"\frac{{{top}}}{{{bottom}}}", rf"\boxed{{\frac{{{3 * top}}}{{{3 * bottom}}}}}") is Verdict.RIGHT
