# SPDX-License-Identifier: Apache-2.0
"""Callbacks of the trainer: those that a recipe names in `callbacks`, and those that other settings stand for."""

import logging
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from open_r1.configs.training import TrainingConfig
from open_r1.data.user_code import is_user_place, load_class
from open_r1.training.checkpoint_jobs import EvaluateCheckpointCallback
from open_r1.training.hub import UPLOADS_NAME, checkpoint_revisions, describe, link_tree, push_folder

logger = logging.getLogger(__name__)

_LOG_EVERY_S = 30.0  # where nobody watches: a file keeps every drawing of the bar
# What the line shows, in this order: patterns of metrics, and the short names of theirs.
_SHOWN = (
    (r"loss", "loss"),
    (r"reward", "reward"),
    (r"rewards/(.+?)(?:_reward)?/mean", r"\1"),
    (r"completions/mean_length", "length"),
    (r"tokens_per_second", "tok/s"),
)


class PushToHubRevisionCallback(TrainerCallback):
    """Pushes each checkpoint to the hub during the training: to a branch of its own, or as `hub_strategy` says.

    Uploads run one after the other in a thread, from hard links below `output_dir/.uploads`: `save_total_limit` may
    delete a checkpoint long before it has been uploaded. A failed upload is a warning, never the end of a training.

    Args:
        model_config: Not read: Open R1's callback has it.
    """

    def __init__(self, model_config: object = None) -> None:
        self.pushed: list[str] = []
        self.failed: list[str] = []
        self._pending: list[Future[None]] = []
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub-push")

    def on_train_begin(self, args: TrainingArguments, *rest: object, **kwargs: object) -> None:
        """Remove what an earlier run, killed during an upload, left behind."""
        if args.process_index == 0:
            shutil.rmtree(Path(args.output_dir) / UPLOADS_NAME, ignore_errors=True)

    def on_save(self, args: TrainingConfig, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Queue the upload of the checkpoint that was just saved."""
        if not state.is_world_process_zero:
            return
        self._pending = [future for future in self._pending if not future.done()]
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for revision in checkpoint_revisions(args, state.global_step):
            copy = Path(args.output_dir) / UPLOADS_NAME / f"{checkpoint.name}-to-{revision.replace('/', '-')}"
            try:
                link_tree(checkpoint, copy)
            except OSError as error:
                self._note_failure(revision, error)
                shutil.rmtree(copy, ignore_errors=True)
            else:
                self._pending.append(self._executor.submit(self._push, args, copy, revision))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Wait for the uploads and say what became of them."""
        if not state.is_world_process_zero or not (self._pending or self.failed):
            return
        # The other ranks wait at a barrier meanwhile, which breaks after `ddp_timeout`. Uploads that take longer
        # continue in the background, and the process does not exit before they have ended.
        limit = args.ddp_timeout / 2 if args.world_size > 1 else None
        logger.info("Waiting for uploads to the hub.")
        unfinished = wait(self._pending, timeout=limit).not_done
        if unfinished:
            logger.warning("%d uploads to the hub continue in the background.", len(unfinished))
        uploads = Path(args.output_dir) / UPLOADS_NAME
        if uploads.is_dir() and not any(uploads.iterdir()):
            uploads.rmdir()
        if self.failed:
            logger.warning(
                "%d of %d uploads to the hub failed: %s. The checkpoints are where `save_total_limit` left "
                "them in %s; `hf upload` pushes one by hand.",
                len(self.failed),
                len(self.failed) + len(self.pushed),
                ", ".join(self.failed),
                args.output_dir,
            )

    def _push(self, args: TrainingConfig, folder: Path, revision: str) -> None:
        try:
            commit = push_folder(args, folder, revision)
        except Exception as error:  # noqa: BLE001 - the hub's client raises many kinds; none may end a training
            self._note_failure(revision, error)
        else:
            self.pushed.append(revision)
            logger.info("Pushed %s to the hub: %s", revision, commit.commit_url)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _note_failure(self, revision: str, error: Exception) -> None:
        self.failed.append(revision)
        logger.warning("%s was not pushed to the hub: %s", revision, describe(error))


class CompactProgressCallback(TrainerCallback):
    """A progress bar with the few numbers that matter; all of them stay in the log history and the trackers.

        40%|████      | 8/20 [00:21<00:32, 2.69s/step, loss=0.01, reward=0.91, accuracy=0.72, format=0.98, length=24]

    What `eval_benchmarks` measures is a line above it. Where stderr is no terminal the bar is drawn twice a minute.
    `run_training` puts it in place of the library's own, but for `log_level: debug`.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Open the bar, at the step from which a run resumes."""
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
            found = numbers_shown(logs)
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
            self._bar = None


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
        ValueError: There is no such callback, or it can't be built without arguments.
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
    callback = load_class(name, TrainerCallback, role="callback", setting="callbacks")
    try:
        return callback()
    except TypeError as error:
        raise ValueError(f"The callback {name!r} in callbacks can't be built without arguments: {error}") from error
