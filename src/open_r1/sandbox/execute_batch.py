# SPDX-License-Identifier: Apache-2.0
"""Open R1's router protocol: scripts in, what a notebook would show out, in the two forms that its clients read.

A script is a cell whose last expression is the score; clients of `e2b` read it in `execution.results`, those of
`morph` at the end of `text`; replies have both. Differences from Open R1's routers: lists of unequal length are
refused instead of cut; the timeout is in seconds for both; languages other than Python give their output and no value.
"""

import json
import secrets
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from open_r1.sandbox.base import Limits, Outcome, ProgramInput, ProgramRun, RunRequest, RunResult
from open_r1.sandbox.languages import find_language

REPLY_FORMS = ("e2b", "morph")
DEFAULT_TIMEOUT_S, LONGEST_TIMEOUT_S = 300.0, 3600.0  # longer: milliseconds were meant


@dataclass(frozen=True)
class Batch:
    """The scripts of one request.

    Attributes:
        scripts: Source texts.
        languages: One each.
        timeout_s: Of each script.
    """

    scripts: list[str]
    languages: list[str]
    timeout_s: float


@dataclass(frozen=True)
class Cell:
    """What a script did.

    Attributes:
        text: The `repr` of its last value, or None.
        stdout: What it printed.
        stderr: Its errors.
        error: name, value and traceback of what it raised.
        failure: Why there's no result at all.
    """

    text: str | None = None
    stdout: str = ""
    stderr: str = ""
    error: dict[str, str] | None = None
    failure: str | None = None


def read_batch(value: Any) -> Batch:
    """Return the scripts of a request's JSON.

    Raises:
        ValueError: It isn't one.
    """
    if not isinstance(value, dict):
        raise ValueError("The request is a JSON object with scripts, languages, timeout and request_timeout.")
    scripts = value.get("scripts")
    if not (isinstance(scripts, list) and all(isinstance(script, str) for script in scripts)):
        raise ValueError("`scripts` is a list of texts.")
    languages = value.get("languages") or ["python"] * len(scripts)
    if not (isinstance(languages, list) and all(isinstance(language, str) for language in languages)):
        raise ValueError("`languages` is a list of names.")
    if len(scripts) != len(languages):
        raise ValueError(f"{len(scripts)} scripts but {len(languages)} languages: give one language each.")
    timeout_s = value.get("timeout", DEFAULT_TIMEOUT_S)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise ValueError(f"`timeout` is in seconds, at most {LONGEST_TIMEOUT_S:g}, got {timeout_s!r}.")
    return Batch(scripts, languages, float(timeout_s))


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
    sources = {"cell.py": _cell_source(), "script.py": script}
    return RunRequest("python", sources, (ProgramInput(stdin=nonce + "\n"),), limits=limits), nonce


@cache
def _cell_source() -> str:
    return files("open_r1.sandbox").joinpath("harness/cell.py").read_text(encoding="utf-8")


def read_cell(result: RunResult, nonce: str) -> Cell:
    """Return what a script did from the result of its request."""
    if not result.has_compiled:
        assert result.compile is not None
        return Cell(error={"name": "CompileError", "value": "", "traceback": result.compile.stderr})
    (run,) = result.tests
    if run is None:
        return Cell(failure="The script was not run.")
    cell = _read_report(run, nonce) if nonce else None
    if cell is not None:
        return cell
    if run.outcome is Outcome.TIME_LIMIT:
        return Cell(failure="Execution timed out.")
    if nonce or run.outcome in (Outcome.MEMORY_LIMIT, Outcome.OUTPUT_LIMIT):
        return Cell(failure=f"The script ended before its result ({_ending(run)}). {run.stderr[-2000:]}".strip())
    if run.outcome is Outcome.OK:
        return Cell(stdout=run.stdout, stderr=run.stderr)
    error = {"name": "RuntimeError", "value": _ending(run), "traceback": run.stderr}
    return Cell(stdout=run.stdout, stderr=run.stderr, error=error)


def _read_report(run: ProgramRun, nonce: str) -> Cell | None:
    """Return what the cell reports behind the nonce; None if that's cut off, or isn't what a cell writes.

    The script runs in the same process and can find the nonce: its report is only as true as its output.
    """
    stdout, _, report = run.stdout.partition(nonce)
    try:
        value = json.loads(report.partition("\n")[0])
        text, error = value["text"], value["error"]
        error = error and {name: error[name] for name in ("name", "value", "traceback")}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = [*([] if text is None else [text]), *(error.values() if error else ())]
    return Cell(text, stdout, run.stderr, error or None) if all(isinstance(item, str) for item in texts) else None


def _ending(run: ProgramRun) -> str:
    status = f"exit code {run.exit_code}" if run.signal is None else f"signal {run.signal}"
    return f"{run.outcome.value}, {status}"


def cell_to_json(cell: Cell, form: str) -> dict[str, Any]:
    """Return the entry of a reply, which clients of both forms can read; the form says whether no output is an error.

    >>> cell_to_json(Cell(failure="Execution timed out."), "e2b")
    {'execution': None, 'text': None, 'exception_str': 'Execution timed out.'}
    """
    if cell.failure is not None:
        return {"execution": None, "text": None, "exception_str": _sendable(cell.failure)}
    value, stdout, stderr = (text and _sendable(text) for text in (cell.text, cell.stdout, cell.stderr))
    error = cell.error and {name: _sendable(text) for name, text in cell.error.items()}
    execution = {
        "results": [] if value is None else [{"text": value, "is_main_result": True}],
        "logs": {"stdout": [stdout] if stdout else [], "stderr": [stderr] if stderr else []},
        "error": error,
        "execution_count": 1,
    }
    text = stdout or ""
    if value is not None:
        text = f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{value}"
    said = None if text or form == "e2b" else "No output from the script"
    if error is not None:
        said = f"{error['name']}: {error['value']}".rstrip(": ")
    return {"execution": execution, "text": text, "exception_str": said}


def _sendable(text: str) -> str:
    """Return a text with a question mark for each half of a surrogate pair, which can't be sent."""
    return text.encode("utf-8", "replace").decode()
