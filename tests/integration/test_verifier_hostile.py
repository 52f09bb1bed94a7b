# SPDX-License-Identifier: Apache-2.0
"""A training-like batch, half of it hostile, through `verify_all`: every good row keeps its verdict, in time."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from open_r1.rewards.verifier import Verdict, verification, verify_all
from tests.rows.hostile_answers import GOLD, GOOD, HOSTILE, HOSTILE_ANSWERS

TIMEOUT_S = 5.0
DEADLINE_S = 50.0  # of 32 rows that take each as long as it may, two at a time, 80 s


@pytest.fixture(autouse=True)
def no_memory():
    """Every row is judged, whatever an earlier test asked."""
    verification._CACHE.clear()


def in_main_thread(golds: list[str], completions: list[str]) -> list[Verdict | None]:
    return verify_all(golds, completions, timeout_s=TIMEOUT_S, deadline_s=DEADLINE_S)


def in_another_thread(golds: list[str], completions: list[str]) -> list[Verdict | None]:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(in_main_thread, golds, completions).result()


@pytest.mark.parametrize("judge", [in_main_thread, in_another_thread])
def test_a_batch_that_is_half_hostile_keeps_its_good_rows_and_its_time(judge, caplog):
    assert len(GOOD) == len(HOSTILE) == 32
    # One after the other, as shuffled rows are.
    golds = [gold for good, _, _ in GOOD for gold in (GOLD, good)]
    completions = [text for hostile, (_, good, _) in zip(HOSTILE, GOOD, strict=True) for text in (hostile, good)]
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        verdicts = judge(golds, completions)
    assert time.monotonic() - start < DEADLINE_S + 25
    assert verdicts[1::2] == [verdict for _, _, verdict in GOOD]
    assert set(verdicts[::2]) <= {Verdict.WRONG, Verdict.NO_ANSWER, Verdict.TIMEOUT, Verdict.CRASH}
    assert caplog.messages == []


def test_hostile_golds_are_nobodys_reward_and_leave_the_good_rows_alone():
    golds = [*HOSTILE_ANSWERS[:26], *(gold for gold, _, _ in GOOD)]
    texts = [r"\boxed{1}"] * 26 + [text for _, text, _ in GOOD]
    verdicts = verify_all(golds, texts, timeout_s=TIMEOUT_S, deadline_s=2 * DEADLINE_S)
    assert verdicts[26:] == [verdict for _, _, verdict in GOOD]
    assert Verdict.RIGHT not in verdicts[:26]
    assert None not in verdicts
