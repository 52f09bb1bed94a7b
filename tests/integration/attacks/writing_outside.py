# SPDX-License-Identifier: Apache-2.0
"""Writes, changes and removes files of the host, and what it can of the system's."""

import os

from attacking import TOLD, attempt, report

NAME = "planted" + TOLD["marker"]
SYSTEM = (
    "/", "/usr", "/usr/bin", "/usr/lib", "/etc", "/var/tmp", "/opt", "/home", "/root", "/run", "/sys", "/proc/self",
    "/proc/sys/kernel", "/dev", "/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/dev/mqueue",
)  # fmt: skip


def create(path):
    with open(path, "w") as file:
        file.write("x")
    return path


def append(path):
    with open(path, "a") as file:
        file.write("x")


for place in (*TOLD["places"], *(SYSTEM if TOLD["in_box"] else ())):
    path = os.path.join(place, NAME)
    attempt(f"create {path}", create, path)
    attempt(f"make folder {path}.d", os.mkdir, path + ".d")
    attempt(f"link {path}.l", os.symlink, "/etc/shadow", path + ".l")
    attempt(f"make pipe {path}.p", os.mkfifo, path + ".p")
for path in TOLD["victims"]:
    attempt(f"append to {path}", append, path)
    attempt(f"cut {path}", os.truncate, path, 0)
    attempt(f"open to cut {path}", os.open, path, os.O_RDONLY | os.O_TRUNC)
    attempt(f"change mode of {path}", os.chmod, path, 0o777)
    attempt(f"change owner of {path}", os.chown, path, os.getuid(), os.getgid())
    attempt(f"change times of {path}", os.utime, path, (1, 1))
    attempt(f"set attribute of {path}", os.setxattr, path, "user.x", b"x")
    attempt(f"rename {path}", os.rename, path, path + "moved")
    attempt(f"link to {path}", os.link, path, path + "linked")
    attempt(f"remove {path}", os.unlink, path)
if TOLD["in_box"]:
    attempt("score for the out-of-memory killer", create, "/proc/1/oom_score_adj")
    attempt("magic keys", create, "/proc/sysrq-trigger")
    attempt("core pattern", create, "/proc/sys/kernel/core_pattern")
report()
