# SPDX-License-Identifier: Apache-2.0
"""What is to be served, and how it lies on the nodes: replicas, the GPUs of each, what holds which part of a layer.

1. What can't work is refused before anything starts, with the values that can.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENGINES = ("vllm", "sglang")
EXECUTORS = ("mp", "ray")
COPIES_OF_VLLM = ("--data-parallel-size", "--data-parallel-", *(f"-dp{letter}" for letter in ("", *"abehlmnpr")))
# Flags of the engines that are set by flags of ours; "-" at the end stands for all that begin so.
_OURS = {
    "vllm": {
        "--model": "--model", "--revision": "--revision", "--host": "--host", "--port": "--port", "--tp": "--tp",
        "--tensor-parallel-size": "--tp", "-tp": "--tp", "--pipeline-parallel-size": "--pp", "-pp": "--pp",
        "--dp-": "--replicas", **dict.fromkeys(COPIES_OF_VLLM, "--replicas"), "--api-key": "--api-key-env",
        "--distributed-executor-backend": "--executor", "--nnodes": "--nodes", "-n": "--nodes",
        "--node-rank": "--nodes", "-r": "--nodes", "--master-addr": "--nodes", "--master-port": "--nodes",
        "--headless": "--nodes", "--served-model-name": "--served-model-name", "--uds": "--port",
    },
    "sglang": {
        "--served-model-name": "--served-model-name",
        "--model-path": "--model", "--model": "--model", "--revision": "--revision", "--host": "--host",
        "--port": "--port", "--tp-size": "--tp", "--tensor-parallel-size": "--tp", "--tp": "--tp", "--pp-size": "--pp",
        "--pipeline-parallel-size": "--pp", "--dp-size": "--replicas", "--data-parallel-size": "--replicas",
        "--api-key": "--api-key-env", "--nnodes": "--nodes", "--node-rank": "--nodes", "--dist-init-addr": "--nodes",
        "--nccl-init-addr": "--nodes", "--data-parallel-": "--replicas", "--dp-": "--replicas",
    },
}  # fmt: skip
# Flags that no server of ours can have. Requests go to http://node:port/.
_NEVER = {
    "--config": "its file may hold what flags of ours set: write its settings as words",
    "--ssl-": "servers are asked by http: put what speaks TLS in front of them",
    "--root-path": "servers are asked without a path: put what adds one in front of them",
    "--admin-api-key": "a key in a command line is seen by everybody on the node",
    "--hf-token": "a token in a command line is seen by everybody on the node: set HF_TOKEN",
}
# vLLM 0.30 starts with pipelines on CPUs, and fails at the first request.
_NO_PIPELINES = "vLLM without GPUs can't split a model by layers: leave --pp out"


@dataclass(frozen=True)
class Serving:
    """What is to be served, and how; None leaves a setting to the engine.

    Args:
        model: Folder, or name on the hub.
        engine: "vllm" or "sglang".
        revision: Branch, tag or commit on the hub.
        replicas: Copies of the model that answer independently.
        tp: GPUs that hold each layer together.
        pp: Stages that hold layers one after the other.
        executor: How vLLM runs over several nodes: "mp" or "ray".
        host: Address to listen on; None: the name of each node.
        max_model_len: Tokens of prompt and answer together.
        gpu_memory_utilization: Share of a GPU's memory, above 0, at most 1.
        trust_remote_code: Run Python code that comes with the model.
        served_model_name: What requests call the model; None: `model`.
        api_key_env: Environment variable with the key that requests must carry.
        extra: More words for the engine.
    """

    model: str
    engine: str = "vllm"
    revision: str | None = None
    replicas: int = 1
    tp: int | None = None
    pp: int | None = None
    executor: str = "mp"
    host: str | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    trust_remote_code: bool = False
    served_model_name: str | None = None
    api_key_env: str | None = None
    extra: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What requests call the model."""
        return self.served_model_name or self.model


@dataclass(frozen=True)
class Layout:
    """How replicas lie on nodes.

    Args:
        nodes_per_replica: 1 and more.
        replicas_per_server: Copies behind one address, on one node; 1 with several nodes.
        tp: GPUs that hold each layer together.
        pp: Stages.
    """

    nodes_per_replica: int
    replicas_per_server: int
    tp: int
    pp: int


def plan_layout(serving: Serving, num_nodes: int, gpus_per_node: int) -> Layout:
    """Return how the model lies on the nodes.

    Args:
        serving: What is served.
        num_nodes: 1 and more.
        gpus_per_node: 0 for CPU nodes.

    Raises:
        ValueError: It can't; the message has the values that can.
    """
    replicas = serving.replicas
    sharing = _replicas_per_server(replicas, num_nodes, gpus_per_node)
    nodes = max(1, num_nodes // replicas)
    devices_per_node = max(1, gpus_per_node) // sharing
    tp, pp = _split(serving, nodes, devices_per_node, has_gpus=gpus_per_node > 0)
    if gpus_per_node == 0 and serving.engine == "vllm" and pp > 1:
        raise ValueError(_NO_PIPELINES)
    is_bound = gpus_per_node > 0 or nodes > 1  # vLLM on one CPU node splits as it likes
    if is_bound and (tp * pp % nodes or tp * pp > nodes * devices_per_node):
        most = nodes * devices_per_node
        fitting = [n for n in range(1, most // pp + 1) if n * pp % nodes == 0]
        advice = f"--tp can be {_listed(fitting)} with --pp {pp}" if fitting else f"--pp can be at most {most}"
        raise ValueError(
            f"--tp {tp} times --pp {pp} doesn't fit {nodes} nodes with {devices_per_node} places each, "
            f"the same number on every node: {advice}"
        )
    if serving.executor == "ray" and (nodes == 1 or gpus_per_node == 0):
        raise ValueError("--executor ray is for a model on the GPUs of several nodes; leave it out here")
    if serving.engine == "sglang":
        _check_ranks(nodes, tp, pp, devices_per_node)
    return Layout(nodes, sharing, tp, pp)


def _check_ranks(nodes: int, tp: int, pp: int, devices_per_node: int) -> None:
    """Refuse layouts of SGLang (0.5) with ranks on no node: nodes share the stages, or the parts of each stage."""

    def has_all_ranks(tp: int, pp: int) -> bool:
        return pp % nodes == 0 or (nodes % pp == 0 and tp % (nodes // pp) == 0)

    if not has_all_ranks(tp, pp):
        most = nodes * devices_per_node
        fitting = [n for n in range(1, most + 1) if has_all_ranks(tp, n) and tp * n <= most]
        advice = f"with --tp {tp}, --pp can be {_listed(fitting)}" if fitting else "take another --tp"
        raise ValueError(f"SGLang can't spread --tp {tp} and --pp {pp} over {nodes} nodes: {advice}")


def _replicas_per_server(replicas: int, num_nodes: int, gpus_per_node: int) -> int:
    if replicas < 1:
        raise ValueError(f"--replicas must be 1 or more, got {replicas}")
    if replicas <= num_nodes:
        if num_nodes % replicas:
            raise ValueError(
                f"--replicas {replicas} don't divide {num_nodes} nodes: it can be "
                f"{_listed([n for n in range(1, num_nodes + 1) if num_nodes % n == 0])}"
            )
        return 1
    sharing, rest = divmod(replicas, num_nodes)
    if rest or gpus_per_node % sharing or gpus_per_node == 0:
        fitting = [n * num_nodes for n in range(1, max(1, gpus_per_node) + 1) if max(1, gpus_per_node) % n == 0]
        raise ValueError(
            f"--replicas {replicas} can't share {num_nodes} nodes with {gpus_per_node} GPUs each: it "
            f"can be {_listed(fitting)}, or a divisor of {num_nodes}"
        )
    return sharing


def _split(serving: Serving, nodes: int, devices_per_node: int, *, has_gpus: bool) -> tuple[int, int]:
    """Return tp and pp: as given, else what uses all devices of a replica."""
    tp, pp, devices = serving.tp, serving.pp, nodes * devices_per_node
    for flag, value in (("--tp", tp), ("--pp", pp)):
        if value is not None and value < 1:
            raise ValueError(f"{flag} must be 1 or more, got {value}")
    by_layers = serving.engine == "vllm" and has_gpus  # pipelines between nodes need the least of the network
    if tp is None and pp is None:
        return (devices_per_node, nodes) if by_layers else (devices, 1)
    if tp is None:
        assert pp is not None
        if devices % pp:
            raise ValueError(
                f"--pp {pp} doesn't divide the {devices} GPUs of a replica: it can be "
                f"{_listed([n for n in range(1, devices + 1) if devices % n == 0])}"
            )
        return devices // pp, pp
    return tp, (nodes if by_layers and tp <= devices_per_node else 1) if pp is None else pp


def check_serving(serving: Serving) -> None:
    """Refuse settings that no engine can have, on whatever nodes.

    Raises:
        ValueError: A setting has a value that it can't have.
    """
    if serving.engine not in ENGINES:
        raise ValueError(f"--engine is {serving.engine!r}: it can be {', '.join(ENGINES)}")
    if serving.executor not in EXECUTORS or (serving.engine == "sglang" and serving.executor != "mp"):
        raise ValueError(
            f"--executor is {serving.executor!r}: it can be {', '.join(EXECUTORS)}, and ray only for vllm"
        )
    if not serving.model or serving.model.startswith("-"):
        raise ValueError(f"--model is {serving.model!r}: a folder, or a name on the hub")
    if serving.max_model_len is not None and serving.max_model_len < 1:
        raise ValueError(f"--max-model-len must be 1 or more, got {serving.max_model_len}")
    share = serving.gpu_memory_utilization
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"--gpu-memory-utilization must be above 0 and at most 1, got {share}")
    if serving.api_key_env is not None and not serving.api_key_env.isidentifier():
        raise ValueError(f"--api-key-env is {serving.api_key_env!r}: the name of an environment variable, not the key")
    if serving.extra and not serving.extra[0].startswith("-"):
        raise ValueError(f"{serving.extra[0]!r} belongs to no flag; words for the engine stand behind --")
    for flag, value in (("--served-model-name", serving.served_model_name), ("--revision", serving.revision)):
        if value is not None and (not value or value.startswith("-")):
            raise ValueError(f"{flag} is {value!r}: the engine would take it for a flag")
    check_words(serving.extra, _OURS[serving.engine], "behind --")


def check_words(words: Sequence[str], taken: Mapping[str, str], place: str) -> None:
    """Refuse words for an engine that set what the job sets, or that no server of ours can have, however spelled.

    Args:
        words: Flags and their values.
        taken: Flag -> what sets it; "-" at the end stands for all that begin so.
        place: Where the words stand.

    Raises:
        ValueError: There is such a word.
    """
    for word in words:
        said = word.partition("=")[0]
        if (flag := _meant(said, taken)) is not None:
            raise ValueError(f"{said} {place} is set by {taken[flag]}")
        if (flag := _meant(said, _NEVER)) is not None:
            raise ValueError(f"{said} can't stand {place}: {_NEVER[flag]}")


def _meant(said: str, flags: Mapping[str, str]) -> str | None:
    """Return which of these flags is said, None if it's none of them."""
    flag = said.partition(".")[0].replace("_", "-")  # --a.b sets a part of --a
    if not flag.startswith("--"):  # -tp2, -tp=2, -n2; but not -O3
        return next((name for name in flags if name[1] != "-" and re.fullmatch(rf"{name}\d*", flag)), None)
    if flag in flags:
        return flag
    for name in flags if len(flag) > 2 else ():  # the engines' parsers take the beginning of a flag for the flag
        if name.startswith(flag) or (name.endswith("-") and flag.startswith(name)):
            return name
    return None


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
