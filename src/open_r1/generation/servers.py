# SPDX-License-Identifier: Apache-2.0
"""`vllm serve` started, awaited and ended.

    with VllmServer("Qwen/Qwen3-8B", args=["--tensor-parallel-size", "2"], log_path=Path("vllm.log")) as server:
        ask(server.url, server.model)

1. It listens on 127.0.0.1 only, on a free port, and sends no usage statistics.
2. Ready is 200 from /health (Open R1's job scripts take any answer, 503 too, and wait for ever).
3. It never outlives this process: after an exception, ctrl-C, SIGTERM or kill -9 nothing is left within seconds.
"""

import contextlib
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Self

from open_r1.generation.messages import ServersDownError

logger = logging.getLogger(__name__)

DEFAULT_DEADLINE_S = 1800.0  # large models are read for many minutes from network disks
_TICK_S, _SAY_EVERY_S, _ANSWER_S = 0.25, 15.0, 10.0
_NEVER_DEALT_OUT = range(15000, 32000)  # Linux gives connections ports from 32768 on
_LAST_BYTES = 16384
# Arguments of `vllm serve` that would stand in results and lists of processes, or decide what is served, and where.
_SECRET = {"--api-key", "--hf-token"}
_DECIDED_BY_FLAGS = {"--model", "--revision", "--config", "--host", "--port", "--generation-config"}
# When the other end of standard input closes, which the kernel does for a process that was killed too, the program
# gets SIGTERM, and its process group SIGKILL some seconds later: sh -c ... sh GRACE_S PROGRAM [ARGUMENT...]
_SUPERVISOR = """
exec 3<&0 </dev/null; grace=$1; shift
"$@" 3<&- & program=$!
(cat <&3 >/dev/null; kill "$program" 2>/dev/null; sleep "$grace"; kill -9 0) & wait "$program"
"""


class SupervisedProcess:
    """A program that writes to a log file, and is ended with all that it starts when this process is gone.

    Args:
        command: Program and arguments.
        log_path: File for standard output and standard error, behind what is in it; its folder is made.
        env: Environment (None: that of this process).
        grace_s: Seconds between SIGTERM and SIGKILL at the end; 0 and more.
    """

    def __init__(
        self, command: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None, grace_s: float = 15.0
    ) -> None:
        self.log_path, self._grace_s = log_path, grace_s
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: ctrl-C in the terminal is for this process, which then ends the program in order.
            self._process = subprocess.Popen(
                ["sh", "-c", _SUPERVISOR, "sh", str(grace_s), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit status, None if it still runs after `timeout_s` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)

    def stop(self) -> None:
        """End the program and all that it has started, if anything is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.wait(self._grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that it wrote, at most 16 KiB of them."""
        with self.log_path.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, 2) - _LAST_BYTES))
            written = log.read().decode("utf-8", errors="replace")
        return "\n".join(written.rstrip().splitlines()[-lines:])


class VllmServer:
    """`vllm serve MODEL` for as long as the context is open.

    Args:
        model: Model folder or name on the hub.
        args: More arguments for `vllm serve`.
        log_path: File for its output.
        deadline_s: Seconds until it must be ready.
        grace_s: Seconds between SIGTERM and SIGKILL at the end.
        vllm: The executable (None: `find_vllm`).
        env: Variables for it, beside those of this process.

    Attributes:
        url: Base URL, with /v1, once the context is entered.
        model: The name that requests must give.
        log_path: What vLLM writes.

    Raises:
        ValueError: `args` names host, port, or a secret.
        FileNotFoundError: There is no vLLM.
    """

    def __init__(
        self,
        model: str,
        *,
        args: Sequence[str] = (),
        log_path: Path,
        deadline_s: float = DEFAULT_DEADLINE_S,
        grace_s: float = 15.0,
        vllm: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        check_serve_args([word for word in args if word.startswith(("--host", "--port", *_SECRET))])
        self.model, self.log_path = _served_name(args) or model, log_path
        self._deadline_s, self._grace_s = deadline_s, grace_s
        port = free_port()
        where = ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
        self._command = [str(find_vllm(vllm)), "serve", model, *where, *args]
        self._env = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if self._env.get("VLLM_LOGGING_LEVEL") == "ERROR":  # as TRL sets it where it is imported: an empty log
            del self._env["VLLM_LOGGING_LEVEL"]
        self._env |= env or {}
        self.url = f"http://127.0.0.1:{port}/v1"

    def __enter__(self) -> Self:
        logger.info("Starting %s", " ".join(self._command))
        self._process = SupervisedProcess(self._command, log_path=self.log_path, env=self._env, grace_s=self._grace_s)
        try:
            self._wait_until_ready()
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.stop()

    def check(self) -> None:
        """Raise a ServersDownError, with the end of its log, if the server has ended."""
        if (status := self._process.wait(0)) is not None:
            raise self._failure(f"vLLM ended with exit status {status}")

    def _failure(self, what: str) -> ServersDownError:
        return ServersDownError(f"{what}. The end of {self.log_path}:\n{self._process.tail()}")

    def _wait_until_ready(self) -> None:
        start = said = time.monotonic()
        while not answers(self.url.replace("/v1", "/health")):
            self.check()
            now = time.monotonic()
            if now - start > self._deadline_s:
                raise self._failure(
                    f"vLLM was not ready after {self._deadline_s:.0f} s (raise the deadline if it only needs longer)"
                )
            if now - said > _SAY_EVERY_S:
                said = now
                last = self._process.tail(1)[:200]
                logger.info("Waiting for vLLM, %.0f s of %.0f s: %s", now - start, self._deadline_s, last)
            self._process.wait(_TICK_S)
        logger.info("vLLM is ready after %.0f s.", time.monotonic() - start)


def find_vllm(path: str | Path | None = None) -> Path:
    """Return the `vllm` executable: as named, beside this Python, on the PATH, or in `.venv-serving` here.

    Raises:
        FileNotFoundError: There is none; the message says how to get one.
    """
    serving = Path(os.environ.get("VENV_SERVING", ".venv-serving")).absolute() / "bin" / "vllm"
    candidates = (Path(sys.executable).with_name("vllm"), "vllm", serving) if path is None else (path,)
    for candidate in candidates:
        if (found := shutil.which(str(candidate))) is not None:
            return Path(found)
    raise FileNotFoundError(
        f"There is no vLLM in {', '.join(map(str, candidates))}: run `make install_serving`, or put it on the PATH."
    )


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that no connection gets by chance until a server does."""
    draw = random.SystemRandom()  # programs seed the common one, and two of them would draw the same
    while True:
        port = draw.choice(_NEVER_DEALT_OUT)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def answers(url: str) -> bool:
    """Return whether a GET of this URL gives 200 within 10 s; a server that still loads its model answers 503."""
    try:
        # No proxy: this machine, or a node beside it, is meant, whatever http_proxy says.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=_ANSWER_S) as reply:
            return reply.status == 200
    except (OSError, HTTPException):
        return False


def _served_name(args: Sequence[str]) -> str | None:
    """The first of the names in vLLM's arguments under which requests may ask for the model."""
    words = [part for word in args for part in word.split("=", 1)]
    flag = "--served-model-name"
    return words[words.index(flag) + 1] if flag in words else None


def check_serve_args(words: Sequence[str], *, is_ours: bool = True) -> None:
    """Refuse arguments of `vllm serve` that hold secrets, since they are written into the results, or another model.

    Args:
        words: The arguments.
        is_ours: Whether the server is started here; the arguments of a running one are a record.

    Raises:
        ValueError: There is one.
    """
    for name in {word.partition("=")[0].replace("_", "-") for word in words}:
        if name in _SECRET or (is_ours and name in _DECIDED_BY_FLAGS):
            raise ValueError(f"{name} is not for the arguments of vLLM: it is set by a flag, or read from HF_TOKEN.")
