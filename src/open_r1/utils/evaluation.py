# SPDX-License-Identifier: Apache-2.0
"""Benchmarks by name, and jobs that run them on revisions of a model that were pushed to the hub.

The table is in `benchmark_table`; its names are here too, where Open R1's users import them from.

1. Jobs are submitted by an argument list (Open R1 builds one shell string, which model names can break out of), and
   remote code is trusted only where the run trusts it.
"""

import difflib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from open_r1.utils.benchmark_table import (
    SUPPORTED_BENCHMARKS,
    Benchmark,
    benchmark_names,
    fitted,
    local_benchmark,
)
from open_r1.utils.evaluation_jobs import SubmissionError, submit_evaluation

__all__ = [
    "LIGHTEVAL_TASKS", "SUPPORTED_BENCHMARKS", "Benchmark", "PushedModel", "benchmark_names", "check_columns",
    "check_serve_args", "find_benchmarks", "get_lighteval_tasks", "local_benchmark", "refuse_same_names",
    "register_lighteval_task", "run_benchmark_jobs", "run_lighteval_job", "word_of",
]  # fmt: skip

logger = logging.getLogger(__name__)

_LOCAL_SUFFIXES = {".jsonl", ".json", ".parquet", ".csv"}
_SEEN = "it would stand in results and lists of processes. "
# Arguments of vLLM that hold a secret, and what to do instead.
_SECRETS = {
    "--api-key": f"{_SEEN}A server that is started here needs no key",
    "--hf-token": f"{_SEEN}Set HF_TOKEN in the environment instead",
}
# Those that decide what is served, and where: results stand under the model and the revision of our flags.
_OURS = {
    "--model": "the model has a flag of its own",
    "--revision": "the revision of the model has a flag of its own",
    "--config": "its file may hold what flags of ours set: write its settings as words",
    **dict.fromkeys(
        ("--host", "--port", "--uds", "--ssl-keyfile", "--ssl-certfile", "--root-path"),
        "the server is asked at an address of our choice, by http",
    ),
}


def register_lighteval_task(
    configs: dict[str, str], eval_suite: str, task_name: str, task_list: str, num_fewshot: int = 0
) -> None:
    """Put a task into `configs` as lighteval's earlier versions spell it, `suite|task|fewshot|0`.

    Args:
        configs: Grows by the key `task_name`.
        eval_suite: Suite of the task, such as "lighteval".
        task_list: One task, or several by commas.
        num_fewshot: Solved examples in the prompt.
    """
    tasks = (f"{eval_suite}|{task}|{num_fewshot}|0" for task in task_list.split(","))
    configs[task_name] = ",".join(tasks)


LIGHTEVAL_TASKS: dict[str, str] = {}
for _benchmark in SUPPORTED_BENCHMARKS.values():
    _suite = "extended" if _benchmark.name.startswith("lcb") else "lighteval"
    register_lighteval_task(LIGHTEVAL_TASKS, _suite, _benchmark.name, _benchmark.lighteval)


def get_lighteval_tasks() -> list[str]:
    """Return the names of all benchmarks."""
    return list(LIGHTEVAL_TASKS)


def find_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """Return benchmarks by name: of the table, in lighteval's spelling, `all`, or a local file; commas part names too.

    >>> [benchmark.num_samples for benchmark in find_benchmarks(["aime24,gpqa", "lighteval|math_500|0|0"])]
    [64, 8, 4]

    Raises:
        ValueError: A name is unknown or given twice; a file is missing.
    """
    found = [_find(name) for name in _each_of(names)]
    refuse_same_names(found)
    return found


def refuse_same_names(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse two benchmarks of one name.

    Raises:
        ValueError: There are two.
    """
    taken = [benchmark.name for benchmark in benchmarks]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise ValueError(
            f"The benchmarks {twice} are named twice: results go to a folder of that name. Of two files, rename one, "
            "or run them by two commands, each with an --output_dir of its own."
        )


def _each_of(names: Sequence[str]) -> list[str]:
    """Return the names one by one, of "all" and of those between commas; a file may have commas in its name."""
    if list(names) == ["all"]:
        return benchmark_names()
    return [
        part.strip() for name in names for part in ([name] if Path(name).expanduser().exists() else name.split(","))
    ]


def _find(name: str) -> Benchmark:
    # Open R1's jobs take lighteval's `suite|task|fewshot|0`; version 0.13 of it spells that `task|fewshot`.
    parts = name.split("|")
    task = parts[1] if len(parts) in (3, 4) else parts[0] if len(parts) == 2 else name
    for benchmark in SUPPORTED_BENCHMARKS.values():
        if task in (benchmark.name, benchmark.lighteval):
            shots = parts[2:3] or parts[1:]
            if shots and shots[0].strip() != "0":
                raise ValueError(
                    f"The benchmark {name!r} asks for {shots[0]!r} solved examples in the prompt: benchmarks are "
                    f"asked without, as models that reason are. Name it {benchmark.name}."
                )
            return benchmark
    path = Path(name).expanduser()
    if name.strip() and path.exists():
        return local_benchmark(path)
    if path.suffix in _LOCAL_SUFFIXES:
        raise ValueError(f"There is no file {name!r} (in {Path.cwd()}).")
    nearest = difflib.get_close_matches(task, benchmark_names(), n=1)
    meant = f" Did you mean {nearest[0]}?" if nearest else ""
    raise ValueError(
        f"Unknown benchmark {name!r}.{meant} Known: {', '.join(benchmark_names())}, all (of these), or a local file "
        "with columns `problem` and `solution`, with `choices`, or with tests of programs."
    )


def check_columns(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse local files that can't be read, or lack the columns: before a job waits in the queue to say so.

    Raises:
        ValueError: See the message.
    """
    for benchmark in benchmarks:
        if benchmark.is_local:
            # Imported here: a job's supervisor reads the table of benchmarks, and does without arrow.
            from open_r1.dataio.sources import open_source

            try:
                source = open_source(benchmark.dataset, split=benchmark.split)
            except OSError as error:
                raise ValueError(
                    f"The benchmark {benchmark.name} ({benchmark.dataset}) can't be read: {error}"
                ) from error
            fitted(benchmark, source.column_names)


def check_serve_args(words: Sequence[str], *, is_ours: bool = True) -> None:
    """Refuse arguments of `vllm serve` that hold secrets, since they are written into the results, or another model.

    Args:
        words: The arguments.
        is_ours: Whether the server is started here; of others they are a record.

    Raises:
        ValueError: There is one.
    """
    refused = _SECRETS | _OURS if is_ours else _SECRETS
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        # vLLM takes the beginning of a flag for the flag.
        meant = [flag for flag in refused if name.startswith("--") and len(name) > 2 and flag.startswith(name)]
        if meant:
            raise ValueError(f"{name} is not for the arguments of vLLM: {refused[meant[0]]}.")


def word_of(benchmark: Benchmark) -> str:
    """Return the word by which `find_benchmarks` finds it, from any folder."""
    return benchmark.dataset if benchmark.is_local else benchmark.name


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
    names = _each_of(training_args.benchmarks)
    find_benchmarks(names)
    submitted: list[str] = []
    for name in names:
        try:
            submitted.append(run_lighteval_job(name, training_args, model_args, model_name=model_name))
        except SubmissionError as error:
            before = f" (submitted before it: {', '.join(submitted)})" if submitted else ""
            raise SubmissionError(f"{name}: {error}{before}", may_have_job=error.may_have_job) from error
    return submitted
