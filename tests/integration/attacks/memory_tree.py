# SPDX-License-Identifier: Apache-2.0
"""Takes 1 GiB in eight processes, each of which keeps to its limit; their first threads end if told so."""

import os
import platform
import threading
import time

from attacking import LIBC, TOLD, broken, report

NUM_CHILDREN = 8
reader, writer = os.pipe()
held, holder = os.pipe()


def hold():
    time.sleep(0.2)
    kept = b"x" * (128 << 20)
    os.write(writer, b"k")
    os.close(writer)
    os.read(held, 1)  # until our parent ends
    os._exit(len(kept) & 1)


for _ in range(NUM_CHILDREN):
    if os.fork() == 0:
        os.close(holder)
        if TOLD["role"] == "threads":
            threading.Thread(target=hold).start()
            LIBC.syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # ends this thread alone
        hold()
os.close(writer)
count = 0
while count < NUM_CHILDREN and os.read(reader, 1):  # nothing more comes once the others have been killed
    count += 1
time.sleep(0.2)
if count == NUM_CHILDREN:
    broken(f"{count} processes of 128 MiB")
report()
