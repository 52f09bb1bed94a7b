# SPDX-License-Identifier: Apache-2.0
"""Takes 1 GiB in eight processes, each of which keeps to its limit."""

import os

from attacking import broken, report

NUM_CHILDREN = 8
reader, writer = os.pipe()
held, holder = os.pipe()
for _ in range(NUM_CHILDREN):
    if os.fork() == 0:
        os.close(holder)
        kept = b"x" * (128 << 20)
        os.write(writer, b"k")
        os.close(writer)
        os.read(held, 1)  # until our parent ends
        os._exit(0)
os.close(writer)
count = 0
while count < NUM_CHILDREN and os.read(reader, 1):  # nothing more comes once the others have been killed
    count += 1
if count == NUM_CHILDREN:
    broken(f"{count} processes of 128 MiB")
report()
