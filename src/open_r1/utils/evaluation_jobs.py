# SPDX-License-Identifier: Apache-2.0
"""Submitting `slurm/evaluate.slurm` from a training, or from a command line.

The script hands the job to Slurm without the variables of the training that runs here (`cluster/submission.py`).
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SCRIPT = Path("slurm") / "evaluate.slurm"
# Below the limit of the script itself, so that a Slurm that hangs is told from one that refuses.
TIMEOUT_S = 100.0
# What sbatch says when it has asked and got no answer.
_UNHEARD = r"timed out|timeout|zero bytes|connection (reset|closed)|unexpected message|communication"


class SubmissionError(RuntimeError):
    """Slurm didn't take a job; with `may_have_job` it may have taken one: only a plain no is certain."""

    def __init__(self, reason: str, *, may_have_job: bool = False) -> None:
        super().__init__(reason)
        self.may_have_job = may_have_job


def is_slurm_available() -> bool:
    """Say whether this machine can submit jobs."""
    return shutil.which("sbatch") is not None


def find_script() -> Path:
    """Return `slurm/evaluate.slurm` of the project: of OPEN_R1_ROOT, or of the checkout that this file is in.

    Raises:
        FileNotFoundError: open_r1 was installed without its repository.
    """
    root = Path(os.environ.get("OPEN_R1_ROOT") or Path(__file__).resolve().parents[3])
    if not (root / SCRIPT).is_file():
        raise FileNotFoundError(
            f"There is no {root / SCRIPT}: jobs are submitted by the script in the repository; set OPEN_R1_ROOT to it."
        )
    return root / SCRIPT


def submit_evaluation(words: Sequence[str], *, job_name: str, timeout_s: float | None = None) -> str:
    """Run `slurm/evaluate.slurm`, which submits itself, and return the number of the job.

    Args:
        words: Its arguments. Paths must be absolute.
        job_name: Name of the job; what a file name can't hold is replaced.
        timeout_s: Seconds that Slurm has (default: `TIMEOUT_S`).

    Raises:
        SubmissionError: There is no Slurm or no script, it says no, takes too long, or doesn't name a job.
    """
    if not is_slurm_available():
        raise SubmissionError("there is no `sbatch` on the PATH of this machine")
    try:
        script = find_script()
    except FileNotFoundError as error:
        raise SubmissionError(str(error)) from None
    limit_s = TIMEOUT_S if timeout_s is None else timeout_s
    command = [str(script), f"--sbatch=--job-name={safe_name(job_name)}", *words]
    status, output, errors = _run(command, script.parents[1], limit_s)
    if status is None:
        raise SubmissionError(f"Slurm didn't answer within {limit_s:.0f} s", may_have_job=True)
    if status:
        reason = f"{script.name} ended with status {status}: {_end_of(errors or output)}"
        raise SubmissionError(reason, may_have_job=not _is_refused(status, errors))
    found = re.search(r"^Submitted batch job (\d+)", output, re.MULTILINE)
    if found is None:
        said = _end_of(output or errors)
        raise SubmissionError(f"{script.name} names no job, but says: {said}", may_have_job=True)
    return found[1]


def job_names(names: Sequence[str]) -> set[str]:
    """Return which of these names jobs have that wait or run.

    Raises:
        SubmissionError: Slurm doesn't say.
    """
    if shutil.which("squeue") is None:
        raise SubmissionError("there is no `squeue` on the PATH of this machine")
    command = ["squeue", "--noheader", "--format=%j", f"--name={','.join(names)}"]
    # The user's SQUEUE_STATES and the like would hide jobs.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    status, output, errors = _run(command, Path.cwd(), TIMEOUT_S, variables)
    if status != 0:
        raise SubmissionError(f"squeue says nothing: {_end_of(errors) if status is not None else 'it hangs'}")
    return {line.strip() for line in output.splitlines()} & set(names)


def safe_name(text: str) -> str:
    """Return a job's name without what log files and squeue's lists can't hold."""
    return re.sub(r"[^\w.=-]+", "-", text)


def _run(
    command: Sequence[str], folder: Path, timeout_s: float, env: Mapping[str, str] | None = None
) -> tuple[int | None, str, str]:
    """Return exit status, output and errors; the status is None where the command, ended by us, took too long."""
    # A session of its own: sbatch is a grandchild, which would hold our pipes open when the script alone is ended.
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None, "", ""
    return process.returncode, output, errors


def _is_refused(status: int, errors: str) -> bool:
    """Whether it is certain that Slurm has no job: the command line was refused, or sbatch itself says no.

    An sbatch that fails since it waited in vain for Slurm's answer may have been heard.
    """
    if status == 2 or "there is no program sbatch" in errors:
        return True
    said = re.search(r"` failed with status ([1-9]\d*): (.*)", errors, re.DOTALL)
    is_no = said is not None and not said[2].strip().isdigit() and not re.search(_UNHEARD, said[2], re.IGNORECASE)
    return status == 1 and is_no


def _end_of(text: str) -> str:
    return " ".join(text.split())[-400:] or "nothing"
