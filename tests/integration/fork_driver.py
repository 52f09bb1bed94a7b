# SPDX-License-Identifier: Apache-2.0
"""Run entry scripts in forked children of one process that has imported everything, so that a start takes no time.

Run as a program it is that process. It reads one command a line and answers each with a number:
`{"argv": [script, ...], "log": path, "file_limit": bytes or null, "env": variables or null}` forks a child that runs
the script as `__main__`, may write no file that is larger, and has these variables alone; the answer is its pid.
`{"wait": pid}` waits for a child; the answer is its exit status, negative for a signal.
"""

import importlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Run:
    """A training in a process of its own."""

    driver: "ForkDriver"
    pid: int
    log: Path
    returncode: int | None = None

    def wait(self) -> int:
        """Return the exit status; negative is the number of the signal that ended it."""
        if self.returncode is None:
            self.returncode = int(self.driver.ask({"wait": self.pid}))
        return self.returncode

    def kill_when(self, is_time: Callable[[], bool], timeout_s: float = 300.0) -> bool:
        """Send SIGKILL as soon as `is_time`; return whether the process was still running then."""
        deadline = time.monotonic() + timeout_s
        while not is_time() and not self.has_ended():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"The moment to kill did not come in {timeout_s} s:\n{self.log.read_text()}")
            time.sleep(0.002)
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def has_ended(self) -> bool:
        """Whether the process has ended; it stays a zombie until `wait`."""
        return self._state() == "Z"

    def stands_still(self) -> bool:
        """Whether the process does nothing more: it has ended, or was stopped by a signal."""
        return self._state() in "ZT"

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


class ForkDriver:
    """Starts trainings by forking a process that has everything imported.

    Args:
        environment: Variables on top of this process's own.
        modules: What is imported before anything starts.
    """

    def __init__(
        self, environment: Mapping[str, str], modules: Sequence[str] = ("open_r1.grpo", "open_r1.sft")
    ) -> None:
        settings = {
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(REPOSITORY / "src"),
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **settings, **environment},
        )
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        assert self._stdin is not None and self._stdout is not None
        assert self._stdout.readline() == "ready\n"

    def start(self, script: str, argv: Sequence[str], log: Path, file_limit: int | None = None) -> Run:
        """Start `src/open_r1/<script>.py` with a command line; its output is appended to `log`.

        Args:
            script: `sft` or `grpo`.
            argv: Words after the script.
            log: File for stdout and stderr.
            file_limit: Size in bytes beyond which writing a file fails.
        """
        return self.start_program([f"src/open_r1/{script}.py", *argv], log, file_limit)

    def start_program(
        self, argv: Sequence[str], log: Path, file_limit: int | None = None, env: Mapping[str, str] | None = None
    ) -> Run:
        """Start a program by its path from the root and its words, with `env` as all its variables."""
        command = {"argv": list(argv), "log": str(log), "file_limit": file_limit, "env": env}
        return Run(self, int(self.ask(command)), log)

    def ask(self, command: dict) -> str:
        """Return the answer to one command."""
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()
        return self._stdout.readline()

    def close(self) -> None:
        """End the driver."""
        self._stdin.close()
        self._process.wait(timeout=120)
        self._stdout.close()


def serve() -> None:
    """Fork a child for each command on stdin."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            _, status = os.waitpid(command["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            if command["env"] is not None:
                os.environ.clear()
                os.environ.update(command["env"])
            run_script(command["argv"], command["log"], command["file_limit"])
        print(pid, flush=True)


def run_script(argv: list[str], log: str, file_limit: int | None) -> NoReturn:
    """Run a script as if it were started by name, then end the process."""
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    with open(log, "ab", buffering=0) as stream:  # noqa: PTH123 - unbuffered, for its descriptor
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.argv = argv
    code = 0
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - what Python itself does with an error that nobody catches
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
