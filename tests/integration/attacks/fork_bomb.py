# SPDX-License-Identifier: Apache-2.0
"""Forks without end, each child in a session of its own; says how many there were at a time if it is let to."""

import os
import time

from attacking import start_sleeper

count = 0
while count < 5000:
    try:
        pid = os.fork()
    except OSError:
        break
    count += 1
    if pid == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        if count % 2:
            continue  # goes on forking
        start_sleeper()
time.sleep(0.3)
print("BROKEN: 5000 forks" if count >= 5000 else "CONTAINED", flush=True)
