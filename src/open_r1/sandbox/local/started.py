# SPDX-License-Identifier: Apache-2.0
"""What mechanisms share: what a box may use, how its first process starts."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """What may be used in a box, by all that runs in it.

    Attributes:
        disk_bytes: Written to files.
        memory_mb: Memory in MiB.
        processes: Processes and threads.
    """

    disk_bytes: int
    memory_mb: int
    processes: int


@dataclass(frozen=True)
class Started:
    """The first process of a box.

    Attributes:
        process: It; the box is gone when it has ended.
        root: The folder where programs write, as the driver sees it.
        folder: The same as a folder of this machine's, to be removed at the end, or None.
    """

    process: subprocess.Popen[bytes]
    root: str
    folder: str | None = None


def start(command: Sequence[str], passed: Sequence[int], log: int) -> subprocess.Popen[bytes]:
    """Start a command with an empty environment and no descriptors but those passed; `log` is its standard error.

    It gets a session of its own, so that an interrupt from the terminal ends boxes only through us.

    Raises:
        OSError: It can't be started.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env={},
        cwd="/",
        pass_fds=passed,
        start_new_session=True,
    )


def memory_file(content: bytes) -> int:
    """Return a descriptor of a file in memory, at its beginning; programs get it only where it's passed.

    Raises:
        OSError: There are no descriptors or no memory left.
    """
    fd = os.memfd_create("open_r1_box", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
