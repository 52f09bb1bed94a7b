# SPDX-License-Identifier: Apache-2.0
"""Open R1's clients of its routers, for scripts that use them; rewards use `RouterSandbox`.

Differences: requests end after a time, replies are looked at before they're read, a full router is asked again, an
`https://` URL and a token (of the environment variable SANDBOX_ROUTER_TOKEN) are understood.
"""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.router import CONNECT_TIMEOUT_S, TOKEN_VARIABLE, router_base_url


class Logs(dict[str, list[str]]):
    """What a script printed: `logs["stdout"]` and `logs.stdout` are the same list."""

    stdout = property(lambda self: self["stdout"], doc="The pieces of standard output.")
    stderr = property(lambda self: self["stderr"], doc="The pieces of standard error.")


@dataclass
class ExecutionError:
    """What a script raised."""

    name: str = ""
    value: str = ""
    traceback: str = ""


@dataclass
class Execution:
    """What a script did; without any result all is empty."""

    results: list[dict[str, Any]] = field(default_factory=list)
    logs: Logs = field(default_factory=lambda: Logs(stdout=[], stderr=[]))
    error: ExecutionError | None = None
    execution_count: int | None = None

    @property
    def text(self) -> str | None:
        """Return the value of the script's last expression, as its `repr`."""
        return next((result.get("text") for result in self.results if result.get("is_main_result")), None)


@dataclass
class MorphResult:
    """What a script did: all its output with the value of its last expression at the end, or what went wrong."""

    text: str | None = None
    exception_str: str | None = None


class _Client:
    """What both clients do: a batch goes to the router, an entry comes back for each script."""

    def __init__(self, router_url: str) -> None:
        self.router_url = router_url
        self._base = router_base_url(router_url)

    def _execute(
        self, key: str, scripts: Sequence[str], languages: Sequence[str] | None, limit_s: float, **seconds: float
    ) -> list[dict[str, Any]]:
        """Return the reply's entry for each script, with `key` in it; ask a full router again until the time is over.

        Args:
            key: What entries of the right form have.
            scripts: Source texts.
            languages: One each; None: all are Python.
            limit_s: Seconds for all of it.
            seconds: `timeout` and `request_timeout` of the request, which Open R1's own routers want both.
        """
        languages = ["python"] * len(scripts) if languages is None else list(languages)
        if len(languages) != len(scripts):
            raise ValueError(f"{len(scripts)} scripts but {len(languages)} languages: give one language each.")
        body = {"scripts": list(scripts), "languages": languages, **seconds}
        token = os.environ.get(TOKEN_VARIABLE)
        headers = {} if not token else {b"authorization": f"Bearer {token}".encode()}
        deadline, pause_s = time.monotonic() + limit_s, 0.1
        with httpx.Client(headers=headers, trust_env=False) as client:
            while True:
                left_s = max(0.1, deadline - time.monotonic())
                limit = httpx.Timeout(left_s, connect=min(left_s, CONNECT_TIMEOUT_S))
                try:
                    reply = client.post(f"{self._base}/execute_batch", json=body, timeout=limit)
                except httpx.HTTPError as error:
                    raise SandboxError(f"The router at {self._base}: {type(error).__name__} {error}") from error
                if reply.status_code != 429 or time.monotonic() + pause_s > deadline:
                    break
                time.sleep(pause_s * random.uniform(0.5, 1.5))
                pause_s = min(2 * pause_s, 5.0)
        if reply.status_code != 200:
            raise SandboxError(f"The router at {self._base} answered {reply.status_code}: {reply.text[:500]}")
        try:
            entries = reply.json()
        except ValueError as error:
            raise SandboxError(f"The router at {self._base} sent no JSON.") from error
        is_list = isinstance(entries, list) and len(entries) == len(scripts)
        if not is_list or not all(isinstance(entry, dict) and key in entry for entry in entries):
            raise SandboxError(
                f"The router at {self._base} sent no list of {len(scripts)} results, or in another form, without "
                f"{key!r}: is that of e2b or morph?"
            )
        return entries


class RoutedSandbox(_Client):
    """Runs scripts at a router that answers in the form of e2b.

    Args:
        router_url: `host:port` or a URL.

    Raises:
        ValueError: The URL isn't one.
    """

    def run_code(
        self,
        scripts: Sequence[str],
        languages: Sequence[str] | None = None,
        timeout: int | None = None,
        request_timeout: int | None = None,
    ) -> list[Execution]:
        """Run each script in a box of its own; return an empty `Execution` where there's no result.

        Args:
            scripts: Source texts.
            languages: One each; None: all are Python.
            timeout: Seconds for each script (None: 300).
            request_timeout: Seconds on top, for the network and the router's queue (None: 30).

        Raises:
            ValueError: There's not one language for each script.
            SandboxError: The router gave no results.
        """
        times = {"timeout": timeout or 300, "request_timeout": request_timeout or 30}
        # They may run one after the other, as far as a client can know.
        limit_s = len(scripts) * times["timeout"] + times["request_timeout"]
        return [
            Execution()
            if (given := entry["execution"]) is None
            else Execution(
                given["results"],
                Logs(given["logs"]),
                given["error"] and ExecutionError(**given["error"]),
                given.get("execution_count"),
            )
            for entry in self._execute("execution", scripts, languages, limit_s, **times)
        ]


class RoutedMorphSandbox(_Client):
    """Runs scripts at a router that answers in the form of morph.

    Args:
        router_url: `host:port` or a URL.
        timeout: Seconds for each script.
        request_timeout: Seconds for all scripts of one call.

    Raises:
        ValueError: The URL isn't one.
    """

    def __init__(self, router_url: str, timeout: int = 300, request_timeout: int = 60) -> None:
        super().__init__(router_url)
        self.timeout, self.request_timeout = timeout, request_timeout

    def run_code(
        self,
        scripts: Sequence[str],
        languages: Sequence[str] | None = None,
        timeout: int | None = None,
        request_timeout: int | None = None,
    ) -> list[MorphResult]:
        """Run each script in a box of its own; where the router fails, every `exception_str` says so.

        Raises:
            ValueError: There's not one language for each script.
        """
        times = {"timeout": timeout or self.timeout, "request_timeout": request_timeout or self.request_timeout}
        try:
            entries = self._execute("text", scripts, languages, times["request_timeout"], **times)
        except SandboxError as error:
            return [MorphResult(exception_str=str(error)) for _ in scripts]
        return [MorphResult(entry["text"], entry.get("exception_str")) for entry in entries]
