# SPDX-License-Identifier: Apache-2.0
"""`slurm/train.slurm`: trains on the nodes of a job, and serves the model on the last ones if the recipe asks for it.

1. A vLLM server runs for `vllm_mode: server`, which --dp, --tp and --vllm-nodes imply. Upstream started one for every
   `use_vllm: true`.
2. Ranks come from the node on which a program runs, launch settings from the recipe and what overrides it.
3. One attempt is one launch: a rank that dies fails the job, and only a lost node requeues it. Upstream let the
   launcher start ranks again within the attempt.
4. Open R1's older arguments by position still work: model, task, config, accelerator, arguments of the trainer.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.command_line import build_parser, check_deadline, count_leading, is_job, run
from open_r1.cluster.node_address import own_address
from open_r1.cluster.recipe_values import (
    TASKS,
    RecipeValues,
    find_accelerate_config,
    find_recipe,
    read_overrides,
    read_values,
    split_words,
)
from open_r1.cluster.script_flags import check_no_secrets
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import NODE_RANK, Step
from open_r1.cluster.supervisor import DEFAULT_DEADLINE_S, Plan
from open_r1.cluster.topology import Topology, Wanted, plan_topology
from open_r1.cluster.training_server import (
    RENDEZVOUS_PORT,
    ServerOptions,
    plan_server,
    read_server_words,
    trainer_words,
)
from open_r1.data.flags import WORDS, JoinWords
from open_r1.recipes import load_recipe

_DESCRIPTION = """Train by a recipe on all GPUs of all nodes.

With `use_vllm: true` and `vllm_mode: server` the last node serves the model with vLLM and the others train; --dp, --tp
or --vllm-nodes ask for that too. Whoever reaches that node can ask the server and change its weights: it has no key,
and runs in vLLM's development mode."""
_EPILOG = """examples:
  slurm/train.slurm --nodes 1 --model OpenR1-Distill-7B --task sft --config distill --accelerator zero3
  slurm/train.slurm --nodes 2 --model Qwen2.5-1.5B-Instruct --task grpo --config demo --accelerator zero2 --dp 4 \\
      --tp 2 --args "--learning_rate 2e-6"
  slurm/train.slurm --nodes 2 --recipe my/grpo/recipe.yaml --accelerator zero2 -- --model_init_kwargs '{"a": 1}'
  sbatch --nodes=2 --time=2:00:00 slurm/train.slurm --model ... (in a job, or to choose sbatch's options yourself)
  sbatch --nodes=1 slurm/train.slurm OpenR1-Distill-7B sft distill zero3 '--max_steps=10 --seed=1'

The arguments of --args and those behind -- override the recipe, for the trainer and for the server. Paths in them are
read from the project's folder. Before the time limit the training saves and the job goes back to the queue; the same
command also goes on from the last checkpoint. Logs: <logs>/<job name>-<job id>/attempt-<n>/."""

_POSITIONAL = ("model", "task", "config", "accelerator", "args")  # the last may be left out


@dataclass(frozen=True)
class Launch:
    """What the launcher of the training processes needs.

    Args:
        script: Training script.
        recipe: Its recipe.
        accelerate_config: File for `accelerate launch`.
        words: Arguments of the training script that the user gives.
    """

    script: Path
    recipe: Path
    accelerate_config: Path
    words: tuple[str, ...]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `slurm/train.slurm`."""
    parser = build_parser("train", _DESCRIPTION, _EPILOG)
    add = parser.add_argument_group("training").add_argument
    add("--model", help="folder of recipes/ that has the recipe")
    add("--task", help=f"folder below it, and training script: {' or '.join(TASKS)}; taken from the path of --recipe")
    add("--config", help="recipe in it: config_<CONFIG>.yaml")
    add("--recipe", type=Path, metavar="PATH", help="a recipe anywhere, instead of --model and --config")
    add("--accelerator", required=True, help="file in recipes/accelerate_configs/ without .yaml, or the path of one")
    add(
        "--args",
        action=JoinWords,
        default="",
        metavar=WORDS,
        help="arguments of the training script, split as a shell would; may be repeated",
    )
    add("words", nargs="*", metavar="-- WORD", help="more arguments of the training script, taken as they are")
    add("--script", type=Path, metavar="PATH", help="a training script of yours that takes the same arguments")
    add("--processes-per-node", type=int, metavar="N", help="training processes a node (one a GPU; one without GPUs)")
    add = parser.add_argument_group("vLLM server (use_vllm: true, vllm_mode: server)").add_argument
    add("--vllm-nodes", type=int, metavar="N", help="nodes that serve, taken from the end of the list (1)")
    add("--dp", type=int, metavar="N", help="copies of the model (1)")
    add("--tp", type=int, metavar="N", help="GPUs that hold one copy together (1)")
    add("--port", type=int, metavar="N", help="the server's port (one of the job's own)")
    add(
        "--vllm-args",
        action=JoinWords,
        default="",
        metavar=WORDS,
        help="more words for `vllm serve`, split as a shell would; may be repeated",
    )
    add(
        "--deadline",
        type=float,
        default=DEFAULT_DEADLINE_S,
        metavar="SECONDS",
        help="how long the server may take until it answers",
    )
    return parser


def with_flags(words: Sequence[str]) -> list[str]:
    """Return a command line with names for Open R1's arguments by position.

    Flags may follow them; those of the submission may also come first.

    >>> with_flags(["OpenR1-Distill-7B", "sft", "distill", "zero3", "--max_steps=10 --seed=1", "--dry-run"])[3:]
    ['--accelerator=zero3', '--args=--max_steps=10 --seed=1', '--dry-run']

    Raises:
        ValueError: There are too few or too many.
    """
    begin = count_leading(words)
    end = next((i for i, word in enumerate(words) if i >= begin and word.startswith("-")), len(words))
    given, rest = list(words[begin:end]), list(words[end:])
    if not given:
        return list(words)
    # Arguments of the trainer look like a flag too; a flag of ours that is misspelt mostly has no value in it.
    is_ours = not rest or rest[0].partition("=")[0] in make_parser()._option_string_actions
    if len(given) == len(_POSITIONAL) - 1 and not is_ours and re.search(r"[\s=]", rest[0]):
        given.append(rest.pop(0))
    if not len(_POSITIONAL) - 1 <= len(given) <= len(_POSITIONAL):
        raise ValueError(
            f"got {len(given)} arguments before the flags; by position they are {', '.join(_POSITIONAL)}, the last in "
            "quotes if at all. Or name them by flags"
        )
    named = [f"--{name}={value}" for name, value in zip(_POSITIONAL, given, strict=False)]
    return [*words[:begin], *named, *rest]


def make_plan(arguments: argparse.Namespace, site: Site, allocation: Allocation) -> Plan:
    """Return what the job runs.

    Raises:
        ValueError: The command line cannot work on these nodes.
    """
    task, recipe = _find_recipe(arguments, site)
    words = _words(arguments)
    implied = _implied_words(arguments, task, read_values(recipe, words))
    launch = Launch(
        script=_find_script(arguments, site, task),
        recipe=recipe,
        accelerate_config=_find_accelerate_config(arguments, site),
        words=(*words, *implied),
    )
    values = read_values(recipe, launch.words)
    options = ServerOptions(_checked_port(arguments.port, values), read_server_words(arguments.vllm_args))
    if options.words and not values.uses_server:
        raise ValueError("--vllm-args is for a vLLM server, and this run starts none (`vllm_mode: server`)")
    check_deadline(arguments.deadline)
    wanted = Wanted(arguments.dp, arguments.tp, arguments.vllm_nodes, arguments.processes_per_node)
    try:
        topology = plan_topology(allocation.nodes, allocation.gpus_per_node, values, wanted, task=task)
    except ValueError as error:
        reason = ["--dp, --tp and --vllm-nodes ask for `vllm_mode: server`"] if implied else []
        raise ValueError(". ".join([str(error), *reason, *allocation.assumptions])) from error
    servers = plan_server(site, allocation, topology, values, options)
    server_words = trainer_words(allocation, topology, options)
    return Plan(
        servers=servers,
        work=(training_step(site, allocation, topology, values, launch, server_words),),
        on_time_limit="stop_file",
        deadline_s=arguments.deadline,
        output_dir=site.root / Path(values["output_dir"]).expanduser(),
        notes=(*_notes(topology, values), *allocation.assumptions),
    )


def training_step(
    site: Site,
    allocation: Allocation,
    topology: Topology,
    values: RecipeValues,
    launch: Launch,
    server_words: Sequence[str] = (),
) -> Step:
    """Return the step that trains: `accelerate launch` on each training node.

    Raises:
        ValueError: The accelerate config cannot train with these processes.
    """
    config = load_recipe(launch.accelerate_config)
    kind = str(config.get("distributed_type", "NO")).upper()
    if topology.num_processes > 1 and (kind in ("NO", "FALSE", "MULTI_CPU") or config.get("use_cpu") is True):
        raise ValueError(
            f"{launch.accelerate_config} is for one process (distributed_type {kind}), and {topology.num_processes} "
            "would train: take --accelerator ddp, zero2 or zero3, or 1 node with --processes-per-node 1"
        )
    options: list[str] = ["--config_file", str(launch.accelerate_config)]
    if len(topology.training_nodes) > 1:
        options += [
            *("--main_process_ip", topology.training_nodes[0], "--machine_rank", NODE_RANK),
            *("--rdzv_backend", "static", "--same_network"),
        ]
        if kind == "DEEPSPEED":
            options += ["--deepspeed_multinode_launcher", "standard"]  # its own launcher would go through ssh
    options += [
        *("--num_machines", str(len(topology.training_nodes)), "--num_processes", str(topology.num_processes)),
        *("--main_process_port", str(allocation.port(RENDEZVOUS_PORT)), "--max_restarts", "0", "--tee", "3"),
    ]
    on_cpu: list[str] = []
    # The first process sends the weights, on this node; no other process looks at the address.
    env = own_address(allocation, topology.serving_nodes[0]) if topology.serving_nodes else {}
    if topology.gpus_per_node == 0:
        options += ["--mixed_precision", "no"]
        on_cpu, variables = _for_cpu(kind, launch)
        env |= variables
    command = site.python_command(
        *("-m", "accelerate.commands.launch", *options, str(launch.script), "--config", str(launch.recipe)),
        *(*launch.words, *(word for pair in _unless_given(on_cpu, values) for word in pair), *server_words),
    )
    return Step("train", command, topology.training_nodes, env=env, is_shown=True, saves_on_term=True)


def _for_cpu(kind: str, launch: Launch) -> tuple[list[str], dict[str, str]]:
    """Return what training without GPUs needs: `name=value` for the script, and variables (recipes/README.md)."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    if kind == "FSDP":
        raise ValueError(f"{launch.accelerate_config}: FSDP needs GPUs. On CPU nodes take --accelerator ddp")
    if kind == "DEEPSPEED":
        return ["ddp_backend=gloo", "bf16=false"], {**hidden, "DS_ACCELERATOR": "cpu"}
    return ["use_cpu=true", "bf16=false"], hidden


def _unless_given(settings: Sequence[str], values: RecipeValues) -> list[tuple[str, str]]:
    """Return `--name`, `value` pairs of settings that the user has not given: trainers refuse doubled ones."""
    pairs = [setting.split("=") for setting in settings]
    return [(f"--{name}", value) for name, value in pairs if name not in values.overrides]


def _find_recipe(arguments: argparse.Namespace, site: Site) -> tuple[str, Path]:
    """Return task and recipe."""
    task = arguments.task
    if arguments.recipe is not None:
        if arguments.model is not None or arguments.config is not None:
            raise ValueError("--recipe names the recipe by its path: leave --model and --config out")
        path = _existing(arguments.recipe, site, "--recipe")
        if task is None and path.parent.name in TASKS:
            task = path.parent.name
    else:
        path = None
        missing = [f"--{name}" for name in ("model", "task", "config") if getattr(arguments, name) is None]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing: say --model, --task and --config, or --recipe PATH")
    if task not in TASKS:
        told = "is missing" if task is None else f"is {task}"
        raise ValueError(f"--task {told}: it must be one of {', '.join(TASKS)}")
    return task, path or find_recipe(site.root, arguments.model, task, arguments.config)


def _find_script(arguments: argparse.Namespace, site: Site, task: str) -> Path:
    if arguments.script is None:
        return site.root / "src" / "open_r1" / f"{task}.py"
    return _existing(arguments.script, site, "--script")


def _find_accelerate_config(arguments: argparse.Namespace, site: Site) -> Path:
    """Return the file that --accelerator names, or is."""
    if arguments.accelerator.endswith((".yaml", ".yml", ".json")):
        return _existing(Path(arguments.accelerator), site, "--accelerator")
    return find_accelerate_config(site.root, arguments.accelerator)


def _existing(path: Path, site: Site, flag: str) -> Path:
    """Return a file, looked for in the folder of the submission and in the project's."""
    submission = os.environ.get("SLURM_SUBMIT_DIR", ".") if is_job() else "."  # of another job where this submits
    folders = [Path(submission).absolute(), site.root]
    candidates = [folder / path.expanduser() for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ValueError(f"{flag} {path}: there is no file {' or '.join(dict.fromkeys(map(str, candidates)))}")


def _words(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the arguments for the training script, each part checked by itself."""
    parts = split_words(arguments.args), tuple(arguments.words)
    for part, place in zip(parts, ("in --args", "behind --"), strict=True):
        check_no_secrets(part, place)
        read_overrides(part)
    return parts[0] + parts[1]


def _implied_words(arguments: argparse.Namespace, task: str, values: RecipeValues) -> tuple[str, ...]:
    """Return what the sizes of a server imply for the trainer: that there is one, unless the user says otherwise."""
    # 1 is what upstream's commands say where there is nothing to say.
    has_sizes = arguments.vllm_nodes is not None or any(size not in (None, 1) for size in (arguments.dp, arguments.tp))
    if task != "grpo" or not has_sizes or not values["use_vllm"] or "vllm_mode" in values.overrides:
        return ()
    return () if values.uses_server else ("--vllm_mode", "server")


def _checked_port(port: int | None, values: RecipeValues) -> int | None:
    if port is None:
        return None
    if not values.uses_server:
        raise ValueError(f"--port {port} is for a vLLM server, and this run starts none (`vllm_mode: server`)")
    if not 1024 <= port <= 65535:
        raise ValueError(f"--port is {port}: it must be 1024 to 65535")
    return port


def _notes(topology: Topology, values: RecipeValues) -> tuple[str, ...]:
    """Return what people should know of the run."""
    device = f"{topology.gpus_per_node} GPUs" if topology.gpus_per_node else "no GPU"
    names = ", ".join(topology.training_nodes)
    notes = [
        f"{topology.num_processes} processes train, {topology.processes_per_node} on each of {names} ({device} a node)"
        if topology.num_processes > 1
        else f"1 process trains, on {names} ({device} a node)"
    ]
    if topology.serving_nodes:
        notes.append(
            f"vLLM serves {values['model_name_or_path']} on {', '.join(topology.serving_nodes)}: "
            f"{topology.data_parallel} copies x {topology.tensor_parallel}"
        )
        notes.append(
            "No key: everybody who reaches its nodes can ask the server, and change its weights "
            "(vLLM's development mode, by which they arrive)"
        )
        if topology.num_idle_gpus:
            notes.append(f"{topology.num_idle_gpus} GPUs of the serving nodes stay idle: raise --dp or --tp")
        if topology.gpus_per_node == 0:
            notes.append(
                "Weights reach the server through NCCL: without GPUs our trainers stop when they would send them"
            )
    return tuple(notes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `slurm/train.slurm`."""
    parser = make_parser()
    try:
        words = with_flags(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        parser.error(str(error))
    return run(parser, make_plan, words)


if __name__ == "__main__":
    sys.exit(main())
