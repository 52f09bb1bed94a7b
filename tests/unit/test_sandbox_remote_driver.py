# SPDX-License-Identifier: Apache-2.0
"""What comes back from a rented machine is taken whole or not at all."""

import asyncio
import base64
import hashlib
import json
import re
import zlib

import pytest

from open_r1.sandbox import Interactor, Limits, ProgramInput, RunRequest, SandboxError
from open_r1.sandbox.remote_driver import DriverEndedError, RemoteBox, TransientError, drive, longest_s

RESULT = {"compile": None, "tests": [{"outcome": "ok", "stdout": "4\n"}], "binary": None}
REQUEST = RunRequest("python", {"main.py": "print(4)"}, (ProgramInput(),))


def packed(value) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def reply_of(value=None, **changes) -> str:
    return packed({"languages": ["python"], "result": RESULT, "exit_code": 0, "said": "", "prefix": [], **changes})


class ScriptedBox(RemoteBox):
    """A machine that prints what the test says; `%(nonce)s`, `%(digest)s`, `%(length)s` are filled in."""

    id = "box1"

    def __init__(self, text: str, form: str, chunk_chars: int = 1 << 20) -> None:
        self.text, self.form, self.chunk_chars = text, form, chunk_chars
        self.scripts: list[str] = []

    async def shell(self, script: str, timeout_s: float) -> str:
        self.scripts.append(script)
        call = re.search(r"remote\.py \S+ ([0-9a-f]{32}) (\d+) (\d+)", script)
        if call is None:
            return ""
        start = int(call[3])
        known = {"nonce": call[1], "digest": hashlib.sha256(self.text.encode()).hexdigest(), "length": len(self.text)}
        return self.form % {**known, "piece": self.text[start : start + self.chunk_chars]}

    async def end(self) -> None:
        """Nothing to end."""


WHOLE = "%(nonce)s %(length)d %(digest)s\n%(piece)s\n%(nonce)s\n%(nonce)s ended 0\n"


def drive_with(text: str, form: str = WHOLE, **options):
    return asyncio.run(drive(ScriptedBox(text, form, **options), REQUEST))


def test_a_whole_reply_is_read():
    reply = drive_with(reply_of())
    assert (reply.result, reply.languages, reply.has_prefix) == (RESULT, ("python",), True)


@pytest.mark.parametrize("noise", ["%(piece)s\n", "%(nonce)s ended 0\n", "0 0 0\n"])
def test_what_others_print_around_it_does_no_harm(noise):
    assert drive_with(reply_of(), noise.replace("%(nonce)s", "0" * 32) + WHOLE + "Goodbye").result == RESULT


@pytest.mark.parametrize(
    "form",
    [
        "",
        "Internal server error",
        "%(nonce)s ended 0\n",
        "%(nonce)s %(length)d %(digest)s\n",
        "%(nonce)s %(length)d %(digest)s\n%(piece)s\n",
        WHOLE.replace("%(digest)s", "0" * 64),
        WHOLE.replace("%(nonce)s", "0" * 32),
        WHOLE.replace("%(piece)s", "%(piece)s!"),
    ],
)
def test_a_broken_reply_is_a_failure_that_may_pass(form):
    with pytest.raises(TransientError):
        drive_with(reply_of(), form)


@pytest.mark.parametrize("text", ["", "abc", packed([]), packed({}), packed({"languages": 5}), packed(None)])
def test_a_reply_that_says_nonsense_is_a_failure_that_may_pass(text):
    with pytest.raises(TransientError):
        drive_with(text)


def test_a_reply_that_changes_between_its_pieces_is_refused():
    class ChangingBox(ScriptedBox):
        async def shell(self, script, timeout_s):
            printed = await super().shell(script, timeout_s)
            self.text = reply_of(said=f"{len(self.scripts)} " * 99)
            return printed

    with pytest.raises(TransientError, match="changed"):
        asyncio.run(drive(ChangingBox(reply_of(), WHOLE, chunk_chars=50), REQUEST))


def test_a_long_job_goes_in_in_pieces_and_a_long_reply_comes_in_pieces():
    box = ScriptedBox(reply_of(said="".join(map(str, range(3000)))), WHOLE, chunk_chars=4000)
    assert asyncio.run(drive(box, REQUEST)).result == RESULT
    sent = [script for script in box.scripts if script.startswith("printf")]
    assert len(sent) > 2
    assert all(len(script) < 4200 for script in sent)
    assert sum("remote.py" in script and "<<" not in script for script in box.scripts) > 1


@pytest.mark.parametrize("exit_code", [-9, -15])
def test_a_driver_that_a_signal_ended_is_told_apart(exit_code):
    with pytest.raises(DriverEndedError, match="words of it"):
        drive_with(reply_of(result=None, exit_code=exit_code, said="words of it"))


@pytest.mark.parametrize("exit_code", [0, 1, "overdue", None])
def test_a_driver_that_failed_is_our_failure(exit_code):
    with pytest.raises(TransientError) as raised:
        drive_with(reply_of(result=None, exit_code=exit_code))
    assert not isinstance(raised.value, DriverEndedError)


def test_a_machine_without_python_will_not_get_one():
    with pytest.raises(SandboxError, match="has no python3") as raised:
        drive_with("", "sh: 1: python3: not found\n%(nonce)s ended 127\n")
    assert not isinstance(raised.value, TransientError)


def test_the_longest_time_counts_compilers_and_both_sides_of_a_communication():
    limits = Limits(cpu_s=1, wall_s=10)
    plain = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 3, limits=limits)
    assert longest_s(plain) == pytest.approx(30 + 3 * 11)
    compiled = RunRequest("cpp", {"main.cpp": ""}, (), compile_limits=limits)
    assert longest_s(compiled) == pytest.approx(30 + 10)
    manager = Interactor("cpp", {"manager.cpp": ""}, Limits(cpu_s=1, wall_s=20))
    both = RunRequest("cpp", {"main.cpp": ""}, (ProgramInput(),), compile_limits=limits, limits=limits,
                      interactor=manager)  # fmt: skip
    assert longest_s(both) == pytest.approx(30 + 2 * 10 + 21)
