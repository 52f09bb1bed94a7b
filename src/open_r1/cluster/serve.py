# SPDX-License-Identifier: Apache-2.0
"""`slurm/serve.slurm`: an OpenAI-compatible server on the nodes of a job, until the job ends.

1. It answers or it ends: the start has a deadline, a server that dies ends the job with the end of its log and its
   exit status, one that stops completing texts is reported and ends it too. Upstream waited for ever, for any answer.
2. Where it answers stands in `<logs>/<job name>-<job id>/endpoints.json` from then on until the job ends.
3. Several replicas get one address by vLLM's own router (`pip install vllm-router`), which passes every field on.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.command_line import build_parser, check_deadline, run
from open_r1.cluster.engines import Launchers, Ports, Program, plan_programs
from open_r1.cluster.model_heads import check_heads
from open_r1.cluster.script_flags import has_packages_of_nodes
from open_r1.cluster.serving_layout import ENGINES, EXECUTORS, Serving, plan_layout
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.supervisor import Plan, Server

DEADLINE_S = 3600.0  # hundreds of billions of parameters are read from network disks
POLICIES = ("cache_aware", "round_robin", "random", "power_of_two", "consistent_hash")
_CHECK_EVERY_S = 300.0
_REQUESTS, _MEETING, _RAY, _ROUTER, _METRICS = range(5)  # ports of the job
_LONGEST_REQUEST_S = 86400  # clients have limits of their own
_EPILOG = """examples:
  slurm/serve.slurm --model Qwen/Qwen3-8B
  slurm/serve.slurm --nodes 2 --model deepseek-ai/DeepSeek-R1 --engine sglang --max-model-len 32768
  slurm/serve.slurm --nodes 4 --model Qwen/Qwen3-32B --replicas 4 --router -- --enable-prefix-caching
  sbatch --nodes=2 --time=1-00:00:00 slurm/serve.slurm --model ... (to choose sbatch's options yourself)

Words behind -- go to the engine. The key of --api-key-env, and of the hub, come from the environment of the
submission. Before its time limit the job goes back to the queue; endpoints.json then says where it answers next."""


def add_serving_flags(parser: argparse.ArgumentParser, *, beside_client: bool = False) -> None:
    """Add what both serve.slurm and generate.slurm take.

    Args:
        parser: Gets the flags.
        beside_client: Leave out names that clients have for something else.
    """
    revision, deadline = ["--model-revision"], ["--server-deadline"]
    if not beside_client:
        revision.insert(0, "--revision")
        deadline.insert(0, "--deadline")
    add = parser.add_argument_group("model").add_argument
    add("--model", required=True, help="folder of the model, or its name on the hub")
    add(*revision, dest="revision", metavar="REVISION", help="branch, tag or commit on the hub (its default branch)")
    add("--served-model-name", metavar="NAME", help="what requests call it (the words of --model)")
    add("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    add("--max-model-len", type=int, metavar="TOKENS", help="of prompt and answer together (the model's)")
    add("--gpu-memory-utilization", type=float, metavar="SHARE", help="of each GPU, at most 1 (the engine's)")
    add = parser.add_argument_group("server").add_argument
    add("--engine", choices=ENGINES, default="vllm", help="what serves it")
    add("--tp", type=int, metavar="N", help="GPUs that hold each layer together (vllm: those of a node; sglang: all)")
    add("--pp", type=int, metavar="N", help="stages of layers (vllm: one for each node; sglang: 1)")
    add("--replicas", "--dp", type=int, default=1, metavar="N", help="copies of the model that answer independently")
    add(
        "--executor",
        choices=EXECUTORS,
        default="mp",
        help="how vLLM runs one model over several nodes: by itself, or by Ray (pip install ray)",
    )
    add("--router", action="store_true", help="one address in front of all replicas (pip install vllm-router)")
    add("--router-policy", choices=POLICIES, default="cache_aware", help="how the router chooses a replica")
    add("--port", type=int, metavar="PORT", help="of the servers, 1024 to 65535 (one of the job's own)")
    add("--router-port", type=int, metavar="PORT", help="of the router (one of the job's own)")
    add(
        "--listen",
        choices=("node", "all"),
        default="node",
        help="on the address that the node's name stands for, or on all addresses of the node",
    )
    add("--api-key-env", metavar="NAME", help="environment variable with the key that requests must carry (no key)")
    add(*deadline, dest="deadline", type=float, default=DEADLINE_S, metavar="SECONDS", help="until all must answer")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `slurm/serve.slurm`."""
    parser = build_parser("serve", "Serve a model with vLLM or SGLang, on one node or on several.", _EPILOG)
    add_serving_flags(parser)
    add = parser.add_argument_group("service").add_argument
    add("words", nargs="*", metavar="-- WORD", help="more words for the engine, taken as they are")
    add("--health-interval", type=float, default=_CHECK_EVERY_S, metavar="SECONDS", help="between checks of health")
    add("--register-with", metavar="URL", help="a router elsewhere that is told of the servers (serve_router.slurm)")
    return parser


def read_serving(arguments: argparse.Namespace, words: Sequence[str]) -> Serving:
    """Return what is to be served.

    Args:
        arguments: With the flags of `add_serving_flags`.
        words: More words for the engine.
    """
    return Serving(
        model=arguments.model,
        engine=arguments.engine,
        revision=arguments.revision,
        replicas=arguments.replicas,
        tp=arguments.tp,
        pp=arguments.pp,
        executor=arguments.executor,
        host="0.0.0.0" if arguments.listen == "all" else None,
        max_model_len=arguments.max_model_len,
        gpu_memory_utilization=arguments.gpu_memory_utilization,
        trust_remote_code=arguments.trust_remote_code,
        served_model_name=arguments.served_model_name,
        api_key_env=arguments.api_key_env,
        extra=tuple(words),
    )


class Service:
    """The servers of a job, and where they answer.

    Attributes:
        serving: What is served.
        urls: Base URLs of the replicas, without /v1.
        router_url: Base URL of the router; None: there is none.
        servers: All of it, for a plan.
    """

    def __init__(
        self, arguments: argparse.Namespace, words: Sequence[str], site: Site, allocation: Allocation
    ) -> None:
        """Plan the servers.

        Args:
            arguments: With the flags of `add_serving_flags`.
            words: More words for the engine.
            site: The cluster.
            allocation: The job.

        Raises:
            ValueError: It can't be served so.
        """
        self.serving = read_serving(arguments, words)
        _check(arguments, site)
        vllm = site.vllm_command()[len(site.container) :]
        launchers = Launchers(
            vllm=vllm,
            sglang=site.sglang or (site.node_python, "-m", "sglang.launch_server"),
            ray=str(Path(vllm[0]).with_name("ray")) if "/" in vllm[0] else "ray",
            python=site.node_python,
            container=site.container,
        )
        ports = Ports(arguments.port or allocation.port(_REQUESTS), allocation.port(_MEETING), allocation.port(_RAY))
        has_room = partial(check_heads, self.serving, site.root, len(allocation.nodes))
        allocation = allocation.assuming_gpus_for(has_room)
        has_room(allocation.gpus_per_node)
        programs = plan_programs(
            self.serving, allocation.nodes, allocation.gpus_per_node, launchers=launchers, ports=ports
        )
        self.urls = tuple(program.url for program in programs if program.url is not None)
        gpus = allocation.gpus_per_node if allocation.has_assumed_gpus else None
        self.servers = tuple(_server(program, gpus) for program in programs)
        self.router_url: str | None = None
        if arguments.router:
            router = _router(arguments, site, allocation, self.urls)
            self.router_url = router.health_urls[0].removesuffix("/health")
            self.servers += (router,)
        self._layout = plan_layout(self.serving, len(allocation.nodes), allocation.gpus_per_node)
        self._allocation = allocation

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know."""
        layout, nodes = self._layout, self._allocation.nodes
        gpus = self._allocation.gpus_per_node * len(nodes)
        idle = gpus - self.serving.replicas * layout.tp * layout.pp
        notes = [
            f"{self.serving.engine} serves {self.serving.name} on {', '.join(nodes)}: {self.serving.replicas} x "
            f"{layout.tp} (tensor parallel) x {layout.pp} (stages)"
        ]
        if idle > 0:
            notes.append(f"{idle} of {gpus} GPUs stay idle")
        if self.serving.api_key_env is None:
            notes.append("No key: everybody who reaches the nodes can ask (--api-key-env)")
        return (*notes, *self._allocation.assumptions)

    def watch(self, site: Site, words: Sequence[str]) -> Step:
        """Return the step that looks at the servers from a node.

        Args:
            site: The cluster.
            words: Of `serving_watch`, beside the addresses.
        """
        command = ["-m", "open_r1.cluster.serving_watch", "--model", self.serving.name]
        for url in self.urls:
            command += ["--url", url]
        if self.router_url is not None:
            command += ["--router", self.router_url]
        if self.serving.api_key_env is not None:
            command += ["--api-key-env", self.serving.api_key_env]
        return Step("watch", site.python_command(*command, *words), self._allocation.nodes[:1], gpus=0, is_shown=True)


def make_plan(arguments: argparse.Namespace, site: Site, allocation: Allocation) -> Plan:
    """Return what the job runs.

    Raises:
        ValueError: The command line can't work on these nodes.
    """
    if not 1 <= arguments.health_interval <= 86400:
        raise ValueError(f"--health-interval must be 1 to 86400 seconds, got {arguments.health_interval:g}")
    service = Service(arguments, arguments.words, site, allocation)
    endpoints = allocation.attempt_folder.parent / "endpoints.json"
    words = ["--endpoints", str(endpoints), "--interval", f"{arguments.health_interval:g}"]
    if arguments.register_with is not None:
        words += ["--register-with", check_url("--register-with", arguments.register_with)]
    return Plan(
        servers=service.servers,
        work=(service.watch(site, words),),
        on_time_limit="requeue",
        deadline_s=arguments.deadline,
        notes=service.notes,
        short_lived=(endpoints,),
    )


def router_step(
    site: Site, node: str, *, port: int, metrics_port: int, policy: str, urls: Sequence[str], deadline_s: float
) -> Step:
    """Return a router.

    Args:
        site: The cluster.
        node: Where it runs and on whose name it listens.
        port: For requests.
        metrics_port: For Prometheus, on this node only.
        policy: One of POLICIES.
        urls: Base URLs of the servers behind it; (): they register later.
        deadline_s: Seconds that it waits for them.
    """
    words = ["-m", "vllm_router.launch_router", "--host", node, "--port", str(port), "--policy", policy,
             "--prometheus-port", str(metrics_port), "--worker-startup-timeout-secs", f"{deadline_s:.0f}",
             "--worker-startup-check-interval", "2", "--health-check-interval-secs", "10",
             "--request-timeout-secs", str(_LONGEST_REQUEST_S)]  # fmt: skip
    if urls:
        words += ["--worker-urls", *urls]
    # Servers are nodes of the cluster, whatever http_proxy says.
    env = {"NO_PROXY": "*", "no_proxy": "*"}
    return Step("router", site.python_command(*words), (node,), gpus=0, env=env)


def check_router_installed(site: Site) -> None:
    """Refuse to start a router that isn't there, as far as this process can see.

    Raises:
        ValueError: It isn't installed.
    """
    if has_packages_of_nodes(site) and importlib.util.find_spec("vllm_router") is None:
        raise ValueError(
            f"the router is not installed: `{site.node_python} -m pip install vllm-router`; without one, "
            "clients can be given the addresses of all replicas"
        )


def check_port(flag: str, port: int | None) -> None:
    """Refuse what is no port that users may listen on.

    Raises:
        ValueError: It's none.
    """
    if port is not None and not 1024 <= port <= 65535:
        raise ValueError(f"{flag} is {port}: it must be 1024 to 65535")


def check_url(flag: str, text: str) -> str:
    """Return the URL of a server or router, with http:// in front if it has no scheme, as Open R1's scripts take it.

    Raises:
        ValueError: It's none.
    """
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    try:
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        is_url = False
    if not is_url or parts.query or parts.fragment or any(letter.isspace() for letter in text):
        raise ValueError(f"{flag} is {text!r}: it must look like http://node1:39876")
    return url.rstrip("/")


def _check(arguments: argparse.Namespace, site: Site) -> None:
    check_port("--port", arguments.port)
    check_port("--router-port", arguments.router_port)
    if arguments.router_port is not None and not arguments.router:
        raise ValueError("--router-port is for --router")
    if arguments.router and arguments.router_port is not None and arguments.router_port == arguments.port:
        raise ValueError(f"--port and --router-port are both {arguments.port}: the router shares a node with a server")
    check_deadline(arguments.deadline)
    if arguments.dry_run:
        return
    if arguments.router:
        check_router_installed(site)
    name = arguments.api_key_env
    if name is not None and not os.environ.get(name):
        raise ValueError(f"--api-key-env names {name}, which is not set, or empty, in the environment")


def _router(arguments: argparse.Namespace, site: Site, allocation: Allocation, urls: Sequence[str]) -> Server:
    node, port = allocation.nodes[0], arguments.router_port or allocation.port(_ROUTER)
    step = router_step(
        site,
        node,
        port=port,
        metrics_port=allocation.port(_METRICS),
        policy=arguments.router_policy,
        urls=urls,
        deadline_s=arguments.deadline,
    )
    return Server(step, (f"http://{node}:{port}/health",))


def _server(program: Program, gpus: int | None) -> Server:
    step = Step(program.name, program.words, (program.node,), gpus=gpus, env=program.env)
    return Server(step, program.health_urls)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `slurm/serve.slurm`."""
    return run(make_parser(), make_plan, argv)


if __name__ == "__main__":
    sys.exit(main())
