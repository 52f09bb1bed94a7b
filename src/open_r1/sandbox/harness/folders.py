# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: its folders, and files that programs can't reach. A part of the driver."""

import os
import stat

FILE_COST = 1024  # bytes of the kernel's memory for each file in a file system in memory


class Box:
    """Where programs run: one folder below which they write, emptied between runs.

    Attributes:
        root: The folder; `work` in it is the working folder, `tmp` and `shm` are for temporary files.
        shared: Folders of others where programs can write too; what is new there is removed after a run.
        watches: Whether the driver limits the memory of the tree of processes, as no control group does.
        confine: Called in each new process before its program starts, or None.
        disk_bytes: What a program may write where the folder lies on the machine's own disk; None where it doesn't.
        shares_files: Whether it does.
        is_alone: Whether the driver can meet nobody outside of the box by a signal.
        lifeline: Descriptor that hangs up when the provider has gone, or None.
        has_run: Whether a program has been started.
    """

    def __init__(
        self, root, shared=(), watches=True, confine=None, disk_bytes=None, is_alone=False, lifeline=None, rank=None
    ):
        self.root, self.watches, self.confine, self.lifeline = root, watches, confine, lifeline
        self.disk_bytes, self.shares_files = disk_bytes, disk_bytes is not None
        self.work = root + "/work"
        self.shared = {folder: set(os.listdir(folder)) for folder in shared}
        self.owns_namespace = os.getpid() == 1
        self.is_alone = is_alone or self.owns_namespace
        self.rank = rank
        self.usual = b"" if rank is None else os.pread(rank, 16, 0)
        self.has_run = False
        os.chmod(root, 0o700)
        self.make_folders()

    def stand_out(self):
        """Become whom the kernel ends first when memory runs out, so that the next process is that from its start."""
        if self.rank is not None:
            os.write(self.rank, b"1000")

    def stand_back(self):
        """Become what the driver was."""
        if self.rank is not None:
            os.write(self.rank, self.usual)

    def make_folders(self):
        """Make the folders of a run."""
        for name in ("work", "tmp", "shm"):
            os.mkdir(self.root + "/" + name, 0o700)

    def clear(self):
        """Remove what a run has left, and make its folders anew."""
        os.chmod(self.root, 0o700)
        forget_attributes(self.root)
        empty(self.root)
        for folder, known in self.shared.items():
            empty(folder, known, os.geteuid())
        self.make_folders()
        os.utime(self.root, (0, 0))

    def used_bytes(self):
        """Return how much is written below the folder, where that is a file system of its own."""
        if not self.owns_namespace:
            return 0
        found = os.statvfs(self.root)
        files = found.f_files - found.f_ffree  # empty ones too are kept in memory
        return (found.f_blocks - found.f_bfree) * found.f_frsize + files * FILE_COST


def forget_attributes(folder):
    """Remove what programs can write beside a folder itself: its attributes and lists of access."""
    try:
        names = os.listxattr(folder)
    except OSError:  # a file system without any
        return
    for name in names:
        if name.startswith(("user.", "system.posix_acl_")):
            os.removexattr(folder, name)


def empty(folder, known=(), user=None):
    """Remove what is in a folder; folders in folders are moved up, so that no path grows long.

    Args:
        folder: The folder.
        known: Names in it that stay.
        user: Number of the user whose files and folders are removed; None for everybody's.
    """
    count = 0
    waiting = [name for name in os.listdir(folder) if name not in known]
    if user is not None:
        waiting = [name for name in waiting if os.lstat(folder + "/" + name).st_uid == user]
    while waiting:
        path = folder + "/" + waiting.pop()
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            continue
        os.chmod(path, 0o700)
        for name in os.listdir(path):
            inner = path + "/" + name
            if stat.S_ISDIR(os.lstat(inner).st_mode):
                os.chmod(inner, 0o700)  # moving a folder writes to it
                count += 1
                while os.path.lexists(folder + "/.moved%d" % count):
                    count += 1
                waiting.append(".moved%d" % count)
                os.rename(inner, folder + "/" + waiting[-1])
            else:
                os.unlink(inner)
        os.rmdir(path)


class Held:
    """A file that no program can reach: it has no name, and the driver's descriptors are closed to others."""

    def __init__(self, folder, executable=False):
        path = folder + "/.held"
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
        self.mode = 0o555 if executable else 0o444
        self.size = 0

    def write(self, data):
        """Append bytes."""
        while data:
            written = os.write(self.fd, data)
            self.size += written
            data = data[written:]

    def copy_from(self, fd):
        """Append all of an open file."""
        while True:
            copied = os.sendfile(self.fd, fd, None, 1 << 30)
            if not copied:
                return
            self.size += copied

    def read(self):
        """Return all of it."""
        return os.pread(self.fd, self.size, 0)

    def rewound(self):
        """Return the descriptor, at the beginning of the file."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        return self.fd

    def copy_to(self, path):
        """Write it to a new file; folders on the way are made."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            target = os.open(path, flags, self.mode)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            target = os.open(path, flags, self.mode)
        offset = 0
        while offset < self.size:
            offset += os.sendfile(target, self.fd, offset, self.size - offset)
        os.close(target)
