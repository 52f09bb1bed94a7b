# SPDX-License-Identifier: Apache-2.0
"""Leaves processes behind: in other sessions, below reapers of their own, stopped, holding the standard streams."""

import os
import signal

from attacking import LIBC, in_child, start_sleeper


def detach():
    os.setsid()
    in_child(start_sleeper)
    LIBC.prctl(36, 1, 0, 0, 0)  # orphans come to us

    def deeper():
        os.setsid()
        os.closerange(0, 3)
        in_child(start_sleeper)

    in_child(deeper)
    start_sleeper()


def stop():
    os.setpgid(0, 0)
    pid = in_child(start_sleeper)
    os.kill(pid, signal.SIGSTOP)


os.waitpid(in_child(lambda: in_child(detach)), 0)
in_child(stop)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
in_child(start_sleeper)
print("CONTAINED", flush=True)  # what is left is looked for from outside
