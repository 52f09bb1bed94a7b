# SPDX-License-Identifier: Apache-2.0
"""SandboxFusion on this machine: `POST /run_code` by its public contract, with programs that really run.

What the contract doesn't say, here: memory is limited by address space, and a program that prints more than
`LONGEST_OUTPUT` is killed. Nothing is isolated: these are test programs.
"""

import base64
import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.integration.fakes.programs import run_program

LONGEST_OUTPUT = 1 << 22
MAIN = {"python": "main.py", "cpp": "main.cpp", "nodejs": "main.js", "bash": "main.sh"}
RUN = {"python": ["python3", "-X", "utf8"], "nodejs": ["node"], "bash": ["bash"]}


class FusionServer(ThreadingHTTPServer):
    """The server; `troubles` are for the next requests, one each: "error" (its own failure), "drop", "503",
    "late" (the compiler)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Contract)
        self.troubles: list[str] = []
        self.bodies: list[dict] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Stay silent about clients that went away."""


@contextlib.contextmanager
def fusion_server() -> Iterator[FusionServer]:
    with FusionServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


class _Contract(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FusionServer

    def log_message(self, *args) -> None:
        """Stay silent; bodies are on record."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        trouble = self.server.troubles.pop(0) if self.server.troubles else None
        if trouble == "drop":
            self.close_connection = True
        elif self.path != "/run_code" or body["language"] not in MAIN or trouble == "503":
            self.send(503 if trouble else 422, {"detail": "no"})
        elif trouble == "error":
            self.send(200, reply("SandboxError", None, None, "the pool is broken"))
        elif trouble == "late":
            late = {"status": "TimeLimitExceeded", "return_code": None, "stdout": "", "stderr": ""}
            self.send(200, reply("Failed", late, None))
        else:
            with tempfile.TemporaryDirectory(prefix="fusion_", ignore_cleanup_errors=True) as folder:
                self.send(200, run_code(body, Path(folder) / "work"))

    def send(self, status: int, value: dict) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def reply(status: str, compiled: dict | None, run: dict | None, message: str = "") -> dict:
    return {
        "status": status,
        "message": message,
        "compile_result": compiled,
        "run_result": run,
        "executor_pod_name": None,
        "files": {},
    }


def run_code(body: dict, folder: Path) -> dict:
    """Write the files, compile where that's to be done, and run."""
    main = MAIN[body["language"]]
    for name, content in (body.get("files") or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(base64.b64decode(content))
    folder.mkdir(exist_ok=True)
    (folder / main).write_text(body["code"], encoding="utf-8", newline="")
    compiled = None
    command = [*RUN.get(body["language"], []), f"./{main}"]
    if body["language"] == "cpp":
        compiled = run_command(["g++", "-std=c++17", main, "-o", "test"], folder, "", body["compile_timeout"])
        if compiled["return_code"] != 0:
            return reply("Failed", compiled, None)
        command = ["./test"]
    memory_mb = body.get("memory_limit_MB", 0) if body["language"] != "nodejs" else 0
    ran = run_command(command, folder, body.get("stdin") or "", body.get("run_timeout", 10), memory_mb)
    return reply("Success" if ran["return_code"] == 0 else "Failed", compiled, ran)


def run_command(command: list[str], folder: Path, stdin: str, timeout_s: float, memory_mb: int = 0) -> dict:
    """Run one command; return its result as the contract has it."""
    ended = run_program(
        command, folder, stdin, timeout_s=timeout_s, output_bytes=LONGEST_OUTPUT, address_kb=memory_mb * 1024
    )
    is_late = ended.why == "clock"
    return {
        "status": "TimeLimitExceeded" if is_late else "Finished",
        "execution_time": ended.wall_s,
        "return_code": None if is_late else ended.code,
        "stdout": ended.stdout,
        "stderr": ended.stderr,
    }
