# SPDX-License-Identifier: Apache-2.0
"""Checks of `eval_benchmarks`: can the policy answer them, can they be judged, can they choose the best model?

Of `metric_for_best_model` only benchmarks' metrics are known before the training: transformers names those of a test
split when its first evaluation hasn't the one that is asked for.
"""

import logging
from dataclasses import fields

from datasets import DatasetDict
from transformers.trainer_utils import SaveStrategy
from trl import ModelConfig

from open_r1.configs.evaluation import EvaluationParameters
from open_r1.configs.training import GRPOConfig, TrainingConfig, TrainingScriptArguments
from open_r1.evaluation.judges import judge_of
from open_r1.evaluation.training import BenchmarkSet, PolicyEvaluation
from open_r1.models import context_length
from open_r1.preflight.programs import is_first_of_run

logger = logging.getLogger(__name__)


def is_evaluated(training_args: TrainingConfig) -> bool:
    """Whether a run evaluates on its data, during the training or after it, and so needs a test split."""
    return training_args.do_eval or training_args.eval_strategy != "no"


def evaluates_split(
    dataset: DatasetDict,
    script_args: TrainingScriptArguments,
    training_args: TrainingConfig,
    benchmarks: PolicyEvaluation | None,
) -> bool:
    """Whether a run evaluates on a test split: with `eval_benchmarks` it needs none, unless one is named.

    Raises:
        ValueError: There is none, and the best checkpoint is to be chosen by it.
    """
    if not is_evaluated(training_args):
        return False
    split = script_args.dataset_test_split
    default = type(script_args).dataset_test_split
    if split in dataset or split != default or benchmarks is None:
        return True
    logger.warning("The data have no split %r: `eval_benchmarks` alone are evaluated.", split)
    _check_best_metric(benchmarks, training_args, has_split=False)
    return False


def check_eval_benchmarks(
    evaluation: PolicyEvaluation | None, training_args: TrainingConfig, model_args: ModelConfig
) -> None:
    """Refuse benchmarks that the policy can't answer, or that can't be judged or choose the best model as asked.

    Raises:
        ValueError: See the message.
    """
    if evaluation is None:
        _warn_of_idle_settings(training_args)
        return
    steps = training_args.eval_benchmarks_steps
    if steps is not None and steps < 1:
        raise ValueError(f"`eval_benchmarks_steps` is {steps}: it must be at least 1.")
    if steps is not None and training_args.eval_strategy == "epoch":
        raise ValueError(
            f"`eval_benchmarks_steps: {steps}` with `eval_strategy: epoch`: leave it out to answer the benchmarks at "
            "the end of each epoch, or set `eval_strategy: steps`."
        )
    # `do_eval` alone evaluates the test split when the best checkpoint has been chosen.
    _check_best_metric(evaluation, training_args, has_split=training_args.eval_strategy != "no")
    context = context_length(training_args, model_args)
    if isinstance(training_args, GRPOConfig) and training_args.use_vllm and training_args.vllm_max_model_length:
        context = min(context or training_args.vllm_max_model_length, training_args.vllm_max_model_length)
    for entry in evaluation.sets:
        assert isinstance(entry, BenchmarkSet)
        _check_judge(entry, training_args)
        if context is not None:
            _check_room(entry, evaluation.max_tokens, context)


def _warn_of_idle_settings(training_args: TrainingConfig) -> None:
    idle = [
        entry.name
        for entry in fields(EvaluationParameters)
        if entry.name.startswith("eval_benchmarks_") and vars(training_args)[entry.name] != entry.default
    ]
    if idle:
        logger.warning("%s: no effect without benchmarks to answer: set `eval_benchmarks`.", ", ".join(idle))


def _check_judge(entry: BenchmarkSet, training_args: TrainingConfig) -> None:
    """Check that the sandbox of programs answers; the first process of the run judges all answers."""
    if entry.problems.judge is None or not is_first_of_run():
        return
    try:
        judge_of(entry.problems).check()
    except ValueError as error:
        raise ValueError(f"`eval_benchmarks`: {error}") from error
    if training_args.world_size > 1:
        logger.warning(
            "%s: %d processes wait while the first one runs the programs of all answers; after "
            "`ddp_timeout: %s` (seconds) that ends the training.",
            entry.name,
            training_args.world_size,
            training_args.ddp_timeout,
        )


def _check_room(entry: BenchmarkSet, max_tokens: int, context: int) -> None:
    row, length = max(((row, len(ids)) for row, ids in entry.prompts.items()), key=lambda found: found[1])
    if length + max_tokens > context:
        raise ValueError(
            f"`eval_benchmarks_max_tokens` is {max_tokens}, and the longest prompt of {entry.name} (row {row}) has "
            f"{length} tokens: together more than the context of {context}. At most {max(context - length, 0)} are "
            "left for an answer; or leave long rows out by `eval_benchmarks_limit` or `eval_benchmarks_split`."
        )


def _check_best_metric(evaluation: PolicyEvaluation, training_args: TrainingConfig, *, has_split: bool) -> None:
    """Refuse a `metric_for_best_model` that no benchmark has, or that isn't measured where checkpoints are saved.

    Args:
        evaluation: Of the benchmarks.
        training_args: The settings.
        has_split: Whether a test split is evaluated during the training, whose metrics it may also name.

    Raises:
        ValueError: See above.
    """
    given = training_args.metric_for_best_model
    if given is None and (has_split or not training_args.load_best_model_at_end):
        return
    name = f"eval_{(given or 'loss').removeprefix('eval_')}"
    known = evaluation.metric_names
    if name in known:
        _check_saved(training_args, name)
    elif not has_split or name.rpartition("/")[0] in {metric.rpartition("/")[0] for metric in known}:
        split = "" if has_split else " No test split is evaluated during the training (by `eval_strategy`)."
        raise ValueError(
            f"`metric_for_best_model: {given or 'loss'}` is nothing that this run measures. Of `eval_benchmarks` "
            f"there are {', '.join(known)}.{split}"
        )


def _check_saved(training_args: TrainingConfig, name: str) -> None:
    """Refuse to measure at steps at which nothing is saved: the best checkpoint could be lost."""
    args = training_args
    is_by_epoch = args.eval_benchmarks_steps is None and args.eval_strategy == "epoch"
    every = args.eval_benchmarks_steps or (args.eval_steps if args.eval_strategy == "steps" else None)
    if every is None and not is_by_epoch:
        raise ValueError(
            f"`metric_for_best_model: {name}` is measured at the end alone: set `eval_benchmarks_steps`, or "
            "`eval_strategy: steps` with `eval_steps`, to the steps after which checkpoints are saved."
        )
    is_by_steps = every is not None and args.save_strategy == "steps" and _is_multiple(every, args.save_steps)
    if args.save_strategy == "best" or is_by_steps or (is_by_epoch and args.save_strategy == "epoch"):
        return
    strategy = SaveStrategy(args.save_strategy).value
    saved = f"every {args.save_steps:g} steps" if strategy == "steps" else f"by `save_strategy: {strategy}`"
    raise ValueError(
        f"`metric_for_best_model: {name}` is measured every {'epoch' if is_by_epoch else f'{every:g} steps'}, and "
        f"checkpoints are saved {saved}: the best one could be one that isn't saved. Save wherever it is measured "
        "(the steps of measuring a multiple of `save_steps`), or set `save_strategy: best`."
    )


def _is_multiple(every: float, save_steps: float) -> bool:
    """Whether the first counts a multiple of the second; below 1 they are shares of the training."""
    return (every < 1) == (save_steps < 1) and every >= save_steps > 0 and round(every / save_steps, 6).is_integer()
