# SPDX-License-Identifier: Apache-2.0
"""Share one sandbox provider among many trainers, over HTTP.

    python scripts/sandbox_router.py --provider local --port 8000
    SANDBOX_ROUTER_TOKEN=... python scripts/sandbox_router.py --provider e2b --host 0.0.0.0

It needs `make install EXTRAS=code` (fastapi, uvicorn); trainers that ask it don't. The first one is for this machine
only. Any other --host needs a token, in an environment variable; HTTP sends it in the clear, so put TLS in front of it
where others can listen. Trainers: `code_provider: router`, `sandbox_router_url: host:8000`, and the same
SANDBOX_ROUTER_TOKEN. Keys of providers are read from the environment (E2B_API_KEY, MORPH_API_KEY, PISTON_ENDPOINTS),
never from the command line or a file. SIGTERM and ctrl-C give running programs --grace_s, then end them with their
boxes. Options may be typed with hyphens or underscores.
"""

import argparse
import logging
import os
import resource
import signal
import socket
import sys

from open_r1.sandbox import Sandbox, SandboxError, run_coroutine
from open_r1.sandbox.providers import PROVIDERS, SandboxSettings
from open_r1.sandbox.router import TOKEN_VARIABLE, is_loopback

logger = logging.getLogger("sandbox_router")
SHORTEST_TOKEN = 8
SPARE_CONNECTIONS = 1024  # of clients that keep theirs between requests
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
        parser.error(
            "a key on the command line can be read by everybody on the machine: set MORPH_API_KEY, E2B_API_KEY"
        )
    try:
        token = read_token(args.token_env, args.host)
        sandbox = SandboxSettings(args.provider, python=args.sandbox_python).build()
        names = run_coroutine(sandbox.languages)
    except (ValueError, SandboxError, ImportError) as error:
        print(f"sandbox_router.py: {error}", file=sys.stderr)
        return 1
    logger.info("%s; languages: %s", sandbox.describe(), ", ".join(names))
    try:
        return serve(sandbox, token, args)
    except (ValueError, OSError) as error:  # settings out of range; an address that can't be listened on
        print(f"sandbox_router.py: {error}", file=sys.stderr)
        return 1


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
    add(
        "--provider",
        choices=[name for name in PROVIDERS if name != "router"],
        default=provider,
        required=provider is None,
        help="who runs the programs",
    )
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=port, help="port to listen on (%(default)s)")
    add(
        "--token_env",
        metavar="NAME",
        help=f"environment variable with the clients' token (default: {TOKEN_VARIABLE}, if it's set)",
    )
    add("--max_parallel", "--max_num_sandboxes", type=int, default=20, help="programs at a time (%(default)s)")
    add("--max_queue", type=int, default=1024, help="programs that may wait; more are answered 429 (%(default)s)")
    add("--max_body_mb", type=float, default=64.0, help="size of a request in MiB (%(default)s)")
    add("--script_memory_mb", type=int, default=1024, help="memory of an /execute_batch script (%(default)s)")
    add("--grace_s", type=int, default=30, help="seconds that programs get to end when the router stops (%(default)s)")
    add("--sandbox_python", help="interpreter for Python programs in local boxes (default: chosen by a probe)")
    add("--api_key", help=argparse.SUPPRESS)
    return parser


def read_token(name: str | None, host: str) -> str | None:
    """Return the clients' token, if there is one.

    Raises:
        ValueError: It's needed, or named, and isn't there.
    """
    token = os.environ.get(name or TOKEN_VARIABLE, "").strip() or None
    if token is None and name is not None:
        raise ValueError(f"--token_env names {name}, which isn't set.")
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ValueError(
            f"The token has {len(token)} characters: anybody can guess it; take {SHORTEST_TOKEN} or more."
        )
    if not is_loopback(host):
        if token is None:
            raise ValueError(
                f"--host {host} can be reached by others, who would run programs at your cost: set "
                f"{TOKEN_VARIABLE} (or --token_env NAME) to a long random text, and give it to the "
                "trainers."
            )
        logger.warning("Without TLS in front of it, the token on its way to %s can be read by those between.", host)
    return token


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens; uvicorn itself would end the process where it can't.

    Raises:
        ValueError: There's no such port.
        OSError: The address is in use, unknown or not this machine's.
    """
    if not 0 <= port < 1 << 16:
        raise ValueError(f"--port is 0 to 65535, got {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)  # type: ignore[arg-type]
    except OSError as error:
        raise OSError(f"can't listen on {host}:{port}: {error}") from error


def serve(sandbox: Sandbox, token: str | None, args: argparse.Namespace) -> int:
    """Serve a sandbox on the loop that its methods belong to, until SIGTERM or SIGINT."""
    try:
        import uvicorn

        from open_r1.sandbox.router_server import Router
    except ImportError as error:
        print(f"sandbox_router.py: {error}. Run `make install EXTRAS=code`.", file=sys.stderr)
        return 1
    options = {name: getattr(args, name) for name in ("max_parallel", "max_queue", "max_body_mb")}
    app = Router(sandbox, token=token, script_memory_mb=args.script_memory_mb, **options).app()
    listening = bind(args.host, args.port)
    num_files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if num_files < FILES and (most_files == resource.RLIM_INFINITY or most_files >= FILES):
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, most_files))
    config = uvicorn.Config(
        app,
        limit_concurrency=2 * (args.max_parallel + args.max_queue) + SPARE_CONNECTIONS,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=args.grace_s,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    port = listening.getsockname()[1]
    logger.info(
        "Listening on %s:%d, %s token, %d programs at a time, %d may wait.",
        args.host,
        port,
        "with a" if token else "without",
        args.max_parallel,
        args.max_queue,
    )
    run_coroutine(lambda: server.serve(sockets=[listening]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
