# SPDX-License-Identifier: Apache-2.0
"""Checks of `eval_benchmarks`: can the policy answer them, can they be judged, can they choose the best model?

Of `metric_for_best_model` only benchmarks' metrics are known before the training: transformers names those of a test
split when its first evaluation hasn't the one that is asked for.
"""

import logging

from datasets import DatasetDict
from trl import ModelConfig

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
    if split in dataset or split != type(script_args).dataset_test_split or benchmarks is None:
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
        return
    # `do_eval` alone evaluates the test split when the best checkpoint has been chosen.
    _check_best_metric(evaluation, training_args, has_split=training_args.eval_strategy != "no")
    context = context_length(training_args, model_args)
    if isinstance(training_args, GRPOConfig) and training_args.use_vllm and training_args.vllm_max_model_length:
        context = min(context or training_args.vllm_max_model_length, training_args.vllm_max_model_length)
    for entry in evaluation.sets:
        assert isinstance(entry, BenchmarkSet)
        if entry.problems.judge is not None and is_first_of_run():
            judge_of(entry.problems).check()  # its sandbox; the first process judges all answers
        longest = max(map(len, entry.prompts.values()))
        if context is not None and longest + evaluation.max_tokens > context:
            raise ValueError(
                f"`eval_benchmarks_max_tokens` is {evaluation.max_tokens}, and the longest prompt of {entry.name} has "
                f"{longest} tokens: together more than the context of {context}. Lower it, or leave long rows out by "
                "`eval_benchmarks_limit` or `eval_benchmarks_split`."
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
    args, known = training_args, evaluation.metric_names
    if args.metric_for_best_model is None and (has_split or not args.load_best_model_at_end):
        return
    name = f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
    if name not in known:
        if not has_split or name.rpartition("/")[0] in {metric.rpartition("/")[0] for metric in known}:
            raise ValueError(
                f"`metric_for_best_model: {name}` is not measured in this run. Of `eval_benchmarks` there are "
                f"{', '.join(known)}; a test split is evaluated during the training by `eval_strategy` alone."
            )
        return
    every = args.eval_benchmarks_steps or (args.eval_steps if args.eval_strategy == "steps" else None)
    is_measured = every is not None or args.eval_strategy == "epoch"
    is_saved = args.save_strategy == "best" or (every is None and args.save_strategy == "epoch")
    if every is not None and args.save_strategy == "steps":
        is_saved = round(every / args.save_steps, 6).is_integer()
    if not (is_measured and is_saved):
        raise ValueError(
            f"`metric_for_best_model: {name}` isn't measured where checkpoints are saved (`save_strategy`, "
            "`save_steps`), so the best one could be lost. Save wherever it is measured, or set `save_strategy: best`."
        )
