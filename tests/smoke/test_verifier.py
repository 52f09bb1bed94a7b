# SPDX-License-Identifier: Apache-2.0
"""A batch that is a third hostile keeps the verdicts of its good rows; all hostile answers: tests/integration."""

from open_r1.rewards.verifier import Verdict, verify_all
from tests.rows.hostile_answers import GOLD, GOOD, HOSTILE

WRONG = {Verdict.WRONG, Verdict.NO_ANSWER}


def test_good_rows_keep_their_verdicts_beside_hostile_ones():
    hostile = HOSTILE[::2]
    golds = [*(gold for gold, _, _ in GOOD), *[GOLD] * len(hostile)]
    texts = [*(text for _, text, _ in GOOD), *hostile]
    verdicts = verify_all(golds, texts)
    assert verdicts[: len(GOOD)] == [verdict for _, _, verdict in GOOD]
    assert set(verdicts[len(GOOD) :]) <= WRONG
