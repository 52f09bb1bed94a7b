# SPDX-License-Identifier: Apache-2.0
"""What comes back from a rented machine is taken whole or not at all."""

import asyncio
import base64

import pytest

from open_r1.sandbox import Outcome, ProgramInput, RunRequest, SandboxError, rented, running
from open_r1.sandbox.rented import RentedMachine, RentedSandbox

OK = {"outcome": "ok", "exit_code": 0, "was_ended": 0, "stdout": 2}
READY = b"{'ready': 1}\n"


def run_text(text: bytes = b"4\n", **record) -> bytes:
    return f"{ {**OK, 'stdout': len(text), **record} }\n".encode() + text


RESULT = READY + run_text()
REQUEST = RunRequest("python", {"main.py": "print(4)"}, (ProgramInput(),))


class ScriptedMachine(RentedMachine):
    """A machine that gives these answers in turn: exit status and result."""

    id = "box1"

    def __init__(self, answers: list, pause_s: float) -> None:
        self.answers, self.pause_s, self.result = answers, pause_s, b""

    async def write(self, path: str, data: bytes) -> None:
        await asyncio.sleep(self.pause_s)

    async def shell(self, script: str, timeout_s: float) -> tuple[int, str]:
        await asyncio.sleep(self.pause_s)
        status, self.result = self.answers.pop(0)
        return status, "here\n"

    async def read(self, path: str, max_bytes: int) -> bytes:
        await asyncio.sleep(self.pause_s)
        return self.result

    async def end(self) -> None:
        """Nothing to end."""


class ScriptedSandbox(RentedSandbox):
    """A provider of such machines, which share the answers."""

    name, package, key_variable = "scripted", "json", "PATH"

    def __init__(self, answers: list, pause_s: float = 0.0) -> None:
        super().__init__()
        self.answers, self.pause_s = answers, pause_s

    async def languages(self):
        return ("python",)

    def describe(self) -> str:
        return "scripted"

    async def start(self, name: str, life_s: int) -> RentedMachine:
        return ScriptedMachine(self.answers, self.pause_s)

    def status_of(self, error: Exception) -> int | None:
        return None


def answer(result: bytes = RESULT, status: int = 0) -> tuple[int, bytes]:
    return status, base64.b64encode(result)


def run(*answers, request: RunRequest = REQUEST, go_on=None, **options):
    sandbox = ScriptedSandbox(list(answers), **options)
    result = asyncio.run(sandbox.run(request, *([go_on] if go_on else [])))
    assert not sandbox.answers
    return result


NONSENSE = {
    "nothing": b"",
    "no literal": b"<html>\n",
    "a list": b"[]\n",
    "no runs": READY,
    "too many runs": RESULT + run_text(),
    "outcome that nobody knows": READY + run_text(outcome="quota_exceeded"),
    "seconds in words": READY + run_text(cpu_s="9"),
    "failure of the driver": READY + b"{'error': 'OSError: no room'}\n",
    "very deep lists": b"[" * 200_000,
}


@pytest.mark.parametrize("result", NONSENSE.values(), ids=NONSENSE)
def test_result_that_is_nonsense_twice_is_no_verdict(result):
    with pytest.raises(SandboxError):
        run(answer(result), answer(result))
    assert run(answer(result), answer()).tests[0].stdout == "4\n"


@pytest.mark.parametrize("status", [-9, 137])
def test_driver_that_is_killed_twice_is_the_submissions_failure(status):
    assert run(answer(status=status), answer(status=status)).tests[0].outcome is Outcome.RUNTIME_ERROR
    assert run(answer(status=status), answer()).tests[0].outcome is Outcome.OK


@pytest.mark.parametrize("statuses", [(1, 1), (-9, 1), (1, -9)])
def test_driver_that_fails_is_our_failure(statuses):
    with pytest.raises(SandboxError):
        run(*[answer(status=status) for status in statuses])


def test_runs_that_a_result_leaves_out_are_the_next_round():
    request = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 3)
    result = run(answer(RESULT + run_text()), answer(), request=request)
    assert [run.stdout for run in result.tests] == ["4\n"] * 3


def test_all_of_a_round_has_one_deadline(monkeypatch):
    monkeypatch.setattr(rented, "MOVE_S", 0.1)
    monkeypatch.setattr(running, "START_S", 0.1)
    with pytest.raises(SandboxError, match="TimeoutError"):
        run(answer(), answer(), request=RunRequest("python", {"main.py": ""}, ()), pause_s=0.12)
