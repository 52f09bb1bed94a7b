# SPDX-License-Identifier: Apache-2.0
"""What the stand-ins for clouds share: machines are folders with real processes, calls are recorded, faults ordered.

A fault is asked for by operation: `create=["429", "drop"]` spoils the first two calls, `create=always("503")` all; ""
spoils nothing. A fault is a status, "hang" (until the server stops), "drop" (the work is done, the answer breaks off),
"garbage" or one that an operation knows besides. A machine isolates nothing: its processes are children of the test.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

always = itertools.repeat


@dataclass
class Machine:
    """One machine: its folder and what is on record of it."""

    id: str
    wanted: dict
    folder: Path
    is_gone: bool = False
    scripts: list[str] = field(default_factory=list)

    def start(self, command: list[str]) -> subprocess.Popen:
        """Start a process in the machine."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def end(self) -> None:
        """Kill whatever works in the machine's folder, and remove it."""
        self.is_gone = True
        for link in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if link.readlink().is_relative_to(self.folder):
                    os.kill(int(link.parent.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue  # ended meanwhile, or another user's
        shutil.rmtree(self.folder, ignore_errors=True)


class Cloud(ThreadingHTTPServer):
    """The server with its machines. `calls` are (operation, machine id or "")."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, contract: type["Contract"], key: str, faults: dict[str, Iterable[str]]) -> None:
        super().__init__(("127.0.0.1", 0), contract)
        self.key = key
        self.faults: dict[str, Iterator[str]] = {operation: iter(wanted) for operation, wanted in faults.items()}
        self.machines: dict[str, Machine] = {}
        self.calls: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.root = Path(tempfile.mkdtemp(prefix="open_r1_cloud_")).resolve()
        self.changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def alive(self) -> list[Machine]:
        """Machines that were started and not given back."""
        return [machine for machine in self.machines.values() if not machine.is_gone]

    def count(self, operation: str) -> int:
        return sum(1 for called, _ in self.calls if called == operation)

    def wait_for(self, operation: str, number: int = 1, timeout_s: float = 60.0) -> None:
        """Wait until an operation has been called so many times."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.count(operation) >= number, timeout_s), (operation, self.calls)

    def record(self, operation: str, machine: str) -> str:
        """Put a call on record; return the fault that it's to meet, or "" for none."""
        with self.changed:
            self.calls.append((operation, machine))
            self.changed.notify_all()
            return next(self.faults.get(operation, iter(())), "")

    def add_machine(self, wanted: dict) -> Machine:
        with self.lock:
            name = f"box{len(self.machines) + 1:04d}"
            folder = self.root / name
            folder.mkdir(mode=0o755)
            self.machines[name] = Machine(name, wanted, folder)
            return self.machines[name]

    def __enter__(self) -> "Cloud":
        self.root.chmod(0o755)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for machine in self.alive:
            machine.end()
        shutil.rmtree(self.root, ignore_errors=True)


class Contract(BaseHTTPRequestHandler):
    """What a cloud answers; a subclass knows the operations."""

    protocol_version = "HTTP/1.1"
    server: Cloud

    def log_message(self, *args) -> None:
        """Stay silent; calls are in `server.calls`."""

    def do_GET(self) -> None:
        body = self.read_body()
        address = urlsplit(self.path)
        self.asked = dict(parse_qsl(address.query))
        path = [unquote(part) for part in address.path.strip("/").split("/")]
        try:
            self.answer(path, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has gone

    do_POST = do_DELETE = do_GET

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, path: list[str], body: bytes) -> None:
        raise NotImplementedError

    def send(self, reply, status: int = 200) -> None:
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        """Break the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(2)

    def hang(self) -> None:
        """Keep the client waiting until the server stops."""
        self.server.stopping.wait(120)
        self.drop()
