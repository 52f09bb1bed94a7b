# SPDX-License-Identifier: Apache-2.0
"""Verdicts on disk, chunk by chunk, so that judging goes on after kill -9, and other filters need no second judging.

    {"verdicts_of": {"inputs": ["a1b2..."], "gold": "answer", ...}}
    [[0, 0, "right"], [0, 1, "wrong"], [3, 2, "no_answer"]]

A verdict is kept under the number of its row and of its completion.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from open_r1.rewards.verifier import Verdict, verify_all

logger = logging.getLogger(__name__)

CHUNK = 512


class VerdictJournal:
    """The verdicts given so far. Holds about 150 bytes a verdict.

    Args:
        path: The file; None keeps nothing (`--dry_run`).
        settings: What verdicts depend on.
        overwrite: Begin anew where the file was begun with other settings.

    Raises:
        ValueError: The file was begun with other settings, or is none of ours.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.known: dict[tuple[int, int], Verdict] = {}
        if path is None:
            return
        header = {"verdicts_of": settings}
        if path.exists() and not self._load(path, header):
            if not overwrite:
                raise ValueError(
                    f"{path} holds verdicts of other rows or settings than these. Name another --output_dir, or "
                    "replace them with --overwrite."
                )
            logger.info("%s was of other rows or settings: begun anew.", path)
            path.unlink()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(header)
        elif self.known:
            logger.info("%d verdicts of an earlier run are in %s.", len(self.known), path)

    def _load(self, path: Path, header: dict[str, Any]) -> bool:
        """Read the file; return whether it is of these settings. What a killed run left half written is cut off."""
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if not whole:  # killed in the first line
            path.unlink()
            return True
        lines = content[:whole].splitlines()
        try:
            if json.loads(lines[0]) != json.loads(json.dumps(header)):
                return False
            for line in lines[1:]:
                self.known.update({(int(row), int(index)): Verdict(given) for row, index, given in json.loads(line)})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no file of verdicts ({error}): remove it.") from error
        if whole < len(content):
            os.truncate(path, whole)
        return True

    def add(self, keys: Sequence[tuple[int, int]], verdicts: Sequence[str]) -> None:
        """Keep the verdicts of a chunk."""
        if keys:
            self._append([(row, index, verdict) for (row, index), verdict in zip(keys, verdicts, strict=True)])

    def _append(self, value: Any) -> None:
        if self.path is not None:
            with self.path.open("ab") as file:
                file.write(json.dumps(value).encode() + b"\n")


class Judge:
    """Gives verdicts by the verifier, a chunk at a time.

    Args:
        journal: Verdicts given earlier, and where new ones go.
    """

    def __init__(self, journal: VerdictJournal) -> None:
        self.journal = journal
        self.num_judged = 0

    def judge(
        self,
        keys: Sequence[tuple[int, int]],
        golds: Sequence[object],
        texts: Sequence[str],
        questions: Sequence[str | None] | None = None,
    ) -> list[Verdict]:
        """Return the verdicts of completions."""
        questions = [None] * len(keys) if questions is None else questions
        known = self.journal.known
        new = [place for place, key in enumerate(keys) if key not in known]
        verdicts = verify_all(
            [golds[place] for place in new], [texts[place] for place in new], [questions[place] for place in new]
        )
        self.num_judged += len(new)
        self.journal.add([keys[place] for place in new], verdicts)
        found = dict(zip(new, verdicts, strict=True))
        return [found[place] if place in found else known[key] for place, key in enumerate(keys)]
