# SPDX-License-Identifier: Apache-2.0
"""Open R1's clients of its routers, for scripts that use them; rewards use `RouterSandbox`.

Differences: requests end after a time, until which a full router is asked again, replies are looked at before they're
read, an `https://` URL and a token, in SANDBOX_ROUTER_TOKEN, are understood.
"""

import os
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.router import TOKEN_VARIABLE, router_base_url


class ScriptResult(dict[str, Any]):
    """What a router says of a script; values are attributes, too: `logs["stdout"]` and `logs.stdout` are one."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _Client:
    """What both clients do: a batch goes to the router, an entry comes back for each script."""

    def __init__(self, router_url: str) -> None:
        self.router_url = router_url
        self._base = router_base_url(router_url)

    def _execute(
        self, key: str, scripts: Sequence[str], languages: Sequence[str] | None, limit_s: float, **seconds: float
    ) -> list[ScriptResult]:
        """Return the reply's entry for each script, with `key` in it.

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
        try:
            with httpx.Client(headers=headers, trust_env=False) as client:
                ends = time.monotonic() + limit_s
                while True:
                    timeout_s = ends - time.monotonic()
                    reply = client.post(f"{self._base}/execute_batch", json=body, timeout=timeout_s)
                    if reply.status_code != 429 or time.monotonic() + 2.0 > ends:
                        break
                    time.sleep(random.uniform(0.5, 1.5))  # the router is full, and asks for a second
            entries = reply.raise_for_status().json(object_hook=ScriptResult)
        except (httpx.HTTPError, ValueError) as error:
            raise SandboxError(f"The router at {self._base} gave no results: {error!r}") from error
        is_list = isinstance(entries, list) and len(entries) == len(scripts)
        if not is_list or not all(isinstance(entry, dict) and key in entry for entry in entries):
            raise SandboxError(f"The router at {self._base} sent no list of {len(scripts)} results with {key!r}.")
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
    ) -> list[ScriptResult]:
        """Run each script in a box of its own; return what it did.

        That is `text`, the value of its last expression as its `repr`, `results`, `logs` with the pieces of `stdout`
        and `stderr`, `error` with `name`, `value` and `traceback`, `execution_count`: None or empty without a result.

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
        entries = self._execute("execution", scripts, languages, limit_s, **times)
        return [_execution(entry["execution"] or {}) for entry in entries]


def _execution(given: dict[str, Any]) -> ScriptResult:
    empty = {"results": [], "logs": ScriptResult(stdout=[], stderr=[]), "error": None, "execution_count": None}
    execution = ScriptResult({**empty, **given})
    main = [result.get("text") for result in execution.results if result.get("is_main_result")]
    return ScriptResult(execution, text=main[0] if main else None)


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
    ) -> list[ScriptResult]:
        """Run each script in a box of its own; where the router fails, every `exception_str` says so.

        `text` is all its output with the value of its last expression at the end, `exception_str` what went wrong.

        Raises:
            ValueError: There's not one language for each script.
        """
        times = {"timeout": timeout or self.timeout, "request_timeout": request_timeout or self.request_timeout}
        try:
            entries = self._execute("text", scripts, languages, times["request_timeout"], **times)
        except SandboxError as error:
            return [ScriptResult(text=None, exception_str=str(error)) for _ in scripts]
        return [ScriptResult({"exception_str": None, **entry}) for entry in entries]
