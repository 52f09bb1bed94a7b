# SPDX-License-Identifier: Apache-2.0
"""Sample completions of a test split with the policy in training and score them with the rewards of the table.

GRPO's trainer samples by itself; `PolicyEvaluator` gives the same evaluation to SFT, which otherwise knows its loss
only. Greedy and sampled completions share batches, every process taking its share of the prompts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, TrainerState
from trl import SFTTrainer
from trl.models import unwrap_model_for_generation

from open_r1.evaluation.estimators import Record
from open_r1.evaluation.sampling.batch_sampling import BatchSampler, SampleRequest
from open_r1.evaluation.sampling.open_answer import Sampled


@dataclass
class PolicyEvaluator:
    """Called with a trainer, returns its policy's completions of `dataset`, scored.

    Args:
        dataset: Rows with `prompt` (messages) and the columns that the rewards need.
        reward_funcs: Rewards from `get_reward_funcs`.
        tokenizer: Tokenizer with chat template.
        num_generations: Completions sampled per prompt.
        temperature: Sampling temperature.
        max_completion_length: Tokens generated at most.
        batch_size: Completions generated at once on a device.
        with_greedy: Also decode every prompt greedily.
    """

    dataset: Dataset
    reward_funcs: Sequence[Callable]
    tokenizer: PreTrainedTokenizerBase
    num_generations: int
    temperature: float
    max_completion_length: int
    batch_size: int
    with_greedy: bool = False

    def __call__(self, trainer: SFTTrainer) -> list[Record]:
        """Evaluate; every process returns the records of all.

        The model is switched to evaluation and back. Each evaluation draws by the same seeds.
        """
        accelerator = trainer.accelerator
        numbers = self._numbers_of(accelerator.process_index, accelerator.num_processes)
        jobs = [
            _Job(self.dataset[number], number * self.num_generations + index, is_greedy=False)
            for number in numbers
            for index in range(self.num_generations)
        ]
        jobs += [_Job(self.dataset[number], 0, is_greedy=True) for number in numbers] if self.with_greedy else []
        prompts = [self._prompt_ids(job) for job in jobs]
        model = trainer.model_wrapped
        was_training = model.training
        model.eval()
        with (
            unwrap_model_for_generation(model, accelerator) as policy,
            tqdm(total=len(jobs), desc="Sampling", disable=not accelerator.is_main_process, leave=False) as bar,
        ):
            # As far as is asked for, also where that is beyond the context.
            longest = max(map(len, prompts)) + self.max_completion_length
            sampler = BatchSampler(policy, self.tokenizer, self.batch_size, longest)
            requests = [self._request(job, prompt) for job, prompt in zip(jobs, prompts, strict=True)]
            answers = sampler.sample(requests, on_done=lambda place, answer: bar.update())
        model.train(was_training)
        records: list[Record] = []
        for start in range(0, len(jobs), self.batch_size):
            part = slice(start, start + self.batch_size)
            records += self._score(jobs[part], answers[part], trainer.state)
        return gather_object(records)

    def _numbers_of(self, rank: int, num_processes: int) -> list[int]:
        # Every process has the same number of prompts, so that none waits for long; the surplus rows come from the
        # start and are left out of the averages (`summarize`).
        share = math.ceil(len(self.dataset) / num_processes)
        return [(rank + step * num_processes) % len(self.dataset) for step in range(share)]

    def _prompt_ids(self, job: "_Job") -> list[int]:
        return self.tokenizer.apply_chat_template(job.row["prompt"], add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]

    def _request(self, job: "_Job", prompt_ids: list[int]) -> SampleRequest:
        temperature = 0.0 if job.is_greedy else self.temperature
        return SampleRequest(prompt_ids, self.max_completion_length, temperature, seed=job.seed)

    def _score(self, jobs: Sequence["_Job"], answers: Sequence[Sampled], state: TrainerState) -> list[Record]:
        rows = [job.row for job in jobs]
        completions = [[{"role": "assistant", "content": answer.text}] for answer in answers]
        columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
        columns |= {"prompts": [row["prompt"] for row in rows], "completions": completions}
        # All that GRPO's trainer passes; what a reward logs beside its values is not kept here.
        completion_ids = [answer.token_ids for answer in answers]
        given = {"completion_ids": completion_ids, "trainer_state": state, "log_extra": _ignore, "log_metric": _ignore}
        rewards = {reward.__name__: reward(**columns, **given) for reward in self.reward_funcs}
        return [
            Record(
                prompt=job.row["prompt"],
                completion=text_of(completions[index]),
                num_tokens=len(answer.token_ids),
                is_truncated=answer.finish_reason == "length",
                rewards={name: values[index] for name, values in rewards.items()},
                solution=job.row.get("solution"),
                is_greedy=job.is_greedy,
            )
            for index, (job, answer) in enumerate(zip(jobs, answers, strict=True))
        ]


@dataclass(frozen=True)
class _Job:
    row: dict[str, Any]
    seed: int
    is_greedy: bool


def _ignore(name: str, value: object) -> None:
    pass


def text_of(completion: str | list[dict[str, Any]]) -> str:
    """Return the text of a completion: plain, or the messages' contents one after the other."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message.get("content") or "") for message in completion)
