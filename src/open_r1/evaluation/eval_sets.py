# SPDX-License-Identifier: Apache-2.0
"""What the policy in training is asked, and what judges its answers.

    BenchmarkSet   `eval_benchmarks`, by the judge and the estimators of saved models' evaluation; on the first process
    RewardSet      a test split, by the rewards of `eval_reward_funcs` (SFT; GRPO's trainer samples by itself)

k is the number of answers asked for, so that a curve has one name. Where a judgement is lost, avg@k is over the
others, and pass@k and maj@k, which fall with k, are over the problems of which all k were judged.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerState

from open_r1.configs.evaluation import BENCHMARK_ANSWERS_NAME, ROLLOUTS_NAME
from open_r1.configs.training import SFTConfig, SFTScriptArguments, TrainingConfig, TrainingScriptArguments
from open_r1.data.benchmarks import Benchmark, find_benchmarks, local_benchmark
from open_r1.evaluation.during_training import PolicyAnswer, PolicyEvaluation
from open_r1.evaluation.estimators import Record, estimate_names, summarize
from open_r1.evaluation.judgement import JudgingError
from open_r1.evaluation.judging import judged_answers
from open_r1.evaluation.problems import Problems, load_problems
from open_r1.evaluation.results import ANSWERS_NAME, AnswersFile
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.evaluation.tally import Tally
from open_r1.generation.messages import Sampling
from open_r1.models import prompt_token_ids
from open_r1.rewards import run_reward
from open_r1.rewards.program_rewards import code_sandbox

logger = logging.getLogger(__name__)

# What messages for scripts/run_benchmarks.py call the settings.
_SETTINGS = {
    "--prompt_column": "`eval_benchmarks_prompt_column`",
    "--solution_column": "`eval_benchmarks_solution_column`",
    "--kind": "`eval_benchmarks_kind`",
    "give a local copy by --data": "name a local copy in its place",
}


@dataclass(frozen=True)
class BenchmarkSet:
    """A benchmark.

    Attributes:
        problems: Its rows.
        prompts: Tokens of the prompt by the number of the row.
        answers_dir: Every answer is kept in its `<benchmark>/step-<n>.parquet`; None: none is.
    """

    problems: Problems
    prompts: Mapping[int, list[int]]
    answers_dir: Path | None = None
    with_greedy = False

    @property
    def name(self) -> str:
        """Its name in metrics."""
        return self.problems.benchmark.name

    def metric_names(self, num_samples: int) -> list[str]:
        """Return the names of its metrics."""
        kind = self.problems.benchmark.kind
        return [f"eval_{self.name}/{metric}" for metric in benchmark_metrics(num_samples, kind)]

    def judge(self, answers: Sequence[PolicyAnswer], state: TrainerState) -> list[tuple[int, dict[str, Any]]]:
        """Return the answers with their rows, to be judged together with those of the other processes."""
        return [
            (
                answer.row,
                {
                    "index": answer.index,
                    "error": None,
                    "text": answer.sampled.text,
                    "finish_reason": answer.sampled.finish_reason,
                    "usage": {"completion_tokens": len(answer.sampled.token_ids or ())},
                },
            )
            for answer in answers
        ]

    def summarize(self, judged: Sequence[tuple[int, dict[str, Any]]], num_samples: int, step: int) -> dict[str, float]:
        """Judge the answers of all processes; return the metrics."""
        records = {(row, record["index"]): record for row, record in judged}
        figures = figures_of(self.problems, self._tally(records, num_samples, step), num_samples)
        return {f"eval_{self.name}/{name}": value for name, value in figures.items()}

    def _tally(self, records: Mapping[tuple[int, int], dict[str, Any]], num_samples: int, step: int) -> Tally:
        tally, kept = Tally(self.problems), []
        try:
            for batch in judged_answers(self.problems, lambda row, index: records.get((row, index)), num_samples):
                for of_a_problem in batch:
                    tally.add(of_a_problem)
                    kept += of_a_problem if self.answers_dir is not None else []
        except JudgingError as error:  # an outage of the sandbox ends no training
            logger.warning("%s: %s", self.name, error)
            return Tally(self.problems)
        if self.answers_dir is not None:
            folder = self.answers_dir / self.name
            folder.mkdir(parents=True, exist_ok=True)
            with AnswersFile(folder, self.problems) as file:
                file.write(kept)
            (folder / ANSWERS_NAME).replace(folder / f"step-{step:06d}.parquet")
        return tally


def benchmark_metrics(num_samples: int, kind: str) -> list[str]:
    """Return the names of the metrics of a benchmark of a kind, without the benchmark's; programs have no majority."""
    average = f"avg@{num_samples}"
    majority = [] if kind == "code" else [f"maj@{num_samples}"]
    return [
        average,
        f"{average}_low",
        f"{average}_high",
        f"pass@{num_samples}",
        *majority,
        "truncated",
        "no_answer",
        "mean_length_tokens",
    ]


def figures_of(problems: Problems, tally: Tally, num_samples: int) -> dict[str, float]:
    """Return the metrics of a benchmark; those that can't be estimated are left out."""
    name = problems.benchmark.name
    if all(math.isnan(score) for row in tally.scores_PG for score in row):
        logger.warning(
            "%s: no answer could be judged (%s); there are no figures of this evaluation.", name, dict(tally.verdicts)
        )
        return {}
    found = tally.metrics(num_samples)
    judged = [count for row in range(len(tally.scores_PG)) if (count := tally.num_judged(row))]
    if fewer := sum(count < num_samples for count in judged):
        logger.warning(
            "%s: of %d problems fewer than %d answers could be judged (%s): of this evaluation pass@%d and "
            "the like are over the %d others.",
            name,
            fewer,
            num_samples,
            dict(tally.verdicts),
            num_samples,
            len(judged) - fewer,
        )
    return {name: found[name] for name in benchmark_metrics(num_samples, problems.benchmark.kind) if name in found}


@dataclass(frozen=True)
class RewardSet:
    """A test split, of which every process scores the completions that it has sampled.

    Attributes:
        rows: With `prompt` (messages) and the columns that the rewards need.
        prompts: Tokens of the prompt by the number of the row.
        reward_funcs: Rewards from `get_reward_funcs`.
        batch_size: Completions scored at once.
        output_dir: Every completion is kept in a file of its `rollouts`.
        with_greedy: Whether each prompt is decoded greedily too.
    """

    rows: Dataset
    prompts: Mapping[int, list[int]]
    reward_funcs: Sequence[Callable]
    batch_size: int
    output_dir: Path
    with_greedy: bool = False

    def metric_names(self, num_samples: int) -> list[str]:
        """Return the names of what is estimated from the rewards."""
        return estimate_names([reward.__name__ for reward in self.reward_funcs], num_samples, self.with_greedy)

    def judge(self, answers: Sequence[PolicyAnswer], state: TrainerState) -> list[Record]:
        """Return the completions with their rewards."""
        starts = range(0, len(answers), self.batch_size)
        return [record for start in starts for record in self._score(answers[start : start + self.batch_size], state)]

    def _score(self, answers: Sequence[PolicyAnswer], state: TrainerState) -> list[Record]:
        rows = [self.rows[answer.row] for answer in answers]
        columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
        # All that GRPO's trainer passes; what a reward logs beside its values is not kept here.
        columns |= {
            "prompts": [row["prompt"] for row in rows],
            "completions": [[{"role": "assistant", "content": answer.sampled.text}] for answer in answers],
            "completion_ids": [answer.sampled.token_ids for answer in answers],
        }
        given = {"trainer_state": state, "log_extra": _ignore, "log_metric": _ignore}
        rewards = {reward.__name__: run_reward(reward, **columns, **given) for reward in self.reward_funcs}
        return [
            Record(
                prompt=row["prompt"],
                completion=answer.sampled.text or "",
                num_tokens=len(answer.sampled.token_ids or ()),
                is_truncated=answer.sampled.finish_reason == "length",
                rewards={name: values[place] for name, values in rewards.items()},
                solution=row.get("solution"),
                is_greedy=answer.is_greedy,
            )
            for place, (row, answer) in enumerate(zip(rows, answers, strict=True))
        ]

    def summarize(self, judged: Sequence[Record], num_samples: int, step: int) -> dict[str, float]:
        """Return the metrics of the completions of all processes, which are kept."""
        rows = [{**vars(record), **record.rewards} for record in judged]
        for row in rows:
            del row["rewards"]  # each has a column of its own
        write_rollouts(self.output_dir, "eval", step, 0, rows)
        return summarize(judged, num_samples, "eval")


def _ignore(name: str, value: object) -> None:
    pass


def write_rollouts(output_dir: Path, mode: str, step: int, number: int, rows: list[dict[str, Any]]) -> None:
    """Write one batch of completions to `rollouts/<mode>-<step>-<number>.parquet`, whole or not at all."""
    folder = output_dir / ROLLOUTS_NAME
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{mode}-{step:06d}-{number}.parquet"
    temporary = path.with_suffix(".tmp")
    pd.DataFrame(rows).assign(step=step).to_parquet(temporary)
    temporary.replace(path)


def evaluate_by_rewards(
    rows: Dataset,
    reward_funcs: Sequence[Callable],
    tokenizer: PreTrainedTokenizerBase,
    script_args: SFTScriptArguments,
    training_args: SFTConfig,
) -> PolicyEvaluation:
    """Return the evaluation of a test split by sampling.

    Args:
        rows: With `prompt` (messages) and the columns that the rewards need.
        reward_funcs: Rewards from `get_reward_funcs`.
        tokenizer: With a chat template.
        script_args: Settings of the sampling.
        training_args: The settings.
    """
    prompts = {number: prompt_token_ids(tokenizer, messages) for number, messages in enumerate(rows["prompt"])}
    batch_size = training_args.per_device_eval_batch_size
    split = RewardSet(
        rows=rows,
        prompts=prompts,
        reward_funcs=reward_funcs,
        batch_size=batch_size,
        output_dir=Path(training_args.output_dir),
        with_greedy=training_args.eval_greedy,
    )
    return PolicyEvaluation(
        sets=[split],
        tokenizer=tokenizer,
        num_samples=script_args.eval_num_generations,
        max_tokens=script_args.eval_max_completion_length,
        batch_size=batch_size,
        temperature=script_args.eval_temperature,
        seed_stride=script_args.eval_num_generations,
    )


def load_eval_benchmarks(
    script_args: TrainingScriptArguments,
    training_args: TrainingConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> PolicyEvaluation | None:
    """Return the benchmarks that the policy answers during the training; None: there are none.

    Raises:
        ValueError: A name is unknown or given twice, a setting is out of its range, or a benchmark can't be read.
    """
    args = training_args
    if not args.eval_benchmarks:
        return None
    settings = _settings_of(script_args, args)
    given: Any = None if isinstance(args, SFTConfig) else args.chat_template_kwargs  # TRL has made a dictionary of it
    folder = Path(args.output_dir) / BENCHMARK_ANSWERS_NAME if args.eval_benchmarks_log_answers else None
    sets = []
    for benchmark in _named_benchmarks(args):
        problems = _load_problems(benchmark, settings)
        prompts = {row: prompt_token_ids(tokenizer, problems.prompts.get(row)[1], given) for row in problems.golds}
        logger.info("%s: %d problems, %d answers to each.", benchmark.name, len(prompts), settings.num_samples)
        sets.append(BenchmarkSet(problems, prompts, folder))
    return PolicyEvaluation(
        sets=sets,
        tokenizer=tokenizer,
        num_samples=args.eval_benchmarks_num_samples,
        max_tokens=args.eval_benchmarks_max_tokens,
        batch_size=args.per_device_eval_batch_size,
        temperature=args.eval_benchmarks_temperature,
        top_p=args.eval_benchmarks_top_p,
        seed=args.eval_benchmarks_seed,
    )


def _load_problems(benchmark: Benchmark, settings: EvaluationSettings) -> Problems:
    try:
        return load_problems(benchmark, settings)
    except ValueError as error:
        text = str(error)
        for flag, name in _SETTINGS.items():
            text = text.replace(flag, name)
        raise ValueError(f"`eval_benchmarks`: {text}") from error


def _named_benchmarks(training_args: TrainingConfig) -> list[Benchmark]:
    """Return the benchmarks; local files with the columns and the split of the settings."""
    args = training_args
    try:
        return [
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


def _settings_of(script_args: TrainingScriptArguments, training_args: TrainingConfig) -> EvaluationSettings:
    """Return the settings as those of scripts/run_benchmarks.py."""
    args = training_args
    system = args.eval_benchmarks_system_prompt
    system = args.system_prompt if system is None else system
    try:
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
    except ValueError as error:
        raise ValueError(f"`eval_benchmarks_...`: {error}") from error
