# SPDX-License-Identifier: Apache-2.0
"""The address of a node as the other nodes of its job see it.

vLLM and SGLang look for their own address by a way to the internet, which nodes needn't have, and then take 0.0.0.0:
programs on other nodes wait for it for ever. The name of a node is no help on the node itself, where many systems let
it stand for a loopback address. So each asks for its way to another node.
"""

import socket

from open_r1.cluster.allocation import Allocation

# A datagram's way: nothing is sent.
_ADDRESS_TOWARDS = (
    "import socket, sys; family, kind, _, _, address = socket.getaddrinfo(sys.argv[1], 9, type=socket.SOCK_DGRAM)[0]; "
    "way = socket.socket(family, kind); way.connect(address); print(way.getsockname()[0])"
)
# $1: Python, $2: the program above, $3: another node; the rest: what is run.
_WITH_ADDRESS = 'HOST_IP=$("$1" -c "$2" "$3") || exit; shift 3; export HOST_IP VLLM_HOST_IP=$HOST_IP; exec "$@"'


def with_own_address(python: str, towards: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """Put a shell in front of a program that sets HOST_IP and VLLM_HOST_IP to the address of the node it runs on.

    Args:
        python: Python on the node.
        towards: Name of another node of the job.
        words: The program.
    """
    return ("bash", "-c", _WITH_ADDRESS, "address", python, _ADDRESS_TOWARDS, towards, *words)


def host_address(allocation: Allocation, node: str) -> dict[str, str]:
    """Return VLLM_HOST_IP for another node of the job, {} where its name gives no address that others can reach.

    On the node itself its name may stand for another address, so a server that others ask listens on this one.
    """
    if allocation.is_imagined:
        return {}
    try:
        return _unless_loopback(socket.gethostbyname(node))
    except OSError:
        return {}


def own_address(allocation: Allocation, towards: str) -> dict[str, str]:
    """Return VLLM_HOST_IP for the node that this runs on, as a node that it talks to sees it; {} without a way."""
    if allocation.is_imagined:
        return {}
    try:
        family, kind, _, _, address = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as way:
            way.connect(address)
            return _unless_loopback(way.getsockname()[0])
    except OSError:
        return {}


def _unless_loopback(address: str) -> dict[str, str]:
    return {} if address.startswith("127.") or address == "::1" else {"VLLM_HOST_IP": address}
