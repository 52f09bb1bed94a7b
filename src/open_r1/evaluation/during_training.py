# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the policy in training by its answers: one way to share, sample and judge them.

    each process answers its share of the problems -> it judges its answers, or leaves that to the first process
    -> the first process sums up, and hands the metrics to all

What is asked, and by what it is judged, is an `EvalSet` (`eval_sets`): benchmarks, or a test split with rewards.
`training.base` says when, and why it is the trainer's `evaluate` that calls this.

1. Answers come from transformers (each by a seed of its own, the same at every evaluation), or from the vLLM that
   GRPO samples its rollouts with. They end where rollouts do, at `stop_strings` too.
2. Every process has as many problems, so that none waits for long and all call the model together, as ZeRO-3 needs.
   Some problems may be answered twice then: a set counts each once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from accelerate.utils import broadcast_object_list, gather_object
from accelerate.utils.memory import clear_device_cache
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, TrainerState
from trl import GRPOTrainer, SFTTrainer
from trl.models import unwrap_model_for_generation

from open_r1.generation.messages import Reply, Request, Sampling
from open_r1.generation.transformers_here import Sampler
from open_r1.generation.vllm_here import sample_by_vllm, stopping_kwargs


@dataclass(frozen=True)
class PolicyAnswer:
    """An answer of the policy.

    Attributes:
        row: Number of the problem.
        index: Which of its answers.
        is_greedy: Decoded greedily, not sampled.
        sampled: Text, tokens, and why it ended.
    """

    row: int
    index: int
    is_greedy: bool
    sampled: Reply


class EvalSet(Protocol):
    """Problems, and what judges the answers to them."""

    @property
    def prompts(self) -> Mapping[int, list[int]]:
        """Tokens of the prompts, by the number of the problem."""
        ...

    @property
    def with_greedy(self) -> bool:
        """Whether each problem is decoded greedily too (by transformers alone)."""
        ...

    def metric_names(self, num_samples: int) -> list[str]:
        """Return the names of the metrics that are left out where no answer could be judged."""
        ...

    def judge(self, answers: Sequence[PolicyAnswer], state: TrainerState) -> list[Any]:
        """Return what this process says of its answers: the first one gets that of all."""
        ...

    def summarize(self, judged: Sequence[Any], num_samples: int, step: int) -> dict[str, float]:
        """Return the metrics, on the first process alone; it may keep the answers in a file of the step."""
        ...


@dataclass(frozen=True)
class _Draw:
    """An answer to be drawn: number of the set, of the problem in it, and of the answer."""

    entry: int
    row: int
    index: int = 0
    is_greedy: bool = False


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
        seed: Of answer 0 to problem 0; answer i to problem r has `seed + r * seed_stride + i`.
        seed_stride: 0: answer i has the same seed for all problems.
    """

    sets: Sequence[EvalSet]
    tokenizer: PreTrainedTokenizerBase
    num_samples: int
    max_tokens: int
    batch_size: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    seed_stride: int = 0

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
        judged = [
            gather_object(entry.judge(answers, trainer.state))
            for entry, answers in zip(self.sets, self._answer(trainer), strict=True)
        ]
        clear_device_cache()
        metrics: list[dict[str, float]] = [{}]
        if trainer.accelerator.is_main_process:
            for entry, found in zip(self.sets, judged, strict=True):
                metrics[0] |= entry.summarize(found, self.num_samples, step)
        (shared,) = broadcast_object_list(metrics)
        return shared

    def _answer(self, trainer: SFTTrainer | GRPOTrainer) -> list[list[PolicyAnswer]]:
        """Return this process's answers to each set."""
        draws = self._share(trainer.accelerator.process_index, trainer.accelerator.num_processes)
        if isinstance(trainer, GRPOTrainer) and trainer.use_vllm:
            sampled = self._by_vllm(trainer, draws)
        else:
            sampled = self._by_transformers(trainer, draws)
        answers: list[list[PolicyAnswer]] = [[] for _ in self.sets]
        for draw, one in zip(draws, sampled, strict=True):
            answers[draw.entry].append(PolicyAnswer(draw.row, draw.index, draw.is_greedy, one))
        return answers

    def _share(self, rank: int, num_processes: int) -> list[_Draw]:
        """Return what a process draws; the answers to a problem follow each other, greedy ones come last."""
        problems = [(number, row) for number, entry in enumerate(self.sets) for row in entry.prompts]
        share = -(-len(problems) // num_processes)
        own = [problems[(rank + turn * num_processes) % len(problems)] for turn in range(share)]
        sampled = [_Draw(number, row, index) for number, row in own for index in range(self.num_samples)]
        return sampled + [_Draw(number, row, 0, True) for number, row in own if self.sets[number].with_greedy]

    def _prompt(self, draw: _Draw) -> list[int]:
        return self.sets[draw.entry].prompts[draw.row]

    def _by_transformers(self, trainer: SFTTrainer | GRPOTrainer, draws: Sequence[_Draw]) -> list[Reply]:
        stop = tuple(trainer.args.stop_strings or ()) if isinstance(trainer, GRPOTrainer) else ()
        sampling = Sampling(
            self.temperature,
            self.top_p,
            max_tokens=self.max_tokens,
            stop=stop,
            extra_body={"include_stop_str_in_output": bool(stop)},
        )
        requests = [
            Request(
                str(draw.row),
                draw.index,
                prompt_ids=self._prompt(draw),
                sampling=replace(
                    sampling,
                    temperature=0.0 if draw.is_greedy else self.temperature,
                    seed=self.seed + draw.row * self.seed_stride,
                ),
            )
            for draw in draws
        ]
        is_shown = trainer.accelerator.is_main_process and not trainer.args.disable_tqdm
        with (
            unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as policy,
            tqdm(total=len(requests), desc="Sampling", disable=None if is_shown else True, leave=False) as bar,
        ):
            sampler = Sampler(policy, self.tokenizer, self.batch_size)
            return sampler.sample(requests, on_done=lambda place, answer: bar.update())

    def _by_vllm(self, trainer: GRPOTrainer, draws: Sequence[_Draw]) -> list[Reply]:
        # A server has its own random state, which only a seed in the request reaches; answer i gets seed + i there.
        # In this process vLLM draws from torch's, which is seeded for the evaluation.
        seed = {"seed": self.seed} if trainer.args.vllm_mode == "server" else {}
        given = trainer.args.generation_kwargs or {}
        own_stop = {name: given[name] for name in ("stop",) if name in given}
        ends = trainer.eos_token_ids
        completions = sample_by_vllm(
            trainer,
            [self._prompt(draw) for draw in draws[:: self.num_samples]],
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
    return Reply(text, "stop" if is_ended else "length", token_ids=list(ids))
