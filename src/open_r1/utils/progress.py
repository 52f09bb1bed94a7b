# SPDX-License-Identifier: Apache-2.0
"""One line that says how a training goes, in place of a dictionary of forty numbers a step."""

import re
import sys
from collections.abc import Mapping

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_LOG_EVERY_S = 30.0  # where nobody watches: a file keeps every drawing of the bar
# What the line shows, in this order, under short names.
_SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "rewards/accuracy_reward/mean": "accuracy",
    "completions/mean_length": "length",
    "tokens_per_second": "tok/s",
}


class CompactProgressCallback(TrainerCallback):
    """A progress bar with the few numbers that matter; all of them stay in the log history and the trackers.

    What `eval_benchmarks` measures is a line above it, and the best checkpoint one at the end. Where stderr is no
    terminal the bar is drawn twice a minute.

    Recipes name it `compact_progress` in `callbacks`; `run_training` then takes the library's own bar out.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Open the bar, at the step where a resumed run goes on."""
        if state.is_world_process_zero and not args.disable_tqdm:
            every_s = 0.1 if sys.stderr.isatty() else _LOG_EVERY_S
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                unit="step",
                dynamic_ncols=True,
                mininterval=every_s,
                maxinterval=max(every_s, 10.0),
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Move on by a step."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Show the latest numbers."""
        if self._bar is not None and logs is not None:
            for line in describe_benchmarks(logs):
                self._bar.write(f"step {state.global_step}: {line}")
            found = {short: logs[key] for key, short in _SHOWN.items() if logs.get(key) is not None}
            if found:
                self._bar.set_postfix(
                    {name: f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" for name, value in found.items()},
                    refresh=sys.stderr.isatty(),
                )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            if state.best_model_checkpoint is not None:
                self._bar.write(
                    f"best: {state.best_model_checkpoint}, {args.metric_for_best_model} {state.best_metric:.4g}"
                )
            self._bar = None


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
