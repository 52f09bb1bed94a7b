# SPDX-License-Identifier: Apache-2.0
"""A reward that leaves the program or hangs ends the run with an error that names it, never with status 0."""

import pytest

from tests.integration.fork_driver import ForkDriver
from tests.integration.tiny import build_tiny

CODE = """
import asyncio, os, re, sys, time

calls = 0

def is_time():
    global calls
    calls += 1
    return calls > 2  # the first one is the trial call

def sys_exit(completions, **columns):
    if is_time():
        sys.exit(0)
    return [0.0] * len(completions)

async def exit_later(completions, **columns):
    if is_time():
        sys.exit()
    return [0.0] * len(completions)

def mapping(completions, **columns):
    return dict.fromkeys(range(len(completions)), 1.0) if is_time() else [0.0] * len(completions)

def sleeps(completions, **columns):
    while is_time():
        try:
            time.sleep(600)
        except Exception:
            pass
    return [0.0] * len(completions)

def matches(completions, **columns):
    if is_time():
        re.match("(a+)+$", "a" * 60 + "b")
    return [0.0] * len(completions)

async def waits(completions, **columns):
    if is_time():
        await asyncio.sleep(600)
    return [0.0] * len(completions)

"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def driver():
    driver = ForkDriver({})
    yield driver
    driver.close()


@pytest.fixture
def run(driver, tiny, tmp_path):
    """Return the function that trains with a reward of the file: exit status and what was said."""
    code = tmp_path / "rewards.py"
    code.write_text(CODE, encoding="utf-8")

    def run_with(function, **settings):
        argv = tiny.argv("grpo", tmp_path / "out", reward_funcs=[f"{code}:{function}"], save_steps=1, **settings)
        training = driver.start("grpo", argv, tmp_path / "log")
        return training.wait(), (tmp_path / "log").read_text(encoding="utf-8")

    return run_with


@pytest.mark.parametrize("function", ["sys_exit", "exit_later", "mapping", "sleeps", "matches", "waits"])
def test_reward_that_does_not_return_its_values_is_an_error_that_names_it(run, tmp_path, function):
    status, said = run(function, reward_timeout_s=2)
    assert status == 1, said[-3000:]
    assert f"rewards.py:{function}'" in said or ('rewards.py", line ' in said and f" in {function}" in said)
    assert not (tmp_path / "out" / "model.safetensors").exists()
