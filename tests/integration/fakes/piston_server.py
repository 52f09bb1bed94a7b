# SPDX-License-Identifier: Apache-2.0
"""Piston on this machine: its HTTP contract, found by running v3.1.1, with programs that really run.

Before isolate ("v3.1.1"): limits by the clock and of address space, code null and SIGKILL for what was ended. Since
("head"): CPU time, memory of all processes, and a status. `PistonServer` can be stopped, started again on its port,
and told to misbehave (`trouble`).
"""

import base64
import contextlib
import json
import random
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.integration.fakes.programs import run_program

PACKAGES = Path(__file__).with_name("piston_packages")
# Runtime: folder of its package and aliases, by each name that the package provides.
RUNTIMES = {
    "python": {"python": ("python", ["py", "py3", "python3", "python3.10"])},
    "c++": {"c++": ("gcc", ["cpp", "g++"])},
    "javascript": {"javascript": ("node", ["node-javascript", "node-js", "javascript", "js"])},
    "bash": {"bash": ("bash", ["sh"])},
}
# What Open R1's launch script sets; Piston's own defaults are 3000, 10000 and 1024.
CONFIGURED = {f"{stage}_{name}": 60000 for stage in ("run", "compile") for name in ("timeout", "cpu_time")}
STDIN_BYTES = 219_264  # what a program gets of a longer standard input: measured at 3.1.1
TROUBLES = ("hang", "503", "garbage", "overload", "die", "xx", "down")
FAILED = {"stdout": "", "stderr": "", "code": 1, "signal": None, "output": ""}
NO_PROCESS = "/piston/packages/python/3.10.0/run: fork: retry: Resource temporarily unavailable\n"
STATUS = {"clock": "TO", "cpu": "TO", "stdout": "OL", "stderr": "EL", "memory": "SG"}


@dataclass
class PistonServer:
    """A Piston endpoint.

    Attributes:
        runtimes: Keys of `RUNTIMES`: what is installed.
        host: Address to listen on.
        version: "v3.1.1" or "head".
        configured: Maxima that differ from `CONFIGURED`.
        output_max_size: PISTON_OUTPUT_MAX_SIZE, bytes.
        body_limit: Bytes of a request; start_piston.sh makes it 512 MB.
        is_patched: Whether slurm/piston/patches.cjs is loaded; else standard input is cut at `STDIN_BYTES`.
        trouble: One of `TROUBLES` for every job, or None; "down" also for GET /runtimes (503). "late" is one of jobs
            that are compiled.
        troubles: The same for the next jobs alone, one each.
        jobs: The bodies of all jobs that weren't refused.
        busy: Jobs at this moment, `most_busy` the most there were at a time.
    """

    runtimes: tuple[str, ...] = tuple(RUNTIMES)
    host: str = "127.0.0.1"
    version: str = "v3.1.1"
    configured: dict[str, int] = field(default_factory=dict)
    output_max_size: int = 40_000_000
    body_limit: int = 512 << 20
    is_patched: bool = True
    trouble: str | None = None
    troubles: list[str] = field(default_factory=list)
    jobs: list[dict] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    port: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/api/v2"

    def start(self) -> "PistonServer":
        """Listen, again on the same port after `stop`: one that no connection gets by chance meanwhile."""
        deadline = time.monotonic() + 120
        draw = random.SystemRandom()  # tests seed the common one: two workers would draw the same ports
        while True:
            try:
                self.server = _Listener((self.host, self.port or draw.randrange(15000, 32000)), _Contract)
                break
            except OSError:  # a process that is just being started has a copy of the old socket
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self.server.piston = self
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections, as a node that is gone; what runs is cut off."""
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        for request in list(self.server.connections):
            with contextlib.suppress(OSError):
                request.shutdown(2)

    def __enter__(self) -> "PistonServer":
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def installed(self) -> dict[str, tuple[str, list[str]]]:
        return {name: package for key in self.runtimes for name, package in RUNTIMES[key].items()}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    piston: PistonServer

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.connections: set = set()

    def process_request(self, request, client_address) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """Stay silent about clients that went away."""


class _Contract(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, *args) -> None:
        """Stay silent; jobs are on record."""

    def do_GET(self) -> None:
        piston = self.server.piston
        known = piston.installed().items()
        names = [{"language": name, "version": "1.0.0", "aliases": aliases} for name, (_, aliases) in known]
        self.send(503 if piston.trouble == "down" else 200, names)

    def do_POST(self) -> None:
        piston = self.server.piston
        length = int(self.headers.get("Content-Length") or 0)
        if length > piston.body_limit:
            self.close_connection = True
            self.send(400, {"stack": "PayloadTooLargeError: request entity too large\n    at readStream"})
            return
        wanted = json.loads(self.rfile.read(length))
        with piston.lock:
            piston.busy += 1
            piston.most_busy = max(piston.busy, piston.most_busy)
            trouble = piston.troubles.pop(0) if piston.troubles else piston.trouble
        try:
            self.execute(piston, wanted, trouble)
        finally:
            with piston.lock:
                piston.busy -= 1

    def execute(self, piston: PistonServer, wanted: dict, trouble: str | None) -> None:
        """Refuse a job in Piston's words, misbehave, or run it."""
        known = piston.installed().items()
        package = next((folder for name, (folder, aliases) in known if wanted["language"] in (name, *aliases)), None)
        if package is None:
            return self.send(400, {"message": f"{wanted['language']}-{wanted['version']} runtime is unknown"})
        for name, most in {**CONFIGURED, **piston.configured}.items():
            if name in wanted and wanted[name] > most and (piston.version == "head" or not name.endswith("cpu_time")):
                return self.send(400, {"message": f"{name} cannot exceed the configured limit of {most}"})
        piston.jobs.append(wanted)
        stage = {**FAILED, "stderr": NO_PROCESS}
        if trouble is None:
            with tempfile.TemporaryDirectory(prefix="piston_job_", ignore_cleanup_errors=True) as folder:
                return self.send(200, run_job(piston, wanted, package, Path(folder) / "job"))
        if trouble in ("hang", "die"):
            if trouble == "hang":
                piston.gate.wait(60)
            self.close_connection = True
            return None
        if trouble == "xx":
            stage = {**FAILED, "code": None, "status": "XX", "message": "Cannot run proxy: No space left on device"}
        if trouble == "late":  # the compiler, at its limit by the clock
            time.sleep(wanted["compile_timeout"] / 1000)
            measured = {"status": "TO", "cpu_time": 10, "wall_time": wanted["compile_timeout"], "memory": 1000}
            stage = {**FAILED, "code": None, "signal": "SIGKILL", **(measured if piston.version == "head" else {})}
        body = {"run": stage, "compile": stage} if trouble == "late" else {"run": stage}
        is_refused = trouble in ("503", "down")
        raw = {"503": b"", "down": b"", "garbage": b'{"run": {"stdout": "cut o'}.get(trouble)
        return self.send(503 if is_refused else 200, body, raw=raw)

    def send(self, status: int, reply: object = None, *, raw: bytes | None = None) -> None:
        data = json.dumps(reply).encode() if raw is None else raw
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if self.server.piston.is_patched:
            self.send_header("X-Open-R1-Stdin", "whole")
        self.end_headers()
        self.wfile.write(data)


def run_job(piston: PistonServer, wanted: dict, package: str, folder: Path) -> dict:
    """Write the files and run both stages; a compiler that fails is also the answer's `run`."""
    sources = []
    for file in wanted["files"]:
        path = folder / file["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if file["encoding"] == "base64":
            path.write_bytes(base64.b64decode(file["content"]))
        else:
            path.write_bytes(file["content"].encode(errors="replace"))
            sources.append(file["name"])
    is_head = piston.version == "head"

    def stage(kind: str, args: list[str], stdin: str) -> dict:
        memory = wanted.get(f"{kind}_memory_limit")
        measured = {"cpu_s": wanted.get(f"{kind}_cpu_time", 60000) / 1000, "memory": memory} if is_head else {}
        ended = run_program(
            ["bash", str(PACKAGES / package / kind), *args],
            folder,
            stdin,
            timeout_s=wanted.get(f"{kind}_timeout", 60000) / 1000,
            output_bytes=piston.output_max_size,
            address_kb=memory and not is_head and memory // 1024,
            PISTON_LANGUAGE=wanted["language"],
            **measured,
        )
        killer = signal.Signals(-ended.code).name if ended.code < 0 else None
        report = {"stdout": ended.stdout, "stderr": ended.stderr, "code": ended.code, "signal": killer, "output": ""}
        if ended.why or killer:
            report |= {"code": None, "signal": killer or "SIGKILL"}
        if is_head:
            report |= {name: report[name][: piston.output_max_size] for name in ("stdout", "stderr")}
            status = STATUS.get(ended.why or "") or ("SG" if killer else "RE" if ended.code else None)
            size = memory if ended.why == "memory" else ended.memory
            report |= {
                "status": status,
                "cpu_time": round(ended.cpu_s * 1000),
                "wall_time": round(ended.wall_s * 1000),
            }
            report |= {"memory": int(size / 1024) * 1000}
        return report

    reply: dict = {}
    if (PACKAGES / package / "compile").exists():
        reply["compile"] = stage("compile", sources, "")
        if reply["compile"]["code"] != 0:
            return {"run": reply["compile"], **reply}
    stdin = wanted.get("stdin") or ""
    stdin = stdin if stdin.endswith("\n") else stdin + "\n"
    if not piston.is_patched:
        stdin = stdin.encode(errors="replace")[:STDIN_BYTES].decode(errors="ignore")
    return {"run": stage("run", [sources[0], *wanted.get("args", [])], stdin), **reply}
