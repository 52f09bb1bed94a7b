# SPDX-License-Identifier: Apache-2.0
"""The judging packages that Open R1's users have installed in their Piston: `cms_ioi` and `codeforces`.

Such a package gets the expected output too, runs the program and compares at the endpoint. A score from it is as
trustworthy as the endpoint's isolation; where a plain runtime is installed, prefer `Sandbox.run` and compare here.

`cms_ioi` gets `graders/<id>.cpp`, `input.txt`, `correct_output.txt` and the task's grader files (with their checker,
manager and `grader_config.json`); it prints the score in [0, 1] and, on stderr, why.
`codeforces` is called by language, `cf_python3` or `c++17`; it gets `main.py` or `main.cpp`, `input.txt`,
`correct_output.txt`, `grader_config` and perhaps `checker.py`; it prints 1 or 0 and, on stderr, why. Code 124 is a
time limit, another one without a verdict a crash of the program.

1. A package that ends in a way that its protocol doesn't know is a `SandboxError`; upstream scores some of these 0.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from open_r1.sandbox.base import Limits, Outcome, ProgramRun, SandboxError

IOI_PACKAGE = "cms_ioi"
CODEFORCES_PACKAGES = {"python": "cf_python3", "cpp": "c++17"}
PACKAGES = (IOI_PACKAGE, *CODEFORCES_PACKAGES.values())
# Seconds by the clock that a package gets beyond the time limit, which it enforces itself.
SPARE_S = {IOI_PACKAGE: 3.0, "cf_python3": 10.0, "c++17": 10.0}
TIMEOUT_CODE = 124
_FEEDBACK = (
    ("time limit", Outcome.TIME_LIMIT),
    ("memory limit", Outcome.MEMORY_LIMIT),
    ("output limit", Outcome.OUTPUT_LIMIT),
    ("runtime error", Outcome.RUNTIME_ERROR),
    ("execution failed", Outcome.RUNTIME_ERROR),
)


@dataclass(frozen=True)
class PackageRun:
    """What a package says of a submission on one test: the result of `PistonSandbox.judge_by_package`.

    Attributes:
        score: In [0, 1]; 0 where the program failed or didn't compile.
        feedback: Why, in the words of the package or the compiler.
        run: How the program ended, read off the package's answer (its stdout and stderr are the package's); OK for a
            wrong answer. Where the compiler failed, a copy of its run.
        compile: The compiler's run; None where the package has no such stage.
    """

    score: float
    feedback: str
    run: ProgramRun
    compile: ProgramRun | None

    @property
    def has_compiled(self) -> bool:
        """Whether there was a program to run."""
        return self.compile is None or self.compile.outcome is Outcome.OK


def cms_ioi_files(
    problem_id: str, code: str, stdin: str, expected: str, grader_files: Mapping[str, str | bytes]
) -> dict[str, str | bytes]:
    """Return the files of one test for package `cms_ioi`; empty ones but the submission and the input stay away."""
    files: dict[str, str | bytes] = {f"graders/{problem_id.lower()}.cpp": code, "input.txt": stdin}
    if expected:
        files["correct_output.txt"] = expected
    return files | {name: content for name, content in grader_files.items() if content}


def codeforces_files(
    language: str,
    code: str,
    stdin: str,
    expected: str,
    *,
    limits: Limits,
    input_mode: str = "stdio",
    checker: str | None = None,
) -> dict[str, str | bytes]:
    """Return the files of one test for package `CODEFORCES_PACKAGES[language]`.

    Args:
        language: "python" or "cpp".
        code: The submission.
        stdin: Input of the test.
        expected: Its output.
        limits: The problem's; `cpu_s` and `memory_mb` count.
        input_mode: "stdio", or "file" for `input.txt` and `output.txt`.
        checker: Source of a checker in Python; None to compare.
    """
    name = {"python": "main.py", "cpp": "main.cpp"}[language]
    config = f"TIME_LIMIT={limits.cpu_s:g}\nMEMORY_LIMIT={limits.memory_mb}\nINPUT_MODE={input_mode}\n"
    files: dict[str, str | bytes] = {name: code}
    if checker:
        files["checker.py"] = checker
    return files | {"input.txt": stdin, "correct_output.txt": expected, "grader_config": config}


def read_package_run(package: str, run: ProgramRun | None, compiled: ProgramRun | None) -> PackageRun:
    """Return what a package said.

    Args:
        package: Its name.
        run: What it did; None where the compiler failed.
        compiled: What its compiler did, if there was one.

    Raises:
        SandboxError: Its answer doesn't follow its protocol.
    """
    if run is None:
        assert compiled is not None
        feedback = f"Compilation error exit code {compiled.exit_code}\n{compiled.stderr}"
        return PackageRun(0.0, feedback, compiled, compiled)
    is_ioi, printed, feedback = package == IOI_PACKAGE, run.stdout.strip(), run.stderr.strip()
    is_late = run.exit_code == TIMEOUT_CODE or run.outcome is Outcome.TIME_LIMIT
    score = 0.0
    if is_ioi and run.exit_code == 1 and "MemoryError" in run.stderr:
        feedback = "Memory limit exceeded"
    elif is_late and not (is_ioi and printed):
        feedback = feedback or "Time limit exceeded"
    elif not printed and run.exit_code and not is_ioi:
        feedback = f"Runtime error with exit code {run.exit_code}\n{feedback}"
    else:
        with contextlib.suppress(ValueError):
            score = float(printed)
        if not (printed and 0 <= score <= 1 and re.fullmatch(r"[\d.]+", printed)):
            ending = f"code {run.exit_code}, signal {run.signal}"
            raise SandboxError(f"Piston's package {package} printed {printed[:100]!r}, {ending}: {feedback[-500:]}")
        if not is_ioi:  # a verdict, and what the package returned says whether it holds
            score = float(score == 1 and run.exit_code == 0)
    outcome = Outcome.TIME_LIMIT if run.exit_code == TIMEOUT_CODE else Outcome.OK
    if score == 0.0 and outcome is Outcome.OK:
        outcome = next((found for words, found in _FEEDBACK if words in feedback.lower()), Outcome.OK)
    return PackageRun(score, feedback, dataclasses.replace(run, outcome=outcome), compiled)
