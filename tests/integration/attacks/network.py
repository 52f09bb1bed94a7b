# SPDX-License-Identifier: Apache-2.0
"""Reaches listeners of the host, by every kind of socket."""

import socket

from attacking import TOLD, attempt, report


def connect(family, kind, address):
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        sock.send(b"hello")
        return address


def send_from_pair(address):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return one.sendto(b"hello", address)


def reconnect_pair(address):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    other.close()
    with one:
        one.connect(address)
        return address


def listen(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind(address)
        sock.listen()
        return sock.getsockname()


for name, host in (("tcp", "127.0.0.1"), ("tcp", TOLD["address"]), ("tcp6", "::1")):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    attempt(f"{name} {host}", connect, family, socket.SOCK_STREAM, (host, TOLD["tcp_port"]))
    attempt(f"{name} {host} datagram", connect, family, socket.SOCK_DGRAM, (host, TOLD["udp_port"]))
for path in (TOLD["unix_socket"], "\0" + TOLD["abstract_socket"]):
    attempt(f"unix {path!r}", connect, socket.AF_UNIX, socket.SOCK_STREAM, path)
    attempt(f"pair to unix {path!r}", reconnect_pair, path)
for path in (TOLD["unix_socket"] + "d", "\0" + TOLD["abstract_socket"] + "d"):
    attempt(f"unix datagram {path!r}", connect, socket.AF_UNIX, socket.SOCK_DGRAM, path)
    attempt(f"pair to unix datagram {path!r}", send_from_pair, path)
for name, word in (
    ("tcp", f":{TOLD['tcp_port']:04X} "),
    ("udp", f":{TOLD['udp_port']:04X} "),
    ("unix", TOLD["abstract_socket"]),
):
    for path in (f"/proc/net/{name}", f"/proc/self/net/{name}"):
        attempt(f"see who listens in {path}", lambda path, word: open(path).read().index(word), path, word)
attempt("listen", listen, socket.AF_INET, ("0.0.0.0", 0))
attempt("listen unix", listen, socket.AF_UNIX, "\0" + TOLD["marker"])
attempt("netlink", socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0)
attempt("raw packets", socket.socket, 17, socket.SOCK_RAW, 3)
attempt("vsock", socket.socket, 40, socket.SOCK_STREAM)
attempt("look up", socket.getaddrinfo, "localhost.localdomain", 80)
report()
