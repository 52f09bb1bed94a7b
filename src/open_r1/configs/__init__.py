# SPDX-License-Identifier: Apache-2.0
"""Every argument of the training scripts: the one home of our defaults and their units.

The training scripts parse three groups: script arguments (data, rewards), training arguments (TRL's config plus ours)
and TRL's `ModelConfig`. A recipe is one flat YAML file with the names of all three.

Those that need torch and TRL are imported when they are asked for: rewards need the others, and neither of the two.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from open_r1.configs.datasets import DatasetConfig, DatasetMixtureConfig

if TYPE_CHECKING:
    from open_r1.configs.training import (
        DistillConfig,
        DistillScriptArguments,
        GRPOConfig,
        GRPOScriptArguments,
        ModelConfig,
        ScriptArguments,
        SFTConfig,
        SFTScriptArguments,
    )

__all__ = [
    "DatasetConfig",
    "DatasetMixtureConfig",
    "DistillConfig",
    "DistillScriptArguments",
    "GRPOConfig",
    "GRPOScriptArguments",
    "ModelConfig",
    "SFTConfig",
    "SFTScriptArguments",
    "ScriptArguments",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("open_r1.configs.training"), name)
