# SPDX-License-Identifier: Apache-2.0
"""What the tests here share: rows, scripts as processes, a gate before a server, the wait until something is so."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.conftest import ROOT

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Spain": "Madrid",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Russia": "Moscow",
    "Germany": "Berlin",
}


def write_capitals(folder: Path) -> Path:
    """Questions that the model mostly knows the answers of, one file of JSON lines."""
    path = folder / "capitals.jsonl"
    rows = [
        {"id": land, "problem": f"What is the capital of {land}?", "solution": town} for land, town in CAPITALS.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@contextlib.contextmanager
def started(script: str, *words: str):
    """A script of the repository in a process of its own, killed at the end; `said` is what it has written.

    Its output goes to a file, so that it never waits for a reader.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(ROOT / script), *words]
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        process.said = lambda: Path(log.name).read_text(encoding="utf-8", errors="replace")
        try:
            yield process
        finally:
            process.kill()


class Gate:
    """A server in front of another one: so many completions go through, and all others wait until their clients die.

    After `open` all that come go through.

    Attributes:
        url: Like that of the server behind it.
    """

    def __init__(self, url: str, most: int) -> None:
        self._behind, path = url.removesuffix("/v1"), url.removeprefix(url.removesuffix("/v1"))
        self._most, self._numbers, self._is_open = most, itertools.count(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Passing", (_Passing,), {"gate": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> "Gate":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.open()
        self._server.shutdown()
        self._server.server_close()

    def open(self) -> None:
        self._is_open.set()

    def ask(self, path: str, body: bytes | None) -> tuple[int, bytes] | None:
        """Return what the server behind says; None: the request has waited, and nobody waits for its answer."""
        is_completion = body is not None and path.endswith("/completions")
        if is_completion and not self._is_open.is_set() and next(self._numbers) >= self._most:
            self._is_open.wait()
            return None
        request = urllib.request.Request(f"{self._behind}{path}", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


class _Passing(BaseHTTPRequestHandler):
    gate: Gate

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    def _pass_on(self, body: bytes | None) -> None:
        if (answer := self.gate.ask(self.path, body)) is None:
            return
        status, said = answer
        with contextlib.suppress(ConnectionError):  # of a client that was killed meanwhile
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    def log_message(self, *words: object) -> None:
        """Stay silent."""


def count_lines(path: Path) -> int:
    """Lines of a file, 0 where there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
