# SPDX-License-Identifier: Apache-2.0
"""Where the server of transformers listens: on this machine alone."""

import socket

HOST = "127.0.0.1"
_MOST_PORT = 65535


def check_port(port: int) -> None:
    """Refuse a port on which nothing can listen, before a model loads.

    Args:
        port: 0 stands for one that is free.

    Raises:
        ValueError: It is taken, needs other rights, or is no port.
    """
    if not 0 <= port <= _MOST_PORT:
        raise ValueError(f"The port is {port}; it must be from 0 (a free one) to {_MOST_PORT}.")
    try:
        with socket.create_server((HOST, port)):
            return
    except OSError as error:
        raise ValueError(f"Nothing can listen on port {port}: {error}. Name another; 0 takes a free one.") from error
