# SPDX-License-Identifier: Apache-2.0
"""Run of a training script: start or resume, train, save, evaluate, push; shared by sft.py, grpo.py and distill.py."""

import dataclasses
import logging
import os
import shlex
import sys
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import datasets
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import DistributedType, gather_object
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, set_seed

from open_r1.arguments import parse_args
from open_r1.configs.training import GRPOConfig, SFTConfig, TrainingConfig
from open_r1.data.cli import STOPPED
from open_r1.manifest import REPORT_NAME, missing_from
from open_r1.secret_names import is_secret_name
from open_r1.training.base import TrainingMixin
from open_r1.training.callbacks import CompactProgressCallback, describe_benchmarks
from open_r1.training.checkpoints import (
    Start,
    archive,
    claim,
    find_start,
    holds_foreign_model,
    last_complete_checkpoint,
)
from open_r1.training.hub import push_finished_model
from open_r1.training.model_card import extend_model_card
from open_r1.training.stopping import StopFileCallback, find_stop_file
from open_r1.training.tracking import (
    continue_tracking,
    describe_run,
    init_wandb_training,
    is_finished,
    mark_finished,
    read_json,
    write_run_manifest,
)

logger = logging.getLogger(__name__)

# Settings of `eval_benchmarks` (`eval_benchmarks_split`, ...) that `scripts/run_benchmarks.py` has as flags.
_ASKED = ("split", "prompt_column", "solution_column", "kind", "judge", "judge_url", "judge_model", "judge_key_env",
          "num_samples", "max_tokens", "temperature", "top_p")  # fmt: skip


def _restore_to_cpu(storage: Any, location: str) -> Any:
    return storage if location.startswith("cpu:") else None


# Without GPUs accelerate calls the device of process 1 "cpu:1", a place to which `torch.load` cannot restore the
# optimizer of a checkpoint by itself. 11: right behind its own rule for "cpu".
torch.serialization.register_package(11, lambda storage: None, _restore_to_cpu)


@dataclass(frozen=True)
class Run:
    """How a run starts. Nothing on disk changes before it has passed every check (`run_training`), but for the lock.

    Attributes:
        start: Where.
        description: Settings and versions for the run manifest.
        stop_file: File whose appearance stops the training early; None when nobody asks for that.
        finished: Metrics of the run, where it has come to its end earlier; None: it has not.
    """

    start: Start
    description: dict[str, Any]
    stop_file: Path | None = None
    finished: dict[str, float] | None = None


def start_run(script_args: Any, training_args: TrainingConfig, model_args: Any) -> Run:
    """Check the processes, seed, set up logging and trackers, decide where the run starts.

    Raises:
        RuntimeError: Fewer processes train together than were launched, or they see different folders or stop files.
        ValueError: Another process trains in the folder, it has a model that would be lost, the checkpoint is not
            whole or of another course, or launcher and recipe contradict each other.
    """
    check_processes(training_args)
    set_seed(training_args.seed)
    _set_up_logging(training_args)
    if "wandb" in training_args.report_to:
        init_wandb_training(training_args)
    output_dir, checks = Path(training_args.output_dir), training_args.check_only
    if training_args.process_index == 0 and output_dir.is_dir() and not checks:
        claim(output_dir)  # a new folder is locked when there is something to write (`run_training`)
    stop_file, start = find_stop_file(), find_start(training_args)
    _refuse_differing("OPEN_R1_STOP_FILE", stop_file, "Set one file for all.")
    _refuse_differing(
        f"The last checkpoint in {training_args.output_dir}",
        start.checkpoint,
        "`output_dir` must lie on storage that all nodes share.",
    )
    description = describe_run(script_args, training_args, model_args)
    # The main process decides: it alone keeps others out of the folder.
    finished = gather_object([None if checks else _finished_before(output_dir, start, description)])[0]
    if finished is not None:
        return Run(start, description, stop_file, finished)
    if start.checkpoint is not None:
        logger.warning("Resuming from %s (`resume_from_checkpoint: false` starts afresh).", start.checkpoint)
        _refuse_other_course(start.checkpoint, training_args)
    changed = [setting for group in (script_args, training_args, model_args) for setting in _changed_settings(group)]
    logger.info("Settings: %s", textwrap.fill(", ".join(changed), 118, subsequent_indent="    "))
    return Run(start, description, stop_file)


def _changed_settings(group: Any) -> list[str]:
    """Return the settings that aren't at their defaults, but for long texts and what names the run."""
    changed = []
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        text = f"{field.name}={getattr(value, 'value', value)}"
        if value != default and field.init and len(text) < 100 and not is_secret_name(field.name):
            changed.append(text)
    return changed


def _refuse_differing(what: str, path: Path | None, way_out: str) -> None:
    """Refuse a path that isn't the same for all processes."""
    if len(seen := set(gather_object([str(path)]))) > 1:
        raise RuntimeError(f"{what} differs among the processes: {sorted(seen)}. {way_out}")


def _finished_before(output_dir: Path, start: Start, description: dict[str, Any]) -> dict[str, float] | None:
    """Return the metrics of the finished model in a folder, if this command made it; None where there is none."""
    if start.superseded_after is not None:
        return None
    way_out = (
        "Name another `output_dir`, or `resume_from_checkpoint: false`, which archives the model and trains afresh."
    )
    if (fault := missing_from(output_dir)) is not None:
        if start.checkpoint is None and holds_foreign_model(output_dir):
            raise ValueError(f"{output_dir} holds a model ({fault}), and training would replace it. {way_out}")
        return None
    if is_finished(output_dir, description):
        logger.warning(
            "Finished earlier: %s holds the model of this command, and nothing is done. %s", output_dir, way_out
        )
        return read_json(output_dir / "all_results.json") or {}
    if start.checkpoint is None:
        raise ValueError(
            f"{output_dir} holds a finished model of other settings, or one that was not evaluated or pushed, and no "
            f"checkpoint: training would replace it. {way_out}"
        )
    return None


def _refuse_other_course(checkpoint: Path, training_args: TrainingConfig) -> None:
    """Refuse a checkpoint of the other script, or one without what a training resumes from."""
    if not any(checkpoint.glob("rng_state*")):
        # transformers would begin optimizer, schedule and random state anew in silence.
        raise ValueError(
            f"{checkpoint} was saved with `save_only_model: true`, so no training can be resumed from it. Start "
            "afresh with `resume_from_checkpoint: false`, or name it as `model_name_or_path` of another run."
        )
    is_grpo = isinstance(training_args, GRPOConfig)
    saved = len(list(checkpoint.glob("rollout_state_*.pt")))  # one a process, of GRPO alone
    if is_grpo != (saved > 0):
        raise ValueError(
            f"{checkpoint} was saved by {'sft.py' if is_grpo else 'grpo.py'}, and no other training can resume from "
            "it. Name another `output_dir`, or start afresh with `resume_from_checkpoint: false`. To use only its "
            "weights, name it as `model_name_or_path`."
        )


def check_processes(training_args: TrainingConfig) -> None:
    """Refuse a launch in which processes would train alone, or differently from the recipe, without a message.

    Several launch modes of accelerate run unrelated single-process trainings that overwrite each other's output when
    the backend does not fit the machine, or one process where several were asked for.

    Raises:
        RuntimeError: The processes do not train together.
        ValueError: Launcher and recipe accumulate gradients over different numbers of steps.
    """
    if training_args.check_only and training_args.check_launch is not None:  # another launch than this one
        _check_accumulation(training_args)
        return
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    state = training_args.distributed_state or PartialState()
    joined = state.num_processes
    if launched != joined or (joined > 1 and state.distributed_type == DistributedType.NO):
        raise RuntimeError(
            f"{launched} processes were launched, but they would train alone, not together (accelerate counts {joined}"
            f", {state.distributed_type}). Without GPUs, add `--use_cpu true` (DDP) or `--ddp_backend gloo` with "
            "DS_ACCELERATOR=cpu (ZeRO); FSDP needs GPUs. recipes/README.md has a command for each."
        )
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and state.distributed_type != DistributedType.FSDP:
        raise RuntimeError(
            f"The launcher asks for FSDP, but the processes would run as {state.distributed_type}: FSDP needs one GPU "
            "per process. On CPU use recipes/accelerate_configs/ddp.yaml with `--use_cpu true`."
        )
    # The launcher that starts one process only sets a master address when it was asked for several.
    is_started_by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if is_started_by_accelerate and "WORLD_SIZE" not in os.environ and os.environ.get("MASTER_ADDR") == "127.0.0.1":
        raise RuntimeError(
            "`accelerate launch` was asked for several processes but started only this one: that is what `use_cpu: "
            "true` (`--cpu`) and `distributed_type: MULTI_CPU` of its config do. Launch with "
            "recipes/accelerate_configs/ddp.yaml and give `--use_cpu true` to the script, or ask for one process."
        )
    if training_args.n_gpu > 1 and not training_args.check_only:
        raise RuntimeError(
            f"This one process sees {training_args.n_gpu} GPUs and would split every batch among them "
            "(DataParallel), which changes the batch. Use `accelerate launch`, or set CUDA_VISIBLE_DEVICES to one GPU."
        )
    _check_accumulation(training_args)


def _check_accumulation(training_args: TrainingConfig) -> None:
    """Refuse a launcher that sets the accumulation itself; DeepSpeed would say so only once the model is loaded."""
    launcher, num_processes = training_args.launch.accumulation_steps, training_args.world_size
    recipe = training_args.gradient_accumulation_steps
    if not launcher.isdigit() or int(launcher) == recipe:
        return
    rows = training_args.per_device_train_batch_size * num_processes
    raise ValueError(
        f"The launcher sets gradient_accumulation_steps {launcher} and the recipe {recipe}: an optimizer step would "
        f"take {rows * int(launcher)} rows or {rows * recipe} (per_device_train_batch_size "
        f"{training_args.per_device_train_batch_size} x {num_processes} processes x accumulation). Remove the number "
        "from the accelerate config or its command line: the recipe decides."
    )


def _set_up_logging(training_args: TrainingConfig) -> None:
    level = training_args.get_process_log_level()
    logging.basicConfig(
        format="%(asctime)s - %(levelname)s - %(name)s - %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=[logging.StreamHandler(sys.stderr if training_args.check_only else sys.stdout)],
        level=logging.WARNING,
    )
    # What we have to say is said once; errors of any process are raised.
    logging.getLogger("open_r1").setLevel(level if training_args.process_index == 0 else logging.ERROR)
    # The libraries tell every setting, file and step at `info`.
    of_libraries = level if level <= logging.DEBUG else max(level, logging.WARNING)
    datasets.utils.logging.set_verbosity(of_libraries)
    transformers.utils.logging.set_verbosity(of_libraries)
    if training_args.process_index != 0 or not _is_verbose(training_args):
        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()


def _is_verbose(training_args: TrainingConfig) -> bool:
    """Say whether the bars and dictionaries of the libraries are shown in place of one line."""
    return training_args.get_process_log_level() <= logging.DEBUG


def ignore_bias_buffers(model: PreTrainedModel) -> None:
    """Keep boolean buffers out of DDP's broadcast, which cannot send them with some backends."""
    model._ddp_params_and_buffers_to_ignore = [
        name for name, buffer in model.named_buffers() if buffer.dtype == torch.bool
    ]


def _record_start(training_args: TrainingConfig, run: Run) -> None:
    output_dir = Path(training_args.output_dir)
    if run.start.superseded_after is not None:
        archive(output_dir, run.start.superseded_after)
    tracking_id = continue_tracking(training_args, is_fresh_start=run.start.superseded_after == -1)
    started_from = None if run.start.checkpoint is None else str(run.start.checkpoint.resolve())
    write_run_manifest(output_dir, {**run.description, "started_from": started_from, "tracking_id": tracking_id})


def _record_training(trainer: TrainingMixin, trained: dict[str, float]) -> dict[str, float]:
    """Save what a training has measured; return that of the run before if there was nothing left to train."""
    metrics: dict[str, float] = {**trained, "train_samples": len(trainer.train_dataset)}
    recorded = read_json(Path(trainer.args.output_dir) / "train_results.json")
    if not trainer.has_trained and recorded is not None:
        logger.warning("The training had ended at step %d: its model is saved again.", trainer.state.global_step)
        return recorded
    trainer.save_state()
    trainer.save_metrics("train", metrics)
    return metrics


def _say_stopped(trainer: TrainingMixin, *, is_start_named: bool) -> None:
    logger.warning(
        "Stopped at step %d of %d, as asked. No model is published yet: the same command%s resumes from %s.",
        trainer.state.global_step,
        trainer.state.max_steps,
        " without resume_from_checkpoint" if is_start_named else "",
        trainer.stopped_at,
    )


def _say_finished(trainer: TrainingMixin, script_args: Any, metrics: dict[str, float]) -> None:
    """Print where the model is, its score, and what to type next, at any log level."""
    args, state = trainer.args, trainer.state
    lines = [f"The model is in {args.output_dir}"]
    if state.best_model_checkpoint is not None:
        score = f"{args.metric_for_best_model} {state.best_metric:.4g}"
        lines.append(f"best:     {state.best_model_checkpoint}, {score}")
    lines += [f"score:    {line}" for line in describe_benchmarks(metrics)]
    if args.report:
        lines.append(f"look at:  {Path(args.output_dir) / REPORT_NAME}")
    command = evaluation_command(args, script_args, has_split=trainer.eval_dataset is not None)
    lines += [] if command is None else [f"evaluate: {command}"]
    if (last := last_complete_checkpoint(Path(args.output_dir))) is not None:
        lines.append(f"resume:   the same command with a larger max_steps or num_train_epochs, from {last}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def evaluation_command(args: TrainingConfig, script_args: Any, *, has_split: bool) -> str | None:
    """Return the command that evaluates a model on what its recipe names: benchmarks, or a local test split.

    Without either it is MATH-500; None for a test split that only the training can load, and has evaluated.

    Args:
        args: Of the training.
        script_args: Name its data.
        has_split: Whether it has evaluated a test split.
    """
    words = ["python", "scripts/run_benchmarks.py", "--model_id", args.output_dir]
    data, system = script_args.dataset_name, args.system_prompt
    if args.eval_benchmarks:
        own = {name: getattr(args, f"eval_benchmarks_{name}") for name in _ASKED}
        words += ["--benchmarks", *args.eval_benchmarks, "--prompt_template", args.eval_benchmarks_template]
        words += [word for name, value in own.items() if value is not None
                  for word in (f"--{name}", str(value))]  # fmt: skip
        system = system if args.eval_benchmarks_system_prompt is None else args.eval_benchmarks_system_prompt
    elif args.benchmarks:
        words += ["--benchmarks", *args.benchmarks]
    elif has_split and not isinstance(args, SFTConfig) and data and Path(data).exists():
        words += ["--data", data, "--split", script_args.dataset_test_split, "--prompt_template", "{prompt}"]
        words += ["--prompt_column", script_args.dataset_prompt_column]
        words += ["--solution_column", script_args.dataset_solution_column]
    elif has_split:
        return None
    else:
        words += ["--benchmarks", "math_500"]
    if None in words:  # no template
        del words[words.index(None) - 1 : words.index(None) + 1]
    return shlex.join([*words, *(["--system_prompt", system] if system else [])])


def run_training(
    trainer: TrainingMixin,
    script_args: Any,
    training_args: TrainingConfig,
    run: Run,
) -> dict[str, float]:
    """Record the run, train, save the model, evaluate and push, as the arguments say.

    Returns:
        Metrics of training and, with `do_eval` or `eval_benchmarks`, of evaluation (keys `eval_...`); none when a stop
        file ended the training early, of which nothing but its checkpoint is left then.
    """
    if not trainer.accelerator.is_main_process:
        return _train(trainer, script_args, training_args, run)
    output_dir = Path(training_args.output_dir)
    lock = claim(output_dir)
    try:
        is_new = lock.lock_counter == 1
        if is_new and (find_start(training_args) != run.start or missing_from(output_dir) is None):
            raise ValueError(
                f"Another run has trained in {output_dir} meanwhile. The same command resumes from there."
            )
        _record_start(training_args, run)
        metrics = _train(trainer, script_args, training_args, run)
        if trainer.stopped_at is None:
            mark_finished(output_dir)
    finally:
        lock.release(force=True)
    return metrics


def _train(
    trainer: TrainingMixin,
    script_args: Any,
    training_args: TrainingConfig,
    run: Run,
) -> dict[str, float]:
    """Do what `run_training` says, but for the record."""
    if run.stop_file is not None:
        trainer.stop_when(StopFileCallback(run.stop_file))
    if not _is_verbose(training_args):
        trainer.remove_callback(PrinterCallback if training_args.disable_tqdm else ProgressCallback)
        if not training_args.disable_tqdm:
            trainer.add_callback(CompactProgressCallback)
        transformers.utils.logging.set_verbosity_warning()  # a trainer sets it back to `log_level`
    is_start_named = training_args.resume_from_checkpoint is not None
    training_args.resume_from_checkpoint = None  # transformers would read its own meaning into the word
    result = trainer.train(resume_from_checkpoint=None if run.start.checkpoint is None else str(run.start.checkpoint))
    if trainer.stopped_at is not None:
        _say_stopped(trainer, is_start_named=is_start_named)
        return {}
    metrics = _record_training(trainer, result.metrics)
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.config.use_cache = True
    trainer.publish_model()
    if training_args.do_eval or trainer.benchmarks is not None:
        evaluation = trainer.evaluate()
        if trainer.eval_dataset is not None:
            evaluation["eval_samples"] = len(trainer.eval_dataset)
        trainer.save_metrics("eval", evaluation)
        metrics |= evaluation
    if trainer.accelerator.is_main_process:
        trainer.create_model_card(Path(training_args.output_dir).name, script_args.dataset_name, tags=["open-r1"])
        extend_model_card(Path(training_args.output_dir), run.description, metrics)
        if training_args.push_to_hub:
            push_finished_model(training_args)
        _say_finished(trainer, script_args, metrics)
    return metrics


def run_script(main: Callable[..., object], script_class: type, config_class: type, description: str) -> NoReturn:
    """Parse the command line, run `main` with the three groups of arguments, and end the program.

    What is refused before the training begins is one message on stderr and exit status 1; `--log_level debug` logs its
    traceback. What happens in the training keeps its traceback. Ctrl-C says what is kept, with exit status 130. A
    mistake in the arguments themselves has exit status 2 (`parse_args`). Code that leaves the program from inside by
    `sys.exit` would end a job without a model and without an error: the status is 1 then.

    Args:
        main: Prepares a training and calls `run_training`.
        script_class: `SFTScriptArguments`, `GRPOScriptArguments` or `DistillScriptArguments`.
        config_class: `SFTConfig`, `GRPOConfig` or `DistillConfig`.
        description: For `--help`.
    """
    arguments = parse_args(script_class, config_class, description=description)
    try:
        main(*arguments)
    except SystemExit as error:
        logger.critical("Ended from inside, without a final model: exit was called (%s).", error.code, exc_info=error)
        sys.exit(error.code or 1)
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if not is_refusal(error):
            raise
        logger.debug("Refused here:", exc_info=error)
        # Several processes say who they are, as in torch's tracebacks. One write: they share their stderr.
        is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
        label = "" if is_alone else f"[rank{os.environ.get('RANK', '0')}]: "
        lines = f"{type(error).__name__}: {error}".splitlines()
        sys.stderr.write("".join(f"{label}{line}\n" for line in lines))
        sys.exit(1)
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            last = last_complete_checkpoint(Path(arguments[1].output_dir))
            kept = f"the same command resumes from {last}" if last else "there is no checkpoint yet to resume from"
            sys.stderr.write(f"\nStopped by Ctrl-C; {kept}.\n")
        sys.exit(STOPPED)
    # NOTE: torch aborts now and then where its threads still wait for other processes at the interpreter's end.
    PartialState().destroy_process_group()
    sys.exit(0)


def is_refusal(error: BaseException) -> bool:
    """Say whether an error was raised before the training began."""
    frames = traceback.walk_tb(error.__traceback__)
    return all(frame.f_code is not run_training.__code__ for frame, _ in frames)
