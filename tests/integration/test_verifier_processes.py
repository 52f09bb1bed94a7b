# SPDX-License-Identifier: Apache-2.0
"""The verifier on hostile pairs from where rewards are called: a thread, a forked process, two ranks."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from open_r1.rewards.verifier import Verdict, judge_completion, verify_all
from open_r1.rewards.verifier.budget import limited_to, spend
from open_r1.rewards.verifier.judge import FAILED, _judge_kept_pair
from tests.rows.hostile_answers import GOLD, GOOD, HOSTILE, HOSTILE_ANSWERS

# One after the other, as shuffled rows are.
GOLDS = [gold for good, _, _ in GOOD for gold in (GOLD, good)]
TEXTS = [text for hostile, (_, good, _) in zip(HOSTILE, GOOD, strict=True) for text in (hostile, good)]


def judge() -> list[str]:
    _judge_kept_pair.cache_clear()
    return [verdict.value for verdict in verify_all(GOLDS, TEXTS)]


def in_a_thread() -> list[list[str]]:
    with ThreadPoolExecutor(1) as executor:
        return [executor.submit(judge).result()]


def in_a_fork() -> list[list[str]]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        return [executor.submit(judge).result()]


def in_two_ranks() -> list[list[str]]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        return [future.result() for future in [executor.submit(judge) for _ in range(2)]]


@pytest.fixture(scope="module")
def expected() -> list[str]:
    return judge()


def test_good_rows_keep_their_verdicts_beside_hostile_ones(expected):
    assert len(GOOD) == len(HOSTILE) == 32
    assert expected[1::2] == [verdict for _, _, verdict in GOOD]
    assert set(expected[::2]) <= {Verdict.WRONG, Verdict.NO_ANSWER}


def with_little_memory() -> list[list[str]]:
    """Judges in a process that may take no more than 128 MiB beyond its imports."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=limit_memory) as executor:
        return [executor.submit(judge).result()]


def limit_memory() -> None:
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (128 << 20),) * 2)


@pytest.mark.parametrize("judges", [in_a_thread, in_a_fork, in_two_ranks, with_little_memory])
def test_a_batch_that_is_half_hostile_has_the_same_verdicts_everywhere(judges: Callable, expected):
    for found in judges():
        assert found == expected


def test_a_fork_of_a_process_that_is_judging_in_a_thread_judges_too(expected):
    with ThreadPoolExecutor(1) as executor:
        own = executor.submit(judge)
        while not _judge_kept_pair.cache_info().currsize:
            time.sleep(0.001)
        assert in_a_fork() == [expected]
        assert own.result() == expected


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:25]))
def test_no_hostile_answer_fails_or_takes_more_than_its_steps(text: str):
    _judge_kept_pair.cache_clear()
    start = time.process_time()
    with limited_to(1_000_000):
        assert judge_completion(GOLD, text).rule != FAILED
        spend(1)  # raises where the pair has taken them all
    # What isn't counted in steps takes no time either; the machine may be slow.
    assert time.process_time() - start < 4


def test_hostile_golds_are_nobodys_reward():
    # 10^{10^{10}} - 10^{10^{10}} + 1 is 1, and is judged so.
    golds = [text for text in HOSTILE_ANSWERS if not text.endswith("+1")]
    verdicts = verify_all(golds, [r"\boxed{1}"] * len(golds))
    assert set(verdicts) <= {Verdict.UNVERIFIABLE, Verdict.WRONG}


def test_rows_are_judged_by_the_calling_process_alone():
    before = set(Path("/proc/self/task").iterdir())
    judge()
    assert set(Path("/proc/self/task").iterdir()) <= before
    assert multiprocessing.active_children() == []
