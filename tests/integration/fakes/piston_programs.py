# SPDX-License-Identifier: Apache-2.0
"""One stage of a job of the Piston stand-in: a real process, ended and reported as Piston does.

Before isolate ("v3.1.1"): limits by the clock and of address space, code null and SIGKILL for what was ended.
Since ("head"): CPU time, memory of the whole session, and a status. Nothing is isolated: these are test programs.
"""

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.05
CHUNK = 1 << 16
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class StageLimits:
    """Milliseconds and bytes; -1 for no limit of memory."""

    timeout: int
    cpu_time: int
    memory_limit: int
    output_max_size: int


class Stage:
    """A running stage."""

    def __init__(
        self, script: Path, args: list[str], stdin: str, folder: Path, language: str, limits: StageLimits, version: str
    ) -> None:
        self.limits, self.is_head = limits, version == "head"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PISTON_LANGUAGE": language,
            "LANG": "C.UTF-8",
        }
        # What prlimit does for Piston: ulimit counts in KiB.
        has_space_limit = limits.memory_limit > 0 and not self.is_head
        space = f"ulimit -v {limits.memory_limit // 1024}; " if has_space_limit else ""
        command = ["bash", "-c", f'{space}ulimit -c 0; exec bash "$@"', "bash", str(script), *args]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.texts = {"stdout": bytearray(), "stderr": bytearray()}
        self.stdin = stdin.encode(errors="replace")
        self.status: str | None = None
        self.is_killed = False
        self.cpu_ms = self.peak = 0.0

    def run(self) -> dict:
        """Feed and read the process until it has ended; return the stage as the answer has it."""
        try:
            self._talk()
        finally:
            self._kill_group()
            _, wait_status, usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(wait_status)
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                with contextlib.suppress(OSError):
                    stream.close()
        self.cpu_ms = max(self.cpu_ms, (usage.ru_utime + usage.ru_stime) * 1000)
        # A new process starts with the peak of the one that it's a copy of, this one: no more is known below that.
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.peak = max(self.peak, usage.ru_maxrss * 1024 if usage.ru_maxrss > 1.1 * ours else 0)
        return self._report()

    def kill(self, status: str) -> None:
        """End the process for a limit."""
        if not self.is_killed:
            self.is_killed, self.status = True, status
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _members(self) -> dict[int, list[str]]:
        """Processes of the session with what /proc/PID/stat says from the state on."""
        members = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:
                    members[int(path.parent.name)] = fields
        return members

    def _talk(self) -> None:
        deadline = self.started + self.limits.timeout / 1000
        with selectors.DefaultSelector() as selector:
            for name in ("stdout", "stderr"):
                selector.register(getattr(self.process, name), selectors.EVENT_READ, name)
            os.set_blocking(self.process.stdin.fileno(), False)
            selector.register(self.process.stdin, selectors.EVENT_WRITE, "stdin")
            is_over_since: float | None = None
            while len(selector.get_map()) > ("stdin" in {key.data for key in selector.get_map().values()}):
                for key, _ in selector.select(POLL_S):
                    if not (self._feed() if key.data == "stdin" else self._read(key.data)):
                        selector.unregister(key.fileobj)
                now = time.monotonic()
                if now > deadline:
                    self.kill("TO")
                if self.is_head:
                    self._measure()
                # The program is over, but something that it left behind holds its pipes.
                if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    is_over_since = is_over_since or now
                    if now - is_over_since > 0.5:
                        return

    def _feed(self) -> bool:
        try:
            self.stdin = self.stdin[os.write(self.process.stdin.fileno(), self.stdin[:CHUNK]) :]
        except BlockingIOError:
            return True
        except OSError:
            self.stdin = b""
        if not self.stdin:
            self.process.stdin.close()
        return bool(self.stdin)

    def _read(self, name: str) -> bool:
        data = os.read(getattr(self.process, name).fileno(), CHUNK)
        text, most = self.texts[name], self.limits.output_max_size
        if self.is_head and len(text) + len(data) > most:
            text += data[: most - len(text)]
            self.kill("OL" if name == "stdout" else "EL")
        elif not self.is_head and len(text) > most:
            self.kill("OL")
        elif not self.is_killed:
            text += data
        return bool(data)

    def _measure(self) -> None:
        """Do what isolate does with a control group: CPU time and memory of all processes."""
        members = self._members().values()
        self.cpu_ms = max(self.cpu_ms, sum(sum(map(int, fields[11:15])) for fields in members) * 1000 / TICKS)
        self.peak = max(self.peak, sum(int(fields[21]) for fields in members) * PAGE)
        if self.cpu_ms > self.limits.cpu_time:
            self.kill("TO")
        elif 0 < self.limits.memory_limit < self.peak:
            self.peak = self.limits.memory_limit
            self.kill("SG")

    def _report(self) -> dict:
        ended = self.process.returncode
        stdout, stderr = (self.texts[name].decode(errors="replace") for name in ("stdout", "stderr"))
        killer = "SIGKILL" if self.is_killed else signal.Signals(-ended).name if ended < 0 else None
        code = None if killer else ended
        report = {"stdout": stdout, "stderr": stderr, "code": code, "signal": killer, "output": stdout + stderr}
        if not self.is_head:
            return report
        status = self.status or ("SG" if killer else "RE" if code else None)
        messages = {
            "TO": "Time limit exceeded",
            "OL": "stdout length exceeded",
            "EL": "stderr length exceeded",
            "RE": f"Exited with error status {code}",
            "SG": "Caught fatal signal",
        }
        wall_ms = (time.monotonic() - self.started) * 1000
        return report | {
            "message": messages.get(status or ""),
            "status": status,
            "cpu_time": round(self.cpu_ms),
            "wall_time": round(wall_ms),
            "memory": int(self.peak / 1024) * 1000,
        }
