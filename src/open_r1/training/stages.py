# SPDX-License-Identifier: Apache-2.0
"""Curriculum of a GRPO run: its stage, the prompts of the stage, and when the next one begins.

The training loop, the optimizer and its schedule see nothing of it. The rows of TRL's data loader serve as a clock;
the prompts come from the stream of the stage. All that a rule looks at is the same on every process, so all change
together.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from open_r1.configs import GRPOConfig, GRPOScriptArguments
from open_r1.configs.stages import Stage
from open_r1.rewards import Reward
from open_r1.training.prompts import PromptStream

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
        trials: What these gave perfect completions, before the training.
    """

    stage: Stage
    script_args: GRPOScriptArguments
    args: GRPOConfig
    rows: Dataset
    rewards: Sequence[Reward]
    trials: Sequence[Any] = ()


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

    def enter(self, number: int) -> PreparedStage:
        """Begin a stage and return it; a trainer generates, judges and learns as it says from then on."""
        before, self.number = self._present, number
        present, rule = self._present, self._present.stage.until
        if present.rows is not before.rows:  # else it continues where the stage before left off
            self.stream = self._open_stream()
        self._window = deque(maxlen=0 if rule is None else rule.window)
        logger.info(
            "Stage %d of %d from step %d on: %s", number, len(self._stages), self._first_step + 1, present.stage
        )
        return present

    def note(self, truncated: float, reward: float) -> None:
        """Note a generation batch of all processes: its share of truncated completions, and its mean first reward.

        The mean is NaN where that reward judged nothing.
        """
        self._window.append((truncated, reward))

    def advance(self, step: int) -> PreparedStage | None:
        """Return the next stage if the present one is over before the generation at this step."""
        rule = self._present.stage.until
        truncated, accuracies = zip(*self._window, strict=True) if self._window else ((), ())
        if rule is None or not rule.is_met(step - self._first_step, truncated, accuracies):
            return None
        self._first_step = step
        return self.enter(self.number + 1)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs of it."""
        return {
            "number": self.number,
            "first_step": self._first_step,
            "window": list(self._window),
            "position": self.stream.position,
        }

    def load(self, state: dict[str, Any] | None) -> PreparedStage:
        """Resume a run from a checkpoint, and return its stage.

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
        present = self.enter(saved)
        self._window.extend(state["window"])
        self.stream.position = state["position"]
        return present
