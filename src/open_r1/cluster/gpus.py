# SPDX-License-Identifier: Apache-2.0
"""GPUs of one copy of a model: as few as hold it, in numbers that divide its attention heads.

Heads and the size of the weights come from a folder or from the hub's cache, heads also from the hub; the size at last
from the name ("7B"). `scripts/get_tensor_parallel_size.py` is the command, which slurm/ calls.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Weights take at most this share of the GPUs' memory, so that answers have room; else, on all GPUs, the second one.
_ROOMY, _TIGHT = 0.6, 0.9
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")


@dataclass(frozen=True)
class ModelSize:
    """What decides over how many GPUs a model goes; None: not known.

    Args:
        num_heads: Attention heads of a layer.
        num_kv_heads: Key-value heads of a layer.
        weights_gb: Size of the weights, in 10**9 bytes.
    """

    num_heads: int | None = None
    num_kv_heads: int | None = None
    weights_gb: float | None = None


def allowed_sizes(size: ModelSize, num_gpus: int) -> list[int]:
    """Return the divisors of `num_gpus` over which vLLM can split each layer.

    >>> allowed_sizes(ModelSize(28, 4), 8), allowed_sizes(ModelSize(32, 8), 16), allowed_sizes(ModelSize(), 6)
    ([1, 2, 4], [1, 2, 4, 8, 16], [1, 2, 3, 6])
    """
    heads, kv_heads = size.num_heads or 0, size.num_kv_heads or 0
    return [
        tp
        for tp in range(1, num_gpus + 1)
        if num_gpus % tp == 0
        and heads % tp == 0
        and (kv_heads % tp == 0 or tp % kv_heads == 0)  # vLLM copies key-value heads that are too few
    ]


def gpus_of_copy(size: ModelSize, num_gpus: int, gpu_memory_gb: float) -> int:
    """Return the fewest of `num_gpus` GPUs that hold a copy; of an unknown size, the most that its heads allow.

    >>> gpus_of_copy(ModelSize(28, 4, 15.2), 8, 80), gpus_of_copy(ModelSize(64, 8, 145.4), 8, 80)
    (1, 4)

    Raises:
        ValueError: No number that the heads allow holds it.
    """
    sizes = allowed_sizes(size, num_gpus)
    if size.weights_gb is None:
        return sizes[-1]
    for share in (_ROOMY, _TIGHT):
        for tp in sizes:
            if size.weights_gb <= share * gpu_memory_gb * tp:
                return tp
    raise ValueError(
        f"its weights are {size.weights_gb:.0f} GB, more than {sizes[-1]} GPUs of {gpu_memory_gb:g} GB hold, the most "
        f"of {num_gpus} that its heads can be split over: use more nodes, or set --gpu_memory_gb"
    )


def read_size(model: str, revision: str) -> ModelSize:
    """Return what a model's folder says, or the cache or the hub.

    Raises:
        OSError, ValueError: There is no configuration of it, or a broken one.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _size_of(folder)
    from huggingface_hub import constants, hf_hub_download

    is_offline = constants.HF_HUB_OFFLINE
    return _size_of(Path(hf_hub_download(model, "config.json", revision=revision, local_files_only=is_offline)).parent)


def _size_of(folder: Path) -> ModelSize:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'} is not a JSON object")
    parts = [part for part in (config.get("text_config"), config) if isinstance(part, dict)]
    heads = _first(parts, _HEADS)
    return ModelSize(heads, _first(parts, _KV_HEADS) or heads, _weights_in(folder))


def _first(parts: Sequence[dict], names: Sequence[str]) -> int | None:
    values = [part[name] for part in parts for name in names if part.get(name)]
    if values and not isinstance(values[0], int):
        raise ValueError(f"{values[0]!r} is not a number of heads")
    return values[0] if values else None


def _weights_in(folder: Path) -> float | None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():  # of a model that is cached in part too
        return json.loads(index.read_text(encoding="utf-8"))["metadata"]["total_size"] / 1e9
    files = [*folder.glob("*.safetensors")] or [*folder.glob("pytorch_model*.bin")]
    return sum(path.stat().st_size for path in files) / 1e9 or None


def weights_by_name(model: str) -> float | None:
    """Return the size of weights that a name tells, two bytes a parameter.

    >>> weights_by_name("Qwen/Qwen3-30B-A3B"), weights_by_name("Mixtral-8x7B"), weights_by_name("mistral-large")
    (60.0, 112.0, None)
    """
    counts = re.findall(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])", model.lower())
    experts = re.search(r"(?<=b-)(\d+)e\b", model.lower())  # Llama 4 writes those of each token apart: 17B-16E
    sizes = [float(count) * int(copies or (experts[1] if experts else 1)) for copies, count in counts]
    return 2 * max(sizes) if sizes else None
