# SPDX-License-Identifier: Apache-2.0
"""Stages of a GRPO run (a curriculum): what each one overrides, and when the next one begins. Needs no torch.

    max_completion_length: 8192
    stages:
      - until: {steps: 2080}
      - max_completion_length: 16384
        num_generations: 16
        until: {steps: 1920, truncated_above: 0.25}
      - max_completion_length: 24576

An override holds from its stage on, until a later stage overrides it again. The last stage lasts until `max_steps`.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from open_r1.configs.rewards import RewardParameters

_GENERATION_KEYS = ("num_generations", "max_completion_length")
_DATA_KEYS = (
    *("dataset_name", "dataset_config", "dataset_mixture", "dataset_revision", "dataset_layout", "dataset_seed"),
    *("dataset_train_split", "dataset_prompt_column", "dataset_solution_column"),
)
STAGE_KEYS = (*_GENERATION_KEYS, *_DATA_KEYS, *(parameter.name for parameter in fields(RewardParameters)))
"""Keys of a recipe that a stage may override."""


@dataclass(frozen=True)
class StageRule:
    """When a stage ends: before the first generation at which one of these holds.

    Attributes:
        steps: Optimizer steps since the stage began, at least.
        truncated_above: Share of completions that end at `max_completion_length`, in [0, 1).
        accuracy_above: Mean of the first reward in `reward_funcs`, on that reward's own scale.
        window: Generation batches of this stage over which the two are averaged; with fewer neither holds.
    """

    steps: int | None = None
    truncated_above: float | None = None
    accuracy_above: float | None = None
    window: int = 20

    def __post_init__(self) -> None:
        ranges = {"steps": (1, math.inf), "truncated_above": (0, 1), "accuracy_above": (-math.inf, math.inf)}
        given = {name: getattr(self, name) for name in ranges if getattr(self, name) is not None}
        if not given:
            raise ValueError("`until` needs one of `steps`, `truncated_above` and `accuracy_above`.")
        for name, value in given.items():
            least, most = ranges[name]
            if isinstance(value, str) or not least <= value <= most:
                raise ValueError(f"`until.{name}` is {value!r}: it must be a number from {least} to {most}.")

    def is_met(self, num_steps: int, truncated: Sequence[float], accuracies: Sequence[float]) -> bool:
        """Whether the stage is over.

        Args:
            num_steps: Optimizer steps since it began.
            truncated: Of each of its last generation batches the share of completions cut off.
            accuracies: Of the same batches the mean of the first reward; NaN, where it judged none, holds no rule.
        """
        if self.steps is not None and num_steps >= self.steps:
            return True
        limits = ((truncated, self.truncated_above), (accuracies, self.accuracy_above))
        return any(
            limit is not None and len(values) >= self.window and fmean(values[-self.window :]) > limit
            for values, limit in limits
        )


@dataclass(frozen=True)
class Stage:
    """A stage of a run.

    Attributes:
        overrides: Values by key of the recipe, those of earlier stages included.
        until: When it ends; None for the last one.
    """

    overrides: Mapping[str, Any]
    until: StageRule | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The overrides that choose its rows."""
        return {name: value for name, value in self.overrides.items() if name in _DATA_KEYS}

    def apply(self, script_args: Any, training_args: Any) -> tuple[Any, Any]:
        """Return the arguments that hold in this stage.

        Args:
            script_args: `GRPOScriptArguments` of the recipe.
            training_args: Its `GRPOConfig`.

        Raises:
            ValueError: An override doesn't go with the recipe's other keys.
        """
        own = {name: value for name, value in self.overrides.items() if name not in _GENERATION_KEYS}
        if self.data:  # evaluations read the recipe's own, so these need no test split
            own["dataset_test_split"] = own.get("dataset_train_split", script_args.dataset_train_split)
        # Checking the arguments of a training again would check what that has changed in them.
        changed = copy.copy(training_args)
        for name in self.overrides.keys() - own.keys():
            setattr(changed, name, self.overrides[name])
        # Evaluations sample as many completions of a problem in each stage.
        changed.num_generations_eval = training_args.num_generations_eval or training_args.num_generations
        return replace(script_args, **own), changed

    def __str__(self) -> str:
        return f"{dict(self.overrides) or 'as in the recipe'}, until {self.until or 'max_steps'}"


def build_stages(value: Any) -> list[Stage]:
    """Return the stages of the key `stages`; without one a run is a single stage.

    Raises:
        ValueError: The list has the wrong shape, an unknown key, a key that can't be overridden, or a bad rule.
    """
    entries = [{}] if value is None else value
    if not (isinstance(entries, list) and entries and all(isinstance(entry, Mapping) for entry in entries)):
        raise ValueError(f"`stages` must be a list of mappings, got: {value!r}")
    stages: list[Stage] = []
    overrides: dict[str, Any] = {}
    for number, entry in enumerate(entries, start=1):
        own = {name: setting for name, setting in entry.items() if name != "until"}
        unknown = sorted(own.keys() - set(STAGE_KEYS))
        if unknown:
            raise ValueError(
                f"Stage {number} of `stages` has {unknown}, which hold for the whole run or don't exist. A stage can "
                f"have `until` and override {', '.join(STAGE_KEYS)}."
            )
        for name, least in (("num_generations", 2), ("max_completion_length", 1)):
            if type(own.get(name, least)) is not int or own.get(name, least) < least:
                raise ValueError(f"Stage {number} of `stages`: `{name}` is {own[name]!r}, it must be {least} or more.")
        overrides = {**overrides, **own}
        stages.append(Stage(overrides, _build_rule(entry.get("until"), number, len(entries))))
    return stages


def _build_rule(rule: Any, number: int, num_stages: int) -> StageRule | None:
    if number == num_stages:
        if rule is not None:
            raise ValueError(f"Stage {number} of `stages` is the last and ends with `max_steps`: take `until` out.")
        return None
    if not isinstance(rule, Mapping) or not rule.keys() <= {field.name for field in fields(StageRule)}:
        raise ValueError(
            f"Stage {number} of `stages` needs a rule for when it ends, `until: {{steps: 100}}`, with one or more of "
            f"{', '.join(field.name for field in fields(StageRule))}; got: {rule!r}"
        )
    return StageRule(**rule)
