# SPDX-License-Identifier: Apache-2.0
"""Folders of a box, and files that programs can't reach. A part of the driver.

/box        the box's folder, of which programs own everything; emptied between runs
/box/work   working folder of a run, with its files
/box/tmp    TMPDIR      /box/shm    /dev/shm, where bubblewrap makes the box
"""

import os
import stat

NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Box:
    """Where programs run.

    Attributes:
        root: The folder.
        watches: Whether the driver limits the memory of the tree of processes, as no control group does.
        disk_bytes: What may be written where the folder lies on the machine's own disk; None where it doesn't.
        confine: Called in each new process before its program starts, or None.
        lifeline: Descriptor that hangs up when the provider has gone, or None.
        cpu_left_s: What is left of the CPU seconds of the submission's compiler and all its runs.
    """

    def __init__(self, root, watches=True, disk_bytes=None, confine=None, lifeline=None, cpu_left_s=1e9):
        self.root, self.work = root, root + "/work"
        self.watches, self.disk_bytes, self.confine, self.lifeline = watches, disk_bytes, confine, lifeline
        self.is_first = os.getpid() == 1  # of a namespace
        self.cpu_left_s = cpu_left_s
        self.clear()

    def clear(self):
        """Remove what a run has left, and make its folders anew."""
        os.chmod(self.root, 0o700)
        empty(self.root)
        for name in ("work", "tmp", "shm"):
            os.mkdir(self.root + "/" + name, 0o700)


def empty(folder):
    """Remove all that is in a folder; what lies deeper is moved up, so that no path grows."""
    waiting = os.listdir(folder)
    while waiting:
        path = folder + "/" + waiting.pop()
        if not is_folder(path):
            os.unlink(path)
            continue
        os.chmod(path, 0o700)
        for name in os.listdir(path):
            inner = path + "/" + name
            if is_folder(inner):
                os.chmod(inner, 0o700)  # moving a folder writes to it
            waiting.append(os.urandom(16).hex())
            os.rename(inner, folder + "/" + waiting[-1])
        os.rmdir(path)


def is_folder(path):
    """Return whether a path is a folder, and no link to one."""
    return stat.S_ISDIR(os.lstat(path).st_mode)


def new_file(folder):
    """Return a descriptor of a file that no program can reach: it has no name, and is closed to others."""
    path = folder + "/.held"
    fd = os.open(path, os.O_RDWR | NEW_FILE, 0o600)
    os.unlink(path)
    return fd


def write(fd, data):
    """Append bytes to a file."""
    while data:
        data = data[os.write(fd, data) :]


def read(fd, most=-1):
    """Return what is in an open file, at most so many bytes."""
    return os.pread(fd, os.fstat(fd).st_size if most < 0 else most, 0)


def copy(fd, path, mode):
    """Write an open file to a new one; folders on the way are made."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    target = os.open(path, os.O_WRONLY | NEW_FILE, mode)
    offset = 0
    while sent := os.sendfile(target, fd, offset, 1 << 30):
        offset += sent
    os.close(target)
