# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the verifier: a judge that hangs loses its row and comes back, scores are as described."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.verifier_batches import hostile_batch, training_batch
from scripts.verifier_judges import JudgeProcess, Reply
from scripts.verifier_labels import LabelledPair

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    import bench_verifier

    return bench_verifier


def test_a_judge_that_hangs_loses_its_row_and_comes_back():
    with JudgeProcess("math-verify") as judge:
        reply = judge.ask([("7", r"\boxed{10^{10^{10}} - 10^{10^{10}} + 2}")], deadline_s=0.5)
        assert (reply.verdicts, reply.error) == (["lost"], "no reply in 0.5 s")
        assert judge.ask([("7", r"\boxed{7}"), ("7", r"\boxed{8}")], deadline_s=120).verdicts == ["right", "wrong"]


def test_a_judge_that_raises_loses_its_rows_and_comes_back():
    with JudgeProcess("trl") as judge:
        reply = judge.ask([("7",)], deadline_s=120)  # no completion
        assert reply.verdicts == ["lost"]
        assert "Error" in reply.error
        assert judge.ask([("7", r"\boxed{7}")], deadline_s=120).verdicts == ["right"]


def test_a_score_counts_as_described(bench):
    labels = ["right", "right", "right", "wrong", "wrong", "abstain"]
    verdicts = ["right", "wrong", "abstain", "right", "lost", "abstain"]
    pairs = [LabelledPair(f"x-{n}", "x", "1", "1", label, "why") for n, label in enumerate(labels)]
    replies = {pair: Reply([verdict], 0.1) for pair, verdict in zip(pairs, verdicts, strict=True)}
    assert bench.score(bench.found_in(pairs, replies)) == pytest.approx(
        {
            "accuracy": 100 * 2 / 6,
            "without abstain": 100 * 1 / 5,
            "where judged": 100 * 1 / 4,
            "precision": 100 * 1 / 2,
            "recall": 100 * 1 / 3,
            "abstention": 100 * 2 / 6,
        }
    )
    part, name, num_right, num_false, *_, num_lost = bench.total_row("open", pairs, "trl", replies)
    assert (part, name, num_right, num_false, num_lost) == ("open (6)", "trl", 2, 1, 1)


def test_errors_are_listed_but_for_held_out_labels_and_sealed_pairs(bench, monkeypatch, tmp_path):
    for name, id in (("labels", "x"), ("open", "o"), ("sealed", "s")):
        row = {"category": "x", "gold": "1", "completion": "1", "label": "right", "reason": "why"}
        lines = [json.dumps({"id": f"{id}-{number:03d}", **row}) for number in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        monkeypatch.setitem(bench.SETS, name, tmp_path / f"{name}.jsonl")
    monkeypatch.setattr(sys, "argv", ["bench_verifier.py", "--judges", "ours", "--show_errors"])
    text = "\n".join(bench.accuracy_section(bench.parse_command_line()))
    listed = re.findall(r"- ([xos]-\d{3})", text)
    tuned = [pair.id for pair in bench.load_labels(tmp_path / "labels.jsonl") if not pair.is_held_out]
    assert listed == [*(f"o-{number:03d}" for number in range(20)), *tuned]
    assert "| sealed (20) | ours | 0 | 0 |" in text


def test_a_training_batch_has_32_groups_of_16_and_is_the_same_for_a_seed():
    rows = training_batch(3)
    assert rows == training_batch(3) != training_batch(4)
    golds = [rows[place].gold for place in range(0, 512, 16)]
    assert [row.gold for row in rows] == [gold for gold in golds for _ in range(16)]
    assert 0.2 < sum(row.is_right for row in rows) / 512 < 0.8
    kinds = Counter("integer" if re.fullmatch(r"-?\d+", gold) else "other" for gold in golds)
    assert kinds == {"integer": 19, "other": 13}


def test_half_of_the_hostile_batch_is_good():
    rows, good = hostile_batch([("7", "hostile")] * 32)
    assert len(rows) == 64
    assert len(good) == 32
    assert sum(rows[place].is_right for place in good) == 16
    assert all(rows[place].completion == "hostile" for place in range(64) if place not in good)
