# SPDX-License-Identifier: Apache-2.0
"""The languages of submissions: their names in data sets, and how a program is compiled and run."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from open_r1.sandbox.base import Interactor, Limits, ProgramInput, RunRequest, UnsupportedLanguageError


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        name: Our name.
        aliases: Names in data sets and fences, lower case.
        main_file: What the main program is called where nothing else is said.
        program: Program that a machine needs for it, found on the PATH; for Python `sandbox_python`.
        compile: Command of the compiler; `{sources}` stands for all sources to compile, `{binary}` for its output.
        run: Command of a run; `{main}` stands for the main file (`./` before it, or its name could be an option),
            `{program}` for the full path of `program`, `{memory_mb}` for the limit.
        limits_addresses: Whether its programs can live with a limit of addresses; node reserves far more than it uses.
        stack_mb: Stack of the main thread, and what each further one reserves, in MiB.
    """

    name: str
    aliases: tuple[str, ...]
    main_file: str
    program: str
    compile: tuple[str, ...] = ()
    run: tuple[str, ...] = ("{program}", "./{main}")
    limits_addresses: bool = True
    stack_mb: int = 64


LANGUAGES = {
    language.name: language
    for language in (
        Language(
            "python",
            ("python", "python3", "py", "python 3", "pypy 3", "pypy 3-64", "pypy3"),
            "main.py",
            "python3",
            run=("{program}", "-X", "utf8", "./{main}"),
        ),
        Language(
            "cpp",
            ("cpp", "c++"),
            "main.cpp",
            "g++",
            compile=(
                "{program}",
                "-std=gnu++17",
                "-O2",
                "-pipe",
                "-DONLINE_JUDGE",
                "-DEVAL",
                "-o",
                "{binary}",
                *("-x", "c++"),  # whatever the main file is called
                "{sources}",
            ),
            run=("./{binary}",),
            stack_mb=256,
        ),
        Language(
            "javascript",
            ("javascript", "js", "node", "node.js"),
            "main.js",
            "node",
            run=("{program}", "--max-old-space-size={memory_mb}", "./{main}"),
            limits_addresses=False,
        ),
        Language("bash", ("bash", "sh", "shell"), "main.sh", "bash"),
        # A program compiled before, such as a checker: the main file is the executable.
        Language("binary", ("binary",), "main", "", run=("./{main}",), stack_mb=256),
    )
}
BINARY = "a.out"
_NO_LIMIT_S = 1e9  # the driver reads a literal
SOURCES = (".cpp", ".cc", ".cxx", ".c")
_BY_ALIAS = {alias: language for language in LANGUAGES.values() for alias in language.aliases}
# "C++17", "GNU C++20 (64)", "MS C++ 2017", "cpp23": all are compiled as GNU C++17.
_CPP_NAME = re.compile(r"((gnu |ms )?c\+\+|cpp)[\d ].*")


def find_language(name: str) -> Language:
    """Return the language of a name or alias, in upper or lower case.

    Raises:
        UnsupportedLanguageError: There's none.

    >>> find_language("PyPy 3-64").name, find_language("C++17").name
    ('python', 'cpp')
    """
    name = name.strip().lower()
    language = LANGUAGES["cpp"] if _CPP_NAME.fullmatch(name) else _BY_ALIAS.get(name)
    if language is None:
        raise UnsupportedLanguageError(f"Unknown language {name!r}; known are {', '.join(LANGUAGES)}.")
    return language


def build_commands(
    language: Language, files: Iterable[str], limits: Limits, program: str | None = None
) -> tuple[list[str] | None, list[str]]:
    """Return the commands that compile (None: nothing does) and run a submission, in its working folder.

    Args:
        language: Its language.
        files: Names of its files, the main one first.
        limits: Of a run.
        program: Path of the interpreter or compiler where it runs; None to look for its name on the PATH there.
    """
    names = list(files)
    sources = [name for name in names if name.endswith(SOURCES)] or names[:1]
    values = {
        "program": program or language.program,
        "main": names[0],
        "binary": BINARY,
        "memory_mb": str(limits.memory_mb),
    }

    def fill(command: tuple[str, ...]) -> list[str]:
        return [
            word
            for part in command
            for word in ([f"./{name}" for name in sources] if part == "{sources}" else [part.format(**values)])
        ]

    return fill(language.compile) or None, fill(language.run)


# What the driver (`harness/driver.py`) is told: a line with the sizes of the texts behind it, and these.
Message = tuple[dict[str, Any], list[bytes]]


def program_message(
    part: RunRequest | Interactor, request: RunRequest, program: str | None = None, cpu_left_s: float = math.inf
) -> Message:
    """Return how a program is compiled and run, without `root` and `watches`, as of the driver's `Box`.

    Args:
        part: The program.
        request: It, or the request that it's the interactor of.
        program: As of `build_commands`.
        cpu_left_s: CPU seconds of the compiler and all runs.
    """
    language = find_language(part.language)
    compile_command, run_command = build_commands(language, part.files, part.limits, program)
    of_language = {"limits_addresses": language.limits_addresses, "stack_mb": language.stack_mb}
    sizes, contents = _parts(part.files)
    if language.name == "binary":
        sizes[0] = (*sizes[0][:2], 0o555)
    header = {
        "compile": compile_command,
        "run": run_command,
        "compile_limits": vars(request.compile_limits) | {"wall_s": request.compile_limits.backstop_s} | of_language,
        "limits": vars(part.limits) | {"wall_s": part.limits.backstop_s} | of_language,
        "files": sizes,
        "keeps_binary": request.keeps_binary,
        "cpu_left_s": min(cpu_left_s, _NO_LIMIT_S),
    }
    return header, contents


def input_message(given: ProgramInput, role: str | None = None) -> Message:
    """Return what a run gets; its role is "submission" or "interactor" in a communication task."""
    sizes, contents = _parts(given.files)
    stdin = given.stdin.encode("utf-8", "replace")
    header = {"stdin": len(stdin), "files": sizes, "args": [*given.args], "output_file": given.output_file}
    return {**header, "role": role}, [stdin, *contents]


def _parts(files: Mapping[str, str | bytes]) -> tuple[list[tuple[str, int, int]], list[bytes]]:
    """Return names, sizes and modes of files, and their contents; half a surrogate pair becomes a question mark."""
    contents = [text if isinstance(text, bytes) else text.encode("utf-8", "replace") for text in files.values()]
    return [(name, len(content), 0o444) for name, content in zip(files, contents, strict=True)], contents
