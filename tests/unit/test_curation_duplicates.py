# SPDX-License-Identifier: Apache-2.0
"""Exact and near duplicates, on hostile texts and on a planted set."""

import random

import pytest

from open_r1.curation.duplicates import find_exact_duplicates, find_near_duplicates

LONG = "A train leaves the station at 9 in the morning and travels 120 miles north before it turns back to town"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        ([None, "", " \n", None], [None, None, None, None]),
        (["a", "b", "a", "a ", "a"], [None, None, 0, 0, 0]),
        (["x  +\n1", "x + 1"], [None, 0]),
        (["x+1", "x + 1"], [None, None]),  # exact means exact: spacing within a formula is left to the near ones
        (["\u00e9", "e\u0301", "e"], [None, 0, None]),
        (["\ud800", "\ud800"], [None, 0]),  # half a surrogate pair
        (["a" * 2**20, "a" * 2**20, "a" * (2**20 - 1)], [None, 0, None]),
    ],
)
def test_exact_duplicates(texts, expected):
    assert find_exact_duplicates(iter(texts)) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Compute 10\u00b2 mod 7", "Compute 102 mod 7"),
        ("Compute 2\u00b3", "Compute 23"),
        ("Take 2\u00bd", "Take 21/2"),
    ],
)
def test_other_problems_in_nearly_the_same_characters(one, other):
    assert find_exact_duplicates([one, other]) == [None, None]
    assert find_near_duplicates([one, other]) == [None, None]
    assert find_near_duplicates([one, other], threshold=1.0) == [None, None]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        ([None, "", "...", "$$"], [None, None, None, None]),
        (["7", "7", "8", None, "7."], [None, 0, None, None, 0]),
        ([LONG, LONG.upper().replace(" ", "  "), f"**{LONG}**", "else"], [None, 0, 0, None]),
        ([LONG, LONG.replace("morning", "evening")], [None, None]),  # one word in 20: three shingles of 18 are others
        ([LONG, f"Again {LONG}"], [None, 0]),
        ([LONG, f"{LONG} again"], [None, None]),  # what the end asks for makes another problem
        ([LONG, LONG.replace("120", "140") + " again"], [None, None]),
        ([f"{LONG} costs 1,000", f"{LONG} costs $1000$."], [None, 0]),
        ([LONG, f"Then {LONG}", f"Then again {LONG}"], [None, 0, 0]),  # a chain: all repeat the first
        (["compute 7+9-8", "compute 7 + 9 - 8", "compute 7+9+8", "compute 9+7-8"], [None, 0, None, None]),
        (["word " * 300_000, "word " * 300_000, "\ud800 word"], [None, 0, None]),  # 1.5 MB
    ],
)
def test_near_duplicates(texts, expected):
    assert find_near_duplicates(iter(texts)) == expected


AROUND = " ".join(f"word{'abcdefghijklmnopqrstuvwxyz'[n % 26]}{'abcdef'[n // 26]}" for n in range(80))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Compute 12 \u00d7 3", "Compute 12 \u00f7 3"),
        ("Compute 12 \u2212 3", "Compute 12 \u00d7 3"),
        ("Compute 12 \u2212 3", "Compute 12 + 3"),
        (r"Compute $12 \times 3$", r"Compute $12 \div 3$"),
        ("if x \u2264 5", "if x \u2265 5"),
        (r"if x \leq 5", r"if x \geq 5"),
        ("A \u222a B", "A \u2229 B"),
        ("\u221a 16", "16"),
        ("(2+3)*4", "2+(3*4)"),
        ("|x-3| = 2", "x-3 = 2"),
        ("3 sheep and 7 goats", "7 sheep and 3 goats"),
        (r"\frac{3}{4}", r"\frac{4}{3}"),
        ("seven sheep", "nine sheep"),
        ("3x + 5", "3x - 5"),
        ("the value at x = -3", "the value at x = 3"),
        ("the maximum of 3", "the minimum of 3"),
        (r"the value of \sin 3", r"the value of \cos 3"),
        ("find b", "find c"),
        ("the altitude to AC ends here", "the altitude to AB ends here"),
        ("divisors of n! that are", "divisors of n that are"),
        (r"the angle \alpha of it", r"the angle \beta of it"),
        (r"as \overline{AB} of it", r"as \overline{CD} of it"),
    ],
)
def test_other_formulas_are_other_problems(one, other):
    assert find_near_duplicates([one, other], threshold=1.0) == [None, None]
    assert find_near_duplicates([f"{AROUND} {one}", f"{AROUND} {other}"]) == [None, None]


@pytest.mark.parametrize(
    ("one", "other"),
    [("the maximum of it", "the minimum of it"), ("seven sheep", "nine sheep"), ("find x", "find y"), ("7 a", "9 a")],
)
def test_words_and_letters_on_which_an_answer_hangs_count_wherever_they_stand(one, other):
    assert find_near_duplicates([f"{one} {AROUND}", f"{other} {AROUND}"]) == [None, None]
    assert find_near_duplicates([f"{one} {AROUND}", f"{one}, {AROUND}"]) == [None, 0]


@pytest.mark.parametrize(
    ("start", "one", "other"),
    [
        ("A rectangle has length 12 cm and width 5 cm. Find its", "area.", "perimeter."),
        ("A circle has centre O and radius 7 cm, and P is a point on it. Find the", "area.", "circumference."),
        ("In triangle ABC we have AB = 5, BC = 6 and 60 degrees at B. What is the altitude to", "AC?", "AB?"),
        ("There are 30 students, 12 wear glasses; 5 of the boys do. How many students are", "boys?", "girls?"),
        ("A ball falls 10 m and bounces 3 times, each to half its height. What is its path in", "meters?", "feet?"),
        ("Let n be positive with 12 divisors. What is the number of divisors of", "n! that are?", "n that are?"),
        (
            "\u5df2\u77e5\u51fd\u6570f(x)=x^2-4x+1\uff0c\u6c42\u51fd\u6570\u7684",
            "\u6700\u5927\u503c",
            "\u6700\u5c0f\u503c",
        ),
        (r"Given vectors a=(1,2), b=(3,4). Find a as", r"$\overline{AB}$", r"$\overline{CD}$"),
        ("Two angles of a triangle are given, and their sum is 60 degrees. Find", r"$\alpha$.", r"$\beta$."),
    ],
)
def test_problems_that_differ_in_what_they_ask_are_no_copies(start, one, other):
    assert find_near_duplicates([f"{start} {one}", f"{start} {other}"]) == [None, None]
    assert find_near_duplicates([f"{AROUND} {start} {one}", f"{AROUND} {start} {other}"]) == [None, None]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"It is $5 \text{ cm}$ long", "It is 5 cm long"),
        (r"\textbf{Problem} Find 3", "Problem Find 3"),
        (r"3 $\mathrm{km}$", "3 km"),
        ("1{,}000", "1,000"),
        (r"1\,000", "1,000"),
        (r"12,\!345,\!678", "12345678"),
        (r"60^\circ", "60\u00b0"),
        (r"60^{\circ}", "60\u00b0"),
        (r"\pi", "\u03c0"),
        (r"\Lambda \le \lambda", "\u039b \u2264 \u03bb"),
        ("f(x,y)", "f( x, y )"),
        ("3:4", "3 : 4"),
        ("IN TRIANGLE ABC FIND 3", "in triangle abc find 3"),
        ("the GCD is NOT 3", "the gcd is not 3"),
    ],
)
def test_other_spellings_are_the_same(one, other):
    assert find_near_duplicates([one, other], threshold=1.0) == [None, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Compute $2^{3} \cdot \left( 1,000 - 3 \right)$.", "compute 2\u00b3 \u00d7 (1000 \u2212 3)"),
        (r"if $x \leq \dfrac{1}{2}$", "If **$x$** \u2264 \\frac{1}{2}"),
        ("\n- The well-known farmer has 3", "The well known farmer has 3"),
    ],
)
def test_other_spellings_of_a_formula_are_the_same(one, other):
    assert find_near_duplicates([f"{AROUND} {one}", f"{AROUND} {other}"], threshold=0.9) == [None, 0]


def test_numbers_count_only_when_asked():
    apples = [f"{LONG}, where {number} apples are sold at the market near the old town hall" for number in (7, 9)]
    assert find_near_duplicates(apples) == [None, None]
    assert find_near_duplicates(apples, same_numbers=False) == [None, 0]


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_equal_texts_are_found_at_every_threshold(threshold):
    assert find_near_duplicates([LONG, "other words", LONG], threshold=threshold) == [None, None, 0]


def made_up_problems(rng: random.Random, count: int) -> list[list[str]]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(2000)]
    problems = [rng.choices(vocabulary, k=40) for _ in range(count)]
    for words in problems:
        for place in (5, 20, 35):
            words[place] = str(rng.randint(1, 99))
    return problems


def test_planted_copies_are_found_and_other_problems_are_not():
    rng = random.Random(0)
    problems = made_up_problems(rng, 600)
    changed = [[*words[:10], "changed", *words[11:]] for words in problems[:100]]
    left_out = [[*words[:10], *words[11:]] for words in problems[100:200]]
    added = [[*words[:10], "added", *words[10:]] for words in problems[200:300]]
    spelled = [[f"{word.upper()}," for word in words] for words in problems[300:400]]
    # The same wording around other numbers is another problem.
    renumbered = [[str(int(word) + 100) if word.isdigit() else word for word in words] for words in problems[:400]]
    rows = [" ".join(words) for words in problems + changed + left_out + added + spelled + renumbered]
    found = find_near_duplicates(rows)
    assert found[:600] == [None] * 600
    assert found[600:1000] == list(range(400))
    assert found[1000:] == [None] * 400


def test_long_texts_are_compared_by_samples():
    rng = random.Random(1)
    texts = [[str(rng.randint(0, 10**6)) for _ in range(5000)] for _ in range(3)]
    copies = [words[:2000] + ["and"] + words[2000:] for words in texts]
    halves = [words[:2500] for words in texts]
    rows = [" ".join(words) for words in texts + copies + halves]
    assert find_near_duplicates(rows, threshold=0.9) == [None] * 3 + [0, 1, 2] + [None] * 3
