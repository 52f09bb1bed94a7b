# SPDX-License-Identifier: Apache-2.0
"""The problems of `eval_benchmarks`, read and rendered: refused where they can't be asked, or answers not judged."""

import logging
from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.evaluation.during_training import TrainingBenchmark, TrainingBenchmarks
from open_r1.evaluation.judging import judge_of
from open_r1.evaluation.problems import Problems, load_problems
from open_r1.evaluation.program_judge import ProgramJudge
from open_r1.models import context_length, template_kwargs_of
from open_r1.preflight.best_metric import check_best_metric_of_kinds
from open_r1.preflight.eval_benchmarks import named_benchmarks, settings_of
from open_r1.preflight.programs import is_first_of_run
from open_r1.training.checkpoints import BENCHMARK_ANSWERS_NAME

logger = logging.getLogger(__name__)

# What messages for scripts/run_benchmarks.py call the settings.
_SETTINGS = {
    "--prompt_column": "`eval_benchmarks_prompt_column`",
    "--solution_column": "`eval_benchmarks_solution_column`",
    "--kind": "`eval_benchmarks_kind`",
    "give a local copy by --data": "name a local copy in its place",
}


def prepare_eval_benchmarks(
    script_args: SFTScriptArguments | GRPOScriptArguments,
    training_args: SFTConfig | GRPOConfig,
    model_args: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> TrainingBenchmarks | None:
    """Return the benchmarks that the policy answers during the training; None: there are none.

    Raises:
        ValueError: One can't be read, lacks columns, has prompts that the context doesn't hold beside the answer, or
            needs a sandbox that isn't there; or the metric for the best model is of none.
    """
    if not training_args.eval_benchmarks:
        return None
    settings = settings_of(script_args, training_args)
    context = _context(training_args, model_args)
    given = template_kwargs_of(training_args) if isinstance(training_args, GRPOConfig) else {}
    entries = []
    for benchmark in named_benchmarks(training_args):
        try:
            problems = load_problems(benchmark, settings)
        except ValueError as error:
            text = str(error)
            for flag, name in _SETTINGS.items():
                text = text.replace(flag, name)
            raise ValueError(f"`eval_benchmarks`: {text}") from error
        check_best_metric_of_kinds(training_args, [problems.benchmark])
        _check_judge(problems)
        entry = TrainingBenchmark(problems, _render(problems, tokenizer, given))
        _check_room(entry, training_args, context)
        logger.info("%s: %d problems, %d answers to each.", entry.name, len(entry.prompts), settings.num_samples)
        entries.append(entry)
    folder = Path(training_args.output_dir) / BENCHMARK_ANSWERS_NAME
    return TrainingBenchmarks(
        benchmarks=entries,
        tokenizer=tokenizer,
        sampling=settings.sampling,
        num_samples=training_args.eval_benchmarks_num_samples,
        batch_size=training_args.per_device_eval_batch_size,
        answers_dir=folder if training_args.eval_benchmarks_log_answers else None,
    )


def _context(training_args: SFTConfig | GRPOConfig, model_args: ModelConfig) -> int | None:
    context = context_length(training_args, model_args)
    if isinstance(training_args, GRPOConfig) and training_args.use_vllm and training_args.vllm_max_model_length:
        return min(context or training_args.vllm_max_model_length, training_args.vllm_max_model_length)
    return context


def _check_judge(problems: Problems) -> None:
    """Ask the sandbox of programs whether it's there; the first process of the run judges all answers."""
    judge = judge_of(problems)
    if isinstance(judge, ProgramJudge) and is_first_of_run():
        try:
            judge.check()
        except ValueError as error:
            raise ValueError(f"`eval_benchmarks`: {error}") from error


def _render(
    problems: Problems, tokenizer: PreTrainedTokenizerBase, template_kwargs: Mapping[str, object]
) -> dict[int, list[int]]:
    prompts = {}
    for row in problems.golds:
        _, messages, _ = problems.prompts.get(row)
        prompts[row] = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False, **template_kwargs
        )
    return prompts


def _check_room(entry: TrainingBenchmark, training_args: SFTConfig | GRPOConfig, context: int | None) -> None:
    row, length = max(((row, len(ids)) for row, ids in entry.prompts.items()), key=lambda found: found[1])
    max_tokens = training_args.eval_benchmarks_max_tokens
    if context is not None and length + max_tokens > context:
        raise ValueError(
            f"`eval_benchmarks_max_tokens` is {max_tokens}, and the longest prompt of {entry.name} (row {row}) has "
            f"{length} tokens: together more than the context of {context}. At most {max(context - length, 0)} are "
            "left for an answer; or leave long rows out by `eval_benchmarks_limit` or `eval_benchmarks_split`."
        )
