# SPDX-License-Identifier: Apache-2.0
"""What is shown of a run: counts of all runs, rates of this one."""

import re

from open_r1.generation.engine import Totals
from open_r1.generation.progress import Pace, describe
from open_r1.generation.requests import ChatReply


def reply(text="8", finish_reason="stop", tokens=10, attempts=1):
    usage = {"prompt_tokens": 3, "completion_tokens": tokens}
    return ChatReply(text, finish_reason, usage, 200, attempts, 0.1, "http://a/v1", None if text else "no")


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
