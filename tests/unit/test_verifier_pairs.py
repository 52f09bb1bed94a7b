# SPDX-License-Identifier: Apache-2.0
"""Pairs of golds and completions with their verdicts: assets/benchmarks/verifier/pairs.jsonl, a topic at a time.

{"topic": "near misses", "gold": "|x-10|", "completion": "\\boxed{10-x}", "verdict": "wrong"}
"""

import json
from pathlib import Path

import pytest

from open_r1.rewards.verifier import verify

PAIRS_FILE = Path(__file__).resolve().parents[2] / "assets/benchmarks/verifier/pairs.jsonl"
ROWS = [json.loads(line) for line in PAIRS_FILE.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("topic", dict.fromkeys(row["topic"] for row in ROWS))
def test_pairs_have_their_verdicts(topic: str):
    rows = [row for row in ROWS if row["topic"] == topic]
    assert [{**row, "verdict": str(verify(row["gold"], row["completion"], row.get("prompt")))} for row in rows] == rows
