# SPDX-License-Identifier: Apache-2.0
"""Topology of a job: nodes that train, nodes that serve, and their processes, decided before anything starts.

1. What cannot work is refused, with the values that would. Upstream started it: with one node and a server, no node
   was left to train; a batch that does not divide into groups was found after the model had loaded.
"""

from dataclasses import dataclass

from open_r1.cluster.recipe_values import RecipeValues


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; None: the default.

    Args:
        copies: Copies of the model that the server holds (1).
        tensor_parallel: GPUs, or CPU nodes, that hold one copy together (1).
        num_serving: Nodes of the server (1).
        processes_per_node: Processes that train on a node (one per GPU; one on a node without).
    """

    copies: int | None = None
    tensor_parallel: int | None = None
    num_serving: int | None = None
    processes_per_node: int | None = None


@dataclass(frozen=True)
class Topology:
    """How a job's nodes are used: the first ones train, the last ones serve.

    Args:
        num_training: Nodes that train.
        num_serving: Nodes of the server; 0 without one.
        processes_per_node: Processes on each training node.
        gpus_per_node: 0 for CPU nodes.
        copies: Copies of the model that the server holds.
        tensor_parallel: Devices that hold one copy.
    """

    num_training: int
    num_serving: int
    processes_per_node: int
    gpus_per_node: int
    copies: int = 1
    tensor_parallel: int = 1

    @property
    def num_processes(self) -> int:
        """All processes that train together."""
        return self.num_training * self.processes_per_node


def plan_topology(num_nodes: int, gpus_per_node: int, values: RecipeValues, wanted: Wanted, *, task: str) -> Topology:
    """Return how the nodes are used.

    Args:
        num_nodes: Nodes of the job.
        gpus_per_node: 0 for CPU nodes.
        values: The recipe with what overrides it.
        wanted: What the command line asks for.
        task: `sft`, `grpo` or `distill`.

    Raises:
        ValueError: It cannot work. The message says what would.
    """
    if task == "sft" and (values["use_vllm"] or "vllm_mode" in values):
        raise ValueError("--task sft does not generate: remove use_vllm and vllm_mode")
    num_serving = 0
    if values.starts_server:
        num_serving = _count_serving_nodes(num_nodes, wanted)
    else:
        _refuse_server_flags(values, wanted)
    topology = Topology(
        num_training=num_nodes - num_serving,
        num_serving=num_serving,
        processes_per_node=_count_processes(gpus_per_node, wanted.processes_per_node),
        gpus_per_node=gpus_per_node,
        copies=1 if wanted.copies is None else wanted.copies,
        tensor_parallel=1 if wanted.tensor_parallel is None else wanted.tensor_parallel,
    )
    if num_serving:
        _check_server(topology, values)
    if task != "sft":
        _check_colocated(topology, values)
    if task == "grpo":
        _check_generation_batch(topology, values)
    return topology


def _count_serving_nodes(num_nodes: int, wanted: Wanted) -> int:
    num_serving = 1 if wanted.num_serving is None else wanted.num_serving
    if not 0 < num_serving < num_nodes:
        raise ValueError(
            f"--vllm-nodes {num_serving} of {num_nodes}: a server (`vllm_mode: server`) needs 1 node or more, and the "
            f"training too: take --nodes {num_serving + 1} or more, or --args '--vllm_mode colocate'"
        )
    return num_serving


def _refuse_server_flags(values: RecipeValues, wanted: Wanted) -> None:
    # 1 is what upstream's commands give where there is nothing to say.
    flags = {"--dp": wanted.copies, "--tp": wanted.tensor_parallel, "--vllm-nodes": wanted.num_serving}
    given = [f"{flag} {value}" for flag, value in flags.items() if value not in (None, 1)]
    if given:
        reason = "it asks one that runs elsewhere" if values.uses_server else "vllm_mode is not server"
        raise ValueError(f"{' '.join(given)} is for a vLLM server, and this run starts none ({reason}): leave it out")


def _count_processes(gpus_per_node: int, wanted: int | None) -> int:
    if wanted is None:
        return max(1, gpus_per_node)
    most = gpus_per_node or None
    if wanted < 1 or (most is not None and wanted > most):
        allowed = "1 or more" if most is None else f"1 to {most}, the GPUs of a node"
        raise ValueError(f"--processes-per-node is {wanted}: it must be {allowed}")
    return wanted


def _check_server(topology: Topology, values: RecipeValues) -> None:
    """Refuse sizes that the serving nodes cannot hold."""
    of_recipe = values["vllm_tensor_parallel_size"]
    if of_recipe not in (1, topology.tensor_parallel):
        raise ValueError(
            f"`vllm_tensor_parallel_size` is {of_recipe}, which only colocated vLLM reads: the server reads --tp "
            f"{topology.tensor_parallel}. Say --tp {of_recipe}, or leave `vllm_tensor_parallel_size` out"
        )
    num_nodes = topology.num_serving
    if not _fits(topology.copies, topology.tensor_parallel, num_nodes, topology.gpus_per_node):
        raise ValueError(
            f"--dp {topology.copies} x --tp {topology.tensor_parallel} does not fit on {num_nodes} vLLM nodes of "
            f"{topology.gpus_per_node or 'no'} GPUs: at most as many together as GPUs (or CPU nodes), "
            "the same number on each node, and copies of the model either whole on a node or on whole nodes"
        )


def _fits(data_parallel: int, tensor_parallel: int, num_nodes: int, gpus_per_node: int) -> bool:
    if data_parallel < 1 or tensor_parallel < 1 or data_parallel * tensor_parallel % num_nodes:
        return False
    on_each = data_parallel * tensor_parallel // num_nodes
    is_even = on_each % tensor_parallel == 0 or tensor_parallel % on_each == 0
    return is_even and on_each <= max(1, gpus_per_node)


def _check_colocated(topology: Topology, values: RecipeValues) -> None:
    """Refuse groups of processes for colocated vLLM that leave some over."""
    size = values["vllm_tensor_parallel_size"]
    if values["use_vllm"] and not values.uses_server and (size < 1 or topology.num_processes % size):
        raise ValueError(
            f"`vllm_tensor_parallel_size` is {size}, and {topology.num_processes} processes train with colocated "
            f"vLLM: it must divide them"
        )


def _check_generation_batch(topology: Topology, values: RecipeValues) -> None:
    steps, fixed = values["steps_per_generation"], values["generation_batch_size"]
    if steps is not None and fixed is not None:
        raise ValueError("`generation_batch_size` and `steps_per_generation` say the same: leave one out")
    at_once = values["per_device_train_batch_size"] * topology.num_processes
    batch = fixed or at_once * (values["gradient_accumulation_steps"] if steps is None else steps)
    if at_once < 1 or batch < 1 or batch % at_once:
        raise ValueError(
            f"A generation batch has {batch} completions, which is no multiple of the {at_once} that "
            f"{topology.num_processes} processes x per_device_train_batch_size take (x gradient_accumulation_steps, "
            "steps_per_generation, or generation_batch_size)"
        )
    _check_groups("num_generations", values["num_generations"], batch, 2)


def _check_groups(name: str, group: int, batch: int, smallest: int) -> None:
    """Refuse a batch of completions that does not divide into whole groups."""
    if group < smallest or batch % group:
        raise ValueError(
            f"A batch has {batch} completions, which do not divide into groups of {name} {group} ({smallest} or more)"
        )
