# SPDX-License-Identifier: Apache-2.0
"""Programs of the stand-ins for Piston and SandboxFusion: real processes, ended at limits. Nothing is isolated."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PIPE_BYTES = 1 << 16  # by which a text may be longer than its limit


@dataclass
class Ended:
    """How a program ended: for which limit (clock, stdout, stderr, cpu, memory), seconds, and peak memory in bytes."""

    why: str | None
    code: int
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    memory: int


def run_program(
    command: list[str],
    folder: Path,
    stdin: str,
    *,
    timeout_s: float,
    output_bytes: int,
    address_kb: int | None = None,
    cpu_s: float | None = None,
    memory: int | None = None,
    **environment: str,
) -> Ended:
    """Run a program in a folder; with `cpu_s`, look at CPU time and memory of all its processes meanwhile."""
    texts = {name: folder.with_name(f"{folder.name}.{name}") for name in ("stdin", "stdout", "stderr")}
    for path in texts.values():
        path.touch()
    texts["stdin"].write_bytes(stdin.encode(errors="replace"))
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    limit = f"ulimit -v {address_kb}; " if address_kb else ""
    started, why, used_s, peak = time.monotonic(), None, 0.0, 0
    with contextlib.ExitStack() as files:
        given, out, err = (files.enter_context(path.open("r+b")) for path in texts.values())
        process = subprocess.Popen(
            ["bash", "-c", f'{limit}ulimit -c 0; exec "$@"', "bash", *command],
            cwd=folder,
            env=variables | environment,
            stdin=given,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            while why is None and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                time.sleep(0.005)
                if cpu_s is not None:
                    seconds, size = usage_of(process.pid)
                    used_s, peak = max(used_s, seconds), max(peak, size)
                over = {
                    "clock": time.monotonic() - started > timeout_s,
                    "stdout": texts["stdout"].stat().st_size > output_bytes,
                    "stderr": texts["stderr"].stat().st_size > output_bytes,
                    "cpu": cpu_s is not None and used_s > cpu_s,
                    "memory": memory is not None and peak > memory,
                }
                why = next((name for name, is_over in over.items() if is_over), None)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - started
    stdout, stderr = (
        texts[name].read_bytes()[: output_bytes + PIPE_BYTES].decode(errors="replace") for name in ("stdout", "stderr")
    )
    for path in texts.values():
        path.unlink()
    used_s = max(used_s, usage.ru_utime + usage.ru_stime)
    return Ended(why, process.returncode, stdout, stderr, wall_s, used_s, peak)


def usage_of(pid: int) -> tuple[float, int]:
    """CPU seconds and bytes of a process and those below it."""
    seconds, size = 0.0, 0
    with contextlib.suppress(psutil.Error):
        for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                seconds, size = seconds + sum(one.cpu_times()[:4]), size + one.memory_info().rss
    return seconds, size
