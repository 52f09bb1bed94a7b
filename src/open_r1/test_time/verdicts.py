# SPDX-License-Identifier: Apache-2.0
"""Verdicts on attempts, all by the judge of now: a curve with those of two verifiers, or sandboxes, compares nothing.

An attempt whose record has the text that was judged is judged again, and costs no tokens. What votes and oracles chose
another judge would choose otherwise, and of pools the texts aren't kept: these are solved again.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from open_r1.data.card import plain_json
from open_r1.evaluation.judges import Judge
from open_r1.generation.journal import Journal
from open_r1.test_time.results import Attempt, Setting, from_record, to_record

logger = logging.getLogger(__name__)

_JUDGED_BY = "judged_by"


class Verdicts:
    """Asks the judge of the problems.

    Attributes:
        settings: What of the judge decides verdicts.

    Raises:
        ValueError: This machine can't judge.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.settings = judge.check()
        content = json.dumps(plain_json(self.settings), sort_keys=True)
        self._name = hashlib.sha256(content.encode()).hexdigest()[:16]

    def counts(self, record: Mapping[str, Any]) -> bool:
        """Whether a record of the journal counts: its verdict is of this judge, or can be had from its text."""
        return record.get(_JUDGED_BY) == self._name or Setting(record["method"], record["values"]).keeps_text

    def judged(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Return attempts with answers and scores.

        Raises:
            JudgingError: The sandbox is gone.
        """
        found = [(one, list(one.chances) or [(one.text, 1.0)]) for one in attempts]
        pairs = list(dict.fromkeys((one.problem_row, text) for one, choices in found for text, _ in choices))
        judgements = self._judge.judge([row for row, _ in pairs], [text for _, text in pairs])
        by_pair = dict(zip(pairs, judgements, strict=True))
        return [
            replace(
                one,
                score=math.fsum(chance * by_pair[one.problem_row, text].score for text, chance in choices),
                answer=one.answer if one.chances else by_pair[one.problem_row, one.text].extracted,
            )
            for one, choices in found
        ]

    def record_of(self, attempt: Attempt, repeat: int) -> dict[str, Any]:
        """Return the line of a journal for an attempt that was judged."""
        return {**to_record(attempt, repeat), _JUDGED_BY: self._name}

    def attempts_of(self, records: Sequence[Mapping[str, Any]], journal: Journal) -> list[Attempt]:
        """Return the attempts of records; what is judged again is added to the journal.

        That is what another judge has judged, and what could not be judged then, since workers or a sandbox were lost.

        Raises:
            JudgingError: The sandbox is gone.
            JournalError: The disk takes no more.
        """
        due = [record for record in records if self._is_due(record)]
        if due:
            logger.info("%d attempts are judged again: another verifier or sandbox did, or nobody could.", len(due))
        again = self.judged(map(from_record, due))
        journal.append(*(self.record_of(one, one.repeat) for one in again if not math.isnan(one.score)))
        left = iter(again)
        return [next(left) if self._is_due(record) else from_record(record) for record in records]

    def _is_due(self, record: Mapping[str, Any]) -> bool:
        return record["score"] is None or record.get(_JUDGED_BY) != self._name
