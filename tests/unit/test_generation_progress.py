# SPDX-License-Identifier: Apache-2.0
"""What is shown of a run: counts of all runs, rates of this one."""

import asyncio
import logging
import re

from open_r1.generation import progress
from open_r1.generation.engine import Totals
from open_r1.generation.messages import Reply
from open_r1.generation.progress import FIRST_LINE_S, LINE_EVERY_S, Pace, describe
from open_r1.test_time.progress import LineClock


def reply(text="8", finish_reason="stop", tokens=10, attempts=1):
    usage = {"prompt_tokens": 3, "completion_tokens": tokens}
    return Reply(text, finish_reason, usage, 200, attempts, 0.1, "http://a/v1", None if text else "no")


def test_totals_tell_failed_from_truncated_and_sum_tokens():
    totals = Totals()
    for one in (reply(), reply(finish_reason="length", tokens=99), reply(None, "error", 0, attempts=4)):
        totals.add(one, 1)
    assert (totals.done, totals.failed, totals.truncated, totals.retries) == (3, 1, 1, 3)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.last_error) == (9, 109, "no")


def test_line_counts_what_earlier_runs_did_and_rates_what_this_one_does():
    totals = Totals(skipped=100)
    pace = Pace(totals)
    for _ in range(20):
        totals.add(reply(), 1)
    line = describe(totals, 400, pace)
    assert line.startswith("120 of 400 generations, 0 failed, 0 truncated, 0 retries, ")
    requests_per_s, tokens_per_s = (float(value) for value in re.findall(r"([\d.]+) (?:requests|tokens)/s", line))
    assert requests_per_s > 0
    assert tokens_per_s > requests_per_s
    assert re.search(r", [\d:]+ left$", line)


def test_time_left_is_unknown_before_the_first_reply():
    totals = Totals()
    assert describe(totals, 400, Pace(totals)).endswith("0.0 requests/s, 0 tokens/s, time left unknown")


def test_a_log_has_its_first_line_soon_and_the_next_later(monkeypatch, caplog):
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0.0)
    caplog.set_level(logging.INFO)

    async def watch():
        async with progress.progress(Totals(skipped=3), 7):
            while not caplog.records:
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(watch(), LINE_EVERY_S))
    (line,) = caplog.messages
    assert line.startswith("3 of 7 generations")


def test_lines_of_attempts_are_due_soon_and_then_now_and_then():
    clock = LineClock()
    begun = clock.begun
    assert not clock.is_due(begun + FIRST_LINE_S / 2)
    assert clock.is_due(begun + FIRST_LINE_S)
    assert not clock.is_due(begun + LINE_EVERY_S)
    assert clock.is_due(begun + FIRST_LINE_S + LINE_EVERY_S)
