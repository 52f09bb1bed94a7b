# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that the policy in training answers (`eval_benchmarks`), sampled and judged as by run_benchmarks.py.

`training.base` says when, and why it is the trainer's `evaluate` that calls this.

1. Answers come from transformers (each by a seed of its own, the same at every evaluation), or from the vLLM that
   GRPO samples its rollouts with. Every process answers its share of the problems. They end where rollouts do, at
   `stop_strings` too.
2. The first process judges all answers, with the judge and the estimators of saved models' evaluation.
3. Metrics are named by the answers that were asked for, so that a curve has one name. Should a judgement be lost,
   avg@k is from those that are there, and pass@k and maj@k, which fall with k, are from the problems that have all.
"""

import logging
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object
from accelerate.utils.memory import clear_device_cache
from transformers import PreTrainedTokenizerBase
from trl import GRPOTrainer, SFTTrainer
from trl.models import unwrap_model_for_generation

from open_r1.evaluation.judgement import JudgingError
from open_r1.evaluation.judging import judged_answers
from open_r1.evaluation.problems import Problems
from open_r1.evaluation.results import ANSWERS_NAME, AnswersFile
from open_r1.evaluation.sampling.batch_sampling import BatchSampler, SampleRequest
from open_r1.evaluation.sampling.vllm_sampling import sample_by_vllm, stopping_kwargs
from open_r1.evaluation.tally import Tally
from open_r1.generation.requests import Sampling
from open_r1.models import end_token_ids

logger = logging.getLogger(__name__)

RUNTIME_METRIC = "eval_benchmarks_runtime_s"


@dataclass(frozen=True)
class TrainingBenchmark:
    """A benchmark whose prompts are rendered.

    Attributes:
        problems: Its rows.
        prompts: Tokens of the prompt by the number of the row.
    """

    problems: Problems
    prompts: Mapping[int, list[int]]

    @property
    def name(self) -> str:
        """Its name in metrics."""
        return self.problems.benchmark.name


@dataclass(frozen=True)
class _Place:
    """A problem: number of the benchmark, and of the row in it."""

    benchmark: int
    row: int


@dataclass
class TrainingBenchmarks:
    """Measures the policy of a trainer; see `training.base.PolicyBenchmarks`.

    Args:
        benchmarks: What is asked, at least one.
        tokenizer: Of the policy.
        sampling: How answers are drawn: temperature, top_p, max_tokens and seed are read.
        num_samples: Answers a problem.
        batch_size: Answers sampled at once by a process, with transformers.
        answers_dir: Every answer is kept below it, in `<benchmark>/step-<n>.parquet`; None: none is.
    """

    benchmarks: Sequence[TrainingBenchmark]
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling
    num_samples: int
    batch_size: int
    answers_dir: Path | None = None

    @property
    def metric_names(self) -> list[str]:
        """Names of the metrics, as they are logged."""
        return [
            f"eval_{entry.name}/{name}"
            for entry in self.benchmarks
            for name in metric_names(self.num_samples, entry.problems.benchmark.kind)
        ]

    def measure(self, trainer: SFTTrainer | GRPOTrainer, step: int) -> dict[str, float]:
        """Return the metrics, the same on every process; all processes call it together."""
        started = time.perf_counter()
        found = gather_object(self._answer(trainer))
        clear_device_cache()
        metrics: list[dict[str, float]] = [{}]
        if trainer.accelerator.is_main_process:
            metrics = [self._judge(found, step)]
        (shared,) = broadcast_object_list(metrics)
        return shared | {RUNTIME_METRIC: round(time.perf_counter() - started, 4)}

    def _answer(self, trainer: SFTTrainer | GRPOTrainer) -> list[tuple[_Place, dict[str, Any]]]:
        """Return this process's answers."""
        places = self._share(trainer.accelerator.process_index, trainer.accelerator.num_processes)
        if isinstance(trainer, GRPOTrainer) and trainer.use_vllm:
            answers = self._by_vllm(trainer, places)
        else:
            answers = self._by_transformers(trainer, places)
        owners = [place for place in places for _ in range(self.num_samples)]
        return [
            (place, {"index": number % self.num_samples, "error": None, **answer})
            for number, (place, answer) in enumerate(zip(owners, answers, strict=True))
        ]

    def _share(self, rank: int, num_processes: int) -> list[_Place]:
        """Return the problems that a process answers: as many for each, so some problems may be answered twice."""
        places = [_Place(number, row) for number, entry in enumerate(self.benchmarks) for row in entry.prompts]
        share = -(-len(places) // num_processes)
        return [places[(rank + step * num_processes) % len(places)] for step in range(share)]

    def _prompt(self, place: _Place) -> list[int]:
        return self.benchmarks[place.benchmark].prompts[place.row]

    def _by_transformers(self, trainer: SFTTrainer | GRPOTrainer, places: Sequence[_Place]) -> Iterator[dict]:
        settings = self.sampling
        stop = tuple(trainer.args.stop_strings or ()) if isinstance(trainer, GRPOTrainer) else ()
        requests = [
            SampleRequest(
                prompt_ids=self._prompt(place),
                max_tokens=settings.max_tokens,
                temperature=1.0 if settings.temperature is None else settings.temperature,
                top_p=1.0 if settings.top_p is None else settings.top_p,
                seed=(settings.seed or 0) + index,
                stop=stop,
                include_stop=bool(stop),
            )
            for place in places
            for index in range(self.num_samples)
        ]
        model = trainer.model_wrapped
        was_training = model.training
        model.eval()
        with unwrap_model_for_generation(model, trainer.accelerator) as policy:
            sampled = BatchSampler(policy, self.tokenizer, self.batch_size).sample(requests)
        model.train(was_training)
        for answer in sampled:
            yield _record(answer.text, answer.finish_reason, len(answer.token_ids))

    def _by_vllm(self, trainer: GRPOTrainer, places: Sequence[_Place]) -> Iterator[dict]:
        settings = self.sampling
        # A server has its own random state, which only a seed in the request reaches; answer i gets seed + i there.
        # In this process vLLM draws from torch's, which is seeded for the evaluation.
        seed = {"seed": settings.seed or 0} if trainer.args.vllm_mode == "server" else {}
        ends = end_token_ids(self.tokenizer, trainer.model.generation_config)
        completions = sample_by_vllm(
            trainer,
            [self._prompt(place) for place in places],
            self.num_samples,
            temperature=1.0 if settings.temperature is None else settings.temperature,
            top_p=1.0 if settings.top_p is None else settings.top_p,
            top_k=0,
            min_p=None,
            repetition_penalty=1.0,
            max_completion_length=settings.max_tokens,
            structured_outputs_regex=None,
            generation_kwargs=stopping_kwargs(seed, ends, trainer.args.stop_strings),
        )
        for ids in completions:
            yield record_of_tokens(ids, ends, self.tokenizer)

    def _judge(self, found: Sequence[tuple[_Place, dict[str, Any]]], step: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for number, entry in enumerate(self.benchmarks):
            answers = _Answers(
                {(place.row, record["index"]): record for place, record in found if place.benchmark == number}
            )
            tally = self._tally(entry, answers, step)
            figures = figures_of(entry, tally, self.num_samples)
            metrics |= {f"eval_{entry.name}/{name}": value for name, value in figures.items()}
        return metrics

    def _tally(self, entry: TrainingBenchmark, answers: "_Answers", step: int) -> Tally:
        tally, kept = Tally(entry.problems), []
        try:
            for batch in judged_answers(entry.problems, answers, self.num_samples):
                for of_a_problem in batch:
                    tally.add(of_a_problem)
                    kept += of_a_problem if self.answers_dir is not None else []
        except JudgingError as error:  # an outage of the sandbox ends no training
            logger.warning("%s: %s", entry.name, error)
            return Tally(entry.problems)
        if self.answers_dir is not None:
            folder = self.answers_dir / entry.name
            folder.mkdir(parents=True, exist_ok=True)
            with AnswersFile(folder, entry.problems) as file:
                file.write(kept)
            (folder / ANSWERS_NAME).replace(folder / f"step-{step:06d}.parquet")
        return tally


class _Answers:
    """Answers by row and index, as `judged_answers` reads them."""

    def __init__(self, records: Mapping[tuple[int, int], dict[str, Any]]) -> None:
        self._records = records

    def get(self, row: int, index: int) -> dict[str, Any] | None:
        """Return an answer."""
        return self._records.get((row, index))


def _record(text: str, finish_reason: str, num_tokens: int) -> dict[str, Any]:
    return {"text": text, "finish_reason": finish_reason, "usage": {"completion_tokens": num_tokens}}


def record_of_tokens(ids: Sequence[int], ends: Collection[int], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the record of an answer by its tokens; the text is without the one of `ends` that ended it."""
    is_ended = bool(ids) and ids[-1] in ends
    text = tokenizer.decode(ids[:-1] if is_ended else ids, skip_special_tokens=True)
    assert isinstance(text, str)
    return _record(text, "stop" if is_ended else "length", len(ids))


def metric_names(num_samples: int, kind: str) -> list[str]:
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


def figures_of(entry: TrainingBenchmark, tally: Tally, num_samples: int) -> dict[str, float]:
    """Return the metrics of a benchmark; those that nothing can be said about are left out."""
    if all(math.isnan(score) for row in tally.scores_PG for score in row):
        logger.warning(
            "%s: no answer could be judged (%s); there are no figures of this evaluation.",
            entry.name,
            dict(tally.verdicts),
        )
        return {}
    found = tally.metrics(num_samples)
    judged = [count for row in range(len(tally.scores_PG)) if (count := tally.num_judged(row))]
    if fewer := sum(count < num_samples for count in judged):
        logger.warning(
            "%s: of %d problems fewer than %d answers could be judged (%s): of this evaluation pass@%d and "
            "the like are over the %d others.",
            entry.name,
            fewer,
            num_samples,
            dict(tally.verdicts),
            num_samples,
            len(judged) - fewer,
        )
    return {name: found[name] for name in metric_names(num_samples, entry.problems.benchmark.kind) if name in found}
