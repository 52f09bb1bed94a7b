# SPDX-License-Identifier: Apache-2.0
"""The curriculum of a GRPO run: it moves a trainer from stage to stage, between two generations.

The training loop, the optimizer and its schedule see nothing of it. The rows of TRL's data loader serve as a clock;
the prompts come from the stream of the stage. All that a rule looks at is the same on every process, so all change
together. Shapes: P prompts of a generation, G completions of a prompt, B rows of this process.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset

from open_r1.configs import GRPOConfig, GRPOScriptArguments
from open_r1.configs.stages import Stage
from open_r1.rewards import Reward
from open_r1.training.prompts import PromptStream

if TYPE_CHECKING:
    from open_r1.training.trainer import GRPOTrainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedStage:
    """A stage with what `grpo.py` has made of its keys.

    Attributes:
        stage: Its overrides and its rule.
        script_args: Data and rewards as they are in it.
        args: The other settings as they are in it.
        rows: Its prompts; the object of the stage before, where the data are the same.
        rewards: Its rewards, in the order of the trainer's.
    """

    stage: Stage
    script_args: GRPOScriptArguments
    args: GRPOConfig
    rows: Dataset
    rewards: Sequence[Reward]


class Curriculum:
    """Says which stage a trainer is in, draws its prompts, and moves on when its rule is met.

    Args:
        stages: In their order.

    Attributes:
        number: Of the present stage, from 1.
        stream: Its prompts.
    """

    def __init__(self, stages: Sequence[PreparedStage]) -> None:
        self.number = 1
        self._stages = stages
        self._first_step = 0
        self._window: deque[tuple[float, float]] = deque()  # truncated share and accuracy of generation batches
        self.stream = self._open_stream()

    @property
    def _present(self) -> PreparedStage:
        return self._stages[self.number - 1]

    def _open_stream(self) -> PromptStream:
        args = self._present.args
        return PromptStream(self._present.rows, args.seed, shuffle=bool(args.shuffle_dataset))

    def enter(self, trainer: "GRPOTrainer", number: int) -> None:
        """Let the trainer generate, judge and learn as a stage says."""
        before, self.number = self._present, number
        present, rule, length = self._present, self._present.stage.until, self._present.args.max_completion_length
        if present.rows is not before.rows:  # else it continues where the stage before left off
            self.stream = self._open_stream()
        self._window = deque(maxlen=0 if rule is None else rule.window)
        trainer.args.num_generations = trainer.num_generations = present.args.num_generations
        trainer.args.max_completion_length = trainer.max_completion_length = length
        if trainer.use_vllm:
            trainer.vllm_generation.max_completion_length = length  # pyrefly: ignore[bad-assignment]
        else:
            trainer.generation_config.max_new_tokens = trainer.generation_kwargs["max_new_tokens"] = length
        trainer.replace_rewards(present.rewards)
        logger.info(
            "Stage %d of %d from step %d on: %s", number, len(self._stages), self._first_step + 1, present.stage
        )

    def note(self, trainer: "GRPOTrainer", is_truncated: Sequence[bool], rewards: torch.Tensor) -> None:
        """Note a generation batch.

        Args:
            trainer: Whose it is.
            is_truncated: Of the B rows of this process.
            rewards: Of all processes' rows by reward; NaN where one judged nothing.
        """
        truncated = torch.tensor(is_truncated, dtype=torch.float32, device=rewards.device)
        share = trainer.accelerator.gather(truncated).mean().item()
        self._window.append((share, rewards[:, 0].nanmean().item()))

    def draw_rows(self, trainer: "GRPOTrainer") -> list[dict[str, Any]]:
        """Return the B rows that this process completes next, of the next stage if this one is over.

        They stand as TRL's sampler deals them: every one of P prompts G times in a row, over the processes in turn.
        """
        self._advance(trainer)
        num_rows, group = trainer.args.generation_batch_size or 0, self._present.args.num_generations or 1
        prompts = self.stream.take(num_rows // group)
        own = num_rows // trainer.accelerator.num_processes
        first = own * trainer.accelerator.process_index
        return [dict(prompts[row // group]) for row in range(first, first + own)]

    def _advance(self, trainer: "GRPOTrainer") -> None:
        rule, step = self._present.stage.until, trainer.state.global_step
        truncated, accuracies = zip(*self._window, strict=True) if self._window else ((), ())
        if rule is None or not rule.is_met(step - self._first_step, truncated, accuracies):
            return
        self._first_step = step
        self.enter(trainer, self.number + 1)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs of it."""
        return {
            "number": self.number,
            "first_step": self._first_step,
            "window": list(self._window),
            "position": self.stream.position,
        }

    def load(self, trainer: "GRPOTrainer", state: dict[str, Any] | None) -> None:
        """Resume a run from a checkpoint.

        Raises:
            ValueError: The run that saved it had no stages, or more of them.
        """
        saved = 0 if state is None else state["number"]
        if state is None or saved > len(self._stages):
            raise ValueError(
                f"The checkpoint was saved in stage {saved or 'of no curriculum'}, and the recipe's `stages` are "
                f"{len(self._stages)}: give it those of that run, or start afresh (`--resume_from_checkpoint false`)."
            )
        self._first_step = state["first_step"]
        self.enter(trainer, saved)
        self._window.extend(state["window"])
        self.stream.position = state["position"]
