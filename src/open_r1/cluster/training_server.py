# SPDX-License-Identifier: Apache-2.0
"""The vLLM server that a GRPO training sends its prompts and its new weights to.

1. `vllm serve` with the flags that TRL's weight transfer needs; `trl vllm-serve` is deprecated and only adds them.
2. It serves what the trainer trains: model, revision, dtype and length come from the recipe and what overrides it.
3. Several nodes are one server with one address, by vLLM's own multi-node mode: copies of the model on each node, or
   one copy across nodes. Upstream has one node.
4. It answers until the training has ended: a step that was begun when the job is told to end needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.node_address import host_address
from open_r1.cluster.recipe_values import RecipeValues, read_overrides, split_words
from open_r1.cluster.serving_layout import COPIES_OF_VLLM, check_words
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.supervisor import Server
from open_r1.cluster.topology import Topology

# Ports of the job (`Allocation.port`).
RENDEZVOUS_PORT, SERVER_PORT, GROUP_PORT, _NODES_PORT, _COPIES_PORT = range(5)
_MEMORY_SHARE = 0.9  # of a GPU that the server has for itself

# The first is where the trainer's weights arrive: its endpoints exist in vLLM's development mode alone.
_ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_API_KEY": "",  # of the user's environment: vLLM would demand it, and the trainer sends none
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
_FOR_TRL = (
    "--weight-transfer-config",
    '{"backend": "nccl"}',
    "--logprobs-mode",
    "processed_logprobs",
    "--max-logprobs",
    "-1",
)

# Flags of `vllm serve` that the job has to know or gives itself -> what sets them.
_TAKEN = {
    **dict.fromkeys(COPIES_OF_VLLM, "--dp"),
    "--tensor-parallel-size": "--tp", "-tp": "--tp", "--model": "--args", "--revision": "--args",
    "--port": "--port", "--uds": "--port", "--api-key": "the job itself, to none: the trainer sends no key",
    **dict.fromkeys(
        ("--host", "--headless", "--nnodes", "-n", "--node-rank", "-r", "--master-addr", "--master-port",
         *(word for word in _FOR_TRL if word.startswith("--"))),
        "the job itself",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ServerOptions:
    """What the command line says about the server.

    Args:
        port: Where it listens; None for the job's own port.
        words: More words for `vllm serve`; they come last and win.
    """

    port: int | None = None
    words: Sequence[str] = ()


def read_server_words(text: str) -> tuple[str, ...]:
    """Return the words of `--vllm-args`.

    Raises:
        ValueError: A quote is not closed, a word belongs to no flag, or a flag is one that the job gives, however it
            is spelled, or that no server of ours can have.
    """
    words = split_words(text)
    check_words(words, _TAKEN, "in --vllm-args")
    read_overrides(words)
    return words


def plan_server(
    site: Site, allocation: Allocation, topology: Topology, values: RecipeValues, options: ServerOptions
) -> tuple[Server, ...]:
    """Return the server's programs, one a node; the first one answers.

    Raises:
        ValueError: The recipe names no model.
    """
    if not topology.serving_nodes:
        return ()
    port = options.port or allocation.port(SERVER_PORT)
    head = topology.serving_nodes[0]
    # The trainer's node asks for this address; on the node itself the name may be one of loopback.
    address = host_address(allocation, head).get("VLLM_HOST_IP", head)
    command = site.vllm_command(
        "serve",
        *_model_words(values, is_on_gpu=topology.gpus_per_node > 0),
        *(f"--tensor-parallel-size={topology.tensor_parallel}", f"--data-parallel-size={topology.data_parallel}"),
        *(() if _is_older_than_0_30(site) else ("--enable-scale-out",)),
        *_FOR_TRL,
    )
    servers = []
    for rank, node in enumerate(topology.serving_nodes):
        words = [f"--host={address}", f"--port={port}"] if rank == 0 else ["--headless"]
        if len(topology.serving_nodes) > 1:
            words += [
                *(f"--nnodes={len(topology.serving_nodes)}", f"--node-rank={rank}", f"--master-addr={address}"),
                f"--master-port={allocation.port(_NODES_PORT)}",
                f"--data-parallel-rpc-port={allocation.port(_COPIES_PORT)}",
            ]
        name = "vllm" if rank == 0 else f"vllm-{rank}"
        env = _ENVIRONMENT | host_address(allocation, node)
        step = Step(name, (*command, *words, *options.words), (node,), env=env, ends_on_int=True)
        servers.append(Server(step, (f"http://{head}:{port}/health",) if rank == 0 else ()))
    return tuple(servers)


def trainer_words(allocation: Allocation, topology: Topology, options: ServerOptions) -> tuple[str, ...]:
    """Return the arguments that tell the trainer where its server is, () without one."""
    if not topology.serving_nodes:
        return ()
    return (
        *("--vllm_server_host", topology.serving_nodes[0]),
        *("--vllm_server_port", str(options.port or allocation.port(SERVER_PORT))),
        *("--vllm_group_port", str(allocation.port(GROUP_PORT))),
    )


def _model_words(values: RecipeValues, *, is_on_gpu: bool) -> list[str]:
    """Return the words that say what to serve."""
    model = values["model_name_or_path"]
    if not model:
        raise ValueError("The recipe names no model to serve: set `model_name_or_path`")
    words = [model, f"--revision={values['model_revision']}", f"--dtype={_dtype(values, is_on_gpu=is_on_gpu)}"]
    if values["vllm_max_model_length"] is not None:
        words.append(f"--max-model-len={values['vllm_max_model_length']}")
    if values["vllm_model_impl"] != "vllm":
        words.append(f"--model-impl={values['vllm_model_impl']}")
    if values["trust_remote_code"]:
        words.append("--trust-remote-code")
    if is_on_gpu:
        words.append(f"--gpu-memory-utilization={_memory_share(values)}")
    return words


def _dtype(values: RecipeValues, *, is_on_gpu: bool) -> str:
    """The dtype in which the trainer computes: fp32 weights are multiplied in bf16 unless `bf16: false`."""
    dtype = values["dtype"] or "auto"
    return "bfloat16" if dtype == "float32" and is_on_gpu and values["bf16"] is not False else dtype


def _memory_share(values: RecipeValues) -> float:
    # A recipe for colocated vLLM says how little it may take beside the training.
    name = "vllm_gpu_memory_utilization"
    is_meant = name in values.overrides or (name in values.recipe and values.recipe.get("vllm_mode") == "server")
    return values[name] if is_meant else _MEMORY_SHARE


def _is_older_than_0_30(site: Site) -> bool:
    """Whether the site's vLLM lacks `--enable-scale-out`. One that we cannot look at is taken for the pinned one."""
    if site.vllm or site.container:
        return False
    try:
        found = version("vllm")
    except PackageNotFoundError:
        return False
    return tuple(int(part) for part in found.split("+")[0].split(".")[:2] if part.isdigit()) < (0, 30)
