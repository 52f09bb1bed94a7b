# SPDX-License-Identifier: Apache-2.0
"""What comes back from a rented machine is taken whole or not at all."""

import asyncio
import json

import pytest

from open_r1.sandbox import Limits, Outcome, ProgramInput, RunRequest, SandboxError, rented
from open_r1.sandbox.rented import RentedMachine, RentedSandbox, longest_s

OK = {"outcome": "ok", "stdout": "4\n"}
RESULT = {"compile": None, "tests": [OK], "binary": None}
REQUEST = RunRequest("python", {"main.py": "print(4)"}, (ProgramInput(),))


class ScriptedMachine(RentedMachine):
    """A machine that answers what the test says: exit status, words, result."""

    id = "box1"

    def __init__(self, status: int, said: str, result: bytes, pause_s: float) -> None:
        self.status, self.said, self.result, self.pause_s = status, said, result, pause_s

    async def write(self, path: str, data: bytes) -> None:
        await asyncio.sleep(self.pause_s)

    async def shell(self, script: str, timeout_s: float) -> tuple[int, str]:
        await asyncio.sleep(self.pause_s)
        return self.status, self.said

    async def read(self, path: str, max_bytes: int) -> bytes:
        await asyncio.sleep(self.pause_s)
        return self.result

    async def end(self) -> None:
        """Nothing to end."""


class ScriptedSandbox(RentedSandbox):
    """A provider of such machines, one answer each."""

    name, package, key_variable = "scripted", "json", "PATH"

    def __init__(self, *answers: tuple[int, str, bytes], pause_s: float = 0.0) -> None:
        super().__init__()
        self.left, self.pause_s = list(answers), pause_s
        self._languages = ("python", "cpp")

    def describe(self) -> str:
        return "scripted"

    async def start(self, name: str, life_s: int) -> RentedMachine:
        return ScriptedMachine(*self.left.pop(0), self.pause_s)

    def status_of(self, error: Exception) -> int | None:
        return None


def answer(result=RESULT, status: int = 0, said: str = "") -> tuple[int, str, bytes]:
    return status, said, result if isinstance(result, bytes) else json.dumps(result).encode()


def run(*answers, request: RunRequest = REQUEST, **options):
    sandbox = ScriptedSandbox(*answers, **options)
    result = asyncio.run(sandbox.run(request))
    assert not sandbox.left
    return result


def test_whole_result_is_read():
    assert run(answer()).tests[0].stdout == "4\n"


NONSENSE = {
    "nothing": b"",
    "no JSON": b"<html>",
    "a list": [],
    "no runs": RESULT | {"tests": []},
    "too many runs": RESULT | {"tests": [OK] * 2},
    "outcome that nobody knows": RESULT | {"tests": [{"outcome": "quota_exceeded"}]},
    "binary that is no base64": RESULT | {"binary": "x"},
    "very deep lists": b"[" * 200_000,
}


@pytest.mark.parametrize("result", NONSENSE.values(), ids=NONSENSE)
def test_result_that_is_nonsense_twice_is_no_verdict(result):
    with pytest.raises(SandboxError, match="twice"):
        run(answer(result), answer(result))
    assert run(answer(result), answer()).tests[0].stdout == "4\n"


def test_result_that_is_too_long_is_an_error_at_once(monkeypatch):
    monkeypatch.setattr(rented, "MAX_RESULT_BYTES", 100)
    with pytest.raises(SandboxError):
        run(answer(b" " * 101))


@pytest.mark.parametrize("status", [-9, -15, 137])
def test_driver_that_is_killed_twice_is_the_submissions_failure(status):
    result = run(answer(status=status), answer(status=status))
    assert result.tests[0].outcome is Outcome.RUNTIME_ERROR
    assert run(answer(status=status), answer()).tests[0].outcome is Outcome.OK


def test_submission_that_ended_two_machines_gets_no_third():
    async def go_on(first, runs):
        return True

    sandbox = ScriptedSandbox(answer(status=-9), answer(status=-9))
    request = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 3, stop_after=1)
    result = asyncio.run(sandbox.run(request, go_on))
    assert [run and run.outcome for run in result.tests] == [Outcome.RUNTIME_ERROR, None, None]


def test_all_who_wait_for_the_languages_share_one_failure_and_the_next_one_looks_again():
    class AbsentSandbox(ScriptedSandbox):
        num_starts = 0

        async def start(self, name, life_s):
            self.num_starts += 1
            await asyncio.sleep(0.01)
            raise SandboxError(f"start {self.num_starts}")

    async def run_two_batches():
        batches = [await asyncio.gather(*map(sandbox.run, [REQUEST] * 5), return_exceptions=True) for _ in range(2)]
        return [{str(error) for error in batch} for batch in batches]

    sandbox = AbsentSandbox()
    sandbox._languages = None
    assert asyncio.run(run_two_batches()) == [{"start 1"}, {"start 2"}]


@pytest.mark.parametrize("statuses", [(1, 1), (-9, 1), (1, -9)])
def test_driver_that_fails_is_our_failure(statuses):
    with pytest.raises(SandboxError, match="twice"):
        run(*[answer(status=status) for status in statuses])


def test_runs_that_a_result_leaves_out_are_the_next_round():
    class ShortSandbox(ScriptedSandbox):
        async def start(self, name, life_s):
            machine = ScriptedMachine(0, "", b"", 0.0)
            left = [RESULT | {"tests": [OK] * 2}, RESULT]

            async def read(path, max_bytes):
                return json.dumps(left.pop(0)).encode()

            machine.read = read
            return machine

    request = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 3)
    assert [run.stdout for run in asyncio.run(ShortSandbox().run(request)).tests] == ["4\n"] * 3


def test_all_of_a_round_has_one_deadline(monkeypatch):
    monkeypatch.setattr(rented, "MOVE_S", 0.1)
    monkeypatch.setattr(rented, "START_S", 0.1)
    request = RunRequest("python", {"main.py": ""}, ())
    with pytest.raises(SandboxError, match="TimeoutError"):
        run(answer(), answer(), request=request, pause_s=0.12)


def test_longest_time_counts_the_compiler_and_all_runs():
    limits = Limits(cpu_s=1, wall_s=10)
    plain = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 3, limits=limits)
    assert longest_s(plain) == pytest.approx(30 + 3 * 11)
    compiled = RunRequest("cpp", {"main.cpp": ""}, (), compile_limits=limits)
    assert longest_s(compiled) == pytest.approx(30 + 10)
