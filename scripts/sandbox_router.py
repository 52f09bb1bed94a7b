# SPDX-License-Identifier: Apache-2.0
"""Share one sandbox provider among many trainers, over HTTP.

    python scripts/sandbox_router.py --provider local --port 8000
    SANDBOX_ROUTER_TOKEN=... python scripts/sandbox_router.py --provider e2b --host 0.0.0.0

The first one is for this machine only. Any other --host needs a token, in an environment variable; HTTP sends it in
the clear, so put TLS in front of it where others can listen. Trainers: `code_provider: router`,
`sandbox_router_url: host:8000`, and the same SANDBOX_ROUTER_TOKEN. Keys of providers are read from the environment
(E2B_API_KEY, MORPH_API_KEY, PISTON_ENDPOINTS), never from the command line or a file. SIGTERM and ctrl-C give running
programs --grace_s, then end them with their boxes; a second one waits for nobody. Options may be typed with hyphens or
underscores.
"""

import argparse
import asyncio
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys

from open_r1.sandbox import SandboxError, run_coroutine
from open_r1.sandbox.providers import PROVIDERS, TOKEN_VARIABLE, SandboxSettings
from open_r1.sandbox.router_server import Router
from open_r1.sandbox.running import private_loop

logger = logging.getLogger("sandbox_router")
SHORTEST_TOKEN = 8
FILES = 8192  # connections and pipes of boxes; the usual 1024 are few


def main(argv: list[str] | None = None, *, provider: str | None = None, port: int = 8000) -> int:
    """Serve until a signal says stop; return the exit status.

    Args:
        argv: The command line (None: this process's).
        provider: Default of --provider; None: it must be given.
        port: Default of --port.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    parser = build_parser(provider, port)
    args = parser.parse_args([normalised(word) for word in (sys.argv[1:] if argv is None else argv)])
    if args.api_key is not None:
        parser.error("everybody on the machine can read --api_key: set MORPH_API_KEY or E2B_API_KEY")
    try:
        token = read_token(args.token_env, args.host)
        sandbox = SandboxSettings(args.provider, python=args.sandbox_python).build()
        names = run_coroutine(sandbox.languages)
        options = {name: getattr(args, name) for name in ("max_parallel", "max_queue", "max_body_mb")}
        router = Router(sandbox, token=token, **options)
    except (ValueError, SandboxError, ImportError) as error:
        print(f"sandbox_router.py: {error}", file=sys.stderr)
        return 1
    try:
        family, _, _, _, address = socket.getaddrinfo(args.host, args.port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)  # type: ignore[arg-type]
    except (OSError, OverflowError) as error:
        print(f"sandbox_router.py: can't listen on {args.host}:{args.port}: {error}", file=sys.stderr)
        return 1
    num_files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if num_files < FILES and (most_files == resource.RLIM_INFINITY or most_files >= FILES):
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, most_files))
    stop = asyncio.Event()

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one doesn't wait
        private_loop().call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    logger.info("%s; languages: %s", sandbox.describe(), ", ".join(names))
    logger.info("Listening on %s, %s token.", listening.getsockname()[:2], "with a" if token else "without")
    run_coroutine(lambda: router.serve(listening, stop, args.grace_s))  # on the loop of the sandbox's methods
    return 0


def normalised(word: str) -> str:
    """Return a word of the command line with underscores in the option's name."""
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if word.startswith("--") else word


def build_parser(provider: str | None, port: int) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    names = [name for name in PROVIDERS if name != "router"]
    add("--provider", choices=names, default=provider, required=provider is None, help="who runs the programs")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=port, help="port to listen on (%(default)s)")
    add("--token_env", metavar="NAME", help=f"variable with the clients' token ({TOKEN_VARIABLE}, if it's set)")
    add("--max_parallel", "--max_num_sandboxes", type=int, default=20, help="programs at a time (%(default)s)")
    add("--max_queue", type=int, default=1024, help="programs that may wait; more are answered 429 (%(default)s)")
    add("--max_body_mb", type=float, default=64.0, help="size of a request in MiB (%(default)s)")
    add("--grace_s", type=int, default=30, help="seconds that programs get to end when the router stops (%(default)s)")
    add("--sandbox_python", help="interpreter for Python programs in local boxes (default: chosen by a probe)")
    add("--api_key", help=argparse.SUPPRESS)
    return parser


def read_token(name: str | None, host: str) -> str | None:
    """Return the clients' token, if there is one.

    Raises:
        ValueError: It's needed, or named, and isn't there; or anybody can guess it.
    """
    token = os.environ.get(name or TOKEN_VARIABLE, "").strip() or None
    if token is None and (name is not None or not is_loopback(host)):
        raise ValueError(
            f"Others who can reach --host {host} would run programs at your cost: set {name or TOKEN_VARIABLE} to a "
            "long random text, and give it to the trainers."
        )
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ValueError(f"The token is easy to guess: take {SHORTEST_TOKEN} characters or more, not {len(token)}.")
    return token


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, reached without a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
