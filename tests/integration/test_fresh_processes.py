# SPDX-License-Identifier: Apache-2.0
"""Rows and fingerprints are the same in another process; loops of sandboxes and async rewards survive a fork."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from open_r1.data.card import DataCard
from open_r1.rewards import get_reward_funcs, run_reward
from open_r1.sandbox import run_coroutine
from open_r1.tasks import load_task
from tests.unit.test_rewards_table import arguments
from tests.unit.test_tasks import CONFIGS


def printed_by(program: str, *words: str) -> str:
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("task", "config"),
    [
        *(("running_sums", config) for config in CONFIGS),
        ("countdown", "3to4,num_train=600,num_test=60"),
        ("knights_knaves", "3to7,num_train=500,num_test=60"),
    ],
)
def test_a_seed_gives_the_same_rows_in_another_process(task, config):
    program = "import json, sys; from open_r1.tasks import load_task; print(json.dumps(load_task(*sys.argv[1:3], 1)))"
    assert json.loads(printed_by(program, task, config)) == load_task(task, config, 1)


def test_fingerprint_is_the_same_in_another_process():
    program = "from open_r1.data.card import *; print(DataCard('x', {'s': set('abcdef'), 'p': 1.5}).fingerprint())"
    expected = DataCard("x", {"s": set("abcdef"), "p": 1.5}).fingerprint() + "\n"
    assert [printed_by(program) for _ in range(2)] == [expected] * 2


def is_true_in_a_fork(check: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_gets_a_loop_of_its_own():
    async def answer() -> int:
        return 42

    assert run_coroutine(answer) == 42
    assert is_true_in_a_fork(lambda: run_coroutine(answer) == 42)


def test_async_reward_is_awaited_in_a_forked_process(tmp_path):
    path = tmp_path / "rewards.py"
    path.write_text(
        "import asyncio\n"
        "async def patience(completions, **columns):\n"
        "    await asyncio.sleep(0)\n"
        "    return [float(len(text)) for text in completions]\n"
    )
    (reward,) = get_reward_funcs(arguments(f"{path}:patience"))
    assert run_reward(reward, completions=["abc"]) == [3.0]
    assert is_true_in_a_fork(lambda: run_reward(reward, completions=["abcd"]) == [4.0])
