# SPDX-License-Identifier: Apache-2.0
"""`vllm serve`, started, awaited and stopped by us.

    with VllmServer("Qwen/Qwen3-8B", args=["--tensor-parallel-size", "2"], log_path=Path("vllm.log")) as server:
        ask(server.url, server.model)

1. It listens on 127.0.0.1 only, on a free port unless one is named, and sends no usage statistics.
2. Ready is 200 from /health (Open R1's job scripts take any answer, 503 too, and wait for ever).
3. It never outlives this process, even after kill -9 (`processes.py`).
"""

import contextlib
import logging
import os
import random
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Self

from open_r1.generation.messages import ServersDownError
from open_r1.generation.processes import MindedProcess

logger = logging.getLogger(__name__)

DEFAULT_DEADLINE_S = 1800.0  # large models are read for many minutes from network disks
_TICK_S, _SAY_EVERY_S, _ANSWER_S = 0.25, 15.0, 10.0
_OURS = ("--host", "--port")
_NEVER_DEALT_OUT = range(15000, 32000)  # Linux gives connections ports from 32768 on
_SEEN = "it would stand in results and lists of processes. "
# Arguments of vLLM that hold a secret, and what to do instead.
_HOLDS_SECRETS = {
    "--api-key": f"{_SEEN}A server that is started here needs no key",
    "--hf-token": f"{_SEEN}Set HF_TOKEN in the environment instead",
}
# Those that decide what is served, and where: results stand under the model and the revision of our flags.
_DECIDED_BY_FLAGS = {
    "--model": "the model has a flag of its own",
    "--revision": "the revision of the model has a flag of its own",
    "--config": "its file may hold what flags of ours set: write its settings as words",
    **dict.fromkeys(
        ("--host", "--port", "--uds", "--ssl-keyfile", "--ssl-certfile", "--root-path"),
        "the server is asked at an address of our choice, by http",
    ),
}
_QUIET = ("--disable-uvicorn-access-log",)  # a line for each request


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
        taken = [word for word in args if word.split("=", 1)[0] in _OURS]
        if taken:
            raise ValueError(f"{taken[0]} is not for the arguments of vLLM: it listens on 127.0.0.1, on `port`.")
        self.model, self.log_path = _served_name(args) or model, log_path
        self._folder, self._args, self._port = model, list(args), port
        self._deadline_s, self._grace_s = deadline_s, grace_s
        self._vllm, self._env = find_vllm(vllm), env or {}
        self._process: MindedProcess | None = None
        self.url = ""

    def __enter__(self) -> Self:
        port = self._port or free_port()
        command = [
            str(self._vllm),
            "serve",
            self._folder,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *_QUIET,
            *self._args,
        ]
        env = {**_our_environment(), "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **self._env}
        logger.info("Starting %s", " ".join(command))
        self._process = MindedProcess(command, log_path=self.log_path, env=env, grace_s=self._grace_s)
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
        if self._process is not None and (status := self._process.poll()) is not None:
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


def _our_environment() -> dict[str, str]:
    """Our environment; without the log level ERROR, so that the log file says what a server does.

    TRL sets that level where it is imported, and all that is started there inherits it: nobody can tell it from a
    level that a user has chosen.
    """
    return {name: value for name, value in os.environ.items() if (name, value) != ("VLLM_LOGGING_LEVEL", "ERROR")}


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
        is_ours: Whether the server is started here; of others they are a record.

    Raises:
        ValueError: There is one.
    """
    refused = _HOLDS_SECRETS | _DECIDED_BY_FLAGS if is_ours else _HOLDS_SECRETS
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        # vLLM takes the beginning of a flag for the flag.
        meant = [flag for flag in refused if name.startswith("--") and len(name) > 2 and flag.startswith(name)]
        if meant:
            raise ValueError(f"{name} is not for the arguments of vLLM: {refused[meant[0]]}.")
