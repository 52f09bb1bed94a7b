# SPDX-License-Identifier: Apache-2.0
"""The router as users start it: what it refuses to start with, how it stops, and how clients outlive it."""

import contextlib
import signal
import threading

import pytest

from open_r1.generation.servers import free_port
from open_r1.sandbox import Outcome, ProgramInput, SandboxError, run_all, run_coroutine
from open_r1.sandbox.router import RouterSandbox
from scripts.sandbox_router import main
from tests.integration.fakes.clouds import CLOUDS
from tests.integration.routers import (
    closed_clients,  # noqa: F401 - a fixture of every test
    listens,
    processes_with,
    python_request,
    start,
)
from tests.waiting import wait_until

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
    request = python_request("import time\nprint(1)\nwhile True: time.sleep(1)", wall_s=300)
    return request.__class__(**vars(request) | {"inputs": (ProgramInput(args=(marker,)),)})


def in_background(request, sandbox):
    """Run a request in a thread; returns the thread and where its result will be."""
    results = []
    thread = threading.Thread(target=lambda: results.extend(run_all([request], sandbox)))
    thread.start()
    return thread, results


# Words and variables: exit status, what is said.
REFUSED = {
    "open to the network": ("--provider local --host 0.0.0.0", {}, 1, "SANDBOX_ROUTER_TOKEN"),
    "open by a name": ("--provider local --host node-3", {}, 1, "SANDBOX_ROUTER_TOKEN"),
    "named token absent": ("--provider local --token-env MY_TOKEN", {}, 1, "MY_TOKEN"),
    "no provider": ("", {}, 2, "--provider"),
    "router to a router": ("--provider router", {}, 2, "invalid choice"),
    "no such address": ("--provider local --host a.invalid", {"SANDBOX_ROUTER_TOKEN": "x" * 8}, 1, "can't listen"),
    "token to guess": ("--provider local", {"SANDBOX_ROUTER_TOKEN": "secret"}, 1, "guess"),
    "key in view": ("--provider morph --api_key very-secret", {}, 2, "set MORPH_API_KEY"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_router_refuses_to_start(case, environment, capsys):
    words, variables, status, said = REFUSED[case]
    environment.pop("SANDBOX_ROUTER_TOKEN", None)
    environment.update(variables)
    try:
        returned = main(words.split())
    except SystemExit as exit:
        returned = exit.code
    output = "".join(capsys.readouterr())
    assert (returned, said in output) == (status, True), output
    assert "very-secret" not in output


def test_missing_keys_are_named_before_the_port_opens():
    for script, key in (("e2b_router.py", "E2B_API_KEY"), ("morph_router.py", "MORPH_API_KEY")):
        process = start(script=script, **{key: ""})
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        assert key in output


def test_terminated_router_ends_its_boxes_and_logs_no_program():
    port = free_port()
    words = ("--grace_s", "1", "--token-env", "MY_TOKEN")
    with router(port, *words, MY_TOKEN="top-secret") as process:
        wait_until(lambda: listens(port))
        sandbox = RouterSandbox(f"localhost:{port}", token="top-secret", patience_s=60)
        assert "python" in run_coroutine(sandbox.languages)
        impatient = RouterSandbox(f"localhost:{port}", token="top-secret", patience_s=1)
        thread, results = in_background(forever("marker-terminated"), impatient)
        wait_until(lambda: processes_with("marker-terminated"))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
        thread.join()
    assert process.returncode == 0
    assert processes_with("marker-terminated") == []
    assert isinstance(results[0], SandboxError)
    assert "Listening" in output
    assert not any(secret in output for secret in ("top-secret", "marker-terminated", "while True"))


def test_killed_router_leaves_no_box_and_its_client_goes_on_with_the_next():
    port = free_port()
    patient = RouterSandbox(f"127.0.0.1:{port}", patience_s=120)
    with router(port) as process:
        assert run_all([HELLO], patient)[0].tests[0].outcome is Outcome.OK
        impatient = RouterSandbox(f"127.0.0.1:{port}", patience_s=0.5)
        thread, results = in_background(forever("marker-killed"), impatient)
        wait_until(lambda: processes_with("marker-killed"))
        process.kill()
        thread.join(timeout=120)
        assert isinstance(results[0], SandboxError)
        wait_until(lambda: not processes_with("marker-killed"))
    thread, results = in_background(HELLO, patient)
    with router(port):
        thread.join(timeout=300)
        assert results[0].tests[0].stdout == "hello\n"


@pytest.mark.parametrize("name", CLOUDS)
def test_scripts_of_open_r1_start_routers(name):
    port = free_port()
    with CLOUDS[name].serving() as (server, _):
        with start("--port", str(port), "--max_num_sandboxes", "2", script=f"{name}_router.py") as process:
            try:
                wait_until(lambda: listens(port))
                assert "python" in run_coroutine(RouterSandbox(f"127.0.0.1:{port}", patience_s=60).languages)
            finally:
                process.terminate()
                output, _ = process.communicate(timeout=120)
        assert not server.alive
    assert "Traceback" not in output
