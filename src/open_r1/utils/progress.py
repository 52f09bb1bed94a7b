# SPDX-License-Identifier: Apache-2.0
"""One line that says how a training goes, in place of a dictionary of forty numbers a step."""

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

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

    Recipes name it `compact_progress` in `callbacks`; `run_training` then takes the library's own bar out.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Open the bar, at the step where a resumed run goes on."""
        if state.is_world_process_zero and not args.disable_tqdm:
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", dynamic_ncols=True)

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
            found = {short: logs[key] for key, short in _SHOWN.items() if logs.get(key) is not None}
            if found:
                self._bar.set_postfix(
                    {name: f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" for name, value in found.items()}
                )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
