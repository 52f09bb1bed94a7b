# SPDX-License-Identifier: Apache-2.0
"""Plan of a run: steps, tokens, disk and memory. The log begins with it; `--check_only` prints it instead of training.

    Run: GRPO of Qwen/Qwen2.5-1.5B-Instruct, 1,543,714,304 parameters, 100.00% trained, on ...; 8 processes
    Steps: 1,250, 1,250 an epoch of 20,000 rows; a step has 128 completions in 16 groups; ...

Memory of a GPU, by formulas that are not calibrated on one:

1. Weights, gradients, optimizer: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), section 3 and figure 1.
2. Activations: what autograd saves of a Llama or Qwen layer, which a test counts; with checkpointing a hidden state of
   each layer, and one layer whole (Korthikanti et al. 2022, arXiv 2205.05198, section 5).
3. Logits: TRL 1.16 computes them in tiles of 4,096 tokens x 32,768 entries of the vocabulary, and collects the
   gradients of the head and of its input in fp32 (`trl/kernels/chunked_logprob.py`).
4. Cache of keys and values: 2 x layers x key-value heads x size of a head, for each token.

Left out: CUDA and NCCL (1 to 2 GiB), buffers of DeepSpeed and FSDP, fragmentation, reward models and teachers, eager
attention.
"""

import json
import logging
import math
import shutil
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig, get_peft_config

from open_r1.configs.launch import Launch
from open_r1.configs.stages import build_stages
from open_r1.configs.training import DistillConfig, GRPOConfig, SFTConfig, TrainingConfig, TrainingScriptArguments
from open_r1.models import dtype_asked_for, load_config, prompt_token_ids
from open_r1.preflight.model_and_data import check_lora_targets, empty_model
from open_r1.preflight.programs import spread
from open_r1.preflight.rewards import count_unjudgeable
from open_r1.preflight.trained_rows import RowFigures

logger = logging.getLogger(__name__)

GIB = 2**30
# GiB as the driver reports them.
GPUS = {
    "a10g": 22.5, "a100": 80.0, "a100-40gb": 40.0, "b200": 179.0, "h100": 79.6, "h200": 140.4, "l4": 22.5,
    "l40s": 45.0, "rtx3090": 24.0, "rtx4090": 24.0, "t4": 15.0,
}  # fmt: skip
_NUM_ROWS_MEASURED = 256
_TASKS: dict[type, str] = {SFTConfig: "SFT", GRPOConfig: "GRPO", DistillConfig: "Distillation"}


@dataclass(frozen=True)
class Plan:
    """Numbers of a run; lengths are tokens, memory is bytes for each process.

    Attributes:
        rows: Rows of an epoch: prompts (GRPO), conversations (SFT), or an estimate of the packed rows.
        batch: Completions (GRPO) or rows (SFT) of a step.
        groups: Groups of a step; None for SFT.
        prompts: Prompts of a generation; None for SFT.
        steps_a_generation: Steps that learn from the same completions; None for SFT.
        length: The longest of 256 rows (SFT: of those checked); for GRPO with the longest completion allowed.
        tokens: Of a step: at most (GRPO), about (SFT).
        checkpoints: Saved in all; None where a metric decides (`save_strategy: best`).
        disk_bytes: The most that the run has on disk, with the finished model.
        memory: By part; activations and logits are those of one micro-batch.
        peak: The most at any time.
        gpu: Name of the GPU that is planned for; None where none is known.
        cache_tokens: What fits into vLLM's share of the GPU beside the weights; None without such a share.
        row_figures: What templates and lengths take of SFT's rows; None for GRPO.
    """

    task: str
    model: str
    data: str
    launch: Launch
    num_params: int
    num_trained: int
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
    checkpoint_bytes: int
    disk_bytes: int
    disk_free: int
    memory: dict[str, float]
    peak: float
    gpu: str | None
    gpu_gib: float | None
    cache_tokens: int | None
    row_figures: RowFigures | None

    def lines(self) -> list[str]:
        """Return it in five lines, for SFT in six."""
        batch, about, measured = f"{self.batch:,} rows", "about", _NUM_ROWS_MEASURED
        if self.groups is not None:
            batch, about = f"{self.batch:,} completions in {self.groups:g} groups", "at most"
            batch += f"; {self.prompts:,} prompts a generation, steps from a generation: {self.steps_a_generation:g}"
        if self.row_figures is not None:
            measured = self.row_figures.checked
        number = "the best" if self.checkpoints is None else f"{self.checkpoints:,}"
        gpu = "no GPU is known" if self.gpu is None else f"{self.gpu} has {self.gpu_gib:.1f} GiB"
        return [
            f"Run: {self.task} of {self.model}, {self.num_params:,} parameters, "
            f"{self.num_trained / self.num_params:.2%} trained, on {self.data}; {self.launch}",
            f"Steps: {self.steps:,}, {self.steps_an_epoch:,} an epoch of {self.rows:,} rows; a step has {batch}",
            f"Tokens: {about} {self.tokens:,} a step, {self.tokens * self.steps / 1e6:,.1f} M in all; up to "
            f"{self.length:,} in a row, of {measured:,} measured",
            f"Disk: {number} checkpoints of {_gib(self.checkpoint_bytes)}; at most {_gib(self.disk_bytes)} in all, "
            f"{_gib(self.disk_free)} are free",
            f"Memory: about {_gib(self.peak)} for each process, by formulas, not calibrated on a GPU; {gpu}",
            *([] if self.row_figures is None else [str(self.row_figures)]),
        ]

    def problems(self) -> list[str]:
        """Return why the run can't work on the GPU that is planned for."""
        found = []
        if self.gpu_gib is not None and self.peak > self.gpu_gib * GIB:
            found.append(
                f"The run needs about {_gib(self.peak)} of each GPU, and {self.gpu} has {self.gpu_gib:.1f} GiB. Less "
                "is needed by ZeRO-3 over more processes, gradient checkpointing, LoRA, fewer rows a device, "
                "shorter rows."
            )
        if self.cache_tokens is not None and self.cache_tokens < self.length:
            found.append(
                f"vLLM's share of the GPU holds {self.cache_tokens:,} tokens beside the weights, and a prompt with "
                f"its completion may have {self.length:,}: raise `vllm_gpu_memory_utilization` or "
                "`vllm_tensor_parallel_size`."
            )
        return found


def make_schedule(args: TrainingConfig, num_rows: int, mean_length: float, longest: int) -> dict[str, Any]:
    """Return the steps that TRL and transformers make of so many rows, by the names of `Plan`.

    Lengths are tokens, for GRPO those of the prompts.
    """
    accumulation, replicas = (
        args.gradient_accumulation_steps,
        args.launch.num_processes // args.launch.num_per_sequence,
    )
    batch = args.per_device_train_batch_size * replicas * accumulation
    groups = prompts = repeats = None
    num_rounds = 1
    if not isinstance(args, SFTConfig):
        group = 1
        prompts, repeats = batch, accumulation  # of a distillation
        if isinstance(args, GRPOConfig):
            group = args.num_generations or 1
            prompts = (args.generation_batch_size or 0) // group
            repeats = (args.steps_per_generation or 1) * args.num_iterations
            num_rounds += args.dynamic_sampling_rounds
        groups = batch / group
        micro_batches = num_rows // prompts * repeats  # an incomplete generation is left out
        mean_length += args.max_completion_length or 0
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
    every = args.save_steps if args.save_steps >= 1 else max(1, math.ceil(steps * args.save_steps))
    saved = {"steps": math.ceil(steps / every), "epoch": math.ceil(steps / an_epoch), "no": 0}
    return {
        "rows": num_rows,
        "batch": batch,
        "groups": groups,
        "prompts": prompts,
        "steps_a_generation": None if repeats is None else repeats / accumulation,
        "length": length,
        "tokens": round(batch * mean_length * num_rounds),
        "steps_an_epoch": an_epoch,
        "steps": steps,
        "checkpoints": saved.get(args.save_strategy),
    }


def bytes_a_parameter(
    training_args: TrainingConfig, model_args: ModelConfig, dtype: torch.dtype
) -> tuple[float, float, float]:
    """Return the bytes of a weight, and for one that learns of its gradient and of the optimizer's states.

    Mixed precision with Adam has 2, 2 and 12: a copy in fp32 and two moments.
    """
    launch, optim, size = training_args.launch, str(training_args.optim.value), dtype.itemsize
    is_mixed = bool(training_args.bf16 or training_args.fp16)
    moments = 0 if optim.startswith(("sgd", "adafactor")) else 1 if "lion" in optim else 2
    states = moments * (1 if "8bit" in optim else 4)
    if model_args.use_peft:  # the base in 4 bits has a scale of 32 bits for each 64 weights (Dettmers et al. 2023)
        return 0.5625 if model_args.load_in_4bit else 1 if model_args.load_in_8bit else size, 4, states
    if launch.is_fsdp:
        return 4, 4, states
    if launch.zero_stage:
        return (2, 2, 4 + states) if is_mixed else (4, 4, states)
    return size + (2 if is_mixed and size == 4 else 0), size, states * size / 4  # autocast keeps what it has cast


def state_bytes(
    num_params: int, num_trained: int, launch: Launch, sizes: tuple[float, float, float] = (2, 2, 12)
) -> dict[str, float]:
    """Return the bytes of weights, gradients and optimizer on each process.

    Example:
        >>> sum(state_bytes(7_500_000_000, 7_500_000_000, Launch(num_processes=64, zero_stage=3)).values()) / 1e9
        1.875
    """
    of_3, of_2, of_1 = (launch.num_processes if launch.zero_stage >= stage else 1 for stage in (3, 2, 1))
    return {
        "weights": 0.0 if launch.offloads_weights else sizes[0] * num_params / of_3,
        "gradients": sizes[1] * num_trained / of_2,
        "optimizer": 0.0 if launch.offloads_optimizer else sizes[2] * num_trained / of_1,
    }


def activation_bytes(config: Any, tokens: int, width: int, *, is_checkpointed: bool) -> float:
    """Return the bytes of what autograd saves of so many tokens, with numbers of `width` bytes.

    Of each token and layer: for both norms the input in fp32, the normalised input and the result; queries, keys,
    values and the output of the attention, with a number for each head; gate, its activation, up, and their product.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    heads, size = _heads(config)
    experts = getattr(config, "num_experts_per_tok", None) or 1
    inner = getattr(config, "moe_intermediate_size", None) or getattr(config, "intermediate_size", None) or 4 * hidden
    layer = (
        2 * hidden * (4 + 2 * width) + (2 * size * (config.num_attention_heads + heads) + 4 * inner * experts) * width
    )
    layer += 4 * config.num_attention_heads
    kept = layers * hidden * width + layer if is_checkpointed else layers * layer
    return tokens * (kept + hidden * (4 + width))


def _heads(config: Any) -> tuple[int, int]:
    """Return the number of key-value heads, and the size of a head."""
    number = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // number
    return getattr(config, "num_key_value_heads", None) or number, size


def _memory(
    args: TrainingConfig, model_args: ModelConfig, config: Any, num_params: int, num_trained: int, length: int
) -> dict[str, Any]:
    """Return the memory of a run with rows of up to `length` tokens, by the names of `Plan`."""
    dtype = dtype_asked_for(args, model_args) or config.dtype or torch.float32
    sizes = bytes_a_parameter(args, model_args, dtype)
    tokens = args.per_device_train_batch_size * length // args.launch.num_per_sequence
    width = 2 if args.bf16 or args.fp16 else dtype.itemsize
    parts = state_bytes(num_params, num_trained, args.launch, sizes)
    is_checkpointed = bool(args.gradient_checkpointing)
    trains_head = not model_args.use_peft or "lm_head" in (model_args.lora_modules_to_save or [])
    head = config.vocab_size * config.hidden_size * 4 if trains_head else 0
    tile = min(tokens, 4096) * min(config.vocab_size, 32768) * width
    step = {
        "activations": activation_bytes(config, tokens, width, is_checkpointed=is_checkpointed),
        "logits": tile + tokens * config.hidden_size * 4 + head,
    }
    gpu, gib = find_gpu(args)
    generation, cache_tokens, is_freed = 0.0, None, True
    if not isinstance(args, SFTConfig):
        if isinstance(args, GRPOConfig) and args.beta != 0 and not model_args.use_peft:
            parts["reference"] = parts["weights"]
        heads, size = _heads(config)
        cached, weights = 2 * config.num_hidden_layers * heads * size * 2, 2 * num_params  # of a token, in 16 bits
        among, is_freed = args.vllm_tensor_parallel_size, not args.use_vllm or args.vllm_enable_sleep_mode
        if not args.use_vllm:
            is_gathered = args.launch.zero_stage == 3 and args.ds3_gather_for_generation
            steps = getattr(args, "steps_per_generation", args.gradient_accumulation_steps) or 1
            rows = args.per_device_train_batch_size * steps
            generation = rows * length * cached + (weights if is_gathered else 0)
        elif args.vllm_mode == "colocate":
            generation = (weights + length * cached) / among  # the least that it can do with
            if gib is not None:
                generation = args.vllm_gpu_memory_utilization * gib * GIB
                cache_tokens = max(0, int((generation * among - weights) / cached))
    now = sum(step.values())
    return {
        "memory": parts | step | {"generation": generation},
        "peak": sum(parts.values()) + (max(now, generation) if is_freed else now + generation),
        "gpu": gpu,
        "gpu_gib": gib,
        "cache_tokens": cache_tokens,
    }


def find_gpu(training_args: TrainingConfig) -> tuple[str | None, float | None]:
    """Return name and GiB of the GPU to plan for: `check_gpu`, a name or a number of GiB, else this machine's.

    Raises:
        ValueError: `check_gpu` is neither.
    """
    name = training_args.check_gpu
    if name is not None:
        try:
            return (name, GPUS[name.lower()]) if name.lower() in GPUS else (f"the GPU of {name} GiB", float(name))
        except ValueError:
            raise ValueError(f"`check_gpu` is {name!r}: give its memory in GiB, or one of {sorted(GPUS)}.") from None
    if training_args.use_cpu or not torch.cuda.is_available():
        return None, None
    found = torch.cuda.get_device_properties(0)
    return found.name, found.total_memory / GIB


def disk_bytes(
    args: TrainingConfig, sizes: tuple[float, float, float], num_trained: int, num_checkpoints: int | None
) -> tuple[int, int]:
    """Return the bytes of a checkpoint, and the most that a run has on disk, with the finished model.

    A checkpoint holds the weights that learn, in the size of their gradients, the states of the optimizer, DeepSpeed's
    copy of the weights, and a reference that moves.
    """
    weights = checkpoint = round(num_trained * sizes[1])
    if not args.save_only_model:
        copies = (args.launch.zero_stage > 0 and not args.launch.is_fsdp) + bool(
            getattr(args, "sync_ref_model", False)
        )
        checkpoint += copies * weights + round(num_trained * sizes[2])
    kept, limit = 2 if num_checkpoints is None else num_checkpoints, args.save_total_limit
    kept = min(kept, limit + 1) if limit else kept  # an old one goes when the new one is whole
    return checkpoint, kept * checkpoint + weights


def plan_run(
    script_args: TrainingScriptArguments,
    training_args: TrainingConfig,
    model_args: ModelConfig,
    rows: RowFigures | tuple[int, float, int],
) -> Plan | None:
    """Return what a run will do with its rows, and begin the log with it in a few lines, at any level.

    Beside a single line of progress (`compact_progress`) they are shown only where the level asks for them.

    Args:
        rows: The figures of SFT's rows, or what `measure_prompts` says of GRPO's.

    Returns:
        None, with a warning, where the model can't be measured: the training may work nevertheless.
    """
    try:
        model: Any = empty_model(training_args, model_args)
    except Exception as error:  # noqa: BLE001 - architectures raise what they like
        logger.warning("What the run will need is not known: %s", error)
        return None
    if model_args.use_peft:
        check_lora_targets(model, model_args)
        with torch.device("meta"):
            model = get_peft_model(model, get_peft_config(model_args))
    num_params = sum(parameter.numel() for parameter in model.parameters())
    num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    config: Any = load_config(training_args, model_args).get_text_config()
    figures = rows if isinstance(rows, RowFigures) else None
    lengths = rows if isinstance(rows, tuple) else (rows.num_rows, rows.tokens / rows.checked, rows.longest)
    schedule = make_schedule(training_args, *lengths)
    sizes = bytes_a_parameter(
        training_args, model_args, dtype_asked_for(training_args, model_args) or config.dtype or torch.float32
    )
    checkpoint, disk = disk_bytes(training_args, sizes, num_trained, schedule["checkpoints"])
    folder = Path(training_args.output_dir).absolute()
    plan = Plan(
        task=_TASKS[type(training_args)],
        model=str(model_args.model_name_or_path),
        data=script_args.dataset_name or "a mixture",
        launch=training_args.launch,
        num_params=num_params,
        num_trained=num_trained,
        checkpoint_bytes=checkpoint,
        disk_bytes=disk,
        disk_free=shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free,
        row_figures=figures,
        **schedule,
        **_memory(training_args, model_args, config, num_params, num_trained, schedule["length"]),
    )
    if "compact_progress" in training_args.callbacks:
        logger.info("%s", "\n".join(plan.lines()))
    elif training_args.process_index == 0 and not training_args.check_only:
        _write(plan.lines())
    return plan


def measure_prompts(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, template_kwargs: Mapping[str, Any]
) -> tuple[int, float, int]:
    """Return the number of prompts, and mean and maximum of the tokens of those from all over the data."""
    rows = (dataset[number] for number in spread(range(len(dataset)), _NUM_ROWS_MEASURED))
    sizes = [len(prompt_token_ids(tokenizer, row["prompt"], template_kwargs)) for row in rows]
    return len(dataset), statistics.mean(sizes), max(sizes)


def report(
    plan: Plan | None,
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
    problems = plan.problems()
    golds = {} if judged is None or training_args.process_index != 0 else count_unjudgeable(script_args, judged)
    stages = build_stages(training_args.stages) if isinstance(training_args, GRPOConfig) else []
    stages = stages if len(stages) > 1 else []
    if training_args.json:
        found = {
            **asdict(plan),
            "fits": None if plan.gpu is None else not problems,
            "problems": problems,
            "unjudgeable_golds": {name: [of.num_unjudged, of.num_tried] for name, of in golds.items()},
            "unjudgeable_examples": {name: of.examples() for name, of in golds.items()},
            "not_checked": training_args.not_checked,
            "is_calibrated": False,
            **({"stages": training_args.stages} if stages else {}),
        }
        lines = [json.dumps(found, indent=1, default=str)]
    else:
        lines = [*plan.lines(), *(f"Stage {number}: {stage}" for number, stage in enumerate(stages, start=1))]
        lines += [f"Memory for {name}: {_gib(size)}" for name, size in plan.memory.items() if size]
        lines += [] if plan.cache_tokens is None else [f"Tokens in vLLM's cache: {plan.cache_tokens:,}"]
        for name, of in golds.items():
            lines.append(f"Golds unjudged by {name}: {of.num_unjudged:,} of {of.num_tried:,}")
            for kind, examples in of.examples().items():
                share, shown = len(of.by_kind[kind]) / of.num_tried, " | ".join(map(repr, examples))
                lines.append(f"  {name}: {kind}, {share:.1%}: {shown}")
        lines += [f"Not checked here: {reason}" for reason in training_args.not_checked]
    if training_args.process_index == 0:
        _write(lines)
    if problems:
        raise ValueError(" ".join(problems))
    return {}


def _write(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.1f} MiB"
