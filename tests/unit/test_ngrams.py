# SPDX-License-Identifier: Apache-2.0
"""N-grams of rows against items: upstream's rule to the letter, the planted corpus, and what stands alone."""

from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_r1.curation.ngrams import Index, canonical, make_rule, operators, spans, words
from tests.rows.planted import benchmark_items, clean_rows, contaminated_rows

CONTAMINATED, CLEAN = contaminated_rows(), clean_rows()
PIECES = [
    "a",
    "A",
    "b",
    "c",
    "é",
    "É",
    "İ",
    "x_1",
    "求",
    "Σς",
    ".",
    "\\frac",
    "1,000",
    "²",
    *" \t\n\x0b\x1c\x1f\x85\u3000",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=30)
ITEM = "Let $a$ and $b$ be positive integers such that $a^2+b^2=2024$. Find the largest possible value of $a+b$."


def index_of(*benchmarks: list[str], rule=None) -> Index:
    index = Index(rule or make_rule(8, "default"))
    for name, items in enumerate(benchmarks):
        for number, item in enumerate(items):
            index.add(str(name), number, item)
    index.build()
    return index


def hits_of(index, rows):
    return index.match(pa.array(rows, pa.large_string()))


def flags(index, rows, benchmark="0"):
    flagged = {hit.row for hit in hits_of(index, rows) if hit.benchmark == benchmark}
    return [row in flagged for row in range(len(rows))]


def is_found(row, item):
    return flags(index_of([item]), [row])[0]


def keys(text, normalization="default"):
    return canonical(words(pa.array([text], pa.large_string()), normalization)[0].as_py(), normalization)


@given(rows=st.lists(TEXTS, max_size=8), items=st.lists(TEXTS, min_size=2, max_size=4), n=st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_none_flags_what_the_published_rule_flags(rows, items, n):
    def ngrams(text):
        found = text.lower().split()
        return {tuple(found[start : start + n]) for start in range(len(found) - n + 1)}

    halves = [items[:1] + ["a word"], items[1:]]
    index = index_of(*halves, rule=make_rule(n, "none"))
    for name, half in enumerate(halves):
        lookup = set().union(*map(ngrams, half))
        assert flags(index, rows, str(name)) == [not lookup.isdisjoint(ngrams(row)) for row in rows]


@given(rows=st.lists(TEXTS, max_size=6), items=st.lists(TEXTS, min_size=1, max_size=4), n=st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_default_words_are_those_of_each_text_by_itself(rows, items, n):
    def ngrams(text):
        found = keys(text)
        return {tuple(found[start : start + n]) for start in range(len(found) - n + 1)}

    rule = make_rule(n, "default", 0)
    rule = type(rule)(n, "default", 0, whole_items=False, min_prose=0)
    lookup = set().union(*map(ngrams, items))
    assert flags(index_of([*items, "word " * n], rule=rule), rows) == [
        not lookup.isdisjoint(ngrams(row)) for row in rows
    ]


def recall_by_kind(*rule):
    found = defaultdict(list)
    hits = flags(index_of(benchmark_items(), rule=make_rule(8, *rule)), [row.text for row in CONTAMINATED])
    for row, flag in zip(CONTAMINATED, hits, strict=True):
        found[row.kind].append(flag)
    return {kind: sum(hits) / len(hits) for kind, hits in found.items()}


def false_positives(*rule):
    hits = flags(index_of(benchmark_items(), rule=make_rule(8, *rule)), [row.text for row in CLEAN])
    return Counter(row.kind for row, flag in zip(CLEAN, hits, strict=True) if flag)


def test_every_disguise_of_every_kind_of_item_is_found_and_nothing_else():
    recall = recall_by_kind("default")
    assert len(recall) == 65
    assert {kind: share for kind, share in recall.items() if share < 1} == {}
    assert false_positives("default") == {}


def test_upstreams_rule_misses_short_items_and_flags_boilerplate():
    for kind, share in recall_by_kind("none").items():
        assert share == kind.endswith((", prose", ", program"))
    assert false_positives("none") == {"boilerplate": 600, "programming boilerplate": 600}


@pytest.mark.parametrize("items, stories, others", [(0, 1, 1200), (2, 1, 0), (16, 1, 600)])
def test_numbers_behind_the_default_of_boilerplate_items(items, stories, others):
    assert recall_by_kind("default", items)["other question, prose"] == stories
    assert false_positives("default", items).total() == others


def test_evidence_is_the_rows_own_text():
    for hit in hits_of(index_of(benchmark_items()), [row.text for row in CONTAMINATED]):
        row = CONTAMINATED[hit.row]
        assert row.text[hit.start : hit.end][:2000] == hit.matched
        assert keys(hit.matched)[:8] == hit.ngram.split()
        # Of items that differ in their numbers alone, the row's own is the one that is named.
        assert hit.item == row.item or hit.kind != "whole item"


@pytest.mark.parametrize(
    "row",
    [
        "What is 2+2?",
        "what is 2 + 2",
        "Solve this. **What is $2+2$?** Box your answer.",
        "Question:\nWhat is\n$2 + 2$\n\nAnswer in one word",
        "What is 2+2 Let's think step by step.",
        "What is 2＋2？",
        "(1) What is 2+2?",
        "a) What is 2+2?",
        "Hint.\nQuestion 1) What is 2+2?",
        "Problem 5 What is 2+2?",
        "Question What is 2+2?",
        "[INST] What is 2+2? [/INST]",
        "<|user|>What is 2+2<|end|>",
        "<p>What is 2+2</p>",
        r"\textbf{Problem 3} What is 2+2?",
        "x " * 50_000 + ". What is 2+2?",
    ],
    ids=lambda row: row[:40],
)
def test_short_item_that_stands_alone_is_found(row):
    assert is_found(row, "What is $2+2$?")


@pytest.mark.parametrize(
    "row",
    [
        "What is 2+2*3?",
        "What is 2-2?",
        "Say what is 2+2?",
        "Problem: say (1) what is 2+2?",
        "A lot of what is 2+2?",
        "What is 2+2 apples?",
        "What is 22?",
        "What is 2+3?",
        "",
        "?",
    ],
)
def test_short_item_in_another_problem_is_not_found(row):
    assert not is_found(row, "What is $2+2$?")


def test_item_of_two_words_must_be_the_whole_row():
    assert is_found("Find $x$.", "Find x")
    assert not is_found("Let x be 3. Find x. Then find y.", "Find x")
    assert is_found("Où est le café ? Là.", "Où est le café")


@pytest.mark.parametrize("files", [1, 6])
def test_problem_that_several_items_tell_with_endings_of_their_own_is_found(files):
    problem = (
        "Let the triangle have a strange obtuse corner and suppose that the wizard paints each side in a "
        "colour chosen among seven, such that no neighbours agree."
    )
    names = ("red", "blue", "green", "white", "black", "pink")
    items = [f"{problem} Source note {name}: from the contest of the {name} kingdom, by its author" for name in names]
    index = index_of(*([items] if files == 1 else [[item] for item in items]))
    found = hits_of(index, [problem, f"Hello. {problem} How many?", problem[:100]])
    assert [(hit.row, hit.kind) for hit in found] == [(row, "long run") for row in (0, 1) for _ in range(files)]


def test_frame_that_problems_of_a_contest_share_flags_nothing():
    frame = (
        "Input\n\nThe input is given from Standard Input in the following format:\nN M\nA_1 B_1\nA_2 B_2\n\\vdots\n"
        "A_M B_M\n\nOutput\n\nPrint the answer.\n\nConstraints\n\n- 2 \\leq N \\leq {}\n- All values are integers."
    )
    names = ("red", "blue", "green", "white", "black", "pink", "grey")
    told = {name: " ".join(f"{name}{chr(97 + n % 26)}{chr(97 + n // 26)} clause" for n in range(40)) for name in names}
    index = index_of([f"{told[name]}.\n\n{frame.format(100 * n)}" for n, name in enumerate(names, 1)])
    rows = [f"Connect all islands by bridges.\n\n{frame.format(999)}", f"They say: {told['red']}.", frame]
    assert flags(index, rows) == [False, True, False]


def test_boilerplate_and_letters_flag_no_row_by_themselves():
    common = "where m and n are relatively prime positive integers find the sum"
    items = [f"The {name} problem has an answer of its own kind {common}" for name in ("red", "blue", "green", "grey")]
    rows = [f"Quite another text {common}", items[0]]
    assert flags(index_of(items, rule=make_rule(8, "default", 4)), rows) == [False, True]
    assert flags(index_of(items, rule=make_rule(8, "default", 0)), rows) == [True, True]
    # The same item in several benchmarks is no boilerplate.
    assert flags(index_of([items[0]] * 5, rule=make_rule(8, "default", 4)), rows) == [True, True]
    reals = "Reals a_1, a_2, a_3, a_4, a_5 sum to one. Find the sum of all of their squares"
    assert not is_found("Let a_1, a_2, a_3, a_4, a_5 be real.", reals)


def test_ngram_does_not_reach_into_the_next_row():
    text = "one two three four five six seven eight"
    assert flags(index_of([text]), [text[:18], text[19:]]) == [False, False]


@pytest.mark.parametrize(
    "row",
    [
        ITEM,
        "Hint first. " + ITEM.upper().replace("$", " ") + " Thanks!",
        ITEM.replace("positive integers", "**positive**\u00a0integers").replace("=", "＝"),
    ],
)
def test_matched_words_are_the_longest_run_of_the_item(row):
    [hit] = hits_of(index_of([ITEM]), [row])
    assert hit.length == len(keys(ITEM))
    assert keys(hit.matched) == keys(ITEM)
    assert hit.matched[:3].lower() == "let"


@pytest.mark.parametrize("text", ["1,000 é", "Say 12{,}345 is ½", "e\u0301 10⁻¹² 1\\,000", "İ ß 求求", "1{,}000,000"])
def test_places_in_the_text_are_found_through_folding(text):
    found = spans(text, "default")
    assert [word for word, _, _ in found] == keys(text)
    assert text[found[0][1] : found[-1][2]] == text


@pytest.mark.parametrize(
    "first, second",
    [
        ("Find the VALUE", "find\u00a0the  value"),
        ("Find the value.", "**Find** the _value_"),
        (r"$x\,\le\,\dfrac{1}{2}$", "x ≤ ½"),
        (r"\(\left( a + b \right)^{2}\)", "(a+b)²"),
        (r"$10^{-12}$", "10⁻¹²"),
        (r"$\text{if }n\geqslant 3$", "if n ≥ 3"),
        (r"$\varepsilon\to0$", r"ε → 0"),
        ("ﬁnd Ｆull ｗidth ４２", "find full width 42"),
        ("a\u200bb so\u00adft", "ab soft"),
        ("cafe\u0301", "café"),
        (r"$2x\quad y~z$", "2 x y z"),
        ("“smart” ‘quotes’ – dash", "\"smart\" 'quotes' - dash"),
        ("求：值。", "求 值"),
        ("1,000,000 and $10{,}000$", "1000000 and 10000"),
        (r"12\,345 é $10,\!000$", "12345 É 10000"),
        (r"\begin{align} a &= b \end{align}", r"\[align a = b align\]"),
    ],
)
def test_spellings_of_the_same_words(first, second):
    assert keys(first) == keys(second)


@pytest.mark.parametrize(
    "first, second",
    [
        ("left over", r"\left over"),
        (r"\alpha", "alpha"),
        ("12", "1 2"),
        ("1,2000", "12000"),
        ("(242,735)", "242735"),
        ("1, 000", "1000"),
        ("ab", "a b"),
        (r"\sqrt 2", r"\sin 2"),
    ],
)
def test_words_that_differ(first, second):
    assert keys(first) != keys(second)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("7+9-8", ["+", "-"]),
        (r"\(a \le \frac{b}{2}\)", ["<=", "/"]),
        ("a well-known *fact* **bold**", []),
        ("2*3", ["*"]),
        (r"2 \cdot 3 \times 4", ["*", "*"]),
    ],
)
def test_operators_in_any_spelling(text, expected):
    assert operators(text) == expected


def test_items_without_a_word_are_refused():
    with pytest.raises(ValueError, match="no item"):
        index_of(["", "?!"])


def test_slice_of_a_column_has_the_hits_of_its_texts():
    index = Index(make_rule(8, "default"))
    index.add("items", 0, "a miller hides 95 lamps near a wooden bridge so that every trapezoid holds many")
    index.build()
    texts = ["x" * 100, "A miller hides 95 lamps near a wooden bridge so that every trapezoid holds many", "É" * 20]
    assert [hit.row for hit in index.match(pa.array(texts, pa.large_string()).slice(1))] == [0]
