# SPDX-License-Identifier: Apache-2.0
"""Rounds of a request that goes elsewhere: which inputs each has, and when it's asked whether to go on."""

import asyncio

import pytest

from open_r1.sandbox import Outcome, ProgramInput, ProgramRun, RunRequest, RunResult
from open_r1.sandbox.base import all_ok
from open_r1.sandbox.rounds import run_in_rounds


def run(
    num_inputs: int, most: int, *, stop_after: int | None = None, failing: str = ""
) -> tuple[RunResult, list[str]]:
    """A service that runs at most so many inputs a round; the inputs that it was given, round by round."""
    rounds = []

    async def run_round(part: RunRequest) -> RunResult:
        inputs = [given.stdin for given in part.inputs]
        rounds.append("".join(inputs))
        outcomes = [Outcome.RUNTIME_ERROR if stdin in failing else Outcome.OK for stdin in inputs[:most]]
        return RunResult(None, tuple(ProgramRun(outcome) for outcome in outcomes))

    inputs = tuple(ProgramInput(str(number)) for number in range(num_inputs))
    request = RunRequest("python", {"main.py": ""}, inputs, stop_after=stop_after)
    return asyncio.run(run_in_rounds(request, run_round, all_ok)), rounds


@pytest.mark.parametrize("failing", ["", "0", "2"])
def test_round_that_comes_back_short_is_no_batch(failing):
    """Without batches everything is run; after a short round with a failure the rest was left out."""
    result, rounds = run(5, 2, failing=failing)
    assert None not in result.tests
    assert rounds == ["01234", "234", "4"]


def test_runs_behind_the_batch_that_ended_are_left_out():
    result, rounds = run(8, 9, stop_after=2, failing="3")
    assert rounds == ["01", "2345"]
    assert [done is None for done in result.tests] == [False] * 4 + [True] * 4
