# SPDX-License-Identifier: Apache-2.0
"""Ends, stops, traces, reads and limits the driver, its parent."""

import os
import resource
import signal

from attacking import attempt, broken, read, report, syscall

driver = os.getppid()
for pid in {driver, 1}:
    attempt(f"trace {pid}", syscall, "ptrace", 16, pid, 0, 0)
    attempt(f"seize {pid}", syscall, "ptrace", 0x4206, pid, 0, 0)
    attempt(f"read memory of {pid}", read, f"/proc/{pid}/mem")
    attempt(f"read maps of {pid}", read, f"/proc/{pid}/maps")
    attempt(f"read environment of {pid}", read, f"/proc/{pid}/environ")
    attempt(f"limit {pid}", resource.prlimit, pid, resource.RLIMIT_NOFILE, (0, 0))
    attempt(f"limit CPU of {pid}", resource.prlimit, pid, resource.RLIMIT_CPU, (1, 1))
    attempt(f"slow {pid}", os.setpriority, os.PRIO_PROCESS, pid, 19)
    attempt(f"score {pid}", lambda pid: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"), pid)
    handle = syscall("pidfd_open", pid, 0) if os.path.exists(f"/proc/{pid}") else -1
    for number in range(3, 12):
        attempt(f"take descriptor {number} of {pid}", syscall, "pidfd_getfd", handle, number, 0)
for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1):
    for pid in (driver, 1):
        try:
            os.kill(pid, number)  # number 1 of a namespace may be sent it, and doesn't get it
        except OSError:
            continue
        if os.path.exists(f"/proc/{pid}/status") and "State:\tT" in open(f"/proc/{pid}/status").read():
            broken(f"process {pid} is stopped")
try:
    os.kill(-1, signal.SIGKILL)  # everything that we may
except OSError:
    pass
report()
