# SPDX-License-Identifier: Apache-2.0
"""Requests and results as JSON: what the driver in a box and the router read and write.

Files that are bytes stand as `{"base64": ...}`; numbers that aren't known (NaN) as null.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from open_r1.sandbox.base import Interactor, Limits, Outcome, ProgramInput, ProgramRun, RunRequest, RunResult
from open_r1.sandbox.languages import build_commands, find_language

_NUMBER = int | float
_KINDS = {"stdout": str, "stderr": str, "exit_code": int, "signal": int} | dict.fromkeys(
    ("cpu_s", "wall_s", "peak_memory_mb"), _NUMBER
)


def request_to_json(request: RunRequest) -> dict[str, Any]:
    """Return a request as a value for `json.dumps`."""
    interactor = request.interactor
    return asdict(request) | {
        "files": files_to_json(request.files),
        "interactor": interactor and asdict(interactor) | {"files": files_to_json(interactor.files)},
    }


def job_to_json(request: RunRequest) -> dict[str, Any]:
    """Return a request as the driver in a rented machine reads it from a file: with the commands to compile and run.

    Its interactor isn't in it: who rents machines refuses those (`rented`).

    Raises:
        UnsupportedLanguageError: Its language is unknown.
    """
    return {**request_to_json(request), **program_to_json(request, request.compile_limits)}


def program_to_json(
    part: RunRequest | Interactor, compile_limits: Limits, program: str | None = None
) -> dict[str, Any]:
    """Return how the driver compiles and runs a program.

    Args:
        part: The program.
        compile_limits: Of its compiler.
        program: As of `build_commands`.
    """
    language = find_language(part.language)
    compile_command, run_command = build_commands(language, part.files, part.limits, program)
    of_language = {"limits_addresses": language.limits_addresses, "stack_mb": language.stack_mb}
    return {
        "compile": compile_command,
        "run": run_command,
        "executable": next(iter(part.files)) if language.name == "binary" else None,
        "compile_limits": asdict(compile_limits) | {"wall_s": compile_limits.backstop_s} | of_language,
        "limits": asdict(part.limits) | {"wall_s": part.limits.backstop_s} | of_language,
    }


def request_from_json(value: Mapping[str, Any]) -> RunRequest:
    """Return the request that `request_to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError: It isn't one.
    """
    interactor = value.get("interactor")
    return RunRequest(
        language=value["language"],
        files=files_from_json(value["files"]),
        inputs=tuple(_input_from_json(given) for given in value["inputs"]),
        compile_limits=Limits(**value["compile_limits"]),
        limits=Limits(**value["limits"]),
        stop_after=value.get("stop_after"),
        interactor=interactor
        and Interactor(interactor["language"], files_from_json(interactor["files"]), Limits(**interactor["limits"])),
        keeps_binary=bool(value.get("keeps_binary", False)),
    )


def _input_from_json(value: Mapping[str, Any]) -> ProgramInput:
    fields: dict[str, Any] = {**value, "args": tuple(value.get("args", ()))}
    return ProgramInput(**fields)


def result_to_json(result: RunResult) -> dict[str, Any]:
    """Return a result as a value for `json.dumps`."""
    return {
        "compile": run_to_json(result.compile),
        "tests": [run_to_json(run) for run in result.tests],
        "binary": None if result.binary is None else base64.b64encode(result.binary).decode(),
    }


def result_from_json(value: Mapping[str, Any]) -> RunResult:
    """Return the result that `result_to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError: It isn't one.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"A result is an object, got {type(value).__name__}.")
    binary = value.get("binary")
    return RunResult(
        compile=run_from_json(value["compile"]),
        tests=tuple(run_from_json(run) for run in value["tests"]),
        binary=None if binary is None else base64.b64decode(binary, validate=True),
    )


def run_to_json(run: ProgramRun | None) -> dict[str, Any] | None:
    """Return one run as a value for `json.dumps`."""
    if run is None:
        return None
    value = {name: None if _is_nan(item) else item for name, item in vars(run).items()}
    return value | {"interactor": run_to_json(run.interactor)}


def run_from_json(value: Mapping[str, Any] | None) -> ProgramRun | None:
    """Return the run that `run_to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError: It isn't one.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"A run is an object, got {type(value).__name__}.")
    known = {name: item for name, item in value.items() if item is not None and name != "was_ended"}
    for name, kind in _KINDS.items():
        if name in known and (not isinstance(known[name], kind) or isinstance(known[name], bool)):
            raise TypeError(f"{name} in a run is of type {type(known[name]).__name__}.")
    known |= {"outcome": Outcome(value["outcome"]), "interactor": run_from_json(value.get("interactor"))}
    return ProgramRun(**known)


def files_to_json(files: Mapping[str, str | bytes]) -> dict[str, Any]:
    """Return files as a value for `json.dumps`."""
    return {
        name: {"base64": base64.b64encode(content).decode()} if isinstance(content, bytes) else content
        for name, content in files.items()
    }


def files_from_json(value: Mapping[str, Any]) -> dict[str, str | bytes]:
    """Return the files that `files_to_json` wrote."""
    return {
        name: base64.b64decode(content["base64"], validate=True) if isinstance(content, Mapping) else content
        for name, content in value.items()
    }


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
