# SPDX-License-Identifier: Apache-2.0
"""What comes back from a rented machine is taken whole or not at all."""

import asyncio
import base64
import hashlib
import json
import random
import re
import tracemalloc
import zlib

import httpx
import pytest

from open_r1.sandbox import Limits, ProgramInput, RunRequest, SandboxError, remote_driver, remote_reply
from open_r1.sandbox.remote_driver import RemoteBox, drive, longest_s
from open_r1.sandbox.remote_reply import Ceiling, DriverEndedError, TransientError, ceiling_of, most_runs, unpack

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


NONSENSE = {
    "nothing": "",
    "no base64": "abc",
    "a list": packed([]),
    "an empty record": packed({}),
    "null": packed(None),
    "languages that are a number": packed({"languages": 5}),
    "languages that are lists": packed({"languages": [[]]}),
    "a result that is a list": packed({"languages": [], "result": [1]}),
    "words that are a record": packed({"languages": [], "said": {}}),
    "very deep lists": base64.b64encode(zlib.compress(b"[" * 9000)).decode(),
    "cut off": base64.b64encode(zlib.compress(b"[1, 2]")[:-4]).decode(),
}


@pytest.mark.parametrize("text", NONSENSE.values(), ids=NONSENSE)
def test_a_reply_that_says_nonsense_is_a_failure_that_may_pass(text):
    with pytest.raises(TransientError):
        drive_with(text)


def peak_of(text: str, ceiling: Ceiling) -> int:
    """Return the peak of Python's memory while a reply is refused as longer than the driver's can be."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    tracemalloc.start()
    try:
        with pytest.raises(DriverEndedError):
            unpack(text, digest, (), ceiling, "box1")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "grown",
    [b'"said": "' + b"a" * (50 << 20), b"[" + b"{}," * (1 << 18), b'"",' * (1 << 18)],
    ids=["one long text", "very many records", "very many texts"],
)
def test_a_reply_that_grows_when_it_is_opened_is_never_held_whole(grown: bytes):
    ceiling = Ceiling(1 << 20, 1)
    assert peak_of(base64.b64encode(zlib.compress(grown)).decode(), ceiling) < 8 << 20


def test_a_reply_that_calls_itself_longer_than_it_can_be_is_not_fetched():
    box = ScriptedBox("A" * 1000, WHOLE.replace("%(length)d", "999999999999999"), chunk_chars=1000)
    with pytest.raises(DriverEndedError, match="999999999999999 characters"):
        asyncio.run(drive(box, REQUEST))
    assert sum("remote.py" in script and "<<" not in script for script in box.scripts) == 1


def test_short_pieces_make_no_more_calls_than_whole_ones():
    class MiserlyBox(ScriptedBox):
        async def shell(self, script, timeout_s):
            whole = self.text
            self.text = whole[: max(0, len(whole) - 1)]
            printed = await super().shell(script, timeout_s)
            self.text = whole
            return re.sub(r" \d+ [0-9a-f]{64}", f" 100000 {'a' * 64}", printed)

    box = MiserlyBox("A", WHOLE, chunk_chars=50_000)
    with pytest.raises(TransientError, match="pieces of other lengths"):
        asyncio.run(drive(box, REQUEST))
    assert (
        sum("remote.py" in script and "printf" not in script for script in box.scripts) == 1
    )  # with the first, that brought the job: 2


def test_what_is_printed_beyond_a_piece_is_refused():
    with pytest.raises(DriverEndedError, match="characters, and"):
        drive_with(reply_of(), WHOLE + "x" * (3 << 20))


def test_all_of_a_drive_has_one_deadline(monkeypatch):
    class SlowBox(ScriptedBox):
        async def shell(self, script, timeout_s):
            await asyncio.sleep(0.05)  # each call alone is well within its time
            return await super().shell(script, timeout_s)

    monkeypatch.setattr(remote_driver, "CALL_S", 0.2)
    monkeypatch.setattr(remote_driver, "START_S", 0.1)
    monkeypatch.setattr(remote_driver, "BYTES_PER_S", 1e9)
    request = RunRequest("python", {"main.py": ""}, ())
    noise = "".join(random.Random(0).choices("0123456789abcdef", k=60_000))
    with pytest.raises(TransientError, match="not done with its job"):
        asyncio.run(drive(SlowBox(reply_of(said=noise), WHOLE, chunk_chars=500), request))


def test_the_longest_reply_of_a_driver_is_under_the_ceiling():
    limits = Limits(output_bytes=3000)
    request = RunRequest(
        "cpp",
        {"main.cpp": ""},
        (ProgramInput(),) * 7,
        limits=limits,
        compile_limits=limits,
    )
    run = {
        "outcome": "runtime_error",
        "exit_code": 255,
        "signal": None,
        "cpu_s": 1234.123456,
        "wall_s": 1234.123456,
        "peak_memory_mb": 1234.123,
        "stdout": "\0" * 3000,
        "stderr": "\ufffd" * 3000,
    }
    result = {"compile": run, "tests": [run] * 7, "binary": None}
    text = reply_of(result=result, said="\0" * 2000)
    reply = unpack(text, hashlib.sha256(text.encode()).hexdigest(), (), ceiling_of(request), "box1")
    assert reply.result == result


@pytest.mark.parametrize(("output_bytes", "num_runs"), [(0, 65536), (1 << 20, 10), (1 << 30, 1)])
def test_rounds_are_as_large_as_memory_allows(output_bytes: int, num_runs: int):
    assert most_runs(RunRequest("python", {"main.py": ""}, (), limits=Limits(output_bytes=output_bytes))) == num_runs


def test_a_compressed_answer_of_a_box_is_refused():
    with pytest.raises(TransientError, match="encoding"):
        asyncio.run(get_bounded(httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=b"")))


def test_an_answer_is_ended_where_it_gets_too_long():
    num_read = 0

    async def endless():
        nonlocal num_read
        while True:
            num_read += 1
            yield b"x" * 1000

    with pytest.raises(DriverEndedError, match="more than 5000 bytes"):
        asyncio.run(get_bounded(httpx.Response(200, content=endless())))
    assert num_read == 6


async def get_bounded(response: httpx.Response) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request: response)) as client:
        client.event_hooks["response"].append(remote_reply.bound_responses(5000, "box1"))
        return await client.get("http://box1/")


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


def test_the_longest_time_counts_the_compiler_and_all_runs():
    limits = Limits(cpu_s=1, wall_s=10)
    plain = RunRequest("python", {"main.py": ""}, (ProgramInput(),) * 3, limits=limits)
    assert longest_s(plain) == pytest.approx(30 + 3 * 11)
    compiled = RunRequest("cpp", {"main.cpp": ""}, (), compile_limits=limits)
    assert longest_s(compiled) == pytest.approx(30 + 10)
