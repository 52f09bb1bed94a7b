# SPDX-License-Identifier: Apache-2.0
"""Open R1's router protocol, server side: scripts in, what a notebook would show out, for the clients in `routed`.

A script is a cell whose last expression is the score; clients of `e2b` read it in `execution.results`, those of
`morph` at the end of `text`; replies have both. Differences from Open R1's routers: lists of unequal length are
refused instead of cut; the timeout is in seconds for both; languages other than Python give their output and no value.
"""

import contextlib
import json
import secrets
from importlib.resources import files
from typing import Any

from open_r1.sandbox.base import Limits, Outcome, ProgramInput, RunRequest, RunResult
from open_r1.sandbox.languages import find_language

DEFAULT_TIMEOUT_S, LONGEST_TIMEOUT_S = 300.0, 3600.0  # longer: milliseconds were meant


def read_batch(value: Any) -> tuple[list[tuple[str, str]], float]:
    """Return the scripts of a request's JSON, each with its language, and the seconds that each may take.

    Raises:
        ValueError, KeyError, TypeError: It isn't one.
    """
    scripts = value["scripts"]
    languages = value.get("languages") or ["python"] * len(scripts)
    for texts in (scripts, languages):
        if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
            raise ValueError("`scripts` and `languages` are lists of texts.")
    if len(scripts) != len(languages):
        raise ValueError(f"{len(scripts)} scripts but {len(languages)} languages: give one language each.")
    timeout_s = value.get("timeout", DEFAULT_TIMEOUT_S)
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise ValueError(f"`timeout` is in seconds, at most {LONGEST_TIMEOUT_S:g}, got {timeout_s!r}.")
    return list(zip(scripts, languages, strict=True)), float(timeout_s)


def script_request(script: str, language: str, timeout_s: float, memory_mb: int) -> tuple[RunRequest, str]:
    """Return the request that runs a script, and the nonce that marks the result in its output.

    Raises:
        UnsupportedLanguageError: There's no such language.
    """
    found = find_language(language)
    limits = Limits(cpu_s=timeout_s, wall_s=timeout_s, memory_mb=memory_mb)
    if found.name != "python":
        return RunRequest(found.name, {found.main_file: script}, (ProgramInput(),), limits=limits), ""
    nonce = secrets.token_hex(16)
    cell = files("open_r1.sandbox").joinpath("harness/cell.py").read_text(encoding="utf-8")
    sources = {"cell.py": cell, "script.py": script}
    return RunRequest("python", sources, (ProgramInput(stdin=nonce + "\n"),), limits=limits), nonce


def read_entry(result: RunResult, nonce: str) -> dict[str, Any]:
    """Return the entry of a reply for what a script did.

    A script runs in the process that reports and can find the nonce: its report is only as true as its output.
    """
    if result.compile is not None and not result.has_compiled:
        return _entry(error={"name": "CompileError", "value": "", "traceback": result.compile.stderr})
    (run,) = result.tests
    if run is None:
        return failed_entry("The script was not run.")
    stdout, _, report = run.stdout.partition(nonce) if nonce else (run.stdout, "", "")
    ending = f"{run.outcome.value}, " + (f"signal {run.signal}" if run.signal else f"exit code {run.exit_code}")
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # cut off, or not what a cell writes
        value = json.loads(report.partition("\n")[0])
        return _entry(value["text"], stdout, run.stderr, value["error"])
    if run.outcome is Outcome.TIME_LIMIT:
        return failed_entry("Execution timed out.")
    if nonce or run.outcome in (Outcome.MEMORY_LIMIT, Outcome.OUTPUT_LIMIT):
        return failed_entry(f"The script ended before its result ({ending}). {run.stderr[-2000:]}".strip())
    error = {"name": "RuntimeError", "value": ending, "traceback": run.stderr}
    return _entry(None, stdout, run.stderr, None if run.outcome is Outcome.OK else error)


def failed_entry(message: str) -> dict[str, Any]:
    """Return the entry of a script without any result."""
    return _sendable({"execution": None, "text": None, "exception_str": message})


def _entry(
    value: str | None = None, stdout: str = "", stderr: str = "", error: dict[str, str] | None = None
) -> dict[str, Any]:
    execution = {
        "results": [] if value is None else [{"text": value, "is_main_result": True}],
        "logs": {"stdout": [stdout] if stdout else [], "stderr": [stderr] if stderr else []},
        "error": error,
        "execution_count": 1,
    }
    text = stdout
    if value is not None:
        text += value if not text or text.endswith("\n") else f"\n{value}"
    said = None if text else "No output from the script"  # clients of e2b don't read it
    if error:
        said = f"{error['name']}: {error['value']}".rstrip(": ")
    return _sendable({"execution": execution, "text": text, "exception_str": said})


def _sendable(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with a question mark for each half of a surrogate pair, which can't be sent."""
    return json.loads(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace"))
