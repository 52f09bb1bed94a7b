# SPDX-License-Identifier: Apache-2.0
"""What both trainers share: whole checkpoints, finite numbers, tokens per second.

`trainer.py` says how this differs from TRL, and why.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.trainer_utils import TrainOutput

from open_r1.utils.checkpoints import STAGING_NAME, publish, remove_manifest, rotate_checkpoints, write_manifest
from open_r1.utils.evaluating import EvaluationMixin
from open_r1.utils.hub import DEFAULT_BRANCH, create_hub_revision
from open_r1.utils.stopping import StopFileCallback


class RestartableMixin(EvaluationMixin):
    """What both trainers share: whole checkpoints, a finite loss, tokens per second."""

    has_trained: bool = False  # False after `train` when the checkpoint was the end of the training
    _first_step: int = 0
    _save_total_limit: int | None = None
    _last_log: tuple[float, float] | None = None
    _stopper: StopFileCallback | None = None

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
        self._save_total_limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            output = super().train(*args, **kwargs)
        finally:
            self.args.save_total_limit = self._save_total_limit
        self._rotate(Path(self.args.output_dir))  # again: an earlier run may have been killed behind its last save
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
            "command to go on from the last checkpoint. Should it fail again at once, that checkpoint has diverged "
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

    def _load_best_model(self) -> None:
        if self.stopped_at is None:
            super()._load_best_model()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the tokens trained on per second since the last training log."""
        if "train_loss" in logs and (not self.has_trained or self.stopped_at is not None):
            return  # nothing was trained: zeros would come after the numbers of the run that did; or it goes on
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
        """Write the model card; TRL's says "None" of what has a name on this machine alone."""
        name = model_name or Path(self.args.output_dir).name
        is_on_hub = dataset_name and not dataset_name.startswith("tasks/") and not Path(dataset_name).exists()
        super().create_model_card(name, dataset_name if is_on_hub else None, tags)
        if self.is_world_process_zero():
            card = Path(self.args.output_dir) / "README.md"
            base = Path(self.model.config.name_or_path).name
            text = card.read_text(encoding="utf-8").replace("[None](https://huggingface.co/None)", f"`{base}`")
            card.write_text(text.replace('model="None"', f'model="{name}"'), encoding="utf-8")

    def _refuse_broken_weights(self) -> None:
        broken = [
            name for name, weight in self.model.named_parameters() if not torch.isfinite(local_shard(weight)).all()
        ]
        count = torch.tensor(len(broken), device=self.accelerator.device)
        if self.accelerator.gather(count).sum() > 0:
            raise FloatingPointError(
                f"{len(broken)} parameters are NaN or infinite at step {self.state.global_step} ({broken[:3]}): they "
                "are not saved. Lower `learning_rate`; the same command goes on from the last checkpoint."
            )

    def init_hf_repo(self, token: str | None = None) -> None:
        """Make the hub repository (private unless told otherwise) and the branch that the run pushes to."""
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
                publish(staging, output_dir)
            self.accelerator.wait_for_everyone()


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
            "goes on from the last complete checkpoint."
        ) from error


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file so that a reader sees the old or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=4, sort_keys=True), encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the contents of a JSON file, or None when there is none or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def local_shard(weight: torch.Tensor) -> torch.Tensor:
    """Return the part of a parameter that this process holds: ZeRO-3 and FSDP2 cut parameters up."""
    if hasattr(weight, "ds_tensor"):
        return weight.ds_tensor
    return weight.to_local() if hasattr(weight, "to_local") else weight
