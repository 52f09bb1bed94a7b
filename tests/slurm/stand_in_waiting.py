# SPDX-License-Identifier: Apache-2.0
"""Stands in for a training where a test is about its job: says who it is, and waits until it is killed."""

import os
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # launchers ignore it, so that trainers can save
    print(f"held in step 0 as process {os.getpid()}", flush=True)
    signal.pause()
