# SPDX-License-Identifier: Apache-2.0
"""Slurm jobs that evaluate: `slurm/evaluate.slurm` submitted, and its words checked before the queue and on the node.

    submit_evaluation(["--model=/data/grpo", "--benchmarks", "aime24"], job_name="evaluate-grpo")  ->  "4711"
    python -m open_r1.evaluation.jobs [--on_node] WORD...  ->  kept_in=/data/evals/grpo/main commit=9c92...

The job doesn't get the variables of the training that runs here (`cluster/submission.py`).
"""

import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from open_r1.cluster.submission import submit_script
from open_r1.evaluation.benchmarks import each_of, find_benchmarks, open_rows

if TYPE_CHECKING:
    from open_r1.configs.training import TrainingConfig

logger = logging.getLogger(__name__)

SCRIPT = Path("slurm") / "evaluate.slurm"


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


def submit_evaluation(words: Sequence[str], *, job_name: str) -> str:
    """Run `slurm/evaluate.slurm`, which submits itself, and return the number of the job.

    Args:
        words: Its arguments. Paths must be absolute.
        job_name: Name of the job; what a file name can't hold is replaced.

    Raises:
        FileNotFoundError: There is no script.
        TimeoutError: Slurm was asked and did not answer: it may have taken the job.
        RuntimeError: The script refuses its arguments, or Slurm takes no job.
    """
    script = find_script()
    words = [str(script), f"--sbatch=--job-name={safe_name(job_name)}", *words]
    return submit_script(words, folder=script.parents[1])[-1]


def safe_name(text: str) -> str:
    """Return a job's name without what log files and squeue's lists can't hold."""
    return re.sub(r"[^\w.=-]+", "-", text)


def flags_of_answers(training_args: "TrainingConfig") -> list[str]:
    """Return the flags of the script for what a recipe says of how its model is asked."""
    flags = [f"--system_prompt={training_args.system_prompt}"] if training_args.system_prompt else []
    return flags + (["--trust_remote_code"] if training_args.trust_remote_code else [])


def run_benchmark_jobs(training_args: "TrainingConfig", model_args: object = None) -> list[str]:
    """Submit a job for each of `benchmarks` on a model of the hub, and return the jobs' numbers.

    Args:
        training_args: `hub_model_id` and `hub_model_revision` name the model.
        model_args: Not read: TRL has moved `trust_remote_code` to the training arguments.

    Raises:
        ValueError: A benchmark is unknown, or the model has no name on the hub.
        RuntimeError: Slurm takes no job.
    """
    names = each_of(training_args.benchmarks)
    find_benchmarks(names)
    model, revision = training_args.hub_model_id, training_args.hub_model_revision or "main"
    if not model:
        raise ValueError("`hub_model_id` is not set: benchmark jobs load the model from the hub by that name.")
    job_ids = []
    for name in names:
        words = [f"--model={model}", f"--revision={revision}", "--benchmarks", name, *flags_of_answers(training_args)]
        job_ids.append(submit_evaluation(words, job_name=f"or1_{name}_{model.rpartition('/')[2]}_{revision}"))
        logger.info("Submitted job %s: %s on %s, revision %s.", job_ids[-1], name, model, revision)
    return job_ids


def check_words(words: Sequence[str], *, is_on_node: bool = False) -> tuple[Path, str]:
    """Refuse what a job could only refuse; return the folder of its results, and the commit of the model's revision.

    Args:
        words: Of `scripts/run_benchmarks.py`.
        is_on_node: Whether data sets and sandboxes are looked at too, before a model is served.

    Raises:
        ValueError: See the message.
        SandboxError: The sandbox for programs can't be reached, or can't isolate them.
        SystemExit: A flag or its value is unknown; the message is on stderr.
    """
    # Imported here: a training submits jobs, and needs neither arrow nor aiohttp for it.
    from open_r1.evaluation.fingerprint import resolve_commit
    from open_r1.evaluation.prompts import reward_arguments
    from open_r1.evaluation.settings import parse
    from open_r1.generation.prompts import check_template
    from open_r1.rewards.program_rewards import code_sandbox

    args = parse(words)
    if args.prompt_template is not None:
        check_template(args.prompt_template)
    found = [open_rows(entry)[0] if entry.is_local or is_on_node else entry for entry in args.chosen()]
    if is_on_node and any(entry.kind == "code" for entry in found):
        code_sandbox(reward_arguments("binary_code", args)).check(())
    model = args.model_id[0]
    commit = resolve_commit(model, args.model_revision) if is_on_node and not Path(model).is_dir() else None
    return args.folder(model), commit or ""


def main() -> int:
    """Check the words of a job, and print what its script has to know, as assignments of bash."""
    is_on_node = "--on_node" in sys.argv[1:2]
    try:
        with redirect_stdout(sys.stderr):  # bash runs what is printed here
            folder, commit = check_words(sys.argv[1 + is_on_node :], is_on_node=is_on_node)
    except ImportError as error:
        if is_on_node:
            raise
        sys.stderr.write(f"The words for scripts/run_benchmarks.py are checked in the job alone: {error}\n")
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"kept_in={shlex.quote(str(folder))}\ncommit={shlex.quote(commit)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
