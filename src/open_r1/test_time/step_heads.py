# SPDX-License-Identifier: Apache-2.0
"""Heads of process reward models: a step's chance of being good from a hidden state, by weights of the checkpoint."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers.utils import cached_file

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """Where a model comes from: a folder, or an id and revision on the hub."""

    name: str
    revision: str | None

    def file(self, name: str) -> Path | None:
        """Return a file of it; None: there is none."""
        path = cached_file(self.name, name, revision=self.revision, _raise_exceptions_for_missing_entries=False)
        return None if path is None else Path(path)

    def weights(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the tensors whose names begin so, by the rest of their names."""
        found: dict[str, torch.Tensor] = {}
        for path in self._files_with(prefix):
            tensors = _tensors_in(path, prefix)
            found.update({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
        return found

    def _files_with(self, prefix: str) -> list[Path]:
        for index in _INDEXES:
            path = self.file(index)
            if path is not None:
                places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
                names = {place for name, place in places.items() if name.startswith(prefix)}
                return [file for file in map(self.file, sorted(names)) if file is not None]
        return [path for path in map(self.file, _WHOLE) if path is not None][:1]


def _tensors_in(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
    tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return {name: tensor.clone() for name, tensor in tensors.items() if name.startswith(prefix)}


class StepHead(nn.Module):
    """The chance that a step is good, from the last hidden state at its token.

    Args:
        head: From hidden states to 1 (logistic) or 2 (softmax) numbers.
        rows: Which of its outputs count, good first; None: its two are (bad, good), or it is one.
    """

    def __init__(self, head: nn.Module, rows: Sequence[int] | None = None) -> None:
        super().__init__()
        self.head, self.rows = head, rows

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return numbers in [0, 1] of shape (S,) from hidden states of shape (S, H)."""
        hidden = hidden.to(next(self.head.parameters()).dtype)  # heads may be kept in float32 beside bfloat16
        if isinstance(self.head, nn.Linear) and self.rows is not None:
            rows = list(self.rows)
            bias = None if self.head.bias is None else self.head.bias[rows]
            return nn.functional.linear(hidden, self.head.weight[rows], bias).float().softmax(-1)[:, 0]
        logits = self.head(hidden).float()
        return logits[:, 0].sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)[:, 1]


def checked_head(name: str, head: nn.Module, num_outputs: int) -> nn.Module:
    """Return a head that gives so many numbers a step.

    Raises:
        ValueError: It gives another number of them.
    """
    found = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1].out_features
    if found != num_outputs:
        raise ValueError(
            f"--scorer {name}: its head gives {found} numbers a step, not {num_outputs}: it is of another kind."
        )
    return head


def built_head(name: str, source: Source, prefix: str) -> nn.Module:
    """Return a head of linear layers with ReLU between them, as the checkpoint has it: `0.weight`, `2.weight`, ...

    Raises:
        ValueError: The checkpoint has no weights whose names begin with the prefix.
    """
    tensors = source.weights(prefix)
    names = sorted(key.removesuffix("weight") for key in tensors if key.endswith("weight"))
    if not names:
        raise ValueError(
            f"--scorer {name}: its checkpoint has no weights {prefix}*, so its scores would be random. It is of "
            "another kind (--scorer_kind), or saved without its head."
        )
    layers: list[nn.Module] = []
    for layer in names:
        weight, bias = tensors[f"{layer}weight"], tensors.get(f"{layer}bias")
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
        linear.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
        layers += [nn.ReLU(), linear] if layers else [linear]
    return nn.Sequential(*layers)
