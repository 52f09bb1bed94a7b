# SPDX-License-Identifier: Apache-2.0
"""Waits for ever and ignores signals; stops its parents and itself if told so."""

import os
import signal
import time

from attacking import TOLD

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
if TOLD["role"] == "stop":
    for pid in (os.getppid(), 1, -1, 0):
        try:
            os.kill(pid, signal.SIGSTOP)
        except OSError:
            continue
time.sleep(3600)
print("BROKEN: slept for an hour")
