# SPDX-License-Identifier: Apache-2.0
"""Open R1's router protocol, server side: scripts in, what a notebook would show out, for the clients in `routed`.

    {"scripts": ["print('a')\\n0.5"], "languages": ["python"], "timeout": 30}
    -> [{"execution": {"results": [{"text": "0.5", ...}], ...}, "text": "a\\n0.5", "exception_str": null}]

A script is a cell whose last expression is the score; clients of `e2b` read it in `execution.results`, those of
`morph` at the end of `text`; replies have both. Differences from Open R1's routers: lists of unequal length are
refused instead of cut; the timeout is in seconds for both; languages other than Python give their output and no value.
"""

import json
import secrets
from importlib.resources import files
from typing import Any

from open_r1.sandbox.base import Limits, Outcome, ProgramInput, RunRequest, RunResult
from open_r1.sandbox.languages import find_language

DEFAULT_TIMEOUT_S, LONGEST_TIMEOUT_S = 300.0, 3600.0  # longer: milliseconds were meant


def read_batch(body: bytes | bytearray) -> tuple[list[tuple[str, str]], float]:
    """Return the scripts of a request, each with its language, and the seconds that each may take.

    Raises:
        ValueError: It isn't one.
    """
    try:
        value = json.loads(body)
        scripts, timeout_s = value["scripts"], value.get("timeout", DEFAULT_TIMEOUT_S)
        languages = value.get("languages") or ["python"] * len(scripts)
        if not all(isinstance(text, str) for text in (*scripts, *languages)) or isinstance(scripts, str):
            raise TypeError("`scripts` and `languages` are lists of texts")
        if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
            raise ValueError(f"`timeout` is in seconds, at most {LONGEST_TIMEOUT_S:g}, got {timeout_s!r}.")
        return list(zip(scripts, languages, strict=True)), float(timeout_s)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"No batch: {error!r}") from error


def script_request(script: str, language: str, timeout_s: float, memory_mb: int) -> tuple[RunRequest, str]:
    """Return the request that runs a script, and the nonce that marks the result in its output.

    Raises:
        UnsupportedLanguageError: There's no such language.
    """
    found = find_language(language)
    limits = Limits(cpu_s=timeout_s, wall_s=timeout_s, memory_mb=memory_mb)
    sources, nonce = {found.main_file: script}, ""
    if found.name == "python":
        cell = files("open_r1.sandbox").joinpath("harness/cell.py").read_text(encoding="utf-8")
        sources, nonce = {"cell.py": cell, "script.py": script}, secrets.token_hex(16)
    return RunRequest(found.name, sources, (ProgramInput(stdin=nonce + "\n"),), limits=limits), nonce


def read_entry(result: RunResult, nonce: str) -> dict[str, Any]:
    """Return the entry of a reply for what a script did.

    A script runs in the process that reports and can find the nonce: its report is only as true as its output.
    """
    run = result.tests[0] or result.compile
    if run is None:
        return failed_entry("The script was not run.")
    if run.outcome is Outcome.TIME_LIMIT:
        return failed_entry("Execution timed out.")
    ending = f"{run.outcome.value}, " + (f"signal {run.signal}" if run.signal else f"exit code {run.exit_code}")
    stdout, text, error = run.stdout, None, None
    if nonce:
        try:
            stdout, report = stdout.split(nonce, 1)
            value = json.loads(report.partition("\n")[0])
            text, error = value["text"], value["error"]
            said = stdout + (f"\n{text}" if text and stdout and not stdout.endswith("\n") else text or "")
        except (ValueError, KeyError, TypeError, RecursionError):  # cut off, or not what a cell writes
            return failed_entry(f"The script ended before its result ({ending}). {run.stderr[-2000:]}".strip())
    else:
        said = stdout
        if run.outcome is not Outcome.OK:
            name = "RuntimeError" if result.has_compiled else "CompileError"
            error = {"name": name, "value": ending, "traceback": run.stderr}
    failure = None if said else "No output from the script"  # clients of e2b don't read it
    if error:
        failure = f"{error['name']}: {error['value']}".rstrip(": ")
    execution = {
        "results": [] if text is None else [{"text": text, "is_main_result": True}],
        "logs": {"stdout": [stdout] if stdout else [], "stderr": [run.stderr] if run.stderr else []},
        "error": error,
        "execution_count": 1,
    }
    return {"execution": execution, "text": said, "exception_str": failure}


def failed_entry(message: str) -> dict[str, Any]:
    """Return the entry of a script without any result."""
    return {"execution": None, "text": None, "exception_str": message}
