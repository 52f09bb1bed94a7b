# SPDX-License-Identifier: Apache-2.0
"""How far the watch puts off a deadline for time without a core, by what the kernel tells of threads at each look."""

from types import ModuleType, SimpleNamespace

import pytest

from open_r1.sandbox import harness

WALL_S, TICK_S = 2.0, 0.25
WAITS, RUNS, SLEEPS = b"R", b"R", b"S"


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The driver's part, which finds the others as in a box."""
    monkeypatch.syspath_prepend(harness.__path__[0])
    import watching  # type: ignore[missing-import]

    return watching


@pytest.fixture
def put_off(watching: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """Look at threads that are in these conditions (ran, waited, state), one after the other; return seconds."""

    def look(*told: tuple[int | None, float, bytes], num_threads: int = 1) -> float:
        process = SimpleNamespace(deadline=WALL_S, last_deadline=100 * WALL_S)
        waiting = watching.Waiting(0.0)
        monkeypatch.setattr(watching, "all_others", lambda box: [1])
        monkeypatch.setattr(watching, "threads", lambda pid: list(map(str, range(num_threads))))
        for number, (ran, waited, state) in enumerate(told, 1):
            monkeypatch.setattr(watching, "schedule_of", lambda pid, thread, now=(ran, waited): now)
            monkeypatch.setattr(watching, "state_of", lambda folder, now=state: [now])
            waiting.look(None, [process], number * TICK_S)
        return process.deadline - WALL_S

    return look


def test_a_wait_of_which_the_kernel_tells_late_counts_at_once_and_once(put_off):
    told = [(5, 0.0, RUNS), (5, 0.0, WAITS), (5, 0.0, WAITS), (5, 0.0, WAITS)]
    assert put_off(*told) == 3 * TICK_S
    assert put_off(*told, (9, 3 * TICK_S, RUNS), (12, 3 * TICK_S, RUNS)) == 3 * TICK_S


def test_a_wait_that_is_longer_than_a_look_counts_whole(put_off):
    assert put_off((5, 0.0, SLEEPS), (6, 0.0, SLEEPS), (7, 2 * TICK_S, RUNS)) == 2 * TICK_S


def test_sleeping_and_running_put_nothing_off(put_off):
    assert put_off((5, 0.0, SLEEPS), (5, 0.0, SLEEPS), (5, 0.0, SLEEPS)) == 0
    assert put_off((5, 0.0, RUNS), (6, 0.0, RUNS), (7, 0.0, RUNS)) == 0


def test_a_kernel_that_does_not_count_puts_nothing_off(put_off):
    assert put_off((None, 0.0, RUNS), (None, 0.0, RUNS), (None, 0.0, RUNS)) == 0


def test_many_threads_wait_no_longer_than_the_clock_shows(put_off):
    told = [(number, number * TICK_S, RUNS) for number in range(1, 5)]
    assert put_off(*told, num_threads=20) == 4 * TICK_S
    assert put_off(*told, (5, 4 * TICK_S, SLEEPS), (5, 4 * TICK_S, SLEEPS), num_threads=20) == 4 * TICK_S
