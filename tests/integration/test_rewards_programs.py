# SPDX-License-Identifier: Apache-2.0
"""Rewards that run programs, in real boxes: values, where they may be called from, and which router they ask."""

import asyncio
import json
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import open_r1
from open_r1.configs import GRPOScriptArguments
from open_r1.rewards import (
    UNSCORABLE,
    Reward,
    code_reward,
    get_reward_funcs,
    is_unscorable,
)
from open_r1.sandbox import Limits, RunRequest, SandboxError, run_coroutine
from open_r1.sandbox.local import LocalSandbox
from tests.integration.program_rows import CODE, fenced
from tests.integration.routers import serve

RIGHT = "a, b = map(int, input().split())\nprint(a + b)"
PREFIX = "print(3, end='')"  # right for the first test alone
INFO: dict[str, Any] = CODE["verification_info"]
CALLS = {
    "language": "python",
    "test_cases": [
        {"type": "function_call", "fn_name": "add", "input": "[1, 2]", "output": "3"},
        {"type": "function_call", "fn_name": "add", "input": "[2, 2]", "output": "4"},
    ],
}
HALF_IN_CPP = "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << (a > 0 ? a + b : 7); }"


def build(name: str = "code", **settings: Any) -> Reward:
    return get_reward_funcs(GRPOScriptArguments(dataset_name="x", reward_funcs=[name], **settings))[0]


PROGRAMS = [
    # program, language of the fence, tests, share of tests passed, verdicts
    (RIGHT, "python", INFO, 1.0, "AC x3"),
    (RIGHT, "Py", INFO, 1.0, "AC x3"),
    (PREFIX, "python3", INFO, 1 / 3, "AC, WA x2"),
    ("", "python", INFO, 0.0, "no_program"),
    ("import sys; sys.exit(1)", "python", INFO, 0.0, "RE x3"),
    ("print(", "python", INFO, 0.0, None),
    ("print(sum(map(int, input().split())) if input else 0)", "python", INFO, 1.0, "AC x3"),
    (HALF_IN_CPP, "c++", {**INFO, "language": "cpp"}, 2 / 3, "AC x2, WA"),
    ("int main() {", "cpp", {**INFO, "language": "cpp"}, 0.0, "CE x3"),
    ("def add(a, b): return a + b", "python", CALLS, 1.0, "AC x2"),
    ("def add(a, b): print(3); return 3", "python", CALLS, 0.5, "AC, WA"),
    ("import sys\nprint('AC')\nsys.exit(0)", "python", CALLS, 0.0, None),
]


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    """All of the programs above in one call, as in a batch of a mixture."""
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    values = build(parallel_code_exec_per_proc=4)(
        completions=[fenced(program, language) for program, language, *_ in PROGRAMS],
        verification_info=[json.dumps(tests) for _, _, tests, *_ in PROGRAMS],
        log_extra=extra.__setitem__,
        log_metric=metrics.__setitem__,
    )
    return {"values": values, "verdicts": extra["code_reward/verdicts"], "metrics": metrics}


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=[program[0][:30] for program in PROGRAMS])
def test_program_earns_the_share_of_its_tests(number: int, judged):
    *_, share, verdicts = PROGRAMS[number]
    assert judged["values"][number] == pytest.approx(share)
    if verdicts is not None:
        assert judged["verdicts"][number] == verdicts


def test_slow_test_costs_that_test_alone():
    slow = "a, b = map(int, input().split())\nwhile a == 10: pass\nprint(a + b)"
    assert build(code_test_timeout_s=3)(completions=[fenced(slow)], verification_info=[INFO]) == [pytest.approx(2 / 3)]


TEN = {
    "language": "python",
    "test_cases": [{"type": "stdin_stdout", "input": f"{n} 1", "output": str(n + 1)} for n in range(10)],
}
LOOP, SLEEP = "while True: pass", "import time\ntime.sleep(999)"


@pytest.mark.parametrize("program", [LOOP, SLEEP])
def test_submission_that_runs_out_of_time_is_stopped_by_its_budget(program: str):
    extra: dict[str, list] = {}
    settings = {"limits": Limits(cpu_s=0.5, wall_s=1.0), "log_extra": extra.__setitem__}
    assert code_reward([fenced(program)], verification_info=[TEN], **settings) == [0.0]
    assert extra["code_reward/verdicts"] == ["TLE x2, OVER x8"]


def test_call_in_the_documents_gives_what_it_says():
    text = (Path(__file__).resolve().parents[2] / "recipes" / "REWARDS.md").read_text(encoding="utf-8")
    (example,) = [part for part in text.split("\n```python\n") if part.startswith("from open_r1.rewards import")]
    *lines, call = example.partition("\n```\n")[0].splitlines()
    call, _, result = call.rpartition("  # ")
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert eval(call, names) == json.loads(result)


def test_completion_reaches_its_verdict_through_few_files():
    """Counts files of functions that are called on this machine, outside the box, once all is warm."""
    root, files = Path(open_r1.__file__).parent, set()
    reward, row = build(), {"completions": [fenced(RIGHT)], "verification_info": [INFO]}

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(root):
            files.add(path.relative_to(root).as_posix())

    async def watch_loop(profile):
        sys.setprofile(profile)

    assert reward(**row) == [1.0]
    run_coroutine(partial(watch_loop, note))
    sys.setprofile(note)
    values = reward(**row)
    sys.setprofile(None)
    run_coroutine(partial(watch_loop, None))
    assert values == [1.0]
    assert {name for name in files if not name.startswith("sandbox/")} == {
        "rewards/base.py", "rewards/program_rewards.py",
        "grading/cases.py", "grading/programs.py", "grading/compare.py", "grading/verdict.py",
    }  # fmt: skip
    assert len(files) <= 12


# ---- where a reward may be called from


def call(seed: int = 0) -> list[float | None]:
    return code_reward([fenced(f"{RIGHT}  # {seed}"), fenced(PREFIX)], verification_info=[INFO] * 2)


RESULT = [1.0, pytest.approx(1 / 3)]


def test_in_several_threads_and_a_running_loop():
    async def inside_a_loop() -> list[float | None]:
        return call()

    assert asyncio.run(inside_a_loop()) == RESULT
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(call, range(3))) == [RESULT] * 3


def test_in_a_forked_child_of_a_process_that_has_judged_before():
    assert call() == RESULT
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(call).get(timeout=120) == RESULT


# ---- routers


class Counting(LocalSandbox):
    """A provider that counts its requests and can be down."""

    def __init__(self) -> None:
        super().__init__()
        self.num_runs = 0
        self.is_down = False

    async def run(self, request: RunRequest, *rest):
        self.num_runs += 1
        if self.is_down:
            raise SandboxError("out of machines")
        return await super().run(request, *rest)


@pytest.fixture
def behind() -> Counting:
    return Counting()


@pytest.fixture
def address(behind):
    with serve(behind, token="right") as address:
        yield address


@pytest.mark.parametrize("provider", ["e2b", "morph", "router"])
def test_router_of_a_recipe_is_asked(provider: str, address, behind, monkeypatch):
    monkeypatch.setenv("ROUTER_TOKEN", "right")
    field = "sandbox_router_url" if provider == "router" else f"{provider}_router_url"
    reward = build(code_provider=provider, sandbox_router_token_env="ROUTER_TOKEN", **{field: address})
    assert reward(completions=[fenced(RIGHT), fenced(PREFIX)], verification_info=[INFO] * 2) == RESULT
    assert behind.num_runs == 2


def test_outage_behind_a_router_is_no_score(address, behind, monkeypatch):
    monkeypatch.setenv("ROUTER_TOKEN", "right")
    settings = {"code_provider": "router", "sandbox_router_token_env": "ROUTER_TOKEN", "sandbox_router_url": address}
    behind.is_down = True
    metrics: dict[str, float] = {}
    values = build(**settings)(completions=[fenced(RIGHT)], verification_info=[INFO], log_metric=metrics.__setitem__)
    assert is_unscorable(UNSCORABLE) and [is_unscorable(value) for value in values] == [True]
    assert metrics["sandbox/error_rate"] == 1.0
    behind.is_down = False
    assert build(**settings)(completions=[fenced(RIGHT)], verification_info=[INFO]) == [1.0]
