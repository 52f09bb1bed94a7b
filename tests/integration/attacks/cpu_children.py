# SPDX-License-Identifier: Apache-2.0
"""Burns CPU time in children that end before anybody looks, and of whose end nobody is told."""

import os
import signal
import time

from attacking import broken, report

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
end = time.monotonic() + 50
while time.monotonic() < end:
    if os.fork() == 0:
        until = time.process_time() + 0.005
        while time.process_time() < until:
            pass
        os._exit(0)
    time.sleep(0.004)
broken("50 s of children")
report()
