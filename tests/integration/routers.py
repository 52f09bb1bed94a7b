# SPDX-License-Identifier: Apache-2.0
"""Routers for tests: in a thread of this process, or as the script that users start."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from open_r1.sandbox import Limits, ProgramInput, RunRequest, Sandbox, run_coroutine, wire
from open_r1.sandbox.router import RouterSandbox
from open_r1.sandbox.router_server import Router

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def serve(sandbox: Sandbox, **options) -> Iterator[str]:
    """A router in a thread; yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(Router(sandbox, **options).serve(listening, stop, 1.0),)
    )
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(autouse=True)
def closed_clients(monkeypatch):
    """Clients of a router that a test makes are closed behind it, where `run_all` has used them."""
    made, init = [], RouterSandbox.__init__

    def make(self, *args, **settings):
        init(self, *args, **settings)
        made.append(self)

    monkeypatch.setattr(RouterSandbox, "__init__", make)
    yield
    for client in made:
        run_coroutine(client.aclose)


def listens(port: int) -> bool:
    """Whether a server has come up at a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
        return True
    return False


def start(*words: str, script: str = "sandbox_router.py", **variables: str) -> subprocess.Popen[str]:
    """The router's script with a command line and environment variables."""
    environment = {name: value for name, value in os.environ.items() if name != "SANDBOX_ROUTER_TOKEN"}
    paths = [str(ROOT / "src"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), **variables}
    command = [sys.executable, str(ROOT / "scripts" / script), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextlib.contextmanager
def sent(address: str, request: RunRequest) -> Iterator[socket.socket]:
    """A connection on which a request is under way; hangs up at the end."""
    host, _, port = address.partition(":")
    body = json.dumps(wire.to_json(request)).encode()
    head = f"POST /run HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    head = f"{head}Content-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + body)
        yield connection


def python_request(program: str, *inputs: str, wall_s: float = 60.0, **settings) -> RunRequest:
    """A request for a Python program with its standard inputs, by default one that is empty."""
    given = tuple(ProgramInput(stdin) for stdin in inputs or ("",))
    return RunRequest("python", {"main.py": program}, given, limits=Limits(wall_s=wall_s), **settings)


def processes_with(marker: str) -> list[int]:
    """Processes of this machine with a text on their command line, this test's own left out."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(marker in word for word in process.info["cmdline"] or ()):
            found.append(process.pid)
    return found
