# SPDX-License-Identifier: Apache-2.0
"""When a job stops before its time limit: at Slurm's warning, later if that comes too early, without one at last."""

import time

import pytest

from open_r1.cluster.own_job import JobRecord
from open_r1.cluster.time_limit import TimeLimit, notice_s


def record(*, total_s: float, left_s: float) -> JobRecord:
    now = time.time()
    return JobRecord(None, None, 0, "RUNNING", now + left_s - total_s, now + left_s, False)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """What Slurm says when it is asked again."""
    path = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def say(*, total_s: float, left_s: float) -> None:
        now = int(time.time())
        path.write_text(f"#!/bin/sh\necho 7 7 N/A 0 RUNNING {now + left_s - total_s:.0f} {now + left_s:.0f} N/A\n")
        path.chmod(0o755)

    return say


@pytest.mark.parametrize(
    ("total_s", "left_s", "notice"),
    [
        (259_200, 600, 600),  # three days: as Slurm says
        (1300, 600, 600),
        (1200, 600, 300),  # half of the job: its last quarter
        (900, 590, 225),
        (300, 290, 75),
        (120, 110, 60),  # a minute at least
        (60, 50, 50),
        (float("inf"), 600, 600),
        (86_400, 86_300, 86_300),  # by hand: Slurm can't warn so early
        (86_400, 65_535, 21_600),
    ],
)
def test_warning_that_comes_too_early_is_heeded_later(total_s, left_s, notice):
    assert notice_s(total_s, left_s) == notice


def test_time_is_not_near_before_a_warning():
    limit = TimeLimit("7", record(total_s=1000, left_s=500))
    assert not limit.is_near()


def test_warning_is_heeded_at_once_where_it_leaves_less_than_half(squeue):
    squeue(total_s=10_000, left_s=600)
    limit = TimeLimit("7", record(total_s=10_000, left_s=600))
    limit.warn()
    assert limit.is_near()


def test_early_warning_lets_the_work_go_on_and_says_so(squeue, caplog):
    squeue(total_s=300, left_s=280)
    limit = TimeLimit("7", record(total_s=300, left_s=280))
    limit.warn()
    assert not limit.is_near() and not limit.is_near()
    assert caplog.text.count("goes on until 75 s are left") == 1


def test_early_warning_is_heeded_in_the_end(squeue, monkeypatch):
    squeue(total_s=300, left_s=280)
    limit = TimeLimit("7", record(total_s=300, left_s=280))
    limit.warn()
    assert not limit.is_near()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 210)
    assert limit.is_near()


def test_second_warning_is_heeded_at_once(squeue, caplog):
    squeue(total_s=36_000, left_s=28_800)
    limit = TimeLimit("7", record(total_s=36_000, left_s=28_800))
    limit.warn()
    assert not limit.is_near()
    assert "send the signal once more: scancel --batch --signal=USR1 7" in caplog.text
    limit.warn()
    assert limit.is_near()


def test_two_warnings_that_come_together_are_heeded_at_once(squeue):
    squeue(total_s=36_000, left_s=28_800)
    limit = TimeLimit("7", record(total_s=36_000, left_s=28_800))
    limit.warn()
    limit.warn()
    assert limit.is_near()


def test_second_warning_learns_of_a_limit_that_was_cut(squeue):
    squeue(total_s=36_000, left_s=28_800)
    limit = TimeLimit("7", record(total_s=36_000, left_s=28_800))
    limit.warn()
    assert not limit.is_near()
    squeue(total_s=8000, left_s=500)
    limit.warn()
    assert limit.is_near() and limit.left_s == pytest.approx(500, abs=30)


def test_warning_without_an_answer_of_slurm_is_heeded_by_the_own_clock(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    limit = TimeLimit("7", record(total_s=10_000, left_s=600))
    limit.warn()
    assert limit.is_near() and limit.left_s == pytest.approx(600, abs=30)


def test_warning_of_an_unknown_end_is_heeded(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    limit = TimeLimit("7", None)
    assert not limit.is_near()
    limit.warn()
    assert limit.is_near() and limit.left_s is None


def test_lost_warning_is_made_up_for_at_the_last_moment():
    assert TimeLimit("7", record(total_s=10_000, left_s=29)).is_near()
    assert not TimeLimit("7", record(total_s=10_000, left_s=40)).is_near()
    assert not TimeLimit("7", record(total_s=60, left_s=20)).is_near()


def test_limit_that_was_raised_is_learned(squeue, monkeypatch):
    limit = TimeLimit("7", record(total_s=1000, left_s=50))
    squeue(total_s=5000, left_s=4000)
    elapsed, now = 40.0, time.time()
    clock = time.monotonic()
    monkeypatch.setattr(time, "time", lambda: now + elapsed)
    monkeypatch.setattr(time, "monotonic", lambda: clock + elapsed)
    assert not limit.is_near()
    assert limit.left_s > 3000
