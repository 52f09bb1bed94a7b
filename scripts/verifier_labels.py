# SPDX-License-Identifier: Apache-2.0
"""Labelled pairs for `bench_verifier.py`: the labels, of which half is never tuned on, open pairs, and sealed ones."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAIRS_FOLDER = Path(__file__).resolve().parent.parent / "assets/benchmarks/verifier"
LABELS_FOLDER = PAIRS_FOLDER / "labels"
# Open and sealed pairs are by somebody who had not seen the verifier; the sealed ones are looked at in sums only.
SETS = {"labels": LABELS_FOLDER, "open": PAIRS_FOLDER / "open.jsonl", "sealed": PAIRS_FOLDER / "sealed.jsonl"}


@dataclass(frozen=True)
class LabelledPair:
    """A gold and a completion with the verdict that mathematics and the verifier's table give the pair.

    `label` is "right", "wrong", or "abstain" for a gold that cannot be judged; `reason` says why in a few words.
    """

    id: str
    category: str
    gold: str
    completion: str
    label: str
    reason: str

    @property
    def is_hostile(self) -> bool:
        """Whether the completion is made to hang or break a judge."""
        return self.category.startswith("hostile")

    @property
    def is_held_out(self) -> bool:
        """Whether the hash of the id puts a label into the half that is never used for tuning."""
        return hashlib.sha256(self.id.encode()).digest()[0] % 2 == 0


def load_labels(place: Path = LABELS_FOLDER) -> list[LabelledPair]:
    """Return the pairs of a file, or of a folder's files in the order of their names; none where there is no file."""
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place] if place.is_file() else []
    lines = [line for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
    return [LabelledPair(**unfold(json.loads(line))) for line in lines]


def unfold(row: dict[str, Any]) -> dict[str, str]:
    """Return the row with its long texts written out.

    A million characters are kept as pieces and counts, under `gold_repeat` or `completion_repeat`.

    >>> unfold({"id": "hostile-001", "gold_repeat": [["ab", 2], ["!", 1]]})
    {'id': 'hostile-001', 'gold': 'abab!'}
    """
    return {
        name.removesuffix("_repeat"): "".join(piece * count for piece, count in value)
        if name.endswith("_repeat")
        else value
        for name, value in row.items()
    }
