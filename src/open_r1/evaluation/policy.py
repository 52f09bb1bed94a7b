# SPDX-License-Identifier: Apache-2.0
"""Sample completions of a test split with the policy in training and score them with the rewards of the table.

GRPO's trainer samples by itself; `PolicyEvaluator` gives the same evaluation to SFT, which otherwise knows its loss
only. Greedy and sampled completions are generated in batches, every process taking its share of the prompts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, TrainerState
from trl.models import unwrap_model_for_generation

from open_r1.utils.estimators import Record
from open_r1.utils.trainer import SFTTrainer, text_of


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

        The model is switched to evaluation and back. Random numbers come from torch's current state.
        """
        accelerator = trainer.accelerator
        rows = self._rows_of(accelerator.process_index, accelerator.num_processes)
        jobs = [(row, False) for row in rows for _ in range(self.num_generations)]
        jobs += [(row, True) for row in rows] if self.with_greedy else []
        model = trainer.model_wrapped
        was_training = model.training
        model.eval()
        records: list[Record] = []
        with unwrap_model_for_generation(model, accelerator) as policy:
            for is_greedy in (False, True):
                chosen = [row for row, job_is_greedy in jobs if job_is_greedy == is_greedy]
                steps = range(0, len(chosen), self.batch_size)
                for start in tqdm(steps, desc="Sampling" if not is_greedy else "Decoding greedily",
                                  disable=not accelerator.is_main_process or not chosen, leave=False):  # fmt: skip
                    batch = chosen[start : start + self.batch_size]
                    completion_ids = self._generate(policy, batch, is_greedy)
                    records += self._score(batch, completion_ids, is_greedy, trainer.state)
        model.train(was_training)
        return gather_object(records)

    def _rows_of(self, rank: int, num_processes: int) -> list[dict[str, Any]]:
        # Every process needs the same number of batches, since sharded models generate together; the surplus rows
        # come from the start and are left out of the averages (`summarize`).
        share = math.ceil(len(self.dataset) / num_processes)
        return [self.dataset[(rank + step * num_processes) % len(self.dataset)] for step in range(share)]

    @torch.no_grad()
    def _generate(self, policy: PreTrainedModel, rows: list[dict[str, Any]], is_greedy: bool) -> list[list[int]]:
        tokenizer = self.tokenizer
        inputs = tokenizer.apply_chat_template(
            [row["prompt"] for row in rows],
            add_generation_prompt=True,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            return_dict=True,
        ).to(policy.device)
        sampling = {"do_sample": False} if is_greedy else {"do_sample": True, "temperature": self.temperature,
                                                           "top_k": 0, "top_p": 1.0}  # fmt: skip
        config = GenerationConfig(
            max_new_tokens=self.max_completion_length,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            disable_compile=True,
            **sampling,
        )
        output = policy.generate(**inputs, generation_config=config)[:, inputs["input_ids"].shape[1] :].tolist()
        return [_until_eos(ids, tokenizer.eos_token_id) for ids in output]

    def _score(
        self, rows: list[dict[str, Any]], completion_ids: list[list[int]], is_greedy: bool, state: TrainerState
    ) -> list[Record]:
        texts = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
        columns |= {"prompts": [row["prompt"] for row in rows], "completions": completions}
        # All that GRPO's trainer passes; what a reward logs beside its values is not kept here.
        given = {"completion_ids": completion_ids, "trainer_state": state, "log_extra": _ignore, "log_metric": _ignore}
        rewards = {reward.__name__: reward(**columns, **given) for reward in self.reward_funcs}
        return [
            Record(
                prompt=rows[index]["prompt"],
                completion=text_of(completions[index]),
                num_tokens=len(ids),
                is_truncated=ids[-1:] != [self.tokenizer.eos_token_id],
                rewards={name: values[index] for name, values in rewards.items()},
                solution=rows[index].get("solution"),
                is_greedy=is_greedy,
            )
            for index, ids in enumerate(completion_ids)
        ]


def _ignore(name: str, value: object) -> None:
    pass


def _until_eos(ids: list[int], eos_token_id: int) -> list[int]:
    return ids[: ids.index(eos_token_id) + 1] if eos_token_id in ids else ids
