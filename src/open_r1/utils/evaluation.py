# SPDX-License-Identifier: Apache-2.0
"""Jobs that run benchmarks on revisions of a model that were pushed to the hub.

1. Jobs are submitted by an argument list (Open R1 builds one shell string, which model names can break out of), and
   remote code is trusted only where the run trusts it.
"""

import logging
import re
from typing import Protocol

from open_r1.data.benchmarks import SUPPORTED_BENCHMARKS as SUPPORTED_BENCHMARKS
from open_r1.data.benchmarks import each_of, find_benchmarks
from open_r1.utils.evaluation_jobs import SubmissionError, submit_evaluation

logger = logging.getLogger(__name__)


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
