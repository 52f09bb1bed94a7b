# SPDX-License-Identifier: Apache-2.0
"""The labelled pairs of `assets/benchmarks/verifier/labels`: how they are read, and which half is never tuned on."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LABELS_FOLDER = Path(__file__).resolve().parent.parent / "assets/benchmarks/verifier/labels"


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
    def is_held_out(self) -> bool:
        """Return whether the pair belongs to the half that is never used for tuning."""
        return held_out(self.id)


def held_out(pair_id: str) -> bool:
    """Return whether the hash of the id puts a pair into the half that is never used for tuning.

    >>> held_out("integers-001"), held_out("integers-002")
    (True, False)
    """
    return hashlib.sha256(pair_id.encode()).digest()[0] % 2 == 0


def load_labels(folder: Path = LABELS_FOLDER) -> list[LabelledPair]:
    """Return all labelled pairs, file by file in the order of the names."""
    files = sorted(folder.glob("*.jsonl"))
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
