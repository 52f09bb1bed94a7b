# SPDX-License-Identifier: Apache-2.0
"""Open R1's clients of its routers, for scripts that use them; rewards use `RouterSandbox`.

    RoutedSandbox("node-3:8000").run_code(["1 / 4"])[0].text   # '0.25'

Differences: a full or absent router is asked again (`router`), replies are looked at before they're read, an
`https://` URL and a token, in SANDBOX_ROUTER_TOKEN, are understood.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.router import TOKEN_VARIABLE, RouterSandbox
from open_r1.sandbox.running import run_coroutine


class ScriptResult(dict[str, Any]):
    """What a router says of a script; values are attributes, too: `logs["stdout"]` and `logs.stdout` are one."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class RoutedSandbox:
    """Runs scripts at a router that answers in the form of e2b.

    Args:
        router_url: `host:port` or a URL.

    Raises:
        ValueError: The URL isn't one.
    """

    def __init__(self, router_url: str) -> None:
        self.router_url = router_url

    def _execute(
        self, scripts: Sequence[str], languages: Sequence[str] | None, limit_s: float, **seconds: float
    ) -> list[ScriptResult]:
        """Return the reply's entry for each script.

        Args:
            scripts: Source texts.
            languages: One each; None: all are Python.
            limit_s: Seconds for all of it.
            seconds: `timeout` and `request_timeout` of the request, which Open R1's own routers want both.
        """
        languages = ["python"] * len(scripts) if languages is None else list(languages)
        body = json.dumps({"scripts": list(scripts), "languages": languages, **seconds}).encode()
        token = os.environ.get(TOKEN_VARIABLE)
        router = RouterSandbox(self.router_url, token=token, patience_s=seconds["request_timeout"])

        async def post() -> bytes:
            try:
                return await router.ask("POST", "/execute_batch", body, timeout_s=limit_s)
            finally:
                await router.aclose()

        entries = json.loads(run_coroutine(post), object_hook=ScriptResult)
        if not isinstance(entries, list) or len(entries) != len(scripts):
            raise SandboxError(f"The router at {self.router_url} sent no list of {len(scripts)} results.")
        return entries

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
            SandboxError: The router gave no results.
        """
        times = {"timeout": timeout or 300, "request_timeout": request_timeout or 30}
        # They may run one after the other, as far as a client can know.
        limit_s = len(scripts) * times["timeout"] + times["request_timeout"]
        found = self._execute(scripts, languages, limit_s, **times)
        empty = {"results": [], "logs": ScriptResult(stdout=[], stderr=[]), "error": None, "execution_count": None}
        executions = [ScriptResult({**empty, **(entry["execution"] or {})}) for entry in found]
        for execution in executions:
            main = [result.get("text") for result in execution.results if result.get("is_main_result")]
            execution["text"] = main[0] if main else None
        return executions


class RoutedMorphSandbox(RoutedSandbox):
    """Runs scripts at a router that answers in the form of morph.

    Args:
        router_url: `host:port` or a URL.
        timeout: Seconds for each script.
        request_timeout: Seconds for all scripts of one call.
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
        """
        times = {"timeout": timeout or self.timeout, "request_timeout": request_timeout or self.request_timeout}
        try:
            entries = self._execute(scripts, languages, times["request_timeout"], **times)
        except SandboxError as error:
            return [ScriptResult(text=None, exception_str=str(error)) for _ in scripts]
        return [ScriptResult({"exception_str": None, **entry}) for entry in entries]
