# SPDX-License-Identifier: Apache-2.0
"""What the stand-ins for clouds share: machines are folders with real processes, calls are recorded, faults ordered.

A fault is asked for by operation: `create=["429", "drop"]` spoils the first two calls, `create=always("503")` all; ""
spoils nothing. A fault is a status, "hang" (until the server stops), "slow" (half a second), "garbage", "drop" (the
work is done, the answer breaks off) or, of a command, "die" (its machine ends meanwhile). A machine isolates nothing.
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
    """The server with its machines. `calls` are operations."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, contract: type["Contract"], key: str, faults: dict[str, Iterable[str]]) -> None:
        super().__init__(("127.0.0.1", 0), contract)
        self.key, self.url = key, f"http://127.0.0.1:{self.server_port}"
        self.faults: dict[str, Iterator[str]] = {operation: iter(wanted) for operation, wanted in faults.items()}
        self.machines: dict[str, Machine] = {}
        self.calls: list[str] = []
        self.changed, self.stopping = threading.Condition(), threading.Event()
        self.root = Path(tempfile.mkdtemp(prefix="open_r1_cloud_")).resolve()
        self.root.chmod(0o755)

    @property
    def alive(self) -> list[Machine]:
        """Machines that were started and not given back."""
        return [machine for machine in self.machines.values() if not machine.is_gone]

    def count(self, operation: str) -> int:
        return self.calls.count(operation)

    def wait_for(self, operation: str, number: int = 1) -> None:
        """Wait until an operation has been called so many times."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.count(operation) >= number, 60), (operation, self.calls)

    def record(self, operation: str) -> str:
        """Put a call on record; return the fault that it's to meet, or "" for none."""
        with self.changed:
            self.calls.append(operation)
            self.changed.notify_all()
            return next(self.faults.get(operation, iter(())), "")

    def add_machine(self, wanted: dict) -> Machine:
        with self.changed:
            name = f"box{len(self.machines) + 1:04d}"
            self.machines[name] = Machine(name, wanted, self.root / name)
            self.machines[name].folder.mkdir()
            return self.machines[name]

    def __enter__(self) -> "Cloud":
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
    """What a cloud answers; a subclass finds the operation and machine of a request, and has a method for each one."""

    protocol_version = "HTTP/1.1"
    gone = 404  # the status of a machine that is gone
    server: Cloud

    def log_message(self, *args) -> None:
        """Stay silent; calls are in `server.calls`."""

    def do_GET(self) -> None:
        body = self.read_body()
        address = urlsplit(self.path)
        self.asked, self.fault = dict(parse_qsl(address.query)), ""
        operation, name = self.find([unquote(part) for part in address.path.strip("/").split("/")], body)
        fault, machine = self.server.record(operation), self.server.machines.get(name)
        try:
            if fault in ("hang", "slow"):
                self.server.stopping.wait({"hang": 120, "slow": 0.5}[fault])
            if self.server.stopping.is_set():
                self.drop()
            elif fault.isdigit():
                self.refuse(int(fault))
            elif fault == "garbage":
                self.send(b"<html>Welcome to the proxy</html>")
            elif name and (machine is None or machine.is_gone):
                self.refuse(self.gone)
            else:
                self.fault = fault
                getattr(self, operation)(machine, body)
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

    def find(self, path: list[str], body: bytes) -> tuple[str, str]:
        raise NotImplementedError

    def denied(self, machine: None, body: bytes) -> None:
        self.refuse(401)

    def refuse(self, status: int) -> None:
        text = f"{status} on order, key {self.server.key}"
        self.send({"code": status, "message": text, "detail": text}, status)

    def run_script(self, machine: Machine, command: list[str]) -> tuple[int, bytes, bytes]:
        """Run a command in the machine; return its status, output and errors."""
        machine.scripts.append(command[-1])
        process = subprocess.Popen(
            command,
            cwd=machine.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(machine.folder), "TMPDIR": str(machine.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if self.fault == "die":
            machine.end()
        output, errors = process.communicate()
        return process.returncode, output, errors

    def send(self, reply, status: int = 200) -> None:
        if self.fault in ("drop", "die"):
            return self.drop()
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        stream = "application/connect+json"  # of E2B's commands
        is_stream = status == 200 and self.headers.get("Content-Type") == stream
        self.send_header("Content-Type", stream if is_stream else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return self.wfile.write(data) and None

    def drop(self) -> None:
        """Break the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(2)
