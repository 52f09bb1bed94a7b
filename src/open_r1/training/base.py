# SPDX-License-Identifier: Apache-2.0
"""Basis of the trainers: whole checkpoints, finite numbers, tokens per second, and evaluation.

`trainer.py` says how this differs from TRL, and why. Of evaluation:
1. Benchmarks are measured inside `evaluate`, not by a callback. What `evaluate` returns is one entry of the log
   history and of the trackers, and it exists when transformers compares with the best checkpoint: a callback hears
   of an evaluation only after that, and could only log. A callback does no more here than ask for an evaluation at
   steps of its own (`eval_benchmarks_steps`).
2. Without a test split `evaluate` measures the benchmarks alone; transformers refuses to evaluate without one.
3. Evaluation has a random state of its own and leaves that of the training alone.
4. An evaluation that had no reason to measure `metric_for_best_model`, or could judge too little for it, says nothing
   about the best checkpoint; transformers would end the training. It still does where the metric is nothing that was
   measured.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy, TrainOutput

from open_r1.evaluation.training import PolicyEvaluation
from open_r1.manifest import STAGING_NAME, remove_manifest, write_manifest, write_whole
from open_r1.training.checkpoints import publish, rotate_checkpoints
from open_r1.training.hub import DEFAULT_BRANCH, create_hub_revision
from open_r1.training.stalls import StallCallback
from open_r1.training.stopping import StopFileCallback
from open_r1.training.tracking import read_json

logger = logging.getLogger(__name__)

RUNTIME_METRIC = "eval_benchmarks_runtime_s"


class TrainingMixin(Trainer):
    """What both trainers add to TRL's.

    Args:
        benchmarks: Measured beside the test split, or alone where there is no `eval_dataset`.
    """

    args: Any  # `SFTConfig` or `GRPOConfig`
    eos_token_ids: list[int]  # end a completion
    has_trained: bool = False  # False after `train` when the checkpoint was the end of the training

    def __init__(self, *args: Any, benchmarks: PolicyEvaluation | None = None, **kwargs: Any) -> None:
        self.benchmarks = benchmarks
        self._first_step = 0
        self._save_total_limit: int | None = None
        self._last_log: tuple[float, float] | None = None
        self._paused_s = 0.0  # what the clock of the training leaves out
        self._stopper: StopFileCallback | None = None
        self._measured: dict[tuple[PolicyEvaluation, int], dict[str, float]] = {}  # by the optimizer step
        self._loaded_step: int | None = None  # of the weights, where the best ones were loaded
        self._has_split_figures = False  # the last evaluation
        is_alone = benchmarks is not None and kwargs.get("eval_dataset") is None
        with _no_strategy(kwargs["args"]) if is_alone else nullcontext():
            super().__init__(*args, **kwargs)
        self._stalls = StallCallback(self.args.stall_timeout_s)
        if self.args.stall_timeout_s > 0:
            self.add_callback(self._stalls)
        if benchmarks is not None and self.args.eval_benchmarks_steps is not None:
            self.add_callback(_EverySteps(self.args.eval_benchmarks_steps))

    def stop_when(self, stopper: StopFileCallback) -> None:
        """Let a stop file end the training early."""
        self._stopper = stopper
        self.add_callback(stopper)

    @property
    def stopped_at(self) -> Path | None:
        """The checkpoint at which a stop file ended the training early; None when nothing did."""
        return None if self._stopper is None else self._stopper.checkpoint

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train; only we delete old checkpoints, since transformers does it before the new one is whole."""
        self._measured, self._loaded_step = {}, None
        self._save_total_limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            output = super().train(*args, **kwargs)
        finally:
            self.args.save_total_limit = self._save_total_limit
            self._stalls.stop()
        self._rotate(Path(self.args.output_dir))  # again: an earlier run may have been killed behind its last save
        is_done = self.state.global_step >= self.state.max_steps
        if self.args.load_best_model_at_end and is_done and self.state.best_global_step is None:
            logger.warning(
                "`load_best_model_at_end`: no evaluation has measured `metric_for_best_model: %s`, so the "
                "model is the last one, not the best.",
                self.args.metric_for_best_model,
            )
        return output

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one step; raise FloatingPointError when its loss is NaN or infinite."""
        if self._last_log is None:
            # Evaluation before the first step (`eval_on_start`) is no part of the time since then.
            self._last_log, self._paused_s = (time.perf_counter(), self._count_tokens()), 0.0
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise self._divergence(f"The loss is {loss.item()}")
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: float | None = None) -> float | None:
        """Return the norm of the gradients; raise FloatingPointError before a broken one reaches the weights."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        # With fp16 the loss scaler skips such a step and lowers its scale, as it should.
        if norm is not None and self.accelerator.mixed_precision != "fp16" and not math.isfinite(norm):
            raise self._divergence(f"The norm of the gradients is {float(norm)}")
        return norm

    def _divergence(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} at step {self.state.global_step + 1}; nothing of it is saved. Lower `learning_rate` or "
            "`max_grad_norm`, train in bf16 instead of fp16, or look for rows with broken text; then run the same "
            "command to resume from the last checkpoint. Should it fail again at once, that checkpoint has diverged "
            "already: name an earlier one in `resume_from_checkpoint`."
        )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # A checkpoint of the last step may be in the middle of an epoch: transformers would train one step beyond.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        if not self.has_trained:
            self.has_trained, self._first_step = True, self.state.global_step
            self._evaluate_belatedly(**kwargs)
            if self.control.should_training_stop:
                return
        super()._run_epoch(*args, **kwargs)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # A tied weight stands in a checkpoint once, under its other name.
        tied = self.accelerator.unwrap_model(self.model).all_tied_weights_keys
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _load_best_model(self) -> None:
        if self.stopped_at is None:
            super()._load_best_model()
            self._loaded_step = self.state.best_global_step

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the tokens trained on per second since the last training log."""
        if "train_loss" in logs and (not self.has_trained or self.stopped_at is not None):
            return  # nothing was trained: zeros would follow the numbers of the run that did; or it will be resumed
        if "train_loss" in logs and 0 < self._first_step < self.state.global_step:
            # transformers divides what was trained since a resume by the steps of the whole training.
            share = (self.state.global_step - self._first_step) / self.state.global_step
            logs["train_loss"] /= share
            logs |= {name: logs[name] * share for name in ("train_samples_per_second", "train_steps_per_second")}
        if "loss" in logs and self._last_log is not None:
            now, tokens = time.perf_counter(), self._count_tokens()
            elapsed = now - self._last_log[0] - self._paused_s
            logs["tokens_per_second"] = round((tokens - self._last_log[1]) / elapsed, 1)
            self._last_log, self._paused_s = (now, tokens), 0.0
        super().log(logs, start_time)

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        """Save metrics whole or not at all; transformers writes in place, and fails on what a kill has cut."""
        if not self.is_world_process_zero():
            return
        folder = Path(self.args.output_dir)
        write_json(folder / f"{split}_results.json", metrics)
        if combined:
            write_json(folder / "all_results.json", (read_json(folder / "all_results.json") or {}) | metrics)

    def _count_tokens(self) -> float:
        raise NotImplementedError

    def _save_rollout_state(self, checkpoint: Path) -> None:
        """Save what only one kind of trainer has."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        started = time.perf_counter()
        output_dir = Path(self._get_output_dir(trial=trial))
        checkpoint = output_dir / f"checkpoint-{self.state.global_step}"
        self._refuse_broken_weights()
        with explained_failure(checkpoint):
            if self.args.should_save:
                remove_manifest(checkpoint)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self._save_rollout_state(checkpoint)
            self.accelerator.wait_for_everyone()  # other ranks' files count too
            if self.args.should_save:
                write_manifest(checkpoint)
            self._rotate(output_dir)
        self._paused_s += time.perf_counter() - started

    def _rotate(self, output_dir: Path) -> None:
        best = self.state.best_model_checkpoint
        if self.args.should_save:
            rotate_checkpoints(output_dir, self._save_total_limit, Path(best) if best else None)

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """Write the model card; that of TRL says "None" of a base that has a name on this machine alone."""
        is_on_hub = dataset_name and not dataset_name.startswith("tasks/") and not Path(dataset_name).exists()
        super().create_model_card(model_name, dataset_name if is_on_hub else None, tags)
        if self.is_world_process_zero():
            card = Path(self.args.output_dir) / "README.md"
            base = Path(self.model.config.name_or_path).name
            text = card.read_text(encoding="utf-8").replace("[None](https://huggingface.co/None)", f"`{base}`")
            card.write_text(text, encoding="utf-8")

    def _refuse_broken_weights(self) -> None:
        broken = [
            name for name, weight in self.model.named_parameters() if not torch.isfinite(local_shard(weight)).all()
        ]
        count = torch.tensor(len(broken), device=self.accelerator.device)
        if self.accelerator.gather(count).sum() > 0:
            raise FloatingPointError(
                f"{len(broken)} parameters are NaN or infinite at step {self.state.global_step} ({broken[:3]}): they "
                "are not saved. Lower `learning_rate`; the same command resumes from the last checkpoint."
            )

    def init_hf_repo(self, token: str | None = None) -> None:
        """Make the hub repository (private by default) and the branch that the run pushes to."""
        if self.is_world_process_zero():
            self.hub_model_id = create_hub_revision(self.args, self.args.hub_model_revision or DEFAULT_BRANCH)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Leave it to the callback: transformers would copy the checkpoint over the finished model to push it."""

    def publish_model(self) -> None:
        """Save the final model so that a reader sees a whole one or none (`checkpoints.publish`)."""
        output_dir = Path(self.args.output_dir)
        staging = output_dir / STAGING_NAME
        self._refuse_broken_weights()
        with explained_failure(output_dir):
            if self.args.should_save and staging.exists():
                shutil.rmtree(staging)  # of an earlier run that was killed here
            self.accelerator.wait_for_everyone()
            if self.is_fsdp_enabled:  # checkpoints may be in shards, the finished model is for everybody
                self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
            self.save_model(str(staging), _internal_call=True)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                # Whoever generates with the model, or merges the adapter, stops where the training did.
                generation_config = self.accelerator.unwrap_model(self.model).generation_config
                generation_config.eos_token_id = self.eos_token_ids
                # `save_pretrained` refuses what some base models publish: a temperature without sampling.
                generation_config.to_json_file(staging / "generation_config.json")
                publish(staging, output_dir)
            self.accelerator.wait_for_everyone()

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate what is due; at the end of the training, and before its first step, that is all."""
        if self.benchmarks is None or eval_dataset is not None:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        self._has_split_figures = self.eval_dataset is not None and self._is_split_due()
        if self._has_split_figures:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        return self._evaluate_benchmarks_alone()

    def _evaluate_benchmarks_alone(self) -> dict[str, float]:
        if self.benchmarks is None or not self._are_benchmarks_due():
            return {}  # `eval_strategy` asks for a test split that there isn't
        was_training = self.model.training
        self.model.eval()  # TRL logs what belongs to the mode of the model
        with self._outside_training():
            metrics = self._measure(self.benchmarks)
        self.log(metrics)
        self.model.train(was_training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """Evaluate with a random state of its own; add the metrics of the benchmarks that are due."""
        with self._outside_training():
            output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
            self._extend_evaluation(output, args, metric_key_prefix, kwargs)
            if self.benchmarks is not None and metric_key_prefix == "eval" and self._are_benchmarks_due():
                output.metrics.update(self._measure(self.benchmarks))
        return output

    @contextmanager
    def _outside_training(self) -> Iterator[None]:
        """Keep an evaluation out of the random state and of the clock of the training."""
        started = time.perf_counter()
        self._stalls.is_paused = True
        with self._isolated():
            yield
        self._stalls.is_paused = False
        self._paused_s += time.perf_counter() - started

    @contextmanager
    def _isolated(self) -> Iterator[None]:
        """Seed torch for an evaluation, and restore the random state afterwards."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.args.seed + self._sampling_group())
            yield

    def _measure(self, evaluation: PolicyEvaluation) -> dict[str, float]:
        """Return the metrics, measured once for a step: the end of a training repeats an earlier evaluation."""
        step = self.state.global_step if self._loaded_step is None else self._loaded_step
        if (evaluation, step) not in self._measured:
            started = time.perf_counter()
            with self._isolated():  # whether or not something was evaluated before
                metrics = evaluation.measure(self, step)
            if evaluation is self.benchmarks:
                metrics |= {RUNTIME_METRIC: round(time.perf_counter() - started, 4)}
            self._measured[evaluation, step] = metrics
        return dict(self._measured[evaluation, step])

    def _are_benchmarks_due(self) -> bool:
        step, every = self.state.global_step, self.args.eval_benchmarks_steps
        return not self.is_in_train or step == 0 or every is None or step % every == 0

    def _is_split_due(self) -> bool:
        """Whether `eval_strategy` asks for an evaluation now; it's due before the first step and after the last."""
        args, step, epoch = self.args, self.state.global_step, self.state.epoch or 0.0
        if not self.is_in_train or step == 0:
            return True
        if args.eval_strategy == IntervalStrategy.STEPS:
            return step >= args.eval_delay and (step % self.state.eval_steps == 0 or step >= self.state.max_steps)
        return args.eval_strategy == IntervalStrategy.EPOCH and epoch >= args.eval_delay and epoch == int(epoch)

    def _evaluate_belatedly(self, trial: Any, ignore_keys_for_eval: list[str] | None, **kwargs: Any) -> None:
        """Run the evaluation that was due at the step of the checkpoint, if a stop file left it out."""
        step = self.state.global_step
        if step == 0 or any(entry["step"] == step and _is_evaluation(entry) for entry in self.state.log_history):
            return
        has_steps = self.benchmarks is not None and self.args.eval_benchmarks_steps is not None
        if (has_steps and self._are_benchmarks_due()) or self._is_split_due():
            metrics = self._evaluate(trial, ignore_keys_for_eval)
            self._determine_best_metric(metrics=metrics, trial=trial)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        given = self.args.metric_for_best_model
        name = f"eval_{(given or '').removeprefix('eval_')}"
        if given is None or name in metrics:
            return super()._determine_best_metric(metrics=metrics, trial=trial)
        if self.benchmarks is not None and (name in self.benchmarks.metric_names or not self._has_split_figures):
            return False
        if name in self._estimates_of_split():
            logger.warning(
                "Nothing could be judged of `metric_for_best_model: %s` at step %d, which says nothing "
                "about the best checkpoint.",
                given,
                self.state.global_step,
            )
            return False
        return super()._determine_best_metric(metrics=metrics, trial=trial)

    def _sampling_group(self) -> int:
        """Return the number of the group of processes that sample the same completions together."""
        return self.args.process_index

    def _extend_evaluation(self, output: EvalLoopOutput, args: tuple, prefix: str, kwargs: dict[str, Any]) -> None:
        """Add to an evaluation of the test split what is known of its completions; nothing where none are sampled."""

    def _estimates_of_split(self) -> list[str]:
        """Return the metrics that an evaluation of the test split leaves out where no completion could be judged."""
        return []


@contextmanager
def explained_failure(folder: Path) -> Iterator[None]:
    """Say of a save that failed what it means and what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        free_mb = shutil.disk_usage(folder if folder.exists() else folder.parent).free // 2**20
        raise RuntimeError(
            f"{folder} could not be saved: {error}. {free_mb} MB are free on that disk. What was written has no "
            "manifest and counts as not there: when the cause is gone (a full disk, permissions), the same command "
            "resumes from the last complete checkpoint."
        ) from error


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file so that a reader sees the old or the new one."""
    write_whole(path, json.dumps(value, indent=4, sort_keys=True))


def local_shard(weight: torch.Tensor) -> torch.Tensor:
    """Return the part of a parameter that this process holds: ZeRO-3 and FSDP2 cut parameters up."""
    if hasattr(weight, "ds_tensor"):
        return weight.ds_tensor
    return weight.to_local() if hasattr(weight, "to_local") else weight


class _EverySteps(TrainerCallback):
    """Asks for an evaluation every so many optimizer steps, whatever `eval_strategy` asks for beside it."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Ask for it."""
        if state.global_step % self._steps == 0:
            control.should_evaluate = True


@contextmanager
def _no_strategy(args: TrainingArguments) -> Iterator[None]:
    """Let a trainer be built that evaluates without a test split."""
    strategy, args.eval_strategy = args.eval_strategy, IntervalStrategy.NO
    try:
        yield
    finally:
        args.eval_strategy = strategy


def _is_evaluation(entry: dict[str, float]) -> bool:
    return any(name.startswith("eval_") for name in entry)
