# SPDX-License-Identifier: Apache-2.0
"""The programs of a served model, node by node: vLLM or SGLang, on one node or on several, once or in replicas.

    vLLM, several nodes      its own processes (`--nnodes`, `--headless`), or Ray with executor "ray"
    SGLang, several nodes    `--nnodes --node-rank --dist-init-addr`
    replicas                 each on its own nodes; more replicas than nodes share a node's GPUs in one server

1. Ray is no longer what vLLM needs for several nodes (0.30 doesn't even install it), so it is the second choice.
2. Remote code is off, and API keys never stand in a command line, where `ps` shows them.
3. A server listens on the name of its node. Upstream's listened on every address of the machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from open_r1.cluster.node_address import with_own_address
from open_r1.cluster.serving_layout import Layout, Serving, check_serving, plan_layout

_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_OPEN = {"VLLM_API_KEY": ""}  # of the user's environment: vLLM would demand it
# $1: variable with the key; the rest: the server.
_VLLM_KEY = 'key=${!1:?is not set, and --api-key-env names it}; shift; export VLLM_API_KEY=$key; exec "$@"'
# SGLang takes a key from a command line or a file, and writes it into its log. The shell stays to keep it out of
# there, to hand SIGTERM on, and to remove the file. It waits 5 s for what holds the pipe when the server has ended.
_SGLANG_KEY = """key=${!1:?is not set, and --api-key-env names it}; shift; umask 077; folder=$(mktemp -d) || exit
trap 'rm -rf "$folder"' EXIT
printf "api-key: '%s'\\n" "${key//\\'/\\'\\'}" >"$folder/key.yaml"
exec 3> >(while IFS= read -r line || [[ -n $line ]]; do printf '%s\\n' "${line//"$key"/***}"; done)
reader=$!
server=; early=
trap 'told=1; if [[ $server ]]; then kill -TERM "$server" 2>/dev/null; else early=1; fi' TERM INT
PYTHONUNBUFFERED=1 "$@" --config "$folder/key.yaml" >&3 2>&3 3>&- & server=$!
[[ ! $early ]] || kill -TERM "$server"
exec 3>&-
told=1; while [[ $told ]]; do told=; status=0; wait "$server" || status=$?; done
for ((tries = 0; tries < 50; tries++)); do kill -0 "$reader" 2>/dev/null || break; sleep 0.1; done
exit "$status"
"""
_IS_THERE = 'command -v "$1" >/dev/null || { echo "no program $1 on $(hostname): pip install ray" >&2; exit 1; }; '
# $1: Ray. Makes the token without which nobody gets in, in the user's home, that all nodes share.
_WITH_TOKEN = _IS_THERE + '"$1" get-auth-token --generate >/dev/null; exec "$@" --node-ip-address="$HOST_IP"'
# $1: Ray, $2: address of its head, which may not be up yet; the rest: what needs it.
_BEHIND_RAY = _IS_THERE + 'until "$1" health-check --address="$2"; do sleep 5; done; shift 2; exec "$@"'
_JOINING = _IS_THERE + (
    'until "$1" health-check --address="$2"; do sleep 5; done; shift 2; exec "$@" --node-ip-address="$HOST_IP"'
)


@dataclass(frozen=True)
class Launchers:
    """Words that start programs on a node.

    Args:
        vllm: vLLM's command line.
        sglang: SGLang's server.
        ray: Ray's program.
        python: Python, for small programs of ours.
        container: Words in front of them all.
    """

    vllm: tuple[str, ...]
    sglang: tuple[str, ...]
    ray: str
    python: str
    container: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ports:
    """Ports that are free on every node: for requests, for the nodes of a replica to meet, for Ray."""

    requests: int
    meeting: int
    ray: int


@dataclass(frozen=True)
class Program:
    """What runs on one node.

    Args:
        name: Unique among the programs.
        node: Name of the node.
        words: The command.
        url: Base URL of the API without /v1; None: it only helps another node.
        env: Variables for it.
    """

    name: str
    node: str
    words: tuple[str, ...]
    url: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def health_urls(self) -> tuple[str, ...]:
        """URLs that give 200 when it is ready."""
        return () if self.url is None else (f"{self.url}/health",)


def plan_programs(
    serving: Serving, nodes: Sequence[str], gpus_per_node: int, *, launchers: Launchers, ports: Ports
) -> tuple[Program, ...]:
    """Return what runs on each node; programs with an address are the servers that requests go to.

    Args:
        serving: What is served.
        nodes: Names of the nodes; replicas get them in this order.
        gpus_per_node: 0 for CPU nodes.
        launchers: How programs are started.
        ports: Where they listen.

    Raises:
        ValueError: It can't be served so; the message has the values that can.
    """
    check_serving(serving)
    layout = plan_layout(serving, len(nodes), gpus_per_node)
    size = layout.nodes_per_replica
    groups = [tuple(nodes[start : start + size]) for start in range(0, len(nodes), size)]
    programs: list[Program] = []
    for number, group in enumerate(groups, start=1):
        name = f"server{number}" if len(groups) > 1 else "server"
        if serving.executor == "ray":
            programs += _ray_programs(serving, layout, name, group, launchers, ports)
        else:
            programs += _plain_programs(serving, layout, name, group, launchers, ports)
    return tuple(programs)


def _plain_programs(
    serving: Serving, layout: Layout, name: str, nodes: tuple[str, ...], launchers: Launchers, ports: Ports
) -> list[Program]:
    """Programs that find each other by themselves: one a node, of which the first one answers."""
    env = _QUIET if serving.api_key_env else {**_QUIET, **_OPEN}
    if len(nodes) == 1:
        words = _engine_words(serving, layout, launchers, _listening(serving, nodes[0], ports))
        return [_program(launchers, name, nodes[0], _with_key(serving, words), _url(nodes[0], ports), env)]
    programs = []
    for rank, node in enumerate(nodes):
        listens = rank == 0 or serving.engine == "sglang"  # SGLang's others answer health only
        placing = (*(_listening(serving, node, ports) if listens else ()), *_meeting(serving, nodes, rank, ports))
        words = _with_key(serving, _engine_words(serving, layout, launchers, placing))
        programs.append(
            _program(
                launchers,
                f"{name}-node{rank}",
                node,
                _with_address(launchers, nodes, rank, words),
                _url(node, ports) if rank == 0 else None,
                env,
            )
        )
    return programs


def _ray_programs(
    serving: Serving, layout: Layout, name: str, nodes: tuple[str, ...], launchers: Launchers, ports: Ports
) -> list[Program]:
    """Ray on every node, and vLLM on the first, which waits for Ray; vLLM itself waits for all GPUs."""
    address = f"{nodes[0]}:{ports.ray}"
    env = {**_QUIET, "RAY_AUTH_MODE": "token"}  # whoever is let in runs programs here
    programs = []
    for rank, node in enumerate(nodes):
        place = (f"--address={address}",) if rank else ("--head", f"--port={ports.ray}", "--include-dashboard=false")
        start = (launchers.ray, "start", *place, "--disable-usage-stats", "--block")
        before = (_JOINING, "ray", launchers.ray, address) if rank else (_WITH_TOKEN, "ray")
        words = ("bash", "-c", *before, *start)
        words = _with_address(launchers, nodes, rank, words)
        programs.append(_program(launchers, f"{name}-ray{rank}", node, words, None, env))
    placing = (*_listening(serving, nodes[0], ports), "--distributed-executor-backend", "ray")
    words = _with_key(serving, _engine_words(serving, layout, launchers, placing))
    words = _with_address(launchers, nodes, 0, ("bash", "-c", _BEHIND_RAY, "ray", launchers.ray, address, *words))
    env = {**env, "RAY_ADDRESS": address, **({} if serving.api_key_env else _OPEN)}
    server = _program(launchers, name, nodes[0], words, _url(nodes[0], ports), env)
    return [*programs, server]


def _program(
    launchers: Launchers,
    name: str,
    node: str,
    words: tuple[str, ...],
    url: str | None,
    env: Mapping[str, str],
) -> Program:
    return Program(name, node, (*launchers.container, *words), url, env)


def _url(node: str, ports: Ports) -> str:
    return f"http://{node}:{ports.requests}"


def _listening(serving: Serving, node: str, ports: Ports) -> tuple[str, ...]:
    return "--host", serving.host or node, "--port", str(ports.requests)


def _meeting(serving: Serving, nodes: tuple[str, ...], rank: int, ports: Ports) -> tuple[str, ...]:
    """Words by which the programs of several nodes find each other."""
    numbers = ("--nnodes", str(len(nodes)), "--node-rank", str(rank))
    if serving.engine == "sglang":
        return (*numbers, "--dist-init-addr", f"{nodes[0]}:{ports.meeting}")
    return (
        *numbers,
        "--master-addr",
        nodes[0],
        "--master-port",
        str(ports.meeting),
        *(["--headless"] if rank else []),
    )


def _engine_words(serving: Serving, layout: Layout, launchers: Launchers, placing: Sequence[str]) -> tuple[str, ...]:
    is_vllm = serving.engine == "vllm"
    words = (
        [*launchers.vllm, "serve", serving.model] if is_vllm else [*launchers.sglang, "--model-path", serving.model]
    )
    words += placing
    words += ["--tensor-parallel-size", str(layout.tp)]
    if layout.pp > 1:
        words += ["--pipeline-parallel-size", str(layout.pp)]
    if layout.replicas_per_server > 1:
        words += ["--data-parallel-size", str(layout.replicas_per_server)]
    for flag, value in (
        ("--revision", serving.revision),
        ("--served-model-name", serving.served_model_name),
        ("--max-model-len" if is_vllm else "--context-length", serving.max_model_len),
        ("--gpu-memory-utilization" if is_vllm else "--mem-fraction-static", serving.gpu_memory_utilization),
    ):
        words += [] if value is None else [flag, str(value)]
    words += ["--trust-remote-code"] if serving.trust_remote_code else []
    words += ["--disable-uvicorn-access-log"] if is_vllm else []  # a line for each request
    return (*words, *serving.extra)


def _with_key(serving: Serving, words: tuple[str, ...]) -> tuple[str, ...]:
    """Put a shell that passes the key in front of a server, if there is one."""
    if serving.api_key_env is None:
        return words
    script = _VLLM_KEY if serving.engine == "vllm" else _SGLANG_KEY
    return ("bash", "-c", script, "serve", serving.api_key_env, *words)


def _with_address(launchers: Launchers, nodes: tuple[str, ...], rank: int, words: tuple[str, ...]) -> tuple[str, ...]:
    return with_own_address(launchers.python, nodes[0] if rank else nodes[1], words)
