# SPDX-License-Identifier: Apache-2.0
"""Trainers that take completions from a test, so that two of them compute gradients from the same."""

from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from open_r1.configs import GRPOConfig
from open_r1.training.trainer import GRPOTrainer

NUM_ROWS, NUM_MICRO_BATCHES = 16, 4


class GivenRollouts:
    """In place of generation and rewards: `rollouts`, as TRL returns them."""

    rollouts: dict[str, Any]

    def _generate_and_score_completions(self, inputs):
        return dict(self.rollouts)


class BareTrainer(GivenRollouts, trl.GRPOTrainer):
    """TRL's own."""


class OwnTrainer(GivenRollouts, GRPOTrainer):
    """The trainer of this project."""


def build_given(
    trainer_class: type, model: Path, output_dir: Path, peft_config: Any = None, **settings: Any
) -> trl.GRPOTrainer:
    """Return a trainer without an optimizer; four micro-batches of 4 rows make a generation and a step."""
    args = GRPOConfig(
        output_dir=str(output_dir),
        per_device_train_batch_size=NUM_ROWS // NUM_MICRO_BATCHES,
        **{
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "gradient_accumulation_steps": NUM_MICRO_BATCHES,
            "num_generations": 4,
            "max_completion_length": 12,
            "beta": 0.04,
            **settings,
        },
    )
    trainer = trainer_class(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        reward_funcs=[lambda completions, **columns: [0.0] * len(completions)],
        args=args,
        train_dataset=Dataset.from_dict({"prompt": ["1+1"] * NUM_ROWS}),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=peft_config,
    )
    trainer.current_gradient_accumulation_steps = args.gradient_accumulation_steps
    trainer.model.train()
    return trainer


def make_rollouts(
    seed: int = 0,
    num_truncated: int = 3,
    has_tool_mask: bool = True,
    importance: str | None = None,
) -> dict[str, Any]:
    """Return random rollouts: prompts of 2 to 9 tokens, completions of 1 to 12, two columns beyond the longest each.

    Args:
        seed: Of all values.
        num_truncated: Rows whose completion is masked, as by `mask_truncated_completions`.
        has_tool_mask: Whether some tokens are no policy's.
        importance: Of `importance_sampling_ratio`: per "token", per "sequence", or None for no such ratio.
    """
    source = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0, mean: float = 0.0) -> torch.Tensor:
        return mean + scale * torch.randn(shape, generator=source)

    prompt_mask = (torch.arange(11) >= 11 - torch.randint(2, 10, (NUM_ROWS, 1), generator=source)).long()
    completion_mask = (torch.arange(14) < torch.randint(1, 13, (NUM_ROWS, 1), generator=source)).long()
    completion_mask[:num_truncated] = 0
    rollouts = {
        "prompt_ids": torch.randint(7, 100, (NUM_ROWS, 11), generator=source) * prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(7, 100, (NUM_ROWS, 14), generator=source),
        "completion_mask": completion_mask,
        "advantages": draw(NUM_ROWS),
        # A model with random weights gives each of its 103 tokens about this log-prob.
        "old_per_token_logps": draw(NUM_ROWS, 14, scale=0.3, mean=-4.6),
        "ref_per_token_logps": draw(NUM_ROWS, 14, scale=0.3, mean=-4.6),
    }
    mask = completion_mask
    if has_tool_mask:
        rollouts["tool_mask"] = (torch.rand(NUM_ROWS, 14, generator=source) < 0.7).long()
        mask = mask * rollouts["tool_mask"]
    if importance is not None:
        ratio = draw(NUM_ROWS, 14 if importance == "token" else 1, scale=0.3).exp()
        rollouts["importance_sampling_ratio"] = torch.where(mask > 0, ratio, 1.0) if importance == "token" else ratio
    rollouts["num_items_in_batch"] = mask.sum()
    return rollouts


def gradients_of(trainer: trl.GRPOTrainer, rollouts: dict[str, Any]) -> list[torch.Tensor]:
    """Return the gradient of each optimizer step of one generation batch, all parameters in one vector."""
    trainer.rollouts, trainer._buffered_inputs = rollouts, None
    window = trainer.args.gradient_accumulation_steps
    torch.manual_seed(0)  # TRL shuffles rows: both trainers alike
    gradients = []
    for step in range(trainer.args.steps_per_generation):
        trainer._step = step
        trainer.compute_loss(trainer.model, trainer._prepare_inputs([])).backward()
        if (step + 1) % window == 0 or step + 1 == trainer.args.steps_per_generation:
            gradients.append(
                torch.cat([weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None])
            )
            trainer.model.zero_grad()
    return gradients
