# SPDX-License-Identifier: Apache-2.0
"""Stops, kills and changes processes of the host; the one that it may kill where nothing holds it is a victim."""

import os
import resource
import signal

from attacking import TOLD, attempt, report, syscall

for pid in TOLD["victim_pids"]:
    attempt(f"signal 0 to {pid}", os.kill, pid, 0)
    attempt(f"limit {pid}", resource.prlimit, pid, resource.RLIMIT_CORE, (0, 0))
    attempt(f"slow {pid}", os.setpriority, os.PRIO_PROCESS, pid, 19)
    attempt(f"bind {pid}", os.sched_setaffinity, pid, {0})
    attempt(f"kill {pid}", os.kill, pid, signal.SIGKILL)
if TOLD["in_box"]:
    attempt("slow all of our user", syscall, "setpriority", 2, 0, 19)
    for pid in TOLD["pids"]:
        attempt(f"signal to {pid}", os.kill, pid, 0)
report()
