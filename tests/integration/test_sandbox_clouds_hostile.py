# SPDX-License-Identifier: Apache-2.0
"""Programs that answer in the driver's place from within a rented box harm their own verdict and nobody else."""

import logging

import pytest

from open_r1.sandbox import Limits, Outcome, ProgramInput, RunRequest, run_all, run_coroutine
from tests.integration.fakes.clouds import CLOUDS

# The box is the only isolation: its processes are one user's, and the watcher's arguments are there to be read.
FIND_WATCHER = """
import base64, hashlib, json, os, re, zlib

def parent(pid):
    return int(re.search(r"\\) \\S (\\d+)", open(f"/proc/{pid}/stat").read())[1])

pid = os.getpid()
while True:
    words = open(f"/proc/{pid}/cmdline").read().split("\\0")
    if len(words) > 3 and words[1].endswith("remote.py"):
        break
    pid = parent(pid)
folder, nonce, room = words[2], words[3], int(words[4])

def say(data):
    with open(f"/proc/{pid}/fd/1", "wb") as out:
        out.write(data)

def reply(value):
    text = base64.b64encode(zlib.compress(value, 9)).decode()
    with open(folder + "/reply.mine", "w") as file:
        file.write(text)
    os.rename(folder + "/reply.mine", folder + "/reply")
    digest = hashlib.sha256(text.encode()).hexdigest()
    say(f"{nonce} {len(text)} {digest}\\n{text[:room]}\\n{nonce}\\n".encode())
"""
ATTACKS = {
    "a reply without end": "say(f\"{nonce} {10**14} {'a' * 64}\\n{'A' * 1000}\\n{nonce}\\n\".encode())",
    "a reply that grows": 'reply(b\'{"languages": ["python"], "said": "\' + b"a" * (100 << 20) + b\'"}\')',
    "a reply of many values": 'reply(b\'{"languages": ["python"], "result": [\' + b"{}," * (1 << 22) + b"{}]}")',
    "a flood": "say(b'x' * (32 << 20))",
    "a denial": "reply(b'{\"languages\": []}')",
}
GOOD = RunRequest("python", {"main.py": "print(int(input()) * 2)"}, (ProgramInput(stdin="4"),))


@pytest.fixture(params=CLOUDS)
def cloud(request):
    return CLOUDS[request.param]


def request_of(attack: str) -> RunRequest:
    limits = Limits(cpu_s=20, memory_mb=2048)
    return RunRequest("python", {"main.py": FIND_WATCHER + attack}, (ProgramInput(), ProgramInput()), limits=limits)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_reply_that_the_driver_can_not_write_is_the_submissions_fault(cloud, attack, caplog):
    caplog.set_level(logging.WARNING)
    with cloud.serving() as (server, sandbox):
        (result,) = run_all([request_of(attack)], sandbox)
        assert not isinstance(result, Exception), result
        assert [run and run.outcome for run in result.tests] == [Outcome.RUNTIME_ERROR, None]
        assert "twice, so the submission did it" in caplog.text
        assert not server.alive


NONSENSE = {
    "tests that are records": b'{"languages": ["python"], "exit_code": 0, "result": {"tests": {}}}',
    "runs that are lists": b'{"languages": ["python"], "result": {"compile": null, "tests": [[], []]}}',
    "numbers that are texts": b'{"languages": ["python"], "result": {"compile": [], "tests": 5}}',
    "words that are records": b'{"languages": ["python"], "said": {}}',
}


@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_in_the_drivers_place_is_no_verdict_and_no_crash(cloud, value):
    with cloud.serving() as (server, sandbox):
        (result,) = run_all([request_of(f"reply({value!r})")], sandbox)
        assert "twice, in two boxes" in str(result)
        assert not server.alive


def test_a_denied_language_is_still_there_for_others(cloud):
    with cloud.serving() as (_, sandbox):
        run_all([request_of(ATTACKS["a denial"])], sandbox)
        assert "python" in run_coroutine(sandbox.languages)
        (result,) = run_all([GOOD], sandbox)
        assert result.tests[0].stdout == "8\n"
