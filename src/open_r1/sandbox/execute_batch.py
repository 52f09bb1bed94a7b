# SPDX-License-Identifier: Apache-2.0
"""Protocol of Open R1's routers: scripts in, what a notebook would show out. The router's side, and both clients.

    {"scripts": ["print('a')\\n0.5"], "languages": ["python"], "timeout": 30}
    -> [{"execution": {"results": [{"text": "0.5", ...}], ...}, "text": "a\\n0.5", "exception_str": null}]
    RoutedSandbox("node-3:8000").run_code(["1 / 4"])[0].text   # '0.25'

A script is a cell whose last expression is the score (`harness/cell.py`); clients of `e2b` read it in
`execution.results`, those of `morph` at the end of `text`; replies have both. Rewards use `RouterSandbox`. Differences
from Open R1: lists of unequal length are refused instead of cut; the timeout is in seconds for both; languages other
than Python give their output and no value; a full or absent router is asked again; a token is understood.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from open_r1.sandbox import wire
from open_r1.sandbox.base import Limits, Outcome, ProgramInput, RunRequest, RunResult, SandboxError
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.router import TOKEN_VARIABLE, RouterSandbox
from open_r1.sandbox.running import run_coroutine

LONGEST_TIMEOUT_S = 3600.0  # longer: milliseconds were meant


@dataclass(frozen=True)
class ScriptBatch:
    """A request.

    Attributes:
        scripts: Source texts.
        languages: One each; None: all are Python.
        timeout: Seconds for each script.
        request_timeout: Seconds that the client waits on top.
    """

    scripts: tuple[str, ...]
    languages: tuple[str, ...] | None = None
    timeout: float = 300.0
    request_timeout: float | None = None

    def __post_init__(self) -> None:
        if len(self.languages or self.scripts) != len(self.scripts):
            raise ValueError(f"{len(self.scripts)} scripts have {len(self.languages or ())} languages.")
        if not 0 < self.timeout <= LONGEST_TIMEOUT_S:
            raise ValueError(f"`timeout` is in seconds, at most {LONGEST_TIMEOUT_S:g}, got {self.timeout!r}.")

    def request(self, number: int, memory_mb: int) -> RunRequest:
        """Return the request that runs a script.

        Raises:
            UnsupportedLanguageError: There's no such language.
        """
        language, script = find_language(self.languages[number] if self.languages else "python"), self.scripts[number]
        sources = {language.main_file: script}
        if language.name == "python":
            cell = files("open_r1.sandbox").joinpath("harness/cell.py").read_text(encoding="utf-8")
            sources = {"cell.py": cell, "script.py": script}
        limits = Limits(cpu_s=self.timeout, wall_s=self.timeout, memory_mb=memory_mb)
        return RunRequest(language.name, sources, (ProgramInput(),), limits=limits)


@dataclass(frozen=True)
class ScriptError:
    """What a script raised."""

    name: str
    value: str
    traceback: str


@dataclass(frozen=True)
class ScriptReport:
    """What `harness/cell.py` reports; it runs in the script's process, so that the report is only as true as that."""

    stdout: str
    text: str | None = None
    error: ScriptError | None = None


def read_entry(request: RunRequest, result: RunResult) -> dict[str, Any]:
    """Return the entry of a reply for what a script did."""
    run = result.tests[0] or result.compile
    if run is None or run.outcome is Outcome.TIME_LIMIT:
        return failed_entry("The script was not run." if run is None else "Execution timed out.")
    ending = f"{run.outcome.value}, " + (f"signal {run.signal}" if run.signal else f"exit code {run.exit_code}")
    if "cell.py" in request.files:
        try:
            report = wire.loads(ScriptReport, run.stdout)
        except ValueError:
            return failed_entry(f"The script ended before its result ({ending}). {run.stderr[-2000:]}".strip())
    else:
        name = "RuntimeError" if result.has_compiled else "CompileError"
        error = None if run.outcome is Outcome.OK else ScriptError(name, ending, run.stderr)
        report = ScriptReport(run.stdout, error=error)
    text, stdout, error = report.text, report.stdout, report.error
    said = stdout + ("\n" if text and stdout and not stdout.endswith("\n") else "") + (text or "")
    failure = None if said else "No output from the script"  # clients of e2b don't read it
    execution = {
        "results": [] if text is None else [{"text": text, "is_main_result": True}],
        "logs": {"stdout": [stdout] if stdout else [], "stderr": [run.stderr] if run.stderr else []},
        "error": error and wire.to_json(error),
        "execution_count": 1,
    }
    return {
        "execution": execution,
        "text": said,
        "exception_str": f"{error.name}: {error.value}".rstrip(": ") if error else failure,
    }


def failed_entry(message: str) -> dict[str, Any]:
    """Return the entry of a script without any result."""
    return {"execution": None, "text": None, "exception_str": message}


class ScriptResult(dict[str, Any]):
    """What a router says of a script; values are attributes, too: `logs["stdout"]` and `logs.stdout` are one."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class RoutedSandbox:
    """Client of a router that answers in the form of e2b.

    Args:
        router_url: `host:port` or a URL.

    Raises:
        ValueError: The URL isn't one.
    """

    def __init__(self, router_url: str) -> None:
        self.router_url = router_url

    def _execute(self, batch: ScriptBatch, limit_s: float, patience_s: float) -> list[ScriptResult]:
        router = RouterSandbox(self.router_url, token=os.environ.get(TOKEN_VARIABLE), patience_s=patience_s)

        async def post() -> bytes:
            try:
                body = json.dumps(wire.to_json(batch)).encode()
                return await router.ask("POST", "/execute_batch", body, timeout_s=limit_s)
            finally:
                await router.aclose()

        entries = json.loads(run_coroutine(post), object_hook=ScriptResult)
        if not isinstance(entries, list) or len(entries) != len(batch.scripts):
            raise SandboxError(f"The router at {self.router_url} sent no list of {len(batch.scripts)} results.")
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
        script_s, spare_s = timeout or 300, request_timeout or 30
        batch = ScriptBatch(tuple(scripts), tuple(languages or ["python"] * len(scripts)), script_s, spare_s)
        # They may run one after the other, as far as a client can know.
        entries = self._execute(batch, len(scripts) * script_s + spare_s, spare_s)
        empty = {"results": [], "logs": ScriptResult(stdout=[], stderr=[]), "error": None, "execution_count": None}
        executions = [ScriptResult({**empty, **(entry["execution"] or {})}) for entry in entries]
        for execution in executions:
            main = [result.get("text") for result in execution.results if result.get("is_main_result")]
            execution["text"] = main[0] if main else None
        return executions


class RoutedMorphSandbox(RoutedSandbox):
    """Client of a router that answers in the form of morph.

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
        script_s, limit_s = timeout or self.timeout, request_timeout or self.request_timeout
        batch = ScriptBatch(tuple(scripts), tuple(languages or ["python"] * len(scripts)), script_s, limit_s)
        try:
            return [ScriptResult({"exception_str": None, **entry}) for entry in self._execute(batch, limit_s, limit_s)]
        except SandboxError as error:
            return [ScriptResult(text=None, exception_str=str(error)) for _ in scripts]
