# SPDX-License-Identifier: Apache-2.0
"""A unit test starts no process: it fails where it does. Tests that need one are in tests/integration."""

import sys

import pytest

_STARTS = {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "pty.spawn"}
# What the code under test starts by itself, in a moment.
_ALLOWED = (
    "'git'",  # which version of the sources a card names; the files that are tracked
    "open_r1.tasks.reasoning_gym_",  # whose generators and scorers may hang
)
_test = None


def _refuse(event: str, arguments: tuple) -> None:
    if _test is not None and event in _STARTS and not any(name in repr(arguments) for name in _ALLOWED):
        raise RuntimeError(f"{_test} starts a process ({event}{arguments!r}): move it to tests/integration")


sys.addaudithook(_refuse)  # a hook stays for good: it looks whether a unit test runs


@pytest.fixture(autouse=True)
def no_process(request):
    """Lets no test of this folder start a process."""
    global _test
    _test = request.node.nodeid
    yield
    _test = None
