# SPDX-License-Identifier: Apache-2.0
"""Takes 1 GiB in eight processes, each of which keeps to its limit."""

import os
import time

reader, writer = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        kept = b"x" * (128 << 20)
        os.write(writer, b"k")
        time.sleep(3)
        os._exit(0)
os.close(writer)
time.sleep(1.5)
os.set_blocking(reader, False)
try:
    count = len(os.read(reader, 100))
except BlockingIOError:
    count = 0
print("BROKEN: 1 GiB in 8 processes" if count == 8 else f"CONTAINED: {count} of 8", flush=True)
