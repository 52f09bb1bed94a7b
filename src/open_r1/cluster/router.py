# SPDX-License-Identifier: Apache-2.0
"""A sandbox router on a node without GPUs, for all trainers of the cluster: what `slurm/router.slurm` runs.

It listens on its node's name and asks for a token: text in $SANDBOX_ROUTER_TOKEN, or in a file that only its owner
can read (--token_file). When it answers, its address is in the log and in a file, for `sandbox_router_url`. Before its
time limit the job goes back to the queue; the file is gone meanwhile, and then says where the router is next. After
a node has failed it names that node until the job starts again.

1. Open R1's routers listen on all addresses of their node, without a token, on a port that nobody is told.
"""

import argparse
import importlib.util
import logging
import os
import stat
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.arrays import own_spelling
from open_r1.cluster.command_line import build_parser as build_common_parser
from open_r1.cluster.command_line import check_deadline, is_job, run
from open_r1.cluster.script_flags import check_flags, has_packages_of_nodes
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.supervisor import Plan, Server
from open_r1.data.flags import joined

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "SANDBOX_ROUTER_TOKEN"  # as in open_r1.sandbox.router, which takes a second to import
_READER = (
    "import runpy, sys; script = runpy.run_path('scripts/sandbox_router.py'); "
    "script['build_parser'](None, 8000, 'e2b').parse_args([script['normalised'](word) for word in sys.argv[1:]])"
)
_DEADLINE_S = 300.0
_NOTE_NAME = "own_address"  # in the job's folder: what this job has written last
_ANY_ADDRESS = ("0.0.0.0", "::")
_EPILOG = """examples:
  (umask 077; openssl rand -hex 24 > ~/.sandbox_router_token)
  slurm/router.slurm --provider local --token_file ~/.sandbox_router_token
  E2B_API_KEY=... slurm/router.slurm --provider e2b --token_file ~/.sandbox_router_token --max_parallel 50
All other flags go to scripts/sandbox_router.py, whose --help lists them. Keys of providers come from the environment.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = build_common_parser("router", __doc__.partition("\n\n1.")[0], _EPILOG)
    add = parser.add_argument_group("router").add_argument
    add("--provider", required=True, choices=("local", "piston", "e2b", "morph"), help="who runs the programs")
    add("--host", metavar="ADDRESS", help="address to listen on (default: the node's name)")
    add("--port", type=int, default=8000, help="port to listen on")
    add("--token_file", type=Path, metavar="FILE", help="file with the clients' token, for its owner only")
    add("--token_env", default=TOKEN_VARIABLE, metavar="NAME", help="environment variable with the token")
    add(
        "--address_file",
        type=Path,
        metavar="FILE",
        help="where host:port is written once the router answers (default: `address` in the job's folder for logs)",
    )
    add("--deadline", type=float, default=_DEADLINE_S, metavar="SECONDS", help="until it must answer")
    return parser


def make_plan(
    arguments: argparse.Namespace, site: Site, allocation: Allocation, *, written: list[tuple[Path, str]]
) -> Plan:
    """Return the router as a server that runs until the job ends.

    Args:
        arguments: The command line.
        site: The cluster.
        allocation: The job.
        written: Takes what this job has written of its address, when it has.

    Raises:
        ValueError: There is no such port, no token, or a flag that the script refuses.
    """
    if not 1 <= arguments.port < 1 << 16:
        raise ValueError(f"--port is {arguments.port}: it must be 1 to 65535, so that trainers know it")
    token_file = arguments.token_file and site.root / arguments.token_file.expanduser()
    token = read_token(token_file, arguments.token_env)
    if is_job():  # never in words or in `Step.env`, which are shown in logs
        os.environ[arguments.token_env] = token
    check_deadline(arguments.deadline)
    node = allocation.nodes[0]
    host = arguments.host or node
    name = node if host in _ANY_ADDRESS else host
    reached = f"[{name}]:{arguments.port}" if ":" in name else f"{name}:{arguments.port}"
    words = ["--provider", arguments.provider, "--host", host, "--port", str(arguments.port)]
    if arguments.token_env != TOKEN_VARIABLE:
        words += ["--token_env", arguments.token_env]
    words += arguments.rest
    if any(word.partition("=")[0] == "--api_key" for word in arguments.rest):
        raise ValueError("a key on the command line can be read by everybody: set MORPH_API_KEY, E2B_API_KEY")
    if not is_job() and has_packages_of_nodes(site) and importlib.util.find_spec("uvicorn") is None:
        raise ValueError("the router needs packages that this environment lacks: `make install EXTRAS=code`")
    if arguments.rest:
        check_flags(site, "scripts/sandbox_router.py", _READER, words)
    script = str(site.root / "scripts" / "sandbox_router.py")
    step = Step("router", site.python_command(script, *words), (node,), gpus=0)
    path = site.root / (arguments.address_file or allocation.attempt_folder.parent / "address").expanduser()
    note = allocation.attempt_folder.parent / _NOTE_NAME
    if is_job() and not arguments.dry_run and allocation.restarts > 0:
        _forget(path, _read(note))  # of an attempt that was killed, with its node perhaps
    return Plan(
        servers=(Server(step, (f"http://{reached}/health",)),),
        on_time_limit="requeue",
        deadline_s=arguments.deadline,
        notes=(
            f"Trainers: code_provider: router, sandbox_router_url: {reached} (when it answers also in {path}), "
            f"and the token in ${TOKEN_VARIABLE}.",
        ),
        on_ready=partial(_write_address, (note, path), reached, written),
    )


def read_token(path: Path | None, variable: str) -> str:
    """Return the clients' token, of a file or of the environment.

    Raises:
        ValueError: There is none, or others can read the file.
    """
    if path is None:
        token = os.environ.get(variable, "").strip()
        if not token:
            raise ValueError(
                f"programs of anybody on the cluster would run at your cost: give --token_file FILE, or "
                f"set {variable} to a long random text (openssl rand -hex 24)"
            )
        return token
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--token_file {path} can't be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"--token_file {path} can be read or changed by others: chmod 600 {path}")
    if not token:
        raise ValueError(f"--token_file {path} is empty: openssl rand -hex 24 > {path}")
    return token


def _write_address(paths: Sequence[Path], address: str, written: list[tuple[Path, str]]) -> None:
    """Write the address for the next attempt of this job, and for trainers."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_text(f"{address}\n", encoding="utf-8")
        part.replace(path)
        written.append((path, address))
    logger.info("The router answers at %s (also in %s).", address, paths[-1])


def _read(path: Path) -> str | None:
    """Return the address in a file; None: there is no such file, or none that can be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def forget_addresses(written: Sequence[tuple[Path, str]]) -> None:
    """Remove what a job has written of its address, so that nobody is sent to a router that is gone."""
    for path, address in written:
        _forget(path, address)


def _forget(path: Path, address: str | None) -> None:
    """Remove a file with this address; one that another router has written since stays."""
    if address is not None and _read(path) == address:
        path.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = build_parser()
    words = own_spelling(joined(parser, sys.argv[1:] if argv is None else argv))
    written: list[tuple[Path, str]] = []
    try:
        return run(parser, partial(make_plan, written=written), words, passes_on=True)
    finally:
        forget_addresses(written)


if __name__ == "__main__":
    sys.exit(main())
