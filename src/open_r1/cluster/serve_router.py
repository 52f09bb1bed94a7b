# SPDX-License-Identifier: Apache-2.0
"""`slurm/serve_router.slurm`: a router that servers of other jobs register with, as a job on a node without GPUs.

    slurm/serve_router.slurm
    slurm/serve.slurm --model ... --register-with http://<its node>:39876

1. It is vLLM's router, for servers of vLLM and SGLang; upstream started SGLang's.
2. A router that was requeued knows no servers any more: give those that keep their place by --worker.
"""

import argparse
import sys
from collections.abc import Sequence

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.command_line import build_parser, check_deadline, run
from open_r1.cluster.serve import POLICIES, check_port, check_router_installed, check_url, router_step
from open_r1.cluster.sites import Site
from open_r1.cluster.supervisor import Plan, Server

_DEADLINE_S = 300.0
_DESCRIPTION = "Run a router for servers that register with it (slurm/serve.slurm --register-with)."


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `slurm/serve_router.slurm`."""
    parser = build_parser("serve_router", _DESCRIPTION)
    add = parser.add_argument_group("router").add_argument
    add("--port", type=int, default=39876, metavar="PORT", help="1024 to 65535")
    add("--policy", choices=POLICIES, default="cache_aware", help="how it chooses a server")
    add("--worker", action="append", default=[], metavar="URL", help="a server that is known before; may be repeated")
    add("--deadline", type=float, default=_DEADLINE_S, metavar="SECONDS", help="until it, and each --worker, answers")
    return parser


def make_plan(arguments: argparse.Namespace, site: Site, allocation: Allocation) -> Plan:
    """Return the router as a server that runs until the job ends.

    Raises:
        ValueError: The command line can't work.
    """
    check_port("--port", arguments.port)
    check_deadline(arguments.deadline)
    workers = [check_url("--worker", worker) for worker in arguments.worker]
    if not arguments.dry_run:
        check_router_installed(site)
    node = allocation.nodes[0]
    step = router_step(
        site,
        node,
        port=arguments.port,
        metrics_port=allocation.port(),
        policy=arguments.policy,
        urls=workers,
        deadline_s=arguments.deadline,
    )
    url = f"http://{node}:{arguments.port}"
    return Plan(
        servers=(Server(step, (f"{url}/health",)),),
        on_time_limit="requeue",
        deadline_s=arguments.deadline,
        notes=(f"Servers register by --register-with {url}; clients ask {url}/v1",),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `slurm/serve_router.slurm`."""
    return run(make_parser(), make_plan, argv)


if __name__ == "__main__":
    sys.exit(main())
