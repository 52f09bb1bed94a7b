# SPDX-License-Identifier: Apache-2.0
"""The accelerate configs, read by accelerate's own code. FSDP2 and context parallelism are checked this far only."""

from dataclasses import fields
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.parallelism_config import ParallelismConfig
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "accelerate_configs"
TYPES = {
    "cpu": DistributedType.NO,
    "single_gpu": DistributedType.NO,
    "ddp": DistributedType.MULTI_GPU,
    "zero2": DistributedType.DEEPSPEED,
    "zero3": DistributedType.DEEPSPEED,
    "fsdp": DistributedType.FSDP,
    "fsdp_cp": DistributedType.FSDP,
}


def launch_arguments(name: str):
    arguments, _, _ = _validate_launch_command(
        launch_command_parser().parse_args(["--config_file", str(FOLDER / f"{name}.yaml"), "script.py"])
    )
    return arguments


@pytest.fixture
def fsdp_environment(monkeypatch):
    """Puts what the launcher hands to its processes into this one."""

    def export(name: str) -> None:
        for key, value in prepare_multi_gpu_env(launch_arguments(name)).items():
            if key.startswith(("FSDP_", "PARALLELISM_CONFIG_")):
                monkeypatch.setenv(key, value)

    return export


@pytest.mark.parametrize("name", TYPES)
def test_accelerate_reads_the_file(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == TYPES[name]


@pytest.mark.parametrize("name", TYPES)
def test_every_nested_key_is_an_option_of_the_launcher(name):
    # accelerate copies nested keys without looking: a misspelled one would have no effect.
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    options = {action.dest for action in launch_command_parser()._actions}
    nested = {*config.fsdp_config, *config.parallelism_config, *config.deepspeed_config}
    assert nested <= options


@pytest.mark.parametrize("name", TYPES)
def test_launcher_takes_the_file(name):
    arguments = launch_arguments(name)
    assert arguments.num_processes == (1 if name in ("cpu", "single_gpu") else 8)
    assert arguments.mixed_precision == ("no" if name == "cpu" else "bf16")
    assert arguments.use_deepspeed == name.startswith("zero")
    assert arguments.use_fsdp == name.startswith("fsdp")
    assert arguments.multi_gpu == (name == "ddp")


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_deepspeed_takes_accumulation_and_clipping_from_the_recipe(name, stage):
    arguments = launch_arguments(name)
    assert arguments.zero_stage == stage
    # None reaches the trainer as "auto", which it fills with the recipe's values.
    assert arguments.gradient_accumulation_steps is None
    assert arguments.gradient_clipping is None


@pytest.mark.parametrize("name", ["fsdp", "fsdp_cp"])
def test_fsdp_is_version_two_and_reshards(name, fsdp_environment):
    fsdp_environment(name)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.auto_wrap_policy is not None
    assert plugin.cpu_ram_efficient_loading
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"


def test_context_parallelism_uses_all_processes(fsdp_environment):
    fsdp_environment("fsdp_cp")
    parallelism = ParallelismConfig()
    assert parallelism.cp_size == 8
    assert parallelism.total_size == launch_arguments("fsdp_cp").num_processes
    assert parallelism.cp_handler.cp_comm_strategy == "allgather"
    config = load_config_from_file(str(FOLDER / "fsdp_cp.yaml"))
    sizes = {key.removeprefix("parallelism_config_") for key in config.parallelism_config}
    assert sizes - {"cp_comm_strategy"} <= {entry.name for entry in fields(ParallelismConfig)}
