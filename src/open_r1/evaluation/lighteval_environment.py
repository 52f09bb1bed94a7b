# SPDX-License-Identifier: Apache-2.0
"""lighteval's own environment, made on first use, and jobs for `lighteval_runner.py` in it.

lighteval 0.13 needs latex2sympy2_extended 1.0.6 and math-verify 0.9 needs 1.11: the two can't share an environment.
"""

import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.generation.processes import MindedProcess

logger = logging.getLogger(__name__)

VENV_VARIABLE = "OPEN_R1_LIGHTEVAL_VENV"
DEFAULT_VENV = ".venv-lighteval"
SCRIPT = Path("scripts") / "lighteval_env.sh"
_RUNNER = Path(__file__).with_name("lighteval_runner.py")
_TELL_S = 60.0
_REFUSED = 3  # the runner's exit status where its last line says why


class LightevalError(RuntimeError):
    """lighteval, or the making of its environment, has failed; the message has its last lines."""


@dataclass(frozen=True)
class Done:
    """What the runner has written.

    Attributes:
        lines: One of each problem.
        about: `versions`, `left_out` (tasks that can't be imported, with the reason) and, of scores, `metrics`.
    """

    lines: list[dict[str, Any]]
    about: dict[str, Any]


def environment_folder() -> Path:
    """Return where the environment is, or is to be: OPEN_R1_LIGHTEVAL_VENV, or `.venv-lighteval` in the project."""
    return _root() / (os.environ.get(VENV_VARIABLE, "").strip() or DEFAULT_VENV)


def ensure_environment() -> Path:
    """Make the environment where it isn't made yet, which takes a minute or two, and return its Python.

    Raises:
        FileNotFoundError: open_r1 was installed without its repository, which has the script and the lock.
        LightevalError: It can't be made, as without a network.
    """
    script, folder = _root() / SCRIPT, environment_folder()
    if not script.is_file():
        raise FileNotFoundError(
            f"There is no {script}: lighteval's environment is made by the script in the repository; set OPEN_R1_ROOT "
            "to it."
        )
    with tempfile.TemporaryDirectory(prefix="lighteval-") as work:
        # It takes a moment where everything is there.
        command = ["bash", str(script), str(folder)]
        with MindedProcess(command, log_path=Path(work) / "install.log", env=_variables({})) as process:
            status = _wait(process, f"lighteval's environment {folder} is being made, once")
        if status:
            raise LightevalError(f"lighteval's environment can't be made (status {status}):\n{process.tail()}")
    return folder / "bin" / "python"


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep an environment from being replaced: another version of the project may want another one in its place."""
    path = folder.with_name(f"{folder.name}.in_use")
    try:
        file = path.open("rb") if path.exists() else path.open("ab")
    except OSError as error:  # someone else's, or on a disk that is read only: nobody replaces it from here
        logger.debug("%s isn't locked: %s", folder, error)
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError as error:  # some network disks have no locks
            logger.debug("%s isn't locked: %s", folder, error)
        yield


class Lighteval:
    """Runs jobs in the environment.

    Attributes:
        versions: Of packages there; empty until a job has run.
    """

    def __init__(self) -> None:
        self._python: Path | None = None
        self._has_told = False
        self.versions: dict[str, str] = {}

    def prepare(self) -> Path:
        """Make the environment where it isn't made yet, and return its Python; see `ensure_environment`."""
        self._python = self._python or ensure_environment()
        return self._python

    def run(self, mode: str, job: Mapping[str, Any], log_path: Path | None = None) -> Done:
        """Run the runner, and return what it has written.

        Args:
            mode: "prompts" or "score".
            job: What to do; `work`, `out` and `about` are added.
            log_path: What it says is added here; None: it is thrown away.

        Raises:
            LightevalError: It has failed.
        """
        python = self.prepare()
        with tempfile.TemporaryDirectory(prefix="lighteval-") as name, in_use(python.parents[1]):
            work = Path(name)
            out, about, path = (work / name for name in ("lines.jsonl", "about.json", "job.json"))
            path.write_text(json.dumps({**job, "work": name, "out": str(out), "about": str(about)}), encoding="utf-8")
            # What the library of data sets keeps of local rows is thrown away: it would be found again by its name.
            env = _variables({} if job["task"] is not None else {"HF_DATASETS_CACHE": str(work / "datasets")})
            command = [str(python), "-I", str(_RUNNER), mode, str(path)]
            with MindedProcess(command, log_path=log_path or work / "runner.log", env=env) as process:
                _check(process, _wait(process, f"lighteval is at work ({mode})"))
            with out.open(encoding="utf-8") as file:
                done = Done([json.loads(line) for line in file], json.loads(about.read_text(encoding="utf-8")))
        if done.about["left_out"] and not self._has_told:
            self._has_told = True
            reasons = "; ".join(f"{task} ({reason[:80]})" for task, reason in done.about["left_out"].items())
            logger.info("Tasks of lighteval that can't be imported here are left out: %s.", reasons)
        self.versions = done.about["versions"]
        return done


def _check(process: MindedProcess, status: int) -> None:
    if status == _REFUSED:
        raise LightevalError(process.tail(1).removeprefix("RunnerError: "))
    if status:
        raise LightevalError(f"lighteval ended with status {status}, and said last:\n{process.tail()}")


def _root() -> Path:
    return Path(os.environ.get("OPEN_R1_ROOT") or Path(__file__).resolve().parents[3])


def _variables(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of its processes: no packages of ours, no GPU, and nothing sent to anyone."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {
        **kept,
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        **more,
    }


def _wait(process: MindedProcess, what: str) -> int:
    """Wait for its end, and say from time to time what for."""
    begun = time.monotonic()
    while (status := process.wait(_TELL_S)) is None:
        logger.info("%s: %.0f s.", what, time.monotonic() - begun)
    return status
