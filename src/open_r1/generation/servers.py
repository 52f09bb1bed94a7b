# SPDX-License-Identifier: Apache-2.0
"""`vllm serve` started, awaited and ended.

    with VllmServer("Qwen/Qwen3-8B", args=["--tensor-parallel-size", "2"], log_path=Path("vllm.log")) as server:
        ask(server.url, server.model)

1. It listens on 127.0.0.1 only, on a free port unless one is named, and sends no usage statistics.
2. Ready is 200 from /health (Open R1's job scripts take any answer, 503 too, and wait for ever).
3. It never outlives this process: after an exception, ctrl-C, SIGTERM or kill -9 nothing is left within seconds
   (`supervisor.py`).
"""

import contextlib
import logging
import os
import random
import shutil
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
_SECRET = {"--api-key", "--hf-token"}  # of vLLM; they would stand in results and lists of processes
# Those that decide what is served, and where: results stand under the model and the revision of our flags.
_DECIDED_BY_FLAGS = {"--model", "--revision", "--config", "--host", "--port", "--uds", "--root-path"}
_DECIDED_BY_FLAGS |= {"--ssl-keyfile", "--ssl-certfile"}


class SupervisedProcess:
    """A program that writes to a log file, and is ended with all that it starts when this process is gone.

    Args:
        command: Program and arguments.
        log_path: File for standard output and standard error, behind what is in it; its folder is made.
        env: Environment (None: ours).
        grace_s: Seconds between SIGTERM and SIGKILL at the end; 0 and more.
    """

    def __init__(
        self, command: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None, grace_s: float = 15.0
    ) -> None:
        self.log_path, self._grace_s = log_path, grace_s
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        supervisor = [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")), str(grace_s)]
        with log_path.open("ab") as log:
            # A session of its own: ctrl-C in the terminal is for us, we then end it in order.
            self._process = subprocess.Popen(
                [*supervisor, *command],
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
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End the program and all that it has started, if anything is left."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self.wait(self._grace_s + 15.0) is None:
            self._process.kill()
            self._process.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that it wrote, at most 16 KiB of them."""
        with self.log_path.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, 2) - _LAST_BYTES))
            written = log.read().decode("utf-8", errors="replace")
        return "\n".join(written.rstrip().splitlines()[-lines:])


class VllmServer:
    """`vllm serve MODEL` for as long as the context is open.

    Attributes:
        url: Base URL, with /v1, once the context is entered.
        model: The name that requests must give.
        log_path: What vLLM writes.
    """

    def __init__(
        self,
        model: str,
        *,
        port: int = 0,
        args: Sequence[str] = (),
        log_path: Path,
        deadline_s: float = DEFAULT_DEADLINE_S,
        grace_s: float = 15.0,
        vllm: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Check the settings; the server starts when the context is entered.

        Args:
            model: Model folder or name on the hub.
            port: 0 for a free one.
            args: More arguments for `vllm serve`.
            log_path: File for its output.
            deadline_s: Seconds until it must be ready.
            grace_s: Seconds between SIGTERM and SIGKILL at the end.
            vllm: The executable (None: `find_vllm`).
            env: Variables for it, beside those of this process.

        Raises:
            ValueError: `args` names host or port.
            FileNotFoundError: There is no vLLM.
        """
        for word in args:
            if word.partition("=")[0] in ("--host", "--port"):
                raise ValueError(f"{word} is not for the arguments of vLLM: it listens on 127.0.0.1, on `port`.")
        self.model, self.log_path = _served_name(args) or model, log_path
        self._folder, self._args, self._port = model, list(args), port
        self._deadline_s, self._grace_s = deadline_s, grace_s
        self._vllm, self._env = find_vllm(vllm), env or {}
        self._process: SupervisedProcess | None = None
        self.url = ""

    def __enter__(self) -> Self:
        port = self._port or free_port()
        where = ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
        command = [str(self._vllm), "serve", self._folder, *where, *self._args]
        env = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if env.get("VLLM_LOGGING_LEVEL") == "ERROR":  # as TRL sets it where it is imported: the log would be empty
            del env["VLLM_LOGGING_LEVEL"]
        env |= self._env
        logger.info("Starting %s", " ".join(command))
        self._process = SupervisedProcess(command, log_path=self.log_path, env=env, grace_s=self._grace_s)
        try:
            self._wait_until_ready(f"http://127.0.0.1:{port}/health")
            self.url = f"http://127.0.0.1:{port}/v1"
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.stop()

    def check(self) -> None:
        """Raise a ServersDownError, with the end of its log, if the server has ended."""
        if self._process is not None and (status := self._process.wait(0)) is not None:
            raise ServersDownError(
                f"vLLM ended with exit status {status}. The end of {self.log_path}:\n{self._process.tail()}"
            )

    def _wait_until_ready(self, health_url: str) -> None:
        assert self._process is not None
        start = said = time.monotonic()
        while True:
            self.check()
            if answers(health_url):
                logger.info("vLLM is ready after %.0f s.", time.monotonic() - start)
                return
            now = time.monotonic()
            if now - start > self._deadline_s:
                raise ServersDownError(
                    f"vLLM was not ready after {self._deadline_s:.0f} s (raise the deadline if it only "
                    f"needs longer). The end of {self.log_path}:\n{self._process.tail()}"
                )
            if now - said > _SAY_EVERY_S:
                said = now
                logger.info(
                    "Waiting for vLLM, %.0f s of at most %.0f s: %s",
                    now - start,
                    self._deadline_s,
                    self._process.tail(1)[:200],
                )
            self._process.wait(_TICK_S)


def find_vllm(path: str | Path | None = None) -> Path:
    """Return the `vllm` executable: as named, beside this Python, on the PATH, or in `.venv-serving` here.

    Raises:
        FileNotFoundError: There is none; the message says how to get one.
    """
    if path is not None:
        found = shutil.which(str(Path(path).expanduser()))
        if found is None:
            raise FileNotFoundError(f"There is no program {str(path)!r}.")
        return Path(found)
    serving = Path(os.environ.get("VENV_SERVING", ".venv-serving"))
    for candidate in (Path(sys.executable).with_name("vllm"), "vllm", serving.absolute() / "bin" / "vllm"):
        if (found := shutil.which(str(candidate))) is not None:
            return Path(found)
    raise FileNotFoundError(
        "There is no `vllm` beside this Python, on the PATH or in .venv-serving: run "
        "`make install_serving`, or put it on the PATH."
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
    for place, word in enumerate(args):
        if word.startswith("--served-model-name"):
            return word.partition("=")[2] or next(iter(args[place + 1 :]), None)
    return None


def check_serve_args(words: Sequence[str], *, is_ours: bool = True) -> None:
    """Refuse arguments of `vllm serve` that hold secrets, since they are written into the results, or another model.

    Args:
        words: The arguments.
        is_ours: Whether the server is started here; the arguments of a running one are a record.

    Raises:
        ValueError: There is one.
    """
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        # vLLM takes the beginning of a flag for the flag.
        if len(name) > 2 and any(flag.startswith(name) for flag in _SECRET):
            raise ValueError(f"{name} would stand in results: a server started here needs no key, HF_TOKEN is read.")
        if is_ours and len(name) > 2 and any(flag.startswith(name) for flag in _DECIDED_BY_FLAGS):
            raise ValueError(f"{name} is not for the arguments of vLLM: it is set here, or by a flag of its own.")
