# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that the policy in training answers: sampled by all processes, judged, summed up.

    eval_benchmarks: [sums.jsonl]  ->  eval_sums/avg@4, eval_sums/avg@4_low, eval_sums/pass@4, ...

Prompts, judges and metrics are those of `scripts/run_benchmarks.py`. `training.base` says when, and why it is the
trainer's `evaluate` that calls this.

1. Answers come from transformers (each by a seed, the same at every evaluation), or from the vLLM that GRPO samples
   its rollouts with. They end where rollouts do, at `stop_strings` too.
2. Every process has as many problems, so that none waits for long and all call the model together, as ZeRO-3 needs.
   Some problems may be answered twice then, and count once.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from accelerate.utils.memory import clear_device_cache
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase
from trl import GRPOTrainer, SFTTrainer
from trl.models import unwrap_model_for_generation

from open_r1.configs.evaluation import BENCHMARK_ANSWERS_NAME
from open_r1.configs.rewards import CodeExecutionParameters
from open_r1.configs.training import SFTConfig, TrainingConfig, TrainingScriptArguments
from open_r1.evaluation.judges import LOST, JudgingError, judge_of, judged_answers
from open_r1.evaluation.metrics import Metrics
from open_r1.evaluation.prompts import Problems
from open_r1.evaluation.run import answers_file
from open_r1.evaluation.settings import EvaluationArguments
from open_r1.generation.messages import Reply, Request, Sampling
from open_r1.generation.transformers_here import Sampler
from open_r1.generation.vllm_here import sample_by_vllm, stopping_kwargs
from open_r1.models import prompt_token_ids
from open_r1.rewards.rubric import JudgeModel

logger = logging.getLogger(__name__)


Replies = Mapping[tuple[int, int], Reply]  # by row and index


@dataclass(frozen=True)
class BenchmarkSet:
    """A benchmark.

    Attributes:
        problems: Its rows.
        prompts: Tokens of the prompt by the number of the row.
        answers_dir: Every answer is kept in its `<benchmark>/step-<n>.parquet`, what a second judge was asked and said
            in `<benchmark>/judge.jsonl`; None: nothing is.
        second_judge: Gives second verdicts where the verifier abstains.
    """

    problems: Problems
    prompts: Mapping[int, list[int]]
    answers_dir: Path | None = None
    second_judge: JudgeModel | None = None

    @property
    def name(self) -> str:
        """Its name in metrics."""
        return self.problems.benchmark.name

    def metric_names(self, k: int) -> list[str]:
        """Return the names of its metrics, left out where no answer could be judged; programs have no majority."""
        draws = [f"pass@{k}", *([f"maj@{k}"] if self.problems.has_votes else [])] if k > 1 else []
        ends = (f"avg@{k}", f"avg@{k}_low", f"avg@{k}_high", *draws, "truncated", "no_answer", "mean_length_tokens")
        return [f"eval_{self.name}/{end}" for end in ends]

    def summarize(self, replies: Replies, k: int, step: int) -> dict[str, float]:
        """Judge the answers of all processes; return the metrics."""
        metrics, folder = Metrics(self.problems), None if self.answers_dir is None else self.answers_dir / self.name
        judge = judge_of(self.problems, folder, second=self.second_judge)
        try:
            batches = [*judged_answers(self.problems, lambda row, index: replies.get((row, index)), k, judge)]
        except JudgingError as error:  # an outage of the sandbox, or of the second judge, ends no training
            logger.warning("%s: %s", self.name, error)
            return {}
        judged = {row: answers for batch in batches for row, answers in batch.items()}
        for row, answers in judged.items():
            metrics.add(row, answers)
        if folder is not None:
            path = folder / f"step-{step:06d}.parquet"
            folder.mkdir(parents=True, exist_ok=True)
            with answers_file(path, self.problems) as (write, part):
                write(judged)
            part.replace(path)
        figures = {f"eval_{self.name}/{name}": value for name, value in metrics.figures(k).items()}
        if not figures or metrics.verdicts[LOST]:
            logger.warning("%s: not all answers could be judged: %s.", self.name, dict(metrics.verdicts))
        return {name: figures[name] for name in self.metric_names(k) if name in figures}


@dataclass(eq=False)
class PolicyEvaluation:
    """Measures the policy of a trainer.

    Args:
        sets: What is asked, at least one.
        tokenizer: Of the policy.
        num_samples: Answers sampled to each problem.
        max_tokens: Most tokens of an answer.
        batch_size: Answers sampled at once by a process, with transformers.
        temperature: Of the sampling.
        top_p: Of the sampling.
        seed: Of answer 0 to each problem; answer i has `seed + i`.
    """

    sets: Sequence[BenchmarkSet]
    tokenizer: PreTrainedTokenizerBase
    num_samples: int
    max_tokens: int
    batch_size: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    @property
    def metric_names(self) -> list[str]:
        """Names of the metrics that are left out where no answer could be judged."""
        return [name for entry in self.sets for name in entry.metric_names(self.num_samples)]

    def measure(self, trainer: SFTTrainer | GRPOTrainer, step: int) -> dict[str, float]:
        """Return the metrics, the same on every process; all processes call it together.

        Args:
            trainer: Has the policy.
            step: Optimizer steps that have made it.
        """
        accelerator = trainer.accelerator
        draws = self._share(accelerator.process_index, accelerator.num_processes)
        is_vllm = isinstance(trainer, GRPOTrainer) and trainer.use_vllm
        sampled = self._by_vllm(trainer, draws) if is_vllm else self._by_transformers(trainer, draws)
        gathered = gather_object(list(zip(draws, sampled, strict=True)))
        clear_device_cache()
        metrics: list[dict[str, float]] = [{}]
        if accelerator.is_main_process:
            for number, entry in enumerate(self.sets):
                replies = {(row, index): reply for (owner, row, index), reply in gathered if owner == number}
                metrics[0] |= entry.summarize(replies, self.num_samples, step)
        (shared,) = broadcast_object_list(metrics)
        return shared

    def _share(self, rank: int, num_processes: int) -> list[tuple[int, int, int]]:
        """Return set, row and index of what a process draws; a problem's follow each other."""
        problems = [(number, row) for number, entry in enumerate(self.sets) for row in entry.prompts]
        share = -(-len(problems) // num_processes)
        own = [problems[(rank + turn * num_processes) % len(problems)] for turn in range(share)]
        return [(*problem, index) for problem in own for index in range(self.num_samples)]

    def _by_transformers(self, trainer: Any, draws: Sequence[tuple[int, int, int]]) -> list[Reply]:
        stop = tuple(trainer.args.stop_strings or ()) if isinstance(trainer, GRPOTrainer) else ()
        sampling = Sampling(
            self.temperature,
            self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
            stop=stop,
            extra_body={"include_stop_str_in_output": bool(stop)},
        )
        requests = [
            Request(str(row), index, prompt_ids=self.sets[number].prompts[row], sampling=sampling)
            for number, row, index in draws
        ]
        is_shown = trainer.accelerator.is_main_process and not trainer.args.disable_tqdm
        with (
            unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as policy,
            tqdm(total=len(requests), desc="Sampling", disable=None if is_shown else True, leave=False) as bar,
        ):
            sampler = Sampler(policy, self.tokenizer, self.batch_size)
            return sampler.sample(requests, on_done=lambda place, answer: bar.update())

    def _by_vllm(self, trainer: Any, draws: Sequence[tuple[int, int, int]]) -> list[Reply]:
        # A server has its own random state, which only a seed in the request reaches; answer i gets seed + i there.
        # In this process vLLM draws from torch's, which is seeded for the evaluation.
        seed = {"seed": self.seed} if trainer.args.vllm_mode == "server" else {}
        given = trainer.args.generation_kwargs or {}
        own_stop = {name: given[name] for name in ("stop",) if name in given}
        ends = trainer.eos_token_ids
        completions = sample_by_vllm(
            trainer,
            [self.sets[number].prompts[row] for number, row, _ in draws[:: self.num_samples]],
            self.num_samples,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0,
            min_p=None,
            repetition_penalty=1.0,
            max_completion_length=self.max_tokens,
            structured_outputs_regex=None,
            generation_kwargs=stopping_kwargs({**seed, **own_stop}, ends, trainer.args.stop_strings),
        )
        return [answer_of_tokens(ids, ends, self.tokenizer) for ids in completions]


def answer_of_tokens(ids: Sequence[int], ends: Collection[int], tokenizer: PreTrainedTokenizerBase) -> Reply:
    """Return an answer by its tokens; the text is without the one of `ends` that ended it."""
    is_ended = bool(ids) and ids[-1] in ends
    text = tokenizer.decode(ids[:-1] if is_ended else ids, skip_special_tokens=True)
    assert isinstance(text, str)
    usage = {"completion_tokens": len(ids)}
    return Reply(text, "stop" if is_ended else "length", usage, token_ids=list(ids))


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
    system = args.system_prompt if args.eval_benchmarks_system_prompt is None else args.eval_benchmarks_system_prompt
    given: Any = None if isinstance(args, SFTConfig) else args.chat_template_kwargs  # TRL has made a dictionary of it
    folder = Path(args.output_dir) / BENCHMARK_ANSWERS_NAME if args.eval_benchmarks_log_answers else None
    names = ("split", "prompt_column", "solution_column", "kind", "judge", "judge_url", "judge_model", "judge_key_env",
             "num_samples", "limit", "max_tokens", "temperature", "top_p")  # fmt: skip
    settings = {name: getattr(args, f"eval_benchmarks_{name}") for name in names}
    # Programs have the limits of `run_benchmarks.py`, whatever those of the rewards are.
    settings |= {entry.name: getattr(script_args, entry.name) for entry in fields(CodeExecutionParameters)
                 if entry.name not in ("code_test_timeout_s", "code_memory_mb")}  # fmt: skip
    sets = []
    try:
        asked = EvaluationArguments(
            model_id=["policy"],
            benchmarks=args.eval_benchmarks,
            seed=[args.eval_benchmarks_seed],
            prompt_template=args.eval_benchmarks_template,
            system_prompt=system,
            **settings,
        )
        for benchmark in asked.chosen():
            problems = asked.load(benchmark)
            prompts = {
                row: prompt_token_ids(tokenizer, list(problem.messages), given)
                for row, problem in problems.by_row.items()
            }
            logger.info("%s: %d problems, %d answers to each.", benchmark.name, len(prompts), asked.num_samples)
            sets.append(BenchmarkSet(problems, prompts, folder, asked.second_judge))
    except ValueError as error:
        raise ValueError(f"`eval_benchmarks`: {error}") from error
    return PolicyEvaluation(
        sets=sets,
        tokenizer=tokenizer,
        num_samples=args.eval_benchmarks_num_samples,
        max_tokens=args.eval_benchmarks_max_tokens,
        batch_size=args.per_device_eval_batch_size,
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=args.eval_benchmarks_seed,
    )
