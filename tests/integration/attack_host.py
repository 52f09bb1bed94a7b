# SPDX-License-Identifier: Apache-2.0
"""What attacks aim at on this machine: listeners, files with a secret, files and processes to be changed."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Host:
    """Targets below one folder.

    Attributes:
        folder: Where they are.
        secret: Text in the files that nobody may read.
        told: What attacks are told of the targets.
        victims: Processes that may not be harmed.
    """

    folder: Path
    secret: str
    told: dict[str, object] = field(default_factory=dict)
    victims: list[subprocess.Popen[bytes]] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    shared_file: Path = field(default_factory=lambda: Path(f"/dev/shm/open_r1_canary_{os.getpid()}"))

    def set_up(self) -> None:
        """Make the targets."""
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.told = {
            "pids": [os.getpid(), os.getppid()],
            "address": own_address(),
            "canaries": [str(path) for path in self._write_canaries()],
            **self._listen(),
            **self._write_victims(),
        }

    def _write_canaries(self) -> Iterator[Path]:
        repository = next(path for path in Path(__file__).parents if (path / "src").exists())
        home = self.folder / "home"
        home.mkdir()
        for path, mode in (
            (home / "id_rsa", 0o600),
            (home / "public.txt", 0o644),
            (self.folder / "in_tmp.txt", 0o644),
            (self.shared_file, 0o666),
        ):
            path.write_text(f"{self.secret}\n")
            path.chmod(mode)
            yield path
        yield repository / "src/open_r1/sandbox/base.py"

    def _listen(self) -> dict[str, object]:
        path, name = str(self.folder / "socket"), f"open_r1_canary_{os.getpid()}_{self.folder.name}"
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        streams = [tcp]
        for sock in (tcp, udp):
            sock.bind(("0.0.0.0", 0))
        for address in (path, "\0" + name):
            streams.append(socket.socket(socket.AF_UNIX))
            streams[-1].bind(address)
            datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            datagrams.bind(address + "d")
            self.sockets.append(datagrams)
        for address in (path, path + "d"):
            Path(address).chmod(0o777)
        for sock in streams:
            sock.listen(64)
        self.sockets += [*streams, udp]
        ports = {"tcp_port": tcp.getsockname()[1], "udp_port": udp.getsockname()[1]}
        return ports | {"unix_socket": path, "abstract_socket": name}

    def _write_victims(self) -> dict[str, object]:
        place = self.folder / "place"
        place.mkdir()
        place.chmod(0o777)  # only the box is in the way
        victim = place / "victim.txt"
        victim.write_text("untouched")
        victim.chmod(0o666)
        self.victims.append(subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        return {
            "places": [str(place), str(self.folder / "home")],
            "victims": [str(victim)],
            "victim_pids": [process.pid for process in self.victims],
        }

    def harm(self) -> list[str]:
        """Return what has been done to the targets."""
        found = [f"{path} is new" for path in self.folder.rglob("*planted*")]
        victim = self.folder / "place" / "victim.txt"
        if not victim.exists() or victim.read_text() != "untouched" or victim.stat().st_mode & 0o777 != 0o666:
            found.append(f"{victim} is changed")
        for process in self.victims:
            if process.poll() is not None:
                found.append("a process was killed")
            elif os.getpriority(os.PRIO_PROCESS, process.pid) != os.getpriority(os.PRIO_PROCESS, 0):
                found.append("a process was slowed down")
        for sock in self.sockets:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.recv(100) if sock.type == socket.SOCK_DGRAM else sock.accept()[0].close()
                found.append(f"something came to {sock.getsockname()!r}")
        return found

    def clear(self) -> None:
        """End the targets; the folder is its maker's to remove."""
        for process in self.victims:
            process.kill()
            process.wait()
        for sock in self.sockets:
            sock.close()
        self.shared_file.unlink(missing_ok=True)


def own_address() -> str:
    """Return an address of this machine that isn't the loopback's, where it has one."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect(("192.0.2.1", 9))  # sends nothing
        return str(sock.getsockname()[0])
    return "127.0.0.2"


def marked(marker: str) -> list[int]:
    """Return the processes, in whatever namespace, whose command line has a marker in it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if marker.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


def left_behind(marker: str, timeout_s: float) -> list[int]:
    """Return the marked processes that are still there after a time, or nothing as soon as there are none."""
    deadline = time.monotonic() + timeout_s
    while found := marked(marker):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.01)
    return []
