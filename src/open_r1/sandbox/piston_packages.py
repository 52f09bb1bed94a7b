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

import dataclasses
import math
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


def read_package_run(package: str, run: ProgramRun, compiled: ProgramRun | None, endpoint: str) -> PackageRun:
    """Return what a package said.

    Args:
        package: Its name.
        run: The stage that ran it.
        compiled: The stage of its compiler, if there was one.
        endpoint: Where it ran.

    Raises:
        SandboxError: Its answer doesn't follow its protocol.
    """
    if compiled is not None and compiled.outcome is not Outcome.OK:
        return PackageRun(
            0.0, f"Compilation error exit code {compiled.exit_code}\n{compiled.stderr}", compiled, compiled
        )
    score, feedback = (_read_ioi if package == IOI_PACKAGE else _read_codeforces)(run, endpoint)
    return PackageRun(score, feedback, dataclasses.replace(run, outcome=_outcome(run, score, feedback)), compiled)


def _read_ioi(run: ProgramRun, endpoint: str) -> tuple[float, str]:
    if run.exit_code == 1 and "MemoryError" in run.stderr:
        return 0.0, "Memory limit exceeded"
    if run.stdout.strip():
        return _read_score(run.stdout, endpoint), run.stderr.strip()
    if run.outcome is Outcome.TIME_LIMIT:
        return 0.0, "Time limit exceeded"
    raise _broken(IOI_PACKAGE, run, endpoint)


def _read_codeforces(run: ProgramRun, endpoint: str) -> tuple[float, str]:
    if run.exit_code == TIMEOUT_CODE or run.outcome is Outcome.TIME_LIMIT:
        return 0.0, run.stderr.strip() or "Time limit exceeded"
    if not run.stdout.strip() and run.exit_code:
        return 0.0, f"Runtime error with exit code {run.exit_code}\n{run.stderr.strip()}"
    if not run.stdout.strip():
        raise _broken("codeforces", run, endpoint)
    score = 1.0 if run.exit_code == 0 and _read_score(run.stdout, endpoint) == 1 else 0.0
    return score, run.stderr.strip()


def _read_score(text: str, endpoint: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise SandboxError(f"{endpoint}: a package printed {text[:100]!r} in place of a score in [0, 1].")
    return score


def _broken(package: str, run: ProgramRun, endpoint: str) -> SandboxError:
    return SandboxError(
        f"{endpoint}: package {package} ended with code {run.exit_code}, signal {run.signal} and no score: "
        f"{run.stderr[-500:].strip() or 'it said nothing'}"
    )


def _outcome(run: ProgramRun, score: float, feedback: str) -> Outcome:
    """Return how the program ended, which the package knows better than the endpoint."""
    if score > 0:
        return Outcome.OK
    if run.exit_code == TIMEOUT_CODE:
        return Outcome.TIME_LIMIT
    words = feedback.lower()
    return next((outcome for part, outcome in _FEEDBACK if part in words), Outcome.OK)
