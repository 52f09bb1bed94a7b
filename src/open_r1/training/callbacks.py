# SPDX-License-Identifier: Apache-2.0
"""Callbacks of the trainer: those that a recipe names in `callbacks`, and those that other settings stand for."""

import re
import sys
from collections.abc import Callable, Mapping

from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from open_r1.configs.training import TrainingConfig
from open_r1.data.user_code import is_user_place, load_class
from open_r1.training.checkpoint_jobs import EvaluateCheckpointCallback, PushToHubRevisionCallback
from open_r1.training.hub import checkpoint_revisions

_LOG_EVERY_S = 30.0  # where nobody watches: a file keeps every drawing of the bar
# What the line shows, in this order: patterns of metrics, and the short names of theirs.
_SHOWN = (
    (r"loss", "loss"),
    (r"reward", "reward"),
    (r"rewards/(.+?)(?:_reward)?/mean", r"\1"),
    (r"completions/mean_length", "length"),
    (r"tokens_per_second", "tok/s"),
)


class CompactProgressCallback(ProgressCallback):
    """A progress bar with the few numbers that matter; all of them stay in the log history and the trackers.

        40%|████      | 8/20 [00:21<00:32, 2.69s/step, loss=0.01, reward=0.91, accuracy=0.72, format=0.98, length=24]

    What `eval_benchmarks` measures is a line above it. Where stderr is no terminal the bar is drawn twice a minute.
    `run_training` puts it in place of the library's own, but for `log_level: debug`.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Open the bar."""
        super().on_train_begin(args, state, control)
        if self.training_bar is not None and not sys.stderr.isatty():
            self.training_bar.mininterval = self.training_bar.maxinterval = _LOG_EVERY_S

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Show the latest numbers."""
        if self.training_bar is None or logs is None:
            return
        for line in describe_benchmarks(logs):
            self.training_bar.write(f"step {state.global_step}: {line}")
        if found := numbers_shown(logs):
            shown = {name: f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" for name, value in found.items()}
            self.training_bar.set_postfix(shown, refresh=sys.stderr.isatty())


def numbers_shown(logs: Mapping[str, float]) -> dict[str, float]:
    """Return what the bar shows of a log entry.

    >>> numbers_shown({"kl": 0.1, "rewards/accuracy_reward/mean": 0.5, "reward": 0.7, "completions/mean_length": 20.0})
    {'reward': 0.7, 'accuracy': 0.5, 'length': 20.0}
    """
    return {
        match.expand(short): logs[key]
        for pattern, short in _SHOWN
        for key in logs
        if (match := re.fullmatch(pattern, key)) and logs[key] is not None
    }


def describe_benchmarks(logs: Mapping[str, float]) -> list[str]:
    """Return a line for each benchmark of `eval_benchmarks` that a log entry has figures of.

    >>> describe_benchmarks({"eval_sums/avg@4": 0.43, "eval_sums/avg@4_low": 0.38, "eval_sums/avg@4_high": 0.481})
    ['eval_sums/avg@4 0.43 [0.38, 0.481]']
    """
    lines = []
    for key in logs:
        found = re.fullmatch(r"(eval_.+/)(avg@\d+)", key)
        if found is None:
            continue
        start, average = found.groups()
        line = f"{key} {logs[key]:.3g}"
        if f"{key}_low" in logs and f"{key}_high" in logs:
            line += f" [{logs[f'{key}_low']:.3g}, {logs[f'{key}_high']:.3g}]"
        others = [average.replace("avg", name) for name in ("pass", "maj")] + ["truncated"]
        lines.append(
            ", ".join([line, *(f"{name} {logs[start + name]:.3g}" for name in others if start + name in logs)])
        )
    return lines


CALLBACKS: dict[str, Callable[[], TrainerCallback]] = {
    "evaluate_checkpoint": EvaluateCheckpointCallback,
    "push_to_hub_revision": PushToHubRevisionCallback,
}


def get_callbacks(train_config: TrainingConfig, model_config: object = None) -> list[TrainerCallback]:
    """Build the callbacks that a recipe names, and those that `hub_strategy` and `benchmarks` stand for.

    A name is one of `CALLBACKS`, or the place of a class of the user's own (`path/to/file.py:Class`).

    Args:
        train_config: The recipe.
        model_config: Not read: Open R1's function has it.

    Raises:
        ValueError: There is no such callback.
        TypeError: It can't be built without arguments.
    """
    names = list(train_config.callbacks)
    names += ["push_to_hub_revision"] if checkpoint_revisions(train_config, 0) else []
    names += ["evaluate_checkpoint"] if train_config.benchmarks else []
    return [_build(name) for name in dict.fromkeys(names)]


def _build(name: str) -> TrainerCallback:
    if name in CALLBACKS:
        return CALLBACKS[name]()
    if not is_user_place(name):
        raise ValueError(
            f"Unknown callback {name!r} in callbacks. Available: {', '.join(sorted(CALLBACKS))}; a class of your own "
            "(path/to/file.py:Class)."
        )
    return load_class(name, TrainerCallback, role="callback", setting="callbacks")()
