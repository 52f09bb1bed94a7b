# SPDX-License-Identifier: Apache-2.0
"""A Piston worker on a node without GPUs: what `slurm/piston/piston.slurm` runs.

Piston is started by the words of `piston` in cluster.sh, in a container or plain, with the settings below in its
environment. When it answers, the job is renamed to piston-worker-<port>, the name by which `PISTON_ENDPOINTS=slurm`
finds it: a worker that is still starting is found by nobody. Before its time limit the job goes back to the queue.

1. Open R1 draws ports on the login node, where workers don't run; here each worker takes a free port of its own node.
2. Its settings go into the files of a container; here they are environment variables, which yours come over.
"""

import argparse
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.command_line import build_parser as build_common_parser
from open_r1.cluster.command_line import check_deadline, is_job, run
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.supervisor import Plan, Server

logger = logging.getLogger(__name__)

STARTING, WORKER = "piston-starting", "piston-worker-{port}"
# Piston's own limits: 3 s, 10 s and 1 KB. Times in milliseconds, sizes in bytes.
SETTINGS = {
    "PISTON_COMPILE_TIMEOUT": "60000",
    "PISTON_RUN_TIMEOUT": "60000",
    "PISTON_COMPILE_CPU_TIME": "60000",
    "PISTON_RUN_CPU_TIME": "60000",
    "PISTON_OUTPUT_MAX_SIZE": "40000000",
    "PISTON_MAX_FILE_SIZE": "1000000000",
    "PISTON_DISABLE_NETWORKING": "true",
    "PISTON_REPO_URL": "https://github.com/guipenedo/piston/releases/download/pkgs/index",
    "PISTON_BODY_LIMIT": "512mb",  # read by slurm/piston/start_piston.sh: Piston has no such setting
}
_NUM_PORTS = 20
_DEADLINE_S = 600.0
_SCONTROL_TIMEOUT_S = 60
_EPILOG = """examples:
  slurm/piston/launch_piston_workers.sh 5        # five workers
  slurm/piston/piston.slurm --port 2000          # one, on this port
  PISTON_ENDPOINTS=slurm python src/open_r1/grpo.py ...
slurm/piston/README.md has examples of `piston` in cluster.sh, and the packages to install.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = build_common_parser("piston/piston", __doc__.partition("\n\n1.")[0], _EPILOG)
    add = parser.add_argument_group("worker").add_argument
    add("--port", type=int, help="port to listen on (default: $PORT, or one that is free on the node)")
    add(
        "--packages",
        type=Path,
        metavar="FOLDER",
        help="folder of Piston's packages, which workers share (default: $PISTON_DATA_DIRECTORY, or data/piston)",
    )
    add("--deadline", type=float, default=_DEADLINE_S, metavar="SECONDS", help="until it must answer")
    return parser


def make_plan(arguments: argparse.Namespace, site: Site, allocation: Allocation) -> Plan:
    """Return the worker as a server that runs until the job ends.

    Raises:
        ValueError: The site has no Piston, or there is no such port.
        RuntimeError: No port is free, or Slurm doesn't rename the job.
    """
    if not site.piston:
        raise ValueError(
            "`piston` in cluster.sh is empty: set it to the words that start Piston here "
            "(slurm/piston/README.md has examples)"
        )
    check_deadline(arguments.deadline)
    node = allocation.nodes[0]
    port = wanted_port(arguments.port)
    folder = Path(arguments.packages or os.environ.get("PISTON_DATA_DIRECTORY") or "data/piston").expanduser()
    folder = site.root / folder
    if is_job() and not arguments.dry_run:
        rename_job(allocation.label, STARTING)
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port(node, allocation)
    port = port or allocation.port()
    step = Step("piston", site.piston, (node,), gpus=0, env=worker_environment(node, port, folder))
    return Plan(
        servers=(Server(step, (f"http://{node}:{port}/api/v2/runtimes",)),),
        on_time_limit="requeue",
        deadline_s=arguments.deadline,
        notes=(f"When http://{node}:{port}/api/v2 answers, the job is called {WORKER.format(port=port)}.",),
        on_ready=partial(rename_job, allocation.label, WORKER.format(port=port)),
    )


def wanted_port(given: int | None) -> int | None:
    """Return the port that was asked for, None: any.

    Raises:
        ValueError: There is no such port.
    """
    text = str(given) if given is not None else os.environ.get("PORT", "").strip()
    if not text:
        return None
    if not text.isdigit() or not 1 <= int(text) < 1 << 16:
        raise ValueError(f"--port (or $PORT) is {text!r}: it must be 1 to 65535")
    return int(text)


def free_port(node: str, allocation: Allocation) -> int:
    """Return one of the job's ports that nobody listens on; other workers on the node have other ports.

    Raises:
        RuntimeError: All are taken.
    """
    for port in map(allocation.port, range(_NUM_PORTS)):
        try:
            with socket.create_server((node, port)):
                return port
        except OSError as error:
            logger.info("Port %d of %s: %s", port, node, error)
    raise RuntimeError(
        f"{node} has no free port for a Piston worker among {allocation.port()} and the next "
        f"{_NUM_PORTS - 1}: give one by --port"
    )


def worker_environment(node: str, port: int, folder: Path) -> dict[str, str]:
    """Return Piston's settings: ours, where the environment doesn't have others."""
    settings = {name: os.environ.get(name) or value for name, value in SETTINGS.items()}
    return settings | {
        "PORT": str(port),
        "PISTON_BIND_ADDRESS": f"{node}:{port}",
        "PISTON_DATA_DIRECTORY": str(folder),
    }


def rename_job(job_id: str, name: str) -> None:
    """Give a job another name.

    Raises:
        RuntimeError: Slurm doesn't do it.
    """
    command = ["scontrol", "update", f"JobId={job_id}", f"JobName={name}"]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=_SCONTROL_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        raise RuntimeError(f"`{' '.join(command)}` failed, so trainers could not find the worker: {said}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run(build_parser(), make_plan, argv, takes_array=True)


if __name__ == "__main__":
    sys.exit(main())
