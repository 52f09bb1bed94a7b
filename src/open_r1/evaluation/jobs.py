# SPDX-License-Identifier: Apache-2.0
"""Submitting `slurm/evaluate.slurm` from a training, or from a command line.

The script hands the job to Slurm without the variables of the training that runs here (`cluster/submission.py`).
"""

import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from open_r1.data.benchmarks import each_of, find_benchmarks

logger = logging.getLogger(__name__)

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


class PushedModel(Protocol):
    """What `run_benchmark_jobs` reads of training arguments; all of it is in `SFTConfig` and `GRPOConfig`."""

    @property
    def benchmarks(self) -> list[str]: ...

    @property
    def hub_model_id(self) -> str | None: ...

    @property
    def hub_model_revision(self) -> str | None: ...

    @property
    def system_prompt(self) -> str | None: ...

    @property
    def trust_remote_code(self) -> bool: ...


def run_lighteval_job(
    benchmark: str, training_args: PushedModel, model_args: object = None, *, model_name: str | None = None
) -> str:
    """Submit a job that runs one benchmark on a pushed revision, and return the job's number.

    The name is Open R1's; this version's own evaluation runs.

    Args:
        benchmark: Its name.
        training_args: The model.
        model_args: Not read: TRL has moved `trust_remote_code` to the training arguments.
        model_name: Name in the results; None: the model's.

    Raises:
        ValueError: The benchmark is unknown, or the model has no name on the hub.
        SubmissionError: Slurm takes no job.
    """
    find_benchmarks([benchmark])
    model, revision = training_args.hub_model_id, training_args.hub_model_revision or "main"
    if not model:
        raise ValueError("`hub_model_id` is not set: benchmark jobs load the model from the hub by that name.")
    words = [f"--model={model}", f"--revision={revision}", "--benchmarks", benchmark]
    words += ["--model_name=" + re.sub(r"[^\w./=-]+", "_", model_name)] if model_name else []
    words += [f"--system_prompt={training_args.system_prompt}"] if training_args.system_prompt else []
    words += ["--trust-remote-code"] if training_args.trust_remote_code else []
    name = f"or1_{benchmark}_{model.rpartition('/')[2]}_{(model_name or revision).removeprefix(f'{model}/')}"
    job_id = submit_evaluation(words, job_name=name)
    logger.info("Submitted job %s: %s on %s, revision %s.", job_id, benchmark, model, revision)
    return job_id


def run_benchmark_jobs(
    training_args: PushedModel, model_args: object = None, *, model_name: str | None = None
) -> list[str]:
    """Submit a job for each of `benchmarks` on a pushed revision, and return the jobs' numbers.

    Args:
        training_args: The model.
        model_args: Not read, as of `run_lighteval_job`.
        model_name: Name in the results; None: the model's.

    Raises:
        ValueError: A benchmark is unknown, or the model has no name on the hub.
        SubmissionError: Slurm takes no job.
    """
    names = each_of(training_args.benchmarks)
    find_benchmarks(names)
    submitted: list[str] = []
    for name in names:
        try:
            submitted.append(run_lighteval_job(name, training_args, model_args, model_name=model_name))
        except SubmissionError as error:
            before = f" (submitted before it: {', '.join(submitted)})" if submitted else ""
            raise SubmissionError(f"{name}: {error}{before}", may_have_job=error.may_have_job) from error
    return submitted
