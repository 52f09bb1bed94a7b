# SPDX-License-Identifier: Apache-2.0
"""Memory that a training needs on each GPU, by formulas. Not calibrated on a GPU.

1. Weights, gradients, optimizer: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), section 3 and figure 1.
2. Activations: what autograd saves of a Llama or Qwen layer of transformers, which a test counts. With checkpointing a
   hidden state of each layer, and one layer whole (Korthikanti et al. 2022, arXiv 2205.05198, section 5).
3. Logits: TRL 1.16 computes them in tiles of 4,096 tokens x 32,768 entries of the vocabulary, and collects the
   gradients of the head and of its input in fp32 (`trl/kernels/chunked_logprob.py`).
4. Cache of keys and values: 2 x layers x key-value heads x size of a head, for each token.

Left out: CUDA and NCCL (1 to 2 GiB), buffers of DeepSpeed and FSDP, fragmentation, reward models, and what eager
attention keeps.
"""

from dataclasses import dataclass
from typing import Any

import torch
from peft import get_peft_model
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel
from trl import ModelConfig, get_peft_config

from open_r1.configs.launch import Launch
from open_r1.configs.training import GRPOConfig, TrainingConfig
from open_r1.models import dtype_asked_for, load_config

GIB = 2**30
# GiB as the driver reports them.
GPUS = {
    "a10g": 22.5, "a100": 80.0, "a100-40gb": 40.0, "b200": 179.0, "h100": 79.6, "h200": 140.4, "l4": 22.5,
    "l40s": 45.0, "rtx3090": 24.0, "rtx4090": 24.0, "t4": 15.0,
}  # fmt: skip


@dataclass(frozen=True)
class ModelSize:
    """What decides the memory of a model; `intermediate` is summed over the experts of a token."""

    num_params: int
    num_trained: int
    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocabulary: int
    has_qk_norm: bool
    dtype: torch.dtype

    @property
    def cache_bytes(self) -> int:
        """Bytes of a token's keys and values in 16 bits."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * 2


def empty_model(training_args: TrainingConfig, model_args: ModelConfig) -> PreTrainedModel:
    """Return a model on the meta device, where it takes no memory.

    Raises:
        ValueError: transformers has no such architecture (its code comes with the model).
    """
    config = load_config(training_args, model_args)
    # NOTE: not `from_config`, which would split the model among the processes under ZeRO-3.
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if model_class is None:
        raise ValueError(f"transformers has no causal language model of the type {config.model_type!r}.")
    with torch.device("meta"):
        return model_class(config if isinstance(config, model_class.config_class) else config.get_text_config())


def size_of_model(training_args: TrainingConfig, model_args: ModelConfig) -> ModelSize:
    """Return the size of a model (`empty_model`)."""
    config = load_config(training_args, model_args)
    text: Any = config.get_text_config()
    model: Any = empty_model(training_args, model_args)
    has_qk_norm = any(name.endswith("q_norm") for name, _ in model.named_modules())
    if model_args.use_peft:
        with torch.device("meta"):
            model = get_peft_model(model, get_peft_config(model_args))
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]

    def read(name: str, default: int) -> int:  # architectures leave out what they don't need
        return getattr(text, name, None) or default

    heads, hidden = read("num_attention_heads", 1), text.hidden_size
    return ModelSize(
        num_params=sum(size for size, _ in sizes),
        num_trained=sum(size for size, is_trained in sizes if is_trained),
        num_layers=text.num_hidden_layers,
        hidden=hidden,
        intermediate=read("moe_intermediate_size", read("intermediate_size", 4 * hidden))
        * read("num_experts_per_tok", 1),
        num_heads=heads,
        num_kv_heads=read("num_key_value_heads", heads),
        head_dim=read("head_dim", hidden // heads),
        vocabulary=text.vocab_size,
        has_qk_norm=has_qk_norm,
        dtype=dtype_asked_for(training_args, model_args) or config.dtype or torch.float32,
    )


@dataclass(frozen=True)
class NumberSizes:
    """Bytes of a number. The defaults are those of mixed precision with Adam, whose states are a copy and two moments.

    Attributes:
        weight: Of all parameters.
        gradient: Of those that learn.
        optimizer: All states of a parameter that learns.
        hidden: Hidden states between layers.
        compute: Arithmetic.
    """

    weight: float = 2
    gradient: float = 2
    optimizer: float = 12
    hidden: int = 2
    compute: int = 2


def sizes_of_numbers(training_args: TrainingConfig, model_args: ModelConfig, dtype: torch.dtype) -> NumberSizes:
    """Return the bytes that a run has for each number, by its precision, optimizer, adapter and launch."""
    launch, optim, size = training_args.launch, str(training_args.optim.value), dtype.itemsize
    is_mixed = bool(training_args.bf16 or training_args.fp16)
    num_moments = 0 if optim.startswith(("sgd", "adafactor")) else 1 if "lion" in optim else 2
    states = num_moments * (1 if "8bit" in optim else 4)
    compute = 2 if is_mixed else size
    if model_args.use_peft:  # the base in 4 bits has a scale of 32 bits for each 64 weights (Dettmers et al. 2023)
        base = 0.5625 if model_args.load_in_4bit else 1 if model_args.load_in_8bit else size
        return NumberSizes(base, 4, states, size, compute)
    if launch.is_fsdp:
        return NumberSizes(4, 4, states, compute, compute)
    if launch.zero_stage:
        return NumberSizes(2, 2, 4 + states, 2, 2) if is_mixed else NumberSizes(4, 4, states, 4, 4)
    cast = 2 if is_mixed and size == 4 else 0  # autocast keeps what it has cast
    return NumberSizes(size + cast, size, states * size / 4, size, compute)


def state_bytes(num_params: int, num_trained: int, launch: Launch, sizes: NumberSizes) -> dict[str, float]:
    """Return the bytes of weights, gradients and optimizer on each process.

    Example:
        >>> num_params, launch = 7_500_000_000, Launch(num_processes=64, zero_stage=3)
        >>> sum(state_bytes(num_params, num_params, launch, NumberSizes()).values()) / 1e9
        1.875
    """
    of_3, of_2, of_1 = (launch.num_processes if launch.zero_stage >= stage else 1 for stage in (3, 2, 1))
    return {
        "weights": 0.0 if launch.offloads_weights else sizes.weight * num_params / of_3,
        "gradients": sizes.gradient * num_trained / of_2,
        "optimizer": 0.0 if launch.offloads_optimizer else sizes.optimizer * num_trained / of_1,
    }


def activation_bytes(model: ModelSize, tokens: int, sizes: NumberSizes, *, is_checkpointed: bool) -> float:
    """Return the bytes of what autograd saves of a micro-batch of so many tokens.

    Of each token and layer: for both norms the input in fp32, the normalised input and the result; queries, keys,
    values and the output of the attention, with a number for each head; gate, its activation, up, and their product.
    """
    norm = 4 + sizes.hidden + sizes.compute
    queries, keys = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    layer = 2 * model.hidden * norm + (2 * queries + 2 * keys + 4 * model.intermediate) * sizes.compute
    layer += (queries + keys) * (4 + sizes.compute) if model.has_qk_norm else 0
    layer += model.num_heads * 4
    last_norm = model.hidden * (4 + sizes.hidden)
    layers = model.num_layers * model.hidden * sizes.hidden + layer if is_checkpointed else model.num_layers * layer
    return tokens * (layers + last_norm)


def logit_bytes(model: ModelSize, tokens: int, sizes: NumberSizes, *, trains_head: bool) -> float:
    """Return the bytes of a tile of logits, and of the gradients that TRL collects in fp32."""
    tile = min(tokens, 4096) * min(model.vocabulary, 32768) * sizes.compute
    return tile + tokens * model.hidden * 4 + (model.vocabulary * model.hidden * 4 if trains_head else 0)


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU.

    Attributes:
        parts: Bytes by part; activations and logits are those of one micro-batch.
        peak: The most at any time.
        gpu: Name of the GPU that is planned for; None where none is known.
        gpu_gib: Its memory.
        cache_tokens: Tokens that fit into vLLM's share of the GPU beside the weights; None without such a share.
    """

    parts: dict[str, float]
    peak: float
    gpu: str | None
    gpu_gib: float | None
    cache_tokens: int | None


def memory_of(training_args: TrainingConfig, model_args: ModelConfig, model: ModelSize, length: int) -> Memory:
    """Return the memory of a run on each GPU, with rows of up to `length` tokens."""
    launch, sizes = training_args.launch, sizes_of_numbers(training_args, model_args, model.dtype)
    tokens = training_args.per_device_train_batch_size * length // launch.num_per_sequence
    parts = state_bytes(model.num_params, model.num_trained, launch, sizes)
    trains_head = not model_args.use_peft or "lm_head" in (model_args.lora_modules_to_save or [])
    step = {
        "activations": activation_bytes(model, tokens, sizes, is_checkpointed=training_args.gradient_checkpointing),
        "logits": logit_bytes(model, tokens, sizes, trains_head=trains_head),
    }
    gpu, gib = find_gpu(training_args)
    generation, cache_tokens, is_freed = 0.0, None, True
    if isinstance(training_args, GRPOConfig):
        if training_args.beta != 0 and not model_args.use_peft:
            parts["reference"] = parts["weights"]
        generation, cache_tokens = _generation(training_args, model, length, gib)
        is_freed = not training_args.use_vllm or training_args.vllm_enable_sleep_mode
    now = sum(step.values())
    peak = sum(parts.values()) + (max(now, generation) if is_freed else now + generation)
    return Memory(parts | step | {"generation": generation}, peak, gpu, gib, cache_tokens)


def _generation(
    training_args: GRPOConfig, model: ModelSize, length: int, gib: float | None
) -> tuple[float, int | None]:
    """Return the bytes that generation takes of a GPU, and the tokens that vLLM's cache there holds."""
    weights = 2 * model.num_params
    if not training_args.use_vllm:
        rows = training_args.per_device_train_batch_size * (training_args.steps_per_generation or 1)
        is_gathered = training_args.launch.zero_stage == 3 and training_args.ds3_gather_for_generation
        return rows * length * model.cache_bytes + (weights if is_gathered else 0), None
    if training_args.vllm_mode == "server":
        return 0, None
    among = training_args.vllm_tensor_parallel_size
    if gib is None:  # the least that it can do with
        return (weights + length * model.cache_bytes) / among, None
    share = training_args.vllm_gpu_memory_utilization * gib * GIB
    return share, max(0, int((share * among - weights) / model.cache_bytes))


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
