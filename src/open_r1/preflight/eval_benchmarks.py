# SPDX-License-Identifier: Apache-2.0
"""`eval_benchmarks`, answered during a training: refused where they can't be, or can't choose the best model."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path

from datasets import DatasetDict
from transformers.trainer_utils import SchedulerType
from trl import ScriptArguments as TrlScriptArguments

from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.configs.evaluation import EvaluationParameters
from open_r1.data.benchmarks import Benchmark, find_benchmarks, local_benchmark
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.requests import Sampling
from open_r1.preflight.best_metric import check_best_metric, split_metrics
from open_r1.rewards.program_table import code_sandbox

logger = logging.getLogger(__name__)

_STEPPED_BY_METRIC = (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)


def is_evaluated(training_args: SFTConfig | GRPOConfig) -> bool:
    """Whether a run evaluates on its data, during the training or after it, and so needs a test split."""
    return training_args.do_eval or training_args.eval_strategy != "no"


def evaluates_split(
    dataset: DatasetDict,
    script_args: SFTScriptArguments | GRPOScriptArguments,
    training_args: SFTConfig | GRPOConfig,
) -> bool:
    """Whether a run evaluates on a test split: with `eval_benchmarks` it needs none, unless one is named.

    Raises:
        ValueError: There is none, and the best checkpoint is to be chosen by it.
    """
    if not is_evaluated(training_args):
        return False
    split = script_args.dataset_test_split
    by_default = next(entry.default for entry in fields(TrlScriptArguments) if entry.name == "dataset_test_split")
    if split in dataset or split != by_default or not training_args.eval_benchmarks:
        return True
    logger.warning("The data have no split %r: `eval_benchmarks` alone are evaluated.", split)
    check_best_metric(training_args, named_benchmarks(training_args), split=None)
    return False


def check_eval_benchmarks(
    script_args: SFTScriptArguments | GRPOScriptArguments,
    training_args: SFTConfig | GRPOConfig,
    reward_names: Collection[str],
) -> None:
    """Refuse settings of `eval_benchmarks` that can't work together; of the data only the names are looked at.

    Args:
        script_args: Where programs run.
        training_args: The settings.
        reward_names: Metric keys of the rewards that are measured on a test split.

    Raises:
        ValueError: See the message.
    """
    # `do_eval` alone evaluates the test split when the best checkpoint has been chosen.
    is_split_used = training_args.eval_strategy != "no"
    split = split_metrics(script_args, training_args, reward_names) if is_split_used else None
    if not training_args.eval_benchmarks:
        _warn_of_idle_settings(training_args)
        if split is not None:
            check_best_metric(training_args, [], split)
        return
    found = named_benchmarks(training_args)
    steps = training_args.eval_benchmarks_steps
    if steps is not None and steps < 1:
        raise ValueError(f"`eval_benchmarks_steps` is {steps}: it must be at least 1.")
    if steps is not None and training_args.eval_strategy == "epoch":
        raise ValueError(
            f"`eval_benchmarks_steps: {steps}` with `eval_strategy: epoch`: leave it out to answer the benchmarks at "
            "the end of each epoch, or set `eval_strategy: steps`."
        )
    try:
        settings_of(script_args, training_args)
    except ValueError as error:
        raise ValueError(f"`eval_benchmarks_...`: {error}") from error
    if steps is not None and training_args.lr_scheduler_type in _STEPPED_BY_METRIC:
        raise ValueError(
            f"`lr_scheduler_type: {SchedulerType(training_args.lr_scheduler_type).value}` takes "
            "`metric_for_best_model` of every evaluation, and with `eval_benchmarks_steps` some have another half of "
            "the metrics: leave that out, or set another scheduler."
        )
    _warn_of_long_judging(training_args, found)
    check_best_metric(training_args, found, split)


def named_benchmarks(training_args: SFTConfig | GRPOConfig) -> list[Benchmark]:
    """Return the benchmarks; local files with the columns and the split of the settings.

    Raises:
        ValueError: A name is unknown or given twice, or a file is missing.
    """
    args = training_args
    try:
        found = [
            local_benchmark(
                Path(benchmark.dataset),
                split=args.eval_benchmarks_split,
                prompt_column=args.eval_benchmarks_prompt_column,
                solution_column=args.eval_benchmarks_solution_column,
                kind=args.eval_benchmarks_kind,
            )
            if benchmark.is_local
            else benchmark
            for benchmark in find_benchmarks(args.eval_benchmarks)
        ]
    except ValueError as error:
        raise ValueError(f"`eval_benchmarks`: {error}") from None
    return found


def settings_of(
    script_args: SFTScriptArguments | GRPOScriptArguments, training_args: SFTConfig | GRPOConfig
) -> EvaluationSettings:
    """Return the settings as those of scripts/run_benchmarks.py.

    Raises:
        ValueError: One is out of its range, or has no effect beside another.
    """
    args = training_args
    system = args.eval_benchmarks_system_prompt
    system = args.system_prompt if system is None else system
    return EvaluationSettings(
        model="policy",
        system_prompt=system or None,
        template=args.eval_benchmarks_template,
        sampling=Sampling(
            temperature=args.eval_benchmarks_temperature,
            top_p=args.eval_benchmarks_top_p,
            max_tokens=args.eval_benchmarks_max_tokens,
            seed=args.eval_benchmarks_seed,
        ),
        num_samples=args.eval_benchmarks_num_samples,
        limit=args.eval_benchmarks_limit,
        sandbox=code_sandbox(script_args),
    )


def _warn_of_idle_settings(training_args: SFTConfig | GRPOConfig) -> None:
    idle = [
        entry.name
        for entry in fields(EvaluationParameters)
        if entry.name.startswith("eval_benchmarks_") and vars(training_args)[entry.name] != entry.default
    ]
    if idle:
        logger.warning("%s: no effect without benchmarks to answer: set `eval_benchmarks`.", ", ".join(idle))


def _warn_of_long_judging(training_args: SFTConfig | GRPOConfig, benchmarks: Sequence[Benchmark]) -> None:
    programs = [benchmark.name for benchmark in benchmarks if benchmark.kind == "code"]
    if programs and training_args.world_size > 1:
        logger.warning(
            "%s: %d processes wait while the first one runs the programs of all answers; after "
            "`ddp_timeout: %s` (seconds) that ends the training.",
            ", ".join(programs),
            training_args.world_size,
            training_args.ddp_timeout,
        )
