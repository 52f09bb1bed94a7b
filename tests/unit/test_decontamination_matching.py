# SPDX-License-Identifier: Apache-2.0
"""Rows against items: upstream's rule to the letter, and what stands alone; any type of column."""

import json
import re

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from open_r1.curation.decontamination.columns import MAX_STRETCH_BYTES
from open_r1.curation.decontamination.index import Benchmark, Rule, build_index, make_rule
from open_r1.curation.decontamination.matching import match_column, matched_span
from open_r1.curation.decontamination.normalization import (
    fold,
    normalize_string,
    original_tokens,
    tokens,
    word_ngrams,
)

WORDS = ["a", "A", "b", "c", "é", "É", "İ", "x_1", "求", "Σς", "."]
SPACES = [
    " ",
    "\t",
    "\n",
    "\x0b",
    "\x0c",
    "\r",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x1f",
    "\u0085",
    "\u00a0",
    "\u2003",
    "\u3000",
]
FOLDED_AS_ONE = re.compile(r"[⁰¹²³⁴-⁹⁺⁻⁼⁽⁾ⁿⁱ]+|.", re.DOTALL)
TEXTS = st.lists(st.sampled_from(WORDS) | st.sampled_from(SPACES), max_size=25).map("".join) | st.text(max_size=30)
ITEM = "Let $a$ and $b$ be positive integers such that $a^2+b^2=2024$. Find the largest possible value of $a+b$."


def upstream_flags(rows, items, n):
    """The published rule: any n-gram of the row is one of any item."""
    lookup = {ngram for item in items for ngram in word_ngrams(normalize_string(item), n)}
    return [bool(lookup & set(word_ngrams(normalize_string(row), n))) for row in rows]


def found_in(rows, items, rule=None):
    index = build_index([Benchmark("made", items)], rule or make_rule(8, "default"))
    return match_column(pa.array(rows), index), index


def is_found(row, item):
    found, _ = found_in([row], [item])
    return bool(found.flags[0, 0])


@given(rows=st.lists(TEXTS, max_size=8), items=st.lists(TEXTS, min_size=1, max_size=4), n=st.integers(1, 9))
@settings(max_examples=300)
def test_exact_mode_flags_what_upstream_flags(rows, items, n):
    items = [*items, "a word"]  # an index of nothing is refused
    found = match_column(pa.array(rows, pa.string()), build_index([Benchmark("made", items)], make_rule(n, "none")))
    assert found.flags[:, 0].tolist() == upstream_flags(rows, items, n)


@given(rows=st.lists(TEXTS, max_size=8), items=st.lists(TEXTS, min_size=1, max_size=4), n=st.integers(1, 9))
@settings(max_examples=200)
def test_one_pass_flags_each_benchmark_as_a_pass_of_its_own(rows, items, n):
    items = [*items, "a word"]
    halves = [Benchmark("one", items[:1] + ["b"]), Benchmark("two", items[1:])]
    found = match_column(pa.array(rows, pa.string()), build_index(halves, make_rule(n, "none")))
    for number, half in enumerate(halves):
        assert found.flags[:, number].tolist() == upstream_flags(rows, half.texts, n)


PIECES = [*WORDS, "$", "\\frac", "\\left", "12", "²", "{", "-", "xy", "Hmm", "\\,", "1,000", ",000", "{,}000"]


@given(
    rows=st.lists(st.lists(st.sampled_from(PIECES) | st.sampled_from(SPACES), max_size=25).map("".join), max_size=8),
    items=st.lists(st.lists(st.sampled_from([*PIECES, " "]), max_size=25).map("".join), min_size=1, max_size=4),
    n=st.integers(1, 5),
)
@example(rows=["b"], items=["²,000b"], n=1)  # a superscript before what looks like thousands
@settings(max_examples=200)
def test_default_normalisation_flags_what_shares_words_of_the_reference(rows, items, n):
    def ngrams(text):
        keys = [token.key for token in tokens(fold(text, "default"), "default")]
        return {tuple(keys[start : start + n]) for start in range(len(keys) - n + 1)}

    items = [*items, "a word"]
    index = build_index([Benchmark("made", items)], Rule(n, "default", 0, whole_items=False, min_prose=0))
    found = match_column(pa.array(rows, pa.string()), index)
    lookup = set().union(*map(ngrams, items))
    assert found.flags[:, 0].tolist() == [not lookup.isdisjoint(ngrams(row)) for row in rows]


@pytest.mark.parametrize(
    "row",
    [
        "What is 2+2?",
        "what is 2 + 2",
        "Solve this. **What is $2+2$?** Box your answer.",
        "Question:\nWhat is\n$2 + 2$\n\nAnswer in one word",
        "What is 2＋2？",
        "(1) What is 2+2?",
        "a) What is 2+2?",
        "(A) What is 2+2?",
        "Hint.\nQuestion 1) What is 2+2?",
        "Problem 5 What is 2+2?",
        "[INST] What is 2+2? [/INST]",
        "<|user|>What is 2+2<|end|>",
        "<p>What is 2+2</p>",
        r"\textbf{Problem 3} What is 2+2?",
    ],
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


def test_short_item_may_end_in_a_letter_that_is_not_ascii():
    assert is_found("Où est le café ? Là.", "Où est le café")


@pytest.mark.parametrize("files", [1, 6])
def test_problem_that_several_items_tell_with_endings_of_their_own_is_found(files):
    problem = (
        "Let the triangle have a strange obtuse corner and suppose that the wizard paints each side in a "
        "colour chosen among seven, such that no neighbours agree."
    )
    items = [
        f"{problem} Source note {name}: taken from the contest of the {name} kingdom with remarks by its author"
        for name in ("red", "blue", "green", "white", "black", "pink")
    ]
    groups = [items] if files == 1 else [[item] for item in items]
    index = build_index(
        [Benchmark(f"b{number}", group) for number, group in enumerate(groups)], make_rule(8, "default")
    )
    found = match_column(pa.array([problem, f"Hello. {problem} How many?", problem[:100]]), index)
    assert found.flags.any(axis=1).tolist() == [True, True, False]
    assert {match.kind for match in found.matches} == {"long run"}


FRAME = (
    "Input\n\nThe input is given from Standard Input in the following format:\nN M\nA_1 B_1\nA_2 B_2\n\\vdots\n"
    "A_M B_M\n\nOutput\n\nPrint the answer.\n\nConstraints\n\n- 2 \\leq N \\leq {}\n- All input values are integers."
)


def test_frame_that_problems_of_a_contest_share_flags_nothing():
    names = ("red", "blue", "green", "white", "black", "pink", "grey")
    told = {name: " ".join(f"{name}{chr(97 + n % 26)}{chr(97 + n // 26)} clause" for n in range(40)) for name in names}
    items = [f"{told[name]}.\n\n{FRAME.format(100 * n)}" for n, name in enumerate(names, 1)]
    index = build_index([Benchmark("b", items)], make_rule(8, "default"))
    assert index.long_runs is not None
    other = f"Takahashi wants to connect all islands by bridges.\n\n{FRAME.format(999)}"
    own = f"Takahashi says: {told['red']}."
    assert match_column(pa.array([other, own, FRAME]), index).flags[:, 0].tolist() == [False, True, False]


@pytest.mark.parametrize("piece_bytes", [1, 60, 200])
def test_half_an_item_is_found_in_a_row_that_is_read_in_pieces(piece_bytes):
    problem = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(60))
    items = [f"{problem} ending {name}" for name in ("red", "blue", "green", "white", "black", "pink")]
    index = build_index([Benchmark("b", items)], make_rule(8, "default"))
    rows = pa.array([f"before it {problem} behind it", " ".join(problem.split()[:30])])
    assert match_column(rows, index, piece_bytes=piece_bytes).flags[:, 0].tolist() == [True, False]


def test_item_of_two_words_must_be_the_whole_row():
    assert is_found("Find $x$.", "Find x")
    assert not is_found("Let x be 3. Find x. Then find y.", "Find x")


def test_enumeration_of_letters_is_not_telling():
    assert not is_found(
        "Let a_1, a_2, a_3, a_4, a_5 be real.",
        "Reals a_1, a_2, a_3, a_4, a_5 sum to one. Find the sum of all of their squares",
    )


def test_ngram_does_not_reach_into_the_next_row():
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    found, _ = found_in([" ".join(words[:4]), " ".join(words[4:])], [" ".join(words)])
    assert not found.flags.any()


def test_boilerplate_flags_no_row_by_itself():
    common = "where m and n are relatively prime positive integers find the sum"
    items = [f"The {name} problem has an answer of its own kind {common}" for name in ("red", "blue", "green", "grey")]
    rows = [f"Quite another text {common}", items[0]]
    assert found_in(rows, items, make_rule(8, "default", 4))[0].flags[:, 0].tolist() == [False, True]
    assert found_in(rows, items, make_rule(8, "default", 0))[0].flags[:, 0].tolist() == [True, True]
    # The same item in several benchmarks is no boilerplate.
    assert found_in(rows[:1], [items[0]] * 5, make_rule(8, "default", 4))[0].flags[0, 0]


@pytest.mark.parametrize(
    "row",
    [
        ITEM,
        "Hint first. " + ITEM.upper().replace("$", " ") + " Thanks!",
        ITEM.replace("positive integers", "**positive**\u00a0integers").replace("=", "＝"),
    ],
)
def test_matched_text_is_of_the_row_as_it_stands(row):
    found, index = found_in(["nothing", row], [ITEM])
    start, end = matched_span(row, found.matches[0], index)
    text = row[start:end]
    assert found.matches[0].row == 1
    assert text.lower().startswith("let $a" if "$A" in row or "$a" in row else "let  a")


def test_matched_words_are_the_longest_run_of_the_item():
    found, index = found_in(["So: " + ITEM + " Right?"], [ITEM])
    assert found.matches[0].length == len(index.items[0].keys)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([ITEM, None, "b"], pa.string()),
        pa.array([ITEM, None, "b"], pa.large_string()),
        pa.array([ITEM, None, "b"], pa.string_view()),
        pa.array([ITEM, None, "b"]).dictionary_encode(),
        pa.array(["x", ITEM, None, "b"])[1:],
        pa.array([["first", ITEM], None, ["b"]]),
        pa.array([[{"role": "user", "content": ITEM}, {"role": "assistant", "content": None}], None, []]),
        pa.array([[{"content": "x"}], [{"content": ITEM}], None, [{"content": ""}]])[1:],
        pa.array([[{"from": "human", "value": ITEM}], None, []]),
        pa.array([[{"role": "user", "content": [{"type": "text", "text": ITEM}]}], None, []]),
        pa.array([[{"role": "user", "content": [{"type": "text", "text": ITEM.replace(" ", "\n")}]}], None, []]),
        pa.array(
            [
                [{"role": "user", "content": [{"type": "text", "text": "x"}, {"text": None}]}],
                [{"content": [{"text": part} for part in ITEM.split()]}],
                None,
                [],
            ]
        )[1:],
        pa.array([[{"role": "user", "content": ITEM.split()}], None, []]),
        pa.array(
            [
                [{"content": json.dumps([{"type": "text", "text": ITEM.replace(" ", "\n")}])}, {"content": "x"}],
                None,
                [{"content": '[{"a'}],
            ]
        ),
    ],
    ids=lambda column: str(column.type)[:50],
)
def test_columns_of_any_textual_type(column):
    found = match_column(column, build_index([Benchmark("made", [ITEM])], make_rule(8, "default")))
    assert found.flags[:, 0].tolist() == [True, False, False]
    assert found.oddities.count["null"] == 1
    assert found.oddities.first_row["null"] == 1


@pytest.mark.parametrize("column", [pa.array([1, 2]), pa.array([{"a": "b"}]), pa.array([[1]]), pa.array([b"x"])])
def test_column_without_text_is_refused(column):
    with pytest.raises(ValueError, match="holds no text"):
        match_column(column, build_index([Benchmark("made", [ITEM])], make_rule(8, "default")))


def test_column_of_nulls_is_counted():
    found = match_column(pa.nulls(3), build_index([Benchmark("made", [ITEM])], make_rule(8, "default")))
    assert found.oddities.count == {"null": 3}


@pytest.mark.parametrize("normalization", ["none", "default"])
def test_long_rows_and_broken_bytes_are_matched_and_counted(normalization):
    words = "one two three four five six seven eight"
    rows = [
        "x " * 3_000_000 + ITEM,
        "y" * MAX_STRETCH_BYTES + " " + ITEM,
        "y" * (1 << 22) + f" {words}teen",
    ]
    rows += [words[:-5] + "z" * MAX_STRETCH_BYTES + "a eight", "x " * 600_000 + ITEM + "π" + " y" * 600_000]
    found, index = found_in(rows, [ITEM, words], make_rule(8, normalization))
    assert found.flags[:, 0].tolist() == [True, True, False, False, True]
    assert found.oddities.count == {"without white space for 4 MiB and not checked there": 1}
    for match in found.matches[:2]:
        start, end = matched_span(rows[match.row], match, index)
        assert rows[match.row][start:end].startswith("Let $a$")


@given(
    rows=st.lists(TEXTS, max_size=4),
    items=st.lists(TEXTS, min_size=1, max_size=3),
    n=st.integers(1, 4),
    normalization=st.sampled_from(["none", "default"]),
    piece_bytes=st.integers(1, 12),
)
@example(rows=[], items=["¼À"], n=2, normalization="default", piece_bytes=1)
@example(rows=[], items=["⁰ⁱA"], n=1, normalization="default", piece_bytes=1)
@settings(max_examples=200)
def test_rows_in_pieces_are_flagged_as_whole_ones_are(rows, items, n, normalization, piece_bytes):
    rows, index = (
        pa.array([*rows, *items], pa.string()),
        build_index([Benchmark("made", [*items, "a word"])], make_rule(n, normalization)),
    )
    whole, cut = match_column(rows, index), match_column(rows, index, piece_bytes=piece_bytes)
    assert cut.flags.tolist() == whole.flags.tolist()
    assert [match.row for match in cut.matches] == [match.row for match in whole.matches]
    for match in cut.matches:
        start, end = matched_span(rows[match.row].as_py(), match, index)
        span = rows[match.row].as_py()[start:end]
        words = tuple(token.key for token in original_tokens(span, normalization))
        keys = index.items[match.item].keys[match.place : match.place + match.length]
        # A piece that is folded as one and is several words, as ¼ and ⁰ⁱ are, has all of them in the span.
        pieces = re.findall(FOLDED_AS_ONE, span)
        is_split = any(len(original_tokens(piece, normalization)) > 1 for piece in (pieces[0], pieces[-1]))
        assert words == keys or (is_split and keys in [words[i : i + len(keys)] for i in range(len(words))])


def test_bytes_that_are_no_utf8_are_counted():
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff " + ITEM.encode()]).buffers())
    found = match_column(broken, build_index([Benchmark("made", [ITEM])], make_rule(8, "default")))
    assert found.flags[0, 0]
    assert found.oddities.count == {"not UTF-8": 1}


@pytest.mark.parametrize("values", [{"ngram_size": 0}, {"boilerplate_items": 1}, {"boilerplate_items": -1}])
def test_rules_that_mean_nothing_are_refused(values):
    with pytest.raises(ValueError, match="must be"):
        Rule(**values)


def test_items_without_a_word_are_refused():
    with pytest.raises(ValueError, match="No item"):
        build_index([Benchmark("empty", ["", None, "?!"])], make_rule(8, "default"))
