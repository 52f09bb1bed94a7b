# SPDX-License-Identifier: Apache-2.0
"""The planted corpus: what is found of each kind of disguise, and that nothing else is flagged."""

import random
from collections import Counter, defaultdict

import pyarrow as pa
import pytest

from open_r1.curation.decontamination.index import Benchmark, build_index, make_rule
from open_r1.curation.decontamination.matching import match_column, matched_span
from open_r1.curation.decontamination.near import DEFAULT_THRESHOLD, NearDuplicates
from open_r1.curation.decontamination.normalization import original_tokens
from tests.rows.planted import benchmark_items, clean_rows, contaminated_rows

CONTAMINATED, CLEAN = contaminated_rows(), clean_rows()


def flags(rows, normalization="default", boilerplate_items=None):
    index = build_index([Benchmark("planted", benchmark_items())], make_rule(8, normalization, boilerplate_items))
    return match_column(pa.array([row.text for row in rows]), index).flags[:, 0].tolist()


def recall_by_kind(normalization="default", boilerplate_items=None):
    found = defaultdict(list)
    for row, flag in zip(CONTAMINATED, flags(CONTAMINATED, normalization, boilerplate_items), strict=True):
        found[row.kind].append(flag)
    return {kind: sum(hits) / len(hits) for kind, hits in found.items()}


def test_every_disguise_of_every_kind_of_item_is_found():
    recall = recall_by_kind()
    assert len(recall) == 33
    assert {kind: share for kind, share in recall.items() if share < 1} == {}


def test_other_problems_are_not_flagged():
    assert Counter(row.kind for row, flag in zip(CLEAN, flags(CLEAN), strict=True) if flag) == {}


def test_upstreams_rule_misses_short_items_and_flags_boilerplate():
    recall = recall_by_kind("none")
    assert recall["verbatim, prose"] == recall["verbatim, program"] == 1
    assert recall["verbatim, short"] == recall["verbatim, formula"] == 0
    assert Counter(row.kind for row, flag in zip(CLEAN, flags(CLEAN, "none"), strict=True) if flag) == {
        "boilerplate": 600,
        "programming boilerplate": 600,
    }


@pytest.mark.parametrize(
    "boilerplate_items, stories_found, others_flagged",
    [(0, 1.0, 1200), (2, 1.0, 0), (3, 1.0, 0), (4, 1.0, 0), (8, 1.0, 0), (16, 1.0, 600)],
)
def test_numbers_behind_the_default_of_boilerplate_items(boilerplate_items, stories_found, others_flagged):
    assert recall_by_kind(boilerplate_items=boilerplate_items)["other question, prose"] == stories_found
    assert sum(flags(CLEAN, boilerplate_items=boilerplate_items)) == others_flagged


def test_evidence_is_the_rows_own_text():
    index = build_index([Benchmark("planted", benchmark_items())], make_rule(8, "default"))
    found = match_column(pa.array([row.text for row in CONTAMINATED]), index)
    for match in found.matches:
        start, end = matched_span(CONTAMINATED[match.row].text, match, index)
        words = [token.key for token in original_tokens(CONTAMINATED[match.row].text[start:end], "default")]
        assert tuple(words) == index.items[match.item].keys[match.place : match.place + match.length]
    # Of items that differ in their numbers alone, the row's own is the one that is named.
    named = [match.item == CONTAMINATED[match.row].item for match in found.matches if match.kind == "whole item"]
    assert all(named)


def test_near_duplicates_are_found_by_how_much_was_changed():
    index = build_index([Benchmark("planted", benchmark_items())], make_rule(8, "default"))
    rng = random.Random(3)

    def changed(text, share):
        return " ".join(word if rng.random() > share else "other" for word in text.split())

    near = NearDuplicates(index, DEFAULT_THRESHOLD)
    found = [
        float(near(pa.array([changed(text, share) for text in benchmark_items()[:260]]))[0].mean())
        for share in (0.0, 0.05, 0.1)
    ]
    assert found[0] == 1
    assert found[1] > 0.85
    assert found[2] > 0.5
    flags, matches = near(pa.array([row.text for row in CLEAN[:600]]))
    assert not flags.any()
    assert matches == []
