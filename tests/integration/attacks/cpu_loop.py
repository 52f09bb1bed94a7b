# SPDX-License-Identifier: Apache-2.0
"""Computes for ever, in two processes, and ignores every signal that can be ignored."""

import os
import signal

for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        continue
os.fork()
while True:
    pass
