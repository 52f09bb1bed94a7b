# SPDX-License-Identifier: Apache-2.0
"""Plan of `slurm/train.slurm` for a recipe, as assignments of bash; recipes that could not be trained are refused.

    eval "$(python -m open_r1.cluster.plan --model M --task grpo --config demo --accelerator zero2 --nodes 2 --gpus 8)"

1. It is asked before the job is submitted, and again in the job, which knows its nodes.
2. `--dp` and `--tp` can only mean a vLLM server, so they imply it. Upstream started one for every `use_vllm: true`.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from open_r1.cluster.recipe_values import (
    TASKS,
    RecipeValues,
    find_accelerate_config,
    find_recipe,
    read_values,
)
from open_r1.cluster.topology import Topology, Wanted, plan_topology
from open_r1.recipes import load_recipe
from open_r1.secret_names import is_secret_name

_MEMORY_SHARE = 0.9  # of a GPU that a server has for itself


def main(argv: Sequence[str] | None = None) -> int:
    """Print the assignments; return the exit status, 2 for what cannot work."""
    args = _build_parser().parse_args(argv)
    try:
        sys.stdout.writelines(f"{name}={_quoted(value)}\n" for name, value in make_plan(args).items())
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for name in ("model", "task", "config", "recipe", "accelerator"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True, help="of a node; 0: CPUs")
    for name in ("dp", "tp", "vllm_nodes", "processes_per_node"):
        parser.add_argument(f"--{name}", type=_number_or_none, default=None)
    parser.add_argument("words", nargs="*", help="of the training script")
    return parser


def _number_or_none(text: str) -> int | None:
    return int(text) if text else None


def _quoted(value: object) -> str:
    if isinstance(value, list):
        return f"({shlex.join(map(str, value))})"
    return shlex.quote(str(value))


def make_plan(args: argparse.Namespace) -> dict[str, object]:
    """Return names and values: numbers and texts, and lists of words.

    Raises:
        ValueError: It cannot work. The message says what would.
    """
    task, recipe = _find_recipe(args)
    accelerate_path = _find_accelerate_config(args.accelerator)
    wanted = Wanted(args.dp, args.tp, args.vllm_nodes, args.processes_per_node)
    words = [*args.words, *_implied_words(task, wanted, read_values(recipe, args.words))]
    values = read_values(recipe, words)
    secret = next((name for name in values.overrides if is_secret_name(name)), None)
    if secret is not None:
        raise ValueError(f"--{secret} would appear in logs and process lists: set HF_TOKEN, or a variable, instead")
    topology = plan_topology(args.nodes, args.gpus, values, wanted, task=task)
    config = load_recipe(accelerate_path)
    launch, environment, on_cpu = _for_devices(accelerate_path, config, topology)
    words += [word for name, value in on_cpu.items() if name not in values.overrides for word in (f"--{name}", value)]
    return {
        "task": task,
        "recipe": recipe,
        "accelerate_config": accelerate_path,
        "num_processes": topology.num_processes,
        "num_serving": topology.num_serving,
        "output_dir": Path(values["output_dir"]).expanduser().absolute(),
        "launch_words": launch,
        "train_env": environment,
        "train_args": words,
        "served": _served_words(values, topology) if topology.num_serving else [],
        "notes": [*_describe(topology, values), *_describe_batch(task, topology, values, config)],
    }


def _find_recipe(args: argparse.Namespace) -> tuple[str, Path]:
    """Return task and recipe."""
    task, path = args.task, None
    if args.recipe:
        if args.model or args.config:
            raise ValueError("--recipe names the recipe by its path: leave --model and --config out")
        path = Path(args.recipe).expanduser()
        task = task or path.parent.name
    elif missing := [f"--{name}" for name in ("model", "task", "config") if not getattr(args, name)]:
        raise ValueError(f"{', '.join(missing)} missing: give --model, --task and --config, or --recipe PATH")
    if task not in TASKS:
        raise ValueError(f"--task is {task!r}: it must be one of {', '.join(TASKS)}")
    return task, path or find_recipe(Path.cwd(), args.model, task, args.config)


def _find_accelerate_config(name: str) -> Path:
    if not name:
        raise ValueError("--accelerator missing: a file of recipes/accelerate_configs without .yaml, or a path")
    return Path(name) if name.endswith((".yaml", ".yml", ".json")) else find_accelerate_config(Path.cwd(), name)


def _implied_words(task: str, wanted: Wanted, values: RecipeValues) -> list[str]:
    """Return what the sizes of a server imply for the trainer: that there is one, unless the user says otherwise."""
    # 1 is what upstream's commands give where there is nothing to say.
    has_sizes = wanted.num_serving is not None or any(
        n not in (None, 1) for n in (wanted.copies, wanted.tensor_parallel)
    )
    if task == "sft" or not has_sizes or "vllm_mode" in values.overrides or values.uses_server:
        return []
    return [*([] if values["use_vllm"] else ["--use_vllm", "true"]), "--vllm_mode", "server"]


def _for_devices(
    path: Path, config: Mapping[str, Any], topology: Topology
) -> tuple[list[str], list[str], dict[str, str]]:
    """Return words for the launcher, variables, and settings for the trainer, as these processes need them.

    Raises:
        ValueError: The accelerate config cannot train with them.
    """
    kind = str(config.get("distributed_type", "NO")).upper()
    if topology.num_processes > 1 and (kind in ("NO", "FALSE", "MULTI_CPU") or config.get("use_cpu") is True):
        raise ValueError(
            f"{path} is a single-process config (distributed_type {kind}), and {topology.num_processes} would train: "
            "take --accelerator ddp, zero2 or zero3, or 1 node with --processes-per-node 1"
        )
    launch = ["--deepspeed_multinode_launcher", "standard"] if kind == "DEEPSPEED" else []
    if topology.gpus_per_node:
        return launch, [], {}
    if kind == "FSDP":
        raise ValueError(f"{path}: FSDP needs GPUs. On CPU nodes use --accelerator ddp")
    launch += ["--mixed_precision", "no"]
    if kind == "DEEPSPEED":
        return launch, ["CUDA_VISIBLE_DEVICES=", "DS_ACCELERATOR=cpu"], {"ddp_backend": "gloo", "bf16": "false"}
    return launch, ["CUDA_VISIBLE_DEVICES="], {"use_cpu": "true", "bf16": "false"}


def _served_words(values: RecipeValues, topology: Topology) -> list[str]:
    """Return the words for `vllm serve` that say what the trainer trains.

    Raises:
        ValueError: The recipe names no model.
    """
    if not values["model_name_or_path"]:
        raise ValueError("The recipe names no model to serve: set `model_name_or_path`")
    dtype = values["dtype"] or "auto"
    if dtype == "float32" and topology.gpus_per_node and values["bf16"] is not False:
        dtype = "bfloat16"  # in which fp32 weights are multiplied
    words = [values["model_name_or_path"], "--revision", values["model_revision"], "--dtype", dtype]
    if values["vllm_max_model_length"] is not None:
        words += ["--max-model-len", values["vllm_max_model_length"]]
    if values["vllm_model_impl"] != "vllm":
        words += ["--model-impl", values["vllm_model_impl"]]
    if values["trust_remote_code"]:
        words.append("--trust-remote-code")
    if topology.gpus_per_node:
        # A recipe for colocated vLLM says how little it may take beside the training.
        name = "vllm_gpu_memory_utilization"
        is_meant = name in values.overrides or (name in values.recipe and values.recipe.get("vllm_mode") == "server")
        words += ["--gpu-memory-utilization", values[name] if is_meant else _MEMORY_SHARE]
    words += ["--tensor-parallel-size", topology.tensor_parallel, "--data-parallel-size", topology.copies]
    return [str(word) for word in words]


def _describe(topology: Topology, values: RecipeValues) -> list[str]:
    """Return what people should know of nodes and servers."""
    nodes = _counted(topology.num_training, "node")
    device = f", of {topology.gpus_per_node} GPUs each" if topology.gpus_per_node else " without GPUs"
    notes = [f"Trains with {_counted(topology.num_processes, 'process', 'es')} on {nodes}{device}"]
    if topology.num_serving:
        notes += [
            f"Serves {values['model_name_or_path']} on {_counted(topology.num_serving, 'more node')}: "
            f"--dp {topology.copies} x --tp {topology.tensor_parallel}",
            "Its server has no key and takes new weights: everybody who reaches its node can ask it, and change them",
        ]
        if not topology.gpus_per_node:
            notes.append(
                "WARNING: weights reach the server by NCCL: without GPUs the trainer stops when it sends them"
            )
    return notes


def _counted(number: int, noun: str, ending: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else ending}"


def _describe_batch(task: str, topology: Topology, values: RecipeValues, config: Mapping[str, Any]) -> list[str]:
    """Return what a step of the optimizer sees."""
    parallelism = config.get("parallelism_config") or {}
    shared = int(parallelism.get("parallelism_config_cp_size", 1)) if isinstance(parallelism, dict) else 1
    rows, steps = values["per_device_train_batch_size"], values["gradient_accumulation_steps"]
    batch = rows * steps * topology.num_processes // max(1, shared)
    lengths = [
        values[name] for name in (("max_length",) if task == "sft" else ("max_prompt_length", "max_completion_length"))
    ]
    most = "" if None in lengths else f", at most {batch * sum(lengths):,} tokens"
    what = "rows" if task == "sft" else f"completions of {batch / values['num_generations']:g} prompts"
    return [f"A step: {batch} {what} ({rows} x {topology.num_processes} processes x {steps} accumulated){most}"]


if __name__ == "__main__":
    sys.exit(main())
