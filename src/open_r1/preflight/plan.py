# SPDX-License-Identifier: Apache-2.0
"""Plan of a run: steps, tokens and memory. The log begins with it; `--check_only` prints it instead of training.

    Run: GRPO of Qwen/Qwen2.5-1.5B-Instruct, 1,543,714,304 parameters, 100.00% trained, on ...; 8 processes
    Steps: 1,250, 1,250 an epoch of 20,000 rows; a step has 128 completions in 16 groups

Memory of a GPU, by formulas that are not calibrated on one:

1. Weights, gradients, optimizer: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), section 3 and figure 1.
2. Activations: what autograd saves of a Llama or Qwen layer, which a test counts; with checkpointing a hidden state of
   each layer, and one layer whole (Korthikanti et al. 2022, arXiv 2205.05198, section 5).
3. Logits: TRL 1.16 computes them in tiles of 4,096 tokens x 32,768 entries of the vocabulary, and collects the
   gradients of the head and of its input in fp32 (`trl/kernels/chunked_logprob.py`).

Left out: offloading, CUDA and NCCL (1 to 2 GiB), buffers of DeepSpeed and FSDP, fragmentation, generation (vLLM takes
the share of the GPU that the recipe gives it), reward models and teachers, eager attention, fragments of an epoch.
"""

import logging
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

from open_r1.configs.launch import Launch
from open_r1.configs.stages import build_stages
from open_r1.configs.training import DistillConfig, GRPOConfig, SFTConfig, TrainingConfig, TrainingScriptArguments
from open_r1.models import dtype_asked_for, load_config, lora_config, prompt_token_ids
from open_r1.preflight.model_and_data import check_lora_targets, empty_model
from open_r1.preflight.programs import spread
from open_r1.preflight.rewards import Trial
from open_r1.preflight.trained_rows import RowFigures

logger = logging.getLogger(__name__)

GIB = 2**30
_NUM_ROWS_MEASURED = 256
_TASKS: dict[type, str] = {SFTConfig: "SFT", GRPOConfig: "GRPO", DistillConfig: "Distillation"}


def make_schedule(args: TrainingConfig, num_rows: int, mean_length: float, longest: int) -> dict[str, Any]:
    """Return rows and steps of a run, what a step takes, and its tokens.

    Args:
        args: Settings of the run.
        num_rows: Rows of the training split.
        mean_length: Of rows, or of prompts, in tokens.
        longest: The most that one has.
    """
    replicas = args.launch.num_processes // args.launch.num_per_sequence
    accumulation = args.gradient_accumulation_steps
    batch = args.per_device_train_batch_size * replicas * accumulation
    group, num_rounds = 1, 1
    if isinstance(args, SFTConfig):
        length = min(longest, args.max_length or longest)
        mean_length = min(mean_length, length)
        if args.packing and args.max_length:
            num_rows = math.ceil(num_rows * mean_length / args.max_length)
            mean_length = length = args.max_length
        micro_batches = math.ceil(math.ceil(num_rows / args.per_device_train_batch_size) / replicas)
    else:
        prompts, repeats = batch, accumulation  # of a distillation
        if isinstance(args, GRPOConfig):
            group = args.num_generations or 1
            prompts = (args.generation_batch_size or 0) // group
            repeats = (args.steps_per_generation or 1) * args.num_iterations
            num_rounds += args.dynamic_sampling_rounds
        micro_batches = num_rows // prompts * repeats  # an incomplete generation is left out
        mean_length += args.max_completion_length or 0
        length = longest + (args.max_completion_length or 0)
    an_epoch = max(1, math.ceil(micro_batches / accumulation))
    return {
        "rows": num_rows,
        "batch": batch,
        "groups": batch / group,
        "length": length,
        "tokens": round(batch * mean_length * num_rounds),
        "steps_an_epoch": an_epoch,
        "steps": args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * an_epoch),
    }


def bytes_a_parameter(
    training_args: TrainingConfig, model_args: ModelConfig, dtype: torch.dtype
) -> tuple[float, float, float]:
    """Return the bytes of a weight, and for one that learns of its gradient and of the optimizer's states.

    Mixed precision with Adam has 2, 2 and 12: a copy in fp32 and two moments.
    """
    launch, size, states = training_args.launch, dtype.itemsize, 2 if "8bit" in str(training_args.optim.value) else 8
    is_mixed = bool(training_args.bf16 or training_args.fp16)
    if model_args.use_peft:  # the base in 4 bits has a scale of 32 bits for each 64 weights (Dettmers et al. 2023)
        return 0.5625 if model_args.load_in_4bit else 1 if model_args.load_in_8bit else size, 4, states
    if launch.is_fsdp or (launch.zero_stage and not is_mixed):
        return 4, 4, states
    if launch.zero_stage:
        return 2, 2, 4 + states
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
        "weights": sizes[0] * num_params / of_3,
        "gradients": sizes[1] * num_trained / of_2,
        "optimizer": sizes[2] * num_trained / of_1,
    }


def activation_bytes(config: Any, tokens: int, width: int, *, is_checkpointed: bool) -> float:
    """Return the bytes of what autograd saves of so many tokens, with numbers of `width` bytes.

    Of each token and layer: for both norms the input in fp32, the normalised input and the result; queries, keys,
    values and the output of the attention; gate, its activation, up, and their product.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    layer = 2 * hidden * (4 + 2 * width) + 4 * (hidden + inner) * width
    kept = layers * hidden * width + layer if is_checkpointed else layers * layer
    return tokens * (kept + hidden * (4 + width))


def _memory(
    args: TrainingConfig, model_args: ModelConfig, config: Any, num_params: int, num_trained: int, length: int
) -> dict[str, float]:
    """Return bytes for each process with rows of up to `length` tokens, by part."""
    dtype = dtype_asked_for(args, model_args) or config.dtype or torch.float32
    parts = state_bytes(num_params, num_trained, args.launch, bytes_a_parameter(args, model_args, dtype))
    if isinstance(args, GRPOConfig) and args.beta != 0 and not model_args.use_peft:
        parts["reference"] = parts["weights"]
    tokens = args.per_device_train_batch_size * length // args.launch.num_per_sequence
    width = 2 if args.bf16 or args.fp16 else dtype.itemsize
    head = 0 if model_args.use_peft else config.vocab_size * config.hidden_size * 4
    parts["logits"] = (
        min(tokens, 4096) * min(config.vocab_size, 32768) * width + tokens * config.hidden_size * 4 + head
    )
    is_checkpointed = bool(args.gradient_checkpointing)
    parts["activations"] = activation_bytes(config, tokens, width, is_checkpointed=is_checkpointed)
    return parts


def plan_run(
    script_args: TrainingScriptArguments,
    training_args: TrainingConfig,
    model_args: ModelConfig,
    rows: RowFigures | tuple[int, float, int],
) -> list[str] | None:
    """Return in a few lines what a run will do with its rows; begin the log with them, at any level.

    Args:
        rows: The figures of SFT's rows, or what `measure_prompts` says of GRPO's.

    Returns:
        None, with a warning, where the model can't be measured: the training may work nevertheless.
    """
    try:
        model: Any = empty_model(training_args, model_args)
    except Exception as error:  # noqa: BLE001 - architectures raise what they like
        logger.warning("The plan of the run is unknown: %s", error)
        return None
    lora = lora_config(model_args)
    if lora is not None:
        check_lora_targets(model, model_args)
        with torch.device("meta"):
            model = get_peft_model(model, lora)
    num_params = sum(parameter.numel() for parameter in model.parameters())
    num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    lengths = rows if isinstance(rows, tuple) else (rows.num_rows, rows.tokens / rows.checked, rows.longest)
    found = make_schedule(training_args, *lengths)
    config = load_config(training_args, model_args).get_text_config()
    memory = _memory(training_args, model_args, config, num_params, num_trained, found["length"])
    kind = "rows" if isinstance(training_args, SFTConfig) else f"completions in {found['groups']:g} groups"
    lines = [
        f"Run: {_TASKS[type(training_args)]} of {model_args.model_name_or_path}, {num_params:,} parameters, "
        f"{num_trained / num_params:.2%} trained, on {script_args.dataset_name or 'a mixture'}; "
        f"{training_args.launch}",
        f"Steps: {found['steps']:,}, {found['steps_an_epoch']:,} an epoch of {found['rows']:,} rows; "
        f"a step has {found['batch']:,} {kind}",
        f"Tokens: at most {found['tokens']:,} a step, {found['tokens'] * found['steps'] / 1e6:,.1f} M in all; "
        f"up to {found['length']:,} in a row",
        f"Memory: about {sum(memory.values()) / GIB:,.2f} GiB for each process, by formulas, not calibrated on a GPU: "
        + ", ".join(f"{name} {size / GIB:,.2f}" for name, size in memory.items()),
        *([] if isinstance(rows, tuple) else [str(rows)]),
    ]
    if training_args.process_index == 0 and not training_args.check_only:
        _write(lines)
    return lines


def measure_prompts(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, template_kwargs: Mapping[str, Any]
) -> tuple[int, float, int]:
    """Return the number of prompts, and mean and maximum of the tokens of 256 from all over the data."""
    rows = (dataset[number] for number in spread(range(len(dataset)), _NUM_ROWS_MEASURED))
    sizes = [len(prompt_token_ids(tokenizer, row["prompt"], template_kwargs)) for row in rows]
    return len(dataset), statistics.mean(sizes), max(sizes)


def report(plan: list[str] | None, training_args: TrainingConfig, tried: Sequence[Trial]) -> dict[str, float]:
    """Print what `check_only` has found, and return no metrics.

    Args:
        plan: What `plan_run` returned.
        training_args: The stages, and what could not be checked here.
        tried: What the rewards gave; empty where nothing is judged.

    Raises:
        ValueError: What the run needs isn't known.
    """
    if plan is None:
        raise ValueError("The plan of the run is unknown (see the warning above). All else was checked.")
    stages = build_stages(getattr(training_args, "stages", None))
    if training_args.process_index == 0:
        _write(
            [
                *plan,
                *(f"Stage {number}: {stage}" for number, stage in enumerate(stages, start=1) if len(stages) > 1),
                *map(str, tried),
                *(f"Not checked here: {reason}" for reason in training_args.not_checked),
            ]
        )
    return {}


def _write(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
