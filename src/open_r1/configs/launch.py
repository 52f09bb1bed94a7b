# SPDX-License-Identifier: Apache-2.0
"""Launch of a training, this one or a planned one: processes, and what of the model is split among them."""

import argparse
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_REPOSITORY = Path(__file__).resolve().parents[3]
# Options of `accelerate launch` that change nothing of a plan.
_PASSED_OVER = (
    "num_machines",
    "machine_rank",
    "main_process_ip",
    "main_process_port",
    "mixed_precision",
    "rdzv_backend",
)


@dataclass(frozen=True)
class Launch:
    """The processes of a training, each on a GPU of its own.

    Attributes:
        num_processes: On all nodes together.
        zero_stage: What is split among them: 1 the optimizer, 2 gradients too, 3 weights too (Rajbhandari et al. 2020,
            arXiv 1910.02054). FSDP2 counts as 3, or as 2 where it keeps the weights after the forward pass.
        is_fsdp: FSDP2 splits, not DeepSpeed.
        keeps_fp32: 16-bit weights have a copy in fp32, to which the optimizer adds its steps.
        num_per_sequence: Processes that share a sequence (context parallelism).
        accumulation_steps: A number where the launcher sets it, else "auto". The recipe should.
        source: Where this was read, for messages.
    """

    num_processes: int = 1
    zero_stage: int = 0
    is_fsdp: bool = False
    keeps_fp32: bool = False
    num_per_sequence: int = 1
    accumulation_steps: str = "auto"
    source: str = "the launcher"

    def __str__(self) -> str:
        kind = "FSDP" if self.is_fsdp else f"ZeRO-{self.zero_stage}" if self.zero_stage else "nothing split"
        return f"{self.num_processes} process{'es' if self.num_processes > 1 else ''}, {kind} ({self.source})"


def current_launch(deepspeed: str | dict[str, Any] | None = None) -> Launch:
    """Return the launch of this process; `deepspeed` is the setting of that name, which wins."""
    return _launch_of(os.environ, "the launcher" if "WORLD_SIZE" in os.environ else "no launcher", deepspeed)


def planned_launch(words: str, deepspeed: str | dict[str, Any] | None = None) -> Launch:
    """Return the launch that `accelerate launch` would make with these words.

    Args:
        words: A config file of accelerate, with or without `--config_file`, and options that override it:
            "recipes/accelerate_configs/zero3.yaml --num_processes 32". "" is one process.
        deepspeed: The setting of that name, which wins.

    Raises:
        ValueError: There is no such file, or an option isn't understood.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("config", nargs="?")
    parser.add_argument("--num_processes", "--num-processes", type=int)
    for name in ("config_file", "zero_stage", "gradient_accumulation_steps", *_PASSED_OVER):
        parser.add_argument(f"--{name}", f"--{name.replace('_', '-')}")
    try:
        args, rest = parser.parse_known_args(shlex.split(words))
    except argparse.ArgumentError as error:
        raise ValueError(f"`check_launch` {words!r}: {error}") from error
    if rest:
        raise ValueError(
            f"`check_launch` doesn't understand {rest}: name a config file of accelerate, and over it "
            "--num_processes, --zero_stage or --gradient_accumulation_steps."
        )
    name = args.config_file or args.config
    config = {} if name is None else _read_config(name)
    kind = config.get("distributed_type")
    given = {"zero_stage": args.zero_stage, "gradient_accumulation_steps": args.gradient_accumulation_steps}
    given = {key: value for key, value in given.items() if value is not None}
    of_deepspeed = (config.get("deepspeed_config") or {}) | given
    settings = {f"ACCELERATE_DEEPSPEED_{key.removeprefix('deepspeed_')}": value for key, value in of_deepspeed.items()}
    settings |= (config.get("fsdp_config") or {}) | (config.get("parallelism_config") or {})
    settings |= {
        "WORLD_SIZE": args.num_processes or config.get("num_processes", 1),
        "ACCELERATE_USE_DEEPSPEED": kind == "DEEPSPEED",
        "ACCELERATE_USE_FSDP": kind == "FSDP",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": of_deepspeed.get("gradient_accumulation_steps", "auto"),
    }
    # accelerate hands its settings to the processes in variables of the same names.
    variables = {
        key.upper(): value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()
    }
    return _launch_of(variables, words or "one process", deepspeed)


def _launch_of(variables: Mapping[str, str], source: str, deepspeed: str | dict[str, Any] | None = None) -> Launch:
    uses_deepspeed, is_fsdp = (variables.get(f"ACCELERATE_USE_{name}") == "true" for name in ("DEEPSPEED", "FSDP"))
    zero: dict[str, Any] = {"stage": variables.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2)}
    config = deepspeed or (variables.get("ACCELERATE_DEEPSPEED_CONFIG_FILE") if uses_deepspeed else None)
    if config:
        zero = _read_deepspeed(config).get("zero_optimization", {})
        uses_deepspeed = True
    stage = int(zero.get("stage", 0)) if uses_deepspeed else 0
    if is_fsdp:
        stage = 2 if variables.get("FSDP_RESHARD_AFTER_FORWARD") == "false" else 3
    return Launch(
        num_processes=int(variables.get("WORLD_SIZE", 1)),
        zero_stage=stage,
        is_fsdp=is_fsdp,
        keeps_fp32=uses_deepspeed or is_fsdp,
        num_per_sequence=int(variables.get("PARALLELISM_CONFIG_CP_SIZE", 1)),
        accumulation_steps=variables.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto"),
        source=source,
    )


def _read_deepspeed(config: str | dict[str, Any]) -> dict[str, Any]:
    """Return a config of DeepSpeed, which a setting may give as the path of a file, or as JSON."""
    if isinstance(config, dict):
        return config
    text = config if config.lstrip().startswith("{") else Path(config).expanduser().read_text(encoding="utf-8")
    return json.loads(text)


def _read_config(name: str) -> dict[str, Any]:
    """Read a file named from the working folder, or from the repository."""
    path = next((path for path in (Path(name).expanduser(), _REPOSITORY / name) if path.is_file()), None)
    config = None if path is None else yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or "distributed_type" not in config:
        raise ValueError(f"`check_launch` names {name}, which is no config file of accelerate.")
    return config
