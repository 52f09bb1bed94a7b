# SPDX-License-Identifier: Apache-2.0
"""What a run will do and need. The log begins with it; `--check_only` prints it in place of a training."""

import json
import logging
import math
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

from open_r1.configs.launch import Launch
from open_r1.configs.stages import build_stages
from open_r1.configs.training import GRPOConfig, TrainingConfig, TrainingScriptArguments
from open_r1.models import prompt_token_ids, template_kwargs_of
from open_r1.preflight.memory import GIB, Memory, ModelSize, memory_of, size_of_model, sizes_of_numbers
from open_r1.preflight.model_and_data import check_lora_targets
from open_r1.preflight.programs import spread
from open_r1.preflight.rewards import UnjudgedGolds, count_unjudgeable
from open_r1.preflight.trained_rows import RowFigures

logger = logging.getLogger(__name__)

_NUM_ROWS_MEASURED = 256


@dataclass(frozen=True)
class Schedule:
    """Numbers of an optimizer step, and of all steps.

    Attributes:
        rows: Rows of an epoch: prompts (GRPO), conversations (SFT), or an estimate of the packed rows.
        batch: Completions (GRPO) or rows (SFT) of a step.
        groups: Groups of a step; None for SFT.
        prompts: Prompts of a generation; None for SFT.
        steps_a_generation: Steps that learn from the same completions; None for SFT.
        length: Tokens of the longest of 256 rows; for GRPO with the longest completion allowed.
        tokens: Tokens of a step: at most (GRPO), about (SFT).
        steps_an_epoch: Optimizer steps of an epoch.
        steps: Optimizer steps of the run.
        checkpoints: Checkpoints saved in all; None where a metric decides (`save_strategy: best`).
    """

    rows: int
    batch: int
    groups: float | None
    prompts: int | None
    steps_a_generation: float | None
    length: int
    tokens: int
    steps_an_epoch: int
    steps: int
    checkpoints: int | None


def make_schedule(training_args: TrainingConfig, num_rows: int, mean_length: float, longest: int) -> Schedule:
    """Return the steps that TRL and transformers make of so many rows; lengths are tokens, for GRPO of the prompts."""
    args, accumulation = training_args, training_args.gradient_accumulation_steps
    replicas = args.launch.num_processes // args.launch.num_per_sequence
    batch = args.per_device_train_batch_size * replicas * accumulation
    groups = prompts = repeats = None
    num_rounds = 1
    if isinstance(args, GRPOConfig):
        group = args.num_generations or 1
        groups, prompts = batch / group, (args.generation_batch_size or 0) // group
        repeats = (args.steps_per_generation or 1) * args.num_iterations
        micro_batches = num_rows // prompts * repeats  # an incomplete generation is left out
        mean_length += args.max_completion_length or 0
        num_rounds += args.dynamic_sampling_rounds
        length = longest + (args.max_completion_length or 0)
    else:
        length = min(longest, args.max_length or longest)
        mean_length = min(mean_length, length)
        if args.packing and args.max_length:
            num_rows = math.ceil(num_rows * mean_length / args.max_length)
            mean_length = length = args.max_length
        whole = math.floor if args.dataloader_drop_last else math.ceil
        micro_batches = whole(whole(num_rows / args.per_device_train_batch_size) / replicas)
    an_epoch = max(1, math.ceil(micro_batches / accumulation))
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * an_epoch)
    return Schedule(
        rows=num_rows,
        batch=batch,
        groups=groups,
        prompts=prompts,
        steps_a_generation=None if repeats is None else repeats / accumulation,
        length=length,
        tokens=round(batch * mean_length * num_rounds),
        steps_an_epoch=an_epoch,
        steps=steps,
        checkpoints=_num_checkpoints(args, steps, an_epoch),
    )


def _num_checkpoints(training_args: TrainingConfig, steps: int, steps_an_epoch: int) -> int | None:
    if training_args.save_strategy == "steps":  # every so many, or a share of all; the last one is saved too
        every = training_args.save_steps
        if every <= 0 or steps == 0:
            return 0
        return math.ceil(steps / (every if every >= 1 else math.ceil(steps * every)))
    return {"epoch": math.ceil(steps / steps_an_epoch), "no": 0}.get(training_args.save_strategy)


def disk_bytes(
    training_args: TrainingConfig, model_args: ModelConfig, model: ModelSize, num_checkpoints: int | None
) -> tuple[int, int]:
    """Return the bytes of a checkpoint, and the most that a run has on disk, with the finished model.

    A checkpoint holds the weights that learn, in the size of their gradients, the states of the optimizer, DeepSpeed's
    copy of the weights, and a reference that moves.
    """
    sizes, launch = sizes_of_numbers(training_args, model_args, model.dtype), training_args.launch
    weights, copies = round(model.num_trained * sizes.gradient), 1
    if not training_args.save_only_model:
        copies += launch.zero_stage > 0 and not launch.is_fsdp
        copies += isinstance(training_args, GRPOConfig) and training_args.sync_ref_model
    states = 0 if training_args.save_only_model else round(model.num_trained * sizes.optimizer)
    checkpoint = copies * weights + states
    kept, limit = 2 if num_checkpoints is None else num_checkpoints, training_args.save_total_limit
    kept = min(kept, limit + 1) if limit else kept  # an old one goes when the new one is whole
    return checkpoint, kept * checkpoint + weights


@dataclass(frozen=True)
class RunPlan:
    """What a run will do and need; sizes on disk are bytes, `disk` with all checkpoints and the finished model."""

    task: str
    model_name: str
    data: str
    launch: Launch
    model: ModelSize
    schedule: Schedule
    checkpoint: int
    disk: int
    disk_free: int
    memory: Memory
    rows: RowFigures | None

    def lines(self) -> list[str]:
        """Return it in five lines, for SFT in six."""
        plan, model, memory = self.schedule, self.model, self.memory
        batch, about = f"{plan.batch:,} rows", "about"
        if plan.groups is not None:
            batch, about = f"{plan.batch:,} completions in {plan.groups:g} groups", "at most"
            batch += f"; {plan.prompts:,} prompts a generation, steps from a generation: {plan.steps_a_generation:g}"
        number = "the best" if plan.checkpoints is None else f"{plan.checkpoints:,}"
        measured = _NUM_ROWS_MEASURED if self.rows is None else self.rows.checked
        gpu = "no GPU is known" if memory.gpu is None else f"{memory.gpu} has {memory.gpu_gib:.1f} GiB"
        return [
            f"Run: {self.task} of {self.model_name}, {model.num_params:,} parameters, "
            f"{model.num_trained / model.num_params:.2%} trained, on {self.data}; {self.launch}",
            f"Steps: {plan.steps:,}, {plan.steps_an_epoch:,} an epoch of {plan.rows:,} rows; a step has {batch}",
            f"Tokens: {about} {plan.tokens:,} a step, {plan.tokens * plan.steps / 1e6:,.1f} M in all; up to "
            f"{plan.length:,} in a row, of {measured:,} measured",
            f"Disk: {number} checkpoints of {_gib(self.checkpoint)}; at most {_gib(self.disk)} in all, "
            f"{_gib(self.disk_free)} are free",
            f"Memory: about {_gib(memory.peak)} for each process, by formulas, not calibrated on a GPU; {gpu}",
            *([] if self.rows is None else [str(self.rows)]),
        ]

    def problems(self) -> list[str]:
        """Return why the run can't work on the GPU that is planned for."""
        memory, found = self.memory, []
        if memory.gpu_gib is not None and memory.peak > memory.gpu_gib * GIB:
            found.append(
                f"The run needs about {_gib(memory.peak)} of each GPU, and {memory.gpu} has {memory.gpu_gib:.1f} GiB. "
                "Less is needed by ZeRO-3 over more processes, gradient checkpointing, LoRA, a smaller "
                "`per_device_train_batch_size`, shorter rows."
            )
        if memory.cache_tokens is not None and memory.cache_tokens < self.schedule.length:
            found.append(
                f"vLLM's share of the GPU holds {memory.cache_tokens:,} tokens beside the weights, and a prompt with "
                f"its completion may have {self.schedule.length:,}: raise `vllm_gpu_memory_utilization` or "
                "`vllm_tensor_parallel_size`."
            )
        return found


def plan_run(
    script_args: TrainingScriptArguments,
    training_args: TrainingConfig,
    model_args: ModelConfig,
    rows: RowFigures | tuple[int, float, int],
) -> RunPlan | None:
    """Return what a run will do with its rows, and begin the log with it in a few lines, at any level.

    `rows` are the figures of SFT's, or what `measure_prompts` says of GRPO's.

    Beside a single line of progress (`compact_progress`) they are shown only where the level asks for them.

    Returns:
        None, with a warning, where the model can't be measured: the training may work nevertheless.
    """
    check_lora_targets(training_args, model_args)
    try:
        model = size_of_model(training_args, model_args)
    except Exception as error:  # noqa: BLE001 - architectures and peft raise what they like
        logger.warning("What the run will need is not known: %s", error)
        return None
    figures = rows if isinstance(rows, RowFigures) else None
    lengths = rows if isinstance(rows, tuple) else (rows.num_rows, rows.tokens / rows.checked, rows.longest)
    schedule = make_schedule(training_args, *lengths)
    checkpoint, disk = disk_bytes(training_args, model_args, model, schedule.checkpoints)
    folder = Path(training_args.output_dir).absolute()
    plan = RunPlan(
        task="GRPO" if isinstance(training_args, GRPOConfig) else "SFT",
        model_name=str(model_args.model_name_or_path),
        data=script_args.dataset_name or "a mixture",
        launch=training_args.launch,
        model=model,
        schedule=schedule,
        checkpoint=checkpoint,
        disk=disk,
        disk_free=shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free,
        memory=memory_of(training_args, model_args, model, schedule.length),
        rows=figures,
    )
    if "compact_progress" in training_args.callbacks:
        logger.info("%s", "\n".join(plan.lines()))
    elif training_args.process_index == 0 and not training_args.check_only:
        _write(plan.lines())
    return plan


def measure_prompts(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, training_args: GRPOConfig
) -> tuple[int, float, int]:
    """Return the number of prompts, and mean and maximum of the tokens of those from all over the data."""
    given = template_kwargs_of(training_args)
    rows = (dataset[number] for number in spread(range(len(dataset)), _NUM_ROWS_MEASURED))
    sizes = [len(prompt_token_ids(tokenizer, row["prompt"], given)) for row in rows]
    return len(dataset), statistics.mean(sizes), max(sizes)


def report(
    plan: RunPlan | None,
    script_args: TrainingScriptArguments,
    training_args: TrainingConfig,
    judged: Dataset | None,
) -> dict[str, float]:
    """Print what `check_only` has found, and return no metrics.

    Args:
        plan: What `plan_run` returned.
        script_args: Names of the rewards.
        training_args: Whether to print JSON, and what could not be checked here.
        judged: Rows with gold answers; None where nothing is judged.

    Raises:
        ValueError: The run can't work on the GPU that is planned for, or what it needs isn't known.
    """
    if plan is None:
        raise ValueError("What the run needs is not known, the warning above says why. All else was checked.")
    memory, problems = plan.memory, plan.problems()
    unjudgeable = {} if judged is None or training_args.process_index != 0 else count_unjudgeable(script_args, judged)
    stages = build_stages(training_args.stages) if isinstance(training_args, GRPOConfig) else []
    if training_args.json:
        found = {
            **asdict(plan),
            "fits": None if memory.gpu is None else not problems,
            "problems": problems,
            "unjudgeable_golds": {name: [of.num_unjudged, of.num_tried] for name, of in unjudgeable.items()},
            "unjudgeable_examples": {name: of.examples() for name, of in unjudgeable.items()},
            "not_checked": training_args.not_checked,
            "is_calibrated": False,
            **({"stages": training_args.stages} if len(stages) > 1 else {}),
        }
        lines = [json.dumps(found, indent=1, default=str)]
    else:
        rows = [(f"Memory for {name}", _gib(size)) for name, size in memory.parts.items() if size]
        rows += [] if memory.cache_tokens is None else [("Tokens in vLLM's cache", f"{memory.cache_tokens:,}")]
        rows += [
            (f"Golds unjudged by {name}", f"{of.num_unjudged:,} of {of.num_tried:,}")
            for name, of in unjudgeable.items()
        ]
        described = [f"Stage {number}: {stage}" for number, stage in enumerate(stages, start=1)]
        lines = [
            *plan.lines(),
            *(described if len(stages) > 1 else []),
            *(f"{name:40} {value:>18}" for name, value in rows),
        ]
        lines += [line for name, of in unjudgeable.items() for line in _lines_of_golds(name, of)]
        lines += [f"Not checked here: {reason}" for reason in training_args.not_checked]
    if training_args.process_index == 0:
        _write(lines)
    if problems:
        raise ValueError(" ".join(problems))
    return {}


def _lines_of_golds(name: str, unjudged: UnjudgedGolds) -> list[str]:
    """Return a line for each kind of golds that a reward can't judge, with its share and some of them."""
    return [
        f"  {name}: {kind}, {len(unjudged.by_kind[kind]) / unjudged.num_tried:.1%}: " + " | ".join(map(repr, examples))
        for kind, examples in unjudged.examples().items()
    ]


def _write(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.1f} MiB"
