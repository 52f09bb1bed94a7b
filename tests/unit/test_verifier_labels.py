# SPDX-License-Identifier: Apache-2.0
"""The labelled pairs of the verifier's benchmark are well formed, many, and split into two like halves."""

import re
from collections import Counter, defaultdict

import pytest

from open_r1.rewards.verifier import verify
from scripts.verifier_labels import SETS, load_labels

# In these nothing can be right: hostile answers, golds that cannot be judged.
ONE_SIDED = ("hostile", "unreadable_gold")


@pytest.fixture(scope="module")
def pairs():
    return load_labels()


def test_ids_are_unique_and_name_their_category(pairs):
    assert [name for name, count in Counter(pair.id for pair in pairs).items() if count > 1] == []
    assert [pair.id for pair in pairs if not re.fullmatch(rf"{re.escape(pair.category)}-\d{{3}}", pair.id)] == []


def test_no_pair_stands_twice(pairs):
    ids = defaultdict(list)
    for pair in pairs:
        ids[pair.gold, pair.completion].append(pair.id)
    assert [names for names in ids.values() if len(names) > 1] == []


def test_every_pair_has_a_known_label_and_a_reason(pairs):
    assert {pair.label for pair in pairs} == {"right", "wrong", "abstain"}
    assert [pair.id for pair in pairs if not pair.reason.strip()] == []
    assert len(pairs) == 1016


def test_a_category_has_at_least_two_kinds_of_labels(pairs):
    labels = defaultdict(set)
    for pair in pairs:
        labels[pair.category].add(pair.label)
    one_sided = [category for category, kinds in labels.items() if len(kinds) < 2]
    assert [category for category in one_sided if not category.startswith(ONE_SIDED)] == []


def test_the_split_is_near_half(pairs):
    share = sum(pair.is_held_out for pair in pairs) / len(pairs)
    assert 0.43 < share < 0.57


@pytest.mark.parametrize("name", ["open", "sealed"])
def test_pairs_by_others_are_200_with_many_wrong_answers(name):
    found = load_labels(SETS[name])
    assert len({pair.id for pair in found}) == len(found) == 200
    labels = Counter(pair.label for pair in found)
    assert set(labels) == {"right", "wrong", "abstain"} and labels["wrong"] >= 75


def test_no_pair_stands_in_two_sets():
    in_set = {name: {(pair.gold, pair.completion) for pair in load_labels(place)} for name, place in SETS.items()}
    assert not in_set["open"] & in_set["sealed"]
    assert not in_set["labels"] & (in_set["open"] | in_set["sealed"])


# In sums alone: whoever looks at a sealed pair tunes the verifier on it.
@pytest.mark.parametrize(
    ("name", "fewest_right", "most_false_positives"), [("labels", 1016, 0), ("open", 199, 0), ("sealed", 177, 1)]
)
def test_pairs_are_judged_no_worse_than_measured(name, fewest_right, most_false_positives):
    labels = {"right": "right", "wrong": "wrong", "no_answer": "wrong", "unverifiable": "abstain"}
    judged = [(pair.label, labels[verify(pair.gold, pair.completion)]) for pair in load_labels(SETS[name])]
    num_right = sum(label == verdict for label, verdict in judged)
    num_false_positives = sum(verdict == "right" != label for label, verdict in judged)
    assert num_right >= fewest_right
    assert num_false_positives <= most_false_positives
