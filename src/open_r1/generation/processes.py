# SPDX-License-Identifier: Apache-2.0
"""A program that is ended, with all that it starts, when we are done with it or are gone: it never outlives us.

After an exception, ctrl-C, SIGTERM or kill -9 of this process nothing is left within seconds (`minder.py`).
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_MINDER = Path(__file__).with_name("minder.py")
_LAST_BYTES = 16384


class MindedProcess:
    """A program that writes to a log file; a context manager that ends it.

    Attributes:
        log_path: Where its output goes, behind what is in the file already.
    """

    def __init__(
        self, command: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None, grace_s: float = 15.0
    ) -> None:
        """Start the program.

        Args:
            command: Program and arguments.
            log_path: File for standard output and standard error; its folder is made.
            env: Environment (None: ours).
            grace_s: Seconds between SIGTERM and SIGKILL at the end; 0 and more.
        """
        self.log_path = log_path
        self._grace_s = grace_s
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        with log_path.open("ab") as log:
            # A session of its own: ctrl-C in the terminal is for us, we then end it in order.
            self._minder = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_MINDER), str(grace_s), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self._minder.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit status, None if it still runs after `timeout_s` seconds."""
        try:
            return self._minder.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> int:
        """End the program and all that it has started, if anything is left; return its exit status."""
        if self._minder.stdin is not None:
            self._minder.stdin.close()
        status = self.wait(self._grace_s + 15.0)
        if status is None:
            self._minder.kill()
            status = self._minder.wait()
        return status

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that it wrote, at most 16 KiB of them."""
        with self.log_path.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(self._log_start, size - _LAST_BYTES))
            written = log.read().decode("utf-8", errors="replace")
        return "\n".join(written.rstrip().splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
