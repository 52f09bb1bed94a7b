# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the verifier: a judge that hangs loses its row and comes back, scores are as described."""

import re
from collections import Counter
from pathlib import Path

import pytest

from scripts.verifier_batches import hostile_batch, training_batch
from scripts.verifier_judges import JudgeProcess
from scripts.verifier_labels import LabelledPair

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    import bench_verifier

    return bench_verifier


def test_a_judge_that_hangs_loses_its_row_and_comes_back():
    with JudgeProcess("math-verify") as judge:
        judge.start()
        reply = judge.ask([("7", r"\boxed{10^{10^{10}} - 10^{10^{10}} + 2}")], deadline_s=0.5)
        assert (reply.verdicts, reply.error) == (["lost"], "no reply in 0.5 s")
        assert judge.ask([("7", r"\boxed{7}"), ("7", r"\boxed{8}")], deadline_s=120).verdicts == ["right", "wrong"]


def test_a_judge_that_raises_loses_its_rows_and_comes_back():
    with JudgeProcess("trl") as judge:
        reply = judge.ask([("7",)], deadline_s=120)  # no completion
        assert reply.verdicts == ["lost"]
        assert "ValueError" in reply.error
        assert judge.ask([("7", r"\boxed{7}")], deadline_s=120).verdicts == ["right"]


def test_a_score_counts_as_described(bench):
    labels = ["right", "right", "right", "wrong", "wrong", "abstain"]
    verdicts = ["right", "wrong", "abstain", "right", "lost", "abstain"]
    pairs = [LabelledPair(f"x-{n}", "x", "1", "1", label, "why") for n, label in enumerate(labels)]
    found = bench.score(pairs, verdicts)
    assert found.accuracy == pytest.approx(100 * 2 / 6)
    assert found.judgeable == pytest.approx(100 * 1 / 5)
    assert found.judged == pytest.approx(100 * 1 / 4)
    assert found.precision == pytest.approx(100 * 1 / 2)
    assert found.recall == pytest.approx(100 * 1 / 3)
    assert found.abstention == pytest.approx(100 * 2 / 6)
    assert found.num_lost == 1


def test_the_list_of_errors_keeps_the_held_out_half_to_itself(bench):
    pairs = [LabelledPair(f"x-{n:03d}", "x", "1", "1", "right", "why") for n in range(50)]
    listed = re.findall(r"x-\d{3}", "\n".join(bench.error_list(pairs, ["wrong"] * 50)))
    assert listed == [pair.id for pair in pairs if not pair.is_held_out]


def test_a_training_batch_has_32_groups_of_16_and_is_the_same_for_a_seed():
    rows = training_batch(3)
    assert rows == training_batch(3) != training_batch(4)
    golds = [rows[place].gold for place in range(0, 512, 16)]
    assert [row.gold for row in rows] == [gold for gold in golds for _ in range(16)]
    assert 0.2 < sum(row.is_right for row in rows) / 512 < 0.8
    kinds = Counter("integer" if re.fullmatch(r"-?\d+", gold) else "other" for gold in golds)
    assert kinds == {"integer": 19, "other": 13}


def test_half_of_the_hostile_batch_is_good():
    rows, good = hostile_batch()
    assert len(rows) == 64
    assert len(good) == 32
    assert sum(rows[place].is_right for place in good) == 16
    assert sum(len(row.completion) for row in rows) > 5_000_000
