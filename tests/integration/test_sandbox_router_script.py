# SPDX-License-Identifier: Apache-2.0
"""The router as users start it: what it refuses to start with, how it stops, and how clients outlive it."""

import asyncio
import contextlib
import signal
import threading

import pytest

from open_r1.sandbox import Outcome, ProgramInput, SandboxError, run_all, run_coroutine
from open_r1.sandbox.router import RouterSandbox
from tests.integration.routers import free_port, processes_with, python_request, start, wait_until

HELLO = python_request("print('hello')")


@contextlib.contextmanager
def router(port, *words, **variables):
    """The script in front of local boxes, killed at the end if it's still there."""
    with start("--provider", "local", "--port", str(port), *words, **variables) as process:
        try:
            yield process
        finally:
            process.kill()


def forever(marker):
    request = python_request("import time\nprint(1)\nwhile True: time.sleep(1)", wall_s=120)
    return request.__class__(**vars(request) | {"inputs": (ProgramInput(args=(marker,)),)})


def in_background(request, sandbox):
    """Run a request in a thread; returns the thread and where its result will be."""
    results = []
    thread = threading.Thread(target=lambda: results.extend(run_all([request], sandbox)))
    thread.start()
    return thread, results


# Script, words, variables: exit status, what is said.
REFUSED = {
    "open to the network": ("sandbox_router.py", "--provider local --host 0.0.0.0", {}, 1, "SANDBOX_ROUTER_TOKEN"),
    "any IPv6": ("sandbox_router.py", "--provider local --host ::", {}, 1, "SANDBOX_ROUTER_TOKEN"),
    "a name": ("sandbox_router.py", "--provider local --host node-3", {}, 1, "SANDBOX_ROUTER_TOKEN"),
    "empty token": (
        "sandbox_router.py",
        "--provider local --host 0.0.0.0",
        {"SANDBOX_ROUTER_TOKEN": " "},
        1,
        "others",
    ),
    "named token absent": (
        "sandbox_router.py",
        "--provider local --token-env MY_TOKEN",
        {},
        1,
        "MY_TOKEN, which isn't",
    ),
    "no provider": ("sandbox_router.py", "", {}, 2, "--provider"),
    "router to a router": ("sandbox_router.py", "--provider router", {}, 2, "invalid choice"),
    "open e2b": ("e2b_router.py", "--host 0.0.0.0 --port 8000 --max_num_sandboxes 20", {}, 1, "SANDBOX_ROUTER_TOKEN"),
    "key in view": ("morph_router.py", "--api_key very-secret", {}, 2, "set MORPH_API_KEY"),
    "no endpoints": ("sandbox_router.py", "--provider piston", {"PISTON_ENDPOINTS": ""}, 1, "PISTON_ENDPOINTS"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_router_refuses_to_start(case):
    script, words, variables, status, said = REFUSED[case]
    process = start(*words.split(), script=script, **variables)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, said in output) == (status, True), output
    assert "very-secret" not in output
    assert "Traceback" not in output


def test_missing_keys_are_named_before_the_port_opens():
    for script, key in (("e2b_router.py", "E2B_API_KEY"), ("morph_router.py", "MORPH_API_KEY")):
        process = start(script=script, **{key: ""})
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert key in output


def test_terminated_router_ends_its_boxes_and_logs_no_program():
    port = free_port()
    words = ("--grace_s", "1", "--token-env", "MY_TOKEN")
    with router(port, *words, MY_TOKEN="top-secret") as process:
        sandbox = RouterSandbox(f"localhost:{port}", token="top-secret", patience_s=60)
        assert "python" in run_coroutine(sandbox.languages)
        impatient = RouterSandbox(f"localhost:{port}", token="top-secret", patience_s=1)
        thread, results = in_background(forever("marker-terminated"), impatient)
        wait_until(lambda: processes_with("marker-terminated"))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        thread.join()
    assert process.returncode == 0
    assert processes_with("marker-terminated") == []
    assert isinstance(results[0], SandboxError)
    assert "Listening" in output
    assert not any(secret in output for secret in ("top-secret", "marker-terminated", "while True"))


def test_killed_router_leaves_no_box_and_its_client_goes_on_with_the_next():
    port = free_port()
    patient = RouterSandbox(f"127.0.0.1:{port}", patience_s=60)
    with router(port) as process:
        assert run_all([HELLO], patient)[0].tests[0].outcome is Outcome.OK
        impatient = RouterSandbox(f"127.0.0.1:{port}", patience_s=0.5)
        thread, results = in_background(forever("marker-killed"), impatient)
        wait_until(lambda: processes_with("marker-killed"))
        process.kill()
        thread.join(timeout=20)
        assert isinstance(results[0], SandboxError)
        wait_until(lambda: not processes_with("marker-killed"))
    thread, results = in_background(HELLO, patient)
    with router(port):
        thread.join(timeout=60)
        assert results[0].tests[0].stdout == "hello\n"


def test_interrupted_client_leaves_no_box():
    port = free_port()
    with router(port):
        sandbox = RouterSandbox(f"127.0.0.1:{port}", patience_s=60)

        async def give_up():
            task = asyncio.ensure_future(sandbox.run(forever("marker-interrupted")))
            while not await asyncio.to_thread(processes_with, "marker-interrupted"):
                await asyncio.sleep(0.02)
            task.cancel()

        run_coroutine(give_up)
        wait_until(lambda: not processes_with("marker-interrupted"))
