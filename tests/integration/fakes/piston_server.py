# SPDX-License-Identifier: Apache-2.0
"""Piston on this machine: its HTTP contract, found by running v3.1.1, with programs that really run.

`with piston_server(**options) as url:` is all that most tests need; `PistonServer` can also be stopped, started again
on its port, and told to misbehave (`trouble`).
"""

import base64
import contextlib
import json
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.integration.fakes.piston_programs import Stage, StageLimits

PACKAGES = Path(__file__).with_name("piston_packages")
# Runtime, the folder of its package, version, aliases; several names where a package provides several.
RUNTIMES = {
    "python": [("python", "python", "3.10.0", ["py", "py3", "python3", "python3.10"])],
    "c++": [("c++", "gcc", "10.2.0", ["cpp", "g++"])],
    "javascript": [("javascript", "node", "18.15.0", ["node-javascript", "node-js", "javascript", "js"])],
    "bash": [("bash", "bash", "5.2.0", ["sh"])],
    "cms_ioi": [("cms_ioi", "cms_ioi", "1.0.0", [])],
    "codeforces": [("c++17", "codeforces", "1.0.0", []), ("cf_python3", "codeforces", "1.0.0", [])],
}
# What Open R1's launch script sets; Piston's own defaults are 3000, 10000 and 1024.
CONFIGURED = {
    "run_timeout": 60000,
    "compile_timeout": 60000,
    "run_cpu_time": 60000,
    "compile_cpu_time": 60000,
    "run_memory_limit": -1,
    "compile_memory_limit": -1,
}
STDIN_BYTES = 219_264  # what a program gets of a longer standard input: measured at 3.1.1
TROUBLES = ("hang", "503", "empty_500", "garbage", "not_piston", "overload", "die", "xx", "down")


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
        longest_string: Bytes of output at which Node can't make a text of it, and the server dies.
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
    longest_string: int = 512 << 20
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
        self.server.cut_off()

    def __enter__(self) -> "PistonServer":
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def installed(self) -> list[tuple[str, str, str, list[str]]]:
        return [entry for name in self.runtimes for entry in RUNTIMES[name]]


@contextlib.contextmanager
def piston_server(**options) -> Iterator[str]:
    """Yield the base URL of a Piston with the attributes of `PistonServer` as options."""
    with PistonServer(**options) as server:
        yield server.url


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

    def cut_off(self) -> None:
        for request in list(self.connections):
            with contextlib.suppress(OSError):
                request.shutdown(2)


class _Refusal(Exception):
    """A 400 with a message."""


class _Contract(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, *args) -> None:
        """Stay silent; jobs are on record."""

    def do_GET(self) -> None:
        piston = self.server.piston
        if self.path != "/api/v2/runtimes":
            self.send(404, {"message": "Not Found"})
        elif piston.trouble == "down":
            self.send(503, raw=b"")
        else:
            keys = ("language", "version", "aliases", "runtime")
            self.send(200, [dict(zip(keys, (a, v, n, p), strict=True)) for a, p, v, n in piston.installed()])

    def do_POST(self) -> None:
        piston = self.server.piston
        length = int(self.headers.get("Content-Length") or 0)
        if length > piston.body_limit:
            self.close_connection = True
            self.send(400, {"stack": "PayloadTooLargeError: request entity too large\n    at readStream"})
            return
        body = self.rfile.read(length)
        if self.path != "/api/v2/execute":
            self.send(404, {"message": "Not Found"})
        else:
            with piston.lock:
                piston.busy += 1
                piston.most_busy = max(piston.busy, piston.most_busy)
                trouble = piston.troubles.pop(0) if piston.troubles else piston.trouble
            try:
                self.execute(piston, body, trouble)
            finally:
                with piston.lock:
                    piston.busy -= 1

    def execute(self, piston: PistonServer, body: bytes, trouble: str | None) -> None:
        wanted = json.loads(body)
        try:
            runtime = check_job(piston, wanted)
        except _Refusal as error:
            self.send(400, {"message": str(error)})
            return
        piston.jobs.append(wanted)
        if trouble is not None:
            self.misbehave(piston, trouble, wanted)
            return
        folder = Path(tempfile.mkdtemp(prefix="piston_job_"))
        try:
            self.send(200, run_job(piston, wanted, runtime, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def misbehave(self, piston: PistonServer, trouble: str, wanted: dict) -> None:
        stage = {"stdout": "", "stderr": "", "code": 1, "signal": None, "output": ""}
        if trouble in ("hang", "die"):
            if trouble == "hang":
                piston.gate.wait(60)
            self.close_connection = True
        elif trouble in ("503", "down"):
            self.send(503, raw=b"<html>Service Unavailable</html>")
        elif trouble == "empty_500":
            self.send(500, raw=b"")
        elif trouble == "garbage":
            self.send(200, raw=b'{"run": {"stdout": "cut o')
        elif trouble == "not_piston":
            self.send(200, {"hello": "world"})
        elif trouble == "xx":
            stage |= {"code": None, "status": "XX", "message": "Cannot run proxy: No space left on device"}
            self.send(200, {"run": stage, "language": "python", "version": "3.10.0"})
        elif trouble == "late":  # the compiler, at its limit by the clock
            time.sleep(wanted["compile_timeout"] / 1000)
            stage |= {"code": None, "signal": "SIGKILL"}
            if piston.version == "head":
                stage |= {"status": "TO", "cpu_time": 10, "wall_time": wanted["compile_timeout"], "memory": 1000}
            self.send(200, {"run": stage, "compile": stage, "language": "c++", "version": "10.2.0"})
        else:
            assert trouble == "overload", trouble
            stage["stderr"] = "/piston/packages/python/3.10.0/run: fork: retry: Resource temporarily unavailable\n"
            self.send(200, {"run": stage, "language": "python", "version": "3.10.0"})

    def send(self, status: int, reply: object = None, *, raw: bytes | None = None) -> None:
        data = json.dumps(reply).encode() if raw is None else raw
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        if self.server.piston.is_patched:
            self.send_header("X-Open-R1-Stdin", "whole")
            self.send_header("X-Open-R1-Output", str(self.server.piston.output_max_size))
        self.end_headers()
        self.wfile.write(data)


def check_job(piston: PistonServer, wanted: dict) -> tuple[str, str, str]:
    """Return language, package folder and version, or refuse in Piston's words."""
    language = wanted["language"]
    found = next((one for one in piston.installed() if language in (one[0], *one[3])), None)
    if found is None or wanted["version"] not in ("*", found[2]):
        raise _Refusal(f"{language}-{wanted['version']} runtime is unknown")
    check_limits(piston, wanted)
    return found[0], found[1], found[2]


def check_limits(piston: PistonServer, wanted: dict) -> None:
    """Refuse limits over the configured maxima; a server before isolate overlooks CPU time."""
    for name, default in CONFIGURED.items():
        value, most = wanted.get(name), piston.configured.get(name, default)
        if value is None or (name.endswith("cpu_time") and piston.version != "head"):
            continue
        if most > 0 and value > most:
            raise _Refusal(f"{name} cannot exceed the configured limit of {most}")


def run_job(piston: PistonServer, wanted: dict, runtime: tuple[str, str, str], folder: Path) -> dict:
    """Write the files and run both stages; a compiler that fails is also the answer's `run`."""
    language, package, version = runtime
    sources = []
    for index, file in enumerate(wanted["files"]):
        name, encoding = file.get("name") or f"file{index}.code", file.get("encoding") or "utf8"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            base64.b64decode(file["content"]) if encoding == "base64" else file["content"].encode(errors="replace")
        )
        if encoding == "utf8":
            sources.append(name)

    def stage(kind: str, args: list[str], stdin: str) -> dict:
        names = {name: wanted.get(f"{kind}_{name}") for name in ("timeout", "cpu_time", "memory_limit")}
        values = {
            name: piston.configured.get(f"{kind}_{name}", CONFIGURED[f"{kind}_{name}"]) if value is None else value
            for name, value in names.items()
        }
        most = min(piston.output_max_size, piston.longest_string)
        limits = StageLimits(output_max_size=most, **values)
        report = Stage(PACKAGES / package / kind, args, stdin, folder, language, limits, piston.version).run()
        if len(report["output"]) >= piston.longest_string < piston.output_max_size:
            piston.stop()  # as Node does for an error that nobody catches
        return report

    reply: dict = {"language": language, "version": version}
    if (PACKAGES / package / "compile").exists():
        reply["compile"] = stage("compile", sources, "")
        if reply["compile"]["code"] != 0:
            return {"run": reply["compile"], **reply}
    stdin = wanted.get("stdin") or ""
    stdin = stdin if stdin.endswith("\n") else stdin + "\n"
    if not piston.is_patched:
        stdin = stdin.encode(errors="replace")[:STDIN_BYTES].decode(errors="ignore")
    return {"run": stage("run", [sources[0], *wanted.get("args", [])], stdin), **reply}
