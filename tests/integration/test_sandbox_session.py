# SPDX-License-Identifier: Apache-2.0
"""Python sessions in local boxes: snippets that share variables, their limits, and attacks by them."""

import asyncio
import json
import secrets
from functools import partial

import pytest

from open_r1.sandbox import Limits, SandboxError, run_coroutine
from open_r1.sandbox.local import LocalSandbox, box
from open_r1.sandbox.local.session import PythonSession
from tests.integration.attack_host import Host, left_behind
from tests.integration.attack_table import FOLDER

LIMITS = Limits(cpu_s=0.5, wall_s=2.0, memory_mb=192, output_bytes=500, processes=32)
# The attacks on boxes, each as one snippet; their helpers are a module of the session.
WALLS = ("network", "parent_secrets", "key_files", "writing_outside", "foreign_signals", "driver_attack", "privileges")
HELPERS = """
import io, sys, types
sys.stdin = io.StringIO({told!r})
helpers = sys.modules["attacking"] = types.ModuleType("attacking")
exec({source!r}, vars(helpers))
"""


@pytest.fixture(scope="module", params=["bwrap", "landlock"])
def sandbox(request):
    return LocalSandbox(mechanism=request.param)


@pytest.fixture
def call(sandbox):
    session = PythonSession(sandbox, LIMITS)
    yield lambda source: run_coroutine(partial(session.call, source))
    run_coroutine(session.close)


def test_snippets_share_variables_and_show_what_a_prompt_would(call):
    assert call("import math\ndef area(r):\n    return math.pi * r * r") == ""
    assert call("print('at 1:')\narea(1)") == "at 1:\n3.141592653589793\n"
    assert call("None") == ""
    trace = call("def fail():\n    return 1 / 0\nfail()")
    assert trace.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "session.py" not in trace
    assert "SyntaxError" in call("def f(:")
    assert "SystemExit" in call("exit()")
    assert call("import pickle\nclass A: pass\npickle.loads(pickle.dumps(A())).__class__ is A") == "True\n"
    assert call("print('\\udcff')") == "?\n"


def test_two_sessions_share_nothing(sandbox, call):
    other = PythonSession(sandbox, LIMITS)
    assert call("x = 1; open('left', 'w').close()") == ""
    assert "NameError" in run_coroutine(partial(other.call, "x"))
    assert run_coroutine(partial(other.call, "import os; os.path.exists('left')")) == "False\n"
    run_coroutine(other.close)


@pytest.mark.parametrize(
    ("snippet", "said", "keeps_variables"),
    [
        ("while True: pass", "TimeLimit", True),
        ("import time; time.sleep(60)", "no answer", False),
        ("sum(range(10**12))", "no answer", False),  # in C, where no signal is handled
        ('kept = [b"x" * (1 << 20) for _ in range(1024)]', "memory limit", False),
        ("import os; os._exit(3)", "runtime error", False),
        ("import os; os.closerange(0, 64)", "runtime error", False),
        ("import os; os.write(4, b'99999999')", "no answer", False),  # as if the answer were long
        ("import os; os.write(4, b'none yet')", "no answer", False),
        ("while True: print('y' * 4096)", "yyy", True),
        ("import os, time\nwhile True:\n    os.fork()", "", False),
    ],
)
def test_limits_are_text_of_the_tool(call, snippet, said, keeps_variables):
    call("x = 6 * 7")
    text = call(snippet)
    assert said in text
    assert len(text) <= LIMITS.output_bytes + len(" ... (cut)")
    if keeps_variables:
        assert call("x") == "42\n"
    elif said:
        assert "NameError" in call("x")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("targets") / "host", secrets.token_hex(16))
    host.set_up()
    yield host
    host.clear()


@pytest.mark.parametrize("name", WALLS)
def test_attack_of_a_snippet_is_contained(name, sandbox, host):
    session = PythonSession(sandbox, Limits(cpu_s=10, wall_s=60, memory_mb=192, output_bytes=2000, processes=32))
    marker = str(secrets.randbelow(9 * 10**9) + 10**9)
    told = json.dumps(host.told | {"marker": marker, "role": "", "in_box": True})
    attack = (FOLDER / f"{name}.py").read_text()

    async def run() -> str:
        try:
            await session.call(HELPERS.format(told=told, source=(FOLDER / "attacking.py").read_text()))
            return await session.call(attack)
        finally:
            await session.close()

    assert "CONTAINED" in run_coroutine(run)
    assert host.harm() == []
    assert left_behind(marker, 10) == []


def test_box_that_cannot_start_is_an_outage(sandbox, monkeypatch):
    monkeypatch.setattr(box, "find_place", lambda: 1 / 0)  # no sandbox fault: shown as it is
    with pytest.raises(ZeroDivisionError):
        run_coroutine(partial(PythonSession(sandbox, LIMITS).call, "1"))

    def no_room(*args: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(box, "find_place", no_room)
    with pytest.raises(SandboxError, match="no room"):
        run_coroutine(partial(PythonSession(sandbox, LIMITS).call, "1"))


def test_a_cancelled_call_leaves_a_session_that_can_be_closed(sandbox):
    session = PythonSession(sandbox, Limits(cpu_s=60, wall_s=60, memory_mb=192, output_bytes=500))

    async def cancel() -> None:
        await session.call("1")
        call = asyncio.ensure_future(session.call("while True: pass"))
        await asyncio.sleep(0.2)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await session.call("2") == "2\n"
        await session.close()

    run_coroutine(cancel)
